//! Once a world is healed, every accepted job becomes final and every client has its answer within a stated time.
//! Source: FoundationDB's simulation (Zhou et al. 2021), "progress after faults"; TigerBeetle's liveness mode; issue of
//! this simulator.

use super::{Invariant, Moment, View};

/// The invariant.
pub struct Progress;

impl Invariant for Progress {
    fn name(&self) -> &'static str {
        "progress"
    }

    fn check(&mut self, view: &View<'_>) -> Result<bool, String> {
        match &view.moment {
            Moment::Over { unfinished: [], .. } => Ok(true),
            Moment::Over { unfinished, .. } => Err(format!("after healing: {}", unfinished.join("; "))),
            _ => Ok(false),
        }
    }
}
