//! Where the hub's members were last found, for a node that starts when nobody answers at the addresses of its settings.
//!
//! Owns the file in the data folder: whom it names, how much it may hold, its bytes, and what is worth writing it again. It
//! is no table of the database: addresses are the network's business, of which the core that writes there knows nothing, and
//! nothing follows from them, for who answers at one shows its key. So what is wrong with the file may cost a search, and must
//! never keep a node from starting. Must never hold what others say of where a member is.

mod keeper;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::OpenOptions;
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use forgemesh_protocol::canon::{self, CanonError};
use forgemesh_protocol::id::NodeId;
use forgemesh_protocol::limits;
use forgemesh_protocol::ticket::is_address;
use serde::{Deserialize, Serialize};

use super::swarm::node_at;

pub use keeper::Keeper;

/// The file within a data folder.
pub const WHEREABOUTS_FILE_NAME: &str = "whereabouts";
const NEW_FILE_NAME: &str = "whereabouts.new";

/// Addresses of each member, with its peer id at their ends: those that it named last come first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Whereabouts(BTreeMap<NodeId, Vec<String>>);

/// Why there are none.
#[derive(Debug, thiserror::Error)]
pub enum WhereaboutsError {
    #[error("cannot read {WHEREABOUTS_FILE_NAME} in the data folder: {0}; members are searched for")]
    Read(#[from] io::Error),
    #[error(
        "{WHEREABOUTS_FILE_NAME} in the data folder is damaged ({0}); members are searched for, and it is written anew"
    )]
    Canon(#[from] CanonError),
    #[error(
        "{WHEREABOUTS_FILE_NAME} in the data folder names too many addresses, or one of another node; members are searched for, \
         and it is written anew"
    )]
    Bounds,
}

impl Whereabouts {
    /// Reads the file of a data folder; nothing is known where there is none.
    pub fn read(folder: &Path) -> Result<Whereabouts, WhereaboutsError> {
        let file = match std::fs::File::open(folder.join(WHEREABOUTS_FILE_NAME)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Whereabouts::default()),
            file => file?,
        };
        let mut bytes = Vec::new();
        file.take(limits::WHEREABOUTS_BYTES as u64 + 1).read_to_end(&mut bytes)?;
        Whereabouts::decode(&bytes)
    }

    /// Reads the file's bytes.
    pub fn decode(bytes: &[u8]) -> Result<Whereabouts, WhereaboutsError> {
        let read: Whereabouts = canon::from_bytes(bytes, limits::WHEREABOUTS_BYTES)?;
        let good = |(node, addresses): (&NodeId, &Vec<String>)| {
            (1..=limits::PEER_ADDRESSES).contains(&addresses.len())
                && addresses.iter().collect::<BTreeSet<_>>().len() == addresses.len()
                && addresses.iter().all(|address| is_of(node, address))
        };
        let is_good = read.0.len() <= limits::WHEREABOUTS && read.0.iter().all(good);
        is_good.then_some(read).ok_or(WhereaboutsError::Bounds)
    }

    /// The file's bytes.
    pub fn encode(&self) -> Vec<u8> {
        canon::to_bytes(self)
    }

    /// All addresses.
    pub fn addresses(&self) -> impl Iterator<Item = &String> {
        self.0.values().flatten()
    }

    /// Takes where these members are found now, and forgets who is no member any more. Of a member that is not connected
    /// what was known stays. True if that is worth writing: not if only their order is another.
    pub fn learn(
        &mut self,
        members: &BTreeSet<NodeId>,
        mut found: impl FnMut(&NodeId) -> Vec<String>,
    ) -> bool {
        let mut known = BTreeMap::new();
        for node in members.iter().take(limits::WHEREABOUTS) {
            let before = self.0.get(node).cloned().unwrap_or_default();
            let mut addresses: Vec<String> = Vec::new();
            for address in found(node).into_iter().filter(|address| is_of(node, address)).chain(before) {
                if addresses.len() < limits::PEER_ADDRESSES && !addresses.contains(&address) {
                    addresses.push(address);
                }
            }
            if !addresses.is_empty() {
                known.insert(*node, addresses);
            }
        }
        let sets = |known: &BTreeMap<NodeId, Vec<String>>| -> BTreeSet<(NodeId, String)> {
            known.iter().flat_map(|(node, all)| all.iter().map(|one| (*node, one.clone()))).collect()
        };
        let is_news = sets(&known) != sets(&self.0);
        if is_news {
            self.0 = known;
        }
        is_news
    }

    /// Puts it in the place of the file that is there; a crash leaves the one or the other.
    pub fn write(&self, folder: &Path) -> io::Result<()> {
        let new = folder.join(NEW_FILE_NAME);
        let mut options = OpenOptions::new();
        let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&new)?;
        file.write_all(&self.encode())?;
        file.sync_all()?;
        std::fs::rename(new, folder.join(WHEREABOUTS_FILE_NAME))
    }
}

/// Is this an address, and of that node?
fn is_of(node: &NodeId, address: &str) -> bool {
    is_address(address) && node_at(address) == Some(*node)
}

#[cfg(test)]
mod tests {
    use forgemesh_protocol::keys::SecretKey;

    use super::*;
    use crate::real::swarm::peer_id;

