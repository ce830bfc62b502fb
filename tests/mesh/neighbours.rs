//! Nodes of one local network find each other though no address that they were told is good any more.

use std::thread;
use std::time::Duration;

use forgemesh_tests::node::Node;

use crate::netns::Internet;
use crate::pair::Pair;

/// How long it is seen that nothing happens.
const IN_VAIN: Duration = Duration::from_secs(3);

/// Changes the settings of a node.
fn set(node: &Node, change: impl FnOnce(String) -> String) {
    let path = node.home().join("config.toml");
    let text = std::fs::read_to_string(&path).expect("it was written by init or join");
    std::fs::write(path, change(text)).expect("our file");
}

#[test]
fn a_hub_that_listens_elsewhere_is_found_in_the_local_network() {
    let Some(mut net) = Internet::new() else { return };
    let host = net.host();
    let nodes = (Node::within(host.words()), Node::within(host.words()));
    let mut pair = Pair::of(nodes.0, nodes.1, &["--listen", "/ip4/0.0.0.0/tcp/4610", "--private"]);
    for (runs, node) in [(pair.guest_runs.take(), &pair.guest), (pair.hub_runs.take(), &pair.hub)] {
        assert_eq!(runs.map(|runs| runs.down(node)), Some(Some(0)));
    }
    set(&pair.hub, |text| text.replace("/tcp/4610\"]", "/tcp/4611\"]"));
    let (hub, guest) = (pair.hub.up(), pair.guest.up());
    thread::sleep(IN_VAIN);
    assert!(!pair.hears(), "it is where nobody was told to look");
    assert_eq!((guest.down(&pair.guest), hub.down(&pair.hub)), (Some(0), Some(0)));
    for node in [&pair.hub, &pair.guest] {
        set(node, |text| text + "mdns = true\n");
    }
    let (hub, guest) = (pair.hub.up(), pair.guest.up());
    pair.hub.until("the hub hears the guest again", || pair.hears());
    assert_eq!((guest.down(&pair.guest), hub.down(&pair.hub)), (Some(0), Some(0)));
}
