//! openraft's state machine: it applies nothing itself. What is agreed on is given out, in order, and the node's core
//! applies it; a snapshot is what the core hands in, or what a leader has sent.

use std::sync::Arc;

use forgemesh_storage::{Batch, MetaKey};
use openraft::storage::RaftStateMachine;
use openraft::{EntryPayload, OptionalSend, RaftSnapshotBuilder, Snapshot};

use super::config::{Entry, LogId, SnapshotMeta, StorageError, StoredMembership, Types};
use super::event::{Committed, Event};
use super::keep::{Keep, read_failed, write_failed};
use super::logged::{Logged, LoggedError};
use super::snapshot::Head;

/// A replica's state machine.
#[derive(Clone)]
pub(super) struct StateMachine(pub(super) Arc<Keep>);

impl RaftStateMachine<Types> for StateMachine {
    type SnapshotBuilder = StateMachine;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, StoredMembership), StorageError> {
        let kept = self.0.lock();
        Ok((kept.applied, kept.memberships.last().cloned().unwrap_or_default()))
    }

    async fn apply<I>(&mut self, entries: I) -> Result<Vec<()>, StorageError>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let entries: Vec<Entry> = entries.into_iter().collect();
        if let Some(last) = entries.last() {
            let ahead = self.0.lock().run_ahead(last.log_id.index);
            if !ahead {
                self.0.entry_stored(last.log_id.index).await.map_err(|error| write_failed(&error))?;
            }
        }
        {
            let mut kept = self.0.lock();
            for entry in &entries {
                kept.applied = Some(entry.log_id);
                if let EntryPayload::Membership(members) = &entry.payload {
                    kept.memberships.push(StoredMembership::new(Some(entry.log_id), members.clone()));
                }
            }
        }
        let answers = vec![(); entries.len()];
        let committed = entries.into_iter().map(|entry| Committed::try_from(Logged::from(&entry)));
        let committed = committed.collect::<Result<Vec<Committed>, LoggedError>>();
        let committed = committed.map_err(|error| read_failed(&error))?;
        self.0.give(Event::Apply(committed)).await.map_err(|error| write_failed(&error))?;
        Ok(answers)
    }

    async fn get_snapshot_builder(&mut self) -> StateMachine {
        self.clone()
    }

    async fn begin_receiving_snapshot(&mut self) -> Result<Box<Vec<u8>>, StorageError> {
        Ok(Box::default())
    }

    async fn install_snapshot(&mut self, _: &SnapshotMeta, bytes: Box<Vec<u8>>) -> Result<(), StorageError> {
        let bytes = *bytes;
        let (head, state) = Head::split(&bytes).map_err(|error| write_failed(&error))?;
        let (head, state) = (head, state.to_vec());
        let last = head.last;
        let written = self.0.write(|kept| {
            let mut batch = Batch::new();
            batch.put_snapshot(last.index, bytes).put_meta(MetaKey::RaftPurged, last.encode());
            kept.applied = Some(last.into());
            kept.memberships = vec![head.membership()];
            kept.offered = None;
            kept.snapshot = Some(head);
            Some(batch)
        });
        written.await.map_err(|error| write_failed(&error))?;
        let restore = Event::Restore { index: last.index, term: last.term, state };
        self.0.give(restore).await.map_err(|error| write_failed(&error))
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot<Types>>, StorageError> {
        let storage = self.0.storage().map_err(|error| read_failed(&error))?;
        let Some((_, bytes)) = storage.snapshot().map_err(|error| read_failed(&error))? else {
            return Ok(None);
        };
        let (head, _) = Head::split(&bytes).map_err(|error| read_failed(&error))?;
        Ok(Some(Snapshot { meta: head.meta(), snapshot: Box::new(bytes) }))
    }
}

impl RaftSnapshotBuilder<Types> for StateMachine {
    /// Makes the state that the node has handed in the newest snapshot. Its description is all that openraft wants to
    /// know here: who needs the bytes asks for the current snapshot.
    async fn build_snapshot(&mut self) -> Result<Snapshot<Types>, StorageError> {
        let offered = self.0.lock().offered.take();
        if let Some((index, state)) = offered
            && let Some(last) = self.0.log_id(index).map_err(|error| read_failed(&error))?
        {
            let written = self.0.write(|kept| kept.renew_snapshot(last, &state));
            written.await.map_err(|error| write_failed(&error))?;
        }
        let meta = self.0.lock().snapshot.as_ref().map(Head::meta);
        let meta = meta.ok_or_else(|| read_failed(&LoggedError::Order))?;
        Ok(Snapshot { meta, snapshot: Box::default() })
    }
}

impl super::keep::Kept {
    /// The state after the entry `last` becomes the newest snapshot, unless a leader's came before it.
    fn renew_snapshot(&mut self, last: LogId, state: &[u8]) -> Option<Batch> {
        if self.snapshot.as_ref().is_some_and(|held| held.last.index >= last.index) {
            return None;
        }
        let then = self.memberships.iter().rposition(|membership| *membership.log_id() <= Some(last))?;
        self.memberships.drain(..then);
        let head = Head::new(last, &self.memberships[0]);
        let mut batch = Batch::new();
        batch.renew_snapshot(last.index, head.encode(state));
        self.snapshot = Some(head);
        Some(batch)
    }
}
