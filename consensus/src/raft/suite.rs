//! openraft's own tests of a store, run on ours over a real database.
//!
//! They are laxer than we are: they leave gaps, append what is dropped, drop entries that no snapshot stands for, and
//! expect a state machine that makes its snapshots itself. So they get a log and a machine that first do what a replica would have done.
#![cfg(test)]

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::ops::RangeBounds;
use std::sync::Arc;

use forgemesh_protocol::hash::Hash;
use forgemesh_protocol::id::NodeId;
use forgemesh_storage::Storage;
use forgemesh_storage::testing::Disk;
use openraft::storage::{LogFlushed, RaftLogStorage, RaftStateMachine};
use openraft::testing::{StoreBuilder, Suite};
use openraft::{CommittedLeaderId, LogState, OptionalSend, RaftLogReader, Snapshot};
use tokio::sync::mpsc;

use super::apply::StateMachine;
use super::config::{
    Entry, LogId, Member, Membership, SnapshotMeta, StorageError, StoredMembership, Types, Vote,
};
use super::event::Event;
use super::keep::Keep;
use super::log::LogStore;

impl From<u64> for Member {
    fn from(number: u64) -> Self {
        match number {
            0 => Member::default(),
            number => Member(NodeId(Hash::blob(&number.to_le_bytes()))),
        }
    }
}

struct Builder;

impl StoreBuilder<Types, Log, Machine> for Builder {
    async fn build(&self) -> Result<((), Log, Machine), StorageError> {
        let storage = Arc::new(Storage::with_backend(Disk::new(1)).unwrap());
        let (giving, mut events) = mpsc::channel(8);
        let keep = Arc::new(Keep::open(NodeId(Hash::ZERO), storage.clone(), giving).unwrap());
        keep.trust_purges();
        let store = Arc::downgrade(&keep);
        tokio::spawn(async move {
            while let Some(event) = events.recv().await {
                let Event::Write { token, batch, .. } = event else { continue };
                if let Err(error) = storage.commit(&batch) {
                    // Ends the test, which would wait for ever.
                    eprintln!("{batch:?}: {error}");
                    store.upgrade().unwrap().close();
                    return;
                }
                store.upgrade().unwrap().stored(token);
            }
        });
        Ok(((), Log(LogStore(keep.clone())), Machine(StateMachine(keep))))
    }
}

struct Log(LogStore);

impl RaftLogReader<Types> for Log {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> Result<Vec<Entry>, StorageError> {
        self.0.try_get_log_entries(range).await
    }

    async fn limited_get_log_entries(&mut self, from: u64, end: u64) -> Result<Vec<Entry>, StorageError> {
        self.0.limited_get_log_entries(from, end).await
    }
}

impl RaftLogStorage<Types> for Log {
    type LogReader = LogStore;

    async fn get_log_state(&mut self) -> Result<LogState<Types>, StorageError> {
        self.0.get_log_state().await
    }

    async fn get_log_reader(&mut self) -> LogStore {
        self.0.get_log_reader().await
    }

    async fn save_vote(&mut self, vote: &Vote) -> Result<(), StorageError> {
        self.0.save_vote(vote).await
    }

    async fn read_vote(&mut self) -> Result<Option<Vote>, StorageError> {
        self.0.read_vote().await
    }

    async fn append<I>(&mut self, entries: I, flushed: LogFlushed<Types>) -> Result<(), StorageError>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let state = self.get_log_state().await?;
        let dropped =
            |entry: &Entry| state.last_purged_log_id.is_some_and(|id| id.index >= entry.log_id.index);
        let entries: Vec<Entry> = entries.into_iter().filter(|entry| !dropped(entry)).collect();
        let Some(first) = entries.first().map(|entry| entry.log_id) else {
            flushed.log_io_completed(Ok(()));
            return Ok(());
        };
        let next = state.last_log_id.map_or(0, |last| last.index + 1);
        if first.index > next {
            let leader = CommittedLeaderId::new(first.leader_id.term, Member::default());
            self.purge(LogId::new(leader, first.index - 1)).await?;
        }
        self.0.append(entries, flushed).await
    }

    async fn truncate(&mut self, from: LogId) -> Result<(), StorageError> {
        self.0.truncate(from).await
    }

    async fn purge(&mut self, through: LogId) -> Result<(), StorageError> {
        self.0.purge(through).await
    }
}

struct Machine(StateMachine);

impl RaftStateMachine<Types> for Machine {
    type SnapshotBuilder = StateMachine;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, StoredMembership), StorageError> {
        self.0.applied_state().await
    }

    async fn apply<I>(&mut self, entries: I) -> Result<Vec<()>, StorageError>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        self.0.apply(entries).await
    }

    /// What was applied without ever having been in the log is put there, and a state handed in.
    async fn get_snapshot_builder(&mut self) -> StateMachine {
        let keep = self.0.0.clone();
        let last = {
            let mut kept = keep.lock();
            if kept.memberships.is_empty() {
                let members = Membership::new(vec![BTreeSet::from([Member::from(1)])], ());
                kept.memberships.push(StoredMembership::new(None, members));
            }
            kept.applied.max(kept.purged).unwrap()
        };
        Log(LogStore(keep.clone())).purge(last).await.unwrap();
        keep.lock().offered = Some((last.index, b"state".to_vec()));
        self.0.clone()
    }

    async fn begin_receiving_snapshot(&mut self) -> Result<Box<Vec<u8>>, StorageError> {
        self.0.begin_receiving_snapshot().await
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMeta,
        bytes: Box<Vec<u8>>,
    ) -> Result<(), StorageError> {
        self.0.install_snapshot(meta, bytes).await
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot<Types>>, StorageError> {
        self.0.get_current_snapshot().await
    }
}

#[test]
fn openrafts_suite_is_passed() {
    Suite::test_all(Builder).unwrap();
}
