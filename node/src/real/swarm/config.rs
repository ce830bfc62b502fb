//! What a node's network is told at its start, and why it would not start.

use std::collections::BTreeSet;
use std::io;

use forgemesh_protocol::id::MeshId;
use forgemesh_protocol::keys::{PublicKey, SecretKey};
use forgemesh_protocol::limits;
use libp2p::core::transport::TransportError;
use libp2p::{Multiaddr, PeerId};

use super::address;

/// How a node takes part in the network.
#[derive(Clone, Debug)]
pub struct Config {
    /// The node's key: its node id and its peer id are both made of it.
    pub secret: SecretKey,
    /// The mesh it belongs to; nodes of two meshes do not understand each other.
    pub mesh: MeshId,
    /// Where it listens: `/ip4/0.0.0.0/tcp/0`, `/ip4/0.0.0.0/udp/0/quic-v1`, or through a relay
    /// `/ip4/…/tcp/…/p2p/RELAY/p2p-circuit`. Nowhere is allowed.
    pub listen: Vec<String>,
    /// Where others reach it, if it is not where it listens: a forwarded port.
    pub external: Vec<String>,
    /// Nodes to begin with, each ending in `/p2p/…`.
    pub bootstrap: Vec<String>,
    /// Where nodes were found the last time, each ending in `/p2p/…`: hints, and dropped where they cannot be read.
    pub remembered: Vec<String>,
    /// Keys that are known beforehand, those of the hub members: their connections are kept.
    pub known: Vec<PublicKey>,
    /// The secret of a private mesh: who lacks it cannot even begin to speak.
    pub pre_shared_key: Option<[u8; 32]>,
    /// Look for nodes in the local network, and be seen there.
    pub mdns: bool,
    /// Carry connections between nodes that cannot reach each other.
    pub relay: bool,
    /// How much is allowed to others.
    pub limits: Limits,
}

impl Config {
    /// Listens at any port, knows nobody.
    pub fn new(secret: SecretKey, mesh: MeshId) -> Self {
        Config {
            secret,
            mesh,
            listen: vec!["/ip4/0.0.0.0/tcp/0".to_owned()],
            external: Vec::new(),
            bootstrap: Vec::new(),
            remembered: Vec::new(),
            known: Vec::new(),
            pre_shared_key: None,
            mdns: false,
            relay: false,
            limits: Limits::default(),
        }
    }
}

/// How much is allowed to others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes a second from one peer, for long.
    pub peer_bytes_per_s: u64,
    /// Messages a second from one peer, for long.
    pub peer_messages_per_s: u64,
    /// Connections, all together.
    pub connections: u32,
    /// Connections of one peer.
    pub connections_per_peer: u32,
    /// Connections from one subnet.
    pub connections_per_subnet: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            peer_bytes_per_s: limits::PEER_BYTES_PER_S,
            peer_messages_per_s: limits::PEER_MESSAGES_PER_S,
            connections: limits::CONNECTIONS,
            connections_per_peer: limits::CONNECTIONS_PER_PEER,
            connections_per_subnet: limits::CONNECTIONS_PER_SUBNET,
        }
    }
}

