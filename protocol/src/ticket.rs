//! A join ticket: one line of text with all that a node needs to find a mesh and be admitted to it.
//!
//! Whoever holds it may use it, once: it is a secret. Must never be logged; the log knows a digest of its secret.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::base64;
use crate::canon::{self, Bytes, CanonError};
use crate::charter::{CharterError, Charters, Seating};
use crate::enrolment::secret_digest;
use crate::genesis::{Genesis, GenesisError};
use crate::hash::{Domain, Hash};
use crate::keys::{SecretKey, Signable, Signed};
use crate::limits;
use crate::organization::Organization;

/// What every ticket of this version starts with.
const PREFIX: &str = "fmt1";
/// What the tickets of all versions start with.
const FAMILY: &str = "fmt";
/// Bytes of the checksum at a ticket's end: a slip of the hand is told from a forgery.
const CHECK_BYTES: usize = 4;
/// Bytes of a ticket's secret and of a pre-shared key.
pub const SECRET_BYTES: usize = 32;

/// What a ticket says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ticket {
    pub genesis: Genesis,
    /// Who sits in the hub, if others than the genesis' first members do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seating: Option<Seating>,
    /// Where hub members listen: multiaddr texts, each with its peer id. May be empty in a mesh of this machine alone.
    pub bootstrap: Vec<String>,
    /// The pre-shared key of a private network, 32 bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network_key: Option<Bytes>,
    /// 32 random bytes: whoever shows them is admitted, once.
    pub secret: Bytes,
    /// Milliseconds since 1970.
    pub expires_ms: u64,
    /// To which the node that uses it will belong; for people: what counts is the invitation in the log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub organization: Option<Organization>,
}

impl Signable for Ticket {
    const DOMAIN: Domain = Domain::TICKET;
}

/// Why a text is no ticket that can be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TicketError {
    #[error(
        "not a join ticket: one starts with \"{PREFIX}\"; paste the whole line that `forgemesh ticket create` printed"
    )]
    NotATicket,
    #[error(
        "a ticket of another version ({found}), this program reads {PREFIX}; use the version of `forgemesh` that the mesh uses"
    )]
    Version { found: String },
    #[error("{length} characters, but a ticket has at most {}; paste one ticket alone", limits::TICKET_BYTES)]
    TooLong { length: usize },
    #[error("the ticket is damaged: characters are missing or were changed; copy the whole line again")]
    Damaged,
    #[error("the ticket's content cannot be read: {0}; ask for a new one")]
    Content(#[from] CanonError),
    #[error("the ticket's mesh: {0}")]
    Genesis(#[from] GenesisError),
    #[error("the ticket's hub: {0}; ask for a new one")]
    Charter(#[from] CharterError),
    #[error("the ticket has an address, key or secret out of bounds; ask for a new one")]
    Bounds,
    #[error(
        "the ticket is not signed by a hub member of its mesh; ask the mesh's operator for a genuine one"
    )]
    NotSigned,
    #[error("the ticket expired {} ago; ask for a new one (`forgemesh ticket create` on a hub member)", Ago(*late_ms))]
    Expired { late_ms: u64 },
}

/// A span of time for people.
struct Ago(u64);

impl fmt::Display for Ago {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let minutes = self.0 / 60_000;
        match minutes {
            0 => write!(f, "{} s", self.0 / 1_000),
            1..120 => write!(f, "{minutes} min"),
            _ => write!(f, "{} h", minutes / 60),
        }
    }
}

impl Ticket {
    /// The digest of its secret, by which the log knows it.
    pub fn invitation(&self) -> Hash {
        secret_digest(&self.secret.0)
    }

    /// The line to paste, signed by a hub member.
    pub fn issue(self, member: &SecretKey) -> String {
        let mesh = self.genesis.mesh_id();
        let mut bytes = canon::to_bytes(&Signed::new(self, mesh, member));
        let check = checksum(&bytes);
        bytes.extend_from_slice(&check);
        format!("{PREFIX}{}", base64::encode_url(&bytes))
    }

    /// Reads a line strictly. White space is left out: a terminal may have broken the line. `now_ms`: this machine's clock.
    pub fn read(text: &str, now_ms: u64) -> Result<Ticket, TicketError> {
        if text.len() > limits::TICKET_BYTES {
            return Err(TicketError::TooLong { length: text.len() });
        }
        let text: String = text.split_whitespace().collect();
        let Some(encoded) = text.strip_prefix(PREFIX) else { return Err(stranger(&text)) };
        let bytes = base64::decode_url(encoded).map_err(|_| TicketError::Damaged)?;
        let (body, check) = bytes.split_last_chunk::<CHECK_BYTES>().ok_or(TicketError::Damaged)?;
        if checksum(body) != *check {
            return Err(TicketError::Damaged);
        }
        let signed: Signed<Ticket> = canon::from_bytes(body, limits::TICKET_BYTES)?;
        let ticket = &signed.body;
        ticket.genesis.check()?;
        ticket.check()?;
        let member = ticket.charters()?.current().member(&signed.key).is_some();
        if !member || signed.verify(ticket.genesis.mesh_id()).is_err() {
            return Err(TicketError::NotSigned);
        }
        if now_ms > ticket.expires_ms {
            return Err(TicketError::Expired { late_ms: now_ms - ticket.expires_ms });
        }
        Ok(signed.body)
    }

    /// Who may sit in the hub.
    pub fn charters(&self) -> Result<Charters, CharterError> {
        match &self.seating {
            Some(seating) => seating.charters(self.genesis.clone()),
            None => Ok(Charters::new(self.genesis.clone())),
        }
    }

    fn check(&self) -> Result<(), TicketError> {
        let good_key = self.network_key.as_ref().is_none_or(|key| key.0.len() == SECRET_BYTES);
        let good_addresses =
            self.bootstrap.len() <= limits::BOOTSTRAP && self.bootstrap.iter().all(|text| is_address(text));
        if good_key && good_addresses && self.secret.0.len() == SECRET_BYTES {
            Ok(())
        } else {
            Err(TicketError::Bounds)
        }
    }
}

/// Does a text look like a multiaddr that names its peer? Whoever dials it reads it strictly.
pub fn is_address(text: &str) -> bool {
    text.len() <= limits::ADDRESS_BYTES
        && text.starts_with('/')
        && text.contains("/p2p/")
        && text.bytes().all(|byte| byte.is_ascii_graphic())
}

fn stranger(text: &str) -> TicketError {
    let digits = |rest: &&str| rest.starts_with(|c: char| c.is_ascii_digit());
    match text.strip_prefix(FAMILY).filter(digits) {
        Some(rest) => {
            let digits = rest.chars().take_while(char::is_ascii_digit).take(4);
            TicketError::Version { found: FAMILY.chars().chain(digits).collect() }
        }
        None => TicketError::NotATicket,
    }
}

fn checksum(bytes: &[u8]) -> [u8; CHECK_BYTES] {
    let digest = Hash::of(Domain::TICKET_CHECK, bytes).0;
    *digest.first_chunk().expect("invariant: a digest has 32 bytes")
}
