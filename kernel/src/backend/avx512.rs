//! The AVX-512 instantiation.
//!
//! Holds no arithmetic: the body is the portable one, compiled with more instructions allowed.

use super::{Body, avx2, portable};

/// Whether this processor has every feature that [`run`] compiles for.
pub(super) fn is_available() -> bool {
    avx2::is_available()
        && is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512cd")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512dq")
        && is_x86_feature_detected!("avx512vl")
}

/// Runs the body compiled for AVX-512, or the portable one where the processor lacks it.
pub(super) fn run<B: Body>(body: B) -> B::Out {
    if !is_available() {
        return portable::run(body);
    }
    // SAFETY: `is_available` has just confirmed each feature that `instance` enables.
    unsafe { instance(body) }
}

#[target_feature(enable = "avx512f,avx512cd,avx512bw,avx512dq,avx512vl,avx2,fma,bmi1,bmi2,lzcnt,popcnt")]
fn instance<B: Body>(body: B) -> B::Out {
    body.run()
}
