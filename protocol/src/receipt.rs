//! The receipt: an in-toto Statement v1 whose predicate is shaped like SLSA provenance v1, in a DSSE envelope.
//!
//! It carries what an offline check needs, the mesh's genesis included. The statement excludes signatures: its
//! digest is the receipt's identity, and a later signature never makes a second receipt. The file must equal
//! its own canonical re-encoding, or white space and base64 slack would hide changes.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::canon::{self, Bytes, CanonError};
use crate::contract::Work;
use crate::envelope::{Seed, Terms, Verify};
use crate::failure::Failure;
use crate::hash::{Domain, Hash};
use crate::id::{JobId, MeshId, NodeId};
use crate::keys::{PublicKey, SecretKey, Signature};
use crate::limits;
use crate::op::Op;
use crate::state::State;
use crate::submission::Offer;
use crate::vote::Artifact;

/// in-toto Statement v1.
pub const STATEMENT_TYPE: &str = "https://in-toto.io/Statement/v1";
/// Our predicate.
pub const PREDICATE_TYPE: &str = "urn:forgemesh:receipt:v1";
/// DSSE payload type of an in-toto statement.
pub const PAYLOAD_TYPE: &str = "application/vnd.in-toto+json";
/// The reduction whose rules the replay key names: exact integers, exact order statistics.
pub const REDUCTION: &str = "exact.v1";

/// What is signed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Statement {
    #[serde(rename = "_type")]
    pub statement_type: String,
    /// The artifacts, by name and digests: what the predicate is about.
    pub subject: Vec<Subject>,
    #[serde(rename = "predicateType")]
    pub predicate_type: String,
    pub predicate: Predicate,
}

/// One file with its digests.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Subject {
    pub name: String,
    pub digest: Digests,
}

/// Both digests of a file, so that `sha256sum` and `b3sum` can each check it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Digests {
    pub blake3: Hash,
    pub sha256: Hash,
}

/// The evidence.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Predicate {
    pub build_definition: BuildDefinition,
    pub run_details: RunDetails,
    pub protocol: u64,
    pub mesh: Mesh,
    pub state: State,
    /// Present exactly if the job was finalized.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<ResultSummary>,
    /// Present exactly if it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
    pub verification: Verification,
    pub artifacts: Vec<Artifact>,
    pub attestations: Vec<AttestationRef>,
    /// Digest of the job's whole record: submission, plan, attestations, reveals, verdicts and votes. A bundle holds it.
    pub evidence: Hash,
}

/// SLSA: what was asked for and how it was to be done.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct BuildDefinition {
    pub build_type: String,
    pub external_parameters: Parameters,
    pub internal_parameters: Derived,
    /// Input artifacts; no profile takes any yet.
    pub resolved_dependencies: Vec<Subject>,
}

/// The contract and its terms, readable.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Parameters {
    pub op: Op,
    /// The profile's canonical arguments.
    #[serde(deserialize_with = "crate::json::bounded")]
    pub args: Value,
    pub seed: Seed,
    pub terms: Terms,
}

/// What follows from the contract; a verifier computes each again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Derived {
    pub contract_hash: Hash,
    pub args_hash: Hash,
    pub root_seed: Hash,
    pub numerics_id: Hash,
    pub reduction: String,
    pub replay_key: Hash,
    pub plan_hash: Hash,
}

/// SLSA: who ran it and when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunDetails {
    pub builder: Builder,
    pub metadata: Metadata,
}

/// The mesh, as a builder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Builder {
    pub id: String,
}

/// The submission, so that the job id can be computed again and the submitter's signature checked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Metadata {
    pub job_id: JobId,
    pub submitter: PublicKey,
    pub signature: Signature,
    pub nonce: Bytes,
    pub expires_ms: u64,
    pub offer: Offer,
    /// Milliseconds of log time.
    pub accepted_ms: u64,
    pub finished_ms: u64,
}

