//! Which calls to the system a confined worker may make: a list of what is allowed, all else is refused.
//!
//! An allow-list, not a list of what is forbidden: the kernel of the system gains calls every year (io_uring, pidfd,
//! openat2 …), and x86-64 has a second numbering (x32), so that whatever a deny-list names there is another way to it.
//! It can be short, for a worker that is confined has all that it needs: its pipes are open and its threads run. What is
//! left is memory, waiting, clocks and its own end. The list names calls that every Linux architecture has, so it is
//! the same on x86-64 and aarch64; a C library (glibc or musl) that tries more gets EPERM, as from a file that it may
//! not read, and goes on without. Refused is not killed: a call that some library makes in passing must not end the
//! work, and none of them can do any harm.
//!
//! Must never allow what names a path, a socket, another process, or code (`PROT_EXEC`).

use std::collections::BTreeMap;

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    TargetArch,
};

/// Allowed whatever their arguments are.
const CALLS: &[libc::c_long] = &[
    // The pipes, which are all that is open.
    libc::SYS_read,
    libc::SYS_readv,
    libc::SYS_write,
    libc::SYS_writev,
    libc::SYS_close,
    // Memory; mapping is below.
    libc::SYS_brk,
    libc::SYS_madvise,
    libc::SYS_mremap,
    libc::SYS_munmap,
    // Waiting for each other.
    libc::SYS_clock_nanosleep,
    libc::SYS_futex,
    libc::SYS_nanosleep,
    libc::SYS_restart_syscall,
    libc::SYS_sched_yield,
    // Clocks, and what a thread may know of itself.
    libc::SYS_clock_getres,
    libc::SYS_clock_gettime,
    libc::SYS_getpid,
    libc::SYS_getrandom,
    libc::SYS_gettid,
    libc::SYS_sched_getaffinity,
    // The end of a thread, of the process, and a panic or an abort on the way there.
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sigaltstack,
];

/// Allowed for memory that holds no code. Their third argument is the protection.
const MAPPING: &[libc::c_long] = &[libc::SYS_mmap, libc::SYS_mprotect];

/// Why the filter is not in force.
#[derive(Debug, thiserror::Error)]
pub enum FilterError {
    #[error("no filter can be made for this processor: {0}")]
    Made(#[from] seccompiler::BackendError),
    #[error("the system takes no filter: {0}")]
    Taken(#[from] seccompiler::Error),
}

/// Confines all threads of this process, now and for good.
pub fn install() -> Result<(), FilterError> {
    Ok(seccompiler::apply_filter_all_threads(&program()?)?)
}

fn program() -> Result<BpfProgram, FilterError> {
    // No rule: always.
    let mut allowed: BTreeMap<i64, Vec<SeccompRule>> = CALLS.iter().map(|call| (*call, Vec::new())).collect();
    let exec = libc::PROT_EXEC as u64;
    for call in MAPPING {
        let not_code = SeccompCondition::new(2, SeccompCmpArgLen::Dword, SeccompCmpOp::MaskedEq(exec), 0)?;
        allowed.insert(*call, vec![SeccompRule::new(vec![not_code])?]);
    }
    // To abort is to send oneself a signal; none to anybody else.
    let own = u64::from(std::process::id());
    let to_itself = SeccompCondition::new(0, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, own)?;
    allowed.insert(libc::SYS_tgkill, vec![SeccompRule::new(vec![to_itself])?]);
    let architecture = TargetArch::try_from(std::env::consts::ARCH)?;
    let refused = SeccompAction::Errno(libc::EPERM as u32);
    Ok(SeccompFilter::new(allowed, refused, SeccompAction::Allow, architecture)?.try_into()?)
}
