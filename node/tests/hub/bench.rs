//! One real hub core; its disk is at once durable, its work is the test's to do, its agents are played.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use forgemesh_consensus::command::{Command, Entry};
use forgemesh_consensus::job::JobRecord;
use forgemesh_consensus::machine::{Hub, Rejected};
use forgemesh_consensus::raft::Committed;
use forgemesh_consensus::settle::FinishedJob;
use forgemesh_consensus::shard_set::ShardSet;
use forgemesh_kernel::job::Job;
use forgemesh_node::boot::found;
use forgemesh_node::core::archive::LedgerEnd;
use forgemesh_node::core::beacon::BeaconChain;
use forgemesh_node::core::hub::Found;
use forgemesh_node::core::{
    Asked, Core, EnrolmentCommand, Identity, Input, Now, Output, Progress, Recovered, Reply, Request,
};
use forgemesh_node::job_file::JobFile;
use forgemesh_node::ports::Work;
use forgemesh_protocol::attestation::{Attestation, Claim};
use forgemesh_protocol::cancellation::Cancellation;
use forgemesh_protocol::canon::{self, Bytes};
use forgemesh_protocol::enrolment::{Expulsion, Invitation, Join, secret_digest};
use forgemesh_protocol::envelope::BillingMode;
use forgemesh_protocol::genesis::{Genesis, Parameters};
use forgemesh_protocol::hash::Hash;
use forgemesh_protocol::id::{JobId, NodeId};
use forgemesh_protocol::keys::{SecretKey, Signable, Signed};
use forgemesh_protocol::op::Op;
use forgemesh_protocol::organization::Organization;
use forgemesh_protocol::plan::ShardTask;
use forgemesh_protocol::region::{Region, Regions};
use forgemesh_protocol::submission::{Offer, Submission};
use forgemesh_protocol::wire::{Attested, Hello, Holding, LeaseOffer, Message};
use forgemesh_storage::{Batch, Write};

const START_MS: u64 = 1_767_225_600_000;
/// Of a ticket that tests make themselves.
pub const SECRET: [u8; 32] = [0x51; 32];

/// A job of `shards` shards of 9,766 leaves, about 10 ms each by its estimate.
pub fn mix(shards: u64, policy: &str) -> String {
    let iterations = shards * 156_256;
    format!(
        r#"{{"op":{{"name":"diag","version":1,"profile":"mix.v1"}},"args":{{"iterations":{iterations}}},"policy":{policy}}}"#
    )
}

/// An agent that the test plays.
#[derive(Clone)]
pub struct Agent {
    pub secret: SecretKey,
    pub capacity: u64,
    pub accepts: u64,
    /// Leases as they came, not yet attested.
    pub leases: Vec<LeaseOffer>,
    /// What it says that it holds.
    pub holds: BTreeMap<(JobId, u64), BTreeSet<u64>>,
    /// What it says that it is confined to.
    pub ops: Vec<Op>,
    pub region: Option<Region>,
    pub billing: Vec<BillingMode>,
    pub clients: Option<Vec<NodeId>>,
    pub organizations: Vec<Organization>,
    seq: u64,
    prev: Hash,
}

impl Agent {
    pub fn new(key: u8, capacity: u64) -> Agent {
        let secret = SecretKey::from_bytes(&[key; 32]);
        let (leases, holds) = (Vec::new(), BTreeMap::new());
        let accepts = capacity * 256;
        Agent {
            secret,
            capacity,
            accepts,
            leases,
            holds,
            ops: Vec::new(),
            region: None,
            billing: Vec::new(),
            clients: None,
            organizations: Vec::new(),
            seq: 0,
            prev: Hash::ZERO,
        }
    }

    pub fn id(&self) -> NodeId {
        self.secret.public().id()
    }

    /// Takes a lease up.
    pub fn take(&mut self, offer: LeaseOffer) {
        let body = &offer.lease.body;
        let shards = body.first_shard..body.first_shard + body.shards;
        self.holds.entry((body.job, body.stage)).or_default().extend(shards);
        self.leases.push(offer);
    }

    pub fn held(&self) -> u64 {
        self.holds.values().map(|shards| shards.len() as u64).sum()
    }

