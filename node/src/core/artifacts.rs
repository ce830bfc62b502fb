//! The artifacts role: what a client or the mesh wants of artifacts is fetched from whoever has it, what others want of
//! those that are here is sent. Whoever leads the hub sees to it that each is kept often enough (`steward`).
//!
//! An address is all that one needs to read an artifact, and it does not matter who sends it: every answer is held
//! against the address, off the loop. Must never hold more of an artifact in memory than `limits::FETCH_STORING` pieces.

mod fetch;
mod housekeeping;
mod steward;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;

use forgemesh_protocol::artifact::pieces;
use forgemesh_protocol::canon::Bytes;
use forgemesh_protocol::hash::Hash;
use forgemesh_protocol::id::NodeId;
use forgemesh_protocol::limits;
use forgemesh_protocol::wire::{Message, Outlined};
use forgemesh_storage::Batch;

use super::hub::HubRole;
use super::{AfterStore, AfterWork, Context, Now, Output, Queue, Reply};
use crate::artifacts::{self, Kept, Look};
use crate::ports::{Done, Work};
use fetch::{Fetch, Stage};
use housekeeping::{Collecting, Scrubbing};
use steward::Steward;

/// Who gave an outline or a piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Giver {
    Node(NodeId),
    /// With the token under which it waits for an answer.
    Client(u64),
}

/// What of an artifact was worked on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Look {
        artifact: Hash,
    },
    Outline {
        artifact: Hash,
        giver: Giver,
    },
    Piece {
        artifact: Hash,
        index: u64,
        giver: Giver,
    },
    /// Read for another node.
    Serve {
        to: NodeId,
        artifact: Hash,
        index: Option<u64>,
    },
    /// A page of what is kept, for the leader.
    Page {
        to: NodeId,
    },
    /// What nothing needs is looked for.
    Garbage,
    /// A slice of the pieces is read.
    Scrub,
}

/// What is durable of an artifact.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Written {
    artifact: Hash,
    index: Option<u64>,
    /// It is not the last that is lacking.
    more: bool,
    /// A client that waits for it.
    token: Option<u64>,
}

impl Written {
    /// May it wait for others of which more is on the way?
    pub fn may_wait(&self) -> bool {
        self.more && self.token.is_none()
    }
}

/// The artifacts on their way, in and out.
#[derive(Default)]
pub(crate) struct ArtifactsRole {
    fetches: BTreeMap<Hash, Fetch>,
    /// Questions that are being answered, by who asked.
    serving: BTreeMap<NodeId, usize>,
    steward: Steward,
    /// A page of what is kept here is being read. Who asks meanwhile asks again.
    paging: bool,
    collecting: Option<Collecting>,
    scrubbing: Scrubbing,
    /// Artifacts of which something has become while garbage or rot was looked for: they are left alone.
    touched: BTreeSet<Hash>,
    /// Garbage on its way off the disk: whoever wants one of these asks again.
    removing: BTreeSet<Hash>,
    disk_low: bool,
}

impl ArtifactsRole {
    /// The disk has too little room for new work, or has room again.
    pub fn disk_low(&mut self, low: bool) {
        self.disk_low = low;
    }

    /// A client wants these bytes of an artifact to be here.
    pub fn want(&mut self, cx: &mut Context<'_>, token: u64, artifact: Hash, bytes: Range<u64>) {
        match self.fetch(cx, artifact) {
            Some(fetch) if fetch.wants.len() < limits::FETCH_WANTS => fetch.want(token, bytes),
            _ => cx.out.push(Output::Reply { token, reply: Reply::Busy }),
        }
    }

    /// A client has an artifact for this node.
    pub fn put(&mut self, cx: &mut Context<'_>, token: u64, outlined: Box<Outlined>) {
        if self.disk_low {
            return cx.out.push(Output::Reply { token, reply: Reply::DiskLow });
        }
        let artifact = outlined.artifact;
        match self.fetch(cx, artifact) {
            Some(fetch) if fetch.put.is_none() => match fetch.stage {
                Stage::Looking => fetch.put = Some((token, outlined)),
                Stage::Seeking => check_put(cx, token, outlined),
                Stage::Coming(_) => self.pin(cx, artifact, token, outlined),
            },
            _ => cx.out.push(Output::Reply { token, reply: Reply::Busy }),
        }
    }

