//! Large artifacts: bytes under their plain BLAKE3 address, cut into pieces each of which can be checked alone.
//!
//! A piece is an aligned subtree of the BLAKE3 tree, so its sum is a chaining value of that tree and the sums together
//! lead to the address: one hash serves `b3sum`, the store and the stream. Must never take a length on trust: it is
//! proven by the last piece.

use blake3::hazmat::{ChainingValue, HasherExt, Mode, merge_subtrees_non_root, merge_subtrees_root};
use serde::{Deserialize, Serialize};

use crate::canon::Bytes;
use crate::hash::{Domain, Hash};
use crate::keys::Signable;
use crate::limits;

/// Bytes of a piece's sum.
const SUM_BYTES: usize = 32;
/// Bytes of a piece.
const PIECE: u64 = limits::PIECE_BYTES as u64;

/// How long an artifact is, and the sums of its pieces.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Outline {
    /// In bytes.
    pub length: u64,
    /// 32 bytes for each piece, in order; none if there is but one piece, whose sum the address is.
    pub sums: Bytes,
}

/// How many pieces an artifact of this length has: at least one.
pub fn pieces(length: u64) -> u64 {
    length.div_ceil(PIECE).max(1)
}

/// Bytes of a piece; none behind the end.
pub fn piece_length(length: u64, index: u64) -> u64 {
    length.saturating_sub(index.saturating_mul(PIECE)).min(PIECE)
}

/// The pieces in which a range of bytes lies; none behind the end.
pub fn pieces_of(length: u64, bytes: &std::ops::Range<u64>) -> std::ops::Range<u64> {
    let end = bytes.end.min(length);
    if bytes.start >= end {
        return 0..0;
    }
    bytes.start / PIECE..end.div_ceil(PIECE)
}

/// The sum of a piece that is not the only one: the chaining value of its subtree. None of what is no such piece, being empty
/// or too long.
pub fn sum(index: u64, piece: &[u8]) -> Option<Hash> {
    let at = index.checked_mul(PIECE)?;
    (1..=limits::PIECE_BYTES).contains(&piece.len()).then(|| Hash(chaining_value(at, piece)))
}

/// Are these the bytes of a piece with this sum, of the artifact at `address`? The sum of an only piece is the address.
pub fn is_sum(address: &Hash, index: u64, claimed: &Hash, piece: &[u8]) -> bool {
    if claimed == address { Hash::blob(piece) == *claimed } else { sum(index, piece) == Some(*claimed) }
}

/// Of a subtree that begins so many bytes behind the beginning.
fn chaining_value(at: u64, piece: &[u8]) -> ChainingValue {
    let mut hasher = blake3::Hasher::new();
    hasher.set_input_offset(at).update(piece);
    hasher.finalize_non_root()
}

/// How many of so many pieces are left of the root, or of an inner node: the largest power of two that leaves some over.
fn left_of(pieces: usize) -> usize {
    pieces.next_power_of_two() / 2
}

fn inner(sums: &[ChainingValue]) -> ChainingValue {
    match sums {
        [] => [0; SUM_BYTES],
        [only] => *only,
        _ => {
            let (left, right) = sums.split_at(left_of(sums.len()));
            merge_subtrees_non_root(&inner(left), &inner(right), Mode::Hash)
        }
    }
}

/// The address to which these sums lead; they are two or more.
fn root(sums: &[ChainingValue]) -> Hash {
    let (left, right) = sums.split_at(left_of(sums.len()));
    Hash(*merge_subtrees_root(&inner(left), &inner(right), Mode::Hash).as_bytes())
}

impl Outline {
    /// Is this the outline of the artifact at `address`, whose last piece is `last`?
    pub fn is_of(&self, address: &Hash, last: &[u8]) -> bool {
        let count = pieces(self.length);
        if self.length > limits::STREAMED_BYTES || last.len() as u64 != piece_length(self.length, count - 1) {
            return false;
        }
        if count == 1 {
            return self.sums.0.is_empty() && Hash::blob(last) == *address;
        }
        let (sums, rest) = self.sums.0.as_chunks::<SUM_BYTES>();
        let whole = rest.is_empty() && sums.len() as u64 == count;
        whole && sums.last() == Some(&chaining_value((count - 1) * PIECE, last)) && root(sums) == *address
    }

    /// Are these the bytes of that piece? `address` is the one this outline was found to be of.
    pub fn has(&self, address: &Hash, index: u64, piece: &[u8]) -> bool {
        self.sum_of(address, index, piece).is_some()
    }

    /// The sum of that piece, if these are its bytes.
    pub fn sum_of(&self, address: &Hash, index: u64, piece: &[u8]) -> Option<Hash> {
        let fits = index < pieces(self.length) && piece.len() as u64 == piece_length(self.length, index);
        self.sum(address, index).filter(|sum| fits && is_sum(address, index, sum, piece))
    }

