//! Whether a policy can be met by the nodes there are.

use forgemesh_protocol::envelope::{Policy, Target};
use forgemesh_protocol::problem::{ProblemCode, Problems};

/// The nodes there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capabilities {
    pub agents: u64,
    pub gpus: u64,
}

impl Capabilities {
    /// An embedded node: itself, computing on its processor.
    pub const EMBEDDED: Capabilities = Capabilities { agents: 1, gpus: 0 };
}

/// Every constraint of `policy` that these nodes do not meet, with the counts and the cure.
pub fn check(policy: &Policy, nodes: &Capabilities) -> Result<(), Problems> {
    let mut problems = Problems::default();
    let code = ProblemCode::PolicyUnsatisfiable;
    if policy.target == Target::Gpu && nodes.gpus == 0 {
        let message = format!("0 of {} nodes have a GPU", nodes.agents);
        problems.add(
            code,
            "$.policy.target",
            message,
            "use \"any\" or \"cpu\": the result has the same bits",
        );
    }
    if policy.min_agents > nodes.agents {
        let message = format!("{} agents are asked for, {} are here", policy.min_agents, nodes.agents);
        let cure = format!("lower it to {} or 0, or run the job on a larger mesh", nodes.agents);
        problems.add(code, "$.policy.min_agents", message, cure);
    }
    problems.into_result(())
}
