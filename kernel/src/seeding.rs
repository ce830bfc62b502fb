//! From a contract's seed to the generator's key, and the seed each shard reports.
//!
//! Owns what enters the key. Arguments stay out of it, so that one explicit seed gives common random
//! numbers across scenarios. Must never depend on a plan: randomness is addressed by the path's index.

use forgemesh_protocol::hash::{Domain, Hash, Hasher};

/// Root seed of an explicit seed string: `H(ROOT_EXPLICIT, UTF-8 bytes)`, no length prefix.
pub fn root_explicit(seed: &str) -> Hash {
    Hash::of(Domain::ROOT_EXPLICIT, seed.as_bytes())
}

/// Root seed of a contract in derived mode: `H(ROOT_DERIVED, canonical bytes)`, no length prefix.
pub fn root_derived(contract: &[u8]) -> Hash {
    Hash::of(Domain::ROOT_DERIVED, contract)
}

/// The generator's key `K`; its 32 bytes are ChaCha8's key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GeneratorKey(pub Hash);

impl GeneratorKey {
    /// `K = H(RNG, bytes(root) ‖ bytes(op) ‖ bytes(version) ‖ bytes(profile))`, where `bytes` writes the
    /// length as a little-endian u64 first and the version is its eight little-endian bytes.
    ///
    /// For `mc@1/insurance.v1`: op `mc`, version 1, profile `insurance.v1`.
    pub fn derive(root: &Hash, op: &str, version: u64, profile: &str) -> GeneratorKey {
        let hasher = Hasher::new(Domain::RNG)
            .bytes(&root.0)
            .bytes(op.as_bytes())
            .bytes(&version.to_le_bytes())
            .bytes(profile.as_bytes());
        GeneratorKey(hasher.finish())
    }

    /// The shard's seed as `executions` reports it: `H(SHARD_SEED, bytes(K) ‖ first ‖ last)`, both path
    /// indices inclusive and little-endian u64.
    pub fn shard_seed(&self, first_path: u64, last_path: u64) -> Hash {
        Hasher::new(Domain::SHARD_SEED).bytes(&self.0.0).u64(first_path).u64(last_path).finish()
    }
}
