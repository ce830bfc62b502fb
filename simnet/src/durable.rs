//! What a machine's disk must hold: every write that was reported durable, and nothing else but perhaps the one batch
//! that was being written when its last life ended.

use std::collections::{BTreeSet, VecDeque};
use std::rc::Rc;

use forgemesh_consensus::raft::{Ballot, Logged, LoggedError, Payload};
use forgemesh_protocol::hash::Hash;
use forgemesh_protocol::id::NodeId;
use forgemesh_storage::{Batch, MetaKey, ReadError, Storage, Write};

/// Rows read at a time.
const PAGE: usize = 1_000;

/// An entry of a member's log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    pub term: u64,
    /// The voters of the log from this entry on, in one set or, while they change, in two.
    pub voters: Option<Rc<Vec<BTreeSet<NodeId>>>>,
    pub bytes: Rc<[u8]>,
}

impl Kept {
    fn read(bytes: &[u8]) -> Result<Kept, LoggedError> {
        let Logged { term, payload, .. } = Logged::decode(bytes)?;
        let voters = match payload {
            Payload::Members(members) => Some(Rc::new(members.voters)),
            _ => None,
        };
        Ok(Kept { term, voters, bytes: bytes.into() })
    }
}

/// The log, the vote and the books on one disk.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Durable {
    pub vote: Option<Ballot>,
    /// Index of the first entry that is there, or of the next to come.
    pub first: u64,
    pub entries: VecDeque<Kept>,
    /// Its index, and the digest of its bytes.
    pub snapshot: Option<(u64, Hash)>,
    /// Digests of the ledger's entries.
    pub books: Vec<Hash>,
}

/// Something durable that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum Unreadable {
    #[error("{0}")]
    Read(#[from] ReadError),
    #[error("{0}")]
    Logged(#[from] LoggedError),
}

impl Durable {
    /// What stands on a disk.
    pub fn read(storage: &Storage) -> Result<Durable, Unreadable> {
        let vote = storage.meta(MetaKey::RaftVote)?.map(|bytes| Ballot::decode(&bytes)).transpose()?;
        let snapshot = storage.snapshot()?.map(|(index, bytes)| (index, Hash::blob(&bytes)));
        let mut durable = Durable { vote, first: storage.first_log_index()?, snapshot, ..Durable::default() };
        loop {
            let page = storage.log(durable.next(), PAGE)?;
            if page.is_empty() {
                break;
            }
            for (_, bytes) in page {
                durable.entries.push_back(Kept::read(&bytes)?);
            }
        }
        while let Some(entry) = storage.ledger(durable.books.len() as u64)? {
            durable.books.push(Hash::blob(&entry));
        }
        Ok(durable)
    }

    /// Index of the next entry.
    pub fn next(&self) -> u64 {
        self.first + self.entries.len() as u64
    }

    /// The entry at `index`, if it is there.
    pub fn entry(&self, index: u64) -> Option<&Kept> {
        self.entries.get(usize::try_from(index.checked_sub(self.first)?).ok()?)
    }

    /// A write is durable. An entry is read by the caller, who knows its term.
    pub fn write(&mut self, write: &Write) -> Result<(), LoggedError> {
        match write {
            Write::AppendLog { entry, .. } => {
                self.entries.push_back(Kept::read(entry)?);
            }
            Write::TruncateLog { from } => {
                self.entries.truncate(from.saturating_sub(self.first) as usize);
            }
            Write::PurgeLog { through } => self.drop_through(*through),
            Write::PutSnapshot { index, state } => {
                self.snapshot = Some((*index, Hash::blob(state)));
                self.drop_through(*index);
            }
            Write::RenewSnapshot { index, state } => self.snapshot = Some((*index, Hash::blob(state))),
            Write::PutMeta { key: MetaKey::RaftVote, value } => self.vote = Some(Ballot::decode(value)?),
            Write::AppendLedger { entry, .. } => self.books.push(Hash::blob(entry)),
            _ => {}
        }
        Ok(())
    }

    /// The same after a batch.
    pub fn after(&self, batch: &Batch) -> Result<Durable, LoggedError> {
        let mut after = self.clone();
        batch.writes().iter().try_for_each(|write| after.write(write))?;
        Ok(after)
    }

    /// What is not as it must be on a disk that holds `found`.
    pub fn missing(&self, found: &Durable) -> String {
        let entries = self.entries.iter().zip(&found.entries).filter(|(must, found)| must != found).count();
        format!(
            "the disk has log entries {}..{} ({entries} of them others), vote {:?}, snapshot {:?} and {} entries of the books; durable were {}..{}, {:?}, {:?} and {}",
            found.first,
            found.next(),
            found.vote.map(|vote| vote.term),
            found.snapshot.map(|(index, _)| index),
            found.books.len(),
            self.first,
            self.next(),
            self.vote.map(|vote| vote.term),
            self.snapshot.map(|(index, _)| index),
            self.books.len(),
        )
    }

    fn drop_through(&mut self, index: u64) {
        while self.first <= index && self.entries.pop_front().is_some() {
            self.first += 1;
        }
        self.first = self.first.max(index + 1);
    }
}
