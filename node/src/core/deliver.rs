//! Who of the roles gets what: a message, a batch that is durable, a piece of work that ended.

use forgemesh_consensus::adjudicate::ChainHead;
use forgemesh_protocol::id::NodeId;
use forgemesh_protocol::wire::Message;

use super::agent::AgentRole;
use super::checker::CheckerRole;
use super::hub::HubRole;
use super::reads::ReadsRole;
use super::{AfterStore, AfterWork, Asked, Context, Output, gateway};
use crate::ports::Done;

pub(super) fn stored(
    cx: &mut Context<'_>,
    hub: Option<&mut HubRole>,
    agent: &mut AgentRole,
    after: AfterStore,
) {
    match (after, hub) {
        (AfterStore::Outbox(delivery), _) => agent.stored(cx, *delivery),
        (AfterStore::Artifacts(vote), Some(hub)) => hub.vote(cx, *vote),
        (AfterStore::Recorded(progress), Some(hub)) => hub.recorded(cx, progress),
        (AfterStore::Signed(progress), _) => cx.out.push(Output::Progress(*progress)),
        (AfterStore::Collected { token, reply }, _) => cx.out.push(Output::Reply { token, reply: *reply }),
        (AfterStore::Artifact(_) | AfterStore::Nothing, _) | (_, None) => {}
    }
}

pub(super) fn worked(
    cx: &mut Context<'_>,
    hub: Option<&mut HubRole>,
    agent: &mut AgentRole,
    checker: &mut CheckerRole,
    after: AfterWork,
    done: Done,
) {
    match (after, hub) {
        (AfterWork::Shard(assignment), _) => agent.ran(cx, assignment, done),
        (AfterWork::Opening { to, job, attestation }, _) => agent.opened(cx, to, job, attestation, done),
        (AfterWork::Spent, _) => agent.let_go(cx, done),
        (AfterWork::Check(attestation), _) => checker.checked(cx, attestation, done),
        (AfterWork::Reduction(reduction), Some(hub)) => hub.reduced(cx, reduction, done),
        (AfterWork::Load { to, blobs }, _) => agent.loaded(cx, to, blobs, done),
        (AfterWork::Claims(batch), Some(hub)) => hub.claims_read(cx, batch, done),
        (AfterWork::Lacks, Some(hub)) => hub.looked_through(cx, done),
        (AfterWork::Lookup(batch), Some(hub)) => hub.looked_up(cx, batch, done),
        (AfterWork::Signature { to, job }, Some(hub)) => hub.file_read(cx, to, job, done),
        (
            AfterWork::Books { .. }
            | AfterWork::Signature { .. }
            | AfterWork::Scrub
            | AfterWork::Lacks
            | AfterWork::Artifact(_)
            | AfterWork::Reduction(_)
            | AfterWork::Claims(_)
            | AfterWork::Lookup(_),
            _,
        ) => {}
    }
}

pub(super) fn deliver(
    cx: &mut Context<'_>,
    hub: Option<&mut HubRole>,
    agent: &mut AgentRole,
    checker: &mut CheckerRole,
    reads: &mut ReadsRole,
    from: NodeId,
    message: Message,
) {
    let (leads, member) = (cx.leader == Some(from), cx.members.contains(&from));
    let (message, hub) = match (message, hub) {
        // A signature shows itself; and who has lost its seat has signed what was final before.
        (Message::Signed { job, signature }, Some(hub)) => return hub.signed(cx, from, job, signature),
        (Message::Sign { job }, Some(hub)) if hub.machine().admits(&from) => {
            return hub.asked_to_sign(cx, from, job);
        }
        // Who does not sit does nothing else for the hub.
        (message, hub) => (message, hub.filter(|hub| cx.sits() || hub.leads())),
    };
    match (message, hub) {
        (Message::Lease(offer), _) if leads => agent.leased(cx, *offer),
        (Message::Recall(holding), _) if leads => agent.recalled(&holding),
        (Message::Over { job }, _) if leads => {
            agent.over(&job);
            checker.over(&job);
        }
        (Message::Logged { seq, digest }, _) if leads => {
            agent.logged(cx, ChainHead { seq, digest });
        }
        (Message::Fetch { blobs }, _) if member => agent.fetch(cx, from, blobs),
        (Message::Check(challenge), _) if leads => checker.challenged(cx, *challenge),
        // Checkers are members of the hub.
        (Message::Open(challenge), _) if member => agent.open(cx, from, *challenge),
        (Message::Opening { attestation }, _) => checker.being_opened(cx, from, &attestation),
        (Message::Opened { job, attestation, openings }, _) => {
            checker.opened(cx, from, job, attestation, openings);
        }
        (Message::Hello(hello), Some(hub)) => hub.heard(cx, from, &hello),
        (Message::ShardFailed { job, stage, shard, attempt: _, detail }, Some(hub)) => {
            hub.shard_failed(cx, from, job, stage, shard, detail);
        }
        (Message::Attest(attested), Some(hub)) => hub.attested(cx, from, *attested),
        (Message::Deliver(delivery), Some(hub)) => hub.delivered(cx, from, *delivery),
        (Message::Blob { bytes }, Some(hub)) => hub.blob(cx, &from, bytes),
        (Message::NoBlob { blob }, Some(hub)) => hub.no_blob(cx, &from, &blob),
        (Message::Checking { attestation }, Some(hub)) if member => hub.being_checked(cx, from, &attestation),
        (Message::Judge(verdict), Some(hub)) => hub.judged(cx, *verdict),
        (
            message @ (Message::Submit(_)
            | Message::Cancel(_)
            | Message::Invite(_)
            | Message::Withdraw(_)
            | Message::Expel(_)
            | Message::Consent(_)),
            Some(hub),
        ) if hub.machine().admits(&from) => {
            gateway::requested(cx, hub, from, message);
        }
        (Message::Announced { job }, Some(hub)) if hub.machine().admits(&from) => {
            hub.announced(cx, from, job)
        }
        (Message::ReadIndex { number }, Some(hub)) if member && hub.leads() => reads.asked(from, number),
        (Message::ReadAt { number, next }, Some(_)) if member => reads.answered(number, next),
        (Message::Vote(vote), Some(hub)) if member => hub.voted(cx, *vote),
        (Message::Reveal { value }, Some(hub)) if member => hub.revealed(cx, from, value),
        (Message::Join(join), Some(hub)) => hub.join(cx, from, *join),
        (Message::Ask { number, body }, Some(hub)) if hub.machine().admits(&from) => {
            cx.out.push(Output::Asked(Asked { from, number, body }));
        }
        // For another role than this node has, or from somebody who may not say so.
        _ => {}
    }
}
