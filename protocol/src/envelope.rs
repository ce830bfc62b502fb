//! The public JSON of a job, exactly the canonical envelope: `ctx, op, args, policy, seed, artifacts`.
//!
//! Owns the fields, their enumerations, ranges and defaults. Knows nothing of a profile's arguments: those are
//! handed on as they came, for the profile to read.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::json::Json;
use crate::limits;
use crate::op::Op;
use crate::problem::{ProblemCode, Problems};
use crate::schema::{Field, Kind, Need, Pattern, Schema};

/// A job as its author wrote it, defaults filled in; `args` not yet read by their profile.
#[derive(Clone, Debug, PartialEq)]
pub struct Envelope {
    pub op: Op,
    pub args: Json,
    pub seed: Seed,
    pub terms: Terms,
}

/// How the root seed is made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Seed {
    pub mode: SeedMode,
    /// The pinned seed; in derived mode a salt, absent if empty.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
}

/// From the contract, or given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SeedMode {
    Derived,
    Explicit,
}

/// What does not decide the bits: whose job it is, how it is to be run, what is to be kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Terms {
    pub ctx: Ctx,
    pub policy: Policy,
    pub artifacts: Artifacts,
}

/// The submitter's own references; none of them identifies the job to the mesh.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ctx {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stage_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace_id: Option<String>,
    pub billing: Billing,
}

/// Whether the work settles, and why it was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Billing {
    pub mode: BillingMode,
    pub reason: BillingReason,
}

/// Test work is executed, verified and recorded, and settles at zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BillingMode {
    Billable,
    Test,
}

impl BillingMode {
    /// Every mode there is.
    pub const ALL: [BillingMode; 2] = [BillingMode::Billable, BillingMode::Test];

    /// The word in `ctx.billing.mode`.
    pub fn as_str(self) -> &'static str {
        match self {
            BillingMode::Billable => "billable",
            BillingMode::Test => "test",
        }
    }
}

/// Where the job comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BillingReason {
    Api,
    StudioRun,
    Lab,
    Internal,
}

/// Where and how carefully to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    pub target: Target,
    /// 0: no lower limit.
    pub min_agents: u64,
    /// 0: no upper limit.
    pub max_agents: u64,
    /// 0: no limit.
    pub timeout_ms: u64,
    pub verify: Verify,
}

/// The hardware asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    Cpu,
    Gpu,
    Any,
}

/// How much is executed again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verify {
    /// Nothing; the result is labelled unverified.
    None,
    /// Sampled leaves of every shard.
    Spotcheck,
    /// Every leaf. `quorum` is an alias.
    Full,
}

/// What is kept after the job, and where.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Artifacts {
    /// Whether blobs and key-value pointers outlive the job; receipt and ledger entry always do.
    pub persist: bool,
    pub kv_namespace: String,
    /// Sorted, each once.
    pub include: Vec<ArtifactKind>,
}

/// The renderings a job can leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ArtifactKind {
    ResultJson,
    ExecutionsJson,
    MetricsJson,
    VerificationJson,
}

impl ArtifactKind {
    /// Every kind there is.
    pub const ALL: [ArtifactKind; 4] = [
        ArtifactKind::ResultJson,
        ArtifactKind::ExecutionsJson,
        ArtifactKind::MetricsJson,
        ArtifactKind::VerificationJson,
    ];

    /// The file it is written to.
    pub fn file_name(self) -> &'static str {
        match self {
            ArtifactKind::ResultJson => "result.json",
            ArtifactKind::ExecutionsJson => "executions.json",
            ArtifactKind::MetricsJson => "metrics.json",
            ArtifactKind::VerificationJson => "verification.json",
        }
    }

    /// The word in `artifacts.include`.
    pub fn as_str(self) -> &'static str {
        match self {
            ArtifactKind::ResultJson => "result_json",
            ArtifactKind::ExecutionsJson => "executions_json",
            ArtifactKind::MetricsJson => "metrics_json",
            ArtifactKind::VerificationJson => "verification_json",
        }
    }
}

const CLIENT_ID: Kind = Kind::Text { max: limits::CLIENT_ID_BYTES, pattern: Pattern::Printable };
const fn word(words: &'static [&'static str]) -> Kind {
    Kind::Word { words, aliases: &[] }
}

