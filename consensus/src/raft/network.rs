//! Questions to other members. An answer belongs to a question by life and number; one that does not come is openraft's
//! to miss: it waits as long as it means to, and asks again.

use std::collections::BTreeMap;
use std::future::{self, Future};
use std::pin::pin;
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
use super::logged::{Ballot, Logged, Place};
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
    /// The latest term in which another asked for votes.
    stood: AtomicU64,
}

#[derive(Default)]
struct Waiting {
    last: u64,
    by_number: BTreeMap<u64, (NodeId, oneshot::Sender<Answer>)>,
}

impl Asked {
    pub(super) fn new(life: u64, events: mpsc::Sender<Event>) -> Asked {
        Asked {
            life,
            events,
            waiting: Mutex::default(),
            is_behind: AtomicBool::new(false),
            told: AtomicU64::new(0),
            stood: AtomicU64::new(0),
        }
    }

    /// Another asks for votes in this term.
    pub(super) fn stands(&self, term: u64) {
        self.stood.fetch_max(term, Ordering::Relaxed);
    }

    /// There is a leader.
    pub(super) fn forget_stood(&self) {
        self.stood.store(0, Ordering::Relaxed);
    }

    /// The latest term in which another asked for votes.
    pub(super) fn stood(&self) -> u64 {
        self.stood.load(Ordering::Relaxed)
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

    fn send(&self, to: NodeId, number: u64, ask: Ask) {
        let message = Message { life: self.life, number, body: Body::Ask(ask) };
        // The way may lose it as well as any other.
        drop(self.events.try_send(Event::Send { to, bytes: message.encode() }));
    }
}

/// A question that was asked.
struct Question {
    asked: Arc<Asked>,
    ask: Ask,
    number: u64,
    answer: oneshot::Receiver<Answer>,
    /// How often it was asked.
    times: u32,
}

impl Question {
    /// Comes once: who has it forgets the question.
    async fn answer(&mut self) -> Answer {
        match (&mut self.answer).await {
            Ok(answer) => answer,
            Err(_) => future::pending().await,
        }
    }
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

/// No question has this number.
pub(super) const NO_QUESTION: u64 = 0;

/// A way to one of them.
pub(super) struct Peer {
    to: NodeId,
    asked: Arc<Asked>,
    keep: Arc<Keep>,
    /// The last question, as long as its answer is missing.
    open: Option<Question>,
    /// In this term the other has the same log as this member up to this index, by its own word.
    matched: Option<(u64, u64)>,
    /// The last entry of which it was told that it is agreed on.
    told: Option<Place>,
}

impl RaftNetworkFactory<Types> for Network {
    type Network = Peer;

    async fn new_client(&mut self, target: Member, _: &EmptyNode) -> Peer {
        Peer::new(target.0, self.asked.clone(), self.keep.clone())
    }
}

impl Peer {
    pub(super) fn new(to: NodeId, asked: Arc<Asked>, keep: Arc<Keep>) -> Peer {
        Peer { to, asked, keep, open: None, matched: None, told: None }
    }

    /// Asks, and waits for the answer as long as the caller does. The same question asked again keeps its number, so that
    /// the answer to either counts: where the way is longer than a heartbeat, no repetition would ever be in time.
    pub(super) async fn ask(&mut self, ask: Ask) -> Answer {
        if self.open.as_ref().is_none_or(|question| question.ask != ask) {
            self.open(ask);
        }
        let Some(question) = &mut self.open else { return future::pending().await };
        self.asked.send(self.to, question.number, question.ask.clone());
        let answer = question.answer().await;
        self.open = None;
        answer
    }

    /// A new question in place of the old one; none while too many are open.
    fn open(&mut self, ask: Ask) {
        // The old one makes room first.
        self.open = None;
        self.open = self.asked.enter(self.to).map(|(number, answer)| Question {
            asked: self.asked.clone(),
            ask,
            number,
            answer,
            times: 0,
        });
    }

    /// A sign of this term's leader, which is not answered.
    fn beat(&self, term: u64) {
        self.asked.send(self.to, NO_QUESTION, Ask::Append(Append::beat(term)));
    }