    /// The sum of a piece; none of one that it has not.
    pub fn sum(&self, address: &Hash, index: u64) -> Option<Hash> {
        if self.sums.0.is_empty() {
            return (index == 0).then_some(*address);
        }
        let (sums, _) = self.sums.0.as_chunks::<SUM_BYTES>();
        usize::try_from(index).ok().and_then(|index| sums.get(index)).map(|sum| Hash(*sum))
    }
}

/// Makes an outline of pieces that come one after the other.
#[derive(Default)]
pub struct Outliner {
    length: u64,
    sums: Vec<ChainingValue>,
    /// Of the first piece, should it remain the only one.
    only: Option<Hash>,
}

impl Outliner {
    /// The next piece: `limits::PIECE_BYTES` long, but for the last.
    pub fn push(&mut self, piece: &[u8]) {
        if self.length == 0 {
            self.only = Some(Hash::blob(piece));
        }
        if !piece.is_empty() {
            self.sums.push(chaining_value(self.sums.len() as u64 * PIECE, piece));
        }
        self.length += piece.len() as u64;
    }

    /// The address and the outline.
    pub fn finish(self) -> (Hash, Outline) {
        let Outliner { length, sums, only } = self;
        if sums.len() < 2 {
            let outline = Outline { length, sums: Bytes::default() };
            return (only.unwrap_or_else(|| Hash::blob(&[])), outline);
        }
        (root(&sums), Outline { length, sums: Bytes(sums.concat()) })
    }
}

/// Somebody's wish that the mesh keeps an artifact. It travels with the artifact: whoever keeps it can show why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pin {
    pub artifact: Hash,
    /// In bytes.
    pub length: u64,
    /// Until when, in milliseconds since 1970.
    pub until_ms: u64,
}

impl Signable for Pin {
    const DOMAIN: Domain = Domain::PIN;
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes that differ from piece to piece.
    fn bytes(length: usize) -> Vec<u8> {
        (0..length).map(|i| (i ^ (i >> 8) ^ (i >> 16)) as u8).collect()
    }

    fn outline(bytes: &[u8]) -> (Hash, Outline) {
        let mut outliner = Outliner::default();
        bytes.chunks(limits::PIECE_BYTES).for_each(|piece| outliner.push(piece));
        outliner.finish()
    }

    #[test]
    fn sums_lead_to_the_address_that_b3sum_prints() {
        const P: usize = limits::PIECE_BYTES;
        for length in [0, 1, 1_024, P - 1, P, P + 1, 2 * P, 2 * P + 1, 3 * P, 4 * P + 7, 5 * P - 1, 7 * P] {
            let bytes = bytes(length);
            let (address, outline) = outline(&bytes);
            assert_eq!((address, outline.length), (Hash::blob(&bytes), length as u64), "{length}");
            let count = pieces(outline.length);
            let last = &bytes[(count as usize - 1) * P..];
            assert!(outline.is_of(&address, last), "{length}");
            for (index, piece) in bytes.chunks(P).enumerate() {
                assert!(outline.has(&address, index as u64, piece), "{length}, {index}");
                assert!(!outline.has(&address, index as u64 + 1, piece), "{length}, {index} elsewhere");
                let mut other = piece.to_vec();
                other[piece.len() / 2] ^= 1;
                assert!(!outline.has(&address, index as u64, &other), "{length}, {index} altered");
            }
        }
    }

    #[test]
    fn a_wrong_length_or_sum_is_seen_at_once() {
        const P: usize = limits::PIECE_BYTES;
        let bytes = bytes(3 * P + 100);
        let (address, good) = outline(&bytes);
        let last = &bytes[3 * P..];
        assert!(good.is_of(&address, last));
        let mut longer = last.to_vec();
        longer.push(0);
        for length in [good.length - 1, good.length + 1, 0, u64::MAX] {
            let claimed = Outline { length, ..good.clone() };
            for last in [last, &last[..99], &longer, &[]] {
                assert!(!claimed.is_of(&address, last), "{length}");
            }
        }
        for at in [0, 40, 4 * SUM_BYTES - 1] {
            let mut sums = good.sums.clone();
            sums.0[at] ^= 1;
            assert!(!Outline { sums, ..good.clone() }.is_of(&address, last), "{at}");
        }
        for sums in [&good.sums.0[..96], &[&good.sums.0[..], &[0; 32]].concat(), &[], &good.sums.0[..127]] {
            let claimed = Outline { sums: Bytes(sums.to_vec()), ..good.clone() };
            assert!(!claimed.is_of(&address, last), "{} bytes", sums.len());
        }
    }

    #[test]
    fn a_range_names_its_pieces() {
        const P: u64 = PIECE;
        let length = 3 * P + 1;
        for (range, pieces) in [
            (0..1, 0..1),
            (0..P, 0..1),
            (P - 1..P + 1, 0..2),
            (P..P, 0..0),
            (3 * P..u64::MAX, 3..4),
            (length..u64::MAX, 0..0),
            (0..u64::MAX, 0..4),
        ] {
            assert_eq!(pieces_of(length, &range), pieces, "{range:?}");
        }
    }
}
