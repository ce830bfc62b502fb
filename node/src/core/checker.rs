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

use super::{AfterWork, Context};
use crate::ports::{Done, Work};

/// A check under way.
struct Check {
    challenge: Challenge,
    claims: Vec<Claim>,
    hub: NodeId,
    executing: bool,
}

/// Checks under way, by the attestation's digest.
#[derive(Default)]
pub(crate) struct CheckerRole {
    checks: BTreeMap<Hash, Check>,
}

impl CheckerRole {
    /// The hub has drawn leaves of a batch: the agent is asked to open them.
    pub fn challenged(&mut self, cx: &mut Context<'_>, hub: NodeId, challenge: Challenge) {
        let digest = challenge.attestation.body.digest();
        let members_match = Hash::blob(&challenge.members.0) == challenge.attestation.body.members;
        let claims = decode_claims(&challenge.members.0).ok().filter(|_| members_match);
        let Some(claims) = claims else {
            return judge(cx, &Check { challenge, claims: Vec::new(), hub, executing: false }, None);
        };
        let agent = challenge.attestation.body.agent;
        cx.send(agent, Message::Open(Box::new(challenge.clone())));
        self.checks.insert(digest, Check { challenge, claims, hub, executing: false });
    }

    /// The agent's openings arrived: the leaves are executed again.
    pub fn opened(&mut self, cx: &mut Context<'_>, job: JobId, attestation: Hash, openings: Vec<Bytes>) {
        let Some(check) = self.checks.get_mut(&attestation) else { return };
        if check.executing || check.challenge.attestation.body.job != job {
            return;
        }
        check.executing = true;
        let Challenge { contract, run, leaves, .. } = check.challenge.clone();
        let claims = check.claims.clone();
        cx.work(Work::Check { contract, run, claims, leaves, openings }, AfterWork::Check(attestation));
    }

    /// The leaves are executed: the verdict goes to the hub.
    pub fn checked(&mut self, cx: &mut Context<'_>, attestation: Hash, done: Done) {
        let Some(check) = self.checks.remove(&attestation) else { return };
        let mismatches = match done {
            Done::Checked { mismatches } => Some(mismatches),
            // This node's own failure: it accuses nobody.
            _ => None,
        };
        judge(cx, &check, mismatches);
    }
}

/// Says what was found; nothing, if the leaves could not be executed again.
fn judge(cx: &mut Context<'_>, check: &Check, found: Option<Vec<Mismatch>>) {
    let leaves = &check.challenge.leaves;
    let (outcome, checked) = match &found {
        None => (CheckOutcome::Unable, 0),
        Some(mismatches) if mismatches.is_empty() => (CheckOutcome::Agreed, leaves.len() as u64),
        Some(_) => (CheckOutcome::Differs, leaves.len() as u64),
    };
    let mut mismatches = found.unwrap_or_default();
    mismatches.truncate(limits::VERDICT_MISMATCHES);
    let attestation = &check.challenge.attestation.body;
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
    cx.send(check.hub, Message::Judge(Box::new(verdict)));
}
