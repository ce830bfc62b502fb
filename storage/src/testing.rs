//! For tests and the simulator: a model disk with faults, a random generator, commits that promise too little.
//!
//! Behind the feature `testing`. Must never be part of a node: its manifest does not ask for the feature.

mod disk;
mod fault;
mod medium;
mod random;
mod space;
mod state;
mod weak;

pub use disk::Disk;
pub use fault::{Action, When};
pub use medium::Unsynced;
pub use random::Random;
pub use space::Growth;
pub use state::{Counts, Failures};
pub use weak::Weakness;
