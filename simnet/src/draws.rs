//! Random choices of a simulation: SplitMix64 (Steele, Lea and Flood 2014), one stream for each purpose.

use forgemesh_protocol::hash::Hash;
use forgemesh_storage::testing::Random;

/// A stream of draws.
#[derive(Clone, Debug)]
pub struct Draws(Random);

impl Draws {
    /// The stream of `purpose` under `seed`: adding a purpose changes no other stream.
    pub fn new(seed: u64, purpose: &str) -> Draws {
        let digest = Hash::blob(format!("{seed} {purpose}").as_bytes());
        let word = digest.0[..8].try_into().expect("invariant: a digest has 32 bytes");
        Draws(Random(u64::from_le_bytes(word)))
    }

    /// Any u64.
    pub fn word(&mut self) -> u64 {
        self.0.draw()
    }

    /// From `low` to `high`, both included, by multiplication.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        let span = u128::from(high - low) + 1;
        low + ((u128::from(self.word()) * span) >> 64) as u64
    }

    /// 32 bytes.
    pub fn bytes(&mut self) -> [u8; 32] {
        Hash::blob(&self.word().to_le_bytes()).0
    }
}
