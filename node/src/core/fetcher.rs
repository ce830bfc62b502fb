//! Blobs that this node lacks and others may have: who is asked for what, and when somebody else is asked.
//!
//! A blob's address is its digest, so it does not matter who sends it.

use std::collections::{BTreeMap, BTreeSet};

use forgemesh_protocol::hash::Hash;
use forgemesh_protocol::id::{JobId, NodeId};
use forgemesh_protocol::limits;

use super::patience;

/// Blobs asked for in one message.
const FETCH_BLOBS: usize = 64;
/// Blobs that are on their way at the same time.
const UNDER_WAY: usize = 256;
/// How often everyone is asked before a blob is given up.
const ROUNDS: usize = 8;

/// One blob.
struct Wanted {
    /// The open jobs that need it.
    jobs: BTreeSet<JobId>,
    /// Who may have it, the likeliest first.
    sources: Vec<NodeId>,
    /// How often anybody was asked.
    asks: usize,
    /// When to ask the next one.
    due_ms: u64,
    asked: bool,
}

impl Wanted {
    fn source(&self, ask: usize) -> Option<NodeId> {
        self.sources.get(ask % self.sources.len().max(1)).copied()
    }

    /// Was this node asked last, and has not answered?
    fn awaits(&self, node: &NodeId) -> bool {
        self.asked && self.source(self.asks - 1) == Some(*node)
    }

    /// How long its last question is waited for: the longer, the more often everyone was asked.
    fn wait_ms(&self) -> u64 {
        patience::wait_ms(self.asks.div_ceil(self.sources.len().max(1)))
    }
}

/// By address.
#[derive(Default)]
pub(crate) struct Fetcher {
    wanted: BTreeMap<Hash, Wanted>,
}

impl Fetcher {
    /// A job needs this blob, and these nodes may have it.
    pub fn want(&mut self, job: JobId, blob: Hash, sources: Vec<NodeId>) {
        let new = Wanted { jobs: BTreeSet::new(), sources, asks: 0, due_ms: 0, asked: false };
        self.wanted.entry(blob).or_insert(new).jobs.insert(job);
    }

    /// The job is over: what only it needed is wanted no longer.
    pub fn forget(&mut self, job: &JobId) {
        self.wanted.retain(|_, wanted| !wanted.jobs.remove(job) || !wanted.jobs.is_empty());
    }

    /// A blob is on its way to the disk; true if it was wanted. What else its sender was asked for is on its way too, and
    /// is waited for anew.
    pub fn arrived(&mut self, from: &NodeId, blob: &Hash, up_ms: u64) -> bool {
        let was_wanted = self.wanted.remove(blob).is_some();
        if was_wanted {
            for wanted in self.wanted.values_mut().filter(|wanted| wanted.awaits(from)) {
                wanted.due_ms = wanted.due_ms.max(up_ms + wanted.wait_ms());
            }
        }
        was_wanted
    }

    /// `from` does not have it: the next one is asked, and after the last one there is a pause.
    pub fn refused(&mut self, from: &NodeId, blob: &Hash, up_ms: u64) {
        if let Some(wanted) = self.wanted.get_mut(blob).filter(|wanted| wanted.awaits(from)) {
            wanted.asked = false;
            let round_is_over = wanted.asks % wanted.sources.len() == 0;
            wanted.due_ms = up_ms + if round_is_over { limits::RETRY_MS } else { 0 };
        }
    }

    /// What to ask whom.
    pub fn requests(&mut self, up_ms: u64) -> Vec<(NodeId, Vec<Hash>)> {
        let mut under_way = self.under_way(up_ms).count();
        let mut by_source: BTreeMap<NodeId, Vec<Hash>> = BTreeMap::new();
        for (blob, wanted) in &mut self.wanted {
            if under_way >= UNDER_WAY {
                break;
            }
            let due = up_ms >= wanted.due_ms && wanted.asks < ROUNDS * wanted.sources.len();
            let Some(source) = wanted.source(wanted.asks).filter(|_| due) else { continue };
            (wanted.asks, wanted.asked) = (wanted.asks + 1, true);
            wanted.due_ms = up_ms + wanted.wait_ms();
            by_source.entry(source).or_default().push(*blob);
            under_way += 1;
        }
        let messages = |(source, blobs): (NodeId, Vec<Hash>)| {
            let parts: Vec<_> = blobs.chunks(FETCH_BLOBS).map(|part| (source, part.to_vec())).collect();
            parts
        };
        by_source.into_iter().flat_map(messages).collect()
    }

    /// What nobody has: it is wanted no longer.
    pub fn gone(&mut self, up_ms: u64) -> Vec<Hash> {
        let over = |_: &Hash, wanted: &mut Wanted| {
            wanted.asks >= ROUNDS * wanted.sources.len() && up_ms >= wanted.due_ms
        };
        self.wanted.extract_if(.., over).map(|(blob, _)| blob).collect()
    }

    fn under_way(&self, up_ms: u64) -> impl Iterator<Item = &Wanted> {
        self.wanted.values().filter(move |wanted| wanted.asked && up_ms < wanted.due_ms)
    }

    /// How many are wanted.
    pub fn len(&self) -> usize {
        self.wanted.len()
    }

    /// In how many milliseconds somebody is to be asked.
    pub fn next_deadline(&self, up_ms: u64) -> u64 {
        let full = self.under_way(up_ms).count() >= UNDER_WAY;
        let counts = self.wanted.values().filter(|wanted| !full || wanted.asked);
        let next = counts.map(|wanted| wanted.due_ms).min();
        next.map_or(u64::MAX, |at_ms| at_ms.saturating_sub(up_ms))
    }
}
