//! Nodes with disks, keys and executors in one thread; time passes only when nothing else is to be done. The log is the
//! test's: what the leader proposes is committed at once and handed to every member that is up.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use forgemesh_consensus::command::{Command, Entry};
use forgemesh_consensus::machine::Hub;
use forgemesh_consensus::raft::Committed;
use forgemesh_kernel::backend::Isa;
use forgemesh_kernel::job::Job;
use forgemesh_node::core::archive::LedgerEnd;
use forgemesh_node::core::beacon::BeaconChain;
use forgemesh_node::core::hub::{Found, Halted};
use forgemesh_node::core::{Core, Identity, Input, Now, Output, Recovered, Reply, Request};
use forgemesh_node::job_file::JobFile;
use forgemesh_node::perform::Performer;
use forgemesh_node::ports::Done;
use forgemesh_protocol::canon::{self, Bytes};
use forgemesh_protocol::charter::Seating;
use forgemesh_protocol::genesis::{Genesis, HubMember, Parameters};
use forgemesh_protocol::hash::Hash;
use forgemesh_protocol::id::{JobId, NodeId};
use forgemesh_protocol::keys::{SecretKey, Signed};
use forgemesh_protocol::ledger::LedgerEntry;
use forgemesh_protocol::limits;
use forgemesh_protocol::submission::{Offer, Submission};
use forgemesh_protocol::wire::{Attested, Message};
use forgemesh_storage::{MetaKey, Storage};

const START_MS: u64 = 1_767_225_600_000;
const LINKS: u64 = 64;

/// One node.
pub struct Node {
    pub secret: SecretKey,
    pub core: Core,
    pub storage: Storage,
    performer: Performer,
    capacity: u64,
    pub up: bool,
    started_ms: u64,
    pub replies: Vec<Reply>,
    /// Why it cannot follow the log.
    pub halted: Option<Halted>,
}

/// The mesh.
pub struct Bench {
    pub genesis: Genesis,
    pub nodes: Vec<Node>,
    pub log: Vec<Entry>,
    pub now_ms: u64,
    pub leader: Option<usize>,
    pub term: u64,
    queue: VecDeque<(usize, Input)>,
    /// Every message that was sent, by sender and receiver.
    pub sent: Vec<(usize, usize, Message)>,
    /// Messages that are lost: from, to.
    pub cut: Vec<(usize, usize)>,
    /// A member that hears of a committed entry when the next one is, or when nothing else is to be done.
    pub late: Option<usize>,
    later: Option<Input>,
    /// A node that is told nothing of who leads.
    pub deaf: Option<usize>,
    /// An agent that signs for accumulators which are none.
    pub liar: Option<usize>,
    /// A node that does not say what it keeps.
    pub mute: Option<usize>,
    /// A node whose pieces of artifacts are others.
    pub forger: Option<usize>,
    /// Of so many pieces of artifacts that are sent one is lost; none of nought.
    pub lossy: usize,
    /// Agents that stand for the hub: the first ones after the members.
    candidates: usize,
    /// Who has the log.
    pub replicas: BTreeSet<usize>,
    /// Who was told by others that others sit.
    pub told: BTreeSet<usize>,
    /// What each node has told its network of others.
    pub vouched: BTreeMap<(usize, NodeId), bool>,
    folder: tempfile::TempDir,
    nonce: u8,
}

fn ledger_end(storage: &Storage) -> LedgerEnd {
    let entries = storage.ledger_len().expect("a disk");
    let last = entries.checked_sub(1).map(|last| storage.ledger(last).expect("a disk").expect("an entry"));
    let entry: Option<LedgerEntry> =
        last.map(|bytes| canon::from_bytes(&bytes, limits::COMMAND_BYTES).expect("ours"));
    LedgerEnd { entries, head: entry.map_or(Hash::ZERO, |entry| entry.hash()) }
}

fn beacon(member: usize) -> BeaconChain {
    BeaconChain::new(Hash([0x40 + member as u8; 32]), LINKS)
}

/// Who submits all jobs.
pub fn client() -> SecretKey {
    SecretKey::from_bytes(&[0xcc; 32])
}

fn secret(node: usize) -> SecretKey {
    SecretKey::from_bytes(&[node as u8 + 1; 32])
}

/// What a node says of itself that would sit in the hub.
pub fn candidacy(node: usize, secret: &SecretKey) -> HubMember {
    HubMember { key: secret.public(), beacon_anchor: beacon(node).anchor(), beacon_length: LINKS }
}

impl Bench {
    /// `members` hub members with `capacity` threads each, and `agents` with one.
    pub fn new(members: usize, capacity: u64, agents: usize) -> Bench {
        Bench::with_candidates(members, capacity, agents, 0)
    }

