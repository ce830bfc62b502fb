//! One artifact on its way to this node's disk: who is asked for which piece, and who waits for which bytes.
//!
//! Must never ask for more than `limits::FETCH_PIECES` pieces at once, nor call anything here that is not durable.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;

use forgemesh_protocol::artifact::{Outline, pieces, pieces_of};
use forgemesh_protocol::id::NodeId;
use forgemesh_protocol::limits;
use forgemesh_protocol::wire::Outlined;

use crate::artifacts::Kept;
use crate::core::patience;

/// How far it is.
pub(super) enum Stage {
    /// This node's disk is looked at.
    Looking,
    /// Its outline is looked for, or checked.
    Seeking,
    /// Its pieces come.
    Coming(Box<Coming>),
}

/// An artifact whose outline is known.
pub(super) struct Coming {
    pub outline: Arc<Outline>,
    /// With the pieces that are on their way to the disk.
    pub kept: Kept,
    asked: BTreeMap<u64, Asked>,
    pub checking: BTreeSet<u64>,
    pub storing: BTreeSet<u64>,
}

/// A piece that somebody was asked for.
struct Asked {
    from: NodeId,
    due_ms: u64,
}

/// A client that waits for bytes.
pub(super) struct Want {
    pub token: u64,
    pub bytes: Range<u64>,
    /// The first piece of them that is not durable, once the length is known.
    next: Option<u64>,
}

/// The whole.
pub(super) struct Fetch {
    pub stage: Stage,
    pub wants: Vec<Want>,
    /// A client that would put it, and waits to hear what is missing.
    pub put: Option<(u64, Box<Outlined>)>,
    /// The mesh has this node keep it.
    pub keep: bool,
    /// A final job names it.
    pub named: bool,
    /// What is here of it, while only the reason to keep it is looked for.
    pub here: Option<Kept>,
    sources: Vec<NodeId>,
    /// They have sent what it is not, or have it not.
    useless: BTreeSet<NodeId>,
    turn: usize,
    /// How often anybody was asked since a piece came last.
    asks: usize,
    /// When something last came of it.
    pub progress_ms: u64,
    /// When the leader is asked for sources next.
    pub where_ms: u64,
    /// Who was asked for the outline, and until when that is waited for.
    outline: Option<(NodeId, u64)>,
}

impl Fetch {
    /// Of which nothing is known yet.
    pub fn new(up_ms: u64) -> Fetch {
        Fetch {
            stage: Stage::Looking,
            wants: Vec::new(),
            put: None,
            keep: false,
            named: false,
            here: None,
            sources: Vec::new(),
            useless: BTreeSet::new(),
            turn: 0,
            asks: 0,
            progress_ms: up_ms,
            where_ms: up_ms,
            outline: None,
        }
    }

    /// A client waits for these bytes.
    pub fn want(&mut self, token: u64, bytes: Range<u64>) {
        self.wants.push(Want { token, bytes, next: None });
    }

    /// These nodes may have it.
    pub fn hint(&mut self, nodes: &[NodeId], own: &NodeId) {
        for node in nodes {
            let room = self.sources.len() < limits::FETCH_SOURCES;
            if room && node != own && !self.sources.contains(node) {
                self.sources.push(*node);
            }
        }
    }

    /// Is anybody known to have it?
    pub fn is_told(&self) -> bool {
        self.sources.iter().any(|node| !self.useless.contains(node))
    }

    /// This node has sent what it is not, or has it not: it is asked no more.
    pub fn give_up(&mut self, node: &NodeId) {
        self.useless.insert(*node);
        self.outline = self.outline.filter(|(asked, _)| asked != node);
        if let Stage::Coming(coming) = &mut self.stage {
            coming.asked.retain(|_, asked| asked.from != *node);
        }
    }

    /// Its outline is known.
    pub fn come(&mut self, outline: Outline, kept: Kept, storing: BTreeSet<u64>) {
        self.outline = None;
        let outline = Arc::new(outline);
        let (asked, checking) = (BTreeMap::new(), BTreeSet::new());
        self.stage = Stage::Coming(Box::new(Coming { outline, kept, asked, checking, storing }));
    }

    /// Does it wait for this node's outline?
    pub fn awaits_outline(&self, node: &NodeId) -> bool {
        self.outline.is_some_and(|(asked, _)| asked == *node)
    }

    /// The next node that may have it, of those told and the hub's members.
    fn source(&mut self, members: &[NodeId], own: &NodeId) -> Option<NodeId> {
        let told = self.sources.iter().filter(|node| !self.useless.contains(node));
        let of_hub = members
            .iter()
            .filter(|node| *node != own && !self.useless.contains(node) && !self.sources.contains(node));
        // Who is told to have it goes first; the hub is asked where nobody is.
        let told: Vec<NodeId> = told.copied().collect();
        let all: Vec<NodeId> = if told.is_empty() { of_hub.copied().collect() } else { told };
        self.turn += 1;
        all.get(self.turn % all.len().max(1)).copied()
    }

    /// Whom to ask for the outline now, if anybody.
    pub fn ask_outline(&mut self, members: &[NodeId], own: &NodeId, up_ms: u64) -> Option<NodeId> {
        if self.outline.is_some_and(|(_, due_ms)| up_ms < due_ms) {
            return None;
        }
        let source = self.source(members, own)?;
        self.asks += 1;
        self.outline = Some((source, up_ms + patience::wait_ms(self.asks)));
        Some(source)
    }