    pub fn hello(&self) -> Message {
        let input = |job: JobId, stage: u64| {
            let newest = self.leases.iter().rev().map(|offer| &offer.lease.body);
            newest.clone().find(|body| (body.job, body.stage) == (job, stage)).and_then(|body| body.input)
        };
        let holding = |(&(job, stage), shards): (&(JobId, u64), &BTreeSet<u64>)| {
            let mut set = ShardSet::default();
            shards.iter().for_each(|&shard| {
                set.insert(shard);
            });
            Holding { job, stage, input: input(job, stage), shards: set.ranges().to_vec() }
        };
        Message::Hello(Box::new(Hello {
            capacity: self.capacity,
            backend: "cpu/played".to_owned(),
            accepts: self.accepts,
            holds: self.holds.iter().map(holding).collect(),
            ops: self.ops.clone(),
            seating: 0,
            candidacy: None,
            books: 0,
            region: self.region.clone(),
            billing: self.billing.clone(),
            clients: self.clients.clone(),
            organizations: self.organizations.clone(),
        }))
    }

    /// The next attestation, of some shards of a lease; its accumulators are nonsense that only a checker or a reduction
    /// would notice. Returns the message and the blobs.
    pub fn attest(&mut self, bench: &Bench, offer: &LeaseOffer, shards: &[u64]) -> (Message, Vec<Vec<u8>>) {
        let job = Job::of_contract(offer.contract.clone()).expect("a contract");
        let blob = |shard: u64| format!("accumulator of shard {shard}").into_bytes();
        let claim = |&shard: &u64| Claim {
            shard,
            task: ShardTask::new(job.plan(), &offer.run, shard).expect("a shard").hash(),
            tree: Hash([1; 32]),
            totals: Hash([2; 32]),
            blob: Hash::blob(&blob(shard)),
            wall_us: 10_000,
            cpu_us: 10_000,
        };
        let members = canon::to_bytes(&shards.iter().map(claim).collect::<Vec<_>>());
        let body = &offer.lease.body;
        let attestation = Attestation {
            agent: self.id(),
            seq: self.seq + 1,
            prev: self.prev,
            job: body.job,
            stage: body.stage,
            shards: shards.to_vec().into(),
            members: Hash::blob(&members),
            leases: vec![offer.lease.clone()],
            paths: 1,
            backend: "cpu/played".to_owned(),
        };
        (self.seq, self.prev) = (attestation.seq, attestation.digest());
        let held = self.holds.entry((body.job, body.stage)).or_default();
        held.retain(|shard| !shards.contains(shard));
        self.holds.retain(|_, shards| !shards.is_empty());
        let attestation = Signed::new(attestation, bench.genesis.mesh_id(), &self.secret);
        let message = Message::Attest(Box::new(Attested { attestation, members: Bytes(members) }));
        (message, shards.iter().map(|&shard| blob(shard)).collect())
    }
}

/// On its way to the disk.
pub enum Pending {
    Batch(u64, Batch),
    Entry(Box<Entry>),
}

/// The hub and its surroundings.
pub struct Bench {
    pub core: Core,
    pub genesis: Genesis,
    pub hub: SecretKey,
    pub now: Now,
    /// What the hub has sent, in order, and nobody has looked at.
    pub sent: VecDeque<(NodeId, Message)>,
    /// Work that it has started and that has not ended.
    pub works: VecDeque<(u64, Work)>,
    pub replies: Vec<Reply>,
    pub progress: Vec<Progress>,
    /// What other nodes asked.
    pub asked: Vec<Asked>,
    pub log: Vec<Entry>,
    pub blobs: BTreeSet<Hash>,
    finished: Vec<FinishedJob>,
    /// What is not durable yet, while the disk is slow.
    pub waiting: Option<VecDeque<Pending>>,
    nonce: u8,
    /// The market terms of the next job.
    offer: Offer,
}