    /// A client has a piece for this node.
    pub fn put_piece(&mut self, cx: &mut Context<'_>, token: u64, artifact: Hash, index: u64, bytes: Bytes) {
        let giver = Giver::Client(token);
        match self.fetches.get_mut(&artifact).map(|fetch| (&mut fetch.stage, &mut fetch.progress_ms)) {
            Some((Stage::Coming(coming), progress_ms)) => {
                *progress_ms = cx.now.up_ms;
                if coming.kept.has(index) || !coming.checking.insert(index) {
                    let reply = Reply::Done;
                    return cx.out.push(Output::Reply { token, reply });
                }
                let outline = Arc::clone(&coming.outline);
                let work = Work::CheckPiece { artifact, outline, index, bytes };
                cx.work(work, AfterWork::Artifact(Step::Piece { artifact, index, giver }));
            }
            // It was given up, or is here by now: the client begins again.
            _ => cx.out.push(Output::Reply { token, reply: Reply::NoArtifact }),
        }
    }

    /// The fetch of this artifact, begun if it is not under way; none if there are too many.
    fn fetch(&mut self, cx: &mut Context<'_>, artifact: Hash) -> Option<&mut Fetch> {
        if self.removing.contains(&artifact) {
            return None;
        }
        if self.collecting.is_some() || self.scrubbing.reading {
            self.touched.insert(artifact);
        }
        if !self.fetches.contains_key(&artifact) {
            if self.fetches.len() >= limits::FETCHES {
                return None;
            }
            cx.work(Work::Look { artifact }, AfterWork::Artifact(Step::Look { artifact }));
            self.fetches.insert(artifact, Fetch::new(cx.now.up_ms));
        }
        self.fetches.get_mut(&artifact)
    }

    /// Takes a message about artifacts; gives back any other.
    pub fn message(&mut self, cx: &mut Context<'_>, from: NodeId, message: Message) -> Option<Message> {
        let leads = cx.leader == Some(from);
        match message {
            Message::Outline { artifact } => self.serve(cx, from, artifact, None),
            Message::Piece { artifact, index } => self.serve(cx, from, artifact, Some(index)),
            Message::Outlined(outlined) => self.outline_came(cx, from, outlined),
            Message::Pieced { artifact, index, bytes } => self.piece_came(cx, from, artifact, index, bytes),
            Message::NoArtifact { artifact } => {
                self.fetches.get_mut(&artifact).into_iter().for_each(|fetch| fetch.give_up(&from));
            }
            Message::Where { artifact } => self.steward.asked(cx, from, artifact),
            Message::At { artifact, nodes } if leads || nodes == [from] => {
                let fetch = self.fetches.get_mut(&artifact);
                fetch.into_iter().for_each(|fetch| fetch.hint(&nodes, &cx.identity.node));
            }
            Message::Keeping { after } if leads && !std::mem::replace(&mut self.paging, true) => {
                let work = Work::Keeping { after, now_ms: cx.now.wall_ms };
                cx.work(work, AfterWork::Artifact(Step::Page { to: from }));
            }
            Message::Kept(page) => self.steward.told(cx, from, *page),
            Message::Keep { artifact, sources } if leads => self.keep(cx, artifact, &sources),
            Message::At { .. } | Message::Keeping { .. } | Message::Keep { .. } => {}
            other => return Some(other),
        }
        None
    }

    /// The mesh has this node keep an artifact.
    fn keep(&mut self, cx: &mut Context<'_>, artifact: Hash, sources: &[NodeId]) {
        let keeps = self.fetches.values().filter(|fetch| fetch.keep).count();
        if self.disk_low || keeps >= limits::KEEPS {
            return;
        }
        if let Some(fetch) = self.fetch(cx, artifact) {
            fetch.keep = true;
            fetch.hint(sources, &cx.identity.node);
        }
    }

