//! The agent's core, driven by hand: a test plays the hub.

use std::collections::{BTreeMap, VecDeque};

use forgemesh_kernel::job::Job;
use forgemesh_node::boot::found;
use forgemesh_node::core::archive::LedgerEnd;
use forgemesh_node::core::availability::{Availability, Mode};
use forgemesh_node::core::{Core, Identity, Input, Now, Output, Recovered, Reply, Request};
use forgemesh_node::links::Spent;
use forgemesh_node::ports::{Done, Work};
use forgemesh_protocol::attestation::{Attestation, Claim, decode_claims};
use forgemesh_protocol::canon::{self, Bytes};
use forgemesh_protocol::challenge::LeafRef;
use forgemesh_protocol::charter::{Charters, Seating};
use forgemesh_protocol::envelope::BillingMode;
use forgemesh_protocol::hash::Hash;
use forgemesh_protocol::id::{JobId, MeshId, NodeId};
use forgemesh_protocol::keys::{SecretKey, Signable, Signed};
use forgemesh_protocol::lease::Lease;
use forgemesh_protocol::limits;
use forgemesh_protocol::op::Op;
use forgemesh_protocol::organization::Organization;
use forgemesh_protocol::plan::{ShardTask, StageInput, StageRun};
use forgemesh_protocol::submission::{Offer, Submission};
use forgemesh_protocol::wire::{Answer, Attested, Challenge, LeaseOffer, Message};
use forgemesh_storage::Write;

const MESH: MeshId = MeshId(Hash([5; 32]));
const JOB: JobId = JobId(Hash([7; 32]));

fn hub() -> SecretKey {
    SecretKey::from_bytes(&[1; 32])
}

/// The agent's core, its disk at once durable, its shards executed at once.
struct Rig {
    core: Core,
    key: SecretKey,
    job: Job,
    now: Now,
    /// What it sent to the hub.
    sent: Vec<Message>,
    /// Which inputs it executed, by the first byte of their brackets, and how often.
    executed: BTreeMap<u8, u64>,
    outbox: BTreeMap<u64, Vec<u8>>,
    works: Vec<(u64, Work)>,
    replies: Vec<Reply>,
    stored: Vec<Write>,
}

fn core(key: &SecretKey, outbox: Vec<Attested>) -> Core {
    let identity = Identity { secret: key.clone(), node: key.public().id(), mesh: MESH };
    let (genesis, _) = found(&hub(), "agent".to_owned(), [2; 16], 1);
    let ledger = LedgerEnd { entries: 0, head: Hash::ZERO };
    let (charters, seating) = (Charters::new(genesis.clone()), Seating::of(&genesis));
    let recovered = Recovered { charters, seating, candidacy: None, ledger, hub: None, outbox };
    Core::new(identity, recovered, 1, "cpu/test".to_owned())
}

impl Rig {
    fn new() -> Rig {
        let key = SecretKey::from_bytes(&[10; 32]);
        let envelope =
            r#"{"op":{"name":"mc","version":1,"profile":"insurance.v1"},"args":{"iterations":4000000}}"#;
        let (job, _) = Job::read(envelope.as_bytes()).expect("a job");
        let mut rig = Rig {
            core: core(&key, Vec::new()),
            key,
            job,
            now: Now { wall_ms: 1_000, up_ms: 0 },
            sent: Vec::new(),
            executed: BTreeMap::new(),
            outbox: BTreeMap::new(),
            works: Vec::new(),
            replies: Vec::new(),
            stored: Vec::new(),
        };
        rig.by_hub(Message::Led { term: 1, books: 0 });
        rig
    }

    fn node(&self) -> NodeId {
        self.key.public().id()
    }

    /// It dies, and comes back with the outbox that it had.
    fn restart(&mut self) {
        let read = |bytes: &Vec<u8>| canon::from_bytes(bytes, limits::COMMAND_BYTES).expect("an attestation");
        self.core = core(&self.key, self.outbox.values().map(read).collect());
        self.sent.clear();
        self.hand(Input::Tick);
        self.by_hub(Message::Led { term: 1, books: 0 });
    }

    fn by_hub(&mut self, message: Message) {
        self.hand(Input::Message { from: hub().public().id(), message });
    }

