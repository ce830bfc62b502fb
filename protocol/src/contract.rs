//! What decides the bits of a result: op, canonical arguments, seed. Nothing else does, and nothing here may
//! depend on who runs it, when, or on how many machines.

use serde::{Deserialize, Serialize};

use crate::canon::{self, Bytes, F64};
use crate::envelope::Seed;
use crate::hash::{Domain, Hash, Hasher};
use crate::op::Op;

/// The canonical contract. `args` are the profile's typed arguments in canonical CBOR, defaults materialised.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Contract {
    pub op: Op,
    pub args: Bytes,
    pub seed: Seed,
}

impl Contract {
    /// Digest of the canonical bytes.
    pub fn hash(&self) -> Hash {
        Hash::of(Domain::CONTRACT, &canon::to_bytes(self))
    }

    /// Digest of the canonical arguments.
    pub fn args_hash(&self) -> Hash {
        Hash::of(Domain::ARGS, &self.args.0)
    }
}

/// What a replay must have in common with the first run to give the same bits.
pub fn replay_key(contract: &Hash, root_seed: &Hash, numerics: &Hash, reduction: &str) -> Hash {
    Hasher::new(Domain::REPLAY_KEY)
        .hash(contract)
        .hash(root_seed)
        .hash(numerics)
        .bytes(reduction.as_bytes())
        .finish()
}

/// What was done, and what of it entered no statistic.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Work {
    /// Paths executed and reduced, the excluded ones too.
    pub iterations: u64,
    /// Leaves reduced.
    pub leaves: u64,
    pub excluded: Excluded,
}

/// Paths that entered no statistic, by reason; more than one in a thousand fails the job.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Excluded {
    pub nan: u64,
    pub pos_inf: u64,
    pub neg_inf: u64,
    /// Finite, but beyond 2⁵¹ steps of the contract's scale.
    pub clamped: u64,
    /// Defined by the profile, for instance a pseudo-triangle with an empty column.
    pub degenerate: u64,
}

impl Excluded {
    /// All of them.
    pub fn total(&self) -> u64 {
        // Saturating: the counts may come from a stranger's receipt.
        let counts = [self.nan, self.pos_inf, self.neg_inf, self.clamped, self.degenerate];
        counts.into_iter().fold(0, u64::saturating_add)
    }
}

/// How a job that may stop early came to its end.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Convergence {
    pub reason: StopReason,
    /// How often it was decided whether to go on, the last time included.
    pub looks: u64,
    /// Of the two-sided interval of the mean, as the contract states it.
    pub confidence: F64,
    /// Half the width of that interval at the last look, in the unit of the output.
    pub half_width: F64,
    pub coverage: Coverage,
}

/// Why a job went no further.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StopReason {
    /// Every criterion held.
    Converged,
    /// All iterations were executed, and not every criterion held.
    Budget,
}

/// What the confidence is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Coverage {
    /// The interval is that of a sample of fixed size, and the size was chosen by looking at the sample: the share of such
    /// intervals that hold the mean is the stated confidence only in the limit of narrow ones (Chow & Robbins, "On the
    /// asymptotic theory of fixed-width sequential confidence intervals for the mean", 1965), and below it before.
    Nominal,
}

/// What the result hash covers: never a manifest, an execution, a timing or a verification.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ResultBody {
    pub contract: Hash,
    /// The profile's typed output in canonical CBOR, floats as their bits.
    pub output: Bytes,
    pub work: Work,
    /// Present exactly if the contract asks for convergence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub convergence: Option<Convergence>,
}

impl ResultBody {
    /// The result hash.
    pub fn hash(&self) -> Hash {
        Hash::of(Domain::RESULT, &canon::to_bytes(self))
    }
}
