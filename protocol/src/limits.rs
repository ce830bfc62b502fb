//! Every bound of the system, by name. A queue, message, retry or depth without a bound here is a bug.

/// Version of the wire and of every signed structure.
pub const PROTOCOL_VERSION: u64 = 1;

/// Nesting depth of canonical CBOR.
pub const CANON_DEPTH: usize = 24;
/// Nesting depth of a JSON envelope.
pub const JSON_DEPTH: usize = 24;
/// Bytes of a JSON envelope, args included.
pub const ENVELOPE_BYTES: usize = 1 << 20;
/// Problems reported for one envelope; the rest are counted.
pub const PROBLEMS: usize = 20;

/// Bytes of a client's own identifier in `ctx`.
pub const CLIENT_ID_BYTES: usize = 128;
/// Bytes of a seed string.
pub const SEED_BYTES: usize = 256;
/// Bytes of a `kv_namespace`.
pub const NAMESPACE_BYTES: usize = 64;
/// Bytes of a mesh's name.
pub const MESH_NAME_BYTES: usize = 64;
/// Agents a policy may ask for.
pub const POLICY_AGENTS: u64 = 10_000;
/// Longest time a job may be given: 30 days.
pub const TIMEOUT_MS: u64 = 30 * 24 * 3600 * 1000;

/// Paths of one job.
pub const JOB_PATHS: u64 = 1_000_000_000_000;
/// Shards of one stage; the planner makes shards larger rather than exceed it.
pub const STAGE_SHARDS: u64 = 1 << 20;
/// Leaves of one shard.
pub const SHARD_LEAVES: u64 = 1 << 16;
/// Stages of one job: pilot, main, and repairs of missed brackets.
pub const JOB_STAGES: u64 = 8;
/// Shards of one attestation.
pub const BATCH_SHARDS: usize = 256;
/// How long an agent collects finished shards at least before it attests them.
pub const BATCH_DELAY_MS: u64 = 5;
/// And at most.
pub const BATCH_DELAY_MOST_MS: u64 = 1_000;
/// A batch has one shard for this many that the agent has attested of the stage: small batches first, so that a
/// short job is quick, large ones later, so that a long job has few.
pub const BATCH_GROWTH: u64 = 16;
/// Mismatches one verdict names: one is enough to convict, and a verdict must fit a log entry.
pub const VERDICT_MISMATCHES: usize = 64;
/// Checks of one batch that may fail to check anything before its job is given up.
pub const CHECK_ATTEMPTS: u64 = 3;
/// Leases one attestation may name.
pub const BATCH_LEASES: usize = 64;
/// Shards of one lease.
pub const LEASE_SHARDS: u64 = 256;
/// How long a lease is good for, in log time.
pub const LEASE_MS: u64 = 60_000;
/// Attempts at one shard before its job fails.
pub const SHARD_ATTEMPTS: u32 = 5;

/// Bytes of one log entry.
pub const COMMAND_BYTES: usize = 4 << 20;
/// Bytes of a snapshot of the hub's state.
pub const SNAPSHOT_BYTES: usize = 256 << 20;
/// Bytes of an encoded shard accumulator.
pub const ACCUMULATOR_BYTES: usize = 256 << 20;
/// Bytes of a members blob: the claims of one batch.
pub const MEMBERS_BYTES: usize = 1 << 20;
/// Bytes of a stage input.
pub const STAGE_INPUT_BYTES: usize = 1 << 20;
/// Bytes of a receipt file.
pub const RECEIPT_BYTES: usize = 16 << 20;
/// Bytes of a bundle of evidence.
pub const BUNDLE_BYTES: usize = 1 << 30;
/// Bytes of a rendered artifact.
pub const ARTIFACT_BYTES: usize = 256 << 20;

/// Jobs that are accepted and not yet final.
pub const OPEN_JOBS: usize = 1_000;
/// Submissions whose nonce is remembered until they expire.
pub const NONCES: usize = 100_000;
/// How long a submission may wait to be committed.
pub const SUBMISSION_TTL_MS: u64 = 24 * 3600 * 1000;
/// Members of the hub.
pub const HUB_MEMBERS: usize = 5;
/// Links of a member's beacon chain. One serves every batch that is committed to before it is revealed.
pub const BEACON_LENGTH: u64 = 1 << 20;
/// Log entries kept before the state is written as a snapshot.
pub const LOG_ENTRIES: u64 = 1_024;
/// Percentile levels one job may ask for.
pub const LEVELS: usize = 32;
/// Rows and columns of a loss triangle.
pub const TRIANGLE_SIDE: usize = 64;
