//! The network of a node: its configuration, and the file with the key of a private mesh.

use std::io::Write;
use std::num::NonZeroUsize;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use forgemesh_protocol::charter::Charters;
use forgemesh_protocol::hash::Hash;
use forgemesh_protocol::id::NodeId;
use forgemesh_protocol::keys::SecretKey;
use forgemesh_protocol::wire::Message;

use super::error::CliError;
use crate::config::{CONFIG_FILE_NAME, Config};
use crate::ports::{Brought, Mesh};
use crate::real::mesh::Alone;
use crate::real::swarm::{self, Swarm, SwarmHandle};
use crate::real::whereabouts::WHEREABOUTS_FILE_NAME;

/// The pre-shared key within a data folder, in the form that other libp2p programs use.
pub const NETWORK_KEY_FILE_NAME: &str = "swarm.key";
/// With so many processors the network has a thread of its own. With fewer it runs beside the node's loop: a message that is
/// handed to another thread waits there for a processor, which others of this machine keep busy.
const OWN_THREAD_FROM: usize = 4;
const HEADER: &str = "/key/swarm/psk/1.0.0/\n/base16/\n";

/// Writes the key of a private mesh, for this user alone.
pub fn write_key(folder: &Path, key: &[u8; 32]) -> Result<(), CliError> {
    let path = folder.join(NETWORK_KEY_FILE_NAME);
    let hex: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
    let write = || {
        let mut options = std::fs::OpenOptions::new();
        let mut file = options.write(true).create_new(true).mode(0o600).open(&path)?;
        file.write_all(format!("{HEADER}{hex}\n").as_bytes())?;
        file.sync_all()
    };
    write().map_err(|source| CliError::Write { path: path.clone(), source })
}

/// The key of a private mesh; none in an open one.
pub fn read_key(folder: &Path) -> Result<Option<[u8; 32]>, CliError> {
    let path = folder.join(NETWORK_KEY_FILE_NAME);
    let failed = |source| CliError::Read { path: path.clone(), source };
    let found = match std::fs::metadata(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        found => found.map_err(failed)?,
    };
    if found.mode() & 0o077 != 0 {
        return Err(CliError::LooseKey { path });
    }
    let text =
        if found.len() <= 256 { std::fs::read_to_string(&path).map_err(failed)? } else { String::new() };
    parse_key(&text).map(Some).ok_or(CliError::NetworkKey { path })
}

fn parse_key(text: &str) -> Option<[u8; 32]> {
    let hex = text.strip_prefix(HEADER)?.trim_end();
    let mut key = [0; 32];
    let good = hex.len() == 64 && hex.bytes().all(|byte| byte.is_ascii_hexdigit());
    for (i, byte) in key.iter_mut().enumerate() {
        *byte = u8::from_str_radix(hex.get(2 * i..2 * i + 2).filter(|_| good)?, 16).ok()?;
    }
    Some(key)
}

/// What the network is told.
pub fn config(
    secret: &SecretKey,
    charters: &Charters,
    config: &Config,
    key: Option<[u8; 32]>,
) -> swarm::Config {
    let own = secret.public();
    swarm::Config {
        listen: config.listen.clone(),
        external: config.external.clone(),
        bootstrap: config.bootstrap.clone(),
        mdns: config.mdns,
        known: charters
            .current()
            .admitted
            .iter()
            .map(|member| member.key)
            .filter(|key| *key != own)
            .collect(),
        pre_shared_key: key,
        // Whoever may sit in the hub helps its nodes to each other.
        relay: charters.current().member(&own).is_some() && !config.listen.is_empty(),
        ..swarm::Config::new(secret.clone(), charters.mesh())
    }
}

/// The mesh of a node: over the network, or of itself alone.
pub enum Network {
    Alone(Alone),
    Swarm(Swarm),
}

impl Network {
    /// Starts it, in the runtime of the node's loop or beside it. A node that neither listens, nor knows anybody,
    /// nor looks around is alone.
    pub async fn start(config: swarm::Config) -> Result<Network, CliError> {
        let knows_nobody = config.bootstrap.is_empty() && config.remembered.is_empty();
        if config.listen.is_empty() && knows_nobody && !config.mdns {
            return Ok(Network::Alone(Alone));
        }
        let processors = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        let swarm =
            if processors < OWN_THREAD_FROM { Swarm::spawn(config).await? } else { Swarm::start(config)? };
        Ok(Network::Swarm(swarm))
    }

    /// A way to ask about it; none of a node alone.
    pub fn handle(&self) -> Option<SwarmHandle> {
        match self {
            Network::Alone(_) => None,
            Network::Swarm(swarm) => Some(swarm.handle()),
        }
    }
}

impl Mesh for Network {
    fn send(&mut self, to: NodeId, message: Message) {
        match self {
            Network::Alone(alone) => alone.send(to, message),
            Network::Swarm(swarm) => swarm.send(to, message),
        }
    }

    fn announce(&mut self, message: Message) {
        match self {
            Network::Alone(alone) => alone.announce(message),
            Network::Swarm(swarm) => swarm.announce(message),
        }
    }

    async fn next(&mut self) -> (NodeId, Brought) {
        match self {
            Network::Alone(alone) => alone.next().await,
            Network::Swarm(swarm) => swarm.next().await,
        }
    }

    fn provide(&mut self, artifacts: Vec<Hash>) {
        match self {
            Network::Alone(alone) => alone.provide(artifacts),
            Network::Swarm(swarm) => swarm.provide(artifacts),
        }
    }

    fn vouch(&mut self, node: NodeId, belongs: bool) {
        match self {
            Network::Alone(alone) => alone.vouch(node, belongs),
            Network::Swarm(swarm) => swarm.vouch(node, belongs),
        }
    }

    fn seek(&mut self, artifact: Hash) {
        match self {
            Network::Alone(alone) => alone.seek(artifact),
            Network::Swarm(swarm) => swarm.seek(artifact),
        }
    }
}

/// The files of a node's network, for whoever removes what a failed join left.
pub fn files(folder: &Path) -> [PathBuf; 3] {
    [NETWORK_KEY_FILE_NAME, CONFIG_FILE_NAME, WHEREABOUTS_FILE_NAME].map(|name| folder.join(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_key_is_read_as_it_was_written_and_by_its_owner_alone() {
        let folder = tempfile::tempdir().expect("a folder");
        assert!(matches!(read_key(folder.path()), Ok(None)));
        write_key(folder.path(), &[0xab; 32]).expect("it is written");
        assert!(matches!(read_key(folder.path()), Ok(Some(key)) if key == [0xab; 32]));
        assert!(write_key(folder.path(), &[1; 32]).is_err(), "a key that is there stays");
        let path = folder.path().join(NETWORK_KEY_FILE_NAME);
        for text in ["", "ab", &format!("{HEADER}{}", "z".repeat(64)), &format!("{HEADER}{}", "a".repeat(63))]
        {
            std::fs::write(&path, text).expect("our file");
            assert!(matches!(read_key(folder.path()), Err(CliError::NetworkKey { .. })), "{text}");
        }
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o640))
            .expect("our file");
        assert!(matches!(read_key(folder.path()), Err(CliError::LooseKey { .. })));
    }
}
