//! A submitter's word that a job is no longer wanted.

use serde::{Deserialize, Serialize};

use crate::hash::Domain;
use crate::id::JobId;
use crate::keys::Signable;

/// Counts only under the key that signed the submission.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cancellation {
    pub job: JobId,
}

impl Signable for Cancellation {
    const DOMAIN: Domain = Domain::CANCELLATION;
}
