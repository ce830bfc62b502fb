//! Invitations and admissions: a ticket admits one node, once, while it is good, and nobody else decides that.

use forgemesh_consensus::adjudicate::AttestationRefused;
use forgemesh_consensus::command::Command;
use forgemesh_consensus::enrolment::{Change, EnrolmentRefused};
use forgemesh_consensus::machine::{Event, Hub, Rejected};
use forgemesh_protocol::canon::Bytes;
use forgemesh_protocol::charter::Charter;
use forgemesh_protocol::enrolment::{Expulsion, Invitation, Join, Withdrawal, secret_digest};
use forgemesh_protocol::genesis::{HubMember, Parameters};
use forgemesh_protocol::hash::Hash;
use forgemesh_protocol::id::{MeshId, NodeId};
use forgemesh_protocol::keys::{KeyError, SecretKey, Signable, Signed};
use forgemesh_protocol::limits;

use super::bench::{Bench, mix};

pub(super) const SECRET: [u8; 32] = [0x51; 32];

pub(super) fn key(byte: u8) -> SecretKey {
    SecretKey::from_bytes(&[byte; 32])
}

pub(super) fn id(key: &SecretKey) -> NodeId {
    key.public().id()
}

/// A mesh that takes no strangers.
fn closed() -> Bench {
    Bench::with(2, Parameters { open: false, ..Parameters::default() })
}

fn invite_for(bench: &Bench, by: &SecretKey, secret: &[u8], ms: u64) -> Command {
    let expires_ms = bench.now_ms + ms;
    let body = Invitation { secret: secret_digest(secret), expires_ms, organization: None };
    Command::Invite { invitation: Signed::new(body, bench.hub.mesh(), by) }
}

pub(super) fn invite(bench: &Bench, secret: &[u8]) -> Command {
    invite_for(bench, &bench.members[1], secret, 60_000)
}

pub(super) fn join(bench: &Bench, node: &SecretKey, secret: &[u8]) -> Command {
    let expires_ms = bench.now_ms + limits::JOIN_TTL_MS;
    let body = Join { secret: Bytes(secret.to_vec()), name: "a node".to_owned(), expires_ms };
    Command::Enrol { join: Signed::new(body, bench.hub.mesh(), node) }
}

fn withdraw(bench: &Bench, by: &SecretKey, secret: &[u8]) -> Command {
    let body = Withdrawal { secret: secret_digest(secret) };
    Command::Withdraw { withdrawal: Signed::new(body, bench.hub.mesh(), by) }
}

pub(super) fn expel(bench: &Bench, by: &SecretKey, node: &SecretKey) -> Command {
    let admitted = bench.hub.state().enrolment.nodes.get(&id(node)).map_or(0, |found| found.index);
    let body = Expulsion { node: id(node), admitted };
    Command::Expel { expulsion: Signed::new(body, bench.hub.mesh(), by) }
}

fn refused(bench: &mut Bench, command: Command) -> EnrolmentRefused {
    match bench.refuse(command) {
        Rejected::Enrolment(reason) => reason,
        other => panic!("refused as an enrolment, not {other:?}"),
    }
}

/// A founder that the hub dismisses goes on as a node like any other: it is not a stranger all at once, and may be expelled.
#[test]
fn who_is_dismissed_stays_until_it_is_expelled() {
    let mut bench = Bench::with(2, Parameters { open: false, ..Parameters::default() });
    let keys = bench.members.clone();
    let current = bench.hub.charters().current().clone();
    let charter = Charter {
        version: 1,
        previous: current.digest(),
        seats: 1,
        admitted: vec![current.admitted[0].clone()],
    };
    let consents = keys.iter().map(|by| Signed::new(charter.clone(), bench.hub.mesh(), by));
    for charter in consents.collect::<Vec<_>>() {
        bench.accept(Command::Consent { charter });
    }
    let (stays, leaves) = (keys[0].public().id(), keys[1].public().id());
    assert!(bench.hub.state().enrolment.nodes.is_empty());
    // As long as the charter admits it, being on no list would keep nobody out.
    let too_early = expel(&bench, &keys[0], &keys[1]);
    assert_eq!(refused(&mut bench, too_early), EnrolmentRefused::OfTheHub);
    bench.accept(Command::Seat { charter: charter.digest(), seated: vec![stays] });
    assert!(bench.hub.charters().current().node(&leaves).is_none() && bench.hub.admits(&leaves));
    assert_eq!(
        bench.hub.state().enrolment.nodes.keys().collect::<Vec<_>>(),
        [&leaves],
        "the other is of the hub"
    );
    let expulsion = expel(&bench, &keys[0], &keys[1]);
    bench.accept(expulsion);
    assert!(!bench.hub.admits(&leaves));
}