    fn serve(&mut self, cx: &mut Context<'_>, to: NodeId, artifact: Hash, index: Option<u64>) {
        let of_node = self.serving.get(&to).copied().unwrap_or(0);
        let all: usize = self.serving.values().sum();
        // Who gets no answer asks again.
        if of_node >= limits::SERVES_OF_NODE || all >= limits::SERVES {
            return;
        }
        self.serving.insert(to, of_node + 1);
        let work = match index {
            Some(index) => Work::Piece { artifact, index },
            None => Work::Outline { artifact },
        };
        cx.work(work, AfterWork::Artifact(Step::Serve { to, artifact, index }));
    }

    fn read(&mut self, cx: &mut Context<'_>, to: NodeId, artifact: Hash, index: Option<u64>, done: Done) {
        if let Some(count) = self.serving.get_mut(&to) {
            *count -= 1;
            if *count == 0 {
                self.serving.remove(&to);
            }
        }
        let message = match (done, index) {
            (Done::Outlined { outlined: Some(outlined) }, _) => Message::Outlined(outlined),
            (Done::Pieced { bytes: Some(bytes) }, Some(index)) => Message::Pieced { artifact, index, bytes },
            _ => Message::NoArtifact { artifact },
        };
        cx.send(to, message);
    }

    fn outline_came(&mut self, cx: &mut Context<'_>, from: NodeId, outlined: Box<Outlined>) {
        let artifact = outlined.artifact;
        let Some(fetch) = self.fetches.get_mut(&artifact).filter(|fetch| fetch.awaits_outline(&from)) else {
            return;
        };
        fetch.outline_came(cx.now.up_ms);
        let step = Step::Outline { artifact, giver: Giver::Node(from) };
        let work = Work::CheckOutline { mesh: cx.identity.mesh, outlined };
        cx.work(work, AfterWork::Artifact(step));
    }

    fn piece_came(&mut self, cx: &mut Context<'_>, from: NodeId, artifact: Hash, index: u64, bytes: Bytes) {
        let Some(fetch) = self.fetches.get_mut(&artifact) else { return };
        if !fetch.came(&from, index, cx.now.up_ms) {
            return;
        }
        if let Stage::Coming(coming) = &mut fetch.stage {
            coming.checking.insert(index);
            let outline = Arc::clone(&coming.outline);
            let step = Step::Piece { artifact, index, giver: Giver::Node(from) };
            cx.work(Work::CheckPiece { artifact, outline, index, bytes }, AfterWork::Artifact(step));
        }
    }

    /// A piece of work ended.
    pub fn worked(&mut self, cx: &mut Context<'_>, step: Step, done: Done) {
        match (step, done) {
            (Step::Look { artifact }, Done::Looked { look }) => self.looked(cx, artifact, *look),
            (Step::Look { artifact }, _) => self.give_up(cx, &artifact),
            (Step::Outline { artifact, giver }, Done::Outlined { outlined }) => {
                self.outline_checked(cx, artifact, giver, outlined);
            }
            (Step::Piece { artifact, index, giver }, Done::Pieced { bytes }) => {
                self.piece_checked(cx, artifact, index, giver, bytes);
            }
            (Step::Serve { to, artifact, index }, done) => self.read(cx, to, artifact, index, done),
            (Step::Garbage, done) => self.collected(cx, done),
            (Step::Scrub, done) => self.scrubbed(cx, done),
            (Step::Page { to }, Done::Keeping { page }) => {
                self.paging = false;
                let kept = page.artifacts.iter().map(|row| row.artifact).collect();
                cx.out.push(Output::Provide(kept));
                cx.send(to, Message::Kept(page));
            }
            (Step::Outline { artifact, giver }, _) => {
                self.outline_checked(cx, artifact, giver, None);
            }
            (Step::Piece { artifact, index, giver }, _) => {
                self.piece_checked(cx, artifact, index, giver, None);
            }
            (Step::Page { .. }, _) => self.paging = false,
        }
    }

