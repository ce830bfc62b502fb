//! Peers that send a hundred times what they may, one after the other: who keeps to the rules is served meanwhile.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use forgemesh_node::ports::Mesh;
use forgemesh_node::real::swarm::{Config, Fault, Limits, SwarmHandle};
use forgemesh_protocol::id::NodeId;
use forgemesh_protocol::limits;
use forgemesh_protocol::wire::Message;
use libp2p::futures::AsyncWriteExt;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

use super::bench::{Node, config, config_from, large, message, small, within};
use super::hostile::{Hostile, frame};

/// How many seconds' worth of what it may send each of them has ready at once.
const TIMES: u64 = 100;
/// Requests of the honest peer that are measured, before the flood and during it.
const REQUESTS: u64 = 200;
/// So many are banned while requests are answered.
const BANS: u64 = 4;
/// Who waits for an answer asks again after so long, as the roles of a node do.
const AGAIN: Duration = Duration::from_millis(300);

/// How long answers took.
struct Waits(Vec<Duration>);

impl std::fmt::Display for Waits {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut sorted = self.0.clone();
        sorted.sort();
        let at = |percent: usize| sorted[(sorted.len() - 1) * percent / 100];
        write!(f, "median {:?}, 99 % {:?}, longest {:?}", at(50), at(99), at(100))
    }
}

/// A node that answers one peer, and takes whatever else comes.
struct Server {
    address: String,
    id: NodeId,
    handle: SwarmHandle,
    task: JoinHandle<()>,
}

impl Server {
    fn start(mut node: Node, served: NodeId) -> Server {
        let (address, id, handle) = (node.addresses().remove(0), node.id, node.handle.clone());
        let task = tokio::spawn(async move {
            loop {
                let (from, message) = message(&mut node.swarm).await;
                if from == served {
                    node.swarm.send(from, message);
                }
            }
        });
        Server { address, id, handle, task }
    }
}

/// Asks and waits for the answer.
async fn ask(honest: &mut Node, server: NodeId, number: u64) -> Duration {
    let begun = Instant::now();
    let answered = async {
        loop {
            honest.swarm.send(server, small(number));
            let answer = async { while message(&mut honest.swarm).await.1 != small(number) {} };
            if timeout(AGAIN, answer).await.is_ok() {
                return;
            }
        }
    };
    within("an answer", answered).await;
    begun.elapsed()
}

/// One peer after the other sends the same message as fast as it is taken, until it is banned. `sent`: bytes.
async fn flood(address: String, message: Message, ready: u64, sent: Arc<AtomicU64>) {
    let frame = frame(&message.encode());
    let many = frame.repeat((ready as usize).min((1 << 20) / frame.len()).max(1));
    for number in 3..=u8::MAX {
        let mut hostile = Hostile::connect_to(number, &address);
        let Ok(mut stream) = hostile.open().await else { continue };
        let mut at = 0;
        while let Ok(taken) = stream.write(&many[at..]).await {
            sent.fetch_add(taken as u64, Ordering::Relaxed);
            at = (at + taken) % many.len();
        }
    }
}

/// Floods a node of these limits with a message of which `quota` may come in a second, while another peer is served.
async fn is_served(what: &str, limits: Limits, message: Message, quota: u64) {
    let node = Node::start(Config { limits, ..config(1) });
    let mut honest = Node::start(config_from(2, &node));
    let server = Server::start(node, honest.id);
    honest.wait_for_peer(server.id).await;
    let mut before = Waits(Vec::new());
    for number in 0..REQUESTS {
        before.0.push(ask(&mut honest, server.id, number).await);
    }
    let length = frame(&message.encode()).len();
    let (sent, begun) = (Arc::<AtomicU64>::default(), Instant::now());
    let flooding = tokio::spawn(flood(server.address.clone(), message, TIMES * quota, sent.clone()));
    let (mut during, mut number) = (Waits(Vec::new()), REQUESTS);
    while during.0.len() < REQUESTS as usize || server.handle.status().counts.bans < BANS {
        during.0.push(ask(&mut honest, server.id, number).await);
        number += 1;
    }
    let rate = (sent.load(Ordering::Relaxed) / length as u64) as f64 / begun.elapsed().as_secs_f64();
    let counts = server.handle.status().counts;
    println!(
        "{what}: {rate:.0} messages/s were sent, {quota} are allowed; {} strikes, {} bans; {} answers meanwhile",
        counts.strikes,
        counts.bans,
        during.0.len()
    );
    println!("  before: {before}\n  during: {during}");
    let status = server.handle.status();
    assert!(counts.strikes >= BANS * u64::from(limits::STRIKES));
    assert!(status.last_fault.is_some_and(|(who, fault)| who != honest.id && fault == Fault::Flood));
    assert!(status.peers.contains_key(&honest.id));
    flooding.abort();
    server.task.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn who_sends_a_hundred_times_the_messages_keeps_nobody_waiting() {
    let limits = Limits { peer_messages_per_s: 100, ..Limits::default() };
    is_served("many messages", limits, small(666), limits.peer_messages_per_s).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_sends_a_hundred_times_the_bytes_keeps_nobody_waiting() {
    const BYTES: usize = 1 << 20;
    let limits = Limits { peer_bytes_per_s: BYTES as u64, ..Limits::default() };
    is_served("many bytes", limits, large(6, BYTES), 1).await;
}
