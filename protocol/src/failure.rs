//! Why there is no result: a stable code for each phase of the failure model, with the cure.

use serde::{Deserialize, Serialize};

/// The phases of the failure model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    Request,
    Scheduling,
    Execution,
    Verification,
    Aggregation,
}

/// Stable codes, each of one phase.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureCode {
    /// The envelope is not valid; its problems say where.
    InvalidRequest,
    /// Nothing here can meet the policy.
    PolicyUnsatisfiable,
    /// `policy.timeout_ms` passed.
    TimedOut,
    /// The submitter took it back.
    Cancelled,
    /// A shard failed on every attempt.
    AttemptsExhausted,
    /// Recomputation disagreed with what was attested.
    VerificationMismatch,
    /// No checker could check.
    CheckUnable,
    /// A hub member has no beacon links left from which to draw.
    BeaconExhausted,
    /// More than one path in a thousand could not enter the statistics.
    NumericDegenerate,
    /// Blobs that the reduction needs are missing or do not fit together.
    EvidenceLost,
    /// A fault of this program.
    Internal,
}

impl FailureCode {
    /// Where in a job's life it happens.
    pub fn phase(self) -> Phase {
        match self {
            FailureCode::InvalidRequest | FailureCode::PolicyUnsatisfiable => Phase::Request,
            FailureCode::TimedOut | FailureCode::Cancelled => Phase::Scheduling,
            FailureCode::AttemptsExhausted => Phase::Execution,
            FailureCode::VerificationMismatch | FailureCode::CheckUnable | FailureCode::BeaconExhausted => {
                Phase::Verification
            }
            FailureCode::NumericDegenerate | FailureCode::EvidenceLost | FailureCode::Internal => {
                Phase::Aggregation
            }
        }
    }

    /// What its reader can do.
    pub fn cure(self) -> &'static str {
        match self {
            FailureCode::InvalidRequest => "mend the envelope where its problems say",
            FailureCode::PolicyUnsatisfiable => "relax the policy or add nodes that meet it",
            FailureCode::TimedOut => "raise policy.timeout_ms or lower the iterations",
            FailureCode::Cancelled => "submit it again if it is still wanted",
            FailureCode::AttemptsExhausted => "read the detail, mend the node, submit again",
            FailureCode::VerificationMismatch => {
                "a node computed wrong bits: test its memory and processor, then submit again"
            }
            FailureCode::NumericDegenerate => {
                "the arguments make paths overflow or degenerate: check their magnitude and the triangle's zeros"
            }
            FailureCode::CheckUnable => "read the detail, mend the checking node, submit again",
            FailureCode::BeaconExhausted => {
                "start a new mesh: an embedded node makes one in a new data folder"
            }
            FailureCode::EvidenceLost => "check the data folder's disk, then submit again",
            FailureCode::Internal => "a fault of forgemesh: please report it with the detail",
        }
    }

    /// The code as it stands in JSON and on the screen.
    pub fn as_str(self) -> &'static str {
        match self {
            FailureCode::InvalidRequest => "invalid_request",
            FailureCode::PolicyUnsatisfiable => "policy_unsatisfiable",
            FailureCode::TimedOut => "timed_out",
            FailureCode::Cancelled => "cancelled",
            FailureCode::AttemptsExhausted => "attempts_exhausted",
            FailureCode::VerificationMismatch => "verification_mismatch",
            FailureCode::NumericDegenerate => "numeric_degenerate",
            FailureCode::CheckUnable => "check_unable",
            FailureCode::BeaconExhausted => "beacon_exhausted",
            FailureCode::EvidenceLost => "evidence_lost",
            FailureCode::Internal => "internal",
        }
    }
}

/// A failure as it is recorded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Failure {
    pub code: FailureCode,
    pub phase: Phase,
    /// One line, at most 512 bytes.
    pub detail: String,
}

impl Failure {
    /// A failure with a detail, cut to its bound.
    pub fn new(code: FailureCode, detail: impl Into<String>) -> Failure {
        let mut detail: String = detail.into();
        let mut end = detail.len().min(512);
        while !detail.is_char_boundary(end) {
            end -= 1;
        }
        detail.truncate(end);
        Failure { code, phase: code.phase(), detail }
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}; {}", self.code.as_str(), self.detail, self.code.cure())
    }
}
