//! Two hub members behind NATs: a relay brings them together, and where their NATs allow it they need it no longer.
//!
//! Both have the same address at home, as is common: what one says of itself is for the other where it is itself.

use std::process::Command;
use std::time::Duration;

use forgemesh_tests::node::{Ended, Node};

use crate::cluster::until;
use crate::netns::{Host, Internet};
use crate::trio::{Trio, Way};

const JOB: [&str; 4] = ["diag@1/mix.v1", "iterations=1000000", "--seed", "holes"];
/// Longer than an attempt takes that comes to nothing.
const ATTEMPT: Duration = Duration::from_secs(12);

/// Is there a TCP connection between these machines, by the word of the first one's kernel?
fn is_direct(from: &Host, to: &Host) -> bool {
    let words = [from.words(), ["ss", "-tnH", "state", "established"].map(str::to_owned).to_vec()].concat();
    let ended = Ended::of(Command::new(&words[0]).args(&words[1..]).output().expect("nsenter starts"));
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    ended.text().lines().any(|line| line.contains(&format!(" {}:", to.address())))
}

/// A job that is submitted to the second member comes to the digest of an embedded run.
fn computes(hub: &Trio) {
    let job = hub.nodes[1].ok(&[&["job", "submit"], &JOB[..], &["--wait", "--json"]].concat()).json();
    let alone = Node::new().ok(&[&["run"], &JOB[..], &["--json"]].concat()).json();
    assert_eq!(job["result_hash"], alone["result_hash"]);
}

fn are_direct(hub: &Trio) -> bool {
    let [_, one, other] = &hub.hosts;
    is_direct(one, other) && is_direct(other, one)
}

#[test]
fn behind_nats_that_keep_ports_two_members_need_no_relay() {
    let Some(mut net) = Internet::new() else { return };
    let hosts = [net.host(), net.host_behind_nat(), net.host_behind_nat()];
    let hub = Trio::new(hosts, Way::Private);
    until("they are connected without the relay", || are_direct(&hub));
    // Two of three are a majority, and only if they hear each other.
    net.cut(&hub.hosts[0]);
    computes(&hub);
}

#[test]
fn nor_do_they_by_quic() {
    let Some(mut net) = Internet::new() else { return };
    let hosts = [net.host(), net.host_behind_nat(), net.host_behind_nat()];
    let hub = Trio::new(hosts, Way::Quic);
    std::thread::sleep(ATTEMPT / 2);
    net.cut(&hub.hosts[0]);
    computes(&hub);
}

#[test]
fn behind_nats_that_draw_ports_the_relay_is_needed() {
    let Some(mut net) = Internet::new() else { return };
    let hosts = [net.host(), net.host_behind_hard_nat(), net.host_behind_hard_nat()];
    let hub = Trio::new(hosts, Way::Private);
    std::thread::sleep(ATTEMPT);
    assert!(!are_direct(&hub));
    computes(&hub);
}
