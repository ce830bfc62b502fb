//! What a member says once it is current is no older than the question: it has every job that a client was told of before,
//! and every log entry that any member had shown to anybody before. Source: Herlihy and Wing 1990, "Linearizability",
//! section 2; Ongaro 2014, section 6.4.

use super::{Invariant, Moment, View};

/// The invariant.
pub struct FreshReads;

impl Invariant for FreshReads {
    fn name(&self) -> &'static str {
        "fresh_reads"
    }

    fn check(&mut self, view: &View<'_>) -> Result<bool, String> {
        match &view.moment {
            Moment::Read { machine, missing: Some(job), .. } => Err(format!(
                "machine {machine} is current and does not know of job {job}, which was acknowledged"
            )),
            Moment::Read { machine, floor, log, .. } if log < floor => {
                Err(format!("machine {machine} is current with {log} log entries; {floor} were shown before"))
            }
            Moment::Read { .. } => Ok(true),
            _ => Ok(false),
        }
    }
}
