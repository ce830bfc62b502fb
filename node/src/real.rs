//! The ports of production: threads that compute, a thread that stores, and the mesh outside.

#[cfg(feature = "cli")]
pub mod control;
#[cfg(feature = "cli")]
pub mod enrol;
pub mod executor;
pub mod mesh;
#[cfg(feature = "cli")]
pub mod processors;
pub mod store;
#[cfg(feature = "mesh")]
pub mod swarm;