fn core(secret: &SecretKey, genesis: &Genesis, beacon: BeaconChain, hub: Hub) -> Core {
    let (node, mesh) = (secret.public().id(), genesis.mesh_id());
    let identity = Identity { secret: secret.clone(), node, mesh };
    let ledger = LedgerEnd { entries: hub.state().ledger_len, head: hub.state().ledger_head };
    let found = Found { compacted: 0, members: BTreeMap::new(), beacon, unsigned: Vec::new() };
    let (charters, seating) = (hub.charters().clone(), hub.state().seating.clone());
    let (hub, outbox) = (Some((hub, found)), Vec::new());
    let recovered = Recovered { charters, seating, candidacy: None, ledger, hub, outbox };
    // The hub is no agent itself: the test plays them all.
    Core::new(identity, recovered, 0, "cpu/played".to_owned())
}

impl Bench {
    /// A hub that was never started before.
    pub fn new() -> Bench {
        Bench::with(Parameters::default())
    }

    /// The hub of a mesh that takes no strangers.
    pub fn closed() -> Bench {
        Bench::with(Parameters { open: false, ..Parameters::default() })
    }

    fn with(parameters: Parameters) -> Bench {
        let hub = SecretKey::from_bytes(&[1; 32]);
        let (mut genesis, beacon) = found(&hub, "bench".to_owned(), [2; 16], 64);
        genesis.parameters = parameters;
        let core = core(&hub, &genesis, beacon, Hub::new(genesis.clone()));
        let now = Now { wall_ms: START_MS, up_ms: 0 };
        let (sent, works) = (VecDeque::new(), VecDeque::new());
        let (replies, progress, log, blobs) = (Vec::new(), Vec::new(), Vec::new(), BTreeSet::new());
        let (finished, waiting) = (Vec::new(), None);
        let mut bench = Bench {
            core,
            genesis,
            hub,
            now,
            sent,
            works,
            replies,
            progress,
            asked: Vec::new(),
            log,
            blobs,
            finished,
            waiting,
            nonce: 0,
            offer: Offer::default(),
        };
        bench.lead();
        bench
    }

    /// The hub is elected: there is nobody else.
    fn lead(&mut self) {
        let leader = Some(self.hub.public().id());
        self.hand(Input::Tick);
        self.hand(Input::Led { term: 1, leader });
    }

    /// The hub dies and comes back with its log.
    pub fn restart(&mut self) {
        let mut hub = Hub::new(self.genesis.clone());
        for entry in &self.log {
            let _: Result<_, Rejected> = hub.apply(entry);
        }
        let (_, beacon) = found(&self.hub, "bench".to_owned(), [2; 16], 64);
        self.core = core(&self.hub, &self.genesis, beacon, hub);
        self.now.up_ms = 0;
        self.works.clear();
        self.sent.clear();
        self.lead();
    }

    /// Hands the hub an input, and every completion of its disk.
    pub fn hand(&mut self, input: Input) {
        let mut inputs = VecDeque::from([input]);
        while let Some(input) = inputs.pop_front() {
            let mut out = Vec::new();
            self.core.handle(self.now, input, &mut out);
            for output in out {
                match output {
                    Output::Store { token, batch, .. } => {
                        inputs.extend(self.disk(Pending::Batch(token, batch)));
                    }
                    Output::Propose(command) => {
                        let index = (self.log.len() + self.entries_waiting()) as u64;
                        let entry = Entry { index, term: 1, at_ms: self.now.wall_ms, command };
                        inputs.extend(self.disk(Pending::Entry(Box::new(entry))));
                    }
                    Output::Snapshot { .. }
                    | Output::Reseat { .. }
                    | Output::Seated { .. }
                    | Output::Announce(_)
                    | Output::Provide(_)
                    | Output::Seek(_)
                    | Output::Vouch { .. } => {}
                    Output::Confirm { token } => {
                        inputs.push_back(Input::Confirmed { token, next: Some(self.log.len() as u64) });
                    }
                    // Who keeps which artifacts has tests of its own.
                    Output::Work { work: Work::Keeping { .. } | Work::ScrubPieces { .. }, .. }
                    | Output::Send { message: Message::Keeping { .. }, .. } => {}
                    Output::Work { ticket, work } => self.works.push_back((ticket, work)),
                    Output::Send { to, message } => self.sent.push_back((to, message)),
                    Output::Reply { reply, .. } => self.replies.push(reply),
                    Output::Progress(progress) => self.progress.push(progress),
                    Output::Asked(asked) => self.asked.push(asked),
                    Output::Halt(halted) => panic!("{halted}"),
                }
            }
        }
    }

