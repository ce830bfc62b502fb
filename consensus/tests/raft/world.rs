//! Members, what is between them, and what must hold whatever happens.
//!
//! One seed decides everything. The rules are checked at every event: what one applies at an index all apply there, a
//! restored state is the state of that index, a term has one leader, and who leads knows all that was agreed on before.

use std::collections::{BTreeMap, BTreeSet};
use std::future::{Future, poll_fn};
use std::ops::Range;
use std::pin::pin;
use std::task::Poll;

use forgemesh_consensus::command::Command;
use forgemesh_consensus::raft::{self, ChangeError, Committed, Event, Proposed, Replica, Timing};
use forgemesh_protocol::canon::Bytes;
use forgemesh_protocol::hash::Hash;
use forgemesh_protocol::id::{JobId, NodeId};
use forgemesh_storage::testing::{Random, Unsynced};
use tokio::time::{Duration, Instant, sleep_until};

use super::member::{Chain, Member};

/// What the network and the disks are like.
#[derive(Clone, Debug)]
pub struct Weather {
    /// Messages that are lost, and that come twice, in percent.
    pub loss: usize,
    pub repeat: usize,
    /// How long a message and a write take, in microseconds.
    pub way_us: Range<u64>,
    pub write_us: Range<u64>,
    /// Entries after which a member makes a snapshot, and bytes of it beside the state.
    pub snapshot_every: u64,
    pub padding: usize,
}

impl Weather {
    /// Nothing is lost, and everything takes a moment.
    pub fn fair() -> Weather {
        Weather {
            loss: 0,
            repeat: 0,
            way_us: 300..900,
            write_us: 200..1_000,
            snapshot_every: u64::MAX,
            padding: 0,
        }
    }
}

/// Something that happens at its time.
enum Deed {
    Deliver { from: usize, to: usize, bytes: Bytes },
    Written { member: usize, life: u64 },
    Reopen { member: usize },
    Propose,
}

pub struct World {
    pub random: Random,
    pub weather: Weather,
    pub members: Vec<Member>,
    pub timing: Timing,
    /// Pairs of members between which nothing passes.
    pub cut: BTreeSet<(usize, usize)>,
    /// What is agreed on, and the state after it.
    pub agreed: Vec<(Committed, Chain)>,
    pub leaders: BTreeMap<u64, NodeId>,
    /// Answers to changes of members.
    pub changed: Vec<(u64, Result<(), ChangeError>)>,
    /// Answers to `confirm`: member, token, answer.
    pub confirmed: Vec<(usize, u64, bool)>,
    /// Entries that were agreed on when each was asked.
    asked: Vec<u64>,
    pub sent: u64,
    /// Writes are said to be durable before they are written: what must be found out.
    pub hasty: bool,
    /// A member whose disk takes writes and ends none.
    pub hung: Option<usize>,
    voters: Vec<NodeId>,
    started: Instant,
    deeds: BTreeMap<(u64, u64), Deed>,
    deed: u64,
    proposals: u64,
    /// Microseconds between proposals; none are made by itself while this is empty.
    proposing_us: Range<u64>,
    trace: blake3::Hasher,
}

/// Runs a test in a runtime of virtual time that draws from `seed`.
pub fn run<T>(seed: u64, test: impl Future<Output = T>) -> T {
    raft::seed(seed);
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(test)
}

/// Seeds of the random schedules: so many, unless the environment says otherwise.
pub fn seeds(default: u64) -> Range<u64> {
    let number = |name| std::env::var(name).ok().map(|text| text.parse::<u64>().expect("a number"));
    match (number("FORGEMESH_RAFT_SEED"), number("FORGEMESH_RAFT_SEEDS")) {
        (Some(seed), _) => seed..seed + 1,
        (None, count) => 0..count.unwrap_or(default),
    }
}

