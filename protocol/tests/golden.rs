//! Every signed thing and every derived id, frozen: canonical bytes, digest and signature of one example each.
//! `FORGEMESH_BLESS=1` writes the vectors; a change that needs it breaks every receipt there is.

use forgemesh_protocol::artifact::{Outline, Pin};
use forgemesh_protocol::attestation::{Attestation, Claim};
use forgemesh_protocol::canon::{self, Bytes, F64};
use forgemesh_protocol::challenge::{
    CheckOutcome, Draw, LeafRef, Mismatch, MismatchKind, Verdict, beacon_step, drawn_digest,
};
use forgemesh_protocol::charter::Charter;
use forgemesh_protocol::contract::{
    Contract, Convergence, Coverage, Excluded, ResultBody, StopReason, Work, replay_key,
};
use forgemesh_protocol::enrolment::{Expulsion, Invitation, Join, Withdrawal, secret_digest};
use forgemesh_protocol::envelope::{ArtifactKind, Seed, SeedMode, Verify};
use forgemesh_protocol::genesis::{Genesis, HubMember, Parameters};
use forgemesh_protocol::hash::{Domain, Hash};
use forgemesh_protocol::id::{JobId, MeshId, NodeId};
use forgemesh_protocol::keys::{SecretKey, Signable, Signed};
use forgemesh_protocol::lease::Lease;
use forgemesh_protocol::op::Op;
use forgemesh_protocol::organization::Organization;
use forgemesh_protocol::plan::{Plan, ShardTask, Stage, StageInput, StageKind, StageRun};
use forgemesh_protocol::region::Regions;
use forgemesh_protocol::submission::{Offer, Submission};
use forgemesh_protocol::ticket::Ticket;
use forgemesh_protocol::vote::{Artifact, FinalResult, Outcome, ReductionVote};
use forgemesh_protocol::wire::{Attested, Delivery, Hello, Keeping, KeptPage, Message, Outlined};
use serde::Serialize;

const MESH: MeshId = MeshId(Hash([1; 32]));
const JOB: JobId = JobId(Hash([2; 32]));