    /// The same, with each artifact on so many nodes.
    pub fn with_replication(members: usize, capacity: u64, agents: usize, replication: u64) -> Bench {
        Bench::with(members, capacity, agents, 0, Parameters { replication, ..Parameters::default() })
    }

    /// The same, of a mesh in which only those work who are admitted.
    pub fn closed(members: usize, capacity: u64, agents: usize) -> Bench {
        Bench::with(members, capacity, agents, 0, Parameters { open: false, ..Parameters::default() })
    }

    /// The first `candidates` of the agents stand for the hub.
    pub fn with_candidates(members: usize, capacity: u64, agents: usize, candidates: usize) -> Bench {
        Bench::with(members, capacity, agents, candidates, Parameters::default())
    }

    fn with(
        members: usize,
        capacity: u64,
        agents: usize,
        candidates: usize,
        parameters: Parameters,
    ) -> Bench {
        let member = |i: usize| candidacy(i, &secret(i));
        let genesis = Genesis {
            protocol: limits::PROTOCOL_VERSION,
            name: "bench".to_owned(),
            nonce: Bytes(vec![9; 16]),
            hub: (0..members).map(member).collect(),
            parameters,
        };
        let mut bench = Bench {
            genesis,
            nodes: Vec::new(),
            log: Vec::new(),
            now_ms: START_MS,
            leader: None,
            term: 0,
            queue: VecDeque::new(),
            sent: Vec::new(),
            cut: Vec::new(),
            late: None,
            later: None,
            deaf: None,
            mute: None,
            liar: None,
            forger: None,
            lossy: 0,
            candidates,
            replicas: (0..members).collect(),
            told: BTreeSet::new(),
            vouched: BTreeMap::new(),
            folder: tempfile::tempdir().expect("a folder"),
            nonce: 0,
        };
        for i in 0..members + agents {
            let capacity = if i < members { capacity } else { 1 };
            let storage = Storage::open(&bench.folder.path().join(i.to_string())).expect("a store");
            let core = bench.core(&secret(i), &storage, capacity);
            bench.nodes.push(Node {
                secret: secret(i),
                core,
                storage,
                performer: Performer::new(Isa::Portable),
                capacity,
                up: true,
                started_ms: START_MS,
                halted: None,
                replies: Vec::new(),
            });
            bench.queue.push_back((i, Input::Tick));
        }
        bench
    }

    /// A core with what is on its disk and in the log.
    fn core(&self, secret: &SecretKey, storage: &Storage, capacity: u64) -> Core {
        let node = secret.public().id();
        let i = self.number(&node);
        let candidacy = (i < self.genesis.hub.len() + self.candidates).then(|| candidacy(i, secret));
        let hub = candidacy.is_some().then(|| {
            let mut hub = Hub::new(self.genesis.clone());
            for entry in self.log.iter().filter(|_| self.replicas.contains(&i)) {
                let _ = hub.apply(entry);
            }
            (hub, Found { compacted: 0, members: BTreeMap::new(), beacon: beacon(i), unsigned: Vec::new() })
        });
        let heard = storage.meta(MetaKey::Seating).expect("a disk");
        let heard = heard.map(|bytes| canon::from_bytes(&bytes, limits::SNAPSHOT_BYTES).expect("ours"));
        let heard = heard.unwrap_or_else(|| Seating::of(&self.genesis));
        let logged = hub.as_ref().map(|(hub, _)| hub.state().seating.clone());
        let seating = logged.filter(|seating| seating.number > heard.number).unwrap_or(heard);
        let charters = seating.charters(self.genesis.clone()).expect("in order");
        let read =
            |bytes: &Vec<u8>| -> Attested { canon::from_bytes(bytes, limits::COMMAND_BYTES).expect("ours") };
        let outbox = storage.outbox(0, 1_000).expect("a disk").iter().map(|(_, bytes)| read(bytes)).collect();
        let identity = Identity { secret: secret.clone(), node, mesh: self.genesis.mesh_id() };
        Core::new(
            identity,
            Recovered { charters, seating, candidacy, ledger: ledger_end(storage), hub, outbox },
            capacity,
            "cpu/portable".to_owned(),
        )
    }

    fn number(&self, node: &NodeId) -> usize {
        (0..16).find(|i| secret(*i).public().id() == *node).expect("a node of this mesh")
    }

    pub fn id(&self, node: usize) -> NodeId {
        self.nodes[node].secret.public().id()
    }

    /// A member is elected; all members that are up hear of it.
    pub fn elect(&mut self, leader: usize) {
        self.term += 1;
        self.leader = Some(leader);
        let id = self.id(leader);
        for i in self.replicas.clone() {
            self.queue.push_back((i, Input::Led { term: self.term, leader: Some(id) }));
        }
    }

