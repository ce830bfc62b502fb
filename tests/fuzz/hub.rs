//! What stands in the replicated log, in snapshots and in records, as it comes from another member or from the disk.

use std::collections::BTreeSet;

use forgemesh_consensus::adjudicate::ChainHead;
use forgemesh_consensus::command::{Command, Entry};
use forgemesh_consensus::enrolment::{Admitted, Invited};
use forgemesh_consensus::job::JobRecord;
use forgemesh_consensus::machine::{Hub, HubState};
use forgemesh_consensus::raft::message::{Answer, Append, Ask, Body, Chunk, Message};
use forgemesh_consensus::raft::{Ballot, Head, Logged, LoggedError, Members, Payload, Place, Proposal};
use forgemesh_consensus::settle::FinishedJob;
use forgemesh_node::job_file::JobFile;
use forgemesh_protocol::canon::{self, Bytes};
use forgemesh_protocol::charter::Charter;
use forgemesh_protocol::genesis::Genesis;
use forgemesh_protocol::hash::Hash;
use forgemesh_protocol::id::{JobId, NodeId};
use forgemesh_protocol::keys::Signed;
use forgemesh_protocol::ledger::LedgerEntry;
use forgemesh_protocol::limits;
use forgemesh_protocol::state::State;

use crate::damage::Form;
use crate::examples::{ended, node, signed, value};
use crate::memory::measure;
use crate::trial::{Examples, try_all};

fn commands() -> Vec<Command> {
    let (job, attestation) = (ended().record().id, Hash([4; 32]));
    vec![
        Command::Submit { submission: signed("submission") },
        Command::Start { job },
        Command::Attest { attestation: signed("attestation") },
        Command::Reveal { member: node(1), value: Hash([5; 32]) },
        Command::Pass { member: node(1) },
        Command::Judge { verdict: signed("verdict") },
        Command::Vote { vote: signed("vote_final") },
        Command::Discard { job, attestation },
        Command::Invite { invitation: signed("invitation") },
        Command::Invite { invitation: signed("invitation_of_an_organization") },
        Command::Enrol { join: signed("join") },
        Command::Consent { charter: signed("charter") },
        Command::Seat { charter: Hash([6; 32]), seated: (1..4).map(node).collect() },
    ]
}

fn members() -> Members {
    let set = |numbers: std::ops::Range<u8>| numbers.map(node).collect::<BTreeSet<_>>();
    Members { voters: vec![set(0..5), set(2..5)], learners: set(8..14) }
}

#[test]
fn entries_of_the_log() {
    let entry = |command| Entry { index: 70, term: 3, at_ms: 1_700_000_000_000, command };
    let valid = commands().into_iter().map(|command| entry(command).encode()).collect();
    let examples = Examples { name: "entries_of_the_log", form: Form::Cbor, valid };
    try_all(&examples, Entry::decode, |entry| Some(entry.encode()));
}

#[test]
fn entries_as_members_replicate_them() {
    let logged = |payload| Logged { index: 70, term: 3, payload };
    let command =
        |command: Command| Payload::Command(Proposal { at_ms: 1_700_000_000_000, command: command.into() });
    let mut valid: Vec<Logged> = commands().into_iter().map(|given| logged(command(given))).collect();
    valid.extend([logged(Payload::Blank), logged(Payload::Members(members()))]);
    let valid = valid.iter().map(Logged::encode).collect();
    let examples = Examples { name: "entries_as_members_replicate_them", form: Form::Cbor, valid };
    try_all(&examples, Logged::decode, |logged| Some(logged.encode()));
}

