//! Bytes from outside, made to harm: every decoder refuses them or reads what they say, without a panic, without a second
//! spelling, and without more memory than they themselves warrant.
//!
//! Valid examples are damaged again and again, from a seed. `FORGEMESH_FUZZ_CASES` says how often each decoder is tried,
//! `FORGEMESH_FUZZ_SEED` from where; a failure prints the line that shows it again.

mod bundle;
mod damage;
mod examples;
mod grammar;
mod hub;
mod kernel;
mod memory;
mod node;
mod text;
mod trial;
mod wire;

#[global_allocator]
static MEMORY: memory::Counting = memory::Counting;
