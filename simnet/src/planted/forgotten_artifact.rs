//! A store that drops a blob now and then, though it says that the batch is durable: a stranger who comes to verify
//! finds a hole.

use forgemesh_storage::{Batch, Write};

use super::Tamper;
use crate::draws::Draws;

/// The bug: one artifact or other blob in four.
pub struct ForgottenArtifact(pub Draws);

impl Tamper for ForgottenArtifact {
    fn batch(&mut self, batch: Batch) -> Batch {
        let only_blobs = batch.writes().iter().all(|write| matches!(write, Write::PutBlob { .. }));
        let mut kept = Batch::new();
        for write in batch.writes() {
            if !(only_blobs && self.0.between(0, 3) == 0) {
                kept.push(write.clone());
            }
        }
        kept
    }
}
