//! How a node comes into a mesh and leaves it: invitation, withdrawal, request to join, expulsion.
//!
//! Owns what is signed for each. Must never hold a ticket's secret where its digest is enough.

use serde::{Deserialize, Serialize};

use crate::canon::Bytes;
use crate::hash::{Domain, Hash};
use crate::id::NodeId;
use crate::keys::Signable;
use crate::limits;
use crate::organization::Organization;

/// A hub member's word that whoever knows the secret may be admitted, once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Invitation {
    /// Digest of the ticket's secret; see [`secret_digest`].
    pub secret: Hash,
    /// Log time after which it is good for nothing, milliseconds since 1970.
    pub expires_ms: u64,
    /// To which the node that uses it belongs from then on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub organization: Option<Organization>,
}

/// A hub member takes an invitation back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Withdrawal {
    /// The invitation's.
    pub secret: Hash,
}

/// A node asks to be admitted; signed by its own key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Join {
    /// The ticket's 32 bytes.
    pub secret: Bytes,
    /// What its operator calls it; printable.
    pub name: String,
    /// Log time after which this request may no longer be committed.
    pub expires_ms: u64,
}

/// A hub member removes an admitted node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Expulsion {
    pub node: NodeId,
    /// Index of the log entry that admitted it: the same word never removes a node that was admitted again.
    pub admitted: u64,
}

impl Signable for Invitation {
    const DOMAIN: Domain = Domain::INVITATION;
}

impl Signable for Withdrawal {
    const DOMAIN: Domain = Domain::WITHDRAWAL;
}

impl Signable for Join {
    const DOMAIN: Domain = Domain::JOIN;
}

impl Signable for Expulsion {
    const DOMAIN: Domain = Domain::EXPULSION;
}

/// What the log knows of a ticket's secret before the ticket is used.
pub fn secret_digest(secret: &[u8]) -> Hash {
    Hash::of(Domain::TICKET_SECRET, secret)
}

/// May a node be called so? Printable, and not long.
pub fn is_name(name: &str) -> bool {
    name.len() <= limits::NODE_NAME_BYTES && !name.chars().any(char::is_control)
}
