//! What a worker takes from itself before it reads any work: files, network, rights, memory beyond its share.
//!
//! Two layers, for not every system gives both. The filter of calls (`filter.rs`, Linux) leaves nothing but memory,
//! clocks and the pipes that are open. Beside it limits that every Unix has: no descriptor can be opened (so no file
//! and no socket either), nothing written into a file, no core dumped. Whatever the system refuses is named, never
//! passed over. Must be called when all threads run: afterwards none can be started.

use rustix::process::{Resource, Rlimit, setrlimit};

use super::frame::Gap;

/// Before the threads are started, which inherit it: ends with its node, yields to everything else, and is what the
/// system ends first when it is out of memory.
pub fn prepare() {
    #[cfg(target_os = "linux")]
    {
        // Beside the end of the pipe, which a worker in the middle of a reply would see late. Each is a courtesy.
        let _ = rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL));
        let _ = std::fs::write("/proc/self/oom_score_adj", "500");
        let _ = rustix::process::setpriority_process(None, super::NICENESS);
    }
}

/// Confines this process for good, to so many bytes of memory; what could not be done.
pub fn confine(memory_bytes: u64) -> Vec<Gap> {
    let mut gaps = Vec::new();
    let mut limit = |resource, value, gap| {
        let limit = Rlimit { current: Some(value), maximum: Some(value) };
        if setrlimit(resource, limit).is_err() && !gaps.contains(&gap) {
            gaps.push(gap);
        }
    };
    limit(Resource::Core, 0, Gap::Files);
    limit(Resource::Fsize, 0, Gap::Files);
    limit(Resource::Nofile, 0, Gap::Files);
    // Memory that it writes, stacks and heaps, not addresses: an allocator sets many more of those aside than it uses.
    limit(Resource::Data, memory_bytes, Gap::Memory);
    gaps.extend(refuse_calls());
    gaps
}

#[cfg(target_os = "linux")]
fn refuse_calls() -> Vec<Gap> {
    use rustix::process::{DumpableBehavior, set_dumpable_behavior};

    let mut gaps = Vec::new();
    // Not dumpable: no process of the same user reads its memory, nor does a core dump.
    let rights =
        rustix::thread::set_no_new_privs(true).and(set_dumpable_behavior(DumpableBehavior::NotDumpable));
    if rights.is_err() {
        gaps.push(Gap::Rights);
    }
    if let Err(error) = super::filter::install() {
        eprintln!("{error}");
        gaps.push(Gap::Calls);
    }
    gaps
}

/// Other systems have filters of their own, and none of them is used here yet.
#[cfg(not(target_os = "linux"))]
fn refuse_calls() -> Vec<Gap> {
    vec![Gap::Calls]
}
