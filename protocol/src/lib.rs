//! Every noun of the system and its canonical bytes.
//!
//! Pure: this crate never reads a clock, does no I/O and draws no entropy. It knows nothing about how a
//! job is computed (that is `kernel/`), nor where anything is kept (that is `storage/`).

pub mod hash;
