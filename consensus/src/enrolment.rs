//! Who may work in a mesh that takes no strangers: invitations, and the nodes that they admitted.
//!
//! Owns single use: an invitation admits one node, and that is decided here, when the log is applied. Must never need the
//! secret of an invitation before somebody shows it.

use std::collections::BTreeMap;

use forgemesh_protocol::charter::Charters;
use forgemesh_protocol::enrolment::{Expulsion, Invitation, Join, Withdrawal, is_name, secret_digest};
use forgemesh_protocol::hash::Hash;
use forgemesh_protocol::id::{MeshId, NodeId};
use forgemesh_protocol::keys::{KeyError, PublicKey, Signable, Signed};
use forgemesh_protocol::limits;
use forgemesh_protocol::organization::Organization;
use forgemesh_protocol::ticket::SECRET_BYTES;
use serde::{Deserialize, Serialize};

/// The part of the replicated state that is about who belongs to the mesh.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Enrolment {
    /// By the digest of their secret; kept until they expire, whatever became of them.
    pub invitations: BTreeMap<Hash, Invited>,
    /// Nodes that were admitted and not expelled.
    pub nodes: BTreeMap<NodeId, Admitted>,
}

/// An invitation and what became of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Invited {
    /// The hub member that gave it.
    pub by: NodeId,
    pub at_ms: u64,
    pub expires_ms: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub used_by: Option<NodeId>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub withdrawn: bool,
    /// To which the node that uses it belongs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub organization: Option<Organization>,
}

/// An admitted node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Admitted {
    pub key: PublicKey,
    pub name: String,
    /// Log time, and the index of the entry.
    pub at_ms: u64,
    pub index: u64,
    /// The invitation that it used; none, all zero, of a founder that was dismissed.
    pub invitation: Hash,
    /// To which it belongs: by its invitation, or by the genesis if it is such a founder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub organization: Option<Organization>,
}

/// What an entry changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    Invited,
    Withdrawn,
    /// Now, or by the same invitation before.
    Admitted(NodeId),
    Expelled(NodeId),
}

/// Why an invitation, a withdrawal, a request to join or an expulsion changes nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EnrolmentRefused {
    #[error("its signature: {0}")]
    Signature(#[from] KeyError),
    #[error("only a hub member invites, withdraws and expels; run the command on a hub member")]
    NotAMember,
    #[error("an invitation is good for at most {} days, and not for a time that is over; choose another time", limits::INVITATION_TTL_MS / 86_400_000)]
    Lifetime,
    #[error("there is an invitation with this secret already; make a new one")]
    InvitedBefore,
    #[error("{} invitations are remembered, no more; wait until some have expired", limits::INVITATIONS)]
    TooManyInvitations,
    #[error("no such ticket; it expired long ago, or is of another mesh: ask for a new one")]
    NoInvitation,
    #[error("the ticket has been used; each admits one node: ask for a new one")]
    Used,
    #[error("the ticket has been used already, so there is nothing to revoke")]
    Spent,
    #[error("the ticket has expired; ask for a new one")]
    Expired,
    #[error("the ticket was revoked; ask for a new one")]
    Withdrawn,
    #[error("the request to join is too old or its clock is wrong; set the clock and join again")]
    Stale,
    #[error("a node is called by at most {} printable bytes; choose another name", limits::NODE_NAME_BYTES)]
    Name,
    #[error("the mesh has {} nodes, no more; expel one that is gone", limits::AGENTS)]
    TooManyNodes,
    #[error("no such node was admitted; `forgemesh node ls` lists them")]
    NoNode,
    #[error("the node is admitted to the hub; `forgemesh node dismiss` it first, then expel it")]
    OfTheHub,
}

impl Enrolment {
    /// Nothing was ever asked for.
    pub fn is_empty(&self) -> bool {
        self.invitations.is_empty() && self.nodes.is_empty()
    }

    /// May this node work in the mesh?
    pub fn admits(&self, node: &NodeId, charters: &Charters) -> bool {
        charters.genesis().parameters.open
            || self.nodes.contains_key(node)
            || charters.current().node(node).is_some()
    }

    /// To which organization does this node belong? As the hub's operators said when they invited it; of a founder, as the
    /// genesis says. Who was expelled, and who was never admitted, belongs to none.
    pub fn organization<'a>(&'a self, node: &NodeId, charters: &'a Charters) -> Option<&'a Organization> {
        if let Some(admitted) = self.nodes.get(node) {
            return admitted.organization.as_ref();
        }
        let genesis = charters.genesis();
        let founder = genesis.hub.iter().any(|member| member.key.id() == *node);
        let organization = genesis.parameters.organization.as_ref();
        organization.filter(|_| founder && charters.current().node(node).is_some())
    }

