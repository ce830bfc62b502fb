//! Several hub members and agents, real cores over real work, with a log that never fails: what each of them does while
//! one leads and the others follow.

mod quorum {
    mod announced;
    mod artifacts;
    mod ballots;
    mod bench;
    mod deliveries;
    mod evidence;
    mod failover;
    mod halted;
    mod handed_on;
    mod reads;
    mod seats;
    mod signing;
    mod unfit;
    mod vouching;
    mod work;
}
