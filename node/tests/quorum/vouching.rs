//! A mesh in which not everybody may: who does not belong is told so, served nothing, and named to the network by whoever is
//! connected with it.

use forgemesh_consensus::command::Command;
use forgemesh_node::core::{Input, Reply};
use forgemesh_protocol::canon::Bytes;
use forgemesh_protocol::enrolment::{Expulsion, Invitation, Join, secret_digest};
use forgemesh_protocol::hash::Hash;
use forgemesh_protocol::keys::Signed;
use forgemesh_protocol::limits;
use forgemesh_protocol::wire::Message;

use super::bench::Bench;
use super::work::INSURANCE;

const SECRET: [u8; 32] = [0x51; 32];

/// Three members and two nodes, the first of which is admitted.
fn closed() -> Bench {
    let mut bench = Bench::closed(3, 1, 2);
    bench.elect(0);
    let mesh = bench.genesis.mesh_id();
    let expires_ms = bench.now_ms + 60_000;
    let invitation = Invitation { secret: secret_digest(&SECRET), expires_ms, organization: None };
    let join = Join { secret: Bytes(SECRET.to_vec()), name: "one".to_owned(), expires_ms };
    let invitation = Signed::new(invitation, mesh, &bench.nodes[0].secret);
    let join = Signed::new(join, mesh, &bench.nodes[3].secret);
    bench.commit(Command::Invite { invitation });
    bench.commit(Command::Enrol { join });
    bench.run(2_000, Bench::queue_is_empty);
    bench
}

/// Two nodes are connected with each other.
fn meet(bench: &mut Bench, one: usize, other: usize) {
    for (node, met) in [(one, other), (other, one)] {
        let met = Input::Met { node: bench.id(met) };
        bench.hand(node, met);
    }
    bench.run(2_000, Bench::queue_is_empty);
}

fn vouched(bench: &Bench, node: usize, other: usize) -> Option<bool> {
    bench.vouched.get(&(node, bench.id(other))).copied()
}

fn messages(bench: &Bench, from: usize, to: usize, which: impl Fn(&Message) -> bool) -> usize {
    let sent = bench.sent.iter().filter(|(f, t, message)| (*f, *t) == (from, to) && which(message));
    sent.count()
}

#[test]
fn members_know_who_belongs_and_others_ask_them() {
    let mut bench = closed();
    for (one, other) in [(0, 3), (0, 4), (1, 2), (3, 4), (3, 1)] {
        meet(&mut bench, one, other);
    }
    assert_eq!(vouched(&bench, 0, 3), Some(true));
    assert_eq!(vouched(&bench, 0, 4), Some(false));
    assert_eq!(vouched(&bench, 1, 2), Some(true));
    assert_eq!(vouched(&bench, 3, 1), Some(true));
    assert_eq!(vouched(&bench, 3, 4), Some(false), "an agent has asked");
    assert_eq!(vouched(&bench, 4, 3), None, "who does not belong is told nothing of others");
    // Who comes back is named again, for the network has forgotten it.
    bench.vouched.clear();
    meet(&mut bench, 0, 4);
    assert_eq!(vouched(&bench, 0, 4), Some(false));
    meet(&mut bench, 0, 3);
    // One that is expelled belongs no longer.
    let mesh = bench.genesis.mesh_id();
    let admitted = bench.log.len() as u64 - 1;
    let expulsion = Expulsion { node: bench.id(3), admitted };
    let expulsion = Signed::new(expulsion, mesh, &bench.nodes[0].secret);
    bench.commit(Command::Expel { expulsion });
    bench.run(2_000, Bench::queue_is_empty);
    assert_eq!(vouched(&bench, 0, 3), Some(false));
}

#[test]
fn who_does_not_belong_hears_so_and_tells_its_clients() {
    let mut bench = closed();
    meet(&mut bench, 0, 4);
    bench.submit(4, INSURANCE);
    bench.run(2_000, Bench::queue_is_empty);
    let refused = |reply: &Reply| matches!(reply, Reply::RefusedByHub(text) if text.contains("belong"));
    assert!(bench.nodes[4].replies.iter().any(refused), "{:?}", bench.nodes[4].replies);
    assert_eq!(bench.logged(|command| matches!(command, Command::Submit { .. })), 0);
    // Whoever else says so is not believed.
    let (from, node) = (bench.id(4), bench.id(3));
    bench.hand(3, Input::Message { from, message: Message::Belonging { node, belongs: false } });
    bench.submit(3, INSURANCE);
    bench.run(60_000, |bench| bench.logged(|command| matches!(command, Command::Submit { .. })) == 1);
}

#[test]
fn artifacts_are_served_to_those_who_belong() {
    let mut bench = closed();
    let artifact = Hash::blob(b"somewhere");
    let ask = |bench: &mut Bench, to: usize, from: usize| {
        let from = bench.id(from);
        bench.hand(to, Input::Message { from, message: Message::Outline { artifact } });
        bench.run(2_000, Bench::queue_is_empty);
    };
    let answers = |bench: &Bench, from, to| {
        messages(bench, from, to, |message| matches!(message, Message::NoArtifact { .. }))
    };
    // Before anybody has vouched for it, and after: who belongs asks again.
    for _ in 0..2 {
        ask(&mut bench, 0, 4);
        ask(&mut bench, 0, 3);
        ask(&mut bench, 3, 4);
    }
    assert_eq!((answers(&bench, 0, 4), answers(&bench, 3, 4)), (0, 0));
    assert_eq!(answers(&bench, 0, 3), 1);
}

#[test]
fn a_node_that_nobody_can_be_asked_about_is_not_held_for_a_stranger() {
    let mut bench = closed();
    bench.cut = vec![(3, 0), (3, 1), (3, 2)];
    meet(&mut bench, 3, 4);
    assert_eq!(vouched(&bench, 3, 4), None);
    bench.cut.clear();
    let answered = |bench: &Bench| vouched(bench, 3, 4) == Some(false);
    bench.run(2 * limits::RETRY_MS, answered);
    assert!(messages(&bench, 3, 0, |message| matches!(message, Message::Belongs { .. })) > 1);
}