impl World {
    /// A hub of `voters` members, and `others` that wait to become some; all are started.
    pub async fn new(seed: u64, voters: usize, others: usize, weather: Weather) -> World {
        let mut random = Random(seed);
        let members: Vec<Member> =
            (0..voters + others).map(|number| Member::new(number as u64, random.draw())).collect();
        let mut world = World {
            random,
            weather,
            timing: Timing::default(),
            cut: BTreeSet::new(),
            agreed: Vec::new(),
            leaders: BTreeMap::new(),
            changed: Vec::new(),
            confirmed: Vec::new(),
            asked: Vec::new(),
            sent: 0,
            hasty: false,
            hung: None,
            voters: members[..voters].iter().map(|member| member.id).collect(),
            members,
            started: Instant::now(),
            deeds: BTreeMap::new(),
            deed: 0,
            proposals: 0,
            proposing_us: 0..0,
            trace: blake3::Hasher::new(),
        };
        for member in 0..voters + others {
            world.start(member).await;
        }
        world
    }

    pub async fn start(&mut self, member: usize) {
        let (voters, timing) = (self.voters.clone(), self.timing.clone());
        if !self.members[member].start(voters, timing).await {
            self.fail(member);
        }
    }

    /// A member's disk has failed.
    fn fail(&mut self, member: usize) {
        let way = Unsynced::Torn(self.random.draw());
        self.crash(member, way);
        self.reopen_after(member, 300_000);
    }

    pub fn now_us(&self) -> u64 {
        self.started.elapsed().as_micros() as u64
    }

    /// Digest of every event so far, with its time.
    pub fn trace(&self) -> Hash {
        Hash(*self.trace.finalize().as_bytes())
    }

    fn draw(&mut self, range: &Range<u64>) -> u64 {
        range.start + self.random.below((range.end - range.start) as usize) as u64
    }

    fn after(&mut self, us: u64, deed: Deed) {
        self.deed += 1;
        self.deeds.insert((self.now_us() + us, self.deed), deed);
    }

    /// From now on, proposes to whoever says that it leads, again and again.
    pub fn propose_every(&mut self, us: Range<u64>) {
        self.proposing_us = us;
        self.after(0, Deed::Propose);
    }

    pub fn stop_proposing(&mut self) {
        self.proposing_us = 0..0;
    }

    /// A command that was never proposed before.
    pub fn command(&mut self) -> Command {
        self.proposals += 1;
        Command::Start { job: JobId(Hash::blob(&self.proposals.to_le_bytes())) }
    }

    /// Proposes to this member.
    pub fn propose(&mut self, member: usize) -> bool {
        let (command, at_ms) = (self.command(), self.now_us() / 1_000);
        let replica = self.members[member].replica.as_mut();
        replica.is_some_and(|replica| replica.propose(command, at_ms) == Proposed::Taken)
    }

    /// Asks a member to make sure that it leads.
    pub fn confirm(&mut self, member: usize) -> u64 {
        let token = self.asked.len() as u64;
        self.asked.push(self.agreed.len() as u64);
        self.members[member].replica.as_mut().expect("it lives").confirm(token);
        token
    }

    /// The living member that says that it leads in the highest term.
    pub fn leader(&self) -> Option<usize> {
        let (_, id) = self.leaders.last_key_value()?;
        self.members.iter().position(|member| member.id == *id && member.leads)
    }

    /// Nothing passes between this member and any other.
    pub fn isolate(&mut self, member: usize) {
        for other in 0..self.members.len() {
            self.cut.insert((member, other));
            self.cut.insert((other, member));
        }
    }

    /// The disk that ended no writes ends them again.
    pub fn unhang(&mut self) {
        if let Some(member) = self.hung.take()
            && !self.members[member].writes.is_empty()
        {
            self.write(member);
        }
    }

    pub fn heal(&mut self) {
        self.cut.clear();
    }

