//! Numbers on the result path: addressed random draws, elementary functions and samplers.
//!
//! Every function here is a specification: the order of its operations, its constants and its bits are frozen.
//! A different result needs a new function name and a new profile version.
//!
//! Arithmetic is IEEE 754 binary64, round to nearest even, gradual underflow ([`crate::fpenv`] checks this).
//! `a.mul_add(b, c)` is the fused `fma(a, b, c)` of the specification; nothing else may be fused or reassociated.
//! A function that returns a NaN returns [`NAN`], so that bits are defined there too.
//!
//! The bodies are scalar, branch-free and `#[inline(always)]`. Called from a body that runs under
//! [`crate::backend::dispatch`] they are vectorised for the instruction set chosen there, with the same bits.
//!
//! Nothing here may call a transcendental function of std or libm, keep a running random state, read a clock, or
//! depend on the instruction set.

pub mod chacha;
pub mod func;
pub mod gamma;
pub mod normal;
pub mod poisson;
pub mod uniform;

/// The one NaN that this module returns: positive, quiet, empty payload (`0x7ff8_0000_0000_0000`).
///
/// IEEE 754 leaves the sign and the payload of a produced NaN open, and processors differ.
pub const NAN: f64 = f64::from_bits(0x7ff8_0000_0000_0000);
