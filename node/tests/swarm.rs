//! The network of production, on loopback: real sockets, real time, and no proof by waiting. A test waits for what is to
//! happen, with a generous limit; how long it took never decides.

#![allow(clippy::unwrap_used, reason = "a failed step of a test is a failed test")]

mod swarm {
    mod bench;

    mod discovery;
    mod exchange;
    mod flood;
    mod gossip;
    mod hostile;
    mod meshes;
    mod private;
    mod providers;
    mod relay;
}
