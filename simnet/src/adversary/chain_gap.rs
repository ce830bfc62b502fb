//! Holds an attestation back and sends the ones after it, to keep it out of the record for good.

use forgemesh_consensus::machine::{Applied, Rejected};
use forgemesh_protocol::attestation::Attestation;
use forgemesh_protocol::keys::{Signable, Signed};
use forgemesh_protocol::wire::Attested;

use super::rig::Rig;
use crate::world::Broken;

/// What the log made of the attestations that came to it.
type Outcomes = Vec<Result<Applied, Rejected>>;

/// Signs two further links with the agent's key and sends the second without the first, then the first.
pub fn withhold(rig: &mut Rig) -> Result<[Outcomes; 2], Broken> {
    let withheld = next(rig, None);
    let sent = next(rig, Some(&withheld));
    Ok([rig.send(sent)?, rig.send(withheld)?])
}

/// A link of the agent's chain that repeats the claims of its last one.
fn next(rig: &Rig, after: Option<&Attested>) -> Attested {
    let agent = rig.secret.public().id();
    let head = rig.hub().chain(&agent);
    let last = rig.signed.last().expect("invariant: the rig has run a job before");
    let (seq, prev) = match after {
        Some(before) => (before.attestation.body.seq + 1, before.attestation.body.digest()),
        None => (head.seq + 1, head.digest),
    };
    let body = Attestation { seq, prev, ..last.attestation.body.clone() };
    let attestation = Signed::new(body, rig.hub().mesh(), &rig.secret);
    Attested { attestation, members: last.members.clone() }
}
