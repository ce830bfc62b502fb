//! To which organization a node belongs: the one it was invited for, until it is expelled; founders by the genesis.

use forgemesh_consensus::command::{Command, Entry};
use forgemesh_consensus::enrolment::{Admitted, EnrolmentRefused, Invited};
use forgemesh_consensus::machine::{Hub, Rejected};
use forgemesh_protocol::canon;
use forgemesh_protocol::charter::Charter;
use forgemesh_protocol::enrolment::Invitation;
use forgemesh_protocol::genesis::{HubMember, Parameters};
use forgemesh_protocol::hash::Hash;
use forgemesh_protocol::id::NodeId;
use forgemesh_protocol::keys::{KeyError, PublicKey, SecretKey, Signable, Signed};
use forgemesh_protocol::organization::Organization;
use serde::{Deserialize, Serialize};

use super::bench::Bench;
use super::enrolment::{SECRET, expel, id, invite, join, key};

fn of(name: &str) -> Organization {
    name.parse().expect("an organization")
}

/// A mesh of two founders that takes no strangers, and says this of its founders.
fn closed(founders: Option<&str>) -> Bench {
    Bench::with(2, Parameters { open: false, organization: founders.map(of), ..Parameters::default() })
}

fn invite_to(bench: &Bench, secret: &[u8], name: &str) -> Command {
    let Command::Invite { invitation } = invite(bench, secret) else { unreachable!() };
    let body = Invitation { organization: Some(of(name)), ..invitation.body };
    Command::Invite { invitation: Signed::new(body, bench.hub.mesh(), &bench.members[1]) }
}

/// Invites and admits.
fn admit(bench: &mut Bench, node: &SecretKey, secret: u8, name: Option<&str>) {
    let secret = [secret; 32];
    let invited = match name {
        Some(name) => invite_to(bench, &secret, name),
        None => invite(bench, &secret),
    };
    bench.accept(invited);
    let asked = join(bench, node, &secret);
    bench.accept(asked);
}

fn organization(bench: &Bench, node: &SecretKey) -> Option<String> {
    bench.hub.organization(&id(node)).map(ToString::to_string)
}

/// Has a quorum of both founders agree on who is admitted to the hub, and these sit.
fn amend(bench: &mut Bench, admitted: Vec<HubMember>) {
    let (current, keys) = (bench.hub.charters().current().clone(), bench.members.clone());
    let seated: Vec<NodeId> = admitted.iter().map(|member| member.key.id()).collect();
    let (version, previous) = (current.version + 1, current.digest());
    let charter = Charter { version, previous, seats: seated.len() as u64, admitted };
    for by in keys.iter().filter(|by| current.member(&by.public()).is_some()) {
        let charter = Signed::new(charter.clone(), bench.hub.mesh(), by);
        bench.accept(Command::Consent { charter });
    }
    bench.accept(Command::Seat { charter: charter.digest(), seated });
}

#[test]
fn a_node_belongs_to_what_it_was_invited_for_until_it_is_expelled() {
    let mut bench = closed(None);
    let (acme, plain) = (key(0x61), key(0x62));
    assert_eq!(organization(&bench, &acme), None, "a stranger");
    admit(&mut bench, &acme, 0x51, Some("acme"));
    admit(&mut bench, &plain, 0x52, None);
    assert_eq!(organization(&bench, &acme).as_deref(), Some("acme"));
    assert_eq!(organization(&bench, &plain), None, "invited for none");
    let founder = bench.members[0].clone();
    assert_eq!(organization(&bench, &founder), None, "the genesis says nothing");
    // A snapshot keeps it.
    let restored = Hub::restore(bench.hub.genesis().clone(), &bench.hub.snapshot()).expect("it restores");
    assert_eq!(restored.organization(&id(&acme)), Some(&of("acme")));
    let expelled = expel(&bench, &founder, &acme);
    bench.accept(expelled);
    assert_eq!(organization(&bench, &acme), None, "expelled");
    // Admitted again it is what the new invitation says, and a newer one goes before.
    admit(&mut bench, &acme, 0x53, None);
    assert_eq!(organization(&bench, &acme), None);
    admit(&mut bench, &acme, 0x54, Some("other"));
    assert_eq!(organization(&bench, &acme).as_deref(), Some("other"));
}

