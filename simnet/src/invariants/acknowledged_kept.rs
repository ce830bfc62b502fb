//! What was acknowledged is there after every restart, and after the loss of any minority of the hub: what a disk has
//! reported durable is on it when it is opened again, a member comes back with a state that is agreed on, and a client is
//! told of its job only once a majority has it. Source: design/architecture.md, "Nothing is acknowledged before its
//! completion"; ARCHITECTURE.md, Invariants.

use forgemesh_storage::Storage;

use super::{Invariant, Moment, View};

/// The invariant.
pub struct AcknowledgedKept;

impl Invariant for AcknowledgedKept {
    fn name(&self) -> &'static str {
        "acknowledged_kept"
    }

    fn check(&mut self, view: &View<'_>) -> Result<bool, String> {
        match &view.moment {
            Moment::Opened { lost: None, .. } => Ok(true),
            Moment::Opened { machine, lost: Some(lost) } => {
                Err(format!("machine {machine} came back: {lost}"))
            }
            Moment::Unreadable { machine, what } => {
                Err(format!("{what} of machine {machine} cannot be read"))
            }
            Moment::Booted { machine, hub, expected } => {
                let (found, agreed) = (hub.state().next, view.mirror.state().next);
                match expected {
                    None => Err(format!(
                        "machine {machine} came back with {found} log entries, {agreed} are agreed on"
                    )),
                    Some(expected) if expected.state() != hub.state() => Err(format!(
                        "machine {machine} came back with another state than its first {found} log entries give"
                    )),
                    Some(_) => Ok(true),
                }
            }
            Moment::Acknowledged { job } => {
                let state = view.mirror.state();
                match state.seen.contains_key(job) || state.open.contains_key(job) {
                    true => Ok(true),
                    false => Err(format!("job {job} was acknowledged and no majority has it")),
                }
            }
            Moment::Over { storages, .. } => {
                storages.iter().try_for_each(|(machine, storage)| all_there(*machine, storage, view))?;
                Ok(true)
            }
            _ => Ok(false),
        }
    }
}

/// Every job that a client was told of is in this member's books.
fn all_there(machine: usize, storage: &Storage, view: &View<'_>) -> Result<(), String> {
    let open = &view.mirror.state().open;
    for job in view.known.acknowledged.iter().filter(|job| !open.contains_key(job)) {
        if !matches!(storage.job(&job.0), Ok(Some(_))) {
            return Err(format!("job {job} was acknowledged and is lost at machine {machine}"));
        }
    }
    Ok(())
}
