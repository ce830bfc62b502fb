//! A store that takes the newest entry of the log back and writes it again, the same bytes: between the two a crash would
//! lose what is agreed on.

use forgemesh_storage::{Batch, Write};

use super::Tamper;

/// The bug.
#[derive(Default)]
pub struct RewrittenLog {
    /// The newest entry.
    last: Option<(u64, Vec<u8>)>,
}

impl Tamper for RewrittenLog {
    fn batch(&mut self, batch: Batch) -> Batch {
        let mut other = Batch::new();
        for write in batch.writes() {
            match write {
                Write::AppendLog { index, entry } => {
                    if let Some((at, bytes)) = self.last.take().filter(|(at, _)| at + 1 == *index) {
                        other.push(Write::TruncateLog { from: at });
                        other.push(Write::AppendLog { index: at, entry: bytes });
                    }
                    self.last = Some((*index, entry.clone()));
                }
                Write::TruncateLog { .. } | Write::PurgeLog { .. } => self.last = None,
                Write::PutSnapshot { .. } | Write::RenewSnapshot { .. } => self.last = None,
                _ => {}
            }
            other.push(write.clone());
        }
        other
    }
}
