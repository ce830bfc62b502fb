//! Who may have a member look for its signature, and for how many jobs at once.

use forgemesh_node::core::Input;
use forgemesh_node::ports::{Done, Work};
use forgemesh_protocol::hash::Hash;
use forgemesh_protocol::id::JobId;
use forgemesh_protocol::limits;
use forgemesh_protocol::wire::Message;

use super::bench::{Agent, Bench};

fn looked_up(bench: &Bench) -> usize {
    bench.works.iter().filter(|(_, work)| matches!(work, Work::File { .. })).count()
}

fn ask(bench: &mut Bench, agent: &Agent, number: usize) {
    let job = JobId(Hash::blob(&number.to_be_bytes()));
    bench.from(agent, Message::Sign { job });
}

#[test]
fn a_stranger_has_no_job_looked_up() {
    let (mut bench, agent) = (Bench::new(), Agent::new(10, 1));
    bench.hello(&[&agent]);
    ask(&mut bench, &agent, 1);
    assert_eq!(looked_up(&bench), 0);
}

#[test]
fn a_member_has_few_looked_up_at_once_and_none_twice() {
    let mut bench = Bench::new();
    let mut member = Agent::new(10, 1);
    member.secret = bench.hub.clone();
    for number in (0..2 * limits::SIGNATURES_READ).flat_map(|number| [number, number]) {
        ask(&mut bench, &member, number);
    }
    assert_eq!(looked_up(&bench), limits::SIGNATURES_READ);
    let (ticket, _) = bench.works.pop_front().expect("work");
    bench.hand(Input::Worked { ticket, done: Done::File { file: None } });
    (0..2).for_each(|number| ask(&mut bench, &member, limits::SIGNATURES_READ + number));
    assert_eq!(looked_up(&bench), limits::SIGNATURES_READ);
}
