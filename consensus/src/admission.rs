//! Whether a submission becomes a job: signature, expiry, bounds, then its meaning.

use forgemesh_kernel::job::Job;
use forgemesh_protocol::envelope::Terms;
use forgemesh_protocol::keys::KeyError;
use forgemesh_protocol::limits;
use forgemesh_protocol::problem::Problems;
use forgemesh_protocol::submission::Submission;

/// Why a submission was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AdmissionError {
    #[error("the submission's signature: {0}")]
    Signature(#[from] KeyError),
    #[error("the submission expired at {expires_ms} ms, and it is {now_ms} ms now; sign a new one")]
    Expired { expires_ms: u64, now_ms: u64 },
    #[error(
        "the submission expires more than {} ms from now; choose an earlier expiry",
        limits::SUBMISSION_TTL_MS
    )]
    ExpiresTooLate,
    #[error("a submission's nonce has 16 bytes, this one has {found}; draw 16 random bytes")]
    Nonce { found: usize },
    #[error("an envelope has at most {} bytes, this one has {found}; send less", limits::ENVELOPE_BYTES)]
    TooLong { found: usize },
    #[error("{} jobs are open already; wait until one is final", limits::OPEN_JOBS)]
    TooManyOpen,
    #[error("too many submissions are remembered until they expire; wait a while")]
    TooManyNonces,
    #[error("{0}")]
    Envelope(Problems),
    #[error("the envelope is not in canonical form; send RFC 8785 JSON with every default filled in")]
    NotCanonical,
}

/// Checks what must hold before a submission may enter the log at all, whose entries are bounded.
pub fn check_size(body: &Submission) -> Result<(), AdmissionError> {
    if body.nonce.0.len() != 16 {
        return Err(AdmissionError::Nonce { found: body.nonce.0.len() });
    }
    let found = body.envelope.0.len();
    if found > limits::ENVELOPE_BYTES { Err(AdmissionError::TooLong { found }) } else { Ok(()) }
}

/// Checks everything about a submission but its signature, which the caller has checked, and reads the job out of it.
pub fn read(body: &Submission, now_ms: u64) -> Result<(Job, Terms), AdmissionError> {
    check_size(body)?;
    if body.expires_ms <= now_ms {
        return Err(AdmissionError::Expired { expires_ms: body.expires_ms, now_ms });
    }
    // Twice the time to live: a submitter's clock may run ahead of the log's.
    if body.expires_ms - now_ms > 2 * limits::SUBMISSION_TTL_MS {
        return Err(AdmissionError::ExpiresTooLate);
    }
    let (job, terms) = Job::read(&body.envelope.0).map_err(AdmissionError::Envelope)?;
    if job.envelope(&terms) != body.envelope.0 {
        return Err(AdmissionError::NotCanonical);
    }
    Ok((job, terms))
}
