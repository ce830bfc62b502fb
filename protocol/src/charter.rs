//! Who may make up the hub after the genesis, and how many of them sit at a time.
//!
//! The genesis is the first charter. Each later one names the one before it and is in force once a majority of those whom
//! that one admits has signed it and somebody newly admitted can take a seat, so that a stranger who knows the mesh id can
//! follow the chain, as with the root keys of The Update Framework (TUF specification 1.0, section 5.3). Must never let a
//! key that was admitted once come back with another beacon chain.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::genesis::{Genesis, HubMember};
use crate::hash::{Domain, Hash};
use crate::id::{MeshId, NodeId};
use crate::keys::{PublicKey, Signable, Signature, Signed};
use crate::limits;

/// The admitted keys and the number of seats.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Charter {
    /// 0 is the genesis'.
    pub version: u64,
    /// Digest of the charter before it; of the first one the mesh id's.
    pub previous: Hash,
    /// How many members reduce, vote and sign at a time.
    pub seats: u64,
    /// Who may take a seat. Those who have none stand by.
    pub admitted: Vec<HubMember>,
}

impl Signable for Charter {
    const DOMAIN: Domain = Domain::CHARTER;
}

/// A charter with the signatures that put it in force.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Amendment {
    pub charter: Charter,
    /// Of distinct keys that the charter before it admits, a majority at least.
    pub consents: Vec<Consent>,
}

/// One key's signature under a charter.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Consent {
    pub key: PublicKey,
    pub signature: Signature,
}

/// Why a charter does not follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CharterError {
    #[error("the charter does not follow the one in force; look at `forgemesh node ls` and try again")]
    NotNext,
    #[error(
        "a hub has one seat and one admitted key, or 3 or 5 seats and at least as many keys; admit or dismiss two at a time"
    )]
    Seats,
    #[error("a hub admits at most {} distinct keys; dismiss one that is gone", limits::HUB_ADMITTED)]
    Admitted,
    #[error("a key that was admitted before must keep its beacon chain; it cannot come back with another")]
    Beacon,
    #[error("the charter changes nothing")]
    Same,
    #[error(
        "the hub has been changed {} times, which is all that a receipt has room for",
        limits::AMENDMENTS
    )]
    TooMany,
    #[error("the charter is not signed by a majority of those whom the one before it admits")]
    NotSigned,
}

impl Charter {
    /// How many votes or signatures of distinct members decide: a majority of the seats.
    pub fn quorum(&self) -> usize {
        self.seats as usize / 2 + 1
    }

    /// How many of the admitted have to want the next charter: any two majorities have a key in common.
    pub fn majority(&self) -> usize {
        self.admitted.len() / 2 + 1
    }

    /// The admitted member with this key.
    pub fn member(&self, key: &PublicKey) -> Option<&HubMember> {
        self.admitted.iter().find(|member| member.key == *key)
    }

    /// The admitted member that is known by this id.
    pub fn node(&self, node: &NodeId) -> Option<&HubMember> {
        self.admitted.iter().find(|member| member.key.id() == *node)
    }
}

/// The charters of a mesh, from its genesis to the one in force; each was checked.
#[derive(Clone, Debug, PartialEq)]
pub struct Charters {
    genesis: Genesis,
    mesh: MeshId,
    amendments: Vec<Amendment>,
    first: Charter,
}

impl Charters {
    /// Those of a mesh whose hub was never changed.
    pub fn new(genesis: Genesis) -> Charters {
        let mesh = genesis.mesh_id();
        let first = Charter {
            version: 0,
            previous: mesh.0,
            seats: genesis.hub.len() as u64,
            admitted: genesis.hub.clone(),
        };
        Charters { genesis, mesh, amendments: Vec::new(), first }
    }

    /// Checks a chain of amendments.
    pub fn read(
        genesis: Genesis,
        amendments: impl IntoIterator<Item = Amendment>,
    ) -> Result<Charters, CharterError> {
        let mut charters = Charters::new(genesis);
        amendments.into_iter().try_for_each(|amendment| charters.amend(amendment))?;
        Ok(charters)
    }

    /// Puts the next charter in force.
    pub fn amend(&mut self, amendment: Amendment) -> Result<(), CharterError> {
        let Amendment { charter, consents } = &amendment;
        self.check(charter)?;
        let current = self.current();
        let mut signers = BTreeSet::new();
        for Consent { key, signature } in consents {
            let signed = Signed { body: charter.clone(), key: *key, signature: *signature };
            let good = current.member(key).is_some() && signed.verify(self.mesh).is_ok();
            if !good || !signers.insert(*key) {
                return Err(CharterError::NotSigned);
            }
        }
        if signers.len() < current.majority() {
            return Err(CharterError::NotSigned);
        }
        self.amendments.push(amendment);
        Ok(())
    }

