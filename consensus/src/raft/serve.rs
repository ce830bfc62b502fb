//! Answers to other members' questions.

use std::sync::{Arc, OnceLock};

use forgemesh_protocol::hash::Hash;
use forgemesh_protocol::id::NodeId;
use forgemesh_protocol::limits;
use openraft::Snapshot;
use openraft::raft::{AppendEntriesResponse, VoteRequest};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::config::{LogId, Member, Raft, Types, Vote};
use super::event::Event;
use super::keep::Keep;
use super::logged::{Ballot, Place};
use super::message::{Answer, Append, Ask, Body, Chunk, Message};
use super::network::NO_QUESTION;
use super::snapshot::Head;

/// What answers.
pub(super) struct Serve {
    raft: Raft,
    keep: Arc<Keep>,
    events: mpsc::Sender<Event>,
    incoming: Option<Incoming>,
}

/// A snapshot on its way to this member.
struct Incoming {
    from: NodeId,
    term: u64,
    hash: Hash,
    bytes: Vec<u8>,
    /// All of it is here: the answer, once it is durable.
    installed: Option<Arc<OnceLock<Ballot>>>,
}

/// Whom and what to answer.
struct Asker {
    from: NodeId,
    life: u64,
    number: u64,
    events: mpsc::Sender<Event>,
}

impl Asker {
    fn answer(self, answer: Answer) {
        if self.number == NO_QUESTION {
            return;
        }
        let message = Message { life: self.life, number: self.number, body: Body::Answer(answer) };
        // The way may lose it as well as any other: who does not hear asks again.
        drop(self.events.try_send(Event::Send { to: self.from, bytes: message.encode() }));
    }
}

impl Serve {
    pub(super) fn new(raft: Raft, keep: Arc<Keep>, events: mpsc::Sender<Event>) -> Serve {
        Serve { raft, keep, events, incoming: None }
    }

    /// Answers a question, at once or from a task; one too many is not answered.
    pub(super) fn asked(&mut self, tasks: &mut JoinSet<()>, from: NodeId, life: u64, number: u64, ask: Ask) {
        if tasks.len() >= limits::RAFT_TASKS || self.is_impossible(from, &ask) {
            return;
        }
        let (raft, asker) = (self.raft.clone(), Asker { from, life, number, events: self.events.clone() });
        match ask {
            Ask::Append(append) => drop(tasks.spawn(answer_append(raft, self.keep.clone(), asker, append))),
            Ask::Elect { term, last } => drop(tasks.spawn(answer_elect(raft, asker, term, last))),
            Ask::Chunk(chunk) => self.take_chunk(tasks, asker, chunk),
        }
    }

    /// Two leaders of one term: one of them lies, and openraft cannot compare them.
    fn is_impossible(&self, from: NodeId, ask: &Ask) -> bool {
        let mine = Ballot::from(&self.raft.metrics().borrow().vote);
        let leads = !matches!(ask, Ask::Elect { .. });
        leads && mine.elected && mine.term == ask.term() && mine.member != Some(from)
    }

    fn take_chunk(&mut self, tasks: &mut JoinSet<()>, asker: Asker, chunk: Chunk) {
        let mine = Ballot::from(&self.raft.metrics().borrow().vote);
        let theirs = Ballot { term: chunk.term, member: Some(asker.from), elected: true };
        if mine.is_above(theirs) {
            return asker.answer(Answer::Higher(mine));
        }
        let known = self.incoming.as_ref().is_some_and(|incoming| incoming.is_of(asker.from, &chunk));
        if !known {
            // Memory is taken as the bytes arrive.
            let Chunk { term, hash, .. } = chunk;
            self.incoming =
                Some(Incoming { from: asker.from, term, hash, bytes: Vec::new(), installed: None });
        }
        let Some(incoming) = &mut self.incoming else { return };
        if let Some(installed) = &incoming.installed {
            if let Some(ballot) = installed.get() {
                asker.answer(Answer::Installed(*ballot));
            }
            return;
        }
        if chunk.offset == incoming.bytes.len() as u64 {
            incoming.bytes.extend_from_slice(&chunk.part.0);
        }
        if (incoming.bytes.len() as u64) < chunk.length {
            return asker.answer(Answer::Next(incoming.bytes.len() as u64));
        }
        let bytes = std::mem::take(&mut incoming.bytes);
        let head = Head::split(&bytes).map(|(head, _)| head);
        let (true, Ok(head)) = (Hash::blob(&bytes) == chunk.hash, head) else {
            self.incoming = None;
            return;
        };
        let installed = Arc::new(OnceLock::new());
        incoming.installed = Some(installed.clone());
        tasks.spawn(install(self.raft.clone(), asker, Vote::from(theirs), head, bytes, installed));
    }
}

impl Incoming {
    fn is_of(&self, from: NodeId, chunk: &Chunk) -> bool {
        (self.from, self.term, self.hash) == (from, chunk.term, chunk.hash)
    }
}

async fn answer_append(raft: Raft, keep: Arc<Keep>, asker: Asker, append: Append) {
    let is_beat = append.is_beat();
    let Ok(request) = append.request(asker.from) else { return };
    match raft.append_entries(request).await {
        Ok(AppendEntriesResponse::Success) => {
            // Who waits for no answer needs not wait for the disk either.
            if asker.number == NO_QUESTION {
                return;
            }
            // Not these entries alone: those before them, too, are taken for durable by who hears this.
            if is_beat || keep.all_stored().await.is_ok() {
                asker.answer(Answer::Appended);
            }
        }
        Ok(AppendEntriesResponse::Conflict) => asker.answer(Answer::Conflict),
        Ok(AppendEntriesResponse::HigherVote(vote)) => asker.answer(Answer::Higher(Ballot::from(&vote))),
        // openraft takes all entries of a request or none; and one that has stopped says nothing.
        Ok(AppendEntriesResponse::PartialSuccess(_)) | Err(_) => {}
    }
}

async fn answer_elect(raft: Raft, asker: Asker, term: u64, last: Option<Place>) {
    let request = VoteRequest::new(Vote::new(term, Member(asker.from)), last.map(LogId::from));
    if let Ok(answer) = raft.vote(request).await {
        let last = answer.last_log_id.map(Place::from);
        let ballot = Ballot::from(&answer.vote);
        asker.answer(Answer::Voted { granted: answer.vote_granted, ballot, last });
    }
}

async fn install(
    raft: Raft,
    asker: Asker,
    vote: Vote,
    head: Head,
    bytes: Vec<u8>,
    installed: Arc<OnceLock<Ballot>>,
) {
    let snapshot: Snapshot<Types> = Snapshot { meta: head.meta(), snapshot: Box::new(bytes) };
    if let Ok(answer) = raft.install_full_snapshot(vote, snapshot).await {
        let ballot = Ballot::from(&answer.vote);
        installed.get_or_init(|| ballot);
        asker.answer(Answer::Installed(ballot));
    }
}
