//! The portable instantiation: what the compilation target guarantees, and the specification of all others.
//!
//! Must not ask the processor for anything.

use super::Body;

/// Runs the body as compiled for the target's baseline.
#[inline(never)]
pub(super) fn run<B: Body>(body: B) -> B::Out {
    body.run()
}
