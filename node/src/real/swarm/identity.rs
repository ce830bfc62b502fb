//! One key, two names: what the mesh calls a node's id, libp2p calls a peer id.
//!
//! A peer id of an ed25519 key holds the key itself, so the node id follows from it. The other way there is none: a
//! node id is a digest, and who looks for it must learn the key from somebody and check it here.

use forgemesh_protocol::id::NodeId;
use forgemesh_protocol::keys::{PublicKey, SecretKey};
use libp2p::PeerId;
use libp2p::identity::{self, Keypair};

/// The node's key, as libp2p wants it.
pub(super) fn keypair(secret: &SecretKey) -> Keypair {
    Keypair::ed25519_from_bytes(secret.to_bytes())
        .expect("invariant: every 32 bytes are the seed of an ed25519 key")
}

/// The peer id of a key.
pub(super) fn peer_of(key: &PublicKey) -> Option<PeerId> {
    let key = identity::ed25519::PublicKey::try_from_bytes(key.as_bytes()).ok()?;
    Some(PeerId::from(identity::PublicKey::from(key)))
}

/// The node behind a peer id; none for a key of another kind, or a weak one.
pub(super) fn node_of(peer: &PeerId) -> Option<NodeId> {
    /// Multihash code of a digest that is the hashed thing itself.
    const IDENTITY: u64 = 0;
    let hash = peer.as_ref();
    if hash.code() != IDENTITY {
        return None;
    }
    let key = identity::PublicKey::try_decode_protobuf(hash.digest()).ok()?;
    let key = key.try_into_ed25519().ok()?;
    Some(PublicKey::from_bytes(key.to_bytes()).ok()?.id())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_id_leads_to_its_node() {
        let secret = SecretKey::from_bytes(&[9; 32]);
        let peer = keypair(&secret).public().to_peer_id();
        assert_eq!(peer_of(&secret.public()), Some(peer));
        assert_eq!(node_of(&peer), Some(secret.public().id()));
        assert_eq!(node_of(&PeerId::random()), None);
    }
}
