//! An entry is the same wherever its index and term are; and what is agreed on stays: from the term in which it was agreed
//! on, no member that votes in that term or a later one takes such an entry back or gets another one at its index, and no
//! member's snapshot stands for one that is not agreed on. (A leader of an earlier term may append to its own end, and to
//! that of others who have heard of no later one, until it hears of it; that is taken back.) No vote is of an earlier term
//! than the one before. Source: Ongaro and Ousterhout 2014, figure 2 and sections 5.3, "Log Matching", and 5.4, "Leader
//! Completeness".

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
            Moment::Voted { machine, before, term } if term < before => {
                Err(format!("machine {machine} votes in term {term}, and has voted in term {before}"))
            }
            Moment::Truncated { .. } | Moment::Snapshot { .. } | Moment::Voted { .. } => Ok(true),
            _ => Ok(false),
        }
    }
}
