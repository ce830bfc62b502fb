//! The newest entries of the log, in memory: all that are not durable, and a bounded number of those that are.

use std::collections::VecDeque;

use forgemesh_protocol::limits;

use super::config::Entry;

/// A contiguous end of the log.
pub(super) struct Recent {
    /// With their encoded lengths.
    entries: VecDeque<(Entry, usize)>,
    /// Index of the first, or of the next to come if there is none.
    first: u64,
    bytes: usize,
    /// Entries before this index are durable.
    durable: u64,
}

impl Recent {
    /// Nothing; the log goes on at `next`.
    pub(super) fn new(next: u64) -> Recent {
        Recent { entries: VecDeque::new(), first: next, bytes: 0, durable: next }
    }

    /// Index of the first entry held, or of the next to come.
    pub(super) fn first(&self) -> u64 {
        self.first
    }

    /// Index of the next entry to come.
    pub(super) fn end(&self) -> u64 {
        self.first + self.entries.len() as u64
    }

    pub(super) fn get(&self, index: u64) -> Option<&Entry> {
        let at = usize::try_from(index.checked_sub(self.first)?).ok()?;
        self.entries.get(at).map(|(entry, _)| entry)
    }

    /// The entries from `from` on, and their encoded lengths.
    pub(super) fn from(&self, from: u64) -> impl Iterator<Item = &(Entry, usize)> {
        self.entries.iter().skip(from.saturating_sub(self.first) as usize)
    }

    /// The entry at `end()`.
    pub(super) fn push(&mut self, entry: Entry, bytes: usize) {
        self.bytes += bytes;
        self.entries.push_back((entry, bytes));
    }

    /// Entries before `end` are durable: the oldest may go.
    pub(super) fn durable_before(&mut self, end: u64) {
        self.durable = self.durable.max(end);
        while self.first < self.durable
            && (self.entries.len() > limits::RAFT_RECENT_ENTRIES || self.bytes > limits::RAFT_RECENT_BYTES)
        {
            self.pop();
        }
    }

    /// The log ends before `from`.
    pub(super) fn truncate(&mut self, from: u64) {
        let kept = from.saturating_sub(self.first) as usize;
        self.bytes -= self.entries.iter().skip(kept).map(|(_, bytes)| bytes).sum::<usize>();
        self.entries.truncate(kept);
        self.first = self.first.min(from);
        self.durable = self.durable.min(from);
    }

    /// The log begins after `through`.
    pub(super) fn drop_through(&mut self, through: u64) {
        while self.first <= through && !self.entries.is_empty() {
            self.pop();
        }
        if self.entries.is_empty() {
            self.first = self.first.max(through + 1);
        }
        self.durable = self.durable.max(through + 1);
    }

    fn pop(&mut self) {
        if let Some((_, bytes)) = self.entries.pop_front() {
            self.bytes -= bytes;
            self.first += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use openraft::EntryPayload;

    use super::super::config::LogId;
    use super::super::logged::Place;
    use super::*;

    fn entry(index: u64) -> Entry {
        Entry { log_id: LogId::from(Place { term: 1, index }), payload: EntryPayload::Blank }
    }

    fn held(recent: &Recent) -> Vec<u64> {
        let held: Vec<u64> = recent.from(0).map(|(entry, _)| entry.log_id.index).collect();
        assert!(held.iter().all(|index| recent.get(*index).is_some()));
        assert_eq!(recent.bytes, held.len() * 10);
        assert_eq!(recent.end() - recent.first(), held.len() as u64);
        held
    }

    #[test]
    fn what_is_not_durable_stays_and_the_rest_is_bounded() {
        let most = limits::RAFT_RECENT_ENTRIES as u64;
        let mut recent = Recent::new(5);
        (5..5 + 2 * most).for_each(|index| recent.push(entry(index), 10));
        assert_eq!(held(&recent).len() as u64, 2 * most);
        recent.durable_before(10);
        assert_eq!(recent.first(), 10);
        recent.durable_before(5 + 2 * most);
        assert_eq!(held(&recent).len() as u64, most);
        assert!(recent.get(5).is_none() && recent.get(5 + 2 * most).is_none());
    }

    #[test]
    fn both_ends_can_go_and_the_log_goes_on() {
        let mut recent = Recent::new(0);
        (0..10).for_each(|index| recent.push(entry(index), 10));
        recent.truncate(8);
        recent.drop_through(2);
        assert_eq!(held(&recent), [3, 4, 5, 6, 7]);
        recent.push(entry(8), 10);
        assert_eq!(recent.from(7).count(), 2);
        // Beyond the end on both sides.
        recent.drop_through(20);
        assert_eq!((held(&recent), recent.end()), (vec![], 21));
        recent.push(entry(21), 10);
        recent.truncate(21);
        assert_eq!((held(&recent), recent.end()), (vec![], 21));
        // What lies in the storage alone is taken back.
        recent.truncate(18);
        recent.push(entry(18), 10);
        assert_eq!(held(&recent), [18]);
    }
}