/// The root of trust.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mesh {
    pub id: MeshId,
    /// Canonical CBOR of the genesis; its digest is the id.
    pub genesis: Bytes,
    /// Canonical CBOR of each amendment to it that was in force, in their order: who may have signed this.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub amendments: Vec<Bytes>,
}

/// The result, by its hash.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ResultSummary {
    pub result_hash: Hash,
    pub work: Work,
}

/// How the result was verified; true even if that is little.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Verification {
    pub mode: Verify,
    pub independence: Independence,
    /// Leaves reduced, over all stages.
    pub leaves: u64,
    /// Leaves executed again, drawn after they were committed to.
    pub checked_leaves: u64,
    pub mismatches: u64,
    /// One sentence for people.
    pub claim: String,
}

/// Who checked whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Independence {
    /// The node that executed also checked: no protection against that node.
    #[serde(rename = "self")]
    SelfAttested,
    SameOperator,
    DistinctOperators,
}

/// An attestation in the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AttestationRef {
    pub agent: NodeId,
    pub seq: u64,
    pub digest: Hash,
}

impl Verification {
    /// The record, with the sentence that belongs to it.
    pub fn new(
        mode: Verify,
        independence: Independence,
        leaves: u64,
        checked_leaves: u64,
        mismatches: u64,
    ) -> Self {
        let claim = match (mode, independence) {
            (Verify::None, _) => {
                "unverified: nothing was executed again, because the submitter asked for that".into()
            }
            (_, Independence::SelfAttested) => format!(
                "self-attested: {checked_leaves} of {leaves} leaves were executed again by the node that had \
                 executed them; this finds faults, and protects against no one who runs that node"
            ),
            (_, Independence::SameOperator) => {
                format!(
                    "{checked_leaves} of {leaves} leaves were executed again by another node of one operator"
                )
            }
            (_, Independence::DistinctOperators) => {
                format!("{checked_leaves} of {leaves} leaves were executed again by nodes of other operators")
            }
        };
        Verification { mode, independence, leaves, checked_leaves, mismatches, claim }
    }
}

/// A DSSE envelope (Dead Simple Signing Envelope v1): the receipt as a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Receipt {
    /// The statement in canonical JSON, as base64.
    pub payload: Bytes,
    pub payload_type: String,
    pub signatures: Vec<ReceiptSignature>,
}

/// One hub member's signature.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReceiptSignature {
    pub keyid: NodeId,
    pub sig: Signature,
}

/// Why a file is not a receipt. Each says where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReceiptError {
    #[error("the receipt file: {0}")]
    File(CanonError),
    #[error("the receipt's payload: {0}")]
    Payload(CanonError),
    #[error(
        "the receipt's {field} is \"{found}\", expected \"{expected}\"; it is of another kind or version"
    )]
    Kind { field: &'static str, found: String, expected: &'static str },
}

impl Statement {
    /// The digest that is the receipt's identity.
    pub fn digest(&self) -> Hash {
        self.unsigned().identity()
    }

    /// The receipt without a signature.
    pub fn unsigned(&self) -> Receipt {
        let payload = Bytes(canon::to_json(self));
        Receipt { payload, payload_type: PAYLOAD_TYPE.to_owned(), signatures: Vec::new() }
    }

    /// The receipt signed by one key; more signatures may join it.
    pub fn sign(&self, secret: &SecretKey) -> Receipt {
        let mut receipt = self.unsigned();
        receipt.sign(secret);
        receipt
    }
}

impl Receipt {
    /// The digest of what it states.
    pub fn identity(&self) -> Hash {
        Hash::of(Domain::RECEIPT, &self.payload.0)
    }

    /// Adds a key's signature.
    pub fn sign(&mut self, secret: &SecretKey) {
        let sig = secret.sign_raw(&self.signed_message());
        self.signatures.push(ReceiptSignature { keyid: secret.public().id(), sig });
    }

