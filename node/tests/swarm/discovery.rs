//! Nodes that find each other.

use std::env;

use forgemesh_node::real::swarm::{Config, Swarm};

use super::bench::{Node, config, config_from, reach, small};

#[tokio::test(flavor = "multi_thread")]
async fn a_node_is_found_by_its_id_through_a_third() {
    let b = Node::start(config(2));
    let mut c = Node::start(config_from(3, &b));
    c.wait_for_peer(b.id).await;
    let mut a = Node::start(config_from(1, &b));
    a.wait_for_peer(b.id).await;
    reach(&mut a, &mut c, small(7)).await;
    reach(&mut c, &mut a, small(8)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_listens_nowhere_is_answered() {
    let mut a = Node::start(config(1));
    let mut b = Node::start(Config { listen: Vec::new(), ..config_from(2, &a) });
    reach(&mut b, &mut a, small(1)).await;
    reach(&mut a, &mut b, small(2)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_a_node_was_before_is_a_hint() {
    let mut a = Node::start(config(1));
    let at = a.addresses()[0].clone();
    let (_, peer) = at.split_once("/p2p/").unwrap();
    // Nobody listens there, it names nobody, it is no address.
    let left = format!("/ip4/127.0.0.1/tcp/9/p2p/{peer}");
    let useless = [left.clone(), "/ip4/127.0.0.1/tcp/9".to_owned(), "there".to_owned()];
    let remembered = useless.into_iter().chain([at]).collect();
    let mut b = Node::start(Config { remembered, ..config(2) });
    reach(&mut b, &mut a, small(1)).await;
    // It has moved: who knows another finds it all the same.
    let mut c = Node::start(Config { remembered: vec![left], ..config_from(3, &b) });
    reach(&mut c, &mut a, small(2)).await;
    assert!(c.handle.status().misled.is_empty(), "only settings mislead");
}

/// Each would hear a part of what comes.
#[tokio::test(flavor = "multi_thread")]
async fn no_two_nodes_listen_at_the_same_port() {
    let a = Node::start(config(1));
    let (address, _) =
        a.addresses()[0].split_once("/p2p/").map(|(at, peer)| (at.to_owned(), peer.to_owned())).unwrap();
    let everywhere = address.replace("127.0.0.1", "0.0.0.0");
    for taken in [&address, &everywhere] {
        let refused =
            Swarm::start(Config { listen: vec![taken.clone()], ..config(2) }).err().unwrap().to_string();
        assert!(refused.starts_with(&format!("cannot listen at {taken}: ")), "{refused}");
        assert!(refused.contains("in use") && refused.contains("choose another port"), "{refused}");
    }
    drop(a);
    Node::start(Config { listen: vec![address], ..config(2) });
}

/// `FORGEMESH_SWARM_NODES=50` runs it with more.
#[tokio::test(flavor = "multi_thread")]
async fn twenty_nodes_find_each_other_through_one() {
    let count: u8 = env::var("FORGEMESH_SWARM_NODES").map_or(20, |text| text.parse().unwrap());
    let mut nodes = vec![Node::start(config(1))];
    for number in 2..=count {
        let next = config_from(number, &nodes[0]);
        nodes.push(Node::start(next));
    }
    // Each reaches the ones half way round and next to it: it was told of neither.
    let count = nodes.len();
    for i in 0..count {
        for step in [1, count / 2] {
            let j = (i + step) % count;
            let (low, high) = (i.min(j), i.max(j));
            let (left, right) = nodes.split_at_mut(high);
            let (low, high) = (&mut left[low], &mut right[0]);
            let (from, to) = if i < j { (low, high) } else { (high, low) };
            reach(from, to, small(i as u64)).await;
        }
    }
}