    /// Hands it an input; shards of inputs in `executed` are done at once if `work`, else they wait in `works`.
    fn hand(&mut self, input: Input) {
        let mut inputs = VecDeque::from([input]);
        while let Some(input) = inputs.pop_front() {
            let mut out = Vec::new();
            self.core.handle(self.now, input, &mut out);
            for output in out {
                match output {
                    Output::Store { token, batch, .. } => {
                        self.stored.extend_from_slice(batch.writes());
                        for write in batch.writes() {
                            match write {
                                Write::PutOutbox { seq, attestation } => {
                                    self.outbox.insert(*seq, attestation.clone());
                                }
                                Write::DeleteOutbox { through_seq } => {
                                    self.outbox.retain(|seq, _| seq > through_seq);
                                }
                                _ => {}
                            }
                        }
                        inputs.push_back(Input::Stored { token });
                    }
                    Output::Work { ticket, work } => self.works.push((ticket, work)),
                    Output::Send { message, .. } => self.sent.push(message),
                    Output::Reply { reply, .. } => self.replies.push(reply),
                    Output::Halt(halted) => panic!("{halted}"),
                    Output::Progress(_)
                    | Output::Confirm { .. }
                    | Output::Announce(_)
                    | Output::Asked(_)
                    | Output::Provide(_)
                    | Output::Seek(_)
                    | Output::Vouch { .. }
                    | Output::Propose(_)
                    | Output::Snapshot { .. }
                    | Output::Reseat { .. }
                    | Output::Seated { .. } => {}
                }
            }
        }
    }

    /// Executes what waits.
    fn work(&mut self) {
        while !self.works.is_empty() {
            for (ticket, work) in std::mem::take(&mut self.works) {
                let Work::Run { run, shard, .. } = work else { continue };
                *self
                    .executed
                    .entry(run.input.as_ref().map_or(0, |input| input.brackets.0[0]))
                    .or_default() += 1;
                let task = ShardTask::new(self.job.plan(), &run, shard).expect("a shard").hash();
                let (tree, totals, blob) = (Hash([1; 32]), Hash([2; 32]), Hash::blob(b"sum"));
                let claim = Claim { shard, task, tree, totals, blob, wall_us: 1, cpu_us: 1 };
                let done = Done::Ran { claim, accumulator: b"sum".to_vec(), paths: 1 };
                self.hand(Input::Worked { ticket, done });
            }
        }
    }

    /// The main stage, with this in its input.
    fn run(&self, input: u8) -> StageRun {
        let input = StageInput { source: Hash([input; 32]), brackets: Bytes(vec![input]) };
        StageRun { number: 1, stage: self.job.plan().stages[1].clone(), input: Some(input) }
    }

    fn lease(&self, input: u8, shards: u64) -> Message {
        let run = self.run(input);
        let lease = Lease {
            job: JOB,
            stage: 1,
            first_shard: 0,
            shards,
            agent: self.node(),
            attempt: 1,
            term: 1,
            expires_ms: 1_000_000,
            input: run.input_hash(),
            organization: None,
        };
        let lease = Signed::new(lease, MESH, &hub());
        let contract = self.job.contract().clone();
        Message::Lease(Box::new(LeaseOffer { lease, contract, run, submission: None }))
    }

    /// A lease of a job that a client has signed, as the hub sends it to an agent that does not work for everybody.
    fn lease_of(
        &self,
        job: JobId,
        submission: Option<&Signed<Submission>>,
        organization: Option<&Organization>,
    ) -> Message {
        let Message::Lease(mut offer) = self.lease(1, 2) else { panic!("a lease") };
        let body = Lease { job, organization: organization.cloned(), ..offer.lease.body };
        offer.lease = Signed::new(body, MESH, &hub());
        offer.submission = submission.cloned().map(Box::new);
        Message::Lease(offer)
    }

    fn attested(&self) -> Vec<Attested> {
        let attested = |message: &Message| match message {
            Message::Attest(attested) => Some((**attested).clone()),
            Message::Deliver(delivery) => Some(delivery.attested.clone()),
            _ => None,
        };
        self.sent.iter().filter_map(attested).collect()
    }
}

fn logged(seq: u64, digest: Hash) -> Message {
    Message::Logged { seq, digest }
}