    /// This node's disk was looked at.
    fn looked(&mut self, cx: &mut Context<'_>, artifact: Hash, look: Look) {
        let Some(fetch) = self.fetches.get_mut(&artifact) else { return };
        fetch.progress_ms = cx.now.up_ms;
        fetch.named = look.named;
        if let Some(length) = look.whole() {
            let kept = look.kept.map(|(kept, _)| kept);
            return self.is_here(cx, artifact, length, kept);
        }
        if self.disk_low {
            for want in std::mem::take(&mut fetch.wants) {
                cx.out.push(Output::Reply { token: want.token, reply: Reply::DiskLow });
            }
        }
        let put = fetch.put.take();
        match look.kept {
            Some((kept, Some(outline))) => {
                if fetch.keep && !fetch.named && !kept.is_pinned(cx.now.wall_ms) {
                    (fetch.here, fetch.stage) = (Some(kept), Stage::Seeking);
                    return put.into_iter().for_each(|(token, outlined)| check_put(cx, token, outlined));
                }
                fetch.come(outline, kept, BTreeSet::new());
                put.into_iter().for_each(|(token, outlined)| self.pin(cx, artifact, token, outlined));
            }
            _ => {
                fetch.stage = Stage::Seeking;
                put.into_iter().for_each(|(token, outlined)| check_put(cx, token, outlined));
            }
        }
    }

    /// All of it is here already: who waits is served, and a new wish to keep it is noted.
    fn is_here(&mut self, cx: &mut Context<'_>, artifact: Hash, length: u64, kept: Option<Kept>) {
        let Some(fetch) = self.fetches.get_mut(&artifact) else { return };
        for want in std::mem::take(&mut fetch.wants) {
            let reply = Reply::Artifact { length, missing: Vec::new() };
            cx.out.push(Output::Reply { token: want.token, reply });
        }
        let mut kept = kept.unwrap_or_else(|| Kept { length, pieces: Bytes::default(), pin: None });
        if let Some((token, outlined)) = fetch.put.take() {
            let mut batch = Batch::new();
            if kept.adopt(outlined.pin) {
                kept.put(&mut batch, &artifact);
            }
            let written = Written { artifact, index: None, more: false, token: Some(token) };
            cx.store(batch, AfterStore::Artifact(written));
        }
        if fetch.keep && !fetch.named && !kept.is_pinned(cx.now.wall_ms) {
            // Somebody's wish to keep it is known elsewhere: it comes with the outline.
            (fetch.here, fetch.stage) = (Some(kept), Stage::Seeking);
        } else {
            self.fetches.remove(&artifact);
        }
    }

    /// Notes a client's wish to keep what is partly here, and says what is missing.
    fn pin(&mut self, cx: &mut Context<'_>, artifact: Hash, token: u64, outlined: Box<Outlined>) {
        let Some(Fetch { stage: Stage::Coming(coming), .. }) = self.fetches.get_mut(&artifact) else {
            return;
        };
        if coming.kept.adopt(outlined.pin) {
            let mut batch = Batch::new();
            coming.kept.put(&mut batch, &artifact);
            cx.store(batch, AfterStore::Nothing);
        }
        let reply = Reply::Artifact { length: coming.outline.length, missing: coming.kept.missing() };
        cx.out.push(Output::Reply { token, reply });
    }

