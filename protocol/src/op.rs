//! What is to be computed: a primitive family, its version, a profile. Written `mc@1/reserve.v1`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Family, version and profile.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Op {
    /// The family: `mc`, `diag`, ….
    pub name: String,
    /// The family's version.
    pub version: u64,
    /// The profile, its own version included: `reserve.v1`.
    pub profile: String,
}

impl Op {
    /// An op from its three parts.
    pub fn new(name: &str, version: u64, profile: &str) -> Op {
        Op { name: name.to_owned(), version, profile: profile.to_owned() }
    }
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}/{}", self.name, self.version, self.profile)
    }
}

/// Why a text is not an op.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an op is written NAME@VERSION/PROFILE, for example mc@1/reserve.v1; `forgemesh op ls` lists them")]
pub struct OpError;

impl FromStr for Op {
    type Err = OpError;

    fn from_str(text: &str) -> Result<Self, OpError> {
        let (name, rest) = text.split_once('@').ok_or(OpError)?;
        let (version, profile) = rest.split_once('/').ok_or(OpError)?;
        if name.is_empty() || profile.is_empty() {
            return Err(OpError);
        }
        Ok(Op::new(name, version.parse().map_err(|_| OpError)?, profile))
    }
}
