//! Signatures: ed25519, always over a domain tag, the mesh, the protocol version and a digest.
//!
//! Must never verify leniently (`verify` accepts any message under the identity key; `verify_strict` does
//! not), and must never admit a weak key.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use ed25519_dalek::{Signer as _, VerifyingKey};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::canon::{self, Bytes};
use crate::hash::{Domain, Hash};
use crate::id::{MeshId, NodeId};
use crate::limits::{self, PROTOCOL_VERSION};

/// Why a key or a signature was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Not a point of the curve, or one of small order.
    #[error("not a usable ed25519 public key; ask its owner for the right one")]
    WeakKey,
    /// The signature is not this key's for this message.
    #[error(
        "the signature does not match its key and content; the content was changed or the key is another"
    )]
    BadSignature,
}

/// A node's secret; signs, and is wiped when dropped.
#[derive(Clone)]
pub struct SecretKey(ed25519_dalek::SigningKey);

impl SecretKey {
    /// The key whose 32-byte seed is `bytes`; the caller draws them from the system's generator.
    pub fn from_bytes(bytes: &[u8; 32]) -> Self {
        SecretKey(ed25519_dalek::SigningKey::from_bytes(bytes))
    }

    /// The 32-byte seed, for another implementation that must sign with the same key.
    pub fn to_bytes(&self) -> [u8; 32] {
        self.0.to_bytes()
    }

    /// The public half.
    pub fn public(&self) -> PublicKey {
        PublicKey(self.0.verifying_key().to_bytes())
    }

    /// Signs bytes that already carry their own domain (a DSSE pre-authentication encoding).
    pub fn sign_raw(&self, message: &[u8]) -> Signature {
        Signature(self.0.sign(message).to_bytes())
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretKey(of {:?})", self.public().id())
    }
}

/// A public key; 32 bytes in CBOR, base64 in JSON. Checked for strength when it is decoded.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct PublicKey([u8; 32]);

impl PublicKey {
    /// Accepts a key that is on the curve and not of small order.
    pub fn from_bytes(bytes: [u8; 32]) -> Result<Self, KeyError> {
        point(&bytes).map(|_| PublicKey(bytes))
    }

    /// The 32 bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The digest by which the node is known.
    pub fn id(&self) -> NodeId {
        NodeId(Hash::of(Domain::KEY_ID, &self.0))
    }

    /// Strict verification of bytes that carry their own domain.
    pub fn verify_raw(&self, message: &[u8], signature: &Signature) -> Result<(), KeyError> {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&self.0).update(&signature.0).update(message);
        let checked = *hasher.finalize().as_bytes();
        if CHECKED.with_borrow(|known| known.contains(&checked)) {
            return Ok(());
        }
        let key = point(&self.0)?;
        key.verify_strict(message, &ed25519_dalek::Signature::from_bytes(&signature.0))
            .map_err(|_| KeyError::BadSignature)?;
        CHECKED.with_borrow_mut(|known| {
            if known.len() >= limits::SIGNATURES_CHECKED {
                known.clear();
            }
            known.insert(checked);
        });
        Ok(())
    }
}

thread_local! {
    /// The points of keys that this thread has met: to find one takes as long as half a verification, and a mesh has few.
    static POINTS: RefCell<BTreeMap<[u8; 32], VerifyingKey>> = RefCell::default();
    /// Digests of key, signature and message that this thread has found to be true: what arrives is checked then, once more
    /// when the log applies it, and again in the books.
    static CHECKED: RefCell<BTreeSet<[u8; 32]>> = RefCell::default();
}

/// The point that a key stands for, if it is on the curve and not of small order.
fn point(bytes: &[u8; 32]) -> Result<VerifyingKey, KeyError> {
    POINTS.with_borrow_mut(|points| {
        if let Some(key) = points.get(bytes) {
            return Ok(*key);
        }
        let key = VerifyingKey::from_bytes(bytes).map_err(|_| KeyError::WeakKey)?;
        if key.is_weak() {
            return Err(KeyError::WeakKey);
        }
        if points.len() >= limits::KEYS_MET {
            points.clear();
        }
        points.insert(*bytes, key);
        Ok(key)
    })
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({})", self.id())
    }
}

/// A signature of 64 bytes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Signature(pub [u8; 64]);

impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Signature(..)")
    }
}

