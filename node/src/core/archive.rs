//! The archive role: this node's replica of the books, in the order of the ledger. A hub member enters what follows from
//! its log; what a node did not see happen it gets from the members, and believes by its chain and its signatures. So a
//! member to which no other member answers may have it from any agent.

use std::collections::{BTreeMap, BTreeSet};

use forgemesh_consensus::machine::HubState;
use forgemesh_consensus::settle::FinishedJob;
use forgemesh_kernel::job::Job;
use forgemesh_protocol::canon::Bytes;
use forgemesh_protocol::charter::Charters;
use forgemesh_protocol::hash::Hash;
use forgemesh_protocol::id::NodeId;
use forgemesh_protocol::limits;
use forgemesh_protocol::receipt::ReceiptSignature;
use forgemesh_protocol::wire::Message;
use forgemesh_storage::Batch;

use super::books::shelve;
use super::hub::HubRole;
use super::{AfterStore, AfterWork, Context, Now, Progress, Queue};
use crate::blobs::{BOOKS, BOOKS_BYTES};
use crate::job_file::{JobFile, UNSIGNED_NAMESPACE};
use crate::ports::{Done, Work};

/// Where the books on this node's disk end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LedgerEnd {
    pub entries: u64,
    /// Digest of the last one; zero before the first.
    pub head: Hash,
}

impl LedgerEnd {
    /// Where they end in the hub's log.
    pub fn of(state: &HubState) -> LedgerEnd {
        LedgerEnd { entries: state.ledger_len, head: state.ledger_head }
    }
}

/// A question for a page of the books.
struct Asked {
    /// Nobody once it gave what is not true.
    node: Option<NodeId>,
    /// When another one is asked.
    until_ms: u64,
    from: u64,
    /// What has come of it, and of what is here already.
    bytes: usize,
    late: usize,
}

/// An entry of this member's own.
struct Waiting {
    /// Digest of the entry that it goes on from.
    prev: Hash,
    head: Hash,
    charter: u64,
    batch: Batch,
    after: AfterStore,
}

/// The books and what is missing in them.
pub(crate) struct ArchiveRole {
    charters: Charters,
    /// The newest charter that a record was signed under: none comes after it under an older one.
    charter: u64,
    end: LedgerEnd,
    /// How many entries there are, as far as is known.
    known: u64,
    asked: Option<Asked>,
    /// Whom to ask: who gives goes on giving.
    turn: usize,
    /// Questions of which nothing came, since nothing was missing.
    vain: usize,
    /// Entries of this member's own that come after a gap.
    waiting: BTreeMap<u64, Waiting>,
    /// For whom the books are being read.
    read_for: BTreeSet<NodeId>,
}

impl ArchiveRole {
    /// `known`: how many entries this node's own log has led to.
    pub fn new(charters: Charters, end: LedgerEnd, known: u64) -> Self {
        let (waiting, read_for) = (BTreeMap::new(), BTreeSet::new());
        ArchiveRole { charters, charter: 0, end, known, asked: None, turn: 0, vain: 0, waiting, read_for }
    }

    /// Others may sign from now on.
    pub fn follow(&mut self, charters: &Charters) {
        self.charters = charters.clone();
    }

    /// What follows from this node's own log: entered at once, or after what is missing before it. Says what can be
    /// stored now.
    pub fn enter(
        &mut self,
        finished: &FinishedJob,
        batch: Batch,
        after: AfterStore,
    ) -> Vec<(Batch, AfterStore)> {
        let entry = &finished.entry;
        if entry.seq < self.end.entries {
            // An earlier life has entered it, or another member's books: what waits for it goes on.
            return vec![(Batch::new(), after)];
        }
        let (head, charter) = (entry.hash(), finished.charter);
        self.waiting.insert(entry.seq, Waiting { prev: entry.prev, head, charter, batch, after });
        self.next_in_order()
    }

    /// The receipt of a record has become complete, which may still wait for what comes before it in the ledger. Says what
    /// can be stored now.
    pub fn signed(&mut self, file: &JobFile, progress: Box<Progress>) -> Option<(Batch, AfterStore)> {
        if let Some(waiting) = self.waiting.get_mut(&file.finished.entry.seq) {
            (waiting.batch, waiting.after) = (shelve(file), AfterStore::Recorded(Some(progress)));
            return None;
        }
        let id = file.finished.record.id;
        let mut batch = Batch::new();
        batch.put_job(id.0, file.encode());
        batch.delete_kv(UNSIGNED_NAMESPACE, &id.to_string());
        Some((batch, AfterStore::Signed(progress)))
    }

