//! The gateway role: takes a client's request, has it committed, answers once it is durable.

use std::collections::BTreeMap;

use forgemesh_consensus::admission;
use forgemesh_consensus::command::Command;
use forgemesh_consensus::machine::Rejected;
use forgemesh_protocol::id::JobId;
use forgemesh_protocol::keys::Signed;
use forgemesh_protocol::submission::Submission;

use super::hub::HubRole;
use super::{Context, Output, Reply, Request};

/// The entry of a client's request was applied.
#[derive(Debug)]
pub(crate) struct Settled {
    pub index: u64,
    /// The job that it was about, if it was about one.
    pub outcome: Result<Option<JobId>, Rejected>,
}

/// Clients that wait for their request's entry.
#[derive(Default)]
pub(crate) struct GatewayRole {
    waiting: BTreeMap<u64, u64>,
}

impl GatewayRole {
    /// A client asks for something.
    pub fn asked(&mut self, cx: &mut Context<'_>, hub: Option<&mut HubRole>, token: u64, request: Request) {
        match (request, hub) {
            (Request::Submit(submission), Some(hub)) => self.submit(cx, hub, token, *submission),
            (Request::Cancel(cancellation), Some(hub)) => {
                let index = hub.propose(cx, Command::Cancel { cancellation: *cancellation });
                self.waiting.insert(index, token);
            }
            (Request::Enrolment(command), Some(hub)) => {
                let index = hub.propose(cx, (*command).into());
                self.waiting.insert(index, token);
            }
            (Request::Submit(_) | Request::Cancel(_) | Request::Enrolment(_), None) => {
                cx.out.push(Output::Reply { token, reply: Reply::Elsewhere { hub: cx.leader } });
            }
            (Request::Members, hub) => {
                let members = hub.map(|hub| hub.machine().state().enrolment.clone()).unwrap_or_default();
                cx.out.push(Output::Reply { token, reply: Reply::Members(Box::new(members)) });
            }
            (Request::Open(job), hub) => {
                let record = hub.and_then(|hub| hub.machine().job(&job).cloned().map(Box::new));
                cx.out.push(Output::Reply { token, reply: Reply::Open(record) });
            }
            (Request::Pending(job), hub) => {
                let reasons = hub.and_then(|hub| hub.pending(&job, cx.now));
                cx.out.push(Output::Reply { token, reply: Reply::Pending(reasons) });
            }
            // Answered by the core, which sees all the roles.
            (Request::Queues | Request::Status | Request::Available(_), _) => {}
            (Request::Ask(_) | Request::Answer { .. }, _) => {}
        }
    }

    /// Proposes a submission, if it fits an entry of the log. Whether it is a job is decided when it is applied.
    fn submit(
        &mut self,
        cx: &mut Context<'_>,
        hub: &mut HubRole,
        token: u64,
        submission: Signed<Submission>,
    ) {
        if let Err(error) = admission::check_size(&submission.body) {
            let reply = Reply::Refused(error.into());
            return cx.out.push(Output::Reply { token, reply });
        }
        if hub.is_disk_low() {
            return cx.out.push(Output::Reply { token, reply: Reply::DiskLow });
        }
        let index = hub.propose(cx, Command::Submit { submission });
        self.waiting.insert(index, token);
    }

    /// Answers the client whose entry was applied.
    pub fn settled(&mut self, cx: &mut Context<'_>, settled: Settled) {
        let Some(token) = self.waiting.remove(&settled.index) else { return };
        let reply = match settled.outcome {
            Ok(Some(job)) => Reply::Accepted(job),
            Ok(None) => Reply::Done,
            Err(reason) => Reply::Refused(reason),
        };
        cx.out.push(Output::Reply { token, reply });
    }
}
