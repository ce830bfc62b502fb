//! The hub's state machine against its rules: every legal move, every refusal by its name.
//!
//! Each test drives a real machine with really signed objects. The bench audits each of them at its end: the log,
//! encoded and decoded, replays to the same bytes, and a snapshot taken anywhere goes on to the same end.

mod hub {
    mod bench;

    mod admission;
    mod attestation;
    mod beacon;
    mod cancel;
    mod ending;
    mod enrolment;
    mod ledger;
    mod life;
    mod organization;
    mod seating;
    mod set_aside;
    mod snapshot;
    mod verdict;
    mod vote;
}
