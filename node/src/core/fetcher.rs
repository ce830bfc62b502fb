//! Blobs that this node lacks and others may have: who is asked for what, and when somebody else is asked.
//!
//! A blob's address is its digest, so it does not matter who sends it.

use std::collections::{BTreeMap, BTreeSet};

use forgemesh_protocol::hash::Hash;
use forgemesh_protocol::id::{JobId, NodeId};
use forgemesh_protocol::limits;

use super::patience;
use super::reach::Reach;

/// Blobs asked for in one message.
const FETCH_BLOBS: usize = 64;
/// Blobs that are on their way at the same time.
const UNDER_WAY: usize = 256;
/// How often everyone is asked before a blob is given up.
const ROUNDS: usize = 8;
/// And how often everyone who is there must have said in turn that it has none, if one of them is gone.
const ROUNDS_OF_REST: usize = 3;
/// The pause between two such rounds: what one of them has just been sent may not be on its disk yet. What takes longer to be
/// written there, being large, is made again.
const PAUSE_OF_REST_MS: u64 = 150;

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
    /// Answers in vain, since somebody did not answer.
    refusals: usize,
}

impl Wanted {
    fn source(&self, ask: usize) -> Option<NodeId> {
        self.sources.get(ask % self.sources.len().max(1)).copied()
    }

    /// Whom to ask next: who is gone is passed over. None at the end of a round, after which there is a pause.
    fn turn(&mut self, reach: &Reach, up_ms: u64) -> Option<NodeId> {
        for _ in 0..self.sources.len() {
            let source = self.source(self.asks).filter(|source| !reach.is_gone(source));
            self.asks += 1;
            if source.is_some() {
                return source;
            }
            if self.is_round_over() {
                self.due_ms = up_ms + self.pause_ms(reach);
                break;
            }
        }
        None
    }

    /// How long nobody is asked after a round. Of those that may have it some are there, others gone: it is soon known
    /// whether it is lost.
    fn pause_ms(&self, reach: &Reach) -> u64 {
        if self.are_some_gone(reach) { PAUSE_OF_REST_MS } else { limits::RETRY_MS }
    }

    fn there(&self, reach: &Reach) -> usize {
        self.sources.iter().filter(|source| !reach.is_gone(source)).count()
    }

    fn are_some_gone(&self, reach: &Reach) -> bool {
        (1..self.sources.len()).contains(&self.there(reach))
    }

    fn is_round_over(&self) -> bool {
        self.asks.is_multiple_of(self.sources.len())
    }

    /// Will nobody have it any more?
    fn is_lost(&self, reach: &Reach, up_ms: u64) -> bool {
        let rest_has_none = self.are_some_gone(reach) && self.refusals >= ROUNDS_OF_REST * self.there(reach);
        rest_has_none || (self.asks >= ROUNDS * self.sources.len() && up_ms >= self.due_ms)
    }

    /// Who was asked last, and has not answered.
    fn awaited(&self) -> Option<NodeId> {
        if self.asked { self.source(self.asks - 1) } else { None }
    }

    fn awaits(&self, node: &NodeId) -> bool {
        self.awaited() == Some(*node)
    }

