//! A hub with its keys at hand: makes signed objects, proposes them, and checks after each step and at the end what
//! must hold whatever was proposed.

use forgemesh_consensus::command::{Command, Entry};
use forgemesh_consensus::job::JobRecord;
use forgemesh_consensus::machine::{Applied, Event, Hub, HubState, Rejected};
use forgemesh_consensus::settle::FinishedJob;
use forgemesh_kernel::job::Job;
use forgemesh_protocol::attestation::Attestation;
use forgemesh_protocol::canon::{self, Bytes};
use forgemesh_protocol::challenge::{CheckOutcome, Verdict, beacon_step, drawn_digest};
use forgemesh_protocol::contract::{Excluded, Work};
use forgemesh_protocol::genesis::{Genesis, HubMember, Parameters};
use forgemesh_protocol::hash::Hash;
use forgemesh_protocol::id::{JobId, NodeId};
use forgemesh_protocol::keys::{SecretKey, Signable, Signed};
use forgemesh_protocol::lease::Lease;
use forgemesh_protocol::limits;
use forgemesh_protocol::receipt::Statement;
use forgemesh_protocol::submission::{Offer, Submission};
use forgemesh_protocol::vote::{Artifact, FinalResult, Outcome, ReductionVote};

/// Links of each member's beacon chain.
const LINKS: usize = 32;

/// 400,000 hashed paths: three shards, the last one shorter.
pub fn mix(verify: &str) -> String {
    format!(
        r#"{{"op":{{"name":"diag","version":1,"profile":"mix.v1"}},"args":{{"iterations":400000}},"policy":{{"verify":"{verify}"}}}}"#
    )
}

/// A reserve larger than its pilot, so that it has two stages.
pub fn reserve() -> String {
    r#"{"op":{"name":"mc","version":1,"profile":"reserve.v1"},
        "args":{"triangle":[[100,150,170],[110,160],[120]],"iterations":70000}}"#
        .to_owned()
}

/// The machine, its members and one agent.
pub struct Bench {
    pub hub: Hub,
    pub members: Vec<SecretKey>,
    pub agent: SecretKey,
    /// The leader's clock.
    pub now_ms: u64,
    pub log: Vec<Entry>,
    pub finished: Vec<FinishedJob>,
    links: Vec<Vec<Hash>>,
    nonce: u8,
    /// Is the log the machine's whole history?
    whole: bool,
}

impl Bench {
    /// A hub of `members`; the first of them is the leader.
    pub fn new(members: u8) -> Bench {
        Bench::with(members, Parameters::default())
    }

    /// One of a mesh with these parameters.
    pub fn with(members: u8, parameters: Parameters) -> Bench {
        let members: Vec<SecretKey> = (1..=members).map(|i| SecretKey::from_bytes(&[i; 32])).collect();
        let links: Vec<Vec<Hash>> = (0..members.len() as u8).map(|i| chain(Hash([0x40 + i; 32]))).collect();
        let member = |(key, links): (&SecretKey, &Vec<Hash>)| HubMember {
            key: key.public(),
            beacon_anchor: beacon_step(&links[LINKS - 1]),
            beacon_length: LINKS as u64,
        };
        let genesis = Genesis {
            protocol: limits::PROTOCOL_VERSION,
            name: "bench".to_owned(),
            nonce: Bytes(vec![9; 16]),
            hub: members.iter().zip(&links).map(member).collect(),
            parameters,
        };
        Bench {
            hub: Hub::new(genesis),
            members,
            agent: SecretKey::from_bytes(&[0xa0; 32]),
            now_ms: 1_000_000,
            log: Vec::new(),
            finished: Vec::new(),
            links,
            nonce: 0,
            whole: true,
        }
    }

    /// Puts another state in the machine's place.
    pub fn put_state(&mut self, change: impl FnOnce(&mut HubState)) {
        let mut state = self.hub.state().clone();
        change(&mut state);
        let genesis = self.hub.genesis().clone();
        self.hub = Hub::restore(genesis, &canon::to_bytes(&state)).expect("a state restores");
        self.whole = false;
    }

