//! Announcements to all.

use std::time::Duration;

use forgemesh_node::real::swarm::{Announcement, AskError};
use forgemesh_protocol::limits;
use tokio::sync::broadcast::Receiver;
use tokio::time::timeout;

use super::bench::{Node, config, config_from};

/// Whether this announcement arrives; others before it are passed over.
async fn arrives(announcements: &mut Receiver<Announcement>, wanted: &Announcement) -> bool {
    let found = async { while announcements.recv().await.as_ref() != Ok(wanted) {} };
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
    for number in 0..40_u32 {
        let bytes = number.to_be_bytes().repeat(limits::GOSSIP_BYTES / 4);
        let wanted = Announcement { from: first.id, bytes: bytes.clone() };
        first.handle.publish(bytes).unwrap();
        let mut reached = 0;
        for announcements in &mut heard {
            reached += usize::from(arrives(announcements, &wanted).await);
        }
        if reached == others.len() {
            return;
        }
    }
    panic!("no announcement reached all");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_too_long_or_empty_is_not_announced() {
    let node = Node::start(config(1));
    for length in [0, limits::GOSSIP_BYTES + 1] {
        assert!(matches!(node.handle.publish(vec![0; length]), Err(AskError::Length { .. })));
    }
}
