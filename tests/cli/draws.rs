//! Choices of a test that samples what would take too long to try whole.

use forgemesh_storage::testing::Random;

/// Pseudo-random numbers for sampling. The seed is printed for the record.
pub struct Draws(Random);

impl Draws {
    /// From `FORGEMESH_TEST_SEED`, else a fixed seed.
    pub fn new(what: &str) -> Draws {
        let seed =
            std::env::var("FORGEMESH_TEST_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(20_24);
        println!("{what}: FORGEMESH_TEST_SEED={seed}");
        Draws(Random(seed))
    }

    /// A number below `bound`.
    pub fn below(&mut self, bound: usize) -> usize {
        (self.0.draw() % bound as u64) as usize
    }
}
