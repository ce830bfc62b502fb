//! The gateway role: takes a client's request, has the hub commit it, answers once it is durable. Every node has it.
//!
//! Requests are idempotent and named by their content, so a request is sent again until its answer comes; a change of
//! the hub's leader costs a retry. Must never pass on what is not signed, nor propose what the log would only refuse. A job that the leader does not take at once is announced to all besides, by its id: a
//! leader that this node does not know of, or does not reach, fetches it.

use std::collections::BTreeMap;

use forgemesh_consensus::command::Command;
use forgemesh_consensus::machine::{Rejected, check_signed};
use forgemesh_protocol::cancellation::Cancellation;
use forgemesh_protocol::canon;
use forgemesh_protocol::charter::Charter;
use forgemesh_protocol::hash::Hash;
use forgemesh_protocol::id::{JobId, MeshId, NodeId};
use forgemesh_protocol::keys::{Signable, Signed};
use forgemesh_protocol::limits;
use forgemesh_protocol::wire::Message;

use super::hub::HubRole;
use super::vouching::EXPELLED;
use super::{Context, EnrolmentCommand, Now, Output, Queue, Reply, Request};

/// What a request is about: the same request of another client is the same matter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Matter {
    Submission(JobId),
    Cancellation { job: JobId, digest: Hash },
    Enrolment(Hash),
}

impl Matter {
    /// That of a cancellation.
    pub fn cancellation(cancellation: &Cancellation) -> Matter {
        Matter::Cancellation { job: cancellation.job, digest: cancellation.digest() }
    }

    /// That of one key's consent: others' consents to the same charter are other matters.
    pub fn consent(charter: &Signed<Charter>) -> Matter {
        Matter::Enrolment(Hash::blob(&canon::to_bytes(charter)))
    }

    /// That of a message with a request, and the command that it asks for; none if it is another message.
    fn of(message: &Message, mesh: MeshId) -> Option<(Matter, Command)> {
        Some(match message.clone() {
            Message::Submit(submission) => {
                (Matter::Submission(submission.job_id(mesh)), Command::Submit { submission: *submission })
            }
            Message::Cancel(cancellation) => {
                (Matter::cancellation(&cancellation.body), Command::Cancel { cancellation: *cancellation })
            }
            Message::Invite(invitation) => {
                (Matter::Enrolment(invitation.body.digest()), Command::Invite { invitation: *invitation })
            }
            Message::Withdraw(withdrawal) => {
                (Matter::Enrolment(withdrawal.body.digest()), Command::Withdraw { withdrawal: *withdrawal })
            }
            Message::Expel(expulsion) => {
                (Matter::Enrolment(expulsion.body.digest()), Command::Expel { expulsion: *expulsion })
            }
            Message::Consent(charter) => (Matter::consent(&charter), Command::Consent { charter: *charter }),
            _ => return None,
        })
    }

    /// The digest by which nodes speak of it.
    fn digest(&self) -> Hash {
        match self {
            Matter::Submission(job) => job.0,
            Matter::Cancellation { digest, .. } | Matter::Enrolment(digest) => *digest,
        }
    }

    /// What a client hears when it is committed.
    fn granted(&self) -> Reply {
        match self {
            Matter::Submission(job) | Matter::Cancellation { job, .. } => Reply::Accepted(*job),
            Matter::Enrolment(_) => Reply::Done,
        }
    }

    /// The leader's answer to another node.
    pub fn answer(&self, refused: Option<String>) -> Message {
        Message::Answered { request: self.digest(), refused }
    }
}

/// The entry of a client's request was applied.
#[derive(Debug)]
pub(crate) struct Settled {
    pub matter: Matter,
    pub outcome: Result<(), Rejected>,
}

/// A request that is not settled.
struct Waiting {
    message: Message,
    clients: Vec<u64>,
    since_ms: u64,
    asked_ms: u64,
    /// When all are to be told of it; never of what is no job.
    announce_ms: u64,
}

/// Clients that wait for their request's entry.
#[derive(Default)]
pub(crate) struct GatewayRole {
    waiting: BTreeMap<Matter, Waiting>,
    announcing: Announcing,
}

/// How much this node has announced lately: what others hear of one author in a second is bounded.
#[derive(Default)]
struct Announcing {
    since_ms: u64,
    said: usize,
    /// This node leads: there is nobody else to tell.
    is_over: bool,
}