/// A node that came by ticket and was promoted is on both lists: taken from one, it would be in the mesh by the other.
#[test]
fn who_was_promoted_is_expelled_only_after_it_was_dismissed() {
    let mut bench = closed();
    let (founders, node) = (bench.members.clone(), key(0x61));
    let command = invite(&bench, &SECRET);
    bench.accept(command);
    let asked = join(&bench, &node, &SECRET);
    bench.accept(asked);
    let current = bench.hub.charters().current().clone();
    let new = HubMember { key: node.public(), ..current.admitted[0].clone() };
    let admitted = [current.admitted.clone(), vec![new]].concat();
    let charter = Charter { version: 1, previous: current.digest(), seats: 3, admitted };
    for by in &founders {
        bench.accept(Command::Consent { charter: Signed::new(charter.clone(), bench.hub.mesh(), by) });
    }
    let seated = charter.admitted.iter().map(|member| member.key.id()).collect();
    bench.accept(Command::Seat { charter: charter.digest(), seated });
    let expulsion = expel(&bench, &founders[0], &node);
    assert_eq!(refused(&mut bench, expulsion), EnrolmentRefused::OfTheHub);
    assert!(bench.hub.state().enrolment.nodes.contains_key(&id(&node)));
}

#[test]
fn a_ticket_admits_one_node_once() {
    let mut bench = closed();
    assert!(!bench.hub.admits(&id(&key(0x61))));
    let command = invite(&bench, &SECRET);
    assert_eq!(bench.accept(command), Event::Enrolment(Change::Invited));
    let asked = join(&bench, &key(0x61), &SECRET);
    let admitted = Event::Enrolment(Change::Admitted(id(&key(0x61))));
    assert_eq!(bench.accept(asked.clone()), admitted);
    assert!(bench.hub.admits(&id(&key(0x61))));
    let nodes = bench.hub.state().enrolment.nodes.clone();
    // Its answer was lost: it asks again, and nothing changes.
    bench.now_ms += 10;
    assert_eq!(bench.accept(asked), admitted);
    let again = join(&bench, &key(0x61), &SECRET);
    assert_eq!(bench.accept(again), admitted);
    assert_eq!(bench.hub.state().enrolment.nodes, nodes);
    let second = join(&bench, &key(0x62), &SECRET);
    assert_eq!(refused(&mut bench, second), EnrolmentRefused::Used);
    assert!(!bench.hub.admits(&id(&key(0x62))));
}

#[test]
fn of_two_nodes_with_one_ticket_the_first_in_the_log_is_admitted() {
    for [first, second] in [[0x61, 0x62], [0x62, 0x61]] {
        let mut bench = closed();
        let command = invite(&bench, &SECRET);
        bench.accept(command);
        let (one, two) = (join(&bench, &key(first), &SECRET), join(&bench, &key(second), &SECRET));
        bench.accept(one);
        assert_eq!(refused(&mut bench, two), EnrolmentRefused::Used);
        assert!(bench.hub.admits(&id(&key(first))) && !bench.hub.admits(&id(&key(second))));
    }
}

#[test]
fn log_time_decides_whether_a_ticket_has_expired() {
    let mut bench = closed();
    let command = invite(&bench, &SECRET);
    bench.accept(command);
    let in_time = join(&bench, &key(0x61), &SECRET);
    bench.now_ms += 60_000;
    assert_eq!(refused(&mut bench, in_time.clone()), EnrolmentRefused::Expired);
    // A leader's clock that was set back does not bring it to life again.
    bench.now_ms -= 50_000;
    assert_eq!(refused(&mut bench, in_time), EnrolmentRefused::Expired);
    // It makes room for others, and is forgotten then.
    bench.now_ms += 60_000;
    let other = invite(&bench, &[0x52; 32]);
    bench.accept(other);
    assert!(!bench.hub.state().enrolment.invitations.contains_key(&secret_digest(&SECRET)));
    let late = join(&bench, &key(0x61), &SECRET);
    assert_eq!(refused(&mut bench, late), EnrolmentRefused::NoInvitation);
}

