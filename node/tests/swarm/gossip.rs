//! Announcements to all.

use std::time::Duration;

use forgemesh_node::ports::Mesh;
use forgemesh_protocol::hash::Hash;
use forgemesh_protocol::id::JobId;
use forgemesh_protocol::wire::Message;
use tokio::time::timeout;

use super::bench::{Node, config, config_from, message, small, until, within};

/// An announcement that can be told from others.
fn announced(number: u64) -> Message {
    Message::Announced { job: JobId(Hash::blob(&number.to_be_bytes())) }
}

/// Whether this announcement of `first` reaches all of them soon; others before it are passed over.
async fn arrives(first: &Node, others: &mut [Node], wanted: &Message) -> bool {
    let found = async {
        for node in others {
            while message(&mut node.swarm).await != (first.id, wanted.clone()) {}
        }
    };
    timeout(Duration::from_secs(3), found).await.is_ok()
}

/// A node, and seven that know of it and listen.
async fn eight() -> (Node, Vec<Node>) {
    let first = Node::start(config(1));
    let others: Vec<Node> = (2..=8).map(|number| Node::start(config_from(number, &first))).collect();
    for node in &others {
        node.wait_for("a listener", |status| status.listeners > 0).await;
    }
    (first, others)
}

/// The same, once announcements of the first reach all of them: those that come too early may be lost, while the paths
/// are still being laid.
async fn eight_that_hear() -> (Node, Vec<Node>) {
    let (mut first, mut others) = eight().await;
    let reached = async {
        for number in 0.. {
            first.swarm.announce(announced(number));
            if arrives(&first, &mut others, &announced(number)).await {
                return;
            }
        }
    };
    within("an announcement that reaches all", reached).await;
    (first, others)
}

fn heard(node: &Node) -> u64 {
    node.handle.status().counts.announcements
}

#[tokio::test(flavor = "multi_thread")]
async fn an_announcement_reaches_all() {
    eight_that_hear().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_author_speaks_without_end() {
    const MANY: u64 = 2_000;
    let (mut first, others) = eight_that_hear().await;
    let before = heard(&others[0]);
    (0..MANY).for_each(|number| first.swarm.announce(announced(1_000_000 + number)));
    // Some are heard: lists of so many have found room in a frame.
    until("many are heard", || heard(&others[0]) > before + 20).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    println!("{} of {MANY} announcements of one author were heard", heard(&others[0]) - before);
    assert!(heard(&others[0]) - before < MANY / 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_announces_anything_else_is_heard_no_more() {
    let (mut first, mut others) = eight_that_hear().await;
    (0..10).for_each(|number| first.swarm.announce(small(number)));
    tokio::time::sleep(Duration::from_secs(2)).await;
    let before = heard(&others[0]);
    (0..10).for_each(|number| first.swarm.announce(announced(2_000_000 + number)));
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(heard(&others[0]), before);
    while let Ok((_, message)) = timeout(Duration::from_millis(10), message(&mut others[0].swarm)).await {
        assert!(matches!(message, Message::Announced { .. }), "{message:?}");
    }
}
