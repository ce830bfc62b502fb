//! Announcements to all.

use std::time::Duration;

use forgemesh_node::real::swarm::{Announcement, AskError};
use forgemesh_protocol::limits;
use tokio::sync::broadcast::Receiver;
use tokio::time::timeout;

use super::bench::{Node, config, config_from, within};

/// Whether this announcement reaches all of them soon; others before it are passed over.
async fn arrives(heard: &mut [Receiver<Announcement>], wanted: &Announcement) -> bool {
    let found = async {
        for announcements in heard {
            while announcements.recv().await.as_ref() != Ok(wanted) {}
        }
    };
    timeout(Duration::from_secs(3), found).await.is_ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_announcement_reaches_all() {
    let first = Node::start(config(1));
    let others: Vec<Node> = (2..=8).map(|number| Node::start(config_from(number, &first))).collect();
    let mut heard: Vec<_> = others.iter().map(|node| node.handle.announcements()).collect();
    for node in &others {
        node.wait_for("a listener", |status| status.listeners > 0).await;
    }
    // The paths of announcements are still being laid: one that comes too early may be lost.
    let announced = async {
        for number in 0_u32.. {
            let bytes = number.to_be_bytes().repeat(limits::GOSSIP_BYTES / 4);
            let wanted = Announcement { from: first.id, bytes: bytes.clone() };
            first.handle.publish(bytes).unwrap();
            if arrives(&mut heard, &wanted).await {
                return;
            }
        }
    };
    within("an announcement that reaches all", announced).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_too_long_or_empty_is_not_announced() {
    let node = Node::start(config(1));
    for length in [0, limits::GOSSIP_BYTES + 1] {
        assert!(matches!(node.handle.publish(vec![0; length]), Err(AskError::Length { .. })));
    }
}