#[test]
fn a_revoked_ticket_admits_nobody_and_a_used_one_cannot_be_revoked() {
    let mut bench = closed();
    for secret in [SECRET, [0x52; 32]] {
        let command = invite(&bench, &secret);
        bench.accept(command);
    }
    let command = withdraw(&bench, &bench.members[0], &SECRET);
    assert_eq!(bench.accept(command.clone()), Event::Enrolment(Change::Withdrawn));
    assert_eq!(bench.accept(command), Event::Enrolment(Change::Withdrawn), "twice is once");
    let late = join(&bench, &key(0x61), &SECRET);
    assert_eq!(refused(&mut bench, late), EnrolmentRefused::Withdrawn);
    let used = join(&bench, &key(0x61), &[0x52; 32]);
    bench.accept(used);
    let command = withdraw(&bench, &bench.members[0], &[0x52; 32]);
    assert_eq!(refused(&mut bench, command), EnrolmentRefused::Spent);
    let command = withdraw(&bench, &bench.members[0], &[0x53; 32]);
    assert_eq!(refused(&mut bench, command), EnrolmentRefused::NoInvitation);
    // The revoked one cannot be given anew either.
    let command = invite(&bench, &SECRET);
    assert_eq!(refused(&mut bench, command), EnrolmentRefused::InvitedBefore);
}

#[test]
fn only_hub_members_invite_revoke_and_expel() {
    let mut bench = closed();
    let stranger = key(0x61);
    let command = invite_for(&bench, &stranger, &SECRET, 60_000);
    assert_eq!(refused(&mut bench, command), EnrolmentRefused::NotAMember);
    let command = invite(&bench, &SECRET);
    bench.accept(command);
    let used = join(&bench, &stranger, &SECRET);
    bench.accept(used);
    for command in [withdraw(&bench, &stranger, &SECRET), expel(&bench, &stranger, &stranger)] {
        assert_eq!(refused(&mut bench, command), EnrolmentRefused::NotAMember);
    }
}

#[test]
fn forged_words_are_refused() {
    let mut bench = closed();
    let bad = EnrolmentRefused::Signature(KeyError::BadSignature);
    let Command::Invite { mut invitation } = invite(&bench, &SECRET) else { unreachable!() };
    invitation.body.expires_ms += 1;
    assert_eq!(refused(&mut bench, Command::Invite { invitation }), bad);
    let command = invite(&bench, &SECRET);
    bench.accept(command);
    // Somebody else's key under another's request, and a request for another mesh.
    let Command::Enrol { join: asked } = join(&bench, &key(0x61), &SECRET) else { unreachable!() };
    let mut stolen = asked.clone();
    stolen.key = key(0x62).public();
    assert_eq!(refused(&mut bench, Command::Enrol { join: stolen }), bad);
    let elsewhere = Signed::new(asked.body.clone(), MeshId(Hash([1; 32])), &key(0x61));
    assert_eq!(refused(&mut bench, Command::Enrol { join: elsewhere }), bad);
    // A guessed secret, and one of another length.
    for secret in [vec![0x50; 32], vec![0x51; 31], Vec::new()] {
        let guessed = join(&bench, &key(0x61), &secret);
        assert_eq!(refused(&mut bench, guessed), EnrolmentRefused::NoInvitation);
    }
    let body = Join { name: "a\nb".to_owned(), ..asked.body.clone() };
    let named = Command::Enrol { join: Signed::new(body, bench.hub.mesh(), &key(0x61)) };
    assert_eq!(refused(&mut bench, named), EnrolmentRefused::Name);
    let body = Join { expires_ms: bench.now_ms - 1, ..asked.body };
    let stale = Command::Enrol { join: Signed::new(body, bench.hub.mesh(), &key(0x61)) };
    assert_eq!(refused(&mut bench, stale), EnrolmentRefused::Stale);
    assert!(bench.hub.state().enrolment.nodes.is_empty());
}