    pub fn crash(&mut self, member: usize, way: Unsynced) {
        self.note(member, "crash", b"");
        self.members[member].crash(way);
    }

    pub fn reopen_after(&mut self, member: usize, us: u64) {
        self.after(us, Deed::Reopen { member });
    }

    /// Goes on for so long.
    pub async fn pass(&mut self, ms: u64) {
        let end = self.now_us() + ms * 1_000;
        while self.now_us() < end {
            self.step(end).await;
        }
    }

    /// Goes on until something is so, for at most so long.
    pub async fn until(&mut self, what: &str, ms: u64, done: impl Fn(&World) -> bool) {
        let end = self.now_us() + ms * 1_000;
        while !done(self) {
            assert!(self.now_us() < end, "after {ms} ms: no {what}; {}", self.describe());
            self.step(end).await;
        }
    }

    /// Whether every living member has applied all that is agreed on.
    pub fn is_level(&self) -> bool {
        let level = |member: &Member| member.replica.is_none() || member.next == self.agreed.len() as u64;
        self.members.iter().all(level)
    }

    pub fn describe(&self) -> String {
        let member =
            |member: &Member| format!("[life {}, next {}, leads {}]", member.life, member.next, member.leads);
        let members: Vec<String> = self.members.iter().map(member).collect();
        let terms: Vec<&u64> = self.leaders.keys().collect();
        format!("agreed {}, terms {terms:?}, {}", self.agreed.len(), members.join(" "))
    }

    async fn step(&mut self, end: u64) {
        let at = self.deeds.first_key_value().map_or(end, |((at, _), _)| (*at).min(end));
        let wake = self.started + Duration::from_micros(at);
        let members = &mut self.members;
        let any = poll_fn(|cx| {
            for (number, member) in members.iter_mut().enumerate() {
                if let Some(replica) = &mut member.replica
                    && let Poll::Ready(event) = pin!(replica.next()).poll(cx)
                {
                    return Poll::Ready((number, event));
                }
            }
            Poll::Pending
        });
        tokio::select! {
            biased;
            (member, event) = any => self.happened(member, event),
            () = sleep_until(wake) => {
                let due = self.deeds.first_key_value().is_some_and(|((at, _), _)| *at <= self.now_us());
                if let Some((_, deed)) = due.then(|| self.deeds.pop_first()).flatten() {
                    self.perform(deed).await;
                }
            }
        }
    }

    async fn perform(&mut self, deed: Deed) {
        match deed {
            Deed::Deliver { from, to, bytes } => {
                let from = self.members[from].id;
                if let Some(replica) = &mut self.members[to].replica {
                    replica.receive(from, &bytes);
                }
            }
            Deed::Written { member, life } => self.written(member, life),
            Deed::Reopen { member } => {
                if self.members[member].replica.is_none() {
                    self.note(member, "open", b"");
                    self.start(member).await;
                }
            }
            Deed::Propose => {
                if let Some(leader) = self.leader() {
                    self.propose(leader);
                }
                let wait = self.proposing_us.clone();
                if !wait.is_empty() {
                    let us = self.draw(&wait);
                    self.after(us, Deed::Propose);
                }
            }
        }
    }

    fn written(&mut self, number: usize, life: u64) {
        let member = &mut self.members[number];
        if member.replica.is_none() || member.life != life {
            return;
        }
        match member.commit() {
            Some(token) => {
                let replica = member.replica.as_mut().expect("it lives");
                replica.stored(token);
                let is_ahead = replica.is_ahead();
                let known = if is_ahead { Vec::new() } else { std::mem::take(&mut member.ahead) };
                if !member.writes.is_empty() {
                    self.write(number);
                }
                known.iter().for_each(|entry| self.apply(number, entry));
            }
            None => self.fail(number),
        }
    }

    fn write(&mut self, member: usize) {
        if self.hung == Some(member) {
            return;
        }
        let range = self.weather.write_us.clone();
        let (us, life) = (self.draw(&range), self.members[member].life);
        self.after(us, Deed::Written { member, life });
    }

