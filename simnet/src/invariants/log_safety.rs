//! An entry is the same wherever its index and term are; and what is agreed on stays: no member takes such an entry back,
//! none gets another one at its index from a leader of the term in which it was agreed on or of a later one, no member's snapshot stands for one that
//! is not agreed on. (A deposed leader may append to its own end until it hears of it, and takes that back.) Source:
//! Ongaro and Ousterhout 2014, sections 5.3, "Log Matching", and 5.4, "Leader Completeness".

use super::{Invariant, Moment, View};

/// The invariant.
pub struct LogSafety;

impl Invariant for LogSafety {
    fn name(&self) -> &'static str {
        "log_safety"
    }

    fn check(&mut self, view: &View<'_>) -> Result<bool, String> {
        match &view.moment {
            Moment::Logged { machine, index, differs: Some(other), .. } => {
                Err(format!("machines {other} and {machine} have two entries {index} of one term"))
            }
            Moment::Logged { machine, index, kept, agreed: Some(agreed), .. } if kept != agreed => {
                Err(format!(
                    "machine {machine} gets another entry {index} than is agreed on, of term {}",
                    kept.term
                ))
            }
            Moment::Logged { agreed, .. } => Ok(agreed.is_some()),
            Moment::Truncated { machine, from, agreed: Some(index) } => Err(format!(
                "machine {machine} takes back its log from entry {from} on, and entry {index} is agreed on"
            )),
            Moment::Snapshot { machine, index, agreed } if index >= agreed => Err(format!(
                "machine {machine} has a snapshot after entry {index}, and {agreed} entries are agreed on"
            )),
            Moment::Truncated { .. } | Moment::Snapshot { .. } => Ok(true),
            _ => Ok(false),
        }
    }
}