fn secret() -> SecretKey {
    SecretKey::from_bytes(&[7; 32])
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn signed<T: Signable + Clone>(name: &str, body: &T) -> String {
    let signed = Signed::new(body.clone(), MESH, &secret());
    assert_eq!(signed.verify(MESH), Ok(()));
    format!("{name} {} {} {}", hex(&canon::to_bytes(body)), body.digest(), hex(&signed.signature.0))
}

fn plain<T: Serialize>(name: &str, value: &T, digest: Hash) -> String {
    format!("{name} {} {digest}", hex(&canon::to_bytes(value)))
}

fn message(name: &str, message: Message) -> String {
    let bytes = message.encode();
    assert_eq!(Message::decode(&bytes), Ok(message));
    format!("message_{name} {}", hex(&bytes))
}

fn contract() -> Contract {
    let seed = Seed { mode: SeedMode::Explicit, value: Some("RAA".to_owned()) };
    Contract { op: Op::new("mc", 1, "reserve.v1"), args: Bytes(vec![0xa0]), seed }
}

fn run() -> StageRun {
    let stage = Stage { kind: StageKind::Main, first_leaf: 64, leaves: 100, leaves_per_shard: 8 };
    let input = StageInput { source: Hash([3; 32]), brackets: Bytes(vec![1, 2, 3]) };
    StageRun { number: 1, stage, input: Some(input) }
}

fn lease(agent: NodeId) -> Lease {
    Lease {
        job: JOB,
        stage: 1,
        first_shard: 3,
        shards: 4,
        agent,
        attempt: 1,
        term: 1,
        expires_ms: 1_700_000_000_000,
        input: None,
        organization: None,
    }
}

fn convergence() -> Convergence {
    Convergence {
        reason: StopReason::Converged,
        looks: 12,
        confidence: F64::new(0.95).expect("finite"),
        half_width: F64::new(1.5).expect("finite"),
        coverage: Coverage::Nominal,
    }
}

fn lines() -> Vec<String> {
    let agent = secret().public().id();
    let genesis = Genesis {
        protocol: 1,
        name: "golden".to_owned(),
        nonce: Bytes(vec![9; 16]),
        hub: vec![HubMember { key: secret().public(), beacon_anchor: Hash([4; 32]), beacon_length: 1 << 20 }],
        parameters: Parameters::default(),
    };
    let submission = Submission {
        envelope: Bytes(b"{}".to_vec()),
        offer: Offer::default(),
        nonce: Bytes(vec![5; 16]),
        expires_ms: 1_700_000_000_000,
    };
    let job = Signed::new(submission.clone(), MESH, &secret()).job_id(MESH);
    let regions = ["eu-west", "us-east"].map(|name| name.parse().expect("a region")).to_vec();
    let offer = Offer { regions: Regions::new(regions).expect("two"), ..Offer::default() };
    let local = Submission { offer, ..submission.clone() };
    let plan = Plan {
        contract: contract().hash(),
        paths: 167_000,
        leaf_paths: 1024,
        stages: vec![run().stage],
        first_look: None,
        estimate_ns: 5,
    };
    let task = ShardTask::new(&plan, &run(), 2).expect("there is such a shard");
    let claim = Claim {
        shard: 3,
        task: task.hash(),
        tree: Hash([6; 32]),
        totals: Hash([7; 32]),
        blob: Hash([8; 32]),
        wall_us: 10_000,
        cpu_us: 9_000,
    };
    let attestation = Attestation {
        agent,
        seq: 2,
        prev: Hash([9; 32]),
        job: JOB,
        stage: 1,
        shards: vec![3, 4].into(),
        members: Hash([10; 32]),
        leases: vec![Signed::new(lease(agent), MESH, &secret())],
        paths: 16_384,
        backend: "cpu/avx512".to_owned(),
    };
    let shards = [(3, 88, 8), (4, 96, 8)];
    let (members, beacon) = (Hash([10; 32]), Hash([11; 32]));
    let draw = Draw {
        job: JOB,
        members,
        beacon,
        verify: Verify::Spotcheck,
        spotcheck_ppm: 300_000,
        shards: &shards,
    };
    let leaves = draw.leaves();
    let verdict = Verdict {
        job: JOB,
        attestation: attestation.digest(),
        checker: agent,
        outcome: CheckOutcome::Differs,
        drawn: drawn_digest(&leaves),
        checked: leaves.len() as u64,
        mismatches: vec![Mismatch {
            at: LeafRef { shard: 3, leaf: 90 },
            kind: MismatchKind::ForgedTotal,
            recomputed: Hash([12; 32]),
        }],
    };
    let work =
        Work { iterations: 100, leaves: 2, excluded: Excluded { degenerate: 1, ..Excluded::default() } };
    let result = ResultBody {
        contract: contract().hash(),
        output: Bytes(vec![0xa0]),
        work: work.clone(),
        convergence: None,
    };
    let stopping = Plan { first_look: Some(164), ..plan.clone() };
    let stopped = ResultBody { convergence: Some(convergence()), ..result.clone() };
    let artifact =
        Artifact { kind: ArtifactKind::ResultJson, bytes: 3, blake3: Hash([13; 32]), sha256: Hash([14; 32]) };
    let last = FinalResult { stop_leaf: 2, result_hash: result.hash(), work, artifacts: vec![artifact] };
    let vote = |outcome| ReductionVote { job: JOB, stage: 1, outcome, set_aside: 0, seating: 0 };
    let mut invited = genesis.clone();
    invited.parameters.open = false;
    let charter = Charter { version: 1, previous: Hash([21; 32]), seats: 1, admitted: genesis.hub.clone() };
    let join = Join { secret: Bytes(vec![18; 32]), name: "a node".to_owned(), expires_ms: 1_700_000_000_000 };
    let ticket = Ticket {
        seating: None,
        genesis: invited.clone(),
        bootstrap: vec!["/ip4/127.0.0.1/tcp/4001/p2p/12D3KooW".to_owned()],
        network_key: Some(Bytes(vec![20; 32])),
        secret: Bytes(vec![18; 32]),
        expires_ms: 1_700_000_000_000,
        organization: None,
    };
    let acme: Organization = "acme".parse().expect("an organization");
    let invitation =
        Invitation { secret: secret_digest(&[18; 32]), expires_ms: 1_700_000_000_000, organization: None };
    let invitation_of = Invitation { organization: Some(acme.clone()), ..invitation.clone() };
    let lease_of = Lease { organization: Some(acme.clone()), ..lease(agent) };
    let ticket_of = Ticket { organization: Some(acme.clone()), ..ticket.clone() };
    let mut founded = genesis.clone();
    founded.parameters.organization = Some(acme.clone());
    let hello = Hello {
        capacity: 2,
        backend: "cpu/avx2".to_owned(),
        accepts: 512,
        holds: Vec::new(),
        ops: Vec::new(),
        seating: 0,
        candidacy: None,
        books: 0,
        region: None,
        billing: Vec::new(),
        clients: Some(vec![agent]),
        organizations: vec![acme, "risk.example.org".parse().expect("an organization")],
    };
    let candidate =
        Hello { seating: 2, candidacy: genesis.hub.first().cloned(), books: 5_000, ..hello.clone() };
    let artifact = Hash::blob(b"an artifact");
    let pin = Pin { artifact, length: 11, until_ms: 1_700_000_000_000 };
    let outlined = Outlined {
        artifact,
        outline: Outline { length: 11, sums: Bytes::default() },
        last: Bytes(b"an artifact".to_vec()),
        pin: Some(Signed::new(pin.clone(), MESH, &secret())),
    };
    let rows = vec![Keeping { artifact, pinned_by: None }, Keeping { artifact, pinned_by: Some(agent) }];
    let page = KeptPage { after: None, artifacts: rows, through: Some(artifact) };
    let members = Bytes(canon::to_bytes(&vec![claim.clone()]));
    let attested = Attested { attestation: Signed::new(attestation.clone(), MESH, &secret()), members };
    let delivery = Delivery { attested, blobs: vec![Bytes(b"an accumulator".to_vec())] };
    let mut copied = genesis.clone();
    copied.parameters.replication = 5;
    let key = replay_key(&contract().hash(), &Hash([15; 32]), &Hash([16; 32]), "exact.v1");
    let drawn: Vec<String> = leaves.iter().map(|at| format!("{}:{}", at.shard, at.leaf)).collect();
    vec![
        plain("genesis", &genesis, genesis.mesh_id().0),
        plain("contract", &contract(), contract().hash()),
        plain("plan", &plan, plan.hash()),
        plain("stage_input", &run().input, run().input.expect("there is one").hash()),
        plain("result", &result, result.hash()),
        plain("claim", &claim, claim.shard_digest()),
        signed("submission", &submission),
        signed("lease", &lease(agent)),
        signed("attestation", &attestation),
        signed("verdict", &verdict),
        signed("vote_next", &vote(Outcome::Next(run()))),
        signed("vote_final", &vote(Outcome::Final(last))),
        format!("node_id {agent}"),
        format!("job_id {job}"),
        format!("work_hash {}", submission.work_hash()),
        format!("task {}", task.hash()),
        format!("replay_key {key}"),
        format!("beacon_step {}", beacon_step(&Hash([17; 32]))),
        format!("draw {}", drawn.join(" ")),
        format!("domains {}", Domain::ALL.iter().map(|domain| domain.tag()).collect::<Vec<_>>().join("|")),
        plain("plan_with_looks", &stopping, stopping.hash()),
        plain("result_converged", &stopped, stopped.hash()),
        plain("genesis_invited", &invited, invited.mesh_id().0),
        signed("invitation", &invitation),
        signed("withdrawal", &Withdrawal { secret: secret_digest(&[18; 32]) }),
        signed("join", &join),
        signed("expulsion", &Expulsion { node: agent, admitted: 19 }),
        format!("ticket {}", ticket.issue(&secret())),
        signed("charter", &charter),
        signed("submission_with_regions", &local),
        format!("work_hash_with_regions {}", local.work_hash()),
        signed("pin", &pin),
        message("outline", Message::Outline { artifact }),
        message("outlined", Message::Outlined(Box::new(outlined))),
        message("piece", Message::Piece { artifact, index: 7 }),
        message("pieced", Message::Pieced { artifact, index: 7, bytes: Bytes(vec![1, 2, 3]) }),
        message("no_artifact", Message::NoArtifact { artifact }),
        message("where", Message::Where { artifact }),
        message("at", Message::At { artifact, nodes: vec![agent] }),
        message("keeping", Message::Keeping { after: None }),
        message("keeping_after", Message::Keeping { after: Some(artifact) }),
        message("kept", Message::Kept(Box::new(page))),
        message("keep", Message::Keep { artifact, sources: vec![agent] }),
        plain("genesis_replication", &copied, copied.mesh_id().0),
        message("deliver", Message::Deliver(Box::new(delivery))),
        message("belongs", Message::Belongs { node: agent }),
        message("belonging", Message::Belonging { node: agent, belongs: false }),
        signed("invitation_of_an_organization", &invitation_of),
        signed("lease_of_an_organization", &lease_of),
        format!("ticket_of_an_organization {}", ticket_of.issue(&secret())),
        plain("genesis_of_an_organization", &founded, founded.mesh_id().0),
        message("hello_for_organizations", Message::Hello(Box::new(hello))),
        message("hello_of_a_candidate", Message::Hello(Box::new(candidate))),
    ]
}

#[test]
fn what_is_signed_and_hashed_never_changes() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/vectors/golden.txt");
    let found = lines().join("\n") + "\n";
    if std::env::var_os("FORGEMESH_BLESS").is_some() {
        std::fs::write(path, &found).expect("the vectors can be written");
    }
    let frozen = std::fs::read_to_string(path).expect("the vectors are committed");
    for (frozen, found) in frozen.lines().zip(found.lines()) {
        assert_eq!(frozen, found);
    }
    assert_eq!(frozen, found);
}
