//! Questions to other members. An answer belongs to a question by life and number; one that does not come is openraft's
//! to miss: it waits as long as it means to, and asks again.

use std::collections::BTreeMap;
use std::future::{self, Future};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use forgemesh_protocol::canon::Bytes;
use forgemesh_protocol::hash::Hash;
use forgemesh_protocol::id::NodeId;
use forgemesh_protocol::limits;
use openraft::error::{Fatal, RPCError, RaftError, ReplicationClosed, StreamingError, Timeout};
use openraft::network::{RPCOption, RPCTypes};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, VoteRequest, VoteResponse,
};
use openraft::{AsyncRuntime, EmptyNode, OptionalSend, RaftNetwork, RaftNetworkFactory, Snapshot};
use tokio::sync::{mpsc, oneshot};

use super::config::{LogId, Member, Types, Vote};
use super::event::Event;
use super::keep::Keep;
use super::logged::{Ballot, Place};
use super::message::{Answer, Append, Ask, Body, Chunk, Message};
use super::runtime::Runtime;

type RpcError = RPCError<Member, EmptyNode, RaftError<Member>>;

/// The questions of a replica that wait for an answer.
pub(super) struct Asked {
    life: u64,
    events: mpsc::Sender<Event>,
    waiting: Mutex<Waiting>,
    /// A member that was asked for its vote has more of the log.
    is_behind: AtomicBool,
    /// Entries below this index are agreed on, as others were told.
    told: AtomicU64,
}

#[derive(Default)]
struct Waiting {
    last: u64,
    by_number: BTreeMap<u64, (NodeId, oneshot::Sender<Answer>)>,
}

impl Asked {
    pub(super) fn new(life: u64, events: mpsc::Sender<Event>) -> Asked {
        let (waiting, is_behind, told) = (Mutex::default(), AtomicBool::new(false), AtomicU64::new(0));
        Asked { life, events, waiting, is_behind, told }
    }

    /// Entries below this index are all that others were told to be agreed on.
    pub(super) fn told(&self) -> u64 {
        self.told.load(Ordering::Acquire)
    }

    /// Whether, at its last election, another had more of the log: that one should stand first.
    pub(super) fn is_behind(&self) -> bool {
        self.is_behind.load(Ordering::Relaxed)
    }

    /// The next election will show anew.
    pub(super) fn forget_behind(&self) {
        self.is_behind.store(false, Ordering::Relaxed);
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().expect("invariant: nothing panics while it holds the lock")
    }

    /// An answer has come; a late one, or one from a stranger, is ignored.
    pub(super) fn answered(&self, from: NodeId, life: u64, number: u64, answer: Answer) {
        let mut waiting = self.waiting();
        let is_asked = waiting.by_number.get(&number).is_some_and(|(asked, _)| *asked == from);
        if life == self.life
            && is_asked
            && let Some((_, asker)) = waiting.by_number.remove(&number)
        {
            // Who gave up waiting does not want to know.
            let _ = asker.send(answer);
        }
    }

    /// A new question's number and its answer; none while too many are open.
    fn enter(&self, to: NodeId) -> Option<(u64, oneshot::Receiver<Answer>)> {
        let mut waiting = self.waiting();
        if waiting.by_number.len() >= limits::RAFT_ASKED {
            return None;
        }
        let (asker, answer) = oneshot::channel();
        waiting.last += 1;
        let number = waiting.last;
        waiting.by_number.insert(number, (to, asker));
        Some((number, answer))
    }
}

/// A question that was asked.
struct Question {
    asked: Arc<Asked>,
    ask: Ask,
    number: u64,
    answer: oneshot::Receiver<Answer>,
}

impl Drop for Question {
    fn drop(&mut self) {
        self.asked.waiting().by_number.remove(&self.number);
    }
}

/// Makes the ways to other members.
pub(super) struct Network {
    pub(super) asked: Arc<Asked>,
    pub(super) keep: Arc<Keep>,
}

/// A way to one of them.
pub(super) struct Peer {
    to: NodeId,
    asked: Arc<Asked>,
    keep: Arc<Keep>,
    /// The last question, as long as its answer is missing.
    open: Option<Question>,
}

impl RaftNetworkFactory<Types> for Network {
    type Network = Peer;

    async fn new_client(&mut self, target: Member, _: &EmptyNode) -> Peer {
        Peer::new(target.0, self.asked.clone(), self.keep.clone())
    }
}

impl Peer {
    pub(super) fn new(to: NodeId, asked: Arc<Asked>, keep: Arc<Keep>) -> Peer {
        Peer { to, asked, keep, open: None }
    }

    /// Asks, and waits for the answer as long as the caller does. The same question asked again keeps its number, so that
    /// the answer to either counts: where the way is longer than a heartbeat, no repetition would ever be in time.
    pub(super) async fn ask(&mut self, ask: Ask) -> Answer {
        if self.open.as_ref().is_none_or(|question| question.ask != ask) {
            // The old one makes room first.
            self.open = None;
            self.open = self.asked.enter(self.to).map(|(number, answer)| Question {
                asked: self.asked.clone(),
                ask,
                number,
                answer,
            });
        }
        let Some(question) = &mut self.open else { return future::pending().await };
        let body = Body::Ask(question.ask.clone());
        let message = Message { life: self.asked.life, number: question.number, body };
        // The way may lose it as well as any other.
        drop(self.asked.events.try_send(Event::Send { to: self.to, bytes: message.encode() }));
        match (&mut question.answer).await {
            Ok(answer) => {
                self.open = None;
                answer
            }
            Err(_) => future::pending().await,
        }
    }

