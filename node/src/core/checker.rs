//! The checker role: has challenged leaves opened, executes them again, and says what it found.

use std::collections::BTreeMap;

use forgemesh_protocol::attestation::{Claim, decode_claims};
use forgemesh_protocol::canon::Bytes;
use forgemesh_protocol::challenge::{CheckOutcome, Mismatch, Verdict, drawn_digest};
use forgemesh_protocol::hash::Hash;
use forgemesh_protocol::id::{JobId, NodeId};
use forgemesh_protocol::keys::{Signable, Signed};
use forgemesh_protocol::limits;
use forgemesh_protocol::wire::{Challenge, Message};

use super::{AfterWork, Context, Now, Queue, patience};
use crate::ports::{Done, Work};

/// A check under way.
struct Check {
    challenge: Challenge,
    claims: Vec<Claim>,
    executing: bool,
    /// When the agent was first asked, and when it last said that it is at it.
    since_ms: u64,
    heard_ms: Option<u64>,
    /// When it was asked last, and how often.
    asked_ms: u64,
    asks: usize,
}

impl Check {
    /// When to ask again. Who has said that it is at it needs its line for the answer.
    fn due_ms(&self) -> u64 {
        let wait_ms = match self.heard_ms {
            Some(_) => limits::CHECK_RETRY_MS,
            None => patience::wait_ms(self.asks),
        };
        self.asked_ms + wait_ms
    }

    /// When the agent is given up.
    fn end_ms(&self) -> u64 {
        let heard_ms = self.heard_ms.unwrap_or(self.since_ms);
        (heard_ms + limits::OPEN_MS).min(self.since_ms + limits::OPEN_MOST_MS)
    }
}

/// Checks under way, by the attestation's digest.
#[derive(Default)]
pub(crate) struct CheckerRole {
    checks: BTreeMap<Hash, Check>,
}

impl CheckerRole {
    /// The hub has drawn leaves of a batch: the agent is asked to open them.
    pub fn challenged(&mut self, cx: &mut Context<'_>, challenge: Challenge) {
        let digest = challenge.attestation.body.digest();
        cx.send_leader(Message::Checking { attestation: digest });
        if self.checks.contains_key(&digest) {
            return;
        }
        let members_match = Hash::blob(&challenge.members.0) == challenge.attestation.body.members;
        let claims = decode_claims(&challenge.members.0).ok().filter(|_| members_match);
        let Some(claims) = claims else {
            return judge(cx, &challenge, Found::Nothing);
        };
        let agent = challenge.attestation.body.agent;
        cx.send(agent, Message::Open(Box::new(challenge.clone())));
        let (since_ms, asked_ms) = (cx.now.up_ms, cx.now.up_ms);
        let check =
            Check { challenge, claims, executing: false, since_ms, heard_ms: None, asked_ms, asks: 1 };
        self.checks.insert(digest, check);
    }

    /// The agent's openings arrived: the leaves are executed again.
    pub fn opened(
        &mut self,
        cx: &mut Context<'_>,
        from: NodeId,
        job: JobId,
        attestation: Hash,
        openings: Vec<Bytes>,
    ) {
        let Some(check) = self.checks.get_mut(&attestation) else { return };
        let body = &check.challenge.attestation.body;
        if check.executing || body.job != job || body.agent != from {
            return;
        }
        if openings.len() != check.challenge.leaves.len() {
            if let Some(check) = self.checks.remove(&attestation) {
                judge(cx, &check.challenge, Found::Unopened);
            }
            return;
        }
        check.executing = true;
        let Challenge { contract, run, leaves, .. } = check.challenge.clone();
        let claims = check.claims.clone();
        cx.work(Work::Check { contract, run, claims, leaves, openings }, AfterWork::Check(attestation));
    }

    /// The agent is at it.
    pub fn being_opened(&mut self, cx: &mut Context<'_>, from: NodeId, attestation: &Hash) {
        if let Some(check) = self.checks.get_mut(attestation)
            && check.challenge.attestation.body.agent == from
        {
            check.heard_ms = Some(cx.now.up_ms);
        }
    }

    /// The leaves are executed: the verdict goes to the hub.
    pub fn checked(&mut self, cx: &mut Context<'_>, attestation: Hash, done: Done) {
        let Some(check) = self.checks.remove(&attestation) else { return };
        let found = match done {
            Done::Checked { mismatches } => Found::Mismatches(mismatches),
            // This node's own failure: it accuses nobody.
            _ => Found::Nothing,
        };
        judge(cx, &check.challenge, found);
    }

    /// A job is final: nothing of it is to be checked any more.
    pub fn over(&mut self, job: &JobId) {
        self.checks.retain(|_, check| check.challenge.attestation.body.job != *job);
    }

    /// Asks again who has not answered, and gives up who does not answer at all.
    pub fn advance(&mut self, cx: &mut Context<'_>) {
        let now_ms = cx.now.up_ms;
        let reach = cx.reach;
        let silent = |_: &Hash, check: &mut Check| {
            let is_gone = reach.is_gone(&check.challenge.attestation.body.agent);
            !check.executing && (is_gone || now_ms >= check.end_ms())
        };
        for (_, check) in self.checks.extract_if(.., silent) {
            judge(cx, &check.challenge, Found::Unopened);
        }
        for check in self.checks.values_mut().filter(|check| !check.executing) {
            if now_ms >= check.due_ms() {
                (check.asked_ms, check.asks) = (now_ms, check.asks + 1);
                let agent = check.challenge.attestation.body.agent;
                cx.send(agent, Message::Open(Box::new(check.challenge.clone())));
            }
        }
    }

    /// In how many milliseconds somebody is to be asked again.
    pub fn next_deadline(&self, now: Now) -> u64 {
        let waiting = self.checks.values().filter(|check| !check.executing);
        let next = waiting.map(|check| check.due_ms()).min();
        next.map_or(u64::MAX, |at_ms| at_ms.saturating_sub(now.up_ms))
    }

    /// What waits here, and how much may.
    pub fn queues(&self) -> Vec<Queue> {
        vec![Queue::new("checker: batches", self.checks.len() as u64, limits::CHECKS as u64)]
    }
}

/// What came of a check.
enum Found {
    /// The leaves were executed again; these differ.
    Mismatches(Vec<Mismatch>),
    /// The agent did not open them.
    Unopened,
    /// They could not be executed again.
    Nothing,
}

/// Says what was found.
fn judge(cx: &mut Context<'_>, challenge: &Challenge, found: Found) {
    let leaves = &challenge.leaves;
    let all = leaves.len() as u64;
    let (outcome, checked, mut mismatches) = match found {
        Found::Nothing => (CheckOutcome::Unable, 0, Vec::new()),
        Found::Unopened => (CheckOutcome::Unopened, 0, Vec::new()),
        Found::Mismatches(mismatches) if mismatches.is_empty() => (CheckOutcome::Agreed, all, mismatches),
        Found::Mismatches(mismatches) => (CheckOutcome::Differs, all, mismatches),
    };
    mismatches.truncate(limits::VERDICT_MISMATCHES);
    let attestation = &challenge.attestation.body;
    let verdict = Verdict {
        job: attestation.job,
        attestation: attestation.digest(),
        checker: cx.identity.node,
        outcome,
        drawn: drawn_digest(leaves),
        checked,
        mismatches,
    };
    let verdict = Signed::new(verdict, cx.identity.mesh, &cx.identity.secret);
    cx.send_leader(Message::Judge(Box::new(verdict)));
}
