//! The outside observer: follows the disks of all machines, applies every log entry that a majority of the hub's members
//! has durably, counts the books as they are written, and has every invariant look at each step. It believes the disks
//! alone, never what a node says of itself.

mod deliveries;
#[cfg(test)]
mod tests;
mod told;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use forgemesh_consensus::job::Reason;
use forgemesh_consensus::machine::{Applied, Event, Hub};
use forgemesh_consensus::raft::{Ballot, Committed, Logged};
use forgemesh_node::job_file::{JobFile, UNSIGNED_NAMESPACE};
use forgemesh_protocol::canon;
use forgemesh_protocol::genesis::Genesis;
use forgemesh_protocol::hash::Hash;
use forgemesh_protocol::id::{JobId, NodeId};
use forgemesh_protocol::ledger::LedgerEntry;
use forgemesh_protocol::limits;
use forgemesh_storage::{Batch, ReadError, Storage, Write};
use serde::Serialize;
use tokio::sync::Notify;

use crate::agreement::Agreement;
use crate::durable::{Durable, Kept, Unreadable};
use crate::faults::Class;
use crate::invariants::{self, Invariant, Moment, View, evidence_kept};
use crate::known::{Floor, Known};
use crate::witness::deliveries::Deliveries;

/// Rows read at a time.
const PAGE: usize = 1_000;
/// Agreed entries between two states of the mirror that are kept.
const STRIDE: usize = 32;

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
    /// Every machine's.
    nodes: Vec<NodeId>,
    /// The mirror after every so many entries: a member's disk may know less than is agreed on.
    earlier: Vec<Hub>,
    agreement: Agreement,
    disks: BTreeMap<usize, Disk>,
    /// The newest leader, and the terms that had one.
    leader: Option<(u64, NodeId)>,
    terms: BTreeSet<u64>,
    known: Known,
    /// Log entries that a read has shown.
    shown: u64,
    invariants: Vec<Box<dyn Invariant>>,
    checks: BTreeMap<&'static str, u64>,
    struck: BTreeMap<Class, u64>,
    events: BTreeMap<&'static str, u64>,
    /// What shards came to, by their addresses.
    accumulators: BTreeSet<Hash>,
    deliveries: Deliveries,
    violation: Option<Violation>,
}

/// One machine's disk.
#[derive(Default)]
struct Disk {
    is_member: bool,
    /// It is gone for good, and its machine with it.
    is_gone: bool,
    /// Its bits have turned.
    is_rotten: bool,
    durable: Durable,
    /// What was being written last, if nobody heard that it is durable.
    attempted: Option<Batch>,
    /// It was opened, and its node has not come to life on it yet: what that writes into the books nobody reports.
    is_booting: bool,
    /// Jobs in its books, and those whose receipts lack signatures.
    recorded: BTreeSet<JobId>,
    unsigned: BTreeSet<String>,
}

impl Witness {
    /// Of the mesh with this genesis, whose members are the first of these nodes, with every invariant there is.
    pub fn new(genesis: Genesis, nodes: Vec<NodeId>, known: Known) -> Witness {
        let members = genesis.hub.len();
        let disk = |machine| (machine, Disk { is_member: true, ..Disk::default() });
        let mirror = Hub::new(genesis);
        let seen = Seen {
            earlier: vec![mirror.clone()],
            mirror,
            agreement: Agreement::among(&nodes, members),
            nodes,
            disks: (0..members).map(disk).collect(),
            leader: None,
            terms: BTreeSet::new(),
            known,
            shown: 0,
            invariants: invariants::all(),
            checks: BTreeMap::new(),
            struck: BTreeMap::new(),
            events: BTreeMap::new(),
            accumulators: BTreeSet::new(),
            deliveries: Deliveries::default(),
            violation: None,
        };
        Witness { seen: Rc::new(RefCell::new(seen)), recorded: Rc::default(), violated: Rc::default() }
    }

