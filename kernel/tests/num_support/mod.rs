//! What the `num_*` tests share: a seeded source of inputs.
//!
//! Holds no test, and must not use the generator under test as its source of randomness.

/// SplitMix64 (Steele, Lea, Flood 2014). Prints its seed, which a failing test then shows.
pub struct Source(u64);

impl Source {
    pub fn new(seed: u64) -> Source {
        println!("random inputs: seed {seed:#x}");
        Source(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Uniform on [low, high).
    pub fn between(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * ((self.next() >> 11) as f64 / (1_u64 << 53) as f64)
    }
}
