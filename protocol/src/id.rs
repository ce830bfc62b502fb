//! Identifiers: each a digest with a type of its own, so that a job's id can never stand for a node's.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::hash::Hash;

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub Hash);
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.0.short())
            }
        }
        impl std::str::FromStr for $name {
            type Err = crate::hash::HashError;
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                text.parse().map($name)
            }
        }
    )*};
}

ids! {
    /// A mesh: the digest of its genesis.
    MeshId;
    /// A node, and the key it signs with: the digest of the public key.
    NodeId;
    /// A job: the digest of its submission, mesh and submitter included.
    JobId;
}
