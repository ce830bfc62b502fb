//! The checker role: has challenged leaves opened, executes them again, and says what it found.

use std::collections::BTreeMap;

use forgemesh_protocol::attestation::{Claim, decode_claims};
use forgemesh_protocol::canon::Bytes;
use forgemesh_protocol::challenge::{Mismatch, MismatchKind, Verdict};
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
            let check = Check { challenge, claims: Vec::new(), hub, executing: false };
            let all = unavailable(&check);
            return judge(cx, check, all);
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
            Done::Checked { mismatches } => mismatches,
            _ => unavailable(&check),
        };
        judge(cx, check, mismatches);
    }
}

fn unavailable(check: &Check) -> Vec<Mismatch> {
    let mismatch = |&at| Mismatch { at, kind: MismatchKind::Unavailable, recomputed: Hash::ZERO };
    check.challenge.leaves.iter().map(mismatch).collect()
}

fn judge(cx: &mut Context<'_>, check: Check, mut mismatches: Vec<Mismatch>) {
    mismatches.truncate(limits::VERDICT_MISMATCHES);
    let attestation = &check.challenge.attestation.body;
    let verdict = Verdict {
        job: attestation.job,
        attestation: attestation.digest(),
        checker: cx.identity.node,
        checked: check.challenge.leaves.len() as u64,
        mismatches,
    };
    let verdict = Signed::new(verdict, cx.identity.mesh, &cx.identity.secret);
    cx.send(check.hub, Message::Judge(Box::new(verdict)));
}