    /// A node dies: what it had not stored is gone.
    pub fn kill(&mut self, node: usize) {
        self.nodes[node].up = false;
        self.queue.retain(|(to, _)| *to != node);
        if self.leader == Some(node) {
            self.leader = None;
        }
    }

    /// The others hear that a node's connections have ended.
    pub fn part(&mut self, node: usize) {
        let parted = Input::Parted { node: self.id(node) };
        let others = (0..self.nodes.len()).filter(|other| *other != node);
        self.queue.extend(others.map(|other| (other, parted.clone())));
    }

    /// A node comes back with its disk; a member also with the log.
    pub fn revive(&mut self, node: usize) {
        let (secret, capacity) = (self.nodes[node].secret.clone(), self.nodes[node].capacity);
        let core = self.core(&secret, &self.nodes[node].storage, capacity);
        let revived = &mut self.nodes[node];
        (revived.core, revived.up, revived.started_ms) = (core, true, self.now_ms);
        revived.performer = Performer::new(Isa::Portable);
        self.queue.push_back((node, Input::Tick));
        if let Some(leader) = self.leader {
            let leader = Some(self.id(leader));
            self.queue.push_back((node, Input::Led { term: self.term, leader }));
        }
    }

    /// Submits a job through a node, which need not be a member.
    pub fn submit(&mut self, node: usize, envelope: &str) -> JobId {
        let (job, terms) = Job::read(envelope.as_bytes()).expect("a job");
        self.nonce += 1;
        let submission = Submission {
            envelope: Bytes(job.envelope(&terms)),
            offer: Offer::default(),
            nonce: Bytes(vec![self.nonce; 16]),
            expires_ms: self.now_ms + 3_600_000,
        };
        let submission = Signed::new(submission, self.genesis.mesh_id(), &client());
        let id = submission.job_id(self.genesis.mesh_id());
        self.queue
            .push_back((node, Input::Request { token: 1, request: Request::Submit(Box::new(submission)) }));
        id
    }

    /// Hands a node an input.
    pub fn hand(&mut self, node: usize, input: Input) {
        self.queue.push_back((node, input));
    }

    /// A client asks a node something.
    pub fn ask(&mut self, node: usize, request: Request) {
        self.queue.push_back((node, Input::Request { token: 2, request }));
    }

    /// Takes steps until `done`; at most so many virtual milliseconds pass.
    pub fn run(&mut self, most_ms: u64, mut done: impl FnMut(&Bench) -> bool) {
        let end_ms = self.now_ms + most_ms;
        while !done(self) {
            let late = |bench: &mut Bench| Some((bench.late?, bench.later.take()?));
            match self.queue.pop_front().or_else(|| late(self)) {
                Some((node, input)) => self.step(node, input),
                None => {
                    let up = (0..self.nodes.len()).filter(|i| self.nodes[*i].up);
                    let wait_ms = up.clone().map(|i| self.next_deadline(i)).min();
                    self.now_ms += wait_ms.expect("a node is up").clamp(1, 1_000);
                    assert!(self.now_ms <= end_ms, "not done after {most_ms} ms");
                    let up: Vec<usize> = (0..self.nodes.len()).filter(|i| self.nodes[*i].up).collect();
                    self.queue.extend(up.iter().map(|i| (*i, Input::Tick)));
                    if let Some(leader) = self.leader {
                        let others = up.iter().filter(|i| self.replicas.contains(i) && **i != leader);
                        let heard = others.map(|i| (leader, Input::Heard { from: self.id(*i) }));
                        self.queue.extend(heard.collect::<Vec<_>>());
                    }
                }
            }
        }
    }

    /// In how many milliseconds a node wants to be woken.
    pub fn next_deadline(&self, node: usize) -> u64 {
        self.nodes[node].core.next_deadline(self.now(node))
    }

    fn now(&self, node: usize) -> Now {
        Now { wall_ms: self.now_ms, up_ms: self.now_ms - self.nodes[node].started_ms }
    }

