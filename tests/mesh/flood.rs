//! Strangers that say as much as they can to a hub at work: the mesh goes on, and what it computes stays the same.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use forgemesh_protocol::canon::Bytes;
use forgemesh_protocol::enrolment::Join;
use forgemesh_protocol::hash::Hash;
use forgemesh_protocol::id::{JobId, MeshId};
use forgemesh_protocol::keys::{SecretKey, Signed};
use forgemesh_protocol::submission::{Offer, Submission};
use forgemesh_protocol::ticket::Ticket;
use forgemesh_protocol::wire::{Hello, Holding, Message};
use forgemesh_tests::node::Node;
use libp2p::core::upgrade::Version;
use libp2p::futures::{AsyncWriteExt, StreamExt};
use libp2p::identity::Keypair;
use libp2p::multiaddr::Protocol;
use libp2p::{Multiaddr, StreamProtocol, Transport, noise, tcp, yamux};
use serde_json::{Value, json};

use crate::pair::Pair;

/// A job of some twenty shards.
const MIX: [&str; 4] = ["diag@1/mix.v1", "iterations=3000000", "--seed", "flood"];
/// Strangers at a time; who is banned is followed by another.
const STRANGERS: u64 = 3;
/// Questions to the hub that are timed, before the flood and during it.
const QUESTIONS: usize = 20;
/// What the hub may take more of the memory than before: less than all its queues may hold.
const GROWTH_KIB: u64 = 512 << 10;

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    u64::try_from(since.as_millis()).expect("a date")
}

