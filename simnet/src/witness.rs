//! The outside observer: applies every log entry that became durable on the hub's disk, counts the books as they are
//! written, and has every invariant look at each step. It believes the disk alone, never what a node says of itself.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use forgemesh_consensus::command::Entry;
use forgemesh_consensus::job::Reason;
use forgemesh_consensus::machine::Hub;
use forgemesh_node::ports::Done;
use forgemesh_protocol::canon;
use forgemesh_protocol::genesis::Genesis;
use forgemesh_protocol::hash::Hash;
use forgemesh_protocol::id::{JobId, NodeId};
use forgemesh_protocol::ledger::LedgerEntry;
use forgemesh_protocol::limits;
use forgemesh_protocol::wire::Message;
use forgemesh_storage::{Batch, Storage, Write};
use serde::Serialize;
use tokio::sync::Notify;

use crate::faults::Class;
use crate::invariants::{self, Invariant, Moment, View};

/// Rows read at a time.
const PAGE: usize = 1_000;

/// What is known of the world beside its nodes.
#[derive(Clone, Debug, Default)]
pub struct Known {
    /// Agents that do not do what they say.
    pub liars: BTreeSet<NodeId>,
    /// Jobs whose acceptance a client was told.
    pub acknowledged: BTreeSet<JobId>,
    /// Jobs that their submitters have asked to cancel.
    pub cancelled: BTreeSet<JobId>,
    /// A disk has lost bits: evidence may be gone through nobody's fault.
    pub rotten: bool,
    /// An executor has failed shards that are none the worse for it.
    pub failed_shards: bool,
    /// Accumulators that a disk has lost.
    pub lost: BTreeSet<Hash>,
}

/// The first invariant that did not hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Violation {
    pub invariant: &'static str,
    pub detail: String,
}

/// What the observer has seen. Clones are the same observer.
#[derive(Clone)]
pub struct Witness {
    seen: Rc<RefCell<Seen>>,
    recorded: Rc<Notify>,
    violated: Rc<Notify>,
}

struct Seen {
    mirror: Hub,
    known: Known,
    /// Entries of the books so far, and the jobs in them.
    books: u64,
    recorded: BTreeSet<JobId>,
    invariants: Vec<Box<dyn Invariant>>,
    checks: BTreeMap<&'static str, u64>,
    struck: BTreeMap<Class, u64>,
    events: BTreeMap<&'static str, u64>,
    /// What shards came to, by their addresses.
    accumulators: BTreeSet<Hash>,
    violation: Option<Violation>,
}

impl Witness {
    /// Of the mesh with this genesis, with every invariant there is.
    pub fn new(genesis: Genesis, known: Known) -> Witness {
        let seen = Seen {
            mirror: Hub::new(genesis),
            known,
            books: 0,
            recorded: BTreeSet::new(),
            invariants: invariants::all(),
            checks: BTreeMap::new(),
            struck: BTreeMap::new(),
            events: BTreeMap::new(),
            accumulators: BTreeSet::new(),
            violation: None,
        };
        Witness { seen: Rc::new(RefCell::new(seen)), recorded: Rc::default(), violated: Rc::default() }
    }

    /// Has every invariant look at this moment.
    pub fn look(&self, moment: Moment<'_>) {
        let mut seen = self.seen.borrow_mut();
        let Seen { mirror, known, invariants, checks, violation, .. } = &mut *seen;
        if violation.is_some() {
            return;
        }
        let view = View { moment, mirror, known };
        for invariant in invariants.iter_mut() {
            let name = invariant.name();
            match invariant.check(&view) {
                Ok(true) => *checks.entry(name).or_default() += 1,
                Ok(false) => {}
                Err(detail) => {
                    *violation = Some(Violation { invariant: name, detail });
                    self.violated.notify_one();
                    return;
                }
            }
        }
    }

    /// A batch is durable on the hub's disk.
    pub fn committed(&self, batch: &Batch) {
        for write in batch.writes() {
            match write {
                Write::AppendLog { entry, .. } => self.logged(entry),
                Write::AppendLedger { entry, .. } => self.entered(entry),
                Write::PutSnapshot { .. } => self.seen.borrow_mut().count("snapshots"),
                _ => {}
            }
        }
    }

    /// The hub has come to life on `storage` with this state: what became durable while nobody heard of it is caught up.
    pub fn booted(&self, storage: &Storage, hub: &Hub) -> Result<(), forgemesh_storage::ReadError> {
        loop {
            let from = self.seen.borrow().mirror.state().next;
            if from >= hub.state().next {
                break;
            }
            let page = storage.log(from, PAGE)?;
            if page.is_empty() {
                break;
            }
            page.iter().for_each(|(_, entry)| self.logged(entry));
        }
        let known = self.seen.borrow().books;
        for seq in known.. {
            let Some(entry) = storage.ledger(seq)? else { break };
            self.entered(&entry);
        }
        self.look(Moment::Booted { hub, storage });
        Ok(())
    }

