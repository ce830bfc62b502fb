//! What clients of a node may ask of it, and what they are told.

use std::ops::Range;

use forgemesh_consensus::command::Command;
use forgemesh_consensus::enrolment::Enrolment;
use forgemesh_consensus::job::JobRecord;
use forgemesh_protocol::cancellation::Cancellation;
use forgemesh_protocol::canon::Bytes;
use forgemesh_protocol::charter::Charter;
use forgemesh_protocol::enrolment::{Expulsion, Invitation, Withdrawal};
use forgemesh_protocol::hash::Hash;
use forgemesh_protocol::id::{JobId, NodeId};
use forgemesh_protocol::keys::Signed;
use forgemesh_protocol::state::State;
use forgemesh_protocol::submission::Submission;
use forgemesh_protocol::wire::{Answer, Outlined};

use super::availability::Availability;
use super::status;

/// What a client may ask.
#[derive(Clone, Debug)]
pub enum Request {
    /// Take this job on.
    Submit(Box<Signed<Submission>>),
    /// Give this job up.
    Cancel(Box<Signed<Cancellation>>),
    /// Say what waits in this node.
    Queues,
    /// Change who belongs to the mesh.
    Enrolment(Box<EnrolmentCommand>),
    /// Say who belongs to the mesh.
    Members,
    /// Lend the mesh so much of this node from now on.
    Available(Box<Availability>),
    /// Say how this node stands.
    Status,
    /// Show an open job.
    Open(JobId),
    /// Say what an open job waits for.
    Pending(JobId),
    /// Have this hub member know all that was agreed on and answered anywhere before now.
    Current,
    /// Ask the hub's leader this for me.
    Ask(Bytes),
    /// Take an artifact from this client, or say what is missing of it.
    PutArtifact(Box<Outlined>),
    /// Take a piece of it.
    PutPiece { artifact: Hash, index: u64, bytes: Bytes },
    /// Have these bytes of an artifact on this node's disk.
    Artifact { artifact: Hash, bytes: Range<u64> },
    /// Remove the artifacts that nothing needs, as many as go in one batch; or only count them.
    Collect { dry: bool },
    /// The answer to what another node asked here.
    Answer { to: NodeId, number: u64, answer: Box<Answer> },
}

/// What only a hub member may say, and has signed.
#[derive(Clone, Debug)]
pub enum EnrolmentCommand {
    Invite(Signed<Invitation>),
    Withdraw(Signed<Withdrawal>),
    Expel(Signed<Expulsion>),
    Consent(Signed<Charter>),
}

impl From<EnrolmentCommand> for Command {
    fn from(command: EnrolmentCommand) -> Command {
        match command {
            EnrolmentCommand::Invite(invitation) => Command::Invite { invitation },
            EnrolmentCommand::Withdraw(withdrawal) => Command::Withdraw { withdrawal },
            EnrolmentCommand::Expel(expulsion) => Command::Expel { expulsion },
            EnrolmentCommand::Consent(charter) => Command::Consent { charter },
        }
    }
}

/// A question of another node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    pub from: NodeId,
    pub number: u64,
    pub body: Bytes,
}

/// What a client is told.
#[derive(Clone, Debug, PartialEq)]
pub enum Reply {
    /// What was asked for this job is durable.
    Accepted(JobId),
    /// It was refused; nothing of it remains.
    Refused(forgemesh_consensus::machine::Rejected),
    /// The hub refused it; nothing of it remains. Its words.
    RefusedByHub(String),
    /// Nobody leads the hub, or it cannot be reached. The request may still be committed; asking again does no harm.
    NoAnswer,
    /// Too many requests wait in this node.
    Busy,
    /// The disk is nearly full: no new job is taken until there is room.
    DiskLow,
    /// What waits in this node.
    Queues(Vec<Queue>),
    /// It is done, and durable if it is to be.
    Done,
    /// Who belongs to the mesh.
    Members(Box<Enrolment>),
    /// How this node stands.
    Status(Box<status::Status>),
    /// An open job; none if it is not open here.
    Open(Option<Box<JobRecord>>),
    /// What an open job waits for; none if it is not open here.
    Pending(Option<Vec<status::Reason>>),
    /// What is read here from now on is no older than the question.
    Current,
    /// What the hub answered.
    Answered(Box<Answer>),
    /// How long an artifact is, and which pieces are missing; what was asked for of it is durable.
    Artifact { length: u64, missing: Vec<Range<u64>> },
    /// Nobody who could be asked has what was asked for of it.
    NoArtifact,
    /// So many artifacts that nothing needed are gone, or would go.
    Collected { artifacts: u64, bytes: u64 },
    /// These are not the bytes of the artifact.
    NotOfArtifact,
}

/// A queue, how long it is, how long it may become.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Queue {
    pub name: &'static str,
    pub length: u64,
    pub bound: u64,
}

impl Queue {
    pub(crate) fn new(name: &'static str, length: u64, bound: u64) -> Queue {
        Queue { name, length, bound }
    }
}

/// How a job stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Progress {
    pub job: JobId,
    pub state: State,
    /// The stage's number, and how many of its leaves are attested out of how many in the whole job.
    pub stage: u64,
    pub done_leaves: u64,
    pub leaves: u64,
    /// Batches that still wait for their verdict.
    pub unverified: u64,
    /// Receipt, ledger entry and evidence are durable too.
    pub recorded: bool,
}