macro_rules! as_bytes {
    ($name:ident, $length:literal, $make:expr) => {
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                Bytes(self.0.to_vec()).serialize(serializer)
            }
        }
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let bytes = Bytes::deserialize(deserializer)?.0;
                let bytes = <[u8; $length]>::try_from(bytes)
                    .map_err(|b| serde::de::Error::invalid_length(b.len(), &concat!($length, " bytes")))?;
                $make(bytes).map_err(serde::de::Error::custom)
            }
        }
    };
}
as_bytes!(PublicKey, 32, PublicKey::from_bytes);
as_bytes!(Signature, 64, |bytes| Ok::<_, KeyError>(Signature(bytes)));

/// Something that is signed: its domain keeps its signature from standing for anything else.
pub trait Signable: Serialize {
    /// The domain of both the digest and the signature.
    const DOMAIN: Domain;

    /// Digest of the canonical bytes: the thing's identity, which no signature changes.
    fn digest(&self) -> Hash {
        Hash::of(Self::DOMAIN, &canon::to_bytes(self))
    }
}

/// A signed body with the key that signed it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Signed<T> {
    /// What is signed.
    pub body: T,
    /// Whose signature it is.
    pub key: PublicKey,
    /// Over tag, mesh, protocol version and digest.
    pub signature: Signature,
}

impl<T: Signable> Signed<T> {
    /// Signs `body` for `mesh`.
    pub fn new(body: T, mesh: MeshId, secret: &SecretKey) -> Self {
        let signature = secret.sign_raw(&message(T::DOMAIN, mesh, body.digest()));
        Signed { body, key: secret.public(), signature }
    }

    /// Checks the signature for `mesh`; says nothing about who the key belongs to.
    pub fn verify(&self, mesh: MeshId) -> Result<(), KeyError> {
        self.key.verify_raw(&message(T::DOMAIN, mesh, self.body.digest()), &self.signature)
    }
}

/// `len(tag) ‖ tag ‖ mesh ‖ version ‖ digest`, integers little-endian u64.
fn message(domain: Domain, mesh: MeshId, digest: Hash) -> Vec<u8> {
    let tag = domain.tag().as_bytes();
    let mut out = Vec::with_capacity(8 + tag.len() + 32 + 8 + 32);
    out.extend_from_slice(&(tag.len() as u64).to_le_bytes());
    out.extend_from_slice(tag);
    out.extend_from_slice(&mesh.0.0);
    out.extend_from_slice(&PROTOCOL_VERSION.to_le_bytes());
    out.extend_from_slice(&digest.0);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What was found true once stays so for that key, that message and that signature alone.
    #[test]
    fn a_true_signature_vouches_for_no_other() {
        let (one, two) = (SecretKey::from_bytes(&[1; 32]), SecretKey::from_bytes(&[2; 32]));
        let signature = one.sign_raw(b"message");
        for _ in 0..2 {
            assert_eq!(one.public().verify_raw(b"message", &signature), Ok(()));
            assert_eq!(two.public().verify_raw(b"message", &signature), Err(KeyError::BadSignature));
            assert_eq!(one.public().verify_raw(b"massage", &signature), Err(KeyError::BadSignature));
            let mut other = signature;
            other.0[40] ^= 1;
            assert_eq!(one.public().verify_raw(b"message", &other), Err(KeyError::BadSignature));
        }
    }

    #[test]
    fn the_identity_key_is_refused() {
        let mut identity = [0u8; 32];
        identity[0] = 1;
        assert_eq!(PublicKey::from_bytes(identity), Err(KeyError::WeakKey));
    }

    #[test]
    fn a_signature_is_bound_to_key_mesh_and_content() {
        #[derive(Clone, Serialize)]
        struct Note(u64);
        impl Signable for Note {
            const DOMAIN: Domain = Domain::LEASE;
        }
        let mesh = MeshId(Hash::blob(b"mesh"));
        let secret = SecretKey::from_bytes(&[7; 32]);
        let signed = Signed::new(Note(1), mesh, &secret);
        assert_eq!(signed.verify(mesh), Ok(()));
        assert_eq!(signed.verify(MeshId(Hash::ZERO)), Err(KeyError::BadSignature));
        let other = Signed { body: Note(2), ..signed.clone() };
        assert_eq!(other.verify(mesh), Err(KeyError::BadSignature));
        let key = SecretKey::from_bytes(&[8; 32]).public();
        assert_eq!(Signed { key, ..signed }.verify(mesh), Err(KeyError::BadSignature));
    }
}