static BILLING: Schema = Schema {
    doc: "Whether the work settles.",
    fields: &[
        Field::new(
            "mode",
            "Test work settles at zero.",
            word(&["billable", "test"]),
            Need::Default("\"billable\""),
        ),
        Field::new(
            "reason",
            "Where the job comes from.",
            word(&["api", "studio_run", "lab", "internal"]),
            Need::Default("\"api\""),
        ),
    ],
};

static CTX: Schema = Schema {
    doc: "The submitter's own references.",
    fields: &[
        Field::new("job_id", "The client's own name for the job.", CLIENT_ID, Need::Optional),
        Field::new("run_id", "The run of a graph that this belongs to.", CLIENT_ID, Need::Optional),
        Field::new("stage_id", "The stage of that run.", CLIENT_ID, Need::Optional),
        Field::new("trace_id", "A trace to attach to.", CLIENT_ID, Need::Optional),
        Field::new("billing", "Whether the work settles.", Kind::Object(&BILLING), Need::Default("{}")),
    ],
};

static OP: Schema = Schema {
    doc: "What is to be computed.",
    fields: &[
        Field::new("name", "The family.", Kind::Text { max: 64, pattern: Pattern::Name }, Need::Required),
        Field::new("version", "The family's version.", Kind::Int { min: 0, max: 1 << 32 }, Need::Required),
        Field::new("profile", "The profile.", Kind::Text { max: 64, pattern: Pattern::Name }, Need::Required),
    ],
};

static POLICY: Schema = Schema {
    doc: "Where and how carefully to run.",
    fields: &[
        Field::new(
            "target",
            "The hardware asked for.",
            word(&["cpu", "gpu", "any"]),
            Need::Default("\"any\""),
        ),
        Field::new(
            "min_agents",
            "Fewest agents; 0: no limit.",
            Kind::Int { min: 0, max: limits::POLICY_AGENTS },
            Need::Default("0"),
        ),
        Field::new(
            "max_agents",
            "Most agents; 0: no limit.",
            Kind::Int { min: 0, max: limits::POLICY_AGENTS },
            Need::Default("0"),
        ),
        Field::new(
            "timeout_ms",
            "Milliseconds until the job fails; 0: no limit.",
            Kind::Int { min: 0, max: limits::TIMEOUT_MS },
            Need::Default("0"),
        ),
        Field::new(
            "verify",
            "How much is executed again: nothing, sampled leaves of every shard, everything.",
            Kind::Word { words: &["none", "spotcheck", "full"], aliases: &[("quorum", "full")] },
            Need::Default("\"spotcheck\""),
        ),
    ],
};

static SEED: Schema = Schema {
    doc: "How the root seed is made.",
    fields: &[
        Field::new(
            "mode",
            "From the contract, or given.",
            word(&["derived", "explicit"]),
            Need::Default("\"derived\""),
        ),
        Field::new(
            "value",
            "The seed in explicit mode; in derived mode a salt for independent replicates.",
            Kind::Text { max: limits::SEED_BYTES, pattern: Pattern::Printable },
            Need::Optional,
        ),
    ],
};

static ARTIFACTS: Schema = Schema {
    doc: "What is kept after the job.",
    fields: &[
        Field::new("persist", "Whether artifacts outlive the job.", Kind::Bool, Need::Default("true")),
        Field::new(
            "kv_namespace",
            "Where pointers to the artifacts are kept.",
            Kind::Text { max: limits::NAMESPACE_BYTES, pattern: Pattern::Name },
            Need::Default("\"jobs\""),
        ),
        Field::new(
            "include",
            "Which renderings to make.",
            Kind::List {
                of: &word(&["result_json", "executions_json", "metrics_json", "verification_json"]),
                min: 0,
                max: 4,
            },
            Need::Default("[\"result_json\",\"executions_json\",\"metrics_json\",\"verification_json\"]"),
        ),
    ],
};

/// The whole envelope; `args` is read by the profile.
pub static ENVELOPE: Schema = Schema {
    doc: "A job: what to compute, on which terms, from which seed, and what to keep.",
    fields: &[
        Field::new("ctx", "The submitter's own references.", Kind::Object(&CTX), Need::Default("{}")),
        Field::new("op", "What is to be computed.", Kind::Object(&OP), Need::Required),
        Field::new("args", "The profile's own arguments.", Kind::Open, Need::Required),
        Field::new("policy", "Where and how carefully to run.", Kind::Object(&POLICY), Need::Default("{}")),
        Field::new("seed", "How the root seed is made.", Kind::Object(&SEED), Need::Default("{}")),
        Field::new("artifacts", "What is kept after the job.", Kind::Object(&ARTIFACTS), Need::Default("{}")),
    ],
};

