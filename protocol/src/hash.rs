//! BLAKE3 digests, each under a domain tag, so that bytes hashed for one purpose never stand for another.
//!
//! Owns the list of domains: the tag *is* the format's version, and a released tag never changes meaning.
//! Must never hash a float other than by its bits, nor anything whose length is not written before it.

use std::fmt;
use std::str::FromStr;

use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// What a digest is for. The string is the BLAKE3 `derive_key` context (BLAKE3 paper, section 2.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Domain(&'static str);

macro_rules! domains {
    ($($(#[$doc:meta])* $name:ident = $context:literal;)*) => {
        impl Domain {
            $($(#[$doc])* pub const $name: Domain = Domain($context);)*
            /// Every domain there is, for the test that no two are equal.
            pub const ALL: &'static [Domain] = &[$(Domain($context)),*];
        }
    };
}

domains! {
    // A blob has no domain: its address is plain BLAKE3, see `Hash::blob`.
    /// Canonical bytes of a mesh's genesis; the digest is the mesh id.
    GENESIS = "forgemesh genesis v1";
    /// A public key; the digest is the key id.
    KEY_ID = "forgemesh key id v1";
    /// Canonical bytes of a contract.
    CONTRACT = "forgemesh contract v1";
    /// Canonical bytes of a profile's typed arguments.
    ARGS = "forgemesh args v1";
    /// Canonical bytes of an envelope: contract, terms and offer, without nonce and signature.
    ENVELOPE = "forgemesh envelope v1";
    /// A submission without its signature; the digest is the job id.
    SUBMISSION = "forgemesh submission v1";
    /// The root seed of a contract whose seed mode is `explicit`.
    ROOT_EXPLICIT = "forgemesh root explicit v1";
    /// The root seed of a contract whose seed mode is `derived`.
    ROOT_DERIVED = "forgemesh root derived v1";
    /// The generator's key, from root seed and op.
    RNG = "forgemesh rng v1";
    /// A shard's seed as `executions` reports it: key, first path, last path.
    SHARD_SEED = "forgemesh shard seed v1";
    /// Canonical bytes of a plan.
    PLAN = "forgemesh plan v1";
    /// What a later stage needs of the earlier ones.
    STAGE_INPUT = "forgemesh stage input v1";
    /// The task of one shard.
    SHARD_TASK = "forgemesh shard task v1";
    /// Encoded accumulator.
    ACCUMULATOR = "forgemesh accumulator v1";
    /// A leaf of a shard's tree.
    LEAF = "forgemesh leaf v1";
    /// An inner node of a shard's tree; binds the merged totals.
    NODE = "forgemesh node v1";
    /// A shard's commitment: task, tree root, totals.
    SHARD = "forgemesh shard v1";
    /// The Merkle root over the shard commitments of one batch.
    BATCH = "forgemesh batch v1";
    /// A lease without its signature.
    LEASE = "forgemesh lease v1";
    /// An attestation without its signature.
    ATTESTATION = "forgemesh attestation v1";
    /// A beacon value and the step of its hash chain.
    BEACON = "forgemesh beacon v1";
    /// The stream from which challenged leaves are drawn.
    CHALLENGE = "forgemesh challenge v1";
    /// A verdict without its signature.
    VERDICT = "forgemesh verdict v1";
    /// A reduction vote without its signature.
    VOTE = "forgemesh vote v1";
    /// A result: contract, typed output, work, convergence.
    RESULT = "forgemesh result v1";
    /// A replay key: contract, root seed, numerics, reduction.
    REPLAY_KEY = "forgemesh replay key v1";
    /// A profile's frozen numeric specification.
    NUMERICS = "forgemesh numerics v1";
    /// Canonical bytes of a final job's record; the receipt binds it.
    EVIDENCE = "forgemesh evidence v1";
    /// A receipt's statement; the digest is the receipt's identity.
    RECEIPT = "forgemesh receipt v1";
    /// A ledger entry; each holds the digest of the one before it.
    LEDGER = "forgemesh ledger v1";
    /// A refused envelope's bytes; the digest is the refusal's id.
    REFUSAL = "forgemesh refusal v1";
    /// A cancellation without its signature.
    CANCELLATION = "forgemesh cancellation v1";
    /// A join ticket without its signature.
    TICKET = "forgemesh ticket v1";
    /// The checksum at the end of a ticket's text.
    TICKET_CHECK = "forgemesh ticket check v1";
    /// The secret of a ticket; the digest is what the log knows of it before it is used.
    TICKET_SECRET = "forgemesh ticket secret v1";
    /// An invitation without its signature.
    INVITATION = "forgemesh invitation v1";
    /// The withdrawal of an invitation, without its signature.
    WITHDRAWAL = "forgemesh withdrawal v1";
    /// A node's request to be admitted, without its signature.
    JOIN = "forgemesh join v1";
    /// A node's expulsion, without its signature.
    EXPULSION = "forgemesh expulsion v1";
    /// Who may make up the hub.
    CHARTER = "forgemesh charter v1";
    /// A wish that an artifact be kept, without its signature.
    PIN = "forgemesh pin v1";
}

impl Domain {
    /// The tag itself, which also goes before every signed message.
    pub const fn tag(self) -> &'static str {
        self.0
    }
}

/// A 32-byte BLAKE3 digest. Bytes in CBOR, lower-case hex in JSON and on the screen.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hash(pub [u8; 32]);

impl Hash {
    /// The digest before the first: what a chain's first member names as its predecessor.
    pub const ZERO: Hash = Hash([0; 32]);

    /// Digest of one byte string, without a length prefix, under `domain`.
    pub fn of(domain: Domain, bytes: &[u8]) -> Hash {
        let mut hasher = blake3::Hasher::new_derive_key(domain.0);
        hasher.update(bytes);
        Hash(*hasher.finalize().as_bytes())
    }

    /// The address of a blob: plain BLAKE3 of its bytes, what `b3sum` prints and what a verified stream
    /// checks. It cannot be mistaken for a tagged digest: `derive_key` sets other flags in every block.
    pub fn blob(bytes: &[u8]) -> Hash {
        Hash(*blake3::hash(bytes).as_bytes())
    }

    /// The first eight hex digits, for people.
    pub fn short(&self) -> String {
        self.to_string()[..8].to_owned()
    }
}

/// The address of a blob that comes in parts.
#[derive(Default)]
pub struct BlobHasher(blake3::Hasher);

impl BlobHasher {
    /// The next part.
    pub fn update(&mut self, part: &[u8]) {
        self.0.update(part);
    }

    /// The address of all that came.
    pub fn finish(&self) -> Hash {
        Hash(*self.0.finalize().as_bytes())
    }
}

/// Digest of a sequence of integers and byte strings; every byte string is prefixed by its length.
pub struct Hasher(blake3::Hasher);

impl Hasher {
    /// Starts a digest under `domain`.
    pub fn new(domain: Domain) -> Self {
        Hasher(blake3::Hasher::new_derive_key(domain.0))
    }

    /// Appends the length as a little-endian u64, then the bytes.
    pub fn bytes(mut self, bytes: &[u8]) -> Self {
        self.0.update(&(bytes.len() as u64).to_le_bytes());
        self.0.update(bytes);
        self
    }

    /// Appends eight bytes, little-endian.
    pub fn u64(mut self, value: u64) -> Self {
        self.0.update(&value.to_le_bytes());
        self
    }

    /// Appends the 32 bytes of a digest.
    pub fn hash(mut self, value: &Hash) -> Self {
        self.0.update(&value.0);
        self
    }

    /// The digest.
    pub fn finish(self) -> Hash {
        Hash(*self.0.finalize().as_bytes())
    }
}

/// Why a text is not a digest.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a digest is 64 lower-case hexadecimal digits; give the whole of it")]
pub struct HashError;

impl FromStr for Hash {
    type Err = HashError;

    fn from_str(text: &str) -> Result<Self, HashError> {
        let digits = text.as_bytes();
        if digits.len() != 64 {
            return Err(HashError);
        }
        let value = |digit: u8| match digit {
            b'0'..=b'9' => Ok(digit - b'0'),
            b'a'..=b'f' => Ok(digit - b'a' + 10),
            _ => Err(HashError),
        };
        let mut out = [0u8; 32];
        for (byte, pair) in out.iter_mut().zip(digits.chunks_exact(2)) {
            *byte = value(pair[0])? << 4 | value(pair[1])?;
        }
        Ok(Hash(out))
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Hash {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.collect_str(self)
        } else {
            serializer.serialize_bytes(&self.0)
        }
    }
}

impl<'de> Deserialize<'de> for Hash {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct HashVisitor;
        impl Visitor<'_> for HashVisitor {
            type Value = Hash;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a digest of 32 bytes, or of 64 lower-case hexadecimal digits")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Hash, E> {
                text.parse().map_err(E::custom)
            }
            fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<Hash, E> {
                bytes.try_into().map(Hash).map_err(|_| E::invalid_length(bytes.len(), &self))
            }
        }
        if deserializer.is_human_readable() {
            deserializer.deserialize_str(HashVisitor)
        } else {
            deserializer.deserialize_bytes(HashVisitor)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_domains_share_a_tag() {
        for (i, a) in Domain::ALL.iter().enumerate() {
            assert!(Domain::ALL[i + 1..].iter().all(|b| a != b), "{a:?} twice");
        }
    }

    #[test]
    fn text_round_trips_and_slack_is_refused() {
        let hash = Hash::blob(b"abc");
        assert_eq!(hash.to_string().parse(), Ok(hash));
        assert_eq!(hash.to_string().to_uppercase().parse::<Hash>(), Err(HashError));
        assert_eq!("00".parse::<Hash>(), Err(HashError));
    }
}
