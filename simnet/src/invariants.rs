//! What must hold in every world, one invariant a file. Each names where the promise is made; for each there is a
//! planted bug that breaks it (`planted/`, `PLANTED.md`).

pub mod acknowledged_kept;
pub mod chain_unforked;
pub mod evidence_kept;
pub mod failed_for_cause;
pub mod fresh_reads;
pub mod honest_unblamed;
pub mod ledger_chains;
pub mod log_safety;
pub mod one_final_result;
pub mod one_leader;
pub mod one_receipt;
pub mod progress;
pub mod queues_bounded;
pub mod replay_matches;
pub mod result_correct;
pub mod valid_accepted;

use forgemesh_consensus::command::Entry;
use forgemesh_consensus::machine::{Applied, Hub, Rejected};
use forgemesh_consensus::settle::FinishedJob;
use forgemesh_node::core::Queue;
use forgemesh_node::job_file::JobFile;
use forgemesh_protocol::hash::Hash;
use forgemesh_protocol::id::{JobId, NodeId};
use forgemesh_protocol::ledger::LedgerEntry;
use forgemesh_storage::Storage;

use crate::durable::Kept;
use crate::gauge::Waiting;
use crate::known::Known;

/// What has just happened.
pub enum Moment<'a> {
    /// An entry is agreed on, and the observer has applied it.
    Applied { entry: &'a Entry, outcome: &'a Result<Applied, Rejected> },
    /// A member has durably appended an entry; what is agreed on at that index, if it binds a leader of the member's term; a
    /// member that has another entry of the same index and term.
    Logged { machine: usize, index: u64, kept: &'a Kept, agreed: Option<&'a Kept>, differs: Option<usize> },
    /// A member takes back the entries from here on; the first of them that is agreed on and binds a leader of its term.
    Truncated { machine: usize, from: u64, agreed: Option<u64> },
    /// The state after this entry takes the place of all before it; so many are agreed on.
    Snapshot { machine: usize, index: u64, agreed: u64 },
    /// A member has durably voted; in which term before that.
    Voted { machine: usize, before: u64, term: u64 },
    /// This node leads in this term: it says so, or a member has noted it.
    Led { machine: usize, term: u64, leader: NodeId },
    /// An agent sends a link of its chain.
    Attested { agent: NodeId, seq: u64, digest: Hash },
    /// A client is told that its job is accepted.
    Acknowledged { job: JobId },
    /// A client is told that its job is refused.
    Refused { job: JobId, reason: &'a str },
    /// A member was current and had so many log entries, where `floor` had been shown before it was asked; a job that had
    /// been acknowledged before and that it does not know.
    Read { machine: usize, floor: u64, log: u64, missing: Option<JobId> },
    /// A ledger entry is durable on a machine.
    Entered { machine: usize, entry: &'a LedgerEntry },
    /// A final job's record is durable on a machine.
    Recorded { machine: usize, file: &'a JobFile },
    /// Something durable cannot be read back, or not in its place.
    Unreadable { machine: usize, what: &'static str },
    /// A life begins on a disk; what is not there and was reported durable, or is there and was never written.
    Opened { machine: usize, lost: Option<String> },
    /// A member has come to life with this state; what it should be, given its length.
    Booted { machine: usize, hub: &'a Hub, expected: Option<&'a Hub> },
    /// A machine's node removes a blob, durably.
    LetGo { machine: usize, blob: Hash },
    /// A machine's disk is lost, and all that was on it.
    Replaced { machine: usize },
    /// What waits inside one machine.
    Beat { machine: usize, waiting: Waiting },
    /// What a node says of the queues within it.
    Queues { machine: usize, queues: &'a [Queue] },
    /// The world was healed and given time; the disks of the members in good order are opened as a stranger would.
    Over { storages: &'a [(usize, Storage)], unfinished: &'a [String] },
}

/// What an invariant sees.
pub struct View<'a> {
    pub moment: Moment<'a>,
    /// The observer's hub, with all that is agreed on applied.
    pub mirror: &'a Hub,
    /// The node of each machine.
    pub nodes: &'a [NodeId],
    pub known: &'a Known,
}

impl<'a> View<'a> {
    /// The job that became final in this moment.
    pub fn finished(&self) -> Option<&'a FinishedJob> {
        match &self.moment {
            Moment::Applied { outcome: Ok(applied), .. } => applied.finished(),
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
        Box::new(chain_unforked::ChainUnforked::default()),
        Box::new(failed_for_cause::FailedForCause),
        Box::new(fresh_reads::FreshReads),
        Box::new(honest_unblamed::HonestUnblamed),
        // Before the chain of the books, which a second end breaks too.
        Box::new(one_final_result::OneFinalResult::default()),
        Box::new(ledger_chains::LedgerChains::default()),
        Box::new(log_safety::LogSafety),
        Box::new(one_leader::OneLeader::default()),
        Box::new(one_receipt::OneReceipt::default()),
        Box::new(progress::Progress),
        Box::new(queues_bounded::QueuesBounded),
        Box::new(replay_matches::ReplayMatches),
        // After what looks at the same evidence more closely.
        Box::new(evidence_kept::EvidenceKept),
        Box::new(result_correct::ResultCorrect),
        Box::new(valid_accepted::ValidAccepted),
    ]
}
