//! Every bound of the simulator, by name: what a simulated machine may pile up, how long a world may take.

/// Parcels that wait at one machine, on their way or unread; what comes beyond is dropped and counted.
pub const INBOX_PARCELS: usize = 8_192;
/// Batches that one machine may have waiting for its disk.
pub const STORE_QUEUE: usize = 4_096;
/// Pieces of work that one machine may have waiting for its processor, beside the shards leased to it.
pub const EXECUTOR_QUEUE: usize = 4_096;
/// Links of the hub's beacon chain: a million of them would be most of a simulation's cost.
pub const BEACON_LINKS: u64 = 2_048;
/// Virtual time in which a healed world must end every job.
pub const PROGRESS_MS: u64 = 2 * 3_600_000;
/// Virtual time after that in which every member that sits must have the evidence: what nobody had when it was asked for is
/// asked for again after minutes.
pub const EVIDENCE_MS: u64 = 1_800_000;
/// Results of the kernel that a thread keeps, in bytes.
pub const MEMO_BYTES: usize = 192 << 20;
/// Leaves whose check a thread keeps.
pub const MEMO_LEAVES: usize = 1 << 20;
/// Most machines of one world.
pub const MACHINES: u64 = 10_000;
/// Most jobs of one world.
pub const JOBS: u64 = 10_000;
/// Longest world, in hours of virtual time.
pub const HOURS: f64 = 24.0 * 365.0;
/// Runs in which a failing scenario may be shortened.
pub const SHORTENING_RUNS: usize = 400;