/// A lease for a stage that was planned anew replaces what is held of the old one, begun or not.
#[test]
fn work_for_another_input_is_never_mixed_in() {
    let mut rig = Rig::new();
    rig.by_hub(logged(0, Hash::ZERO));
    let first = rig.lease(1, 4);
    rig.by_hub(first);
    let second = rig.lease(2, 8);
    rig.by_hub(second);
    rig.work();
    assert_eq!(rig.executed.get(&2), Some(&8), "{:?}", rig.executed);
    let new = rig.run(2).input_hash();
    let mut shards = Vec::new();
    for attested in rig.attested() {
        assert!(attested.attestation.body.leases.iter().all(|lease| lease.body.input == new));
        for claim in decode_claims(&attested.members.0).expect("claims") {
            let task = ShardTask::new(rig.job.plan(), &rig.run(2), claim.shard).expect("a shard").hash();
            assert_eq!(claim.task, task, "shard {}", claim.shard);
            shards.push(claim.shard);
        }
    }
    shards.sort_unstable();
    assert_eq!(shards, (0..8).collect::<Vec<_>>());
}

/// Whoever leads signs for what it lends, and may be wrong.
#[test]
fn a_lease_for_a_stage_without_shards_is_no_work() {
    let mut rig = Rig::new();
    rig.by_hub(logged(0, Hash::ZERO));
    let Message::Lease(mut offer) = rig.lease(1, 4) else { panic!("a lease") };
    offer.run.stage.leaves_per_shard = 0;
    rig.by_hub(Message::Lease(offer));
    assert!(rig.works.is_empty());
}

#[test]
fn nothing_is_attested_before_the_hub_has_said_what_is_logged() {
    let mut rig = Rig::new();
    let lease = rig.lease(1, 3);
    rig.by_hub(lease);
    rig.work();
    rig.now.up_ms += 2_000;
    rig.hand(Input::Tick);
    assert!(rig.attested().is_empty(), "a lost disk must not fork the chain");
    let last = Hash([9; 32]);
    rig.by_hub(logged(17, last));
    let first = rig.attested().remove(0).attestation.body;
    assert_eq!((first.seq, first.prev), (18, last));
}

#[test]
fn what_is_not_logged_is_sent_again_byte_for_byte_after_a_restart_too() {
    let mut rig = Rig::new();
    rig.by_hub(logged(0, Hash::ZERO));
    let lease = rig.lease(1, 2);
    rig.by_hub(lease);
    rig.work();
    let sent = rig.attested();
    assert!(!sent.is_empty());
    rig.sent.clear();
    rig.now.up_ms += limits::RETRY_MS;
    rig.hand(Input::Tick);
    assert_eq!(rig.attested(), sent);
    rig.restart();
    assert_eq!(rig.attested(), sent);
    let last = &sent.last().expect("one").attestation.body;
    rig.by_hub(logged(last.seq, last.digest()));
    rig.sent.clear();
    rig.now.up_ms += limits::RETRY_MS;
    rig.hand(Input::Tick);
    assert!(rig.attested().is_empty(), "it is logged");
    assert_eq!(rig.outbox.len(), 1, "the newest link stays: the next one must name it");
}