    fn logged(&self, bytes: &[u8]) {
        let Ok(entry) = Entry::decode(bytes) else {
            return self.look(Moment::Unreadable { what: "a log entry" });
        };
        let outcome = {
            let mut seen = self.seen.borrow_mut();
            if entry.index != seen.mirror.state().next {
                drop(seen);
                return self.look(Moment::Unreadable { what: "a log entry out of order" });
            }
            seen.mirror.apply(&entry)
        };
        if let Ok(applied) = &outcome
            && let Some(finished) = &applied.finished
        {
            let mut seen = self.seen.borrow_mut();
            finished.record.set_aside.iter().for_each(|aside| seen.count(event(aside.reason)));
        }
        self.look(Moment::Applied { entry: &entry, outcome: &outcome });
    }

    fn entered(&self, bytes: &[u8]) {
        let entry = canon::from_bytes::<LedgerEntry>(bytes, limits::COMMAND_BYTES);
        let Ok(entry) = entry else { return self.look(Moment::Unreadable { what: "a ledger entry" }) };
        self.look(Moment::Entered { entry: &entry });
        let mut seen = self.seen.borrow_mut();
        seen.books += 1;
        seen.recorded.insert(entry.job);
        self.recorded.notify_one();
    }

    /// A client was told that its job is accepted.
    pub fn acknowledged(&self, job: JobId) {
        self.seen.borrow_mut().known.acknowledged.insert(job);
    }

    /// A submitter asks to cancel its job.
    pub fn cancelled(&self, job: JobId) {
        self.seen.borrow_mut().known.cancelled.insert(job);
    }

    /// A disk has lost bits.
    pub fn rotten(&self) {
        self.seen.borrow_mut().known.rotten = true;
    }

    /// A fault has struck.
    pub fn struck(&self, class: Class) {
        *self.seen.borrow_mut().struck.entry(class).or_default() += 1;
    }

    /// A healthy shard failed on a broken executor.
    pub fn failed_shard(&self) {
        self.seen.borrow_mut().known.failed_shards = true;
    }

    /// A disk has lost this accumulator.
    pub fn lost(&self, blob: Hash) {
        let mut seen = self.seen.borrow_mut();
        seen.known.lost.insert(blob);
        seen.count("blobs_lost");
    }

    /// A piece of work has ended on some machine.
    pub fn ended(&self, done: &Done) {
        let mut seen = self.seen.borrow_mut();
        match done {
            Done::Ran { claim, .. } => {
                seen.accumulators.insert(claim.blob);
            }
            Done::Lacking { .. } => seen.count("reductions_lacking"),
            _ => {}
        }
    }

    /// Whether a shard came to this.
    pub fn is_accumulator(&self, blob: &Hash) -> bool {
        self.seen.borrow().accumulators.contains(blob)
    }

    /// A node told another, or itself, something that is rarely said.
    pub fn said(&self, message: &Message) {
        match message {
            Message::ShardFailed { .. } => self.seen.borrow_mut().count("shard_failed"),
            Message::NoBlob { .. } => self.seen.borrow_mut().count("no_blob"),
            _ => {}
        }
    }

    /// Faults that struck, by class.
    pub fn strikes(&self) -> BTreeMap<Class, u64> {
        self.seen.borrow().struck.clone()
    }

    /// What happened that is rare, by name.
    pub fn events(&self) -> BTreeMap<&'static str, u64> {
        self.seen.borrow().events.clone()
    }

    /// Whether this job is in the books.
    pub fn is_recorded(&self, job: &JobId) -> bool {
        self.seen.borrow().recorded.contains(job)
    }

    /// Jobs that are open in the log, or acknowledged and not in the books.
    pub fn unfinished(&self) -> Vec<String> {
        let seen = self.seen.borrow();
        let open = seen.mirror.state().open.values();
        let mut out: Vec<String> = open.map(|job| format!("{} is {:?}", job.id, job.state)).collect();
        let missing = seen.known.acknowledged.iter().filter(|job| !seen.recorded.contains(job));
        let missing = missing.filter(|job| !seen.mirror.state().open.contains_key(job));
        out.extend(missing.map(|job| format!("{job} is final in the log and not in the books")));
        out
    }

    /// The first violation so far.
    pub fn violation(&self) -> Option<Violation> {
        self.seen.borrow().violation.clone()
    }

    /// How often each invariant was checked.
    pub fn checks(&self) -> BTreeMap<&'static str, u64> {
        self.seen.borrow().checks.clone()
    }

    /// Entries of the books, and of the log.
    pub fn lengths(&self) -> (u64, u64) {
        let seen = self.seen.borrow();
        (seen.books, seen.mirror.state().next)
    }

    /// Ready when something was recorded.
    pub async fn changed(&self) {
        self.recorded.notified().await;
    }

    /// Ready when an invariant did not hold.
    pub async fn violated(&self) {
        self.violated.notified().await;
    }
}

impl Seen {
    fn count(&mut self, event: &'static str) {
        *self.events.entry(event).or_default() += 1;
    }
}

/// The name under which batches that no longer count are counted.
fn event(reason: Reason) -> &'static str {
    match reason {
        Reason::False => "false",
        Reason::Convicted => "convicted",
        Reason::Unopened => "unopened",
        Reason::Lost => "lost",
        Reason::Superseded => "superseded",
    }
}

/// Hears what became durable on one machine's disk.
#[derive(Clone)]
pub struct Observer(pub Option<Witness>);

impl Observer {
    /// This batch did.
    pub fn committed(&self, batch: &Batch) {
        if let Some(witness) = &self.0 {
            witness.committed(batch);
        }
    }
}