#[test]
fn the_word_for_it_is_the_members_alone() {
    let mut bench = closed(None);
    let Command::Invite { mut invitation } = invite_to(&bench, &SECRET, "acme") else { unreachable!() };
    let bad = Rejected::Enrolment(EnrolmentRefused::Signature(KeyError::BadSignature));
    for forged in [None, Some(of("other"))] {
        invitation.body.organization = forged;
        assert_eq!(bench.refuse(Command::Invite { invitation: invitation.clone() }), bad);
    }
}

#[test]
fn founders_belong_to_what_the_genesis_says_and_others_to_their_invitations() {
    let mut bench = closed(Some("acme"));
    let (one, two) = (bench.members[0].clone(), bench.members[1].clone());
    assert_eq!(organization(&bench, &one).as_deref(), Some("acme"));
    assert_eq!(organization(&bench, &two).as_deref(), Some("acme"));
    let (promoted, plain) = (key(0x61), key(0x62));
    admit(&mut bench, &promoted, 0x51, Some("other"));
    admit(&mut bench, &plain, 0x52, None);
    // Who is promoted stays what it was invited as, and none, if it was invited for none.
    let member = |secret: &SecretKey| HubMember {
        key: secret.public(),
        beacon_anchor: Hash([9; 32]),
        beacon_length: 8,
    };
    let mut admitted = bench.hub.charters().current().admitted.clone();
    admitted.push(member(&promoted));
    amend(&mut bench, admitted.clone());
    assert_eq!(organization(&bench, &promoted).as_deref(), Some("other"));
    // A founder that is dismissed is still of its organization; expelled, of none. Nor is who takes its seat of any.
    admitted.retain(|member| member.key != two.public());
    admitted.push(member(&plain));
    amend(&mut bench, admitted);
    assert_eq!(organization(&bench, &two).as_deref(), Some("acme"));
    let expelled = expel(&bench, &one, &two);
    bench.accept(expelled);
    assert_eq!((organization(&bench, &two), bench.hub.admits(&id(&two))), (None, false));
    assert_eq!(organization(&bench, &plain), None);
}

/// The shapes from before there were organizations.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct OldInvitation {
    secret: Hash,
    expires_ms: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct OldInvited {
    by: NodeId,
    at_ms: u64,
    expires_ms: u64,
    used_by: Option<NodeId>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct OldAdmitted {
    key: PublicKey,
    name: String,
    at_ms: u64,
    index: u64,
    invitation: Hash,
}

/// Old bytes are read as naming none, and are written as they were.
#[test]
fn bytes_without_an_organization_mean_what_they_did() {
    fn same<New: Serialize + serde::de::DeserializeOwned>(old: &impl Serialize) -> New {
        let bytes = canon::to_bytes(old);
        let read: New = canon::from_bytes(&bytes, 1_000).expect("old bytes are read");
        assert_eq!(canon::to_bytes(&read), bytes);
        read
    }
    let (by, secret) = (id(&key(1)), Hash([2; 32]));
    let invitation: Invitation = same(&OldInvitation { secret, expires_ms: 5 });
    let invited: Invited = same(&OldInvited { by, at_ms: 4, expires_ms: 5, used_by: Some(by) });
    let (key, name) = (key(1).public(), "a node".to_owned());
    let admitted: Admitted = same(&OldAdmitted { key, name, at_ms: 4, index: 3, invitation: secret });
    assert_eq!((invitation.organization, invited.organization, admitted.organization), (None, None, None));
    // So of a log and a state of nodes that were invited for none.
    let mut bench = closed(None);
    admit(&mut bench, &self::key(0x61), 0x51, None);
    let entry = Entry { index: 0, term: 1, at_ms: 0, command: invite(&bench, &[0x52; 32]) };
    for bytes in [entry.encode(), bench.hub.snapshot()] {
        assert!(!bytes.windows(12).any(|window| window == b"organization"));
    }
}
