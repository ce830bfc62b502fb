//! What a replica keeps: its log, its vote, how far it has applied, and what waits for the disk.
//!
//! openraft reaches it from several tasks at once, so all of it is behind one lock, and a write is given out to the
//! node under that lock: the order of the writes is the order of the changes.
//!
//! openraft goes on as soon as entries are given out, so that many are on their way to the disk at once and are written
//! together. What it would believe waits for the disk instead: the answer that an entry has arrived, at a follower's or,
//! when it leads, at its own disk, and an entry's being applied, but for a sole member's (`may_run_ahead`). A leader sends
//! entries while its own disk writes them (Ongaro 2014, "Consensus: Bridging Theory and Practice", section 10.2.1), so
//! others may have some that it loses in a crash: after a restart it must not lead on in its term, and does not, for its
//! vote is read as a follower's. It must never say that something is written before the node has said that it is durable.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use forgemesh_protocol::id::NodeId;
use forgemesh_protocol::limits;
use forgemesh_storage::{Batch, MetaKey, ReadError, Storage};
use tokio::sync::{mpsc, oneshot, watch};

use super::StartError;
use super::config::{LogId, Member, StorageError, StorageIoError, StoredMembership, Vote};
use super::event::Event;
use super::logged::{Ballot, Logged, LoggedError, Place};
use super::recent::Recent;
use super::runtime::Moment;
use super::snapshot::Head;

/// Behind the lock.
pub(super) struct Kept {
    /// This member.
    pub(super) node: NodeId,
    /// None once the replica is dropped, so that the folder can be opened again.
    pub(super) storage: Option<Arc<Storage>>,
    /// Entries that are not durable yet, and a number of those that are.
    pub(super) recent: Recent,
    /// The last entry, or the last that was dropped if there is none.
    pub(super) last: Option<LogId>,
    /// The last entry that was dropped.
    pub(super) purged: Option<LogId>,
    pub(super) vote: Option<Vote>,
    /// The last entry known to be agreed on, written along with the next entries.
    pub(super) committed: Option<LogId>,
    /// The last entry given out to be applied.
    pub(super) applied: Option<LogId>,
    /// The members since the newest snapshot, oldest first.
    pub(super) memberships: Vec<StoredMembership>,
    /// A state that the node has handed in and that is no snapshot yet: after this entry.
    pub(super) offered: Option<(u64, Vec<u8>)>,
    /// The newest snapshot, durable or not.
    pub(super) snapshot: Option<Head>,
    /// The token of the write that was given out last.
    given: u64,
    /// And of the newest that is durable; all before it are.
    stored: u64,
    /// The newest write of an entry that was given out to be applied before it was durable.
    ahead: u64,
    /// Since when the next write is waited for.
    since: Moment,
    /// Who waits for the write of this token and all before it.
    awaiting: Vec<(u64, oneshot::Sender<()>)>,
    /// Entries on their way to the disk: the first of each write and its token, oldest first.
    appending: VecDeque<(u64, u64)>,
    waiting: BTreeMap<u64, Waiting>,
}

/// Who waits for a write.
enum Waiting {
    /// Nobody here; entries up to and without this index are durable then.
    Appended { end: u64 },
    /// A task of the replica.
    Task(oneshot::Sender<()>),
}

/// The replica is being dropped, or the store has failed.
#[derive(Debug, thiserror::Error)]
#[error("the replica has stopped; start the node again")]
pub(super) struct Closed;

