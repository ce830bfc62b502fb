//! What decoding may take of the memory: so much for each byte that came, and a little besides.
//!
//! Owns the account that the decoders keep. Short items make long values, so lengths alone bound nothing: what is asked
//! for must be taken here before it is made.

use crate::limits;

/// Bytes that a decoder may still make.
#[derive(Clone, Debug)]
pub(crate) struct Allowance {
    left: usize,
}

impl Allowance {
    /// All that may be made of an input of so many bytes.
    pub fn of(input: usize) -> Allowance {
        Allowance::times(limits::DECODED_FACTOR, input)
    }

    /// So many bytes for each of the input, and a little besides.
    pub fn times(factor: usize, input: usize) -> Allowance {
        Allowance::new(input.saturating_mul(factor).saturating_add(limits::DECODED_BYTES))
    }

    /// So many bytes.
    fn new(bytes: usize) -> Allowance {
        Allowance { left: bytes }
    }

    /// Takes so many bytes; false if there are fewer.
    #[must_use]
    pub fn take(&mut self, bytes: usize) -> bool {
        let left = self.left.checked_sub(bytes);
        self.left = left.unwrap_or(0);
        left.is_some()
    }

    /// Takes what one more item costs in a list that holds `count` of this size and had room for `first` at the
    /// beginning: nothing while there is room; else it doubles, and for a moment the old room and the new one are there.
    #[must_use]
    pub fn item(&mut self, count: usize, first: usize, size: usize) -> bool {
        let first = first.max(1);
        if count == 0 {
            // A small set takes a whole node.
            let least = if size <= SMALL { NODE } else { 1 };
            return self.take(first.max(least).saturating_mul(size));
        }
        let is_full = count.is_multiple_of(first) && (count / first).is_power_of_two();
        let room = count.saturating_mul(size);
        !is_full || self.left >= room.saturating_mul(2) && self.take(room)
    }

    /// Takes what one more entry costs in a tree that holds `count` of this size: nodes that grow at their end are left
    /// about half full.
    #[must_use]
    pub fn entry(&mut self, count: usize, size: usize) -> bool {
        !count.is_multiple_of(NODE_FILL) || self.take(NODE * size + NODE_HEAD)
    }
}

/// Entries of a full node of a `BTreeMap`, of one that was split, and the bytes beside them.
const NODE: usize = 11;
const NODE_FILL: usize = 6;
const NODE_HEAD: usize = 8;
/// Items of at most so many bytes may be a set's.
const SMALL: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    /// How many items of `size` bytes an allowance of `bytes` lets into a list.
    fn items(bytes: usize, first: usize, size: usize) -> usize {
        let mut allowance = Allowance::new(bytes);
        (0..).take_while(|count| allowance.item(*count, first, size)).count()
    }

    #[test]
    fn a_list_has_what_it_holds_and_what_it_held_before_it_grew() {
        // Room for 4, then for 8 while those for 4 are still there, and so on.
        assert_eq!(items(4 * 100 - 1, 4, 100), 0);
        assert_eq!(items((4 + 8) * 100 - 1, 4, 100), 4);
        assert_eq!(items((4 + 8) * 100, 4, 100), 8);
        assert_eq!(items((8 + 16) * 100, 4, 100), 16);
        assert_eq!(items(NODE * 8, 1, 8), 1, "a small one may be a set");
    }

    #[test]
    fn what_is_gone_is_gone() {
        let mut allowance = Allowance::new(10);
        assert!(allowance.take(4) && !allowance.take(7) && !allowance.take(1));
        assert!(!Allowance::new(usize::MAX - 1).item(1 << (usize::BITS - 1), 1, usize::MAX));
    }

    #[test]
    fn a_tree_takes_a_node_at_a_time() {
        let mut allowance = Allowance::new(2 * (NODE * 40 + NODE_HEAD));
        assert_eq!((0..).take_while(|count| allowance.entry(*count, 40)).count(), 2 * NODE_FILL);
    }
}
