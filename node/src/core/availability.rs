//! How much of itself a node lends to the mesh: its operator's word, which may change while it runs.
//!
//! Must never touch what a result's bits depend on.

use forgemesh_protocol::op::Op;

/// Whether a node takes work.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// It takes what it is lent.
    #[default]
    Working,
    /// It finishes what it holds, and takes nothing new.
    Draining,
    /// It gives back what it has not begun, and takes nothing new.
    Paused,
}

impl Mode {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Mode::Working => "working",
            Mode::Draining => "draining",
            Mode::Paused => "paused",
        }
    }
}

/// What a node's operator allows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Availability {
    pub mode: Mode,
    /// Shards executed at once; none: as many as the executor has threads.
    pub threads: Option<u64>,
    /// The operations that it executes; all, if there are none.
    pub ops: Vec<Op>,
}