    fn entries_waiting(&self) -> usize {
        let waiting = self.waiting.iter().flatten();
        waiting.filter(|pending| matches!(pending, Pending::Entry(_))).count()
    }

    /// A fast disk has it at once.
    fn disk(&mut self, pending: Pending) -> Option<Input> {
        match &mut self.waiting {
            Some(waiting) => {
                waiting.push_back(pending);
                None
            }
            None => Some(self.durable(pending)),
        }
    }

    fn durable(&mut self, pending: Pending) -> Input {
        match pending {
            Pending::Batch(token, batch) => {
                self.store(&batch);
                Input::Stored { token }
            }
            Pending::Entry(entry) => {
                self.log.push((*entry).clone());
                Input::Committed(vec![Committed::Entry(entry)])
            }
        }
    }

    /// The slow disk has made the next batch durable, or the next entry.
    pub fn sync(&mut self) {
        let next = self.waiting.as_mut().and_then(VecDeque::pop_front).expect("something waits");
        let input = self.durable(next);
        self.hand(input);
    }

    fn store(&mut self, batch: &Batch) {
        for write in batch.writes() {
            match write {
                Write::PutBlob { blob } => drop(self.blobs.insert(blob.hash())),
                Write::PutJob { record, .. } => {
                    self.finished.push(JobFile::decode(record).expect("a record").finished);
                }
                _ => {}
            }
        }
    }

    /// A message from an agent.
    pub fn from(&mut self, agent: &Agent, message: Message) {
        self.hand(Input::Message { from: agent.id(), message });
    }

    /// Agents say hello.
    pub fn hello(&mut self, agents: &[&Agent]) {
        for agent in agents {
            self.from(agent, agent.hello());
        }
    }

    /// A ticket is made.
    pub fn invite(&mut self, secret: &[u8]) {
        let body = Invitation {
            secret: secret_digest(secret),
            expires_ms: self.now.wall_ms + 60_000,
            organization: None,
        };
        let invitation = Signed::new(body, self.genesis.mesh_id(), &self.hub);
        let request = Request::Enrolment(Box::new(EnrolmentCommand::Invite(invitation)));
        assert_eq!(self.answer(request), Reply::Done);
    }

    /// What an agent signs to be admitted.
    pub fn join(&self, agent: &Agent, secret: &[u8]) -> Signed<Join> {
        let body = Join {
            secret: Bytes(secret.to_vec()),
            name: "one".to_owned(),
            expires_ms: self.now.wall_ms + 60_000,
        };
        Signed::new(body, self.genesis.mesh_id(), &agent.secret)
    }

    /// An agent joins with a ticket of its own.
    pub fn admit(&mut self, agent: &Agent) {
        self.nonce += 1;
        let secret = [self.nonce; 32];
        self.invite(&secret);
        let join = self.join(agent, &secret);
        self.from(agent, Message::Join(Box::new(join)));
    }

    /// An agent is expelled.
    pub fn expel(&mut self, agent: &Agent) {
        let Reply::Members(members) = self.answer(Request::Members) else { panic!("members") };
        let admitted = members.nodes[&agent.id()].index;
        let body = Expulsion { node: agent.id(), admitted };
        let expulsion = Signed::new(body, self.genesis.mesh_id(), &self.hub);
        let request = Request::Enrolment(Box::new(EnrolmentCommand::Expel(expulsion)));
        assert_eq!(self.answer(request), Reply::Done);
    }

    /// Time passes, with a tick at the end; the agents say hello each second meanwhile.
    pub fn pass(&mut self, ms: u64, agents: &[&Agent]) {
        let end = self.now.up_ms + ms;
        while self.now.up_ms < end {
            let step = (end - self.now.up_ms).min(1_000);
            self.now.up_ms += step;
            self.now.wall_ms += step;
            self.hello(agents);
            self.hand(Input::Tick);
        }
    }

    /// Submits a job, and looks at the answer.
    pub fn submit(&mut self, envelope: &str) -> JobId {
        self.ask(envelope);
        match self.replies.pop() {
            Some(Reply::Accepted(id)) => id,
            other => panic!("accepted, not {other:?}"),
        }
    }