/// With what a follower makes of the entries in one.
#[test]
fn messages_of_members() {
    let place = Place { term: 2, index: 6 };
    let ballot = Ballot { term: 3, member: Some(node(2)), elected: true };
    let payloads = commands()
        .into_iter()
        .map(|command| Payload::Command(Proposal { at_ms: 1_700_000_000_000, command: command.into() }))
        .chain([Payload::Blank, Payload::Members(members())]);
    let entries =
        (7..).zip(payloads).map(|(index, payload)| Bytes(Logged { index, term: 3, payload }.encode()));
    let append = |entries| Append {
        term: 3,
        previous: Some(place),
        entries,
        committed: Some(Place { term: 1, index: 2 }),
    };
    let chunk = Chunk { term: 3, length: 900, hash: Hash([8; 32]), offset: 300, part: Bytes(vec![5; 300]) };
    let full = append(entries.collect());
    assert!(full.clone().request(node(1)).is_ok(), "a follower takes them");
    let bodies = [
        Body::Ask(Ask::Append(full)),
        Body::Ask(Ask::Append(append(Vec::new()))),
        Body::Ask(Ask::Elect { term: 3, last: Some(place) }),
        Body::Ask(Ask::Chunk(chunk)),
        Body::Answer(Answer::Appended),
        Body::Answer(Answer::Conflict),
        Body::Answer(Answer::Higher(ballot)),
        Body::Answer(Answer::Voted { granted: true, ballot, last: Some(place) }),
        Body::Answer(Answer::Next(300)),
        Body::Answer(Answer::Installed(ballot)),
    ];
    let valid = bodies.map(|body| Message { life: 1, number: 2, body }.encode().0).into();
    let examples = Examples { name: "messages_of_members", form: Form::Cbor, valid };
    let decode = |bytes: &[u8]| {
        let message = Message::decode(bytes)?;
        let taken = match &message.body {
            Body::Ask(Ask::Append(append)) => Some(append.clone().request(node(1))),
            _ => None,
        };
        // Entries that are refused are no error of the message; those that are taken are in memory beside it.
        Ok::<_, LoggedError>((message, taken))
    };
    try_all(&examples, decode, |(message, _)| Some(message.encode().0));
}

#[test]
fn votes_of_members() {
    let ballots = [None, Some(node(2))].map(|member| Ballot { term: 9, member, elected: member.is_some() });
    let valid = ballots.iter().map(canon::to_bytes).collect();
    let examples = Examples { name: "votes_of_members", form: Form::Cbor, valid };
    try_all(&examples, Ballot::decode, |ballot| Some(canon::to_bytes(ballot)));
}

#[test]
fn heads_of_snapshots() {
    let head =
        Head { last: Place { term: 3, index: 90 }, members: members(), since: Place { term: 1, index: 0 } };
    let valid = vec![head.encode(b"the state")];
    let examples = Examples { name: "heads_of_snapshots", form: Form::Bytes, valid };
    let split = |bytes: &[u8]| Head::split(bytes).map(|(head, state)| (head, state.to_vec()));
    try_all(&examples, split, |(head, state)| Some(head.encode(state)));
}

/// A hub at work: an open job, agents, invitations.
fn state() -> (Genesis, HubState) {
    let genesis: Genesis = value("genesis");
    let mut state = Hub::new(genesis.clone()).state().clone();
    let record = ended().record();
    for number in 0..50 {
        state.seen.insert(JobId(Hash([number; 32])), 1_700_000_000_000);
        state.chains.insert(node(number), ChainHead { seq: 3, digest: Hash([number; 32]) });
    }
    state.consents.insert(node(1), signed("charter"));
    let organization = Some("acme".parse().expect("an organization"));
    for number in 0..20 {
        let (used_by, organization) = (Some(node(number)), organization.clone());
        let (by, expires_ms) = (node(1), 1_700_000_000_000);
        let invited = Invited { by, at_ms: 5, expires_ms, used_by, withdrawn: false, organization };
        state.enrolment.invitations.insert(Hash([number; 32]), invited);
    }
    let charter: Signed<Charter> = signed("charter");
    let name = "a node".to_owned();
    let invitation = Hash([1; 32]);
    let admitted = Admitted { key: charter.key, name, at_ms: 5, index: 6, invitation, organization };
    state.enrolment.nodes.insert(charter.key.id(), admitted);
    state.open.insert(record.id, JobRecord { state: State::Running, ..record });
    (genesis, state)
}

#[test]
fn snapshots_of_the_hub() {
    let (genesis, state) = state();
    let valid = vec![canon::to_bytes(&state), Hub::new(genesis.clone()).snapshot()];
    let examples = Examples { name: "snapshots_of_the_hub", form: Form::Cbor, valid };
    try_all(&examples, |bytes| Hub::restore(genesis.clone(), bytes), |hub| Some(hub.snapshot()));
}

#[test]
fn records_of_jobs() {
    let record = ended().record();
    let examples = Examples { name: "records_of_jobs", form: Form::Cbor, valid: vec![record.encode()] };
    try_all(&examples, JobRecord::decode, |record| Some(record.encode()));
}

