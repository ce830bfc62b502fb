//! What exactness promises: any partition, any merge order, any plan, any instruction set, one result.
//!
//! One program, one theme a file. It must never take its randomness from the generator under test.

#![allow(clippy::disallowed_methods, reason = "oracles use std's floats, and plans are tried on threads")]

mod args;
mod claims;
mod convergence;
mod decoding;
mod golden;
mod opening;
mod order_statistics;
mod profiles;
mod reduction;
mod shard_plans;
mod support;