    /// Appends a command to the log and applies it. A refusal must leave everything but log time as it was, unless it
    /// made an agent's chain longer.
    pub fn propose(&mut self, command: Command) -> Result<Applied, Rejected> {
        let before = self.hub.state().clone();
        let entry = Entry { index: before.next, term: 1, at_ms: self.now_ms, command };
        assert_eq!(Entry::decode(&entry.encode()).as_ref(), Ok(&entry), "an entry is its own canonical form");
        let applied = self.hub.apply(&entry);
        self.log.push(entry);
        match &applied {
            Ok(applied) => self.finished.extend(applied.finished().cloned()),
            Err(_) => {
                let after = self.hub.state();
                let expected =
                    HubState { next: before.next + 1, term: after.term, now_ms: after.now_ms, ..before };
                assert_eq!(*after, expected, "a refused entry changes nothing but log time");
            }
        }
        applied
    }

    /// The event of a command that must be accepted.
    pub fn accept(&mut self, command: Command) -> Event {
        self.propose(command).expect("accepted").event
    }

    /// The refusal of a command that must be refused.
    pub fn refuse(&mut self, command: Command) -> Rejected {
        self.propose(command).expect_err("refused")
    }

    /// A submission of `envelope`, in its canonical form, with a new nonce.
    pub fn submission(&mut self, envelope: &str) -> Submission {
        let (job, terms) = Job::read(envelope.as_bytes()).expect("a valid envelope");
        self.nonce += 1;
        Submission {
            envelope: Bytes(job.envelope(&terms)),
            offer: Offer::default(),
            nonce: Bytes(vec![self.nonce; 16]),
            expires_ms: self.now_ms + 60_000,
        }
    }

    /// Signs with the submitter's key, which is no member's and no agent's.
    pub fn sign_submission(&self, submission: Submission) -> Signed<Submission> {
        Signed::new(submission, self.hub.mesh(), &SecretKey::from_bytes(&[0xb0; 32]))
    }

    /// A job that is accepted.
    pub fn submit(&mut self, envelope: &str) -> JobId {
        let submission = self.submission(envelope);
        let submission = self.sign_submission(submission);
        match self.accept(Command::Submit { submission }) {
            Event::Submitted { job, known: false } => job,
            other => panic!("a new job, not {other:?}"),
        }
    }

    pub fn job(&self, id: &JobId) -> &JobRecord {
        self.hub.job(id).expect("an open job")
    }

    /// All shards of the job's current stage.
    pub fn shards(&self, id: &JobId) -> Vec<u64> {
        (0..self.job(id).run().stage.shards()).collect()
    }

    /// A lease over all of the current stage, for the agent.
    pub fn lease(&self, id: &JobId) -> Lease {
        let run = self.job(id).run();
        Lease {
            job: *id,
            stage: run.number,
            first_shard: 0,
            shards: run.stage.shards(),
            agent: self.agent.public().id(),
            attempt: 1,
            term: 1,
            expires_ms: self.now_ms + limits::LEASE_MS,
            input: run.input_hash(),
            organization: None,
        }
    }

    /// The leader's signature under a lease.
    pub fn sign_lease(&self, lease: Lease) -> Signed<Lease> {
        Signed::new(lease, self.hub.mesh(), &self.members[0])
    }

    /// The agent's next attestation, of these shards, under a lease over all.
    pub fn attestation(&self, id: &JobId, shards: Vec<u64>) -> Attestation {
        let agent = self.agent.public().id();
        let head = self.hub.chain(&agent);
        Attestation {
            agent,
            seq: head.seq + 1,
            prev: head.digest,
            job: *id,
            stage: self.job(id).run().number,
            members: Hash::blob(format!("claims of {shards:?}").as_bytes()),
            shards: shards.into(),
            leases: vec![self.sign_lease(self.lease(id))],
            paths: 1,
            backend: "cpu/test".to_owned(),
        }
    }

    /// The agent's signature under an attestation.
    pub fn sign(&self, attestation: Attestation) -> Command {
        Command::Attest { attestation: Signed::new(attestation, self.hub.mesh(), &self.agent) }
    }

    /// Attests shards; how many of them count, and the attestation's digest.
    pub fn attest(&mut self, attestation: Attestation) -> (u64, Hash) {
        let digest = attestation.digest();
        match self.accept(self.sign(attestation)) {
            Event::Attested { credited, .. } => (credited, digest),
            other => panic!("an attestation, not {other:?}"),
        }
    }

    /// Attests all shards of the current stage.
    pub fn attest_all(&mut self, id: &JobId) -> Hash {
        let attestation = self.attestation(id, self.shards(id));
        let shards = attestation.shards.len() as u64;
        let (credited, digest) = self.attest(attestation);
        assert_eq!(credited, shards);
        digest
    }

