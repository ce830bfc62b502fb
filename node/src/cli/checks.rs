//! Who executed leaves of a job again, for people. The receipt has one word for a whole job: it is self-attested if a node
//! alone has checked itself anywhere. Here it is said how far that goes.

use forgemesh_consensus::job::JobRecord;
use forgemesh_consensus::settle;
use forgemesh_protocol::envelope::Verify;
use forgemesh_protocol::receipt::{Independence, Verification};
use serde_json::{Value, json};

/// Leaves that were executed again by the node that had executed them, and by another.
struct Checks {
    own: u64,
    other: u64,
}

impl Checks {
    fn of(record: &JobRecord) -> Checks {
        let mut checks = Checks { own: 0, other: 0 };
        for batch in record.batches.iter().filter(|batch| !batch.credited.is_empty()) {
            if let Some(verdict) = &batch.verdict {
                let is_own = verdict.body.checker == batch.attestation.body.agent;
                let sum = if is_own { &mut checks.own } else { &mut checks.other };
                *sum = sum.saturating_add(verdict.body.checked);
            }
        }
        checks
    }
}

/// How the job was verified, in one sentence.
pub fn claim(record: &JobRecord) -> String {
    sentence(Checks::of(record), settle::verification(record))
}

fn sentence(checks: Checks, verification: Verification) -> String {
    let is_self_attested =
        verification.mode != Verify::None && verification.independence == Independence::SelfAttested;
    match checks {
        Checks { own, other } if own > 0 && other > 0 => format!(
            "self-attested in part: {} of {} leaves were executed again, {other} by another node and {own} by the node that had \
             executed them; this finds faults, and protects against no one who runs a node that checked itself",
            own + other,
            verification.leaves
        ),
        // A part that counts was never checked, as of a job that has failed.
        Checks { own: 0, other } if other > 0 && is_self_attested => format!(
            "{other} of {} leaves were executed again by another node; not everything that counts was checked",
            verification.leaves
        ),
        _ => verification.claim,
    }
}

/// The same for programs.
pub fn json(record: &JobRecord) -> Value {
    let Checks { own, other } = Checks::of(record);
    json!({ "by_itself": own, "by_another": other })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_checked_which_part_is_said_and_no_more() {
        const OWN: Independence = Independence::SelfAttested;
        const OTHER: Independence = Independence::SameOperator;
        for (mode, independence, own, other, begins, says) in [
            (Verify::None, OWN, 0, 0, "unverified: ", ""),
            (Verify::Spotcheck, OWN, 4, 0, "self-attested: 4 of 10 leaves", ""),
            (Verify::Spotcheck, OTHER, 0, 4, "4 of 10 leaves", "by another node of one operator"),
            (
                Verify::Full,
                OWN,
                3,
                7,
                "self-attested in part: 10 of 10 leaves",
                "7 by another node and 3 by the node",
            ),
            (Verify::Spotcheck, OWN, 0, 4, "4 of 10 leaves", "not everything that counts was checked"),
            (Verify::Spotcheck, OWN, 0, 0, "self-attested: 0 of 10 leaves", ""),
        ] {
            let verification = Verification::new(mode, independence, 10, own + other, 0);
            let text = sentence(Checks { own, other }, verification);
            assert!(text.starts_with(begins) && text.contains(says), "{own} {other}: {text}");
        }
    }
}