    fn note(&mut self, member: usize, kind: &str, what: &[u8]) {
        let line = (self.now_us(), member, kind, Hash::blob(what));
        self.trace.update(format!("{line:?}").as_bytes());
    }

    fn happened(&mut self, number: usize, event: Event) {
        self.note(number, "event", format!("{event:?}").as_bytes());
        match event {
            Event::Write { token, batch, .. } => {
                if self.hasty {
                    self.members[number].replica.as_mut().expect("it lives").stored(token);
                }
                self.members[number].writes.push_back((token, batch));
                if self.members[number].writes.len() == 1 {
                    self.write(number);
                }
            }
            Event::Send { to, bytes } => self.send(number, to, &bytes),
            Event::Apply(entries) => {
                let member = &mut self.members[number];
                if member.replica.as_ref().is_some_and(Replica::is_ahead) {
                    // Nobody hears of it yet.
                    return member.ahead.extend(entries);
                }
                entries.iter().for_each(|entry| self.apply(number, entry));
            }
            Event::Restore { index, term, state } => {
                let member = &mut self.members[number];
                member.restore(index, &state);
                (member.snapshot, member.restored) = (member.next, member.restored + 1);
                let (entry, chain) = &self.agreed[index as usize];
                assert_eq!((entry.term(), *chain), (term, member.chain), "the state of that index");
            }
            Event::Led { term, leader } => self.led(number, term, leader),
            Event::Confirmed { token, next } => {
                let known = next.is_none_or(|next| next >= self.asked[token as usize]);
                assert!(known, "a read misses what was agreed on before it");
                self.confirmed.push((number, token, next.is_some()));
            }
            Event::Changed { token, result } => self.changed.push((token, result)),
            Event::Failed(_) if self.members[number].disk.is_dead() => self.fail(number),
            Event::Failed(failure) => panic!("member {number}: {failure}; {}", self.describe()),
        }
    }

    fn send(&mut self, from: usize, to: NodeId, bytes: &Bytes) {
        let to = self.members.iter().position(|member| member.id == to).expect("a member");
        self.sent += 1;
        let copies = if self.random.below(100) < self.weather.repeat { 2 } else { 1 };
        for _ in 0..copies {
            let lost = self.random.below(100) < self.weather.loss || self.cut.contains(&(from, to));
            if !lost {
                let range = self.weather.way_us.clone();
                let us = self.draw(&range);
                self.after(us, Deed::Deliver { from, to, bytes: bytes.clone() });
            }
        }
    }

    fn apply(&mut self, number: usize, entry: &Committed) {
        let member = &mut self.members[number];
        member.apply(entry);
        let at = entry.index() as usize;
        match self.agreed.get(at) {
            Some((agreed, chain)) => {
                assert_eq!((agreed, *chain), (entry, member.chain), "all apply the same")
            }
            None => {
                assert_eq!(at, self.agreed.len());
                self.agreed.push((entry.clone(), member.chain));
            }
        }
        if member.next - member.snapshot >= self.weather.snapshot_every {
            member.snapshot = member.next;
            let state = member.state(self.weather.padding);
            member.replica.as_mut().expect("it lives").snapshot(entry.index(), state);
        }
    }

    fn led(&mut self, number: usize, term: u64, leader: Option<NodeId>) {
        if let Some(leader) = leader {
            let known = *self.leaders.entry(term).or_insert(leader);
            assert_eq!(known, leader, "two leaders of term {term}");
        }
        let member = &mut self.members[number];
        member.leads = leader == Some(member.id);
        let before = self.agreed.iter().filter(|(entry, _)| entry.term() < term).count() as u64;
        assert!(
            !member.leads || member.next + member.ahead.len() as u64 >= before,
            "a leader that does not know all of the terms before"
        );
    }
}