/// What honest agents have made is read, however small its parts are: a hub that could not read its own state again would
/// not start.
#[test]
fn very_many_small_batches_are_read() {
    let (genesis, mut state) = state();
    let mut record = ended().record();
    let mut batch = record.batches.first().expect("one").clone();
    // Neither revealed nor judged: the shortest there is.
    (batch.reveal, batch.verdict) = (None, None);
    // A list that has just grown; as many shards as there are of a byte or two each, and more than a batch may have.
    let counts = [(16_385, 1), (4_097, 23), (500, 256), (40, 4_000)];
    for (batches, shards) in counts {
        batch.attestation.body.shards = (0..shards).collect();
        batch.credited = (0..shards).collect();
        record.batches = vec![batch.clone(); batches];
        let bytes = record.encode();
        let (read, taken) = measure(|| JobRecord::decode(&bytes));
        let told = format!("{batches} batches of {shards}, {} bytes: {taken} taken", bytes.len());
        assert!(read.as_ref().is_ok_and(|read| *read == record), "{told}, {:?}", read.err());
        assert!(taken <= bytes.len() * limits::DECODED_FACTOR + limits::DECODED_BYTES, "{told}");
        println!("{told}");
        // The plan has this one alone of the shards.
        if shards == 1 {
            state.open.insert(record.id, JobRecord { state: State::Running, ..record.clone() });
            let hub = Hub::restore(genesis.clone(), &canon::to_bytes(&state));
            assert!(hub.as_ref().is_ok_and(|hub| *hub.state() == state), "{told}, {:?}", hub.err());
        }
    }
}

/// As many jobs, invitations and nodes as a hub may hold, and short ones.
#[test]
fn a_full_hub_reads_its_own_snapshot() {
    let (genesis, mut state) = state();
    let hash = |number: usize| {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&(number as u64).to_be_bytes());
        Hash(bytes)
    };
    let mut record = ended().record();
    // None of it is begun.
    record.state = State::Planned;
    record.batches.clear();
    record.votes.clear();
    record.attested = forgemesh_consensus::shard_set::ShardSet::default();
    state.open = (0..limits::OPEN_JOBS)
        .map(|job| (JobId(hash(job)), JobRecord { id: JobId(hash(job)), ..record.clone() }))
        .collect();
    let invited = state.enrolment.invitations.values().next().expect("one").clone();
    let short = Invited { used_by: None, organization: None, ..invited };
    state.enrolment.invitations = (0..limits::INVITATIONS).map(|one| (hash(one), short.clone())).collect();
    let admitted = state.enrolment.nodes.values().next().expect("one").clone();
    let short = Admitted { name: String::new(), organization: None, ..admitted };
    state.enrolment.nodes = (0..limits::AGENTS).map(|one| (NodeId(hash(one)), short.clone())).collect();
    let head = |one: usize| (NodeId(hash(one)), ChainHead { seq: 1, digest: hash(one) });
    state.chains = (0..limits::AGENTS).map(head).collect();
    let bytes = canon::to_bytes(&state);
    let (hub, taken) = measure(|| Hub::restore(genesis, &bytes));
    let told = format!("{} bytes: {taken} taken", bytes.len());
    assert!(hub.as_ref().is_ok_and(|hub| *hub.state() == state), "{told}, {:?}", hub.err());
    assert!(taken <= bytes.len() * limits::DECODED_FACTOR + limits::DECODED_BYTES, "{told}");
    println!("{told}");
}

#[test]
fn final_jobs_as_the_books_are_handed_on() {
    let file = ended().file();
    let examples = Examples { name: "final_jobs", form: Form::Cbor, valid: vec![file.finished.encode()] };
    try_all(&examples, FinishedJob::decode, |finished| Some(finished.encode()));
    let examples = Examples { name: "job_files", form: Form::Cbor, valid: vec![file.encode()] };
    try_all(&examples, JobFile::decode, |file| Some(file.encode()));
    let valid = vec![canon::to_bytes(&file.finished.entry)];
    let examples = Examples { name: "ledger_entries", form: Form::Cbor, valid };
    let decode = |bytes: &[u8]| canon::from_bytes::<LedgerEntry>(bytes, limits::COMMAND_BYTES);
    try_all(&examples, decode, |entry| Some(canon::to_bytes(entry)));
}