/// What nothing needs goes, unless it was vouched for anew while the disk was looked at.
#[test]
fn what_is_vouched_for_meanwhile_stays() {
    let mut rig = Rig::new();
    rig.by_hub(logged(0, Hash::ZERO));
    let lease = rig.lease(1, 2);
    rig.by_hub(lease);
    rig.work();
    let last = rig.attested().pop().expect("a link").attestation.body;
    let looks = |rig: &mut Rig| {
        rig.now.up_ms += limits::SCRUB_MS;
        rig.hand(Input::Tick);
        let is_look = |(_, work): &(u64, Work)| matches!(work, Work::Spent { .. });
        let looks: Vec<_> = rig.works.iter().filter(|work| is_look(work)).cloned().collect();
        rig.works.clear();
        looks
    };
    let spent = |job: &str, blob: &[u8]| Spent {
        rows: vec![job.to_owned()],
        blobs: vec![Hash::blob(blob), last.members],
        is_rest: true,
        ..Spent::default()
    };
    let gone = |rig: &Rig| -> Vec<Hash> {
        let hash = |write: &Write| match write {
            Write::DeleteBlob { hash } => Some(*hash),
            _ => None,
        };
        rig.stored.iter().filter_map(hash).collect()
    };
    // The hub has not said that it has logged them.
    let found = looks(&mut rig);
    assert!(matches!(found[..], [(_, Work::Spent { unlogged: 1 })]), "{found:?}");
    let done = Done::Spent { spent: Box::new(Spent { is_rest: true, ..Spent::default() }) };
    rig.hand(Input::Worked { ticket: found[0].0, done });
    rig.by_hub(logged(last.seq, last.digest()));
    let found = looks(&mut rig);
    assert!(matches!(found[..], [(_, Work::Spent { unlogged })] if unlogged == last.seq + 1));
    // Another input of the stage: other shards, which come to the same bytes.
    let lease = rig.lease(2, 2);
    rig.by_hub(lease);
    rig.work();
    let done = Done::Spent { spent: Box::new(spent(&JOB.to_string(), b"sum")) };
    rig.hand(Input::Worked { ticket: found[0].0, done });
    assert_eq!(gone(&rig), [last.members], "the accumulators were vouched for again meanwhile");
    // And later on they go, too.
    let newest = rig.attested().pop().expect("a link").attestation.body;
    rig.by_hub(logged(newest.seq, newest.digest()));
    let found = looks(&mut rig);
    let done = Done::Spent { spent: Box::new(Spent { is_rest: false, ..spent("x", b"sum") }) };
    rig.hand(Input::Worked { ticket: found[0].0, done });
    assert!(gone(&rig).contains(&Hash::blob(b"sum")));
    assert!(looks(&mut rig).is_empty(), "there is nothing left to look for");
}

/// The disk went back to an older state: the log has links that it has not, or others under the same number.
#[test]
fn a_disk_that_lost_links_goes_on_from_the_log() {
    for (seq, digest) in [(9, Hash([9; 32])), (1, Hash([8; 32]))] {
        let mut rig = Rig::new();
        rig.by_hub(logged(0, Hash::ZERO));
        let lease = rig.lease(1, 1);
        rig.by_hub(lease);
        rig.work();
        assert_eq!(rig.attested().len(), 1);
        rig.by_hub(logged(seq, digest));
        rig.sent.clear();
        let lease = rig.lease(2, 1);
        rig.by_hub(lease);
        rig.work();
        let next = rig.attested().remove(0).attestation.body;
        assert_eq!((next.seq, next.prev), (seq + 1, digest));
        assert_eq!(rig.outbox.keys().copied().collect::<Vec<_>>(), [seq + 1], "no two links with one number");
    }
}

/// Who has it from the log that a member leads may say hello before that member itself knows it, and is not counted then: a
/// job rested for two seconds, until the leader waited for nobody any more.
#[test]
fn a_new_leader_hears_what_is_held_once_it_speaks_itself() {
    let mut rig = Rig::new();
    let hellos = |rig: &mut Rig| {
        let sent = std::mem::take(&mut rig.sent);
        sent.iter().filter(|message| matches!(message, Message::Hello(_))).count()
    };
    hellos(&mut rig);
    rig.hand(Input::Led { term: 2, leader: Some(hub().public().id()) });
    assert_eq!(hellos(&mut rig), 1);
    rig.by_hub(Message::Led { term: 2, books: 0 });
    assert_eq!(hellos(&mut rig), 1);
    rig.by_hub(Message::Led { term: 2, books: 0 });
    assert_eq!(hellos(&mut rig), 0, "once for each leader");
}

