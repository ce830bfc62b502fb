//! A checker that accuses agents whose leaves are right.

use forgemesh_node::ports::{Done, Work};
use forgemesh_protocol::challenge::{Mismatch, MismatchKind};
use forgemesh_protocol::hash::Hash;

use super::Tamper;
use crate::draws::Draws;

/// The bug: one check in eight.
pub struct FalseAccuser(pub Draws);

impl Tamper for FalseAccuser {
    fn done(&mut self, work: &Work) -> Option<Done> {
        let Work::Check { leaves, .. } = work else { return None };
        let at = *leaves.first().filter(|_| self.0.between(0, 7) == 0)?;
        let mismatch = Mismatch { at, kind: MismatchKind::LeafDiffers, recomputed: Hash::blob(b"nothing") };
        Some(Done::Checked { mismatches: vec![mismatch] })
    }
}
