//! The node: one sans-I/O core, one event loop, three ports. With default features off there is no command line, no
//! picture and no network here: that is what the simulator builds.

// A reader that has gone away must not end the process: what is for people goes through `cli` or `stderr`.
#![cfg_attr(not(test), deny(clippy::print_stdout, clippy::print_stderr))]

pub mod artifacts;
pub mod blobs;
pub mod boot;
#[cfg(feature = "cli")]
pub mod bundle;
pub mod cause;
#[cfg(feature = "cli")]
pub mod cli;
#[cfg(feature = "cli")]
pub mod config;
pub mod core;
pub mod driver;
pub mod evidence;
pub mod garbage;
mod held;
pub mod job_file;
pub mod lacks;
pub mod links;
mod log;
pub mod outage;
pub mod perform;
#[cfg(feature = "cli")]
pub mod picture;
pub mod ports;
pub mod prepared;
pub mod real;
pub mod reduce;
pub mod reducers;
#[cfg(feature = "cli")]
mod stderr;
pub mod stop;
