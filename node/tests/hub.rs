//! The hub's core, driven by hand: a test plays the agents, and says what it expects of the hub, and that nothing
//! else happened.

mod hub {
    mod bench;

    mod asking;
    mod attesting;
    mod caps;
    mod cause;
    mod durable;
    mod enrolment;
    mod full_disk;
    mod hostile;
    mod lending;
    mod losing;
    mod requests;
    mod signing;
    mod standing;
}