impl Announcing {
    /// How many more jobs may be announced now.
    fn room(&mut self, up_ms: u64) -> usize {
        if up_ms >= self.since_ms + limits::ANNOUNCEMENTS_MS {
            (self.since_ms, self.said) = (up_ms, 0);
        }
        limits::ANNOUNCEMENTS.saturating_sub(self.said)
    }

    /// When a job that is due then may be announced.
    fn due_ms(&self, due_ms: u64) -> u64 {
        match self.said < limits::ANNOUNCEMENTS {
            _ if self.is_over => u64::MAX,
            true => due_ms,
            false => due_ms.max(self.since_ms + limits::ANNOUNCEMENTS_MS),
        }
    }
}

impl GatewayRole {
    /// A client asks for something that the hub has to commit.
    pub fn asked(&mut self, cx: &mut Context<'_>, hub: Option<&mut HubRole>, token: u64, request: Request) {
        let message = match request {
            Request::Submit(submission) => Message::Submit(submission),
            Request::Cancel(cancellation) => Message::Cancel(cancellation),
            Request::Enrolment(command) => match *command {
                EnrolmentCommand::Invite(invitation) => Message::Invite(Box::new(invitation)),
                EnrolmentCommand::Withdraw(withdrawal) => Message::Withdraw(Box::new(withdrawal)),
                EnrolmentCommand::Expel(expulsion) => Message::Expel(Box::new(expulsion)),
                EnrolmentCommand::Consent(charter) => Message::Consent(Box::new(charter)),
            },
            request => return looked_up(cx, hub, token, request),
        };
        let Some((matter, command)) = Matter::of(&message, cx.identity.mesh) else { return };
        let leading = hub.filter(|hub| hub.leads());
        let checked = leading.as_ref().map_or_else(
            || check_signed(&command, cx.identity.mesh),
            |hub| hub.machine().check_request(&command, cx.now.wall_ms),
        );
        if let Err(reason) = checked {
            return cx.out.push(Output::Reply { token, reply: Reply::Refused(reason) });
        }
        if matches!(matter, Matter::Submission(_)) && leading.is_some_and(|hub| hub.is_disk_low()) {
            return cx.out.push(Output::Reply { token, reply: Reply::DiskLow });
        }
        if self.waiting.len() >= limits::OPEN_JOBS && !self.waiting.contains_key(&matter) {
            return cx.out.push(Output::Reply { token, reply: Reply::Busy });
        }
        let (since_ms, asked_ms) = (cx.now.up_ms, cx.now.up_ms);
        // A leader that is known is asked itself; most answer long before the others would have to know.
        let announce_ms = match matter {
            Matter::Submission(_) => since_ms + cx.leader.map_or(0, |_| limits::ANNOUNCE_AFTER_MS),
            _ => u64::MAX,
        };
        let clients = Vec::new();
        let new = Waiting { message: message.clone(), clients, since_ms, asked_ms, announce_ms };
        let waiting = self.waiting.entry(matter).or_insert(new);
        waiting.clients.push(token);
        cx.send_leader(message);
    }

    /// A hub member has heard of a job and lacks its submission.
    pub fn bring(&self, cx: &mut Context<'_>, to: NodeId, job: JobId) {
        if let Some(waiting) = self.waiting.get(&Matter::Submission(job)) {
            cx.send(to, waiting.message.clone());
        }
    }

    /// The request's entry was applied on this node.
    pub fn settled(&mut self, cx: &mut Context<'_>, settled: Settled) {
        let reply = settled.outcome.map_or_else(Reply::Refused, |()| settled.matter.granted());
        self.reply(cx, &settled.matter, &reply);
    }

    /// The leader says what came of a request.
    pub fn answered(&mut self, cx: &mut Context<'_>, request: Hash, refused: Option<String>) {
        let of_digest = |matter: &&Matter| matter.digest() == request;
        let Some(matter) = self.waiting.keys().find(of_digest).copied() else { return };
        let reply = refused.map_or(matter.granted(), Reply::RefusedByHub);
        self.reply(cx, &matter, &reply);
    }

    fn reply(&mut self, cx: &mut Context<'_>, matter: &Matter, reply: &Reply) {
        for token in self.waiting.remove(matter).into_iter().flat_map(|waiting| waiting.clients) {
            cx.out.push(Output::Reply { token, reply: reply.clone() });
        }
    }