    /// May this charter follow the one in force, once it is signed?
    pub fn check(&self, next: &Charter) -> Result<(), CharterError> {
        let current = self.current();
        if (next.version, next.previous) != (current.version + 1, current.digest()) {
            return Err(CharterError::NotNext);
        }
        if self.amendments.len() >= limits::AMENDMENTS {
            return Err(CharterError::TooMany);
        }
        let keys: BTreeSet<_> = next.admitted.iter().map(|member| member.key).collect();
        if keys.len() != next.admitted.len() || keys.len() > limits::HUB_ADMITTED {
            return Err(CharterError::Admitted);
        }
        let odd = next.seats % 2 == 1 && next.seats <= limits::HUB_MEMBERS as u64;
        // With one seat and somebody who stands by, each of them could sign alone.
        let one_each = next.seats > 1 || next.admitted.len() == 1;
        if !odd || !one_each || next.seats > next.admitted.len() as u64 {
            return Err(CharterError::Seats);
        }
        let bounded = |member: &HubMember| (1..=limits::BEACON_LENGTH).contains(&member.beacon_length);
        let kept = |member: &HubMember| self.member(&member.key).is_none_or(|known| known == member);
        if !next.admitted.iter().all(|member| bounded(member) && kept(member)) {
            return Err(CharterError::Beacon);
        }
        if next.seats == current.seats && next.admitted == current.admitted {
            return Err(CharterError::Same);
        }
        Ok(())
    }

    /// The charter in force.
    pub fn current(&self) -> &Charter {
        self.amendments.last().map_or(&self.first, |amendment| &amendment.charter)
    }

    /// The charter of this version.
    pub fn version(&self, version: u64) -> Option<&Charter> {
        match version.checked_sub(1) {
            None => Some(&self.first),
            Some(before) => Some(&self.amendments.get(usize::try_from(before).ok()?)?.charter),
        }
    }

    /// The mesh's genesis.
    pub fn genesis(&self) -> &Genesis {
        &self.genesis
    }

    /// The mesh's id.
    pub fn mesh(&self) -> MeshId {
        self.mesh
    }

    /// What came after the genesis.
    pub fn amendments(&self) -> &[Amendment] {
        &self.amendments
    }

    /// Whoever has this key and was ever admitted.
    pub fn member(&self, key: &PublicKey) -> Option<&HubMember> {
        self.ever().find(|member| member.key == *key)
    }

    /// Whoever is known by this id and was ever admitted.
    pub fn node(&self, node: &NodeId) -> Option<&HubMember> {
        self.ever().find(|member| member.key.id() == *node)
    }

    /// Whoever was ever admitted; some of them more than once.
    pub fn ever(&self) -> impl Iterator<Item = &HubMember> {
        let later = self.amendments.iter().flat_map(|amendment| &amendment.charter.admitted);
        self.first.admitted.iter().chain(later)
    }
}

/// Who sits in the hub, and why: what a node that was away is told.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Seating {
    /// How often those who sit have changed.
    pub number: u64,
    pub seated: Vec<NodeId>,
    pub amendments: Vec<Amendment>,
}

impl Seating {
    /// That of a new mesh: all whom its genesis admits.
    pub fn of(genesis: &Genesis) -> Seating {
        let seated = genesis.hub.iter().map(|member| member.key.id()).collect();
        Seating { number: 0, seated, amendments: Vec::new() }
    }

    /// The charters it rests on, if they are in order and all who sit are admitted by the last of them.
    pub fn charters(&self, genesis: Genesis) -> Result<Charters, CharterError> {
        let charters = Charters::read(genesis, self.amendments.iter().cloned())?;
        let current = charters.current();
        if is_seating(current, &self.seated) { Ok(charters) } else { Err(CharterError::Seats) }
    }
}

/// May these, in this order, take the seats of a charter?
pub fn is_seating(charter: &Charter, seated: &[NodeId]) -> bool {
    let distinct: BTreeSet<&NodeId> = seated.iter().collect();
    distinct.len() == seated.len()
        && seated.len() as u64 == charter.seats
        && seated.iter().all(|node| charter.node(node).is_some())
}