/// Why the log could not be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unread {
    #[error("{0}")]
    Closed(#[from] Closed),
    #[error("{0}")]
    Found(#[from] StartError),
}

/// What a replica keeps, for those of its parts that share it.
pub(super) struct Keep {
    kept: Mutex<Kept>,
    events: mpsc::Sender<Event>,
    /// Index of the newest snapshot that was given out to be written.
    snapshot_given: watch::Sender<Option<u64>>,
}

impl Keep {
    /// Goes on with what `storage` holds.
    pub(super) fn open(
        node: NodeId,
        storage: Arc<Storage>,
        events: mpsc::Sender<Event>,
    ) -> Result<Keep, StartError> {
        let damaged = |what| move |error| StartError::Damaged { what, error };
        let place = |key, what| -> Result<Option<LogId>, StartError> {
            let bytes = storage.meta(key)?;
            let decoded = bytes.map(|bytes| Place::decode(&bytes)).transpose().map_err(damaged(what))?;
            Ok(decoded.map(LogId::from))
        };
        let purged = place(MetaKey::RaftPurged, "the start of the log")?;
        let committed = place(MetaKey::RaftCommitted, "the end of what is agreed on")?;
        let vote = storage.meta(MetaKey::RaftVote)?.map(|bytes| Ballot::decode(&bytes)).transpose();
        let vote = vote.map_err(damaged("the vote"))?.map(Vote::from);
        let snapshot = storage.snapshot()?.map(|(_, bytes)| Head::split(&bytes).map(|(head, _)| head));
        let snapshot = snapshot.transpose().map_err(damaged("the snapshot"))?;
        if storage.first_log_index()? != purged.map_or(0, |id| id.index + 1) {
            return Err(damaged("the start of the log")(LoggedError::Order));
        }
        let last = match storage.last_log_index()? {
            Some(index) => entry_at(&storage, index)?.map(|logged| logged.place().into()).or(purged),
            None => None,
        };
        let (snapshot_given, _) = watch::channel(snapshot.as_ref().map(|head| head.last.index));
        let kept = Kept {
            node,
            recent: Recent::new(last.map_or(0, |id: LogId| id.index + 1)),
            last,
            purged,
            vote,
            committed,
            applied: snapshot.as_ref().map(|head| head.last.into()),
            memberships: snapshot.iter().map(Head::membership).collect(),
            offered: None,
            snapshot,
            given: 0,
            stored: 0,
            ahead: 0,
            since: Moment::now(),
            awaiting: Vec::new(),
            appending: VecDeque::new(),
            waiting: BTreeMap::new(),
            storage: Some(storage),
        };
        Ok(Keep { kept: Mutex::new(kept), events, snapshot_given })
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().expect("invariant: nothing panics while it holds the lock")
    }

    pub(super) fn storage(&self) -> Result<Arc<Storage>, Closed> {
        self.lock().storage.clone().ok_or(Closed)
    }

    /// Gives an event out, once the node has room for it.
    pub(super) async fn give(&self, event: Event) -> Result<(), Closed> {
        self.events.send(event).await.map_err(|_| Closed)
    }

    /// Gives out a write and waits until it is durable. `change` changes what is kept and says what to write, in the same
    /// moment; nothing is written when it says nothing.
    pub(super) async fn write(&self, change: impl FnOnce(&mut Kept) -> Option<Batch>) -> Result<(), Closed> {
        let permit = self.events.reserve().await.map_err(|_| Closed)?;
        let (told, durable) = oneshot::channel();
        {
            let mut kept = self.lock();
            if kept.storage.is_none() {
                return Err(Closed);
            }
            let Some(batch) = change(&mut kept) else { return Ok(()) };
            let token = kept.wait(Waiting::Task(told));
            permit.send(Event::Write { token, batch, urgent: true });
            self.tell_snapshot(&kept);
        }
        durable.await.map_err(|_| Closed)
    }

    /// Gives out entries, and does not wait for them.
    pub(super) async fn append(
        &self,
        entries: impl IntoIterator<Item = super::config::Entry>,
    ) -> Result<(), Closed> {
        let permit = self.events.reserve().await.map_err(|_| Closed)?;
        let mut kept = self.lock();
        if kept.storage.is_none() {
            return Err(Closed);
        }
        let (mut batch, first) = (Batch::new(), kept.recent.end());
        for entry in entries {
            let bytes = Logged::from(&entry).encode();
            let id = entry.log_id;
            kept.recent.push(entry, bytes.len());
            kept.last = Some(id);
            batch.append_log(id.index, bytes);
        }
        if let Some(committed) = kept.committed {
            batch.put_meta(MetaKey::RaftCommitted, Place::from(committed).encode());
        }
        let end = kept.recent.end();
        let token = kept.wait(Waiting::Appended { end });
        kept.appending.push_back((first, token));
        // Alone, what follows from them is written along with them.
        let urgent = !kept.may_run_ahead();
        permit.send(Event::Write { token, batch, urgent });
        Ok(())
    }

    /// A write is durable.
    pub(super) fn stored(&self, token: u64) {
        let mut kept = self.lock();
        match kept.waiting.remove(&token) {
            Some(Waiting::Appended { end }) => {
                kept.recent.durable_before(end);
                kept.appending.retain(|(_, appending)| *appending > token);
            }
            // Who gave up waiting does not want to know.
            Some(Waiting::Task(told)) => drop(told.send(())),
            None => {}
        }
        kept.stored = token.max(kept.stored);
        kept.since = Moment::now();
        let stored = kept.stored;
        // In their order: what happens is the same whenever it happens again.
        for (_, durable) in kept.awaiting.extract_if(.., |(awaited, _)| *awaited <= stored) {
            let _ = durable.send(());
        }
    }

    /// Waits until all that was given out before the call is durable.
    pub(super) async fn all_stored(&self) -> Result<(), Closed> {
        let durable = {
            let mut kept = self.lock();
            let given = kept.given;
            kept.wait_for(given)?
        };
        durable.await.map_err(|_| Closed)
    }

    /// Waits until the newest entry at `index` is durable.
    pub(super) async fn entry_stored(&self, index: u64) -> Result<(), Closed> {
        let durable = {
            let mut kept = self.lock();
            let token = kept.write_of(index);
            kept.wait_for(token)?
        };
        durable.await.map_err(|_| Closed)
    }

    /// Whether the disk has made nothing durable for very long.
    pub(super) fn is_stuck(&self) -> bool {
        let kept = self.lock();
        kept.given > kept.stored && kept.since.elapsed() >= Duration::from_millis(limits::RAFT_STUCK_MS)
    }

    /// Waits until a snapshot that includes the entry at `index` was given out.
    pub(super) async fn snapshot_given(&self, index: u64) -> Result<(), Closed> {
        let mut given = self.snapshot_given.subscribe();
        given.wait_for(|given| given.is_some_and(|given| given >= index)).await.map_err(|_| Closed)?;
        Ok(())
    }

    /// From now on no snapshot is waited for.
    #[cfg(test)]
    pub(super) fn trust_purges(&self) {
        self.snapshot_given.send_replace(Some(u64::MAX));
    }

    fn tell_snapshot(&self, kept: &Kept) {
        let index = kept.snapshot.as_ref().map(|head| head.last.index);
        self.snapshot_given.send_if_modified(|given| {
            let newer = *given < index;
            *given = index.max(*given);
            newer
        });
    }

    /// The place of the entry at `index`; none where there is no such entry, or it was dropped.
    pub(super) fn log_id(&self, index: u64) -> Result<Option<LogId>, Unread> {
        let storage = {
            let kept = self.lock();
            if let Some(purged) = kept.purged.filter(|purged| purged.index >= index) {
                return Ok((purged.index == index).then_some(purged));
            }
            if kept.last.is_none_or(|last| last.index < index) {
                return Ok(None);
            }
            if let Some(entry) = kept.recent.get(index) {
                return Ok(Some(entry.log_id));
            }
            kept.storage.clone().ok_or(Closed)?
        };
        Ok(entry_at(&storage, index)?.map(|logged| logged.place().into()))
    }

    /// The replica is dropped: whoever waits is told, and the storage is let go.
    pub(super) fn close(&self) {
        let mut kept = self.lock();
        kept.storage = None;
        kept.waiting.clear();
        kept.awaiting.clear();
        drop(kept);
        self.snapshot_given.send_replace(Some(u64::MAX));
    }
}

impl Kept {
    fn wait(&mut self, waiting: Waiting) -> u64 {
        if self.given == self.stored {
            self.since = Moment::now();
        }
        self.given += 1;
        self.waiting.insert(self.given, waiting);
        self.given
    }

    /// Told once the write of this token is durable, and all before it.
    fn wait_for(&mut self, token: u64) -> Result<oneshot::Receiver<()>, Closed> {
        let (told, durable) = oneshot::channel();
        if self.storage.is_none() {
            return Err(Closed);
        }
        if token > self.stored {
            self.awaiting.retain(|(_, told)| !told.is_closed());
            self.awaiting.push((token, told));
        } else {
            // Nobody has gone: it is waited for in a moment.
            let _ = told.send(());
        }
        Ok(durable)
    }

    /// Is this the only member, by what is applied?
    pub(super) fn is_sole(&self) -> bool {
        let members = self.memberships.last().map(|membership| membership.membership());
        members.is_some_and(|members| {
            members.get_joint_config().iter().all(|voters| voters.iter().eq([&Member(self.node)]))
                && members.nodes().count() == 1
        })
    }

    /// Alone, what is agreed on is applied before it is durable: nobody else has it, and nobody hears of it, for the node
    /// sees to that. Not without bound: the disk may hang.
    pub(super) fn may_run_ahead(&self) -> bool {
        self.is_sole() && self.given - self.stored < limits::AHEAD_BATCHES
    }

    /// Whether entries up to this one are given out to be applied before they are durable.
    pub(super) fn run_ahead(&mut self, index: u64) -> bool {
        let may = self.may_run_ahead();
        if may {
            self.ahead = self.ahead.max(self.write_of(index));
        }
        may
    }

    /// Are there such entries?
    pub(super) fn is_ahead(&self) -> bool {
        self.ahead > self.stored
    }

    /// The write after which the newest entry at `index` is durable.
    fn write_of(&self, index: u64) -> u64 {
        // An earlier write with this index was taken back.
        self.appending.iter().rev().find(|(first, _)| *first <= index).map_or(0, |(_, token)| *token)
    }

    /// The log ends before `from`.
    pub(super) fn truncate(&mut self, from: u64, last: Option<LogId>) {
        self.recent.truncate(from);
        self.last = last;
        for waiting in self.waiting.values_mut() {
            if let Waiting::Appended { end } = waiting {
                // What comes in their place is not durable with them.
                *end = from.min(*end);
            }
        }
    }
}

/// The entry at `index` on the disk, if the log has it.
pub(super) fn entry_at(storage: &Storage, index: u64) -> Result<Option<Logged>, StartError> {
    let page = match storage.log(index, 1) {
        Err(ReadError::LogCompacted { .. }) => return Ok(None),
        page => page?,
    };
    let logged = page.first().map(|(_, bytes)| Logged::decode(bytes)).transpose();
    let logged = logged.map_err(|error| StartError::Damaged { what: "a log entry", error })?;
    match logged {
        Some(logged) if logged.index != index => {
            Err(StartError::Damaged { what: "a log entry", error: LoggedError::Order })
        }
        logged => Ok(logged),
    }
}

/// What openraft is told when a read failed; it then stops.
pub(super) fn read_failed(error: &(impl std::error::Error + 'static)) -> StorageError {
    StorageIoError::read(io_error(error)).into()
}

/// What openraft is told when a write failed; it then stops.
pub(super) fn write_failed(error: &(impl std::error::Error + 'static)) -> StorageError {
    StorageIoError::write(io_error(error)).into()
}

fn io_error(error: &impl std::error::Error) -> openraft::AnyError {
    openraft::AnyError::new(&io::Error::other(error.to_string()))
}
