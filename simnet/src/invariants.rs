//! What must hold in every world, one invariant a file. Each names where the promise is made; for each there is a
//! planted bug that breaks it (`planted/`, `PLANTED.md`).

pub mod acknowledged_kept;
pub mod failed_for_cause;
pub mod honest_unblamed;
pub mod ledger_chains;
pub mod one_final_result;
pub mod progress;
pub mod queues_bounded;
pub mod replay_matches;
pub mod result_correct;

use forgemesh_consensus::command::Entry;
use forgemesh_consensus::machine::{Applied, Hub, Rejected};
use forgemesh_consensus::settle::FinishedJob;
use forgemesh_node::core::Queue;
use forgemesh_protocol::ledger::LedgerEntry;
use forgemesh_storage::Storage;

use crate::gauge::Waiting;
use crate::witness::Known;

/// What has just happened.
pub enum Moment<'a> {
    /// A log entry is durable, and the observer has applied it.
    Applied { entry: &'a Entry, outcome: &'a Result<Applied, Rejected> },
    /// A ledger entry is durable.
    Entered { entry: &'a LedgerEntry },
    /// Something durable cannot be read back, or not in its place.
    Unreadable { what: &'static str },
    /// The hub has come to life with this state on this disk.
    Booted { hub: &'a Hub, storage: &'a Storage },
    /// What waits inside one machine, and the parcels at its door.
    Beat { machine: usize, waiting: Waiting, parcels: usize },
    /// What a node says of the queues within it.
    Queues { machine: usize, queues: &'a [Queue] },
    /// The world was healed and given time; the hub's disk is opened as a stranger would.
    Over { storage: &'a Storage, unfinished: &'a [String] },
}

/// What an invariant sees.
pub struct View<'a> {
    pub moment: Moment<'a>,
    /// The observer's hub, with the whole durable log applied.
    pub mirror: &'a Hub,
    pub known: &'a Known,
}

impl<'a> View<'a> {
    /// The job that became final in this moment.
    pub fn finished(&self) -> Option<&'a FinishedJob> {
        match &self.moment {
            Moment::Applied { outcome: Ok(applied), .. } => applied.finished.as_deref(),
            _ => None,
        }
    }
}

/// Something that holds at every moment.
pub trait Invariant {
    /// The file's name.
    fn name(&self) -> &'static str;

    /// Whether this moment had anything to check; what is wrong, if something is.
    fn check(&mut self, view: &View<'_>) -> Result<bool, String>;
}

/// All of them.
pub fn all() -> Vec<Box<dyn Invariant>> {
    vec![
        Box::new(acknowledged_kept::AcknowledgedKept),
        Box::new(failed_for_cause::FailedForCause),
        Box::new(honest_unblamed::HonestUnblamed),
        // Before the chain of the books, which a second end breaks too.
        Box::new(one_final_result::OneFinalResult::default()),
        Box::new(ledger_chains::LedgerChains::default()),
        Box::new(progress::Progress),
        Box::new(queues_bounded::QueuesBounded),
        Box::new(replay_matches::ReplayMatches),
        Box::new(result_correct::ResultCorrect),
    ]
}
