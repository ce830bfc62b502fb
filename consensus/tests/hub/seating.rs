//! Who sits in the hub: a quorum of the admitted keys agrees on a charter, and it comes in force when others take the
//! seats.

use forgemesh_consensus::command::Command;
use forgemesh_consensus::machine::{Event, Hub, Rejected, SeatRefused, VoteRefused};
use forgemesh_protocol::charter::{Charter, CharterError};
use forgemesh_protocol::genesis::HubMember;
use forgemesh_protocol::hash::Hash;
use forgemesh_protocol::id::{MeshId, NodeId};
use forgemesh_protocol::keys::{KeyError, SecretKey, Signable, Signed};
use forgemesh_protocol::vote::Outcome;

use super::bench::{Bench, mix};

fn newcomer(byte: u8) -> (SecretKey, HubMember) {
    let secret = SecretKey::from_bytes(&[byte; 32]);
    let member = HubMember { key: secret.public(), beacon_anchor: Hash([byte; 32]), beacon_length: 8 };
    (secret, member)
}

/// The charter in force with one more key.
fn with(bench: &Bench, member: &HubMember) -> Charter {
    let current = bench.hub.charters().current();
    let mut admitted = current.admitted.clone();
    admitted.push(member.clone());
    Charter { version: current.version + 1, previous: current.digest(), seats: current.seats, admitted }
}

fn consent(bench: &Bench, charter: &Charter, by: &SecretKey) -> Command {
    Command::Consent { charter: Signed::new(charter.clone(), bench.hub.mesh(), by) }
}

fn refused(bench: &mut Bench, command: Command) -> SeatRefused {
    match bench.refuse(command) {
        Rejected::Seat(reason) => reason,
        other => panic!("refused as a seat, not {other:?}"),
    }
}

fn ids(keys: &[&SecretKey]) -> Vec<NodeId> {
    keys.iter().map(|key| key.public().id()).collect()
}

#[test]
fn a_quorum_agrees_and_a_newcomer_sits() {
    let mut bench = Bench::new(3);
    let keys = bench.members.clone();
    let (fourth, member) = newcomer(0x71);
    let charter = with(&bench, &member);
    let seated = ids(&[&keys[0], &keys[1], &fourth]);
    let seat = Command::Seat { charter: charter.digest(), seated: seated.clone() };
    assert_eq!(refused(&mut bench, seat.clone()), SeatRefused::NotAgreed);
    let first = consent(&bench, &charter, &keys[0]);
    assert_eq!(bench.accept(first.clone()), Event::Consented { count: 1 });
    assert_eq!(bench.accept(first), Event::Consented { count: 1 }, "once");
    assert!(bench.hub.agreed().is_none());
    assert_eq!(refused(&mut bench, seat.clone()), SeatRefused::NotAgreed);
    let second = consent(&bench, &charter, &keys[2]);
    assert_eq!(bench.accept(second), Event::Consented { count: 2 });
    // Nothing is in force before somebody takes the seats.
    assert_eq!(bench.hub.agreed(), Some(&charter));
    assert_eq!((bench.hub.charters().current().version, bench.hub.state().seating.number), (0, 0));
    assert_eq!(bench.accept(seat), Event::Seated);
    assert_eq!((bench.hub.charters().current(), bench.hub.seated()), (&charter, &seated[..]));
    assert!(bench.hub.agreed().is_none() && bench.hub.state().consents.is_empty());
    assert_eq!(bench.hub.state().beacons[&seated[2]].value, member.beacon_anchor);
    // The seats change under the same charter, too.
    let back = ids(&[&keys[0], &keys[1], &keys[2]]);
    let seat = Command::Seat { charter: charter.digest(), seated: back.clone() };
    assert_eq!(bench.accept(seat.clone()), Event::Seated);
    assert_eq!((bench.hub.seated(), bench.hub.state().seating.number), (&back[..], 2));
    assert_eq!(refused(&mut bench, seat), SeatRefused::Same);
}

