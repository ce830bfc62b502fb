//! Sends an attestation a second time, to be credited for the same work twice.

use forgemesh_consensus::machine::{Applied, Rejected};

use super::rig::Rig;
use crate::world::Broken;

/// Sends every attestation of the rig's agent again; what the log made of each.
pub fn replay(rig: &mut Rig) -> Result<Vec<Option<Result<Applied, Rejected>>>, Broken> {
    let signed = rig.signed.clone();
    signed.into_iter().map(|attested| Ok(rig.send(attested)?.pop())).collect()
}