    fn step(&mut self, node: usize, input: Input) {
        if !self.nodes[node].up {
            return;
        }
        let (now, mut out) = (self.now(node), Vec::new());
        self.nodes[node].core.handle(now, input, &mut out);
        for output in out {
            match output {
                Output::Store { token, batch, .. } => {
                    self.nodes[node].storage.commit(&batch).expect("a disk");
                    self.queue.push_back((node, Input::Stored { token }));
                }
                Output::Work { ticket, work } => {
                    let mut done = self.nodes[node].performer.perform(work, &self.nodes[node].storage);
                    if let (true, Done::Ran { claim, accumulator, .. }) = (self.liar == Some(node), &mut done)
                    {
                        accumulator.push(0);
                        claim.blob = Hash::blob(accumulator);
                    }
                    self.queue.push_back((node, Input::Worked { ticket, done }));
                }
                Output::Send { to, mut message } => {
                    if let (true, Message::Pieced { bytes, .. }) = (self.forger == Some(node), &mut message) {
                        bytes.0[0] ^= 1;
                    }
                    let from = self.id(node);
                    let to = (0..self.nodes.len()).find(|i| self.id(*i) == to).expect("a node of this mesh");
                    self.sent.push((node, to, message.clone()));
                    let is_deaf = self.deaf == Some(to)
                        && !matches!(message, Message::Bring { .. } | Message::Answered { .. });
                    let is_mute = self.mute == Some(node) && matches!(message, Message::Kept(_));
                    let pieces =
                        self.sent.iter().filter(|(_, _, m)| matches!(m, Message::Pieced { .. })).count();
                    let is_piece = matches!(self.sent.last(), Some((_, _, Message::Pieced { .. })));
                    let is_lost = is_piece && self.lossy > 0 && pieces.is_multiple_of(self.lossy);
                    if !is_deaf && !is_mute && !self.cut.contains(&(node, to)) && !is_lost {
                        self.queue.push_back((to, Input::Message { from, message }));
                    }
                }
                Output::Announce(message) => {
                    let from = self.id(node);
                    for to in (0..self.nodes.len()).filter(|to| *to != node) {
                        self.sent.push((node, to, message.clone()));
                        self.queue.push_back((to, Input::Message { from, message: message.clone() }));
                    }
                }
                Output::Propose(command) if self.leader == Some(node) => self.commit(command),
                Output::Reply { reply, .. } => self.nodes[node].replies.push(reply),
                Output::Confirm { token } => {
                    let leads = self.leader == Some(node);
                    let next = leads.then_some(self.log.len() as u64);
                    self.queue.push_back((node, Input::Confirmed { token, next }));
                }
                Output::Reseat { voters, learners } => self.reseat(node, voters, learners),
                Output::Propose(_) | Output::Snapshot { .. } | Output::Progress(_) => {}
                Output::Seated { told: true, .. } => drop(self.told.insert(node)),
                Output::Halt(halted) => self.nodes[node].halted = Some(halted),
                Output::Asked(_) | Output::Seated { .. } | Output::Provide(_) | Output::Seek(_) => {}
                Output::Vouch { node: other, belongs } => drop(self.vouched.insert((node, other), belongs)),
            }
        }
    }

    /// Nothing is to be done before time passes.
    pub fn queue_is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// The log's members change, if all newcomers are up.
    fn reseat(&mut self, leader: usize, voters: Option<BTreeSet<NodeId>>, learners: BTreeSet<NodeId>) {
        let voters = voters.unwrap_or_else(|| self.replicas.iter().map(|i| self.id(*i)).collect());
        let wanted: BTreeSet<usize> = voters.union(&learners).map(|node| self.number(node)).collect();
        let newcomers: Vec<usize> = wanted.difference(&self.replicas).copied().collect();
        let from = self.id(leader);
        let hears = |i: &usize| self.nodes[*i].up && self.nodes[*i].core.may_replicate(&from);
        let done = self.leader == Some(leader) && newcomers.iter().all(hears);
        if done {
            self.replicas = wanted;
            let all: Vec<Committed> =
                self.log.iter().map(|entry| Committed::Entry(Box::new(entry.clone()))).collect();
            for i in newcomers {
                self.queue.push_back((i, Input::Committed(all.clone())));
                self.queue.push_back((i, Input::Led { term: self.term, leader: Some(self.id(leader)) }));
            }
            if !voters.contains(&self.id(leader)) {
                self.leader = None;
            }
        }
        self.queue.push_back((leader, Input::Reseated { done }));
    }

    /// The log takes a command.
    pub fn commit(&mut self, command: Command) {
        let entry = Entry { index: self.log.len() as u64, term: self.term, at_ms: self.now_ms, command };
        self.log.push(entry.clone());
        for i in self.replicas.clone() {
            let committed = Input::Committed(vec![Committed::Entry(Box::new(entry.clone()))]);
            let due = if self.late == Some(i) { self.later.replace(committed) } else { Some(committed) };
            self.queue.extend(due.map(|due| (i, due)));
        }
    }

    /// The record that a member has in its books.
    pub fn finished(&self, member: usize, job: &JobId) -> Option<JobFile> {
        let row = self.nodes[member].storage.job(&job.0).expect("a disk")?;
        Some(JobFile::decode(&row).expect("a record"))
    }

    /// How many log entries are of a kind.
    pub fn logged(&self, which: impl Fn(&Command) -> bool) -> usize {
        self.log.iter().filter(|entry| which(&entry.command)).count()
    }
}
