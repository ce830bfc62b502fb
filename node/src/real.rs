//! The ports of production: a process that computes, threads that reduce, a thread that stores, and the mesh outside.

#[cfg(feature = "cli")]
pub mod allocator;
#[cfg(feature = "cli")]
pub mod control;
#[cfg(feature = "cli")]
pub mod enrol;
#[cfg(feature = "cli")]
pub mod executor;
pub mod mesh;
#[cfg(feature = "cli")]
pub mod processors;
pub mod store;
#[cfg(feature = "mesh")]
pub mod swarm;
#[cfg(feature = "cli")]
pub mod whereabouts;
#[cfg(feature = "cli")]
pub mod worker;
