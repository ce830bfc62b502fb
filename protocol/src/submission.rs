//! How a job travels: the canonical envelope with the buyer's offer, a nonce and an expiry, signed by the
//! submitter, so that no gateway can forge or repeat it.

use serde::{Deserialize, Serialize};

use crate::canon::{self, Bytes};
use crate::hash::{Domain, Hash, Hasher};
use crate::id::{JobId, MeshId};
use crate::keys::{PublicKey, Signable, Signed};
use crate::region::Regions;

/// The buyer's market terms; kept out of the envelope, which never grows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Offer {
    /// The most the job may cost, in micro-credits. Work settles at zero today, so zero is enough.
    pub max_price_ucredits: u64,
    /// Where it may be executed, by what nodes say of themselves.
    #[serde(default, skip_serializing_if = "Regions::is_anywhere")]
    pub regions: Regions,
}

/// What is signed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Submission {
    /// The envelope in canonical JSON (RFC 8785).
    pub envelope: Bytes,
    pub offer: Offer,
    /// 16 random bytes: the same job twice is two jobs, the same submission twice is one.
    pub nonce: Bytes,
    /// Milliseconds since 1970 after which it may no longer be committed.
    pub expires_ms: u64,
}

impl Signable for Submission {
    const DOMAIN: Domain = Domain::SUBMISSION;
}

impl Submission {
    /// What two submissions of the same work on the same terms have in common.
    pub fn work_hash(&self) -> Hash {
        let offer = canon::to_bytes(&self.offer);
        Hasher::new(Domain::ENVELOPE).bytes(&self.envelope.0).bytes(&offer).finish()
    }
}

/// The job a signed submission makes.
pub fn job_id(mesh: MeshId, key: &PublicKey, submission: Hash) -> JobId {
    let id = Hasher::new(Domain::SUBMISSION).hash(&mesh.0).bytes(key.as_bytes()).hash(&submission).finish();
    JobId(id)
}

impl Signed<Submission> {
    /// The job this makes in `mesh`.
    pub fn job_id(&self, mesh: MeshId) -> JobId {
        job_id(mesh, &self.key, self.body.digest())
    }
}
