//! Peers that are no nodes: they have a valid key and speak the handshake, and then send what they like.

use std::time::Duration;

use forgemesh_node::ports::Mesh;
use forgemesh_node::real::swarm::{Config, Fault, Limits};
use forgemesh_protocol::canon::Bytes;
use forgemesh_protocol::hash::Hash;
use forgemesh_protocol::id::{JobId, NodeId};
use forgemesh_protocol::limits;
use forgemesh_protocol::wire::Message;
use libp2p::core::upgrade::Version;
use libp2p::futures::{AsyncReadExt, AsyncWriteExt, StreamExt};
use libp2p::identity::Keypair;
use libp2p::{Multiaddr, PeerId, StreamProtocol, Transport, noise, tcp, yamux};

use super::bench::{Node, config, config_from, large, mesh, reach, secret, small, until, within};

/// A peer that opens streams of messages and writes bytes to them.
pub struct Hostile {
    control: libp2p_stream::Control,
    node: PeerId,
    id: NodeId,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Hostile {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Hostile {
    /// Connects to the node's first address.
    fn connect(number: u8, node: &Node) -> Hostile {
        Hostile::connect_to(number, &node.addresses()[0])
    }

    /// Connects to the node at an address that names it.
    pub fn connect_to(number: u8, address: &str) -> Hostile {
        let keypair = Keypair::ed25519_from_bytes(secret(number).to_bytes()).unwrap();
        let prologue = [b"forgemesh mesh ".as_slice(), &mesh().0.0].concat();
        let transport = tcp::tokio::Transport::new(tcp::Config::default())
            .upgrade(Version::V1Lazy)
            .authenticate(noise::Config::new(&keypair).unwrap().with_prologue(prologue))
            .multiplex(yamux::Config::default())
            .boxed();
        let behaviour = libp2p_stream::Behaviour::new();
        let control = behaviour.new_control();
        let settings = libp2p::swarm::Config::with_tokio_executor()
            .with_idle_connection_timeout(Duration::from_secs(600));
        let mut swarm = libp2p::Swarm::new(transport, behaviour, keypair.public().to_peer_id(), settings);
        let address: Multiaddr = address.parse().unwrap();
        let Some(libp2p::multiaddr::Protocol::P2p(peer)) = address.iter().last() else { panic!("{address}") };
        swarm.add_peer_address(peer, address.clone());
        swarm.dial(address).unwrap();
        let task = tokio::spawn(async move {
            loop {
                swarm.select_next_some().await;
            }
        });
        Hostile { control, node: peer, id: secret(number).public().id(), task }
    }

    /// A stream of messages.
    pub async fn open(&mut self) -> Result<libp2p::Stream, libp2p_stream::OpenStreamError> {
        let name: String = mesh().0.0[..8].iter().map(|byte| format!("{byte:02x}")).collect();
        let protocol = StreamProtocol::try_from_owned(format!("/forgemesh/{name}/msg/1")).unwrap();
        within("a stream or its refusal", self.control.open_stream(self.node, protocol)).await
    }

    /// Writes bytes to a stream of their own and waits until the node has closed it, if it does.
    async fn say(&mut self, bytes: &[u8]) {
        let Ok(mut stream) = self.open().await else { return };
        // The node may close it before all is written.
        let _ = stream.write_all(bytes).await;
        let _ = stream.flush().await;
        let _ = stream.close().await;
        let _ = within("the end of the stream", stream.read(&mut [0; 1])).await;
    }
}

/// A message as it goes over a stream.
pub fn frame(body: &[u8]) -> Vec<u8> {
    [&(body.len() as u32).to_be_bytes(), body].concat()
}

/// Says three of these things, after which the peer is banned, and the node serves others.
async fn is_banned(said: &[u8], fault: Fault) {
    let mut node = Node::start(config(1));
    let mut other = Node::start(config_from(2, &node));
    let mut hostile = Hostile::connect(3, &node);
    for strikes in 1..=u64::from(limits::STRIKES) {
        assert_eq!(node.handle.status().counts.bans, 0);
        hostile.say(said).await;
        let status = node.wait_for("a strike", |status| status.counts.strikes >= strikes).await;
        assert_eq!(status.last_fault, Some((hostile.id, fault)));
    }
    let id = hostile.id;
    node.wait_for("the ban", |status| status.counts.bans == 1 && !status.peers.contains_key(&id)).await;
    // It does not come back, not even with the same key and new sockets.
    drop(hostile);
    let mut again = Hostile::connect(3, &node);
    assert!(again.open().await.is_err());
    assert!(!node.handle.status().peers.contains_key(&id));
    reach(&mut other, &mut node, small(1)).await;
    assert_eq!(node.handle.status().counts.bans, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_sends_garbage_is_banned() {
    is_banned(&frame(b"what is no message"), Fault::Message).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_announces_four_gibibytes_is_banned() {
    is_banned(&[255; 4], Fault::Frame).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_sends_an_empty_frame_is_banned() {
    is_banned(&[0; 4], Fault::Frame).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_sends_a_message_of_countless_items_is_banned() {
    // Valid but for its number of items: two megabytes that would become two hundred.
    let openings = vec![Bytes(Vec::new()); 1 << 21];
    let opened = Message::Opened { job: JobId(Hash::ZERO), attestation: Hash::ZERO, openings };
    is_banned(&frame(&opened.encode()), Fault::Message).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_message_twice_encoded_otherwise_is_garbage() {
    let mut loose = Message::Logged { seq: 1, digest: Hash::ZERO }.encode();
    // The same number in two bytes: valid CBOR, not canonical.
    let at = loose.iter().position(|byte| *byte == 1).unwrap();
    loose.splice(at..=at, [0x18, 1]);
    is_banned(&frame(&loose), Fault::Message).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn half_a_message_is_forgotten_with_its_stream() {
    let mut node = Node::start(config(1));
    let mut hostile = Hostile::connect(3, &node);
    let whole = frame(&small(5).encode());
    for end in 0..whole.len() {
        hostile.say(&whole[..end]).await;
    }
    hostile.say(&whole).await;
    assert_eq!(node.receive().await, (hostile.id, small(5)));
    let counts = node.handle.status().counts;
    assert_eq!((counts.received, counts.strikes), (1, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_peer_has_few_streams() {
    let mut node = Node::start(config(1));
    let mut hostile = Hostile::connect(3, &node);
    let mut streams = Vec::new();
    for _ in 0..limits::STREAMS_PER_PEER {
        let mut stream = hostile.open().await.unwrap();
        stream.write_all(&frame(&small(1).encode())).await.unwrap();
        stream.flush().await.unwrap();
        node.receive().await;
        streams.push(stream);
    }
    hostile.say(&frame(&small(2).encode())).await;
    drop(streams);
    // Once these are closed there is room again.
    let told = async {
        loop {
            hostile.say(&frame(&small(3).encode())).await;
            if node.handle.status().counts.received > limits::STREAMS_PER_PEER as u64 {
                return;
            }
        }
    };
    within("room for a stream", told).await;
    assert_eq!(node.receive().await, (hostile.id, small(3)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_drowns_its_sender_alone() {
    let limits = Limits { peer_messages_per_s: 200, ..Limits::default() };
    let mut node = Node::start(Config { limits, ..config(1) });
    let mut other = Node::start(config_from(2, &node));
    let mut hostile = Hostile::connect(3, &node);
    other.wait_for_peer(node.id).await;
    let mut stream = hostile.open().await.unwrap();
    let flood = frame(&small(666).encode()).repeat(1_000);
    let flooding = tokio::spawn(async move { while stream.write_all(&flood).await.is_ok() {} });
    (0..500).for_each(|number| other.swarm.send(node.id, small(number)));
    let mut next = 0;
    while next < 500 {
        let (from, message) = node.receive().await;
        if from == other.id {
            assert_eq!(message, small(next));
            next += 1;
        }
    }
    until("the ban", || {
        // What the node does not take holds the flood back.
        while let Some(true) = libp2p::futures::FutureExt::now_or_never(node.swarm.next()).map(|_| true) {}
        node.handle.status().counts.bans == 1
    })
    .await;
    within("the end of the flood", flooding).await.unwrap();
    assert_eq!(node.handle.status().last_fault, Some((hostile.id, Fault::Flood)));
    assert!(node.handle.status().peers.contains_key(&other.id));
}

/// Eight bytes, and silence: the room that they announce is nobody's.
#[tokio::test(flavor = "multi_thread")]
async fn who_announces_the_longest_messages_keeps_nobody_elses_waiting() {
    let mut node = Node::start(config(1));
    let mut other = Node::start(config_from(2, &node));
    let mut hostile = Hostile::connect(3, &node);
    let mut streams = Vec::new();
    for _ in 0..2 {
        let mut stream = hostile.open().await.unwrap();
        stream.write_all(&(limits::MESSAGE_BYTES as u32).to_be_bytes()).await.unwrap();
        stream.flush().await.unwrap();
        streams.push(stream);
    }
    tokio::time::sleep(Duration::from_millis(200)).await;
    for bytes in [300_000, 9 << 20] {
        reach(&mut other, &mut node, large(7, bytes)).await;
    }
}