    /// Has every invariant look at this moment.
    pub fn look(&self, moment: Moment<'_>) {
        let mut seen = self.seen.borrow_mut();
        let Seen { mirror, nodes, known, invariants, checks, violation, .. } = &mut *seen;
        if violation.is_some() {
            return;
        }
        let view = View { moment, mirror, nodes, known };
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

    /// A machine's store begins to write this batch.
    pub fn attempted(&self, machine: usize, batch: &Batch) {
        self.seen.borrow_mut().disk(machine).attempted = Some(batch.clone());
    }

    /// The batch is durable on that machine's disk.
    pub fn committed(&self, machine: usize, batch: &Batch) {
        self.seen.borrow_mut().disk(machine).attempted = None;
        for write in batch.writes() {
            self.written(machine, write);
        }
    }

    fn written(&self, machine: usize, write: &Write) {
        let agreed = self.seen.borrow().agreement.length();
        match write {
            Write::AppendLog { index, entry } => return self.appended(machine, *index, entry),
            Write::TruncateLog { from } => {
                let agreed = self.seen.borrow().takes_back(machine, *from);
                self.look(Moment::Truncated { machine, from: *from, agreed });
                self.seen.borrow_mut().count("truncations");
            }
            Write::PutSnapshot { index, .. } | Write::RenewSnapshot { index, .. } => {
                self.look(Moment::Snapshot { machine, index: *index, agreed });
                self.seen.borrow_mut().count("snapshots");
            }
            Write::PutJob { record, .. } => self.recorded(machine, record),
            Write::PutOutbox { attestation, .. } => self.attested(attestation),
            Write::QuarantineBlob { .. } => self.seen.borrow_mut().count("quarantines"),
            Write::PutBlob { blob } => self.stored(machine, blob.hash()),
            Write::DeleteBlob { hash } => self.look(Moment::LetGo { machine, blob: *hash }),
            _ => {}
        }
        let mut seen = self.seen.borrow_mut();
        let disk = seen.disk(machine);
        let before = disk.durable.vote;
        let read = disk.durable.write(write).is_ok();
        match write {
            Write::PutKv { namespace, key, .. } if namespace == UNSIGNED_NAMESPACE => {
                disk.unsigned.insert(key.clone());
            }
            Write::DeleteKv { namespace, key } if namespace == UNSIGNED_NAMESPACE => {
                disk.unsigned.remove(key);
                self.recorded.notify_one();
            }
            _ => {}
        }
        let vote = disk.durable.vote;
        drop(seen);
        match write {
            _ if !read => self.look(Moment::Unreadable { machine, what: "a vote" }),
            Write::AppendLedger { entry, .. } => self.entered(machine, entry),
            Write::PutMeta { key: forgemesh_storage::MetaKey::RaftVote, .. } => {
                vote.into_iter().for_each(|vote| self.voted(machine, before, vote));
            }
            _ => {}
        }
    }

    fn appended(&self, machine: usize, index: u64, bytes: &[u8]) {
        let news = {
            let mut seen = self.seen.borrow_mut();
            let disk = seen.disk(machine);
            let in_order = index == disk.durable.next();
            let write = Write::AppendLog { index, entry: bytes.to_vec() };
            if !in_order || disk.durable.write(&write).is_err() {
                drop(seen);
                return self.look(Moment::Unreadable { machine, what: "a log entry" });
            }
            let Seen { disks, agreement, .. } = &mut *seen;
            agreement.appended(machine, &disks[&machine].durable)
        };
        let Ok(news) = news else {
            return self.look(Moment::Unreadable { machine, what: "what its log goes on from" });
        };
        let (kept, agreed, differs) = {
            let seen = self.seen.borrow();
            let durable = &seen.disks[&machine].durable;
            let kept = durable.entry(index).cloned().expect("invariant: it was appended just now");
            let term = durable.vote.map_or(kept.term, |vote| vote.term.max(kept.term));
            let agreed = seen.agreement.binding(index, term).cloned();
            (kept, agreed, seen.differs(machine, index))
        };
        self.look(Moment::Logged { machine, index, kept: &kept, agreed: agreed.as_ref(), differs });
        news.iter().for_each(|kept| self.agreed(kept));
    }

    /// A member has voted, or knows who was elected.
    fn voted(&self, machine: usize, before: Option<Ballot>, ballot: Ballot) {
        let before = before.map_or(0, |vote| vote.term);
        self.look(Moment::Voted { machine, before, term: ballot.term });
        if let (true, Some(leader)) = (ballot.elected, ballot.member) {
            self.led(machine, ballot.term, leader);
        }
    }

    fn led(&self, machine: usize, term: u64, leader: NodeId) {
        let mut seen = self.seen.borrow_mut();
        if seen.terms.insert(term) {
            seen.count("elections");
        }
        if seen.leader.is_none_or(|(newest, _)| newest < term) {
            seen.leader = Some((term, leader));
        }
        drop(seen);
        self.look(Moment::Led { machine, term, leader });
    }

    /// A life begins on this disk: what was reported durable must be there.
    pub fn opened(&self, machine: usize, storage: &Storage) -> Result<(), Unreadable> {
        let found = Durable::read(storage)?;
        let mut seen = self.seen.borrow_mut();
        let disk = seen.disk(machine);
        let attempted = disk.attempted.take();
        if disk.is_rotten {
            // Whatever can be read; entries of the books that nobody has seen yet are looked at once it has booted.
            let books = std::mem::take(&mut disk.durable.books);
            disk.durable = Durable { books, ..found };
            return Ok(());
        }
        if std::mem::replace(&mut disk.is_booting, true) && found.books.starts_with(&disk.durable.books) {
            // A life that failed to begin may have entered some of them. They are looked at when one has begun.
            let entered = Durable { books: found.books.clone(), ..disk.durable.clone() };
            if entered == found {
                drop(seen);
                self.look(Moment::Opened { machine, lost: None });
                return Ok(());
            }
        }
        if found == disk.durable {
            drop(seen);
            self.look(Moment::Opened { machine, lost: None });
            return Ok(());
        }
        let after = attempted.as_ref().and_then(|batch| disk.durable.after(batch).ok());
        let lost = (after.as_ref() != Some(&found)).then(|| disk.durable.missing(&found));
        drop(seen);
        let is_whole = lost.is_none();
        self.look(Moment::Opened { machine, lost });
        if let Some(batch) = attempted.filter(|_| is_whole) {
            self.committed(machine, &batch);
        }
        Ok(())
    }

    /// A node has come to life on `storage`, a member with this state: what its boot has written is caught up.
    pub fn booted(&self, machine: usize, storage: &Storage, hub: Option<&Hub>) -> Result<(), ReadError> {
        loop {
            let next = self.seen.borrow_mut().disk(machine).durable.books.len() as u64;
            let Some(entry) = storage.ledger(next)? else { break };
            self.written(machine, &Write::AppendLedger { seq: next, entry });
        }
        let unsigned = storage.kv_list(UNSIGNED_NAMESPACE, None, PAGE)?;
        let unsigned = unsigned.into_iter().map(|(key, _)| key).collect();
        let mut seen = self.seen.borrow_mut();
        let disk = seen.disk(machine);
        (disk.unsigned, disk.is_booting) = (unsigned, false);
        drop(seen);
        if let Some(hub) = hub {
            let expected = self.seen.borrow().after(hub.state().next);
            self.look(Moment::Booted { machine, hub, expected: expected.as_ref() });
        }
        Ok(())
    }

    /// An entry is agreed on.
    fn agreed(&self, kept: &Kept) {
        let Ok(committed) = Logged::decode(&kept.bytes).and_then(Committed::try_from) else { return };
        let mut seen = self.seen.borrow_mut();
        let entry = match committed {
            Committed::Other { index, term } => {
                // Entries are agreed on in their order.
                let _ = seen.mirror.pass_over(index, term);
                return seen.remember();
            }
            Committed::Entry(entry) => entry,
        };
        let outcome = seen.mirror.apply(&entry);
        seen.remember();
        if let Ok(applied) = &outcome
            && let Some(finished) = applied.finished()
        {
            finished.record.set_aside.iter().for_each(|aside| seen.count(event(aside.reason)));
        }
        if let Ok(Applied { event: Event::Seated, .. }) = &outcome {
            seen.count("seatings");
            let seated = seen.mirror.seated().to_vec();
            let numbers: Vec<usize> =
                seated.iter().filter_map(|node| seen.nodes.iter().position(|other| other == node)).collect();
            numbers.into_iter().for_each(|machine| seen.disk(machine).is_member = true);
        }
        drop(seen);
        self.look(Moment::Applied { entry: &entry, outcome: &outcome });
    }

    fn entered(&self, machine: usize, bytes: &[u8]) {
        let entry = canon::from_bytes::<LedgerEntry>(bytes, limits::COMMAND_BYTES);
        let Ok(entry) = entry else {
            return self.look(Moment::Unreadable { machine, what: "a ledger entry" });
        };
        self.look(Moment::Entered { machine, entry: &entry });
        self.seen.borrow_mut().disk(machine).recorded.insert(entry.job);
        self.recorded.notify_one();
    }

    fn recorded(&self, machine: usize, bytes: &[u8]) {
        match JobFile::decode(bytes) {
            Ok(file) => self.look(Moment::Recorded { machine, file: &file }),
            Err(_) => self.look(Moment::Unreadable { machine, what: "a job's record" }),
        }
    }

    /// What a read that begins now must show.
    pub fn floor(&self) -> Floor {
        let seen = self.seen.borrow();
        Floor { log: seen.shown, acknowledged: seen.known.acknowledged.iter().copied().collect() }
    }

    /// Is the job in a machine's books? What a disk has lost of its bits is not held against it.
    pub fn has_recorded(&self, machine: usize, job: &JobId) -> bool {
        let mut seen = self.seen.borrow_mut();
        let disk = seen.disk(machine);
        disk.is_rotten || disk.recorded.contains(job)
    }

    /// A member has shown what it knows.
    pub fn read(&self, read: Moment<'_>) {
        let shown = if let Moment::Read { log, .. } = &read { *log } else { 0 };
        self.look(read);
        let mut seen = self.seen.borrow_mut();
        seen.shown = seen.shown.max(shown);
    }

    /// A machine's disk is beyond repair; a member's machine is gone with it, any other gets a blank one.
    pub fn lost_disk(&self, machine: usize) {
        let mut seen = self.seen.borrow_mut();
        let is_member = seen.disk(machine).is_member;
        seen.disks.insert(machine, Disk { is_member, is_gone: is_member, ..Disk::default() });
        drop(seen);
        self.look(Moment::Replaced { machine });
        self.recorded.notify_one();
    }

    /// A machine's life has ended.
    pub fn died(&self, node: NodeId) {
        let mut seen = self.seen.borrow_mut();
        if seen.leader.is_some_and(|(_, leader)| leader == node) {
            seen.count("leaders_killed");
        }
    }

    /// Who was elected last.
    pub fn leader(&self) -> Option<NodeId> {
        self.seen.borrow().leader.map(|(_, leader)| leader)
    }

    /// Members whose disks are in good order.
    pub fn sound(&self) -> Vec<usize> {
        let seen = self.seen.borrow();
        seen.disks.iter().filter(|(_, disk)| disk.is_sound()).map(|(machine, _)| *machine).collect()
    }

    /// What a member that sits lacks of the evidence that it will still get, given what the sound members have now.
    pub fn missing_evidence(&self, storages: &[(usize, &Storage)]) -> Result<Option<String>, ReadError> {
        let seen = self.seen.borrow();
        evidence_kept::missing(storages, &seen.nodes, seen.mirror.seated(), &seen.known)
    }

    /// Faults that struck, by class.
    pub fn strikes(&self) -> BTreeMap<Class, u64> {
        self.seen.borrow().struck.clone()
    }

    /// What happened that is rare, by name.
    pub fn events(&self) -> BTreeMap<&'static str, u64> {
        self.seen.borrow().events.clone()
    }

