//! The root of a mesh's trust: its name, the hub keys admitted at its birth, its parameters. Its digest is the
//! mesh id, so a receipt that carries the genesis can be checked by a stranger who knows the id.

use serde::{Deserialize, Serialize};

use crate::canon::{self, Bytes, CanonError};
use crate::hash::{Domain, Hash};
use crate::id::MeshId;
use crate::keys::PublicKey;
use crate::limits;
use crate::organization::Organization;

/// What a mesh is, for ever.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Genesis {
    pub protocol: u64,
    pub name: String,
    /// 16 random bytes, so that two meshes of one name and one key differ.
    pub nonce: Bytes,
    pub hub: Vec<HubMember>,
    pub parameters: Parameters,
}

/// A key that may reduce, vote and sign receipts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HubMember {
    pub key: PublicKey,
    /// The last link of the member's beacon chain; see `challenge`.
    pub beacon_anchor: Hash,
    /// How many links can be revealed before it.
    pub beacon_length: u64,
}

/// What the mesh has agreed on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Parameters {
    /// Leaves of each shard that `spotcheck` executes again, in parts per million, rounded up.
    pub spotcheck_ppm: u64,
    /// Whether any node may work; else only hub members and nodes that a ticket admitted.
    #[serde(default = "yes", skip_serializing_if = "is_yes")]
    pub open: bool,
    /// On how many nodes each artifact is kept, as far as there are so many.
    #[serde(default = "three", skip_serializing_if = "is_three")]
    pub replication: u64,
    /// To which the nodes of its first hub members belong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub organization: Option<Organization>,
}

impl Default for Parameters {
    fn default() -> Self {
        // One leaf in sixteen: the cost a job bears for being checked.
        Parameters { spotcheck_ppm: 62_500, open: true, replication: three(), organization: None }
    }
}

fn yes() -> bool {
    true
}

fn is_yes(value: &bool) -> bool {
    *value
}

fn three() -> u64 {
    3
}

fn is_three(value: &u64) -> bool {
    *value == three()
}

/// Why a genesis was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GenesisError {
    #[error("the genesis cannot be read: {0}")]
    Canon(#[from] CanonError),
    #[error(
        "the genesis is of protocol {found}, this program speaks {}; use a matching version",
        limits::PROTOCOL_VERSION
    )]
    Protocol { found: u64 },
    #[error("a mesh has 1 to {} hub members with distinct keys; this genesis does not", limits::HUB_MEMBERS)]
    Members,
    #[error(
        "the genesis has a name, nonce or parameter out of bounds; get it again from the mesh's operator"
    )]
    Bounds,
}

impl Genesis {
    /// The mesh's id.
    pub fn mesh_id(&self) -> MeshId {
        MeshId(Hash::of(Domain::GENESIS, &canon::to_bytes(self)))
    }

    /// Decodes and checks a genesis.
    pub fn decode(bytes: &[u8]) -> Result<Genesis, GenesisError> {
        let genesis: Genesis = canon::from_bytes(bytes, limits::GENESIS_BYTES)?;
        genesis.check()?;
        Ok(genesis)
    }

    /// Checks everything that its form leaves open: version, members, bounds.
    pub fn check(&self) -> Result<(), GenesisError> {
        if self.protocol != limits::PROTOCOL_VERSION {
            return Err(GenesisError::Protocol { found: self.protocol });
        }
        let keys: std::collections::BTreeSet<_> = self.hub.iter().map(|m| m.key).collect();
        if keys.is_empty() || keys.len() != self.hub.len() || keys.len() > limits::HUB_MEMBERS {
            return Err(GenesisError::Members);
        }
        let ppm = self.parameters.spotcheck_ppm;
        let lengths = self.hub.iter().all(|m| (1..=limits::BEACON_LENGTH).contains(&m.beacon_length));
        if self.name.len() > limits::MESH_NAME_BYTES || self.nonce.0.len() != 16 {
            return Err(GenesisError::Bounds);
        }
        let copies = (1..=limits::REPLICATION).contains(&self.parameters.replication);
        if !(1..=1_000_000).contains(&ppm) || !lengths || !copies {
            return Err(GenesisError::Bounds);
        }
        Ok(())
    }

    /// The hub member with this key.
    pub fn member(&self, key: &PublicKey) -> Option<&HubMember> {
        self.hub.iter().find(|member| member.key == *key)
    }
}
