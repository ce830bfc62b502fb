//! Which leaves are executed again: drawn after the commitment, from what nobody could know before it.
//!
//! The beacon is a hash chain: a member publishes the last link in genesis and reveals the links before it, one
//! for each attested batch, in order. A link can't be predicted from the ones already seen, nor chosen.

use serde::{Deserialize, Serialize};

use crate::canon;
use crate::envelope::Verify;
use crate::hash::{Domain, Hash, Hasher};
use crate::id::{JobId, NodeId};
use crate::keys::Signable;

/// The link after `value` on the way to the anchor.
pub fn beacon_step(value: &Hash) -> Hash {
    Hash::of(Domain::BEACON, &value.0)
}

/// A leaf to be executed again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LeafRef {
    pub shard: u64,
    /// As a number within the job.
    pub leaf: u64,
}

/// Everything a draw depends on.
#[derive(Clone, Copy, Debug)]
pub struct Draw<'a> {
    pub job: JobId,
    /// The batch root: the commitment.
    pub members: Hash,
    /// Revealed after the commitment was logged.
    pub beacon: Hash,
    pub verify: Verify,
    pub spotcheck_ppm: u64,
    /// Each shard with its first leaf and its number of leaves.
    pub shards: &'a [(u64, u64, u64)],
}

impl Draw<'_> {
    /// How many of `leaves` are checked: none, all, or the sampled share and never fewer than one.
    pub fn count(&self, leaves: u64) -> u64 {
        match self.verify {
            Verify::None => 0,
            Verify::Full => leaves,
            Verify::Spotcheck => {
                let share = (u128::from(leaves) * u128::from(self.spotcheck_ppm)).div_ceil(1_000_000);
                u64::try_from(share).unwrap_or(leaves).clamp(1, leaves.max(1)).min(leaves)
            }
        }
    }

    /// The challenged leaves, ascending. Sampling without replacement by Floyd's algorithm (Bentley & Floyd
    /// 1987); number `i` of the stream is the first eight bytes of H(seed, i), scaled by multiplication.
    pub fn leaves(&self) -> Vec<LeafRef> {
        let seed =
            Hasher::new(Domain::CHALLENGE).hash(&self.job.0).hash(&self.members).hash(&self.beacon).finish();
        let mut index = 0u64;
        let mut below = |bound: u64| {
            let word = Hasher::new(Domain::CHALLENGE).hash(&seed).u64(index).finish();
            index += 1;
            let word = u64::from_le_bytes(word.0[..8].try_into().expect("invariant: a digest has 32 bytes"));
            ((u128::from(word) * u128::from(bound)) >> 64) as u64
        };
        let mut out = Vec::new();
        for &(shard, first, leaves) in self.shards {
            let mut chosen = std::collections::BTreeSet::new();
            let count = self.count(leaves);
            for top in leaves - count..leaves {
                let candidate = if count == leaves { top } else { below(top + 1) };
                if !chosen.insert(candidate) {
                    chosen.insert(top);
                }
            }
            out.extend(chosen.into_iter().map(|leaf| LeafRef { shard, leaf: first + leaf }));
        }
        out
    }
}

/// What a checker found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Verdict {
    pub job: JobId,
    /// Digest of the attestation that was challenged.
    pub attestation: Hash,
    pub checker: NodeId,
    pub outcome: CheckOutcome,
    /// Digest of the leaves that were to be checked: all that were drawn.
    pub drawn: Hash,
    /// How many of them were executed again.
    pub checked: u64,
    /// Where recomputation disagreed; the first ones, if there are many.
    pub mismatches: Vec<Mismatch>,
}

/// What came of a check. A checker that could not check accuses nobody.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CheckOutcome {
    /// Every drawn leaf came out as committed.
    Agreed,
    /// Some did not; the mismatches say which.
    Differs,
    /// The checker failed; somebody must check again.
    Unable,
    /// The agent did not open what was drawn. It may be down or cut off: its batch is given up, nobody is accused.
    Unopened,
}

/// The digest by which a verdict names the leaves that were drawn.
pub fn drawn_digest(leaves: &[LeafRef]) -> Hash {
    Hash::of(Domain::CHALLENGE, &canon::to_bytes(leaves))
}

impl Signable for Verdict {
    const DOMAIN: Domain = Domain::VERDICT;
}

/// A leaf that did not come out as committed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mismatch {
    pub at: LeafRef,
    pub kind: MismatchKind,
    /// What the checker got; zero if the opening was at fault.
    pub recomputed: Hash,
}

/// In which way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MismatchKind {
    /// Executing the leaf again gave another accumulator.
    LeafDiffers,
    /// The opening does not lead to the committed root: a leaf of another place, or of another shard.
    WrongOpening,
    /// The leaves are honest, the totals are not their sum.
    ForgedTotal,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draw(verify: Verify, shards: &[(u64, u64, u64)], beacon: u8) -> Vec<LeafRef> {
        let job = JobId(Hash::ZERO);
        let beacon = Hash([beacon; 32]);
        Draw { job, members: Hash::ZERO, beacon, verify, spotcheck_ppm: 62_500, shards }.leaves()
    }

    #[test]
    fn modes_draw_none_some_of_every_shard_or_all() {
        let shards = [(0, 0, 16), (1, 16, 40), (2, 56, 1)];
        assert!(draw(Verify::None, &shards, 0).is_empty());
        assert_eq!(draw(Verify::Full, &shards, 0).len(), 57);
        let some = draw(Verify::Spotcheck, &shards, 0);
        let of = |shard| some.iter().filter(|leaf| leaf.shard == shard).count();
        assert_eq!((of(0), of(1), of(2)), (1, 3, 1));
        assert!(some.windows(2).all(|pair| pair[0] < pair[1]));
    }

    #[test]
    fn every_leaf_is_equally_likely() {
        let mut hits = [0u32; 10];
        for beacon in 0..=255 {
            for leaf in draw(Verify::Spotcheck, &[(0, 0, 10)], beacon) {
                hits[leaf.leaf as usize] += 1;
            }
        }
        // 256 draws over 10 leaves; a fixed sample, within 4 standard deviations of 25.6.
        assert!(hits.iter().all(|&n| (7..=45).contains(&n)), "{hits:?}");
    }
}
