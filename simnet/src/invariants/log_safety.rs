//! What is agreed on stays: no member takes such an entry back, no member ever has another one at its index, no member's
//! snapshot stands for one that is not agreed on. Source: Ongaro and Ousterhout 2014, section 5.4, "Leader Completeness"
//! and "State Machine Safety".

use super::{Invariant, Moment, View};

/// The invariant.
pub struct LogSafety;

impl Invariant for LogSafety {
    fn name(&self) -> &'static str {
        "log_safety"
    }

    fn check(&mut self, view: &View<'_>) -> Result<bool, String> {
        match &view.moment {
            Moment::Logged { machine, index, bytes, agreed: Some(agreed) } if *agreed.bytes != **bytes => {
                Err(format!("machine {machine} has another entry {index} than is agreed on"))
            }
            Moment::Logged { agreed, .. } => Ok(agreed.is_some()),
            Moment::Truncated { machine, from, agreed } if from < agreed => Err(format!(
                "machine {machine} takes back its log from entry {from} on, and {agreed} entries are agreed on"
            )),
            Moment::Snapshot { machine, index, agreed } if index >= agreed => Err(format!(
                "machine {machine} has a snapshot after entry {index}, and {agreed} entries are agreed on"
            )),
            Moment::Truncated { .. } | Moment::Snapshot { .. } => Ok(true),
            _ => Ok(false),
        }
    }
}
