//! What nodes say to each other, and everything that is signed.

use std::fmt::Debug;

use forgemesh_protocol::artifact::{Outliner, Pin};
use forgemesh_protocol::attestation::{Attestation, Claim, decode_claims};
use forgemesh_protocol::base64;
use forgemesh_protocol::cancellation::Cancellation;
use forgemesh_protocol::canon::{self, Bytes};
use forgemesh_protocol::challenge::{LeafRef, Verdict};
use forgemesh_protocol::charter::{Amendment, Charter, Consent, Seating};
use forgemesh_protocol::contract::{Contract, ResultBody};
use forgemesh_protocol::enrolment::{Expulsion, Invitation, Join, Withdrawal};
use forgemesh_protocol::envelope::BillingMode;
use forgemesh_protocol::genesis::Genesis;
use forgemesh_protocol::hash::{Domain, Hash};
use forgemesh_protocol::id::{JobId, NodeId};
use forgemesh_protocol::keys::{Signable, Signed};
use forgemesh_protocol::lease::Lease;
use forgemesh_protocol::limits;
use forgemesh_protocol::op::Op;
use forgemesh_protocol::plan::{Plan, StageRun};
use forgemesh_protocol::submission::Submission;
use forgemesh_protocol::ticket::Ticket;
use forgemesh_protocol::vote::{Outcome, ReductionVote};
use forgemesh_protocol::wire::{
    Answer, Attested, Challenge, Delivery, Hello, Holding, Keeping, KeptPage, LeaseOffer, Message, Outlined,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::damage::Form;
use crate::examples::{ended, golden, node, secret, signed, value, word};
use crate::trial::{Examples, try_all, try_dressed};

fn job() -> JobId {
    JobId(Hash([2; 32]))
}

fn run() -> StageRun {
    match value::<ReductionVote>("vote_next").outcome {
        Outcome::Next(run) => run,
        other => panic!("the frozen vote is {other:?}"),
    }
}

fn hello() -> Hello {
    let holding = |ranges: u64| Holding {
        job: job(),
        stage: 1,
        input: Some(Hash([3; 32])),
        shards: (0..ranges).map(|at| 3 * at..3 * at + 2).collect(),
    };
    Hello {
        capacity: 8,
        backend: "cpu/avx512".to_owned(),
        accepts: 400,
        holds: vec![holding(1), holding(300), holding(3)],
        ops: vec![Op::new("mc", 1, "reserve.v1"); 3],
        seating: 2,
        candidacy: value::<Genesis>("genesis").hub.first().cloned(),
        books: 5_000,
        region: Some("eu-west".parse().expect("a region")),
        billing: vec![BillingMode::Billable],
        clients: Some((0..20).map(node).collect()),
        organizations: ["acme", "risk.example.org"].map(|name| name.parse().expect("a name")).to_vec(),
    }
}

fn seating() -> Seating {
    let charter: Signed<Charter> = signed("charter");
    let consent = Consent { key: charter.key, signature: charter.signature };
    let amendment = Amendment { charter: charter.body, consents: vec![consent; 3] };
    Seating { number: 4, seated: vec![node(1), node(2), node(3)], amendments: vec![amendment; 3] }
}

fn challenge() -> Challenge {
    Challenge {
        attestation: signed("attestation"),
        members: Bytes(claims()),
        contract: value("contract"),
        run: run(),
        leaves: (0..40).map(|leaf| LeafRef { shard: leaf / 8, leaf }).collect(),
    }
}

fn claims() -> Vec<u8> {
    canon::to_bytes(&vec![value::<Claim>("claim"); 30])
}

/// One of each.
fn messages() -> Vec<Message> {
    let (attestation, submission) =
        (signed::<Attestation>("attestation"), signed::<Submission>("submission"));
    let lease = attestation.body.leases.first().expect("one").clone();
    let offer = |lease| LeaseOffer {
        lease,
        contract: value("contract"),
        run: run(),
        submission: Some(Box::new(signed("submission_with_regions"))),
    };
    let signature = ended().receipt().0.signatures.first().expect("one").clone();
    let mut outliner = Outliner::default();
    outliner.push(&vec![7; limits::PIECE_BYTES]);
    outliner.push(&[8; 900]);
    let pin = Pin { artifact: Hash([9; 32]), length: 1, until_ms: 5 };
    let mesh = forgemesh_protocol::id::MeshId(Hash([1; 32]));
    let outlined = Outlined {
        artifact: Hash([9; 32]),
        outline: outliner.finish().1,
        last: Bytes(vec![8; 900]),
        pin: Some(Signed::new(pin, mesh, &secret())),
    };
    let keeping = Keeping { artifact: Hash([9; 32]), pinned_by: Some(NodeId(Hash([2; 32]))) };
    let page = KeptPage { after: None, artifacts: vec![keeping; 20], through: Some(Hash([9; 32])) };
    let answer = Answer { refused: false, json: Bytes(b"{}".to_vec()), attached: Bytes(vec![7; 5_000]) };
    let attested = Attested { attestation, members: Bytes(claims()) };
    vec![
        Message::Hello(Box::new(hello())),
        Message::Lease(Box::new(offer(lease))),
        Message::Lease(Box::new(offer(signed("lease_of_an_organization")))),
        Message::Recall(hello().holds.remove(1)),
        Message::Over { job: job() },
        Message::ShardFailed { job: job(), stage: 1, shard: 300, attempt: 2, detail: "it failed".to_owned() },
        Message::Attest(Box::new(attested.clone())),
        Message::Deliver(Box::new(Delivery { attested, blobs: vec![Bytes(vec![6; 40]); 20] })),
        Message::Logged { seq: 70_000, digest: Hash([4; 32]) },
        Message::Fetch { blobs: (0..100).map(|number| Hash([number; 32])).collect() },
        Message::Blob { bytes: Bytes(vec![5; 70_000]) },
        Message::NoBlob { blob: Hash([5; 32]) },
        Message::Check(Box::new(challenge())),
        Message::Checking { attestation: Hash([6; 32]) },
        Message::Open(Box::new(challenge())),
        Message::Opening { attestation: Hash([6; 32]) },
        Message::Opened { job: job(), attestation: Hash([6; 32]), openings: vec![Bytes(vec![8; 90]); 300] },
        Message::Judge(Box::new(signed("verdict"))),
        Message::Vote(Box::new(signed("vote_final"))),
        Message::Signed { job: job(), signature },
        Message::Sign { job: job() },
        Message::Reveal { value: Hash([9; 32]) },
        Message::Submit(Box::new(submission)),
        Message::Cancel(Box::new(Signed::new(
            Cancellation { job: job() },
            forgemesh_protocol::id::MeshId(Hash([1; 32])),
            &secret(),
        ))),
        Message::Invite(Box::new(signed("invitation"))),
        Message::Invite(Box::new(signed("invitation_of_an_organization"))),
        Message::Withdraw(Box::new(signed("withdrawal"))),
        Message::Expel(Box::new(signed("expulsion"))),
        Message::Answered { request: Hash([7; 32]), refused: Some("no room".to_owned()) },
        Message::Led { term: 3, books: 900 },
        Message::Books { from: 12 },
        Message::Book { file: Bytes(ended().file().encode()) },
        Message::WhoSits { known: 3 },
        Message::Announced { job: job() },
        Message::Bring { job: job() },
        Message::ReadIndex { number: 4 },
        Message::ReadAt { number: 4, next: 17 },
        Message::Outline { artifact: Hash([9; 32]) },
        Message::Outlined(Box::new(outlined)),
        Message::Piece { artifact: Hash([9; 32]), index: 3 },
        Message::Pieced { artifact: Hash([9; 32]), index: 3, bytes: Bytes(vec![7; 900]) },
        Message::NoArtifact { artifact: Hash([9; 32]) },
        Message::Where { artifact: Hash([9; 32]) },
        Message::At { artifact: Hash([9; 32]), nodes: vec![NodeId(Hash([2; 32])); 3] },
        Message::Keeping { after: Some(Hash([9; 32])) },
        Message::Kept(Box::new(page)),
        Message::Keep { artifact: Hash([9; 32]), sources: vec![NodeId(Hash([2; 32])); 3] },
        Message::Belongs { node: NodeId(Hash([2; 32])) },
        Message::Belonging { node: NodeId(Hash([2; 32])), belongs: true },
        Message::Seating(Box::new(seating())),
        Message::Consent(Box::new(signed("charter"))),
        Message::Raft { bytes: Bytes(vec![1; 600]) },
        Message::Join(Box::new(signed("join"))),
        Message::Joined { join: Hash([8; 32]) },
        Message::Refused { join: Hash([8; 32]), reason: "no".to_owned() },
        Message::Ask { number: 9, body: Bytes(br#"{"do":"jobs"}"#.to_vec()) },
        Message::Answer { number: 9, answer: Box::new(answer) },
    ]
}

#[test]
fn messages_of_nodes() {
    let valid = messages().iter().map(Message::encode).collect();
    let examples = Examples { name: "messages_of_nodes", form: Form::Cbor, valid };
    try_all(&examples, Message::decode, |message| Some(message.encode()));
}

/// A structure of its own, as it is decoded wherever it arrives.
fn plain<T: Serialize + DeserializeOwned + Debug>(name: &'static str, limit: usize, valid: Vec<Vec<u8>>) {
    let examples = Examples { name, form: Form::Cbor, valid };
    try_all(&examples, |bytes| canon::from_bytes::<T>(bytes, limit), |value| Some(canon::to_bytes(value)));
}

/// One that is signed.
fn sealed<T: Serialize + DeserializeOwned + Debug + Signable>(name: &'static str, vectors: &[&str]) {
    let valid = vectors.iter().map(|vector| canon::to_bytes(&signed::<T>(vector))).collect();
    plain::<Signed<T>>(name, limits::CONTROL_BYTES, valid);
}

#[test]
fn signed_submissions() {
    sealed::<Submission>("signed_submissions", &["submission", "submission_with_regions"]);
}

#[test]
fn signed_leases_attestations_verdicts_and_votes() {
    sealed::<Lease>("signed_leases", &["lease", "lease_of_an_organization"]);
    sealed::<Attestation>("signed_attestations", &["attestation"]);
    sealed::<Verdict>("signed_verdicts", &["verdict"]);
    sealed::<ReductionVote>("signed_votes", &["vote_next", "vote_final"]);
}

#[test]
fn signed_words_about_who_belongs() {
    sealed::<Invitation>("signed_invitations", &["invitation", "invitation_of_an_organization"]);
    sealed::<Withdrawal>("signed_withdrawals", &["withdrawal"]);
    sealed::<Join>("signed_joins", &["join"]);
    sealed::<Expulsion>("signed_expulsions", &["expulsion"]);
    sealed::<Charter>("signed_charters", &["charter"]);
}

#[test]
fn contracts_plans_and_results() {
    plain::<Contract>("contracts", limits::ENVELOPE_BYTES, vec![golden("contract")]);
    plain::<Plan>("plans", limits::ENVELOPE_BYTES, vec![golden("plan"), golden("plan_with_looks")]);
    plain::<ResultBody>(
        "results",
        limits::ENVELOPE_BYTES,
        vec![golden("result"), golden("result_converged")],
    );
}

#[test]
fn amendments() {
    let valid = seating().amendments.iter().map(canon::to_bytes).collect();
    plain::<Amendment>("amendments", limits::RECEIPT_BYTES, valid);
}

#[test]
fn claims_of_a_batch() {
    let few = canon::to_bytes(&vec![value::<Claim>("claim"); 2]);
    let examples = Examples { name: "claims_of_a_batch", form: Form::Cbor, valid: vec![claims(), few] };
    try_all(&examples, decode_claims, |claims| Some(canon::to_bytes(claims)));
}

#[test]
fn geneses() {
    let valid = ["genesis", "genesis_invited", "genesis_of_an_organization"].map(golden).to_vec();
    let examples = Examples { name: "geneses", form: Form::Cbor, valid };
    try_all(&examples, Genesis::decode, |genesis| Some(canon::to_bytes(genesis)));
}

/// The line of a ticket with this content.
fn ticket(content: &[u8]) -> Vec<u8> {
    let check = Hash::of(Domain::TICKET_CHECK, content).0;
    format!("fmt1{}", base64::encode_url(&[content, &check[..4]].concat())).into_bytes()
}

fn read_ticket(line: &[u8]) -> Result<Ticket, String> {
    let text = std::str::from_utf8(line).map_err(|error| error.to_string())?;
    Ticket::read(text, 0).map_err(|error| error.to_string())
}

#[test]
fn tickets_as_they_are_pasted() {
    let valid = ["ticket", "ticket_of_an_organization"].map(|name| word(name).as_bytes().to_vec()).to_vec();
    let examples = Examples { name: "tickets_as_they_are_pasted", form: Form::Text, valid };
    try_all(&examples, read_ticket, |_| None);
}

#[test]
fn tickets_with_a_true_checksum() {
    let content = |name| {
        let line = word(name).strip_prefix("fmt1").expect("the ticket's prefix");
        let bytes = base64::decode_url(line).expect("base64");
        bytes[..bytes.len() - 4].to_vec()
    };
    let valid = ["ticket", "ticket_of_an_organization"].map(content).to_vec();
    let examples = Examples { name: "tickets_with_a_true_checksum", form: Form::Cbor, valid };
    try_dressed(&examples, ticket, read_ticket, |_| None);
}
