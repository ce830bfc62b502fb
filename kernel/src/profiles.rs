//! The profiles, one file each.

pub mod insurance;
pub mod mix;
pub mod noop;
pub mod output;
pub mod reserve;
pub mod triangle;
