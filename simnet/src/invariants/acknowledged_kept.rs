//! What was acknowledged is there after every restart: jobs that a client was told of, entries of the log and of the
//! books whose batch was reported durable. Source: design/architecture.md, "Nothing is acknowledged before its
//! completion"; ARCHITECTURE.md, Invariants.

use super::{Invariant, Moment, View};

/// The invariant.
pub struct AcknowledgedKept;

impl Invariant for AcknowledgedKept {
    fn name(&self) -> &'static str {
        "acknowledged_kept"
    }

    fn check(&mut self, view: &View<'_>) -> Result<bool, String> {
        let (hub, storage) = match &view.moment {
            Moment::Booted { hub, storage } => (*hub, *storage),
            Moment::Unreadable { what } => return Err(format!("{what} of the hub cannot be read")),
            _ => return Ok(false),
        };
        let (found, durable) = (hub.state().next, view.mirror.state().next);
        if found < durable {
            return Err(format!("the hub came back with {found} log entries of {durable} durable ones"));
        }
        if hub.state() != view.mirror.state() {
            return Err("the hub came back with another state than its durable log gives".to_owned());
        }
        for job in &view.known.acknowledged {
            let known = hub.state().seen.contains_key(job) || hub.state().open.contains_key(job);
            if !known && !matches!(storage.job(&job.0), Ok(Some(_))) {
                return Err(format!("job {job} was acknowledged and is lost"));
            }
        }
        Ok(true)
    }
}
