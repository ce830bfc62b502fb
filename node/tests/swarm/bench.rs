//! Nodes on loopback, and how a test waits for what they do.

use std::time::Duration;

use forgemesh_node::ports::{Brought, Mesh};
use forgemesh_node::real::swarm::{Config, Status, Swarm, SwarmHandle};
use forgemesh_protocol::canon::Bytes;
use forgemesh_protocol::hash::Hash;
use forgemesh_protocol::id::{MeshId, NodeId};
use forgemesh_protocol::keys::SecretKey;
use forgemesh_protocol::wire::Message;
use tokio::time::{Instant, sleep, timeout};

/// How long anything may take before its test fails.
const LIMIT: Duration = Duration::from_secs(120);
/// Who waits for an answer asks again after so long, as the roles of a node do.
const AGAIN: Duration = Duration::from_millis(300);

/// The mesh of most tests.
pub fn mesh() -> MeshId {
    MeshId(Hash::blob(b"a mesh"))
}

/// The key with this number.
pub fn secret(number: u8) -> SecretKey {
    SecretKey::from_bytes(&[number; 32])
}

/// A node that listens on loopback and knows nobody.
pub fn config(number: u8) -> Config {
    Config { listen: vec!["/ip4/127.0.0.1/tcp/0".to_owned()], ..Config::new(secret(number), mesh()) }
}

/// The same, told where to begin.
pub fn config_from(number: u8, first: &Node) -> Config {
    Config { bootstrap: first.addresses(), ..config(number) }
}

/// The next message that comes, and from whom.
pub async fn message(swarm: &mut Swarm) -> (NodeId, Message) {
    loop {
        if let (from, Brought::Message(message)) = swarm.next().await {
            return (from, message);
        }
    }
}

/// A running node.
pub struct Node {
    pub swarm: Swarm,
    pub handle: SwarmHandle,
    pub id: NodeId,
}

impl Node {
    pub fn start(config: Config) -> Node {
        let id = config.secret.public().id();
        let swarm = Swarm::start(config).unwrap();
        Node { handle: swarm.handle(), swarm, id }
    }

    pub fn addresses(&self) -> Vec<String> {
        self.handle.status().listen
    }

    /// The next message.
    pub async fn receive(&mut self) -> (NodeId, Message) {
        within("a message", message(&mut self.swarm)).await
    }

    /// Waits until the network is as wanted.
    pub async fn wait_for(&self, what: &str, wanted: impl Fn(&Status) -> bool) -> Status {
        within(what, self.handle.wait_for(wanted)).await.unwrap()
    }

    pub async fn wait_for_peer(&self, other: NodeId) -> Status {
        self.wait_for("a connection", |status| status.peers.contains_key(&other)).await
    }
}

/// The result, or a failure that says what did not happen.
pub async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    timeout(LIMIT, future).await.unwrap_or_else(|_| panic!("{what}: not within {LIMIT:?}"))
}

/// Waits for something that nobody announces.
pub async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < LIMIT, "{what}: not within {LIMIT:?}");
        sleep(Duration::from_millis(20)).await;
    }
}

/// Sends a message again and again until it arrives, as who waits for an answer does.
pub async fn reach(from: &mut Node, to: &mut Node, message: Message) {
    let begun = Instant::now();
    loop {
        assert!(begun.elapsed() < LIMIT, "{message:?} did not arrive within {LIMIT:?}");
        from.swarm.send(to.id, message.clone());
        let is_it = async { while self::message(&mut to.swarm).await != (from.id, message.clone()) {} };
        if timeout(AGAIN, is_it).await.is_ok() {
            return;
        }
    }
}

/// A small message that can be told from others.
pub fn small(number: u64) -> Message {
    Message::Logged { seq: number, digest: Hash::ZERO }
}

/// A large message that can be told from others.
pub fn large(number: u8, bytes: usize) -> Message {
    Message::Blob { bytes: Bytes(vec![number; bytes]) }
}
