//! How much memory a worker may have when its operator has not said.

/// Least: the executable's own needs, and a shard of every profile.
const LEAST_BYTES: u64 = 512 << 20;
/// Taken for a machine that does not say what it has.
#[cfg(not(target_os = "linux"))]
const ASSUMED_BYTES: u64 = 8 << 30;

/// Half of what there is, so that the node itself and everybody else have the other half.
pub fn default_bytes() -> u64 {
    (total_bytes() / 2).max(LEAST_BYTES)
}

/// What this machine has, or the container that this runs in.
#[cfg(target_os = "linux")]
fn total_bytes() -> u64 {
    let info = rustix::system::sysinfo();
    let machine = info.totalram.saturating_mul(u64::from(info.mem_unit));
    let container = std::fs::read_to_string("/sys/fs/cgroup/memory.max").ok();
    let container = container.and_then(|text| text.trim().parse::<u64>().ok());
    container.map_or(machine, |container| container.min(machine))
}

#[cfg(not(target_os = "linux"))]
fn total_bytes() -> u64 {
    ASSUMED_BYTES
}