#[test]
fn only_the_hub_is_obeyed_and_only_for_what_the_agent_did() {
    let mut rig = Rig::new();
    rig.by_hub(logged(0, Hash::ZERO));
    let stranger = SecretKey::from_bytes(&[66; 32]).public().id();
    let lease = rig.lease(1, 3);
    rig.hand(Input::Message { from: stranger, message: lease.clone() });
    let Message::Lease(mut forged) = lease.clone() else { panic!("a lease") };
    forged.run = rig.run(2);
    rig.by_hub(Message::Lease(forged));
    assert!(rig.works.is_empty(), "neither a stranger's lease nor one for another run");
    rig.by_hub(lease);
    rig.work();
    let own = rig.attested().remove(0);
    let challenge = |attested: &Attested, shard: u64| Challenge {
        attestation: attested.attestation.clone(),
        members: attested.members.clone(),
        contract: rig.job.contract().clone(),
        run: rig.run(1),
        leaves: vec![LeafRef { shard, leaf: 0 }],
    };
    let first = own.attestation.body.shards.iter().next().expect("one");
    let (good, outside) = (challenge(&own, first), challenge(&own, 77));
    let body = Attestation { backend: "another".to_owned(), ..own.attestation.body.clone() };
    let forged = Attested { attestation: Signed::new(body, MESH, &hub()), members: own.members.clone() };
    let forged = challenge(&forged, first);
    let open = |challenge: &Challenge| Message::Open(Box::new(challenge.clone()));
    rig.hand(Input::Message { from: stranger, message: open(&good) });
    rig.by_hub(open(&outside));
    rig.by_hub(open(&forged));
    assert!(rig.works.is_empty());
    rig.by_hub(open(&good));
    rig.by_hub(open(&good));
    assert_eq!(rig.works.len(), 1, "asked twice, opened once");
}

#[test]
fn a_node_lends_what_its_operator_allows() {
    let mut rig = Rig::new();
    let hello = |rig: &Rig| {
        let last = rig.sent.iter().rev().find_map(|message| match message {
            Message::Hello(hello) => Some((**hello).clone()),
            _ => None,
        });
        last.expect("a hello")
    };
    let allow = |rig: &mut Rig, available: Availability| {
        rig.hand(Input::Request { token: 1, request: Request::Available(Box::new(available)) });
    };
    rig.by_hub(logged(0, Hash::ZERO));
    let lease = rig.lease(1, 8);
    rig.by_hub(lease.clone());
    let begun = rig.works.len() as u64;
    assert!(begun > 0 && begun < 8, "{begun} were begun");
    // Draining, it finishes all that it holds; the hub hears at once that it takes nothing new.
    allow(&mut rig, Availability { mode: Mode::Draining, ..Availability::default() });
    let told = hello(&rig);
    assert_eq!((told.accepts, told.holds[0].shards.clone()), (0, std::iter::once(0..8).collect()));
    rig.work();
    assert_eq!(rig.executed.get(&1), Some(&8));
    rig.by_hub(rig.lease(2, 4));
    assert!(rig.works.is_empty(), "nothing new");
    // Paused, it gives back what it has not begun.
    allow(&mut rig, Availability::default());
    assert!(hello(&rig).accepts > 0);
    rig.by_hub(rig.lease(3, 8));
    let begun = rig.works.len() as u64;
    allow(&mut rig, Availability { mode: Mode::Paused, ..Availability::default() });
    let input = rig.run(3).input_hash();
    let held = hello(&rig).holds.into_iter().find(|holding| holding.input == input).expect("what is begun");
    assert_eq!(held.shards, std::iter::once(0..begun).collect::<Vec<_>>());
    rig.work();
    assert_eq!(rig.executed.get(&3), Some(&begun));
    // Confined to another operation, it says so and takes no lease of this one.
    let ops = vec![Op::new("mc", 1, "reserve.v1")];
    allow(&mut rig, Availability { ops: ops.clone(), ..Availability::default() });
    assert_eq!(hello(&rig).ops, ops);
    rig.by_hub(rig.lease(4, 4));
    assert!(rig.works.is_empty());
    // What it has not begun when it is told so it gives back; when its machine is used, all of that.
    for (input, available) in [
        (5, Availability { ops, ..Availability::default() }),
        (6, Availability { mode: Mode::Yielding, ..Availability::default() }),
    ] {
        allow(&mut rig, Availability::default());
        rig.by_hub(rig.lease(input, 8));
        let begun = rig.works.len() as u64;
        allow(&mut rig, available);
        let of_run = rig.run(input).input_hash();
        let held = hello(&rig).holds.into_iter().find(|holding| holding.input == of_run).expect("the begun");
        assert_eq!(held.shards, std::iter::once(0..begun).collect::<Vec<_>>());
        rig.work();
        assert_eq!(rig.executed.get(&input), Some(&begun), "what is begun is finished");
    }
    assert_eq!(hello(&rig).accepts, 0);
}