    /// The hub says that this node does not belong to the mesh: nothing that its clients want will be committed.
    pub fn turned_away(&mut self, cx: &mut Context<'_>) {
        let reply = Reply::RefusedByHub(EXPELLED.to_owned());
        for matter in self.waiting.keys().copied().collect::<Vec<_>>() {
            self.reply(cx, &matter, &reply);
        }
    }

    /// Asks again, and tells clients when there is nobody to ask.
    pub fn advance(&mut self, cx: &mut Context<'_>) {
        let up_ms = cx.now.up_ms;
        let late: Vec<Matter> = self
            .waiting
            .iter()
            .filter(|(_, waiting)| up_ms >= waiting.since_ms + limits::REQUEST_MS)
            .map(|(matter, _)| *matter)
            .collect();
        late.iter().for_each(|matter| self.reply(cx, matter, &Reply::NoAnswer));
        for waiting in self.waiting.values_mut() {
            if up_ms >= waiting.asked_ms + limits::RETRY_MS {
                waiting.asked_ms = up_ms;
                cx.send_leader(waiting.message.clone());
            }
        }
        self.announce(cx);
    }

    /// Tells all of the jobs whose leader has not taken them; of many, those that are due for longest.
    fn announce(&mut self, cx: &mut Context<'_>) {
        let up_ms = cx.now.up_ms;
        self.announcing.is_over = cx.leader == Some(cx.identity.node);
        let is_due = |waiting: &Waiting| up_ms >= waiting.announce_ms;
        if self.announcing.is_over || !self.waiting.values().any(is_due) {
            return;
        }
        let due = self.waiting.iter().filter(|(_, waiting)| is_due(waiting));
        let mut due: Vec<(u64, Matter)> =
            due.map(|(matter, waiting)| (waiting.announce_ms, *matter)).collect();
        due.sort_unstable();
        for (_, matter) in due.into_iter().take(self.announcing.room(up_ms)) {
            if let (Matter::Submission(job), Some(waiting)) = (matter, self.waiting.get_mut(&matter)) {
                waiting.announce_ms = up_ms + limits::RETRY_MS;
                self.announcing.said += 1;
                cx.out.push(Output::Announce(Message::Announced { job }));
            }
        }
    }

    /// Another leads: it is asked at once.
    pub fn led(&mut self) {
        self.waiting.values_mut().for_each(|waiting| waiting.asked_ms = 0);
    }

    /// In how many milliseconds somebody is to be asked again.
    pub fn next_deadline(&self, now: Now) -> u64 {
        let due = |waiting: &Waiting| {
            (waiting.asked_ms + limits::RETRY_MS).min(self.announcing.due_ms(waiting.announce_ms))
        };
        let next = self.waiting.values().map(due).min();
        next.map_or(u64::MAX, |at_ms| at_ms.saturating_sub(now.up_ms))
    }

    /// What waits here, and how much may.
    pub fn queues(&self) -> Vec<Queue> {
        vec![Queue::new("gateway: requests", self.waiting.len() as u64, limits::OPEN_JOBS as u64)]
    }
}

/// What a client only wants to see.
fn looked_up(cx: &mut Context<'_>, hub: Option<&mut HubRole>, token: u64, request: Request) {
    let reply = match request {
        Request::Members => {
            let members = hub.map(|hub| hub.machine().state().enrolment.clone()).unwrap_or_default();
            Reply::Members(Box::new(members))
        }
        Request::Open(job) => Reply::Open(hub.and_then(|hub| hub.machine().job(&job).cloned().map(Box::new))),
        Request::Pending(job) => Reply::Pending(hub.and_then(|hub| hub.pending(&job, cx.now))),
        // Answered by the core, which sees all the roles.
        _ => return,
    };
    cx.out.push(Output::Reply { token, reply });
}

/// A node's request reaches the leader.
pub(crate) fn requested(cx: &mut Context<'_>, hub: &mut HubRole, from: NodeId, message: Message) {
    let Some((matter, command)) = Matter::of(&message, cx.identity.mesh) else { return };
    if matches!(command, Command::Submit { .. }) && hub.is_disk_low() {
        let reason = "the disk of the hub's leader is nearly full; try again later";
        return cx.send(from, matter.answer(Some(reason.to_owned())));
    }
    // What this node's own clients ask for was checked when they did.
    if from != cx.identity.node
        && hub.leads()
        && let Err(reason) = hub.machine().check_request(&command, cx.now.wall_ms)
    {
        return cx.send(from, matter.answer(Some(reason.to_string())));
    }
    hub.asked(cx, from, matter, command);
}