#[test]
fn only_the_admitted_decide_and_the_newest_word_counts() {
    let mut bench = Bench::new(3);
    let keys = bench.members.clone();
    let (fourth, member) = newcomer(0x71);
    let (_, other) = newcomer(0x72);
    let (charter, another) = (with(&bench, &member), with(&bench, &other));
    let own = consent(&bench, &charter, &fourth);
    assert_eq!(refused(&mut bench, own), SeatRefused::NotAdmitted);
    let elsewhere = Command::Consent { charter: Signed::new(charter.clone(), MeshId(Hash::ZERO), &keys[0]) };
    assert_eq!(refused(&mut bench, elsewhere), SeatRefused::Signature(KeyError::BadSignature));
    let mut skipped = charter.clone();
    skipped.version = 2;
    let skipped = consent(&bench, &skipped, &keys[0]);
    assert_eq!(refused(&mut bench, skipped), SeatRefused::Charter(CharterError::NotNext));
    for (of, by, count) in [(&charter, 0, 1), (&another, 1, 1), (&another, 0, 2)] {
        let command = consent(&bench, of, &keys[by]);
        assert_eq!(bench.accept(command), Event::Consented { count });
    }
    assert_eq!(bench.hub.agreed(), Some(&another), "the first changed its mind");
}

#[test]
fn the_seats_are_filled_with_admitted_keys() {
    let mut bench = Bench::new(3);
    let keys = bench.members.clone();
    let (fourth, _) = newcomer(0x71);
    let charter = bench.hub.charters().current().digest();
    for seated in [
        vec![],
        ids(&[&keys[0], &keys[1]]),
        ids(&[&keys[0], &keys[1], &keys[1]]),
        ids(&[&keys[0], &keys[1], &fourth]),
    ] {
        let command = Command::Seat { charter, seated };
        assert_eq!(refused(&mut bench, command), SeatRefused::WrongSeats);
    }
}

/// A vote is a word of those who sat when it was given.
#[test]
fn votes_do_not_outlive_who_was_to_vote() {
    let mut bench = Bench::new(3);
    let keys = bench.members.clone();
    let id = bench.submit(&mix("spotcheck"));
    bench.verify_stage(&id);
    let result = Outcome::Final(bench.result(&id));
    let early = bench.vote(&id, 0, result.clone());
    assert_eq!(bench.accept(early.clone()), Event::Voted { job: id });
    let late = bench.vote(&id, 1, result.clone());
    let (fourth, member) = newcomer(0x71);
    let charter = with(&bench, &member);
    for by in [0, 1] {
        let command = consent(&bench, &charter, &keys[by]);
        bench.accept(command);
    }
    let seated = ids(&[&keys[0], &keys[1], &fourth]);
    assert_eq!(bench.accept(Command::Seat { charter: charter.digest(), seated }), Event::Seated);
    for stale in [early, late] {
        assert_eq!(bench.refuse(stale), Rejected::Vote(VoteRefused::NotAwaited));
    }
    let unseated = bench.vote(&id, 2, result.clone());
    assert_eq!(bench.refuse(unseated), Rejected::Vote(VoteRefused::NotAMember));
    let again = bench.vote(&id, 0, result.clone());
    assert_eq!(bench.accept(again), Event::Voted { job: id });
    let last = bench.vote(&id, 1, result);
    assert_eq!(bench.accept(last), Event::Finished { job: id });
    // Its receipt says who may have signed it.
    let statement = bench.statement(&bench.finished[0]);
    assert_eq!((bench.finished[0].charter, statement.predicate.mesh.amendments.len()), (1, 1));
}

/// A snapshot holds the charters, and is not believed if they do not follow.
#[test]
fn a_snapshot_brings_its_charters() {
    let mut bench = Bench::new(1);
    let keys = bench.members.clone();
    let (second, member) = newcomer(0x71);
    let charter = Charter { admitted: vec![member.clone()], ..with(&bench, &member) };
    let command = consent(&bench, &charter, &keys[0]);
    bench.accept(command);
    bench.accept(Command::Seat { charter: charter.digest(), seated: ids(&[&second]) });
    let genesis = bench.hub.genesis().clone();
    let restored = Hub::restore(genesis.clone(), &bench.hub.snapshot()).expect("it is whole");
    assert_eq!((restored.seated(), restored.charters()), (bench.hub.seated(), bench.hub.charters()));
    let mut state = bench.hub.state().clone();
    state.seating.amendments.clear();
    assert!(Hub::restore(genesis, &forgemesh_protocol::canon::to_bytes(&state)).is_err());
}