    /// Is somebody else to be asked? At once, if the last one that was is gone since.
    fn is_due(&self, reach: &Reach, up_ms: u64) -> bool {
        self.awaited().is_some_and(|source| reach.is_gone(&source)) || up_ms >= self.due_ms
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
        let new = Wanted { jobs: BTreeSet::new(), sources, asks: 0, due_ms: 0, asked: false, refusals: 0 };
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
    pub fn refused(&mut self, reach: &Reach, from: &NodeId, blob: &Hash, up_ms: u64) {
        if let Some(wanted) = self.wanted.get_mut(blob).filter(|wanted| wanted.awaits(from)) {
            (wanted.asked, wanted.refusals) = (false, wanted.refusals + 1);
            wanted.due_ms = up_ms + if wanted.is_round_over() { wanted.pause_ms(reach) } else { 0 };
        }
    }

    /// What to ask whom.
    pub fn requests(&mut self, reach: &Reach, up_ms: u64) -> Vec<(NodeId, Vec<Hash>)> {
        let mut under_way = self.under_way(reach, up_ms).count();
        let mut by_source: BTreeMap<NodeId, Vec<Hash>> = BTreeMap::new();
        for (blob, wanted) in &mut self.wanted {
            if under_way >= UNDER_WAY {
                break;
            }
            if !wanted.is_due(reach, up_ms) || wanted.asks >= ROUNDS * wanted.sources.len() {
                continue;
            }
            if wanted.asked {
                (wanted.asked, wanted.refusals) = (false, 0);
            }
            let Some(source) = wanted.turn(reach, up_ms) else { continue };
            wanted.asked = true;
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
    pub fn gone(&mut self, reach: &Reach, up_ms: u64) -> Vec<Hash> {
        let over = |_: &Hash, wanted: &mut Wanted| wanted.is_lost(reach, up_ms);
        self.wanted.extract_if(.., over).map(|(blob, _)| blob).collect()
    }

    fn under_way(&self, reach: &Reach, up_ms: u64) -> impl Iterator<Item = &Wanted> {
        self.wanted.values().filter(move |wanted| wanted.asked && !wanted.is_due(reach, up_ms))
    }

    /// How many are wanted.
    pub fn len(&self) -> usize {
        self.wanted.len()
    }

    /// In how many milliseconds somebody is to be asked.
    pub fn next_deadline(&self, up_ms: u64) -> u64 {
        let waited_for = |wanted: &&Wanted| wanted.asked && up_ms < wanted.due_ms;
        let full = self.wanted.values().filter(waited_for).count() >= UNDER_WAY;
        // Who is full asks nobody else before one of these is due, though others are.
        let counts = self.wanted.values().filter(|wanted| !full || waited_for(wanted));
        let next = counts.map(|wanted| wanted.due_ms).min();
        next.map_or(u64::MAX, |at_ms| at_ms.saturating_sub(up_ms))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(number: u8) -> NodeId {
        NodeId(Hash([number; 32]))
    }

    /// A fetcher that wants one blob of three nodes, the first of which is gone.
    fn with_one_gone() -> (Fetcher, Reach, Hash) {
        let (mut fetcher, mut reach) = (Fetcher::default(), Reach::default());
        let blob = Hash::blob(b"wanted");
        fetcher.want(JobId(Hash::ZERO), blob, vec![node(1), node(2), node(3)]);
        reach.met(&node(9));
        reach.parted(node(1), 0);
        assert_eq!(reach.tick(limits::PARTED_MS), [node(1)]);
        (fetcher, reach, blob)
    }

    #[test]
    fn who_is_gone_is_not_asked_and_what_the_others_have_not_is_lost() {
        let (mut fetcher, reach, blob) = with_one_gone();
        let mut up_ms = 0;
        for round in 1..=ROUNDS_OF_REST {
            for source in [2, 3] {
                assert!(fetcher.gone(&reach, up_ms).is_empty());
                assert_eq!(fetcher.requests(&reach, up_ms), [(node(source), vec![blob])], "round {round}");
                fetcher.refused(&reach, &node(source), &blob, up_ms);
            }
            assert!(fetcher.requests(&reach, up_ms).is_empty(), "there is a pause");
            up_ms += PAUSE_OF_REST_MS;
        }
        assert_eq!(fetcher.gone(&reach, up_ms), [blob]);
        assert_eq!(fetcher.len(), 0);
    }

    #[test]
    fn who_goes_while_it_is_asked_is_not_waited_for() {
        let (mut fetcher, mut reach, blob) = with_one_gone();
        reach.met(&node(1));
        reach.parted(node(1), 10);
        assert_eq!(fetcher.requests(&reach, 900), [(node(1), vec![blob])], "it may be back at once");
        let up_ms = 10 + limits::PARTED_MS;
        reach.tick(up_ms);
        assert_eq!(fetcher.requests(&reach, up_ms), [(node(2), vec![blob])]);
        assert!(fetcher.requests(&reach, up_ms).is_empty(), "the next one is given its time");
    }

    #[test]
    fn who_is_there_and_silent_is_asked_as_often_as_ever() {
        let (mut fetcher, reach, blob) = with_one_gone();
        let (mut up_ms, mut asked) = (0, 0);
        while fetcher.gone(&reach, up_ms).is_empty() {
            for (source, _) in fetcher.requests(&reach, up_ms) {
                asked += 1;
                // One says each time that it has none, the other nothing.
                if source == node(2) {
                    fetcher.refused(&reach, &source, &blob, up_ms);
                }
            }
            up_ms += 10;
        }
        assert_eq!(asked, 2 * ROUNDS);
    }

    #[test]
    fn who_goes_takes_nobody_s_place() {
        let (mut fetcher, mut reach, _) = with_one_gone();
        reach.met(&node(1));
        for number in 0..UNDER_WAY as u64 + 10 {
            fetcher.want(JobId(Hash::ZERO), Hash::blob(&number.to_le_bytes()), vec![node(1), node(2)]);
        }
        let asked = |requests: Vec<(NodeId, Vec<Hash>)>, of: u8| -> usize {
            requests.iter().filter(|(source, _)| *source == node(of)).map(|(_, blobs)| blobs.len()).sum()
        };
        assert_eq!(asked(fetcher.requests(&reach, 900), 1), UNDER_WAY);
        reach.parted(node(1), 10);
        let up_ms = 10 + limits::PARTED_MS;
        reach.tick(up_ms);
        assert_eq!(asked(fetcher.requests(&reach, up_ms), 2), UNDER_WAY);
    }

    #[test]
    fn if_all_are_gone_they_may_come_back_before_it_is_lost() {
        let (mut fetcher, mut reach, blob) = with_one_gone();
        [2, 3].into_iter().for_each(|other| reach.parted(node(other), 0));
        reach.tick(limits::PARTED_MS);
        for round in 0..ROUNDS as u64 {
            let up_ms = round * limits::RETRY_MS;
            assert!(fetcher.gone(&reach, up_ms).is_empty(), "round {round}");
            assert!(fetcher.requests(&reach, up_ms).is_empty());
            assert_eq!(fetcher.next_deadline(up_ms), limits::RETRY_MS);
        }
        assert_eq!(fetcher.gone(&reach, ROUNDS as u64 * limits::RETRY_MS), [blob]);
    }

    #[test]
    fn who_asks_as_much_as_it_may_waits_for_an_answer() {
        let (mut fetcher, mut reach, job) = (Fetcher::default(), Reach::default(), JobId(Hash([9; 32])));
        reach.met(&node(1));
        let mut blobs: Vec<Hash> = (0..2 * UNDER_WAY as u64).map(|i| Hash::blob(&i.to_le_bytes())).collect();
        blobs.sort_unstable();
        blobs.iter().for_each(|blob| fetcher.want(job, *blob, vec![node(1)]));
        let asked = |requests: Vec<(NodeId, Vec<Hash>)>| -> Vec<Hash> {
            requests.into_iter().flat_map(|(_, blobs)| blobs).collect()
        };
        let first = asked(fetcher.requests(&reach, 0));
        assert_eq!(first, blobs[..UNDER_WAY]);
        first.iter().for_each(|blob| fetcher.refused(&reach, &node(1), blob, 0));
        assert_eq!(asked(fetcher.requests(&reach, 0)), blobs[UNDER_WAY..]);
        // Both halves are due again, and there is room for one.
        let later_ms = limits::RETRY_MS.max(patience::wait_ms(1));
        assert_eq!(asked(fetcher.requests(&reach, later_ms)), blobs[..UNDER_WAY]);
        assert!(asked(fetcher.requests(&reach, later_ms)).is_empty());
        assert!(fetcher.next_deadline(later_ms) > 0, "there is nothing to be done now");
    }
}