    fn outline_checked(
        &mut self,
        cx: &mut Context<'_>,
        artifact: Hash,
        giver: Giver,
        outlined: Option<Box<Outlined>>,
    ) {
        let Some(fetch) = self.fetches.get_mut(&artifact) else {
            return refuse(cx, giver, Reply::NoArtifact);
        };
        let Some(outlined) = outlined else {
            match giver {
                Giver::Node(from) => fetch.give_up(&from),
                Giver::Client(_) => refuse(cx, giver, Reply::NotOfArtifact),
            }
            return;
        };
        if !matches!(fetch.stage, Stage::Seeking) {
            // Another one was quicker.
            if let Giver::Client(token) = giver {
                self.pin(cx, artifact, token, outlined);
            }
            return;
        }
        let reason = outlined.pin.as_ref().is_some_and(|pin| pin.body.until_ms > cx.now.wall_ms);
        fetch.keep &= fetch.named || reason;
        let is_wanted = fetch.asks_others() || matches!(giver, Giver::Client(_));
        if !is_wanted {
            self.fetches.remove(&artifact);
            return;
        }
        let (mut batch, here) = (Batch::new(), fetch.here.take());
        let (kept, storing) = match here {
            Some(mut kept) => {
                kept.adopt(outlined.pin);
                kept.put(&mut batch, &artifact);
                (kept, None)
            }
            None => {
                let last = pieces(outlined.outline.length) - 1;
                (artifacts::begin(&mut batch, &outlined), Some(last))
            }
        };
        if let Giver::Client(token) = giver {
            let reply = Reply::Artifact { length: kept.length, missing: kept.missing() };
            cx.out.push(Output::Reply { token, reply });
        }
        let more = !kept.is_whole();
        fetch.come(outlined.outline, kept, storing.into_iter().collect());
        fetch.progress_ms = cx.now.up_ms;
        cx.store(batch, AfterStore::Artifact(Written { artifact, index: storing, more, token: None }));
    }

    fn piece_checked(
        &mut self,
        cx: &mut Context<'_>,
        artifact: Hash,
        index: u64,
        giver: Giver,
        bytes: Option<Bytes>,
    ) {
        let Some(fetch) = self.fetches.get_mut(&artifact) else {
            return refuse(cx, giver, Reply::NoArtifact);
        };
        let Stage::Coming(coming) = &mut fetch.stage else { return refuse(cx, giver, Reply::NoArtifact) };
        coming.checking.remove(&index);
        let summed = bytes.and_then(|bytes| Some((coming.outline.sum(&artifact, index)?, bytes)));
        match (summed, giver) {
            (Some((sum, bytes)), _) => {
                coming.kept.add(index);
                coming.storing.insert(index);
                let mut batch = Batch::new();
                batch.put_piece(artifact, index, sum, bytes.0);
                coming.kept.put(&mut batch, &artifact);
                let more = !coming.kept.is_whole();
                let mut written = Written { artifact, index: Some(index), more, token: None };
                match giver {
                    // It sends the next one when there is room for it.
                    Giver::Client(token) if coming.storing.len() >= limits::FETCH_STORING => {
                        written.token = Some(token);
                    }
                    Giver::Client(token) => cx.out.push(Output::Reply { token, reply: Reply::Done }),
                    Giver::Node(_) => {}
                }
                cx.store(batch, AfterStore::Artifact(written));
            }
            (None, Giver::Node(from)) => fetch.give_up(&from),
            (None, Giver::Client(_)) => refuse(cx, giver, Reply::NotOfArtifact),
        }
    }

    /// Something of an artifact is durable.
    pub fn stored(&mut self, cx: &mut Context<'_>, written: Written) {
        let Written { artifact, index, token, .. } = written;
        if let Some(token) = token {
            cx.out.push(Output::Reply { token, reply: Reply::Done });
        }
        let Some(fetch) = self.fetches.get_mut(&artifact) else { return };
        if let (Stage::Coming(coming), Some(index)) = (&mut fetch.stage, index) {
            coming.storing.remove(&index);
            fetch.progress_ms = cx.now.up_ms;
        }
    }

    /// Nobody has it, or the disk cannot be read.
    fn give_up(&mut self, cx: &mut Context<'_>, artifact: &Hash) {
        let Some(fetch) = self.fetches.remove(artifact) else { return };
        let put = fetch.put.map(|(token, _)| token);
        for token in fetch.wants.iter().map(|want| want.token).chain(put) {
            cx.out.push(Output::Reply { token, reply: Reply::NoArtifact });
        }
    }