    /// The reveal that is due.
    pub fn reveal(&self) -> Command {
        let member = self.hub.beacon_member();
        let at = self.members.iter().position(|key| key.public().id() == member);
        let at = at.expect("a member's turn");
        let revealed = self.hub.state().beacons[&member].revealed as usize;
        Command::Reveal { member, value: self.links[at][LINKS - 1 - revealed] }
    }

    /// A verdict that agrees with the batch.
    pub fn verdict(&self, id: &JobId, attestation: Hash) -> Verdict {
        let job = self.job(id);
        let batch = job.batches.iter().find(|batch| batch.digest == attestation);
        let batch = batch.expect("an attested batch");
        let drawn = job.challenged(batch, self.hub.genesis().parameters.spotcheck_ppm);
        let checker = self.leader();
        Verdict {
            job: *id,
            attestation,
            checker,
            outcome: CheckOutcome::Agreed,
            drawn: drawn_digest(&drawn),
            checked: drawn.len() as u64,
            mismatches: Vec::new(),
        }
    }

    /// The leader's signature under a verdict.
    pub fn judge(&self, verdict: Verdict) -> Command {
        Command::Judge { verdict: Signed::new(verdict, self.hub.mesh(), &self.members[0]) }
    }

    /// Attests, reveals and judges the whole current stage.
    pub fn verify_stage(&mut self, id: &JobId) {
        let digest = self.attest_all(id);
        self.accept(self.reveal());
        self.accept(self.judge(self.verdict(id, digest)));
    }

    /// A result that covers the plan; what is in it is nobody's business here.
    pub fn result(&self, id: &JobId) -> FinalResult {
        let job = self.job(id);
        let artifact = |&kind: &_| Artifact { kind, bytes: 3, blake3: Hash([1; 32]), sha256: Hash([2; 32]) };
        FinalResult {
            stop_leaf: job.plan.leaves(),
            result_hash: Hash([7; 32]),
            work: Work {
                iterations: job.plan.paths,
                leaves: job.plan.leaves(),
                excluded: Excluded::default(),
            },
            artifacts: job.terms.artifacts.include.iter().map(artifact).collect(),
        }
    }

    /// A member's vote on the current stage.
    pub fn vote(&self, id: &JobId, member: usize, outcome: Outcome) -> Command {
        let job = self.job(id);
        let set_aside = job.set_aside.len() as u64;
        let (stage, seating) = (job.run().number, self.hub.state().seating.number);
        let vote = ReductionVote { job: *id, stage, outcome, set_aside, seating };
        Command::Vote { vote: Signed::new(vote, self.hub.mesh(), &self.members[member]) }
    }

    /// What the receipt of a final job states.
    pub fn statement(&self, finished: &FinishedJob) -> Statement {
        let job = Job::of_contract(finished.record.contract.clone()).expect("it was admitted");
        finished.statement(&job, self.hub.charters())
    }

    /// Takes an accepted job of one stage to its end.
    pub fn finish(&mut self, id: &JobId) {
        self.verify_stage(id);
        let command = self.vote(id, 0, Outcome::Final(self.result(id)));
        assert_eq!(self.accept(command), Event::Finished { job: *id });
    }

    pub fn leader(&self) -> NodeId {
        self.members[0].public().id()
    }

    /// Replays the log from its bytes: equal at every index, and from a snapshot of every index to an equal end.
    fn audit(&self) {
        let end = self.hub.snapshot();
        let mut hub = Hub::new(self.hub.genesis().clone());
        for (i, entry) in self.log.iter().enumerate() {
            let restored = Hub::restore(hub.genesis().clone(), &hub.snapshot()).expect("a snapshot restores");
            assert_eq!(restored.state(), hub.state(), "a snapshot is the state");
            let mut from_here = restored;
            for later in &self.log[i..] {
                let _ = from_here.apply(later);
            }
            assert_eq!(from_here.snapshot(), end, "from a snapshot at {i} to the same end");
            let _ = hub.apply(&Entry::decode(&entry.encode()).expect("a log entry"));
        }
        assert_eq!(hub.snapshot(), end, "a replayed log gives the same bytes");
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        if self.whole && !std::thread::panicking() {
            self.audit();
        }
    }
}

fn chain(seed: Hash) -> Vec<Hash> {
    std::iter::successors(Some(seed), |link| Some(beacon_step(link))).take(LINKS).collect()
}