    fn next_in_order(&mut self) -> Vec<(Batch, AfterStore)> {
        let mut out = Vec::new();
        while self.contradicted(None).is_none()
            && let Some(Waiting { head, charter, batch, after, .. }) = self.waiting.remove(&self.end.entries)
        {
            // Not before it is entered: what fills a gap before it is older.
            self.charter = self.charter.max(charter);
            self.end = LedgerEnd { entries: self.end.entries + 1, head };
            out.push((batch, after));
        }
        self.known = self.known.max(self.end.entries);
        out
    }

    /// How many entries are in the books, if they are not those of this member's log, which ends at `own`: somebody has
    /// handed on true entries in an order that is not the log's. Digests of entries are a chain, so the last one tells.
    pub fn contradicted(&self, own: Option<LedgerEnd>) -> Option<u64> {
        let LedgerEnd { entries, head } = self.end;
        let next = self.waiting.get(&entries).map(|next| next.prev);
        let last = own.filter(|own| own.entries == entries).map(|own| own.head);
        next.or(last).is_some_and(|known| known != head).then_some(entries)
    }

    /// How many are in the books, or on their way to the disk.
    pub fn entries(&self) -> u64 {
        self.end.entries
    }

    /// The hub has so many entries.
    pub fn told(&mut self, entries: u64) {
        self.known = self.known.max(entries);
    }

    /// A node asks for the books from here on.
    pub fn lend(&mut self, cx: &mut Context<'_>, to: NodeId, from: u64) {
        let is_free = self.read_for.len() < limits::BOOKS_READ;
        if from < self.end.entries && is_free && self.read_for.insert(to) {
            cx.work(Work::Books { from }, AfterWork::Books { to });
        }
    }

    /// They were read: those whose receipts are complete are sent.
    pub fn read(&mut self, cx: &mut Context<'_>, to: NodeId, done: Done) {
        self.read_for.remove(&to);
        let Done::Books { files } = done else { return };
        for file in files {
            let complete = JobFile::decode(&file.0).is_ok_and(|file| self.is_signed(&file));
            if !complete {
                return;
            }
            cx.send(to, Message::Book { file });
        }
    }

    /// A final job's record arrived: of a member, or of whom it was asked.
    pub fn arrived(&mut self, cx: &mut Context<'_>, from: NodeId, bytes: &Bytes) {
        let is_member = cx.members.contains(&from);
        if is_member {
            let Ok(file) = JobFile::decode(&bytes.0) else { return };
            if self.goes_on(&file) {
                self.vain = 0;
                self.take(cx, file, bytes.0.len());
            }
            return;
        }
        if self.asked.as_ref().and_then(|asked| asked.node) != Some(from) {
            return;
        }
        let file = JobFile::decode(&bytes.0).ok();
        let old = file.as_ref().is_some_and(|file| file.finished.entry.seq < self.end.entries);
        match file.filter(|file| self.goes_on(file)) {
            Some(file) => self.take(cx, file, bytes.0.len()),
            None => {
                let Some(asked) = &mut self.asked else { return };
                // A page that was late: others have given some of it meanwhile. Who gives anything else is listened to no longer.
                asked.node = asked.node.filter(|_| old && asked.late < BOOKS_BYTES);
                asked.late += bytes.0.len();
            }
        }
    }

    /// Is this the next entry, and is it true?
    fn goes_on(&self, file: &JobFile) -> bool {
        let entry = &file.finished.entry;
        let follows = entry.seq == self.end.entries && entry.prev == self.end.head;
        follows && file.finished.charter >= self.charter && self.is_true(file)
    }

