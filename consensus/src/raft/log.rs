//! The log as openraft sees it: old entries from the storage, new ones from memory, writes given out to the node.

use std::fmt::Debug;
use std::ops::{Bound, RangeBounds};
use std::sync::Arc;

use forgemesh_protocol::limits;
use forgemesh_storage::{Batch, MetaKey, ReadError};
use openraft::storage::{LogFlushed, RaftLogStorage};
use openraft::{LogState, OptionalSend, RaftLogReader};

use super::StartError;
use super::config::{Entry, LogId, Member, StorageError, Types, Vote};
use super::keep::{Closed, Keep, Unread, read_failed, write_failed};
use super::logged::{Ballot, Logged, LoggedError, Place};

/// Entries read from the storage at a time.
const PAGE: u64 = 256;

/// A replica's log.
#[derive(Clone)]
pub(super) struct LogStore(pub(super) Arc<Keep>);

impl LogStore {
    /// The entries from `from` up to and without `end` that there are, until they have `bytes` bytes.
    fn entries(&self, from: u64, end: u64, bytes: usize) -> Result<Vec<Entry>, Unread> {
        let (storage, from, held, end) = {
            let kept = self.0.lock();
            let storage = kept.storage.clone().ok_or(Closed)?;
            let first = kept.purged.map_or(0, |purged| purged.index + 1);
            let next = kept.last.map_or(0, |last| last.index + 1);
            (storage, from.max(first), kept.recent.first(), end.min(next))
        };
        let (mut entries, mut size, mut at) = (Vec::new(), 0, from);
        while at < end.min(held) && size < bytes {
            let page = match storage.log(at, PAGE.min(end.min(held) - at) as usize) {
                // Dropped a moment ago: whoever still asks for it has lost its leadership.
                Err(ReadError::LogCompacted { .. }) => return Ok(Vec::new()),
                page => page.map_err(StartError::Read)?,
            };
            if page.is_empty() {
                return Ok(entries);
            }
            for (index, stored) in page {
                if size >= bytes {
                    break;
                }
                entries.push(read_entry(index, &stored)?);
                size += stored.len();
                at = index + 1;
            }
        }
        if at >= held {
            let kept = self.0.lock();
            for (entry, length) in kept.recent.from(at) {
                if entry.log_id.index != at || at >= end || size >= bytes {
                    break;
                }
                entries.push(entry.clone());
                size += length;
                at += 1;
            }
        }
        Ok(entries)
    }
}

fn read_entry(index: u64, stored: &[u8]) -> Result<Entry, StartError> {
    let damaged = |error| StartError::Damaged { what: "a log entry", error };
    let logged = Logged::decode(stored).map_err(damaged)?;
    if logged.index == index { Ok(logged.into()) } else { Err(damaged(LoggedError::Order)) }
}

impl RaftLogReader<Types> for LogStore {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> Result<Vec<Entry>, StorageError> {
        let from = match range.start_bound() {
            Bound::Included(from) => *from,
            Bound::Excluded(before) => before + 1,
            Bound::Unbounded => 0,
        };
        let end = match range.end_bound() {
            Bound::Included(last) => last + 1,
            Bound::Excluded(end) => *end,
            Bound::Unbounded => u64::MAX,
        };
        self.entries(from, end, usize::MAX).map_err(|error| read_failed(&error))
    }

    async fn limited_get_log_entries(&mut self, from: u64, end: u64) -> Result<Vec<Entry>, StorageError> {
        let end = end.min(from.saturating_add(limits::RAFT_APPEND_ENTRIES as u64));
        self.entries(from, end, limits::RAFT_APPEND_BYTES).map_err(|error| read_failed(&error))
    }
}

impl RaftLogStorage<Types> for LogStore {
    type LogReader = LogStore;

    async fn get_log_state(&mut self) -> Result<LogState<Types>, StorageError> {
        let kept = self.0.lock();
        Ok(LogState { last_purged_log_id: kept.purged, last_log_id: kept.last })
    }

    async fn get_log_reader(&mut self) -> LogStore {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> Result<(), StorageError> {
        let written = self.0.write(|kept| {
            kept.vote = Some(*vote);
            let mut batch = Batch::new();
            batch.put_meta(MetaKey::RaftVote, Ballot::from(vote).encode());
            Some(batch)
        });
        written.await.map_err(|error| write_failed(&error))
    }

    /// Read once, at the start. Who led when it stopped asks for votes anew: others may have entries of its term that its
    /// disk has lost, and no two may have the same place.
    async fn read_vote(&mut self) -> Result<Option<Vote>, StorageError> {
        let kept = self.0.lock();
        let led = |vote: &Vote| vote.leader_id.voted_for() == Some(Member(kept.node));
        Ok(kept.vote.map(|vote| Vote { committed: vote.committed && !led(&vote), ..vote }))
    }

    /// Written along with the next entries, for readers of a closed folder. `read_committed` does not give it back:
    /// what is agreed on is heard again from a leader, and then applied in the one way there is.
    async fn save_committed(&mut self, committed: Option<LogId>) -> Result<(), StorageError> {
        let mut kept = self.0.lock();
        kept.committed = kept.committed.max(committed);
        Ok(())
    }

    async fn append<I>(&mut self, entries: I, flushed: LogFlushed<Types>) -> Result<(), StorageError>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let entries: Vec<Entry> = entries.into_iter().collect();
        self.0.append(entries).await.map_err(|error| write_failed(&error))?;
        // So that it goes on; what must wait for the disk waits in `keep`.
        flushed.log_io_completed(Ok(()));
        Ok(())
    }

    async fn truncate(&mut self, from: LogId) -> Result<(), StorageError> {
        let from = from.index;
        let last = match from.checked_sub(1) {
            Some(index) => self.0.log_id(index).map_err(|error| read_failed(&error))?,
            None => None,
        };
        let written = self.0.write(|kept| {
            if kept.last.is_none_or(|last| last.index < from) {
                return None;
            }
            kept.truncate(from, last);
            let mut batch = Batch::new();
            batch.truncate_log(from);
            Some(batch)
        });
        written.await.map_err(|error| write_failed(&error))
    }

    /// openraft drops what a leader's snapshot stands for before it has handed the snapshot over; entries that this
    /// member has vouched for must not be gone before their snapshot is there, so this waits for it.
    async fn purge(&mut self, through: LogId) -> Result<(), StorageError> {
        self.0.snapshot_given(through.index).await.map_err(|error| write_failed(&error))?;
        let written = self.0.write(|kept| {
            kept.recent.drop_through(through.index);
            kept.purged = kept.purged.max(Some(through));
            kept.last = kept.last.max(Some(through));
            let mut batch = Batch::new();
            batch.purge_log(through.index).put_meta(MetaKey::RaftPurged, Place::from(through).encode());
            Some(batch)
        });
        written.await.map_err(|error| write_failed(&error))
    }
}
