//! Every profile there is, in alphabetical order of its name.

use forgemesh_protocol::op::Op;
use forgemesh_protocol::problem::{ProblemCode, Problems};

use crate::profile::Profile;
use crate::profiles::{insurance, mix, noop, reserve};

/// All of them.
pub static PROFILES: &[&dyn Profile] = &[&mix::Mix, &noop::Noop, &insurance::Insurance, &reserve::Reserve];

/// The profile of that name.
pub fn find(op: &Op) -> Option<&'static dyn Profile> {
    PROFILES.iter().copied().find(|profile| profile.op() == *op)
}

/// The profile of that name, or the problem with it.
pub fn require(op: &Op) -> Result<&'static dyn Profile, Problems> {
    find(op).ok_or_else(|| {
        let names: Vec<_> = PROFILES.iter().map(|profile| profile.op().to_string()).collect();
        let shown = forgemesh_protocol::json::printable(&op.to_string());
        let cure = format!("the profiles here are {}", names.join(", "));
        Problems::one(ProblemCode::UnknownOp, "$.op", format!("no profile is called {shown}"), cure)
    })
}
