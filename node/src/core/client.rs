//! What clients of a node may ask of it, and what they are told.

use forgemesh_consensus::command::Command;
use forgemesh_consensus::enrolment::Enrolment;
use forgemesh_consensus::job::JobRecord;
use forgemesh_protocol::cancellation::Cancellation;
use forgemesh_protocol::canon::Bytes;
use forgemesh_protocol::charter::Charter;
use forgemesh_protocol::enrolment::{Expulsion, Invitation, Withdrawal};
use forgemesh_protocol::id::{JobId, NodeId};
use forgemesh_protocol::keys::Signed;
use forgemesh_protocol::state::State;
use forgemesh_protocol::submission::Submission;
use forgemesh_protocol::wire::Answer;

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
