//! JSON from outside: envelopes, receipts, results.

use forgemesh_kernel::job::Job;
use forgemesh_node::evidence::{self, Report};
use forgemesh_protocol::canon::Bytes;
use forgemesh_protocol::receipt::Receipt;

use crate::damage::Form;
use crate::examples::ended;
use crate::trial::{Examples, try_all, try_dressed, try_results};

#[test]
fn envelopes_of_jobs() {
    let valid = vec![
        include_bytes!("../../node/examples/reserve-raa.json").to_vec(),
        include_bytes!("../../node/examples/reserve-raa-converged.json").to_vec(),
        include_bytes!("../../node/examples/insurance-quickstart.json").to_vec(),
    ];
    let examples = Examples { name: "envelopes_of_jobs", form: Form::Json, valid };
    let read = |bytes: &[u8]| Job::read(bytes).map_err(|problems| problems.to_string());
    // Other envelopes become canonical ones.
    try_all(&examples, read, |_| None);
}

#[test]
fn receipts() {
    let (receipt, statement) = ended().receipt();
    let examples = Examples { name: "receipts", form: Form::Json, valid: vec![receipt.to_bytes()] };
    try_all(&examples, Receipt::decode, |(receipt, _)| Some(receipt.to_bytes()));
    // What is signed lies within, in base64.
    let dress = |payload: &[u8]| Receipt { payload: Bytes(payload.to_vec()), ..receipt.clone() }.to_bytes();
    let valid = vec![statement.unsigned().payload.0];
    let examples = Examples { name: "statements", form: Form::Json, valid };
    try_dressed(&examples, dress, Receipt::decode, |(receipt, _)| Some(receipt.to_bytes()));
    // And whoever is shown one looks into it.
    let examine = |bytes: &[u8]| {
        let mut report = Report::default();
        evidence::examine(bytes, None, &mut report).map(|_| ()).ok_or(report)
    };
    let examples = Examples { name: "receipts_that_are_verified", ..examples };
    try_dressed(&examples, dress, examine, |()| None);
}

#[test]
fn results_beside_a_receipt() {
    let files = &ended().files;
    let mut report = Report::default();
    let examined = evidence::examine(&files["receipt.json"], None, &mut report).expect("a receipt");
    let valid = vec![files["result.json"].clone()];
    let examples = Examples { name: "results_beside_a_receipt", form: Form::Json, valid };
    let check = |bytes: &[u8]| {
        let mut report = Report::default();
        let files = [("result.json".to_owned(), bytes.to_vec())].into();
        evidence::check_artifacts(&examined, &files, &mut report);
        if report.is_ok() { Ok(()) } else { Err(report) }
    };
    // The hub's members have made it, and a list of short numbers takes more in memory than it has digits.
    try_results(&examples, check, |()| None);
}