    /// Enters a record that goes on from the last one here, and what has waited for it.
    fn take(&mut self, cx: &mut Context<'_>, file: JobFile, length: usize) {
        let entry = &file.finished.entry;
        self.charter = file.finished.charter;
        self.end = LedgerEnd { entries: entry.seq + 1, head: entry.hash() };
        cx.store_later(shelve(&file));
        let rest = self.next_in_order();
        rest.into_iter().for_each(|(batch, after)| cx.store(batch, after));
        if let Some(asked) = &mut self.asked {
            asked.bytes += length;
            // A full page has come: the next one is asked for at once.
            let is_full = entry.seq + 1 >= asked.from.saturating_add(BOOKS) || asked.bytes >= BOOKS_BYTES;
            if is_full && self.end.entries < self.known {
                self.asked = None;
            }
        }
    }

    /// Does all of it follow from the record, and has a majority signed that?
    fn is_true(&self, file: &JobFile) -> bool {
        // First that a quorum has signed for this very record: nothing may be derived from any other.
        if !self.is_signed(file) || file.receipt.evidence() != Some(file.finished.record.hash()) {
            return false;
        }
        // A later version of this program may know more contracts than this one.
        let record = &file.finished.record;
        let Ok(job) = Job::of_contract(record.contract.clone()) else { return false };
        if record.is_of(&job).is_err() {
            return false;
        }
        let receipt = file.finished.statement(&job, &self.charters).unsigned();
        file.receipt.payload == receipt.payload && file.finished.follows(&receipt)
    }

    /// By a quorum, and by nobody else: whoever verifies the receipt later finds fault with any other signature in it.
    fn is_signed(&self, file: &JobFile) -> bool {
        let Some(charter) = self.charters.version(file.finished.charter) else { return false };
        let signatures = &file.receipt.signatures;
        let message = file.receipt.signed_message();
        let is_good = |signature: &ReceiptSignature| {
            let member = charter.node(&signature.keyid);
            member.is_some_and(|member| member.key.verify_raw(&message, &signature.sig).is_ok())
        };
        (charter.quorum()..=limits::HUB_ADMITTED).contains(&signatures.len())
            && signatures.is_sorted_by(|before, after| before.keyid < after.keyid)
            && signatures.iter().all(is_good)
    }

    /// Asks for what is missing, one member after the other; a member asks an agent too after each round of the others, once none
    /// of them had it.
    pub fn advance(&mut self, cx: &mut Context<'_>, hub: Option<&HubRole>) {
        if self.end.entries >= self.known {
            if self.asked.take().is_some() {
                self.turn += 1;
            }
            self.vain = 0;
            return;
        }
        if let Some(asked) = &self.asked {
            if cx.now.up_ms < asked.until_ms {
                return;
            }
            self.vain += usize::from(asked.bytes == 0);
            self.turn += 1;
        }
        let own = cx.identity.node;
        let mut asked: Vec<NodeId> = cx.members.iter().copied().filter(|member| *member != own).collect();
        if let Some(hub) = hub.filter(|_| cx.sits() && self.vain >= asked.len()) {
            let mut agents = hub.agents_heard(cx.now.up_ms);
            agents.retain(|agent| !cx.members.contains(agent));
            let round = self.turn / (asked.len() + 1);
            asked.extend(agents.iter().nth(round % agents.len().max(1)));
        }
        if asked.is_empty() {
            self.asked = None;
            return;
        }
        // What is large, or comes over a slow line, takes longer than the first question waits.
        let rounds = 1 + (self.vain / asked.len()) as u64;
        let until_ms = cx.now.up_ms + (rounds * limits::RETRY_MS).min(limits::RETRY_MOST_MS);
        let (node, from) = (asked[self.turn % asked.len()], self.end.entries);
        self.asked = Some(Asked { node: Some(node), until_ms, from, bytes: 0, late: 0 });
        cx.send(node, Message::Books { from });
    }

    /// In how many milliseconds somebody is to be asked again.
    pub fn next_deadline(&self, now: Now) -> u64 {
        let asked = self.asked.as_ref().filter(|_| self.end.entries < self.known);
        asked.map_or(u64::MAX, |asked| asked.until_ms.saturating_sub(now.up_ms))
    }

    /// What waits here, and how much may.
    pub fn queues(&self) -> Vec<Queue> {
        let bound = limits::LOG_ENTRIES + limits::OPEN_JOBS as u64;
        vec![
            Queue::new("archive: entries after a gap", self.waiting.len() as u64, bound),
            Queue::new("archive: readers", self.read_for.len() as u64, limits::BOOKS_READ as u64),
        ]
    }
}