/// An agent without room says so at once and is lent nothing; with room again it says that, too.
#[test]
fn an_agent_whose_disk_is_nearly_full_takes_no_more() {
    let mut rig = Rig::new();
    let accepts = |rig: &mut Rig| {
        rig.now.up_ms += 1;
        rig.hand(Input::Tick);
        let mut hellos = rig.sent.drain(..).filter_map(|message| match message {
            Message::Hello(hello) => Some(hello.accepts),
            _ => None,
        });
        hellos.next_back()
    };
    rig.by_hub(logged(0, Hash::ZERO));
    rig.now.up_ms += 2_000;
    let willing = accepts(&mut rig).expect("a hello");
    assert!(willing > 0);
    rig.hand(Input::DiskLow(true));
    assert_eq!(accepts(&mut rig).or_else(|| accepts(&mut rig)), Some(0));
    rig.hand(Input::DiskLow(false));
    assert_eq!(accepts(&mut rig), Some(willing));
}

/// A job that a client has signed.
fn submission(by: &SecretKey, billing: &str) -> Signed<Submission> {
    let envelope = format!(
        r#"{{"op":{{"name":"mc","version":1,"profile":"insurance.v1"}},"args":{{"iterations":4000000}},"ctx":{{"billing":{{"mode":"{billing}"}}}}}}"#
    );
    let (job, terms) = Job::read(envelope.as_bytes()).expect("a job");
    let (envelope, nonce) = (Bytes(job.envelope(&terms)), Bytes(vec![1; 16]));
    let submission = Submission { envelope, offer: Offer::default(), nonce, expires_ms: 1 };
    Signed::new(submission, MESH, by)
}

/// Does an agent whose operator allows this begin a lease that `make` has the hub send?
fn begins(available: &Availability, make: impl FnOnce(&Rig) -> Message) -> bool {
    let mut rig = Rig::new();
    rig.by_hub(logged(0, Hash::ZERO));
    let request = Request::Available(Box::new(available.clone()));
    rig.hand(Input::Request { token: 1, request });
    let lease = make(&rig);
    rig.by_hub(lease);
    let begun = !rig.works.is_empty();
    // What it refuses it does not hold either: the hub hears so with its next hello, and lends it to others.
    rig.sent.clear();
    rig.now.up_ms += limits::HELLO_IDLE_MS;
    rig.hand(Input::Tick);
    let holds = |message: &Message| match message {
        Message::Hello(hello) => Some(!hello.holds.is_empty()),
        _ => None,
    };
    assert_eq!(rig.sent.iter().find_map(holds), Some(begun));
    begun
}

/// A private agent looks at what the client has signed; a leader that forgets its list, or lies, gets nothing.
#[test]
fn a_private_agent_takes_only_what_its_clients_have_signed() {
    let (client, stranger) = (SecretKey::from_bytes(&[20; 32]), SecretKey::from_bytes(&[21; 32]));
    let signed = submission;
    let takes = |available: &Availability, job: JobId, submission: Option<&Signed<Submission>>| {
        begins(available, |rig| rig.lease_of(job, submission, None))
    };
    let private = Availability { clients: Some(vec![client.public().id()]), ..Availability::default() };
    let (good, bad) = (signed(&client, "billable"), signed(&stranger, "billable"));
    assert!(takes(&private, good.job_id(MESH), Some(&good)));
    assert!(!takes(&private, bad.job_id(MESH), Some(&bad)), "a stranger's");
    assert!(!takes(&private, good.job_id(MESH), None), "nobody says whose");
    assert!(!takes(&private, bad.job_id(MESH), Some(&good)), "another job's");
    let mut forged = good.clone();
    forged.body.expires_ms += 1;
    assert!(!takes(&private, forged.job_id(MESH), Some(&forged)), "not signed so");
    // The billing mode is what the client has signed, too.
    let test = Availability { billing: vec![BillingMode::Test], ..Availability::default() };
    let free = signed(&stranger, "test");
    assert!(takes(&test, free.job_id(MESH), Some(&free)));
    assert!(!takes(&test, good.job_id(MESH), Some(&good)) && !takes(&test, good.job_id(MESH), None));
    assert!(takes(&Availability::default(), JOB, None), "who takes everybody's asks for nothing");
}