    /// Jobs that are open in the log, or acknowledged and not in the books of every sound member with a whole receipt.
    pub fn unfinished(&self) -> Vec<String> {
        let seen = self.seen.borrow();
        let open = seen.mirror.state().open.values();
        let mut out: Vec<String> = open.map(|job| format!("{} is {:?}", job.id, job.state)).collect();
        for (machine, disk) in seen.disks.iter().filter(|(_, disk)| disk.is_sound()) {
            let missing = seen.known.acknowledged.difference(&disk.recorded);
            let missing = missing.filter(|job| !seen.mirror.state().open.contains_key(job));
            out.extend(
                missing.map(|job| format!("{job} is final and not in the books of machine {machine}")),
            );
            let unsigned = disk.unsigned.iter();
            out.extend(unsigned.map(|job| format!("the receipt of {job} lacks signatures at {machine}")));
        }
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
        let books = seen.disks.values().map(|disk| disk.durable.books.len() as u64).max();
        (books.unwrap_or(0), seen.mirror.state().next)
    }

    /// A client has its answer.
    pub fn answered(&self) {
        self.recorded.notify_one();
    }

    /// Ready when something was recorded, or a client has its answer.
    pub async fn changed(&self) {
        self.recorded.notified().await;
    }

    /// Ready when an invariant did not hold.
    pub async fn violated(&self) {
        self.violated.notified().await;
    }
}