#[test]
fn an_expelled_node_needs_a_new_ticket_and_old_words_do_nothing() {
    let mut bench = closed();
    let node = key(0x61);
    let command = invite(&bench, &SECRET);
    bench.accept(command);
    let asked = join(&bench, &node, &SECRET);
    bench.accept(asked.clone());
    let expelled = expel(&bench, &bench.members[0], &node);
    assert_eq!(bench.accept(expelled.clone()), Event::Enrolment(Change::Expelled(id(&node))));
    assert!(!bench.hub.admits(&id(&node)));
    assert_eq!(refused(&mut bench, asked), EnrolmentRefused::Used, "its old request is replayed");
    assert_eq!(refused(&mut bench, expelled.clone()), EnrolmentRefused::NoNode);
    let command = invite(&bench, &[0x52; 32]);
    bench.accept(command);
    let again = join(&bench, &node, &[0x52; 32]);
    bench.accept(again);
    assert_eq!(refused(&mut bench, expelled), EnrolmentRefused::NoNode, "the old expulsion is replayed");
    assert!(bench.hub.admits(&id(&node)));
}

#[test]
fn invitations_are_bounded_in_time_and_number() {
    let mut bench = closed();
    for ms in [0, limits::INVITATION_TTL_MS + 1] {
        let command = invite_for(&bench, &bench.members[0], &SECRET, ms);
        assert_eq!(refused(&mut bench, command), EnrolmentRefused::Lifetime);
    }
    let command = invite(&bench, &SECRET);
    bench.accept(command);
    let full = bench.hub.state().enrolment.invitations[&secret_digest(&SECRET)].clone();
    bench.put_state(|state| {
        let invitations = &mut state.enrolment.invitations;
        for i in 1..limits::INVITATIONS as u64 {
            invitations.insert(Hash::blob(&i.to_le_bytes()), full.clone());
        }
    });
    let command = invite(&bench, &[0x52; 32]);
    assert_eq!(refused(&mut bench, command), EnrolmentRefused::TooManyInvitations);
    bench.now_ms += 60_000;
    let command = invite(&bench, &[0x52; 32]);
    bench.accept(command);
    assert_eq!(bench.hub.state().enrolment.invitations.len(), 1);
}

#[test]
fn in_a_closed_mesh_only_the_work_of_admitted_nodes_is_logged() {
    let mut bench = closed();
    let job = bench.submit(&mix("none"));
    let shards = bench.shards(&job);
    let attestation = bench.attestation(&job, shards.clone());
    let command = bench.sign(attestation);
    let not_admitted = Rejected::Attestation(AttestationRefused::NotAdmitted);
    assert_eq!(bench.refuse(command), not_admitted);
    let (agent, invited) = (bench.agent.clone(), invite(&bench, &SECRET));
    bench.accept(invited);
    let asked = join(&bench, &agent, &SECRET);
    bench.accept(asked);
    let attestation = bench.attestation(&job, shards[..1].to_vec());
    assert_eq!(bench.attest(attestation).0, 1);
    let command = expel(&bench, &bench.members[0], &agent);
    bench.accept(command);
    let attestation = bench.attestation(&job, shards[1..].to_vec());
    let command = bench.sign(attestation);
    assert_eq!(bench.refuse(command), not_admitted);
    // A hub member needs no ticket.
    assert!(bench.hub.admits(&bench.leader()));
}

#[test]
fn a_snapshot_from_before_there_were_invitations_is_read() {
    let mut bench = Bench::new(1);
    bench.submit(&mix("none"));
    let bytes = bench.hub.snapshot();
    assert!(
        !bytes.windows(9).any(|window| window == b"enrolment"),
        "a state without any says nothing of them"
    );
    let restored = Hub::restore(bench.hub.genesis().clone(), &bytes).expect("it restores");
    assert!(restored.state().enrolment.is_empty() && restored.admits(&id(&key(0x61))), "an open mesh");
}
