//! The node: one sans-I/O core, one event loop, three ports. With default features off there is no command line, no
//! picture and no network here: that is what the simulator builds.

pub mod boot;
pub mod core;
pub mod driver;
pub mod job_file;
pub mod ports;
pub mod real;

#[cfg(feature = "cli")]
pub mod picture;