    fn node(seed: u8) -> NodeId {
        SecretKey::from_bytes(&[seed; 32]).public().id()
    }

    fn address(seed: u8, port: u16) -> String {
        let peer = peer_id(&SecretKey::from_bytes(&[seed; 32]).public()).expect("a key of ours");
        format!("/ip4/192.0.2.{seed}/tcp/{port}/p2p/{peer}")
    }

    /// Members with so many addresses each.
    fn known(members: u8, addresses: u16) -> Whereabouts {
        let of = |seed| (node(seed), (1..=addresses).map(|port| address(seed, port)).collect());
        Whereabouts((1..=members).map(of).collect())
    }

    #[test]
    fn what_is_found_now_comes_first_and_the_oldest_makes_room() {
        let members = BTreeSet::from([node(1), node(2)]);
        let mut known = Whereabouts::default();
        let found = |node_is: NodeId, ports: &[u16]| {
            let all: Vec<String> = ports.iter().map(|port| address(1, *port)).collect();
            move |asked: &NodeId| if *asked == node_is { all.clone() } else { Vec::new() }
        };
        assert!(known.learn(&members, found(node(1), &[1, 2])));
        assert_eq!(known.0[&node(1)], [address(1, 1), address(1, 2)]);
        assert!(!known.0.contains_key(&node(2)), "nothing is known of it");
        // Neither another order nor a lost connection is worth a write; what is new is.
        assert!(!known.learn(&members, found(node(1), &[2, 1])));
        assert!(!known.learn(&members, |_| Vec::new()));
        assert!(known.learn(&members, found(node(1), &[2, 3, 2])));
        assert_eq!(known.0[&node(1)], [2, 3, 1].map(|port| address(1, port)));
        let ports: Vec<u16> = (10..10 + limits::PEER_ADDRESSES as u16 - 1).collect();
        assert!(known.learn(&members, found(node(1), &ports)));
        assert_eq!(known.0[&node(1)].len(), limits::PEER_ADDRESSES);
        assert_eq!(known.0[&node(1)].last(), Some(&address(1, 2)), "3 and 1 have made room");
        // Not an address of that member, nor a node that is no member any more.
        assert!(!known.learn(&members, |_| vec![address(3, 1), "/ip4/192.0.2.1/tcp/1".to_owned()]));
        assert!(known.learn(&BTreeSet::from([node(2)]), |_| Vec::new()));
        assert_eq!(known, Whereabouts::default());
    }

    #[test]
    fn it_is_read_as_it_was_written_and_may_be_missing() {
        let folder = tempfile::tempdir().expect("a folder");
        let read = || Whereabouts::read(folder.path());
        assert_eq!(read().expect("there is none"), Whereabouts::default());
        for known in [known(2, 3), known(1, 1)] {
            known.write(folder.path()).expect("our folder");
            assert_eq!(read().expect("it was written"), known);
        }
        assert!(!folder.path().join(NEW_FILE_NAME).exists());
        std::fs::write(folder.path().join(WHEREABOUTS_FILE_NAME), b"").expect("our file");
        assert!(matches!(read(), Err(WhereaboutsError::Canon(_))));
        let long = vec![0xa0; limits::WHEREABOUTS_BYTES + 1];
        std::fs::write(folder.path().join(WHEREABOUTS_FILE_NAME), long).expect("our file");
        assert!(matches!(read(), Err(WhereaboutsError::Canon(CanonError::TooLong { .. }))));
    }

    #[test]
    fn what_has_no_place_there_is_refused() {
        let most = known(limits::WHEREABOUTS as u8, limits::PEER_ADDRESSES as u16);
        assert_eq!(Whereabouts::decode(&most.encode()).expect("it is within the bounds"), most);
        let of = |addresses: &[String]| Whereabouts([(node(1), addresses.to_vec())].into());
        let long = format!("/ip4/192.0.2.1/tcp/1/{}", address(1, 1)).replace("//", &"/".repeat(256));
        for bad in [
            known(limits::WHEREABOUTS as u8 + 1, 1),
            known(1, limits::PEER_ADDRESSES as u16 + 1),
            known(1, 0),
            of(&[address(1, 1), address(1, 1)]),
            of(&[address(2, 1)]),
            of(&["/ip4/192.0.2.1/tcp/1".to_owned()]),
            of(&[String::new()]),
            of(&[long]),
        ] {
            let read = Whereabouts::decode(&bad.encode());
            assert!(matches!(read, Err(WhereaboutsError::Bounds)), "{bad:?}: {read:?}");
        }
        // Nor has it a second spelling.
        let mut twisted = most.encode();
        twisted.push(0);
        assert!(matches!(Whereabouts::decode(&twisted), Err(WhereaboutsError::Canon(_))));
    }

    #[test]
    fn the_largest_file_is_within_its_bound() {
        let longest = |seed: u8| {
            let one = |i: usize| format!("{}{i}", "a".repeat(limits::ADDRESS_BYTES - 1));
            (node(seed), (0..limits::PEER_ADDRESSES).map(one).collect())
        };
        let most = Whereabouts((1..=limits::WHEREABOUTS as u8).map(longest).collect());
        assert!(most.encode().len() <= limits::WHEREABOUTS_BYTES);
    }
}
