//! A command as it travels and lies in the log: canonical bytes, read at most once by each node that holds them.

use std::fmt;
use std::sync::{Arc, OnceLock};

use forgemesh_protocol::canon::{self, Bytes, CanonError};
use forgemesh_protocol::limits;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::command::Command;

/// A command and its bytes. Clones share both: the same entry is in memory, on its way and being applied.
#[derive(Clone)]
pub struct Sealed(Arc<Inner>);

struct Inner {
    bytes: Bytes,
    command: OnceLock<Command>,
}

impl Sealed {
    /// Its length in bytes.
    pub fn length(&self) -> usize {
        self.0.bytes.0.len()
    }

    /// What it says, decoded strictly.
    pub fn command(&self) -> Result<&Command, CanonError> {
        if let Some(command) = self.0.command.get() {
            return Ok(command);
        }
        let command = decode(&self.0.bytes)?;
        Ok(self.0.command.get_or_init(|| command))
    }

    /// What it says, decoded strictly; a copy only where others hold it too.
    pub fn into_command(self) -> Result<Command, CanonError> {
        match Arc::try_unwrap(self.0) {
            Ok(Inner { bytes, command }) => command.into_inner().map_or_else(|| decode(&bytes), Ok),
            Err(shared) => Sealed(shared).command().cloned(),
        }
    }
}

fn decode(bytes: &Bytes) -> Result<Command, CanonError> {
    canon::from_bytes(&bytes.0, limits::COMMAND_BYTES)
}

impl From<Command> for Sealed {
    fn from(command: Command) -> Self {
        let bytes = Bytes(canon::to_bytes(&command));
        Sealed(Arc::new(Inner { bytes, command: OnceLock::from(command) }))
    }
}

impl PartialEq for Sealed {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self.0.bytes == other.0.bytes
    }
}

impl fmt::Debug for Sealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.command() {
            Ok(command) => command.fmt(f),
            Err(error) => write!(f, "{:?}: {error}", self.0.bytes),
        }
    }
}

impl Serialize for Sealed {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.bytes.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Sealed {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Bytes::deserialize(deserializer)
            .map(|bytes| Sealed(Arc::new(Inner { bytes, command: OnceLock::new() })))
    }
}