/// To whom a client belongs only the hub knows: an agent that goes by it takes the leader's signed word, of this very job,
/// and what the client has signed beside it.
#[test]
fn a_private_agent_takes_a_job_of_an_organization_by_the_leaders_signed_word_alone() {
    let (client, named) = (SecretKey::from_bytes(&[20; 32]), SecretKey::from_bytes(&[21; 32]));
    let of = |name: &str| -> Organization { name.parse().expect("an organization") };
    let (acme, other) = (of("acme"), of("other"));
    let private = Availability {
        clients: Some(vec![named.public().id()]),
        organizations: vec![of("first"), acme.clone()],
        ..Availability::default()
    };
    let (job, its_own) = (submission(&client, "billable"), submission(&named, "billable"));
    let id = job.job_id(MESH);
    let takes = |submission: Option<&Signed<Submission>>, word: Option<&Organization>| {
        begins(&private, |rig| rig.lease_of(id, submission, word))
    };
    assert!(takes(Some(&job), Some(&acme)));
    assert!(!takes(Some(&job), None), "no word");
    assert!(!takes(Some(&job), Some(&other)), "of another");
    assert!(!takes(None, Some(&acme)), "nobody shows whose job it is");
    assert!(!takes(Some(&its_own), Some(&acme)), "another job's");
    // A client that is listed needs no word, and none stands in its way.
    for word in [None, Some(&other)] {
        assert!(begins(&private, |rig| rig.lease_of(its_own.job_id(MESH), Some(&its_own), word)));
    }
    // The word is the leader's: put in by another hand it is under no signature.
    let forged = |rig: &Rig| {
        let Message::Lease(mut offer) = rig.lease_of(id, Some(&job), None) else { panic!("a lease") };
        offer.lease.body.organization = Some(acme.clone());
        Message::Lease(offer)
    };
    assert!(!begins(&private, forged));
    let by_client = |rig: &Rig| {
        let Message::Lease(mut offer) = rig.lease_of(id, Some(&job), Some(&acme)) else { panic!("a lease") };
        offer.lease = Signed::new(offer.lease.body, MESH, &client);
        Message::Lease(offer)
    };
    assert!(!begins(&private, by_client));
    // Who lists none is moved by no word; the billing mode holds beside it.
    let alone = Availability { organizations: Vec::new(), ..private.clone() };
    assert!(!begins(&alone, |rig| rig.lease_of(id, Some(&job), Some(&acme))));
    let test = Availability { billing: vec![BillingMode::Test], ..private.clone() };
    assert!(!begins(&test, |rig| rig.lease_of(id, Some(&job), Some(&acme))));
}

#[test]
fn what_a_client_asks_of_the_hub_is_asked_until_it_is_answered_or_too_late() {
    let mut rig = Rig::new();
    let ask = |rig: &mut Rig| {
        rig.sent.clear();
        rig.hand(Input::Request { token: 7, request: Request::Ask(Bytes(b"{}".to_vec())) });
    };
    let numbers = |rig: &Rig| -> Vec<u64> {
        let number = |message: &Message| match message {
            Message::Ask { number, .. } => Some(*number),
            _ => None,
        };
        rig.sent.iter().filter_map(number).collect()
    };
    let answer = Answer { refused: false, json: Bytes(b"[]".to_vec()), attached: Bytes(Vec::new()) };
    ask(&mut rig);
    rig.now.up_ms += limits::RETRY_MS;
    rig.hand(Input::Tick);
    let asked = numbers(&rig);
    assert_eq!((asked.len(), asked[0]), (2, asked[1]), "the same question");
    let message = Message::Answer { number: asked[0], answer: Box::new(answer.clone()) };
    let stranger = SecretKey::from_bytes(&[66; 32]).public().id();
    rig.hand(Input::Message { from: stranger, message: message.clone() });
    assert!(rig.replies.is_empty(), "only the hub answers");
    rig.by_hub(message.clone());
    rig.by_hub(message);
    assert_eq!(rig.replies, [Reply::Answered(Box::new(answer))], "once");
    rig.replies.clear();
    ask(&mut rig);
    assert_ne!(numbers(&rig), [asked[0]]);
    for _ in 0..limits::ASK_MS / limits::RETRY_MS {
        assert!(rig.replies.is_empty());
        rig.now.up_ms += limits::RETRY_MS;
        rig.hand(Input::Tick);
    }
    assert_eq!(rig.replies, [Reply::NoAnswer]);
}
