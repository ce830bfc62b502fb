//! The AVX2 instantiation.
//!
//! Holds no arithmetic: the body is the portable one, compiled with more instructions allowed.

use super::{Body, portable};

/// Whether this processor has every feature that [`run`] compiles for.
pub(super) fn is_available() -> bool {
    is_x86_feature_detected!("avx2")
        && is_x86_feature_detected!("fma")
        && is_x86_feature_detected!("bmi1")
        && is_x86_feature_detected!("bmi2")
        && is_x86_feature_detected!("lzcnt")
        && is_x86_feature_detected!("popcnt")
}

/// Runs the body compiled for AVX2, or the portable one where the processor lacks it.
pub(super) fn run<B: Body>(body: B) -> B::Out {
    if !is_available() {
        return portable::run(body);
    }
    // SAFETY: `is_available` has just confirmed each feature that `instance` enables.
    unsafe { instance(body) }
}

#[target_feature(enable = "avx2,fma,bmi1,bmi2,lzcnt,popcnt")]
fn instance<B: Body>(body: B) -> B::Out {
    body.run()
}
