//! Whether what a record sets aside was set aside for cause: nobody is convicted, and nothing is given up as unopened,
//! without a verdict on leaves that the beacon drew after the commitment.

use forgemesh_consensus::job::{Batch, JobRecord, Reason, SetAside};
use forgemesh_protocol::challenge::{CheckOutcome, Verdict, drawn_digest};
use forgemesh_protocol::charter::Charters;
use forgemesh_protocol::envelope::Verify;
use forgemesh_protocol::id::NodeId;
use forgemesh_protocol::keys::Signable;
use forgemesh_protocol::state::State;

/// What is wrong with the batches that a record sets aside, or with its convictions; none if all have their cause.
pub fn contradiction(record: &JobRecord, charters: &Charters) -> Option<&'static str> {
    let mesh = charters.mesh();
    for SetAside { batch, reason } in &record.set_aside {
        let body = &batch.attestation.body;
        let own = batch.attestation.key.id() == body.agent && body.digest() == batch.digest;
        if !own || body.job != record.id || batch.attestation.verify(mesh).is_err() {
            return Some("a batch that was set aside is not its agent's, or not of this job");
        }
        let verdict = |outcome| is_shown(record, batch, outcome, charters);
        let shown = match reason {
            Reason::False => verdict(CheckOutcome::Differs),
            Reason::Unopened => verdict(CheckOutcome::Unopened),
            Reason::Convicted => record.convicted.contains(&body.agent),
            Reason::Superseded => rests_on_another(record, body.stage),
            // Nothing can show that something is not there; it costs its agent nothing but the work.
            Reason::Lost => true,
        };
        if !shown {
            return Some("a batch was set aside without what shows why");
        }
    }
    let found_false = |agent: &NodeId| {
        let of_agent = |aside: &&SetAside| aside.batch.attestation.body.agent == *agent;
        record.set_aside.iter().filter(of_agent).any(|aside| aside.reason == Reason::False)
    };
    if !record.convicted.iter().all(found_false) {
        return Some("an agent was convicted without a batch that was found false");
    }
    let counts = |batch: &Batch| record.convicted.contains(&batch.attestation.body.agent);
    if record.batches.iter().any(counts) {
        return Some("a batch of a convicted agent counts");
    }
    None
}

/// Is there a hub member's verdict of this outcome, on leaves drawn after the batch was committed to?
fn is_shown(record: &JobRecord, batch: &Batch, outcome: CheckOutcome, charters: &Charters) -> bool {
    let (Some(verdict), Some(reveal)) = (&batch.verdict, &batch.reveal) else { return false };
    let body: &Verdict = &verdict.body;
    let signed = verdict.verify(charters.mesh()).is_ok()
        && charters.member(&verdict.key).is_some()
        && body.checker == verdict.key.id();
    let about = body.attestation == batch.digest && body.job == record.id && body.outcome == outcome;
    if !signed
        || !about
        || batch.logged >= reveal.logged
        || record.terms.policy.verify == Verify::None
        || body.mismatches.is_empty() == (outcome == CheckOutcome::Differs)
    {
        return false;
    }
    let drawn = record.challenged(batch, charters.genesis().parameters.spotcheck_ppm);
    if drawn.is_empty() {
        // The stage was to be planned anew, and the job ended before it was.
        return record.state == State::Failed && record.stage_run(batch.attestation.body.stage).is_none();
    }
    body.drawn == drawn_digest(&drawn) && body.mismatches.iter().all(|mismatch| drawn.contains(&mismatch.at))
}

/// Was a batch of an earlier stage set aside for a reason of its own?
fn rests_on_another(record: &JobRecord, stage: u64) -> bool {
    let earlier = record.set_aside.iter().filter(|aside| aside.batch.attestation.body.stage < stage);
    earlier.into_iter().any(|aside| aside.reason != Reason::Superseded)
}