    /// The outline came and is checked: nobody else is asked meanwhile.
    pub fn outline_came(&mut self, up_ms: u64) {
        (self.asks, self.progress_ms) = (0, up_ms);
        self.outline = self.outline.map(|(from, _)| (from, up_ms + limits::FETCH_MS));
    }

    /// Whom to ask for which pieces now.
    pub fn ask_pieces(&mut self, members: &[NodeId], own: &NodeId, up_ms: u64) -> Vec<(NodeId, u64)> {
        let Stage::Coming(coming) = &mut self.stage else { return Vec::new() };
        coming.asked.retain(|_, asked| up_ms < asked.due_ms);
        let busy = coming.asked.len() + coming.checking.len();
        let unwritten = limits::FETCH_STORING.saturating_sub(busy + coming.storing.len());
        let room = limits::FETCH_PIECES.saturating_sub(busy).min(unwritten);
        let mut next: Vec<u64> = Vec::new();
        for range in self.ranges() {
            let Stage::Coming(coming) = &self.stage else { return Vec::new() };
            let lacks = |index: &u64| coming.lacks(*index) && !next.contains(index);
            let more: Vec<u64> = range.filter(lacks).take(room - next.len()).collect();
            next.extend(more);
        }
        let mut asks = Vec::new();
        for index in next {
            let Some(from) = self.source(members, own) else { break };
            let due_ms = up_ms + patience::wait_ms(self.asks / limits::FETCH_PIECES + 1);
            self.asks += 1;
            if let Stage::Coming(coming) = &mut self.stage {
                coming.asked.insert(index, Asked { from, due_ms });
            }
            asks.push((from, index));
        }
        asks
    }

    /// The pieces that somebody waits for, the most urgent first.
    fn ranges(&self) -> Vec<Range<u64>> {
        let Stage::Coming(coming) = &self.stage else { return Vec::new() };
        let length = coming.outline.length;
        let of_want = |want: &Want| {
            let all = pieces_of(length, &want.bytes);
            want.next.unwrap_or(all.start)..all.end
        };
        let whole = self.keep.then(|| 0..pieces(length));
        self.wants.iter().map(of_want).chain(whole).collect()
    }

    /// A piece came from a node that was asked for it: true if so. What else that node was asked for is on its way too.
    pub fn came(&mut self, from: &NodeId, index: u64, up_ms: u64) -> bool {
        let Stage::Coming(coming) = &mut self.stage else { return false };
        if coming.asked.get(&index).is_none_or(|asked| asked.from != *from) {
            return false;
        }
        coming.asked.remove(&index);
        (self.asks, self.progress_ms) = (0, up_ms);
        for asked in coming.asked.values_mut().filter(|asked| asked.from == *from) {
            asked.due_ms = asked.due_ms.max(up_ms + limits::RETRY_MS);
        }
        true
    }

    /// The clients whose bytes are durable now, each with the artifact's length.
    pub fn served(&mut self) -> Vec<(u64, u64)> {
        let Stage::Coming(coming) = &self.stage else { return Vec::new() };
        let mut served = Vec::new();
        self.wants.retain_mut(|want| {
            let all = pieces_of(coming.outline.length, &want.bytes);
            let mut next = want.next.unwrap_or(all.start);
            while next < all.end && coming.is_durable(next) {
                next += 1;
            }
            want.next = Some(next);
            if next >= all.end {
                served.push((want.token, coming.outline.length));
            }
            next < all.end
        });
        served
    }

    /// Is nothing more to be done for it? A client that puts it may take its time.
    pub fn is_over(&self, up_ms: u64) -> bool {
        let Stage::Coming(coming) = &self.stage else { return false };
        let idle = coming.asked.is_empty() && coming.checking.is_empty() && coming.storing.is_empty();
        let kept = coming.kept.is_whole() || !self.keep && up_ms >= self.progress_ms + limits::FETCH_MS;
        self.wants.is_empty() && idle && kept
    }

    /// Has nothing come of it for long?
    pub fn is_hopeless(&self, up_ms: u64) -> bool {
        up_ms >= self.end_ms()
    }

    /// When it is given up, unless something comes of it.
    fn end_ms(&self) -> u64 {
        match self.stage {
            Stage::Looking => u64::MAX,
            Stage::Seeking => self.progress_ms + limits::SEEK_MS,
            Stage::Coming(_) => self.progress_ms + limits::FETCH_MS,
        }
    }

    /// Does somebody wait for what is not here, so that others are asked?
    pub fn asks_others(&self) -> bool {
        self.keep || !self.wants.is_empty()
    }

    /// When something is to be done about it.
    pub fn due_ms(&self) -> u64 {
        let end_ms = self.end_ms();
        let waits_ms = if self.asks_others() { self.where_ms } else { u64::MAX };
        match &self.stage {
            Stage::Looking => u64::MAX,
            Stage::Seeking => end_ms.min(waits_ms).min(self.outline.map_or(u64::MAX, |(_, due_ms)| due_ms)),
            Stage::Coming(coming) => {
                let asked = coming.asked.values().map(|asked| asked.due_ms).min().unwrap_or(u64::MAX);
                end_ms.min(asked).min(waits_ms)
            }
        }
    }
}

impl Coming {
    fn lacks(&self, index: u64) -> bool {
        !self.kept.has(index) && !self.asked.contains_key(&index) && !self.checking.contains(&index)
    }

    fn is_durable(&self, index: u64) -> bool {
        self.kept.has(index) && !self.storing.contains(&index)
    }
}
