//! The ports of production: threads that compute, a thread that stores, and the mesh outside.

pub mod executor;
pub mod mesh;
pub mod store;
#[cfg(feature = "mesh")]
pub mod swarm;