    /// Waits until the entry at `index` is durable here. A disk may take longer than the other waits for a sign of its leader,
    /// so it is given one meanwhile.
    async fn await_disk(&self, index: u64, term: u64) {
        let beat = Duration::from_millis(limits::RAFT_HEARTBEAT_MS / 2);
        loop {
            match Runtime::timeout(beat, self.keep.entry_stored(index)).await {
                Ok(Ok(())) => return,
                Ok(Err(_)) => return future::pending().await,
                Err(_) => {
                    let ask = Ask::Append(Append::beat(term));
                    // No question has this number, so its answer is none.
                    let message = Message { life: self.asked.life, number: 0, body: Body::Ask(ask) };
                    drop(self.asked.events.try_send(Event::Send { to: self.to, bytes: message.encode() }));
                }
            }
        }
    }

    /// Sends a snapshot part by part until it has arrived, or the other member follows somebody else; none if it does not
    /// answer.
    async fn send_snapshot(&mut self, term: u64, bytes: &[u8]) -> Option<Ballot> {
        let (length, hash) = (bytes.len() as u64, Hash::blob(bytes));
        let (mut offset, mut tries) = (0, 0);
        while tries < limits::RAFT_CHUNK_TRIES {
            tries += 1;
            let end = (offset + limits::RAFT_CHUNK_BYTES).min(bytes.len());
            let part = Bytes(bytes[offset..end].to_vec());
            let ask = Ask::Chunk(Chunk { term, length, hash, offset: offset as u64, part });
            let patience = Duration::from_millis(limits::RAFT_CHUNK_MS);
            match Runtime::timeout(patience, self.ask(ask)).await {
                Ok(Answer::Next(next)) => {
                    (offset, tries) = (usize::try_from(next).map_or(0, |next| next.min(bytes.len())), 0);
                }
                Ok(Answer::Installed(ballot) | Answer::Higher(ballot)) => return Some(ballot),
                // Another question's answer, or none: once more.
                Ok(_) | Err(_) => {}
            }
        }
        None
    }
}

impl RaftNetwork<Types> for Peer {
    async fn append_entries(
        &mut self,
        request: AppendEntriesRequest<Types>,
        _: RPCOption,
    ) -> Result<AppendEntriesResponse<Member>, RpcError> {
        let mine = Ballot::from(&request.vote);
        // Before they hear of it.
        self.asked.told.fetch_max(request.leader_commit.map_or(0, |last| last.index + 1), Ordering::AcqRel);
        // The disk here has them first, and what they follow: see `keep`.
        let last = request.entries.last().map(|entry| entry.log_id).or(request.prev_log_id);
        if let Some(last) = last.max(request.leader_commit) {
            self.await_disk(last.index, mine.term).await;
        }
        let Some(append) = Append::of(&request) else { return future::pending().await };
        match self.ask(Ask::Append(append)).await {
            Answer::Appended => Ok(AppendEntriesResponse::Success),
            Answer::Conflict if request.prev_log_id.is_some() => Ok(AppendEntriesResponse::Conflict),
            Answer::Higher(ballot) if ballot.is_above(mine) => {
                Ok(AppendEntriesResponse::HigherVote(Vote::from(ballot)))
            }
            _ => future::pending().await,
        }
    }

    async fn vote(
        &mut self,
        request: VoteRequest<Member>,
        _: RPCOption,
    ) -> Result<VoteResponse<Member>, RpcError> {
        let last = request.last_log_id.map(Place::from);
        match self.ask(Ask::Elect { term: request.vote.leader_id.term, last }).await {
            Answer::Voted { granted, ballot, last } => {
                if last > request.last_log_id.map(Place::from) {
                    self.asked.is_behind.store(true, Ordering::Relaxed);
                }
                Ok(VoteResponse::new(Vote::from(ballot), last.map(LogId::from), granted))
            }
            _ => future::pending().await,
        }
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: Snapshot<Types>,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _: RPCOption,
    ) -> Result<SnapshotResponse<Member>, StreamingError<Types, Fatal<Member>>> {
        let mine = Ballot::from(&vote);
        tokio::select! {
            biased;
            closed = cancel => Err(StreamingError::Closed(closed)),
            answer = self.send_snapshot(mine.term, &snapshot.snapshot) => match answer {
                Some(ballot) => {
                    // One that is not above ours and is not ours comes from a liar: openraft must not compare them.
                    let answer = if ballot.is_above(mine) { Vote::from(ballot) } else { vote };
                    Ok(SnapshotResponse::new(answer))
                }
                None => Err(StreamingError::Timeout(Timeout {
                    action: RPCTypes::InstallSnapshot,
                    id: mine.member.map(Member).unwrap_or_default(),
                    target: Member(self.to),
                    timeout: Duration::from_millis(limits::RAFT_CHUNK_MS),
                })),
            },
        }
    }
}