    /// Enters an invitation.
    pub(crate) fn invite(
        &mut self,
        signed: &Signed<Invitation>,
        charters: &Charters,
        now_ms: u64,
    ) -> Result<Change, EnrolmentRefused> {
        let by = check_member(signed, charters)?;
        let Invitation { secret, expires_ms, ref organization } = signed.body;
        if expires_ms <= now_ms || expires_ms - now_ms > limits::INVITATION_TTL_MS {
            return Err(EnrolmentRefused::Lifetime);
        }
        // What has expired cannot be entered again: it need not be remembered.
        let remembered = self.invitations.values().filter(|invited| invited.expires_ms > now_ms).count();
        if self.invitations.contains_key(&secret) {
            return Err(EnrolmentRefused::InvitedBefore);
        }
        if remembered >= limits::INVITATIONS {
            return Err(EnrolmentRefused::TooManyInvitations);
        }
        self.invitations.retain(|_, invited| invited.expires_ms > now_ms);
        let invited = Invited {
            by,
            at_ms: now_ms,
            expires_ms,
            used_by: None,
            withdrawn: false,
            organization: organization.clone(),
        };
        self.invitations.insert(secret, invited);
        Ok(Change::Invited)
    }

    /// Takes an invitation back. One that was used stays used: the node is expelled by its own word.
    pub(crate) fn withdraw(
        &mut self,
        signed: &Signed<Withdrawal>,
        charters: &Charters,
    ) -> Result<Change, EnrolmentRefused> {
        check_member(signed, charters)?;
        let invited = self.invitations.get_mut(&signed.body.secret).ok_or(EnrolmentRefused::NoInvitation)?;
        if invited.used_by.is_some() {
            return Err(EnrolmentRefused::Spent);
        }
        invited.withdrawn = true;
        Ok(Change::Withdrawn)
    }

    /// Would this request be granted now? The answer that counts is the log's.
    pub fn check(&self, signed: &Signed<Join>, mesh: MeshId, now_ms: u64) -> Result<(), EnrolmentRefused> {
        let Join { secret, name, expires_ms } = &signed.body;
        if secret.0.len() != SECRET_BYTES {
            return Err(EnrolmentRefused::NoInvitation);
        }
        let invitation = secret_digest(&secret.0);
        let invited = self.invitations.get(&invitation).ok_or(EnrolmentRefused::NoInvitation)?;
        signed.verify(mesh)?;
        if *expires_ms < now_ms {
            return Err(EnrolmentRefused::Stale);
        }
        if !is_name(name) {
            return Err(EnrolmentRefused::Name);
        }
        let node = signed.key.id();
        if self.nodes.get(&node).is_some_and(|admitted| admitted.invitation == invitation) {
            // Its answer was lost.
            return Ok(());
        }
        if invited.used_by.is_some() {
            return Err(EnrolmentRefused::Used);
        }
        if invited.withdrawn {
            return Err(EnrolmentRefused::Withdrawn);
        }
        if invited.expires_ms <= now_ms {
            return Err(EnrolmentRefused::Expired);
        }
        if !self.nodes.contains_key(&node) && self.nodes.len() >= limits::AGENTS {
            return Err(EnrolmentRefused::TooManyNodes);
        }
        Ok(())
    }

    /// Admits a node, if its ticket's invitation is unused, not withdrawn and not expired in log time.
    pub(crate) fn enrol(
        &mut self,
        signed: &Signed<Join>,
        mesh: MeshId,
        now_ms: u64,
        index: u64,
    ) -> Result<Change, EnrolmentRefused> {
        self.check(signed, mesh, now_ms)?;
        let (node, invitation) = (signed.key.id(), secret_digest(&signed.body.secret.0));
        let invited = self.invitations.get_mut(&invitation).ok_or(EnrolmentRefused::NoInvitation)?;
        if invited.used_by.replace(node) != Some(node) {
            let (key, name) = (signed.key, signed.body.name.clone());
            let organization = invited.organization.clone();
            self.nodes.insert(node, Admitted { key, name, at_ms: now_ms, index, invitation, organization });
        }
        Ok(Change::Admitted(node))
    }

    /// A founder's key that the hub has dismissed stays in the mesh, as any node that was admitted, until it is expelled.
    pub(crate) fn keep(
        &mut self,
        key: PublicKey,
        now_ms: u64,
        index: u64,
        organization: Option<Organization>,
    ) {
        let (name, invitation) = ("once of the hub".to_owned(), Hash::ZERO);
        let new = Admitted { key, name, at_ms: now_ms, index, invitation, organization };
        self.nodes.entry(key.id()).or_insert(new);
    }

    /// Removes a node. Its ticket stays used. Whoever the charter in force admits would stay in the mesh all the same.
    pub(crate) fn expel(
        &mut self,
        signed: &Signed<Expulsion>,
        charters: &Charters,
    ) -> Result<Change, EnrolmentRefused> {
        check_member(signed, charters)?;
        let Expulsion { node, admitted } = signed.body;
        if charters.current().node(&node).is_some() {
            return Err(EnrolmentRefused::OfTheHub);
        }
        let found = self.nodes.get(&node).filter(|found| found.index == admitted);
        found.ok_or(EnrolmentRefused::NoNode)?;
        self.nodes.remove(&node);
        Ok(Change::Expelled(node))
    }
}

/// Is this the word of somebody whom the hub admits?
pub(crate) fn check_member<T: Signable>(
    signed: &Signed<T>,
    charters: &Charters,
) -> Result<NodeId, EnrolmentRefused> {
    charters.current().member(&signed.key).ok_or(EnrolmentRefused::NotAMember)?;
    signed.verify(charters.mesh())?;
    Ok(signed.key.id())
}