    /// Asks for what is wanted, and gives up what does not come.
    pub fn advance(&mut self, cx: &mut Context<'_>, hub: Option<&HubRole>) {
        self.steward.advance(cx, hub);
        self.scrub(cx);
        self.collect_on(cx);
        let up_ms = cx.now.up_ms;
        let hopeless = self.fetches.iter().filter(|(_, fetch)| fetch.is_hopeless(up_ms));
        for artifact in hopeless.map(|(artifact, _)| *artifact).collect::<Vec<_>>() {
            self.give_up(cx, &artifact);
        }
        for fetch in self.fetches.values_mut() {
            for (token, length) in fetch.served() {
                let reply = Reply::Artifact { length, missing: Vec::new() };
                cx.out.push(Output::Reply { token, reply });
            }
        }
        self.fetches.retain(|_, fetch| !fetch.is_over(up_ms));
        let (own, members) = (cx.identity.node, Arc::clone(&cx.members));
        for (&artifact, fetch) in &mut self.fetches {
            for (to, index) in fetch.ask_pieces(&members, &own, up_ms) {
                cx.send(to, Message::Piece { artifact, index });
            }
            if matches!(fetch.stage, Stage::Looking) || !fetch.asks_others() {
                continue;
            }
            if up_ms >= fetch.where_ms {
                fetch.where_ms = up_ms + limits::RETRY_MS;
                cx.send_leader(Message::Where { artifact });
                if !fetch.is_told() {
                    cx.out.push(Output::Seek(artifact));
                }
            }
            if matches!(fetch.stage, Stage::Seeking)
                && let Some(to) = fetch.ask_outline(&members, &own, up_ms)
            {
                cx.send(to, Message::Outline { artifact });
            }
        }
    }

    /// In how many milliseconds something is due.
    pub fn next_deadline(&self, now: Now) -> u64 {
        let fetches = self.fetches.values().map(Fetch::due_ms).min().unwrap_or(u64::MAX);
        let scrub_ms = self.scrubbing.due_ms.filter(|_| !self.scrubbing.reading).unwrap_or(u64::MAX);
        let due_ms = fetches.min(self.steward.due_ms()).min(scrub_ms);
        if due_ms == u64::MAX { u64::MAX } else { due_ms.saturating_sub(now.up_ms) }
    }

    /// What waits here, and how much may.
    pub fn queues(&self) -> Vec<Queue> {
        let wants = self.fetches.values().map(|fetch| fetch.wants.len()).sum::<usize>() as u64;
        let bound = (limits::FETCHES * limits::FETCH_WANTS) as u64;
        vec![
            Queue::new("artifacts: on their way", self.fetches.len() as u64, limits::FETCHES as u64),
            Queue::new("artifacts: clients that wait", wants, bound),
            Queue::new(
                "artifacts: questions of others",
                self.serving.values().sum::<usize>() as u64,
                limits::SERVES as u64,
            ),
        ]
    }
}

/// Holds what a client would put against its address.
fn check_put(cx: &mut Context<'_>, token: u64, outlined: Box<Outlined>) {
    let step = Step::Outline { artifact: outlined.artifact, giver: Giver::Client(token) };
    cx.work(Work::CheckOutline { mesh: cx.identity.mesh, outlined }, AfterWork::Artifact(step));
}

/// Tells a client why its bytes are not taken.
fn refuse(cx: &mut Context<'_>, giver: Giver, reply: Reply) {
    if let Giver::Client(token) = giver {
        cx.out.push(Output::Reply { token, reply });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_piece_and_what_a_client_waits_for_wait_for_no_others() {
        let urgent = |more: bool, token: Option<u64>| {
            let written = Written { artifact: Hash::ZERO, index: Some(3), more, token };
            AfterStore::Artifact(written).is_urgent()
        };
        assert_eq!([urgent(true, None), urgent(false, None), urgent(true, Some(1))], [false, true, true]);
    }
}
