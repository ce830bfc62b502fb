//! The floating-point environment of the calling thread.
//!
//! Reads it and compares; never changes it. A library that sets flush-to-zero for its own sake (some audio and
//! graphics code does, and `-ffast-math` start-up objects do) would otherwise change results silently.

/// The floating-point environment is not the one that results are defined in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the floating-point control register {register} is {found:#x}, expected {expected:#x} (round to nearest even, \
     gradual underflow, exceptions masked); some library in this process has changed it on this thread: start without \
     that library (LD_PRELOAD, plug-ins, objects linked with -ffast-math)"
)]
pub struct FpEnvError {
    /// The register's name.
    pub register: &'static str,
    /// Its control bits as found.
    pub found: u64,
    /// Its control bits as required.
    pub expected: u64,
}

/// Checks rounding, underflow and exception control of the calling thread.
///
/// x86-64: MXCSR apart from its six sticky flags must be 0x1F80. aarch64: FPCR must be 0. Elsewhere: behaviour is
/// probed by two operations, since the register is not known.
///
/// # Errors
/// [`FpEnvError`] with the register as found.
pub fn check() -> Result<(), FpEnvError> {
    let (register, expected, found) = control_bits();
    if found == expected { Ok(()) } else { Err(FpEnvError { register, found, expected }) }
}

#[cfg(target_arch = "x86_64")]
fn control_bits() -> (&'static str, u64, u64) {
    const STICKY_FLAGS: u32 = 0x3f;
    let mut mxcsr = 0_u32;
    // SAFETY: `stmxcsr` stores four bytes to the address given, which is that of a live, aligned `u32`; it has no
    // other effect, and SSE is part of x86-64.
    unsafe {
        std::arch::asm!("stmxcsr [{}]", in(reg) &raw mut mxcsr, options(nostack, preserves_flags));
    }
    ("MXCSR", 0x1f80, u64::from(mxcsr & !STICKY_FLAGS))
}

#[cfg(target_arch = "aarch64")]
fn control_bits() -> (&'static str, u64, u64) {
    let fpcr: u64;
    // SAFETY: reading FPCR is allowed in user mode and has no effect.
    unsafe {
        std::arch::asm!("mrs {}, fpcr", out(reg) fpcr, options(nomem, nostack, preserves_flags));
    }
    ("FPCR", 0, fpcr)
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn control_bits() -> (&'static str, u64, u64) {
    use std::hint::black_box;
    let gradual = black_box(f64::MIN_POSITIVE) * black_box(0.5) > 0.0;
    let nearest = black_box(1.0) + black_box(f64::EPSILON / 4.0) == 1.0
        && black_box(-1.0) - black_box(f64::EPSILON / 4.0) == -1.0
        && black_box(1.0) + black_box(f64::EPSILON * 0.75) > 1.0;
    ("(probed)", 0, u64::from(!gradual) | u64::from(!nearest) << 1)
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_fresh_thread_passes() {
        assert_eq!(super::check(), Ok(()));
    }

    #[test]
    #[cfg(target_arch = "x86_64")]
    fn changed_control_bits_are_found_and_sticky_flags_are_not() {
        let set = |mxcsr: u32| {
            // SAFETY: loads four bytes from a live `u32`. Exceptions stay masked, no floating-point operation runs
            // before the register is set back, and it is this thread's own.
            unsafe { std::arch::asm!("ldmxcsr [{}]", in(reg) &raw const mxcsr, options(nostack)) }
        };
        let found = [0x9f80, 0x1fc0, 0x3f80, 0x1fbf].map(|mxcsr| {
            set(mxcsr);
            let result = super::check();
            set(0x1f80);
            result.map_err(|error| error.found)
        });
        assert_eq!(found, [Err(0x9f80), Err(0x1fc0), Err(0x3f80), Ok(())]);
    }
}