/// Why the network did not start.
#[derive(Debug, thiserror::Error)]
pub enum SwarmError {
    #[error("the address {address}: {reason}; write it like /ip4/203.0.113.7/tcp/4001")]
    Address { address: String, reason: String },
    #[error(
        "the address {address} is QUIC, which a pre-shared key does not protect; use a TCP address in a private mesh"
    )]
    QuicWithKey { address: String },
    #[error("nobody reaches this node at {address}: {reason}")]
    External { address: String, reason: &'static str },
    #[error("the address {address} does not say whose it is; copy it whole, with /p2p/… at its end")]
    Nameless { address: String },
    #[error("cannot listen at {address}: {reason}; {cure}")]
    Listen { address: String, reason: String, cure: &'static str },
    #[error("the network's thread cannot start: {0}; free memory or raise the limit on threads")]
    Thread(std::io::Error),
    #[error("the network could not be set up: {reason}; check that this machine has an IP network")]
    Setup { reason: String },
}

impl SwarmError {
    /// The system does not let this node listen there.
    pub(crate) fn listen(address: String, error: &io::Error) -> SwarmError {
        let cure = match kind(error) {
            io::ErrorKind::AddrNotAvailable => {
                "give an address that this machine has, or /ip4/0.0.0.0/tcp/… for all that it has"
            }
            io::ErrorKind::PermissionDenied => {
                "choose a port from 1024 on: those below are the system's, or a rule forbids this one"
            }
            io::ErrorKind::AddrInUse => "choose another port, or stop what listens there",
            _ => "check the address, or choose another",
        };
        SwarmError::Listen { address, reason: error.to_string(), cure }
    }

    /// The transports refuse to listen there; what they pass on of the system they do not show themselves.
    pub(super) fn no_listener(address: String, error: &TransportError<io::Error>) -> SwarmError {
        match error {
            TransportError::Other(error) => SwarmError::listen(address, error),
            unsupported => {
                let cure = "write it like /ip4/0.0.0.0/tcp/4610";
                SwarmError::Listen { address, reason: unsupported.to_string(), cure }
            }
        }
    }
}

/// What kind of error it is. Transports hide it in what they wrap it with, but not the number among its words.
fn kind(error: &io::Error) -> io::ErrorKind {
    let text = error.to_string();
    let number = text.rsplit_once("(os error ").and_then(|(_, rest)| rest.strip_suffix(')')?.parse().ok());
    number.map_or(error.kind(), |number| io::Error::from_raw_os_error(number).kind())
}

/// A configuration that was checked.
pub(super) struct Checked {
    pub listen: Vec<Multiaddr>,
    pub external: Vec<Multiaddr>,
    pub bootstrap: Vec<(PeerId, Multiaddr)>,
}

impl Checked {
    /// Reads the addresses at which a node listens, is reached, and finds the first others; `has_key` in a private mesh.
    fn read(addresses: &Addresses<'_>, has_key: bool) -> Result<Self, SwarmError> {
        let Addresses { listen, external, bootstrap } = addresses;
        let parse = |text: &String| address::parse(text, has_key);
        let named = |text: &String| match address::split_peer(parse(text)?) {
            (address, Some(peer)) => Ok((peer, address)),
            (_, None) => Err(SwarmError::Nameless { address: text.clone() }),
        };
        let listen: BTreeSet<Multiaddr> = listen.iter().map(parse).collect::<Result<_, _>>()?;
        let reached = |text: &String| {
            let address = parse(text)?;
            match address::unreachable(&address, &listen) {
                None => Ok(address),
                Some(reason) => Err(SwarmError::External { address: text.clone(), reason }),
            }
        };
        let external = external.iter().map(reached).collect::<Result<_, _>>()?;
        Ok(Checked {
            listen: listen.into_iter().collect(),
            external,
            bootstrap: bootstrap.iter().map(named).collect::<Result<_, _>>()?,
        })
    }
}

/// A node's addresses as texts; see [`Config`] for what they are.
pub struct Addresses<'a> {
    pub listen: &'a [String],
    pub external: &'a [String],
    pub bootstrap: &'a [String],
}

impl Addresses<'_> {
    /// Whether they are such as a node may have.
    pub fn check(&self, has_key: bool) -> Result<(), SwarmError> {
        Checked::read(self, has_key).map(|_| ())
    }
}

impl Config {
    /// Reads all addresses.
    pub(super) fn check(&self) -> Result<Checked, SwarmError> {
        let Config { listen, external, bootstrap, .. } = self;
        Checked::read(&Addresses { listen, external, bootstrap }, self.pre_shared_key.is_some())
    }

    /// Whom it remembers, as far as that can be used.
    pub(super) fn recalled(&self) -> impl Iterator<Item = (PeerId, Multiaddr)> {
        let is_private = self.pre_shared_key.is_some();
        self.remembered.iter().filter_map(move |text| {
            let (address, peer) = address::split_peer(address::parse(text, is_private).ok()?);
            Some((peer?, address)).filter(|(_, address)| address::is_plausible(address, is_private, true))
        })
    }

    /// The first half of the mesh's id, which stands in all protocol names.
    pub(super) fn mesh_name(&self) -> String {
        self.mesh.0.0[..8].iter().map(|byte| format!("{byte:02x}")).collect()
    }
}
