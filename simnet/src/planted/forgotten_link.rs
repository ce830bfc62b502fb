//! A store that forgets what the agent has attested: after a restart it signs another link of the same number.

use forgemesh_storage::{Batch, Write};

use super::Tamper;

/// The bug.
pub struct ForgottenLink;

impl Tamper for ForgottenLink {
    fn batch(&mut self, batch: Batch) -> Batch {
        let mut rest = Batch::new();
        for write in batch.writes() {
            if !matches!(write, Write::PutOutbox { .. }) {
                rest.push(write.clone());
            }
        }
        rest
    }
}
