//! A run of consecutive paths on their way from a profile's arithmetic into a leaf's statistics.

use std::ops::Range;

use crate::accumulator::LeafAccumulator;
use crate::backend::Body;
use crate::num::chacha::Key;

/// Paths computed together: enough for any vector width, few enough for the first-level cache.
pub const BLOCK: usize = 64;

/// The values of up to [`BLOCK`] paths.
pub struct Block {
    /// One array per column; only the first `count` values mean anything.
    pub columns: Vec<[f64; BLOCK]>,
    /// Paths for which the profile has no value.
    pub degenerate: [bool; BLOCK],
    /// Event counts of these paths.
    pub tallies: Vec<u64>,
}

/// Computes blocks of paths. `fill` is marked `#[inline(always)]` by its implementors, so that it is compiled once
/// for each instruction set.
pub trait Paths {
    /// Buffers that live as long as the leaf.
    type Scratch;
    /// New buffers.
    fn scratch(&self) -> Self::Scratch;
    /// Computes paths `first .. first + count` into `block`; values beyond `count` are ignored.
    fn fill(&self, key: &Key, first: u64, count: usize, block: &mut Block, scratch: &mut Self::Scratch);
}

/// Executes a leaf, block by block.
pub struct LeafBody<'a, P> {
    pub paths: &'a P,
    pub key: &'a Key,
    pub range: Range<u64>,
    pub leaf: &'a mut LeafAccumulator,
    pub columns: usize,
    pub tallies: usize,
}

impl<P: Paths> Body for LeafBody<'_, P> {
    type Out = ();

    #[inline(always)]
    fn run(self) {
        let LeafBody { paths, key, range, leaf, columns, tallies } = self;
        let mut scratch = paths.scratch();
        let mut block = Block {
            columns: vec![[0.0; BLOCK]; columns],
            degenerate: [false; BLOCK],
            tallies: vec![0; tallies],
        };
        let mut first = range.start;
        while first < range.end {
            let count = (range.end - first).min(BLOCK as u64) as usize;
            block.degenerate = [false; BLOCK];
            block.tallies.fill(0);
            paths.fill(key, first, count, &mut block, &mut scratch);
            leaf.push(first, count, &block);
            first += count as u64;
        }
    }
}