    /// Submits a job that is to be executed in these regions.
    pub fn submit_in(&mut self, regions: &[&str], envelope: &str) -> JobId {
        let regions = regions.iter().map(|name| name.parse().expect("a region")).collect();
        self.offer = Offer { regions: Regions::new(regions).expect("few"), ..Offer::default() };
        self.submit(envelope)
    }

    /// A job that the client has signed.
    pub fn signed(&mut self, envelope: &str) -> Box<Signed<Submission>> {
        let (job, terms) = Job::read(envelope.as_bytes()).expect("a job");
        self.nonce += 1;
        let submission = Submission {
            envelope: Bytes(job.envelope(&terms)),
            offer: std::mem::take(&mut self.offer),
            nonce: Bytes(vec![self.nonce; 16]),
            expires_ms: self.now.wall_ms + 60_000,
        };
        Box::new(Signed::new(submission, self.genesis.mesh_id(), &client()))
    }

    /// Submits a job.
    pub fn ask(&mut self, envelope: &str) {
        let request = Request::Submit(self.signed(envelope));
        self.hand(Input::Request { token: 1, request });
    }

    /// What the hub answers a client of its own.
    pub fn answer(&mut self, request: Request) -> Reply {
        self.hand(Input::Request { token: 3, request });
        self.replies.pop().expect("an answer")
    }

    /// The client cancels a job.
    pub fn cancel(&mut self, job: JobId) -> Option<Reply> {
        let cancellation = Signed::new(Cancellation { job }, self.genesis.mesh_id(), &client());
        self.hand(Input::Request { token: 2, request: Request::Cancel(Box::new(cancellation)) });
        self.replies.pop()
    }

    /// The leases that were sent to an agent, taken out of what was sent.
    pub fn leases(&mut self, agent: &Agent) -> Vec<LeaseOffer> {
        let to = agent.id();
        let (mut leases, mut rest) = (Vec::new(), VecDeque::new());
        for (node, message) in self.sent.drain(..) {
            match message {
                Message::Lease(offer) if node == to => leases.push(*offer),
                message => rest.push_back((node, message)),
            }
        }
        self.sent = rest;
        leases
    }

    /// Gives an agent the leases that were sent to it.
    pub fn deliver(&mut self, agent: &mut Agent) -> u64 {
        let leases = self.leases(agent);
        let shards = leases.iter().map(|offer| offer.lease.body.shards).sum();
        leases.into_iter().for_each(|offer| agent.take(offer));
        shards
    }

    /// Attests shards under an agent's lease, and sends the blobs that the hub asks for.
    pub fn attest(&mut self, agent: &mut Agent, offer: &LeaseOffer, shards: &[u64]) {
        let (message, blobs) = agent.attest(self, offer, shards);
        self.from(agent, message);
        for bytes in blobs {
            self.from(agent, Message::Blob { bytes: Bytes(bytes) });
        }
    }

    /// The job that became final last.
    pub fn finished(&self) -> FinishedJob {
        self.finished.last().expect("a final job").clone()
    }

    pub fn job(&self, id: &JobId) -> Option<&JobRecord> {
        self.core.hub().and_then(|hub| hub.job(id))
    }

    /// What of a kind was logged.
    pub fn logged(&self, which: impl Fn(&Command) -> bool) -> usize {
        self.log.iter().filter(|entry| which(&entry.command)).count()
    }

    /// What was sent to an agent, taken out, leases and answers about its chain aside.
    pub fn told(&mut self, agent: &Agent) -> Vec<Message> {
        let to = agent.id();
        let (told, rest): (VecDeque<_>, VecDeque<_>) = self.sent.drain(..).partition(|(node, message)| {
            *node == to
                && !matches!(message, Message::Lease(_) | Message::Logged { .. } | Message::Led { .. })
        });
        self.sent = rest;
        told.into_iter().map(|(_, message)| message).collect()
    }
}

/// Who submits.
pub fn client() -> SecretKey {
    SecretKey::from_bytes(&[9; 32])
}

/// The shards of leases.
pub fn shards(offers: &[LeaseOffer]) -> BTreeSet<u64> {
    let of = |offer: &LeaseOffer| {
        let body = &offer.lease.body;
        body.first_shard..body.first_shard + body.shards
    };
    offers.iter().flat_map(of).collect()
}
