//! Several real processes on this machine that are one mesh: they join by ticket, compute for each other, and stand what
//! happens to the others. Loopback only; every process is stopped by its own id.

mod admission;
mod caps;
mod cluster;
mod computing;
mod pair;
mod promotion;
mod quorum;
