//! Bundles of evidence: archives whose every file may be forged.

use forgemesh_node::bundle;
use forgemesh_node::evidence::Report;

use crate::damage::Form;
use crate::examples::ended;
use crate::trial::{Examples, try_all};

#[test]
fn bundles_of_evidence() {
    let valid = vec![ended().bundle.clone()];
    let examples = Examples { name: "bundles_of_evidence", form: Form::Bytes, valid };
    let check = |bytes: &[u8]| {
        let mut report = Report::default();
        let examined = bundle::check(bytes, None, &mut report);
        if examined.is_some() && report.is_ok() { Ok(()) } else { Err(report) }
    };
    // Whatever is accepted packs to the same bytes again: that is one of the checks.
    try_all(&examples, check, |()| None);
}
