//! Books that keep another statement of a job than was signed: a stranger would not accept it, another member has the first.

use forgemesh_node::job_file::JobFile;
use forgemesh_storage::{Batch, Write};

use super::Tamper;
use crate::draws::Draws;

/// The bug: one record in four.
pub struct SecondStatement(pub Draws);

impl Tamper for SecondStatement {
    fn batch(&mut self, batch: Batch) -> Batch {
        let mut other = Batch::new();
        for write in batch.writes() {
            match write {
                Write::PutJob { id, record } if self.0.between(0, 3) == 0 => {
                    other.put_job(*id, reworded(record).unwrap_or_else(|| record.clone()));
                }
                write => drop(other.push(write.clone())),
            }
        }
        other
    }
}

fn reworded(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut file = JobFile::decode(bytes).ok()?;
    file.receipt.payload.0.push(b' ');
    Some(file.encode())
}