    /// Has the other put entries into its log. The answer, and how many of the entries it is about: openraft gives a
    /// question one heartbeat and comes again, with more entries by then or with none, so an open one that begins like
    /// the new one, or goes on after it, is answered first. It is asked again now and then; in between a sign of life is
    /// given.
    async fn append(&mut self, append: Append) -> (Answer, usize) {
        let (term, wanted) = (append.term, append.entries.len());
        match &mut self.open {
            Some(Question { ask: Ask::Append(open), times, .. }) if open.answers(&append) => {
                open.committed = open.committed.max(append.committed);
                *times += 1;
            }
            _ => {
                let append = self.read_ahead(append);
                self.open(Ask::Append(append));
            }
        }
        let Some(question) = &self.open else { return future::pending().await };
        let Ask::Append(open) = &question.ask else { return future::pending().await };
        let (asked, last) = (open.entries.len(), open.last());
        let is_short =
            open.entries.iter().map(|bytes| bytes.0.len()).sum::<usize>() <= limits::RAFT_SHORT_BYTES;
        let is_due = match question.times {
            0 => true,
            1 => is_short,
            times => asked == 0 || times.is_multiple_of(limits::RAFT_ASK_AGAIN),
        };
        if is_due {
            self.told = open.committed.max(self.told);
            self.asked.send(self.to, question.number, question.ask.clone());
        } else {
            self.beat(term);
        }
        let Some(question) = &mut self.open else { return future::pending().await };
        let answer = question.answer().await;
        self.open = None;
        self.matched = match answer {
            Answer::Appended => last.map(|last| (term, last)).max(self.matched),
            _ => None,
        };
        (answer, asked.min(wanted))
    }

    /// The same question with the entries that stand behind its own by now, as many as go with them: openraft asks for those
    /// that it knew of when the way was last free, and one question for all costs less than two.
    fn read_ahead(&self, mut append: Append) -> Append {
        let Some(last) = append.last().filter(|_| !append.entries.is_empty()) else { return append };
        let mut bytes = append.entries.iter().map(|bytes| bytes.0.len()).sum::<usize>();
        let kept = self.keep.lock();
        for (entry, length) in
            kept.recent.from(last + 1).take_while(|(e, _)| e.log_id.leader_id.term == append.term)
        {
            let is_full =
                append.entries.len() >= limits::RAFT_APPEND_ENTRIES || bytes >= limits::RAFT_APPEND_BYTES;
            if is_full || last + 1 < kept.recent.first() {
                break;
            }
            bytes += length;
            append.entries.push(Bytes(Logged::from(entry).encode()));
        }
        append
    }

    /// Whether the other has said that it has the log up to this entry. It gives up none of it but for a later term's leader.
    fn has(&self, term: u64, last: Option<u64>) -> bool {
        self.matched.is_some_and(|(of, index)| of == term && last.is_some_and(|last| last <= index))
    }

    /// Waits until the entry at `index` is durable here, and gives a sign of life if that takes long: a disk may take longer
    /// than the other waits for its leader.
    async fn await_disk(&self, index: u64, term: u64) {
        let mut stored = pin!(self.keep.entry_stored(index));
        let patience = Duration::from_millis(limits::RAFT_HEARTBEAT_MS / 2);
        let stored = match Runtime::timeout(patience, &mut stored).await {
            Ok(stored) => stored,
            Err(_) => {
                self.beat(term);
                stored.await
            }
        };
        if stored.is_err() {
            future::pending().await
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
        let Some(append) = Append::of(&request) else { return future::pending().await };
        // Another should lead, then.
        if self.keep.is_stuck() {
            return future::pending().await;
        }
        // Whose vote is the only one has agreed with itself before its disk has.
        if let Some(committed) = request.leader_commit {
            self.await_disk(committed.index, mine.term).await;
        }
        // Nobody has to answer what is known already.
        let (last, is_news) = (append.last(), append.committed > self.told);
        if self.has(mine.term, last) && (is_news || !append.entries.is_empty()) {
            // While some of it is not agreed on, more will be at once, and the word goes with that. If a word is lost, the
            // next sign of life has it.
            let is_all = append.committed.map(|place| place.index) >= last;
            if is_news && (append.entries.is_empty() || is_all) {
                self.told = append.committed;
                self.asked.send(self.to, NO_QUESTION, Ask::Append(append.word(&request)));
            }
            if let Some(last) = last {
                self.await_disk(last, mine.term).await;
            }
            return Ok(AppendEntriesResponse::Success);
        }
        let (answer, taken) = self.append(append).await;
        match answer {
            Answer::Appended => {
                let last = match taken.checked_sub(1) {
                    Some(last) => Some(request.entries[last].log_id),
                    None => request.prev_log_id,
                };
                // What is on the way to the disk here counts for openraft as if it were there: see `keep`.
                if let Some(last) = last {
                    self.await_disk(last.index, mine.term).await;
                }
                Ok(match taken == request.entries.len() {
                    true => AppendEntriesResponse::Success,
                    false => AppendEntriesResponse::PartialSuccess(last),
                })
            }
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
