//! A core driven by hand, so that messages can be held back and sent again: every batch is durable at once, every
//! piece of work done at once, and a second machine follows the log and says what became of each entry.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use forgemesh_consensus::command::{Command, Entry};
use forgemesh_consensus::machine::{Applied, Hub, Rejected};
use forgemesh_consensus::raft::Committed;
use forgemesh_kernel::job::Job;
use forgemesh_node::core::archive::LedgerEnd;
use forgemesh_node::core::beacon::BeaconChain;
use forgemesh_node::core::hub::Found;
use forgemesh_node::core::{Core, Identity, Input, Now, Output, Recovered, Reply, Request};
use forgemesh_protocol::canon::{self, Bytes};
use forgemesh_protocol::genesis::{Genesis, HubMember, Parameters};
use forgemesh_protocol::hash::Hash;
use forgemesh_protocol::keys::{SecretKey, Signed};
use forgemesh_protocol::limits;
use forgemesh_protocol::submission::{Offer, Submission};
use forgemesh_protocol::wire::{Attested, Message};
use forgemesh_storage::{Storage, Write};

use super::{Conduct, Misdeed, conduct};
use crate::disk::Disk;
use crate::world::Broken;

/// The node's key.
const KEY: [u8; 32] = [0x11; 32];
/// The core's clock, which stands still.
const NOW: Now = Now { wall_ms: 1_767_225_600_000, up_ms: 0 };

/// The term in which it leads.
const TERM: u64 = 1;

/// The core and the machine beside it.
pub struct Rig {
    core: Core,
    conduct: Box<dyn Conduct>,
    storage: Arc<Storage>,
    /// Applies the same log.
    mirror: Hub,
    pub secret: SecretKey,
    /// Every attestation that the node's own agent has signed, in order.
    pub signed: Vec<Attested>,
    /// What clients were told.
    pub replies: Vec<Reply>,
    /// What became of each entry of the log.
    pub applied: Vec<(Command, Result<Applied, Rejected>)>,
}

impl Rig {
    /// A node of one, with an empty log, whose agent has this misdeed.
    pub fn new(misdeed: Option<Misdeed>) -> Result<Rig, Broken> {
        let secret = SecretKey::from_bytes(&KEY);
        let beacon = BeaconChain::new(Hash([0x22; 32]), 1_024);
        let (beacon_anchor, beacon_length) = (beacon.anchor(), beacon.length());
        let genesis = Genesis {
            protocol: limits::PROTOCOL_VERSION,
            name: "rig".to_owned(),
            nonce: Bytes(vec![0x33; 16]),
            hub: vec![HubMember { key: secret.public(), beacon_anchor, beacon_length }],
            parameters: Parameters::default(),
        };
        let mirror = Hub::new(genesis);
        let identity = Identity { node: secret.public().id(), mesh: mirror.mesh(), secret: secret.clone() };
        let (members, unsigned, node) = (BTreeMap::new(), Vec::new(), identity.node);
        let found = Found { compacted: 0, members, beacon, unsigned };
        let ledger = LedgerEnd { entries: 0, head: Hash::ZERO };
        let hub = Some((mirror.clone(), found));
        let (charters, seating) = (mirror.charters().clone(), mirror.state().seating.clone());
        let (candidacy, outbox) = (None, Vec::new());
        let recovered = Recovered { charters, seating, candidacy, ledger, hub, outbox };
        let core = Core::new(identity, recovered, 4, "cpu/rig".to_owned());
        let storage = Arc::new(Disk::blank(0)?.open()?);
        let conduct = conduct(misdeed);
        let (signed, replies, applied) = (Vec::new(), Vec::new(), Vec::new());
        let mut rig = Rig { core, conduct, storage, mirror, secret, signed, replies, applied };
        rig.hand(Input::Led { term: TERM, leader: Some(node) })?;
        Ok(rig)
    }

    /// Hands the core an input, and all that follows from it.
    pub fn hand(&mut self, input: Input) -> Result<(), Broken> {
        let mut inputs = VecDeque::from([input]);
        while let Some(input) = inputs.pop_front() {
            let mut out = Vec::new();
            self.core.handle(NOW, input, &mut out);
            for output in out {
                match output {
                    Output::Store { token, batch, .. } => {
                        self.storage.commit(&batch).map_err(Broken::Refused)?;
                        batch.writes().iter().try_for_each(|write| self.follow(write))?;
                        inputs.push_back(Input::Stored { token });
                    }
                    Output::Work { ticket, work } => {
                        let done = self.conduct.perform(work, &self.storage);
                        inputs.push_back(Input::Worked { ticket, done });
                    }
                    Output::Propose(command) => inputs.push_back(self.commit(command)),
                    Output::Reply { reply, .. } => self.replies.push(reply),
                    Output::Halt(halted) => return Err(Broken::Halted { machine: 0, halted }),
                    Output::Snapshot { .. }
                    | Output::Reseat { .. }
                    | Output::Seated { .. }
                    | Output::Send { .. }
                    | Output::Progress(_)
                    | Output::Confirm { .. }
                    | Output::Announce(_)
                    | Output::Provide(_)
                    | Output::Seek(_)
                    | Output::Vouch { .. }
                    | Output::Asked(_) => {}
                }
            }
        }
        Ok(())
    }

    /// Reads what was written as a restarted node would: what it cannot read is lost.
    fn follow(&mut self, write: &Write) -> Result<(), Broken> {
        if let Write::PutOutbox { attestation, .. } = write {
            self.signed.push(canon::from_bytes(attestation, limits::COMMAND_BYTES).map_err(Broken::Log)?);
        }
        Ok(())
    }

    /// The log of one member: what it proposes is agreed on.
    fn commit(&mut self, command: Command) -> Input {
        let index = self.mirror.state().next;
        let entry = Entry { index, term: TERM, at_ms: NOW.wall_ms, command };
        let applied = self.mirror.apply(&entry);
        self.applied.push((entry.command.clone(), applied));
        Input::Committed(vec![Committed::Entry(Box::new(entry))])
    }

    /// Submits a job and lets it run to its end.
    pub fn run_job(&mut self, envelope: &str, nonce: u8) -> Result<(), Broken> {
        let (job, terms) = Job::read(envelope.as_bytes())?;
        self.submit(Submission {
            envelope: Bytes(job.envelope(&terms)),
            offer: Offer::default(),
            nonce: Bytes(vec![nonce; 16]),
            expires_ms: NOW.wall_ms + 60_000,
        })
    }

    /// Submits whatever this is, under the node's signature.
    pub fn submit(&mut self, submission: Submission) -> Result<(), Broken> {
        let submission = Signed::new(submission, self.mirror.mesh(), &self.secret);
        self.hand(Input::Request { token: 0, request: Request::Submit(Box::new(submission)) })
    }

    /// Sends an attestation to the node's hub; what the log made of it.
    pub fn send(&mut self, attested: Attested) -> Result<Vec<Result<Applied, Rejected>>, Broken> {
        let from = self.secret.public().id();
        let before = self.applied.len();
        self.hand(Input::Message { from, message: Message::Attest(Box::new(attested)) })?;
        let of_log = self.applied[before..].iter();
        let attests = of_log.filter(|(command, _)| matches!(command, Command::Attest { .. }));
        Ok(attests.map(|(_, applied)| applied.clone()).collect())
    }

    /// The machine that follows the log.
    pub fn hub(&self) -> &Hub {
        &self.mirror
    }

    /// The core's own machine, which must agree.
    pub fn core_hub(&self) -> &Hub {
        self.core.hub().expect("invariant: the rig's node is its hub")
    }
}