    /// The file, in canonical JSON. The payload is nearly all of it, and is not copied more often than it must be.
    pub fn to_bytes(&self) -> Vec<u8> {
        let payload = crate::base64::encode(&self.payload.0);
        let (kind, signatures) = (canon::to_json(&self.payload_type), canon::to_json(&self.signatures));
        let parts: [&[u8]; 7] = [
            b"{\"payload\":\"",
            payload.as_bytes(),
            b"\",\"payloadType\":",
            &kind,
            b",\"signatures\":",
            &signatures,
            b"}",
        ];
        parts.concat()
    }

    /// Reads a file strictly; signatures are not checked here.
    pub fn decode(bytes: &[u8]) -> Result<(Receipt, Statement), ReceiptError> {
        let receipt = from_canonical_json(bytes, Receipt::to_bytes).map_err(ReceiptError::File)?;
        let kind = |field, found: &str, expected: &'static str| {
            let found_text = crate::json::printable(found);
            if found == expected {
                Ok(())
            } else {
                Err(ReceiptError::Kind { field, found: found_text, expected })
            }
        };
        kind("payloadType", &receipt.payload_type, PAYLOAD_TYPE)?;
        let statement: Statement =
            from_canonical_json(&receipt.payload.0, canon::to_json).map_err(ReceiptError::Payload)?;
        kind("_type", &statement.statement_type, STATEMENT_TYPE)?;
        kind("predicateType", &statement.predicate_type, PREDICATE_TYPE)?;
        Ok((receipt, statement))
    }

    /// The record that the payload names as its evidence; nothing else of it is read.
    pub fn evidence(&self) -> Option<Hash> {
        #[derive(Deserialize)]
        struct Named {
            predicate: Evidence,
        }
        #[derive(Deserialize)]
        struct Evidence {
            evidence: Hash,
        }
        let named: Named = serde_json::from_slice(&self.payload.0).ok()?;
        Some(named.predicate.evidence)
    }

    /// What the signatures are over.
    pub fn signed_message(&self) -> Vec<u8> {
        pre_authentication_encoding(&self.payload_type, &self.payload.0)
    }
}

/// Decodes canonical JSON of a bounded length; anything that `encode` writes differently is refused.
fn from_canonical_json<T: serde::de::DeserializeOwned>(
    bytes: &[u8],
    encode: impl Fn(&T) -> Vec<u8>,
) -> Result<T, CanonError> {
    if bytes.len() > limits::RECEIPT_BYTES {
        return Err(CanonError::TooLong { length: bytes.len(), limit: limits::RECEIPT_BYTES });
    }
    let value: T =
        serde_json::from_slice(bytes).map_err(|error| CanonError::Malformed { reason: error.to_string() })?;
    match canon::first_difference(&encode(&value), bytes) {
        None => Ok(value),
        Some(offset) => Err(CanonError::NotCanonical { offset }),
    }
}

/// DSSE v1: `DSSEv1 SP len(type) SP type SP len(body) SP body`.
fn pre_authentication_encoding(payload_type: &str, payload: &[u8]) -> Vec<u8> {
    let mut out = format!("DSSEv1 {} {payload_type} {} ", payload_type.len(), payload.len()).into_bytes();
    out.extend_from_slice(payload);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_receipt_is_written_as_any_canonical_json() {
        let secret = SecretKey::from_bytes(&[7; 32]);
        let signature = ReceiptSignature { keyid: secret.public().id(), sig: secret.sign_raw(b"it") };
        for (payload, kind, signatures) in
            [(b"".as_slice(), PAYLOAD_TYPE, 1), (b"{\"a\":1}", "\"\n\u{e9}", 2), (&[255; 100], "", 0)]
        {
            let signatures = vec![signature.clone(); signatures];
            let receipt =
                Receipt { payload: Bytes(payload.to_vec()), payload_type: kind.to_owned(), signatures };
            assert_eq!(receipt.to_bytes(), canon::to_json(&receipt));
        }
    }
}
