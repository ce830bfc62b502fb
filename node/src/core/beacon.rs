//! A hub member's beacon chain: a hash chain of which only the end is public. Links are revealed from the end
//! towards the seed, one for each attested batch.

use forgemesh_protocol::challenge::beacon_step;
use forgemesh_protocol::hash::Hash;

/// Links between two checkpoints.
const STRIDE: u64 = 1 << 10;

/// The chain, with enough checkpoints that any link is a thousand hashes away at most.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BeaconChain {
    length: u64,
    /// Links 0 (the seed), `STRIDE`, 2·`STRIDE`, …
    checkpoints: Vec<Hash>,
}

impl BeaconChain {
    /// The chain of `length` links from a secret seed.
    pub fn new(seed: Hash, length: u64) -> BeaconChain {
        let (mut checkpoints, mut link) = (Vec::new(), seed);
        for index in 0..length {
            if index % STRIDE == 0 {
                checkpoints.push(link);
            }
            link = beacon_step(&link);
        }
        BeaconChain { length, checkpoints }
    }

    /// The chain from stored checkpoints; none if there are not as many as its length needs.
    pub fn from_checkpoints(bytes: &[u8], length: u64) -> Option<BeaconChain> {
        let checkpoints: Vec<Hash> = bytes
            .chunks_exact(32)
            .map(|chunk| Hash(chunk.try_into().expect("invariant: chunks of 32")))
            .collect();
        let whole = bytes.len().is_multiple_of(32) && checkpoints.len() as u64 == length.div_ceil(STRIDE);
        whole.then_some(BeaconChain { length, checkpoints })
    }

    /// The checkpoints, to be stored: secret, since they lead to every link.
    pub fn checkpoint_bytes(&self) -> Vec<u8> {
        self.checkpoints.iter().flat_map(|hash| hash.0).collect()
    }

    /// The anchor that genesis publishes: the link after the last.
    pub fn anchor(&self) -> Hash {
        self.link(self.length).expect("invariant: a chain has at least one link")
    }

    /// How many links can be revealed.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// The link to reveal when `revealed` have been; none once the chain is used up.
    pub fn next(&self, revealed: u64) -> Option<Hash> {
        self.link(self.length.checked_sub(revealed + 1)?)
    }

    fn link(&self, index: u64) -> Option<Hash> {
        let at = (index / STRIDE).min(self.checkpoints.len() as u64 - 1);
        let start = *self.checkpoints.get(at as usize)?;
        Some((at * STRIDE..index).fold(start, |link, _| beacon_step(&link)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_lead_one_by_one_to_the_anchor() {
        for length in [1, 2, 1023, 1024, 1025, 3000] {
            let chain = BeaconChain::new(Hash([3; 32]), length);
            let again = BeaconChain::from_checkpoints(&chain.checkpoint_bytes(), length);
            assert_eq!(again.as_ref(), Some(&chain));
            let mut last = chain.anchor();
            for revealed in 0..length {
                let link = chain.next(revealed).unwrap();
                assert_eq!(beacon_step(&link), last);
                last = link;
            }
            assert_eq!(chain.next(length), None);
        }
    }
}