impl Disk {
    /// Is it a member's, in good order?
    fn is_sound(&self) -> bool {
        self.is_member && !self.is_gone && !self.is_rotten
    }
}

impl Seen {
    fn count(&mut self, event: &'static str) {
        *self.events.entry(event).or_default() += 1;
    }

    fn disk(&mut self, machine: usize) -> &mut Disk {
        self.disks.entry(machine).or_default()
    }

    /// The first entry from `from` on that a machine has and that is agreed on, as a leader of the machine's term must know.
    fn takes_back(&self, machine: usize, from: u64) -> Option<u64> {
        let durable = &self.disks.get(&machine)?.durable;
        let end = durable.next().min(self.agreement.length());
        let term = durable.vote.map_or(0, |vote| vote.term);
        let kept = |index: &u64| self.agreement.binding(*index, term);
        (from..end).find(|index| kept(index).is_some_and(|kept| durable.entry(*index) == Some(kept)))
    }

    /// A machine that has another entry of this index and of the same term.
    fn differs(&self, machine: usize, index: u64) -> Option<usize> {
        let own = self.disks.get(&machine)?.durable.entry(index)?;
        let other = self.disks.iter().filter(|(_, disk)| !disk.is_rotten).find(|(_, disk)| {
            disk.durable.entry(index).is_some_and(|kept| kept.term == own.term && kept.bytes != own.bytes)
        });
        other.map(|(machine, _)| *machine)
    }

    /// Keeps the mirror as it is now and then.
    fn remember(&mut self) {
        if self.earlier.len() * STRIDE <= self.mirror.state().next as usize {
            self.earlier.push(self.mirror.clone());
        }
    }

    /// The state before the entry `next`; none if nobody has agreed on all before it.
    fn after(&self, next: u64) -> Option<Hub> {
        let current = self.mirror.state().next;
        if next >= current {
            return (next == current).then(|| self.mirror.clone());
        }
        let mut hub = self.earlier.iter().rev().find(|hub| hub.state().next <= next)?.clone();
        while hub.state().next < next {
            let kept = self.agreement.entry(hub.state().next)?;
            match Logged::decode(&kept.bytes).and_then(Committed::try_from).ok()? {
                Committed::Other { index, term } => hub.pass_over(index, term).ok()?,
                // One that was rejected changes nothing now either.
                Committed::Entry(entry) => drop(hub.apply(&entry)),
            }
        }
        Some(hub)
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