/// What a stranger says: everything that a node listens to before it knows whom it has before it.
fn said(mesh: MeshId, secret: &SecretKey, number: u64) -> Vec<Message> {
    let expires_ms = now_ms() + 600_000;
    let join = Join { secret: Bytes(vec![1; 32]), name: "stranger".to_owned(), expires_ms };
    let envelope = Bytes(br#"{"op":{"name":"diag"}}"#.to_vec());
    let submission = Submission { envelope, offer: Offer::default(), nonce: Bytes(vec![2; 16]), expires_ms };
    let holding = Holding {
        job: JobId(Hash::ZERO),
        stage: 0,
        input: None,
        shards: (0..99).map(|n| 2 * n..2 * n + 1).collect(),
    };
    let hello = Hello {
        capacity: 0,
        backend: "none".to_owned(),
        accepts: 0,
        holds: vec![holding; 3],
        ops: Vec::new(),
        seating: 0,
        candidacy: None,
        books: 0,
        region: None,
        billing: Vec::new(),
        clients: None,
        organizations: Vec::new(),
    };
    vec![
        Message::Hello(Box::new(hello)),
        Message::Join(Box::new(Signed::new(join, mesh, secret))),
        Message::Submit(Box::new(Signed::new(submission, mesh, secret))),
        Message::Ask { number, body: Bytes(br#"{"do":"jobs"}"#.to_vec()) },
        Message::Ask { number, body: Bytes(vec![b'['; 5_000]) },
        Message::Books { from: 0 },
        Message::WhoSits { known: 0 },
        Message::Reveal { value: Hash::ZERO },
        Message::Raft { bytes: Bytes(vec![0x81; 3_000]) },
        Message::Logged { seq: number, digest: Hash::ZERO },
        Message::Blob { bytes: Bytes(vec![3; 50_000]) },
    ]
}

/// What the strangers came to.
#[derive(Default)]
struct Said {
    messages: AtomicU64,
    bytes: AtomicU64,
    strangers: AtomicU64,
}

/// Says it all, again and again, until the hub no longer listens.
async fn flood(address: Multiaddr, mesh: MeshId, number: u64, said_by_all: Arc<Said>) {
    let secret = SecretKey::from_bytes(&Hash::blob(&number.to_le_bytes()).0);
    let keypair = Keypair::ed25519_from_bytes(secret.to_bytes()).expect("a key");
    let prologue = [b"forgemesh mesh ".as_slice(), &mesh.0.0].concat();
    let noise = noise::Config::new(&keypair).expect("a key").with_prologue(prologue);
    let transport = tcp::tokio::Transport::new(tcp::Config::default())
        .upgrade(Version::V1Lazy)
        .authenticate(noise)
        .multiplex(yamux::Config::default())
        .boxed();
    let behaviour = libp2p_stream::Behaviour::new();
    let mut control = behaviour.new_control();
    let settings =
        libp2p::swarm::Config::with_tokio_executor().with_idle_connection_timeout(Duration::from_secs(600));
    let mut swarm = libp2p::Swarm::new(transport, behaviour, keypair.public().to_peer_id(), settings);
    let Some(Protocol::P2p(peer)) = address.iter().last() else { panic!("{address} names no peer") };
    swarm.add_peer_address(peer, address.clone());
    swarm.dial(address).expect("an address");
    let name: String = mesh.0.0[..8].iter().map(|byte| format!("{byte:02x}")).collect();
    let protocol = StreamProtocol::try_from_owned(format!("/forgemesh/{name}/msg/1")).expect("a name");
    let frames: Vec<Vec<u8>> = said(mesh, &secret, number)
        .iter()
        .map(|message| message.encode())
        .map(|body| [&(body.len() as u32).to_be_bytes(), &body[..]].concat())
        .collect();
    let all = frames.concat();
    let talk = async {
        let Ok(mut stream) = control.open_stream(peer, protocol).await else { return };
        said_by_all.strangers.fetch_add(1, Ordering::Relaxed);
        while stream.write_all(&all).await.is_ok() {
            said_by_all.messages.fetch_add(frames.len() as u64, Ordering::Relaxed);
            said_by_all.bytes.fetch_add(all.len() as u64, Ordering::Relaxed);
        }
    };
    tokio::select! {
        () = talk => {}
        () = async { loop { swarm.select_next_some().await; } } => {}
    }
}

/// A flood that goes on until it is dropped.
struct Flood {
    said: Arc<Said>,
    _runtime: tokio::runtime::Runtime,
}

impl Flood {
    fn of(address: &str, mesh: MeshId) -> Flood {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let (runtime, said) = (runtime.expect("a thread"), Arc::<Said>::default());
        for first in 0..STRANGERS {
            let (address, said) = (address.parse::<Multiaddr>().expect("an address"), said.clone());
            runtime.spawn(async move {
                for number in (first..).step_by(STRANGERS as usize) {
                    flood(address.clone(), mesh, number, said.clone()).await;
                }
            });
        }
        Flood { said, _runtime: runtime }
    }
}

/// The hub's resident memory, in KiB.
fn resident(hub: &Node) -> u64 {
    let pid = hub.ok(&["status", "--json"]).json()["pid"].clone();
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a line of its own");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

/// How long the hub's answers took that went through the guest: the longest, and one in the middle.
fn waits(guest: &Node) -> String {
    let mut waits: Vec<Duration> = (0..QUESTIONS)
        .map(|_| {
            let begun = Instant::now();
            guest.ok(&["job", "ls", "--json"]);
            begun.elapsed()
        })
        .collect();
    waits.sort();
    format!("median {:?}, longest {:?}", waits[QUESTIONS / 2], waits[QUESTIONS - 1])
}

fn result(guest: &Node) -> (Value, Duration) {
    let begun = Instant::now();
    let job = guest.ok(&[&["job", "submit"], &MIX[..], &["--wait", "--json"]].concat()).json();
    (job["result_hash"].clone(), begun.elapsed())
}

#[test]
fn a_flood_leaves_the_mesh_serving() {
    let pair = Pair::new(&[]);
    let ticket = pair.hub.ok(&["ticket", "create", "--json"]).json()["ticket"].clone();
    let ticket = Ticket::read(ticket.as_str().expect("a line"), now_ms()).expect("a ticket");
    let (expected, alone) = result(&pair.guest);
    assert_ne!(expected, json!(null));
    let (calm, memory) = (waits(&pair.guest), resident(&pair.hub));
    let (flood, begun) = (Flood::of(&ticket.bootstrap[0], ticket.genesis.mesh_id()), Instant::now());
    // It is at its height when the hub has taken a good deal of it.
    pair.hub.until("the flood", || flood.said.messages.load(Ordering::Relaxed) > 10_000);
    let (found, during) = result(&pair.guest);
    let wild = waits(&pair.guest);
    let grown = resident(&pair.hub).saturating_sub(memory);
    let before = flood.said.messages.load(Ordering::Relaxed);
    pair.hub.until("the flood goes on", || flood.said.messages.load(Ordering::Relaxed) > before);
    let [messages, bytes, strangers] = [&flood.said.messages, &flood.said.bytes, &flood.said.strangers]
        .map(|count| count.load(Ordering::Relaxed));
    let seconds = begun.elapsed().as_secs_f64();
    println!(
        "{strangers} strangers said {messages} messages, {:.0} a second, {:.1} MiB a second; the hub grew by {grown} KiB",
        messages as f64 / seconds,
        bytes as f64 / seconds / f64::from(1 << 20)
    );
    println!(
        "a job: {alone:?} before, {during:?} during\nquestions: {calm} before\n           {wild} during"
    );
    assert_eq!(found, expected);
    assert!(grown < GROWTH_KIB, "the hub grew by {grown} KiB");
}