impl Envelope {
    /// Reads the public JSON; every problem is named with its path and its cure.
    pub fn read(json: Json) -> Result<Envelope, Problems> {
        let mut problems = Problems::default();
        let mut object = ENVELOPE.read(&json, "$", &mut problems);
        let Json::Map(entries) = json else { return Err(problems) };
        let args = entries.into_iter().find(|(key, _)| key == "args").map(|(_, args)| args);
        check_seed(&mut object, &mut problems);
        check_agents(&object, &mut problems);
        tidy_include(&mut object, &mut problems);
        if !problems.is_empty() {
            return Err(problems);
        }
        object.remove("args");
        let parts: Parts = serde_json::from_value(Value::Object(object))
            .expect("invariant: what the schema accepts, the types accept; tested");
        let Parts { ctx, op, policy, seed, artifacts } = parts;
        let args = args.expect("invariant: a missing args was a problem");
        Ok(Envelope { op, args, seed, terms: Terms { ctx, policy, artifacts } })
    }
}

/// What an envelope that is refused asks for, as far as that can be read: its arguments are judged all the same, so that a
/// person mends a file in one go.
pub fn asked_for(json: &Json) -> Option<(Op, &Json)> {
    let Json::Map(entries) = json else { return None };
    let field = |name: &str| entries.iter().find(|(key, _)| key == name).map(|(_, value)| value);
    let mut problems = Problems::default();
    let op = OP.read(field("op")?, "$.op", &mut problems);
    let args = field("args").filter(|args| matches!(args, Json::Map(_)))?;
    problems.into_result(serde_json::from_value(Value::Object(op)).ok()?).ok().map(|op| (op, args))
}

/// The canonical JSON of an envelope whose arguments the profile has made canonical (RFC 8785).
pub fn canonical_json(op: &Op, args: &Value, seed: &Seed, terms: &Terms) -> Value {
    serde_json::json!({
        "ctx": terms.ctx, "op": op, "args": args, "policy": terms.policy,
        "seed": seed, "artifacts": terms.artifacts,
    })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Parts {
    ctx: Ctx,
    op: Op,
    policy: Policy,
    seed: Seed,
    artifacts: Artifacts,
}

fn check_seed(object: &mut Map<String, Value>, problems: &mut Problems) {
    let Some(Value::Object(seed)) = object.get_mut("seed") else { return };
    if seed.get("value").and_then(Value::as_str) == Some("") {
        seed.remove("value");
    }
    if seed.get("mode").and_then(Value::as_str) == Some("explicit") && !seed.contains_key("value") {
        let cure = "give a non-empty string, or use \"mode\": \"derived\"";
        problems.add(ProblemCode::MissingField, "$.seed.value", "an explicit seed needs its value", cure);
    }
}

fn check_agents(object: &Map<String, Value>, problems: &mut Problems) {
    let Some(policy) = object.get("policy") else { return };
    let (min, max) = (policy["min_agents"].as_u64().unwrap_or(0), policy["max_agents"].as_u64().unwrap_or(0));
    if max != 0 && min > max {
        let message = format!("min_agents is {min}, max_agents is {max}");
        let cure = "make max_agents at least min_agents, or 0 for no limit";
        problems.add(ProblemCode::Inconsistent, "$.policy.max_agents", message, cure);
    }
}

/// Sorts the list, since its order means nothing; a word given twice is a mistake worth naming.
fn tidy_include(object: &mut Map<String, Value>, problems: &mut Problems) {
    let Some(Value::Array(include)) = object.get_mut("artifacts").and_then(|a| a.get_mut("include")) else {
        return;
    };
    let rank =
        |value: &Value| ArtifactKind::ALL.iter().position(|kind| Some(kind.as_str()) == value.as_str());
    include.sort_by_key(rank);
    let before = include.len();
    include.dedup();
    if include.len() < before {
        problems.add(
            ProblemCode::InvalidValue,
            "$.artifacts.include",
            "an artifact is named twice",
            "name each of them once",
        );
    }
}
