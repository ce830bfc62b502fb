//! Several real processes on this machine that are one mesh: they join by ticket, compute for each other, and stand what
//! happens to the others. On loopback, or in network namespaces of their own; every process is stopped by its own id.

mod admission;
mod artifacts;
mod caps;
mod cluster;
mod computing;
mod crowd;
#[path = "../cli/draws.rs"]
mod draws;
mod flood;
mod founderless;
mod holes;
mod lines;
mod metrics;
mod misled;
mod neighbours;
mod netns;
mod organizations;
mod outsiders;
mod pair;
mod parted;
mod promotion;
mod quorum;
mod relay;
mod routed;
mod trio;
