//! All links between all machines: latency, bandwidth, loss, repetition, overtaking, cuts. Nodes meet it as their
//! `Mesh`; what they send travels as bytes and is decoded strictly where it arrives.
//!
//! State is kept only for links that were used and machines that are up, so a thousand machines cost no more than what
//! they say. Must never deliver what no machine sent.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use forgemesh_node::ports::{Brought, Mesh};
use forgemesh_protocol::hash::Hash;
use forgemesh_protocol::id::NodeId;
use forgemesh_protocol::wire::Message;
use serde::Serialize;
use tokio::sync::Notify;
use tokio::time::{Duration, Instant, sleep_until};

use crate::draws::Draws;
use crate::fuse::Fuse;
use crate::invariants::Moment;
use crate::letter;
use crate::limits;
use crate::planted::Bugs;
use crate::trace::Trace;
use crate::witness::Witness;

/// What the links do to every parcel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Weather {
    /// Parcels in a million that are lost, that arrive twice, that others overtake.
    pub loss_ppm: u64,
    pub repeat_ppm: u64,
    pub overtake_ppm: u64,
    /// Parcels in a million with which the link itself breaks: its ends hear so, and that it is there again a while later.
    pub break_ppm: u64,
    /// Bytes that a link carries in a second.
    pub bytes_per_s: u64,
    /// The latency of each link is drawn from one to this, in milliseconds.
    pub latency_ms: u64,
}

impl Weather {
    /// Good links: a hundred megabits, up to 40 ms, nothing lost.
    pub const FAIR: Weather = Weather {
        loss_ppm: 0,
        repeat_ppm: 0,
        overtake_ppm: 0,
        break_ppm: 0,
        bytes_per_s: 12_500_000,
        latency_ms: 40,
    };
}

/// Parcels, and what became of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    pub sent: u64,
    pub delivered: u64,
    pub lost: u64,
    pub repeated: u64,
    pub overtaken: u64,
    /// Sent into a cut.
    pub cut: u64,
    /// Arrived where nobody was up.
    pub nobody: u64,
    /// Arrived at a full inbox.
    pub overflowed: u64,
    /// Ends of links that heard that the other one is away.
    pub parted: u64,
}

/// One machine, or all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    One(usize),
    All,
}

impl Side {
    fn holds(self, machine: usize) -> bool {
        self == Side::All || self == Side::One(machine)
    }
}

/// Nothing passes from here to there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cut {
    pub from: Side,
    pub to: Side,
    pub until: Instant,
}

struct Parcel {
    from: NodeId,
    what: What,
}

enum What {
    Bytes(Rc<[u8]>),
    Met,
    Parted,
}

#[derive(Default)]
struct Inbox {
    /// By arrival and number.
    parcels: BTreeMap<(Instant, u64), Parcel>,
    arrived: Rc<Notify>,
    up: bool,
    machine: usize,
}

struct Board {
    seed: u64,
    draws: Draws,
    weather: Weather,
    cuts: Vec<Cut>,
    inboxes: BTreeMap<NodeId, Inbox>,
    /// When each used link is free again, and when its last parcel arrives.
    links: BTreeMap<(NodeId, NodeId), (Instant, Instant)>,
    counts: Counts,
    number: u64,
}

/// The switchboard. Clones are the same one.
#[derive(Clone)]
pub struct Switchboard(Rc<RefCell<Board>>);

impl Switchboard {
    /// Fair links, as the seed decides.
    pub fn new(seed: u64) -> Switchboard {
        Switchboard(Rc::new(RefCell::new(Board {
            seed,
            draws: Draws::new(seed, "links"),
            weather: Weather::FAIR,
            cuts: Vec::new(),
            inboxes: BTreeMap::new(),
            links: BTreeMap::new(),
            counts: Counts::default(),
            number: 0,
        })))
    }

    /// A machine's end of all its links, for one life. What arrived while it was down is gone; what is still on its way
    /// arrives, though it was sent to an earlier life.
    pub fn plug_in(
        &self,
        node: NodeId,
        machine: usize,
        trace: Trace,
        witness: Witness,
        bugs: Bugs,
        fuse: Fuse,
    ) -> Endpoint {
        let mut board = self.0.borrow_mut();
        let now = Instant::now();
        let inbox = board.inboxes.entry(node).or_default();
        (inbox.up, inbox.machine) = (true, machine);
        let on_their_way = inbox.parcels.split_off(&(now, 0));
        let gone = std::mem::replace(&mut inbox.parcels, on_their_way).len() as u64;
        let arrived = Rc::clone(&inbox.arrived);
        board.counts.nobody += gone;
        board.tell_all(node, || What::Met);
        Endpoint { board: self.clone(), node, machine, arrived, trace, witness, bugs, fuse }
    }

    /// What the links do from now on.
    pub fn set_weather(&self, weather: Weather) {
        self.0.borrow_mut().weather = weather;
    }

    /// Cuts links.
    pub fn cut(&self, cut: Cut) {
        self.0.borrow_mut().cuts.push(cut);
    }

    /// Lifts every cut, clears every sky.
    pub fn heal(&self) {
        let mut board = self.0.borrow_mut();
        board.cuts.clear();
        board.weather = Weather::FAIR;
    }

    /// What became of all parcels.
    pub fn counts(&self) -> Counts {
        self.0.borrow().counts
    }
}

impl Board {
    fn post(&mut self, from: NodeId, to: NodeId, bytes: Rc<[u8]>) {
        self.counts.sent += 1;
        let now = Instant::now();
        self.cuts.retain(|cut| cut.until > now);
        let place = |node: &NodeId| self.inboxes.get(node).map(|inbox| inbox.machine);
        let (Some(here), Some(there)) = (place(&from), place(&to)) else {
            self.counts.nobody += 1;
            return;
        };
        if self.cuts.iter().any(|cut| cut.from.holds(here) && cut.to.holds(there)) {
            self.counts.cut += 1;
        } else if self.hits(self.weather.loss_ppm) {
            self.counts.lost += 1;
        } else {
            let due = self.arrival(from, to, bytes.len() as u64, now);
            if self.hits(self.weather.repeat_ppm) {
                self.counts.repeated += 1;
                let again = due + Duration::from_millis(self.draws.between(0, 2_000));
                self.put(to, again, Parcel { from, what: What::Bytes(Rc::clone(&bytes)) });
            }
            self.put(to, due, Parcel { from, what: What::Bytes(bytes) });
            if self.hits(self.weather.break_ppm) {
                self.break_link(from, to, due);
            }
        }
    }

    /// Both ends of a link hear that it is broken, and a while later that it is there again.
    fn break_link(&mut self, one: NodeId, other: NodeId, at: Instant) {
        let again = at + Duration::from_millis(self.draws.between(0, 3_000));
        for (from, to) in [(one, other), (other, one)] {
            self.put(to, at, Parcel { from, what: What::Parted });
            self.put(to, again, Parcel { from, what: What::Met });
        }
    }

    /// Whoever heard from this node lately hears that it is there, or is not.
    fn tell_all(&mut self, from: NodeId, what: impl Fn() -> What) {
        let ends = (from, NodeId(Hash([0; 32])))..=(from, NodeId(Hash([0xff; 32])));
        let others: Vec<NodeId> = self.links.range(ends).map(|((_, to), _)| *to).collect();
        for to in others {
            if self.inboxes.get(&to).is_some_and(|inbox| inbox.up) {
                let due = self.arrival(from, to, 0, Instant::now());
                self.put(to, due, Parcel { from, what: what() });
            }
        }
    }

    fn hits(&mut self, ppm: u64) -> bool {
        ppm > 0 && self.draws.between(0, 999_999) < ppm
    }

    /// Parcels of one link arrive in the order in which they were sent, unless the weather lets some be overtaken.
    fn arrival(&mut self, from: NodeId, to: NodeId, bytes: u64, now: Instant) -> Instant {
        let latency_us = self.latency_us(&from, &to) + self.draws.between(0, 2_000);
        let (free, last) = self.links.get(&(from, to)).copied().unwrap_or((now, now));
        let carried_us = bytes * 1_000_000 / self.weather.bytes_per_s.max(1);
        let sent = free.max(now) + Duration::from_micros(carried_us);
        let due = (sent + Duration::from_micros(latency_us)).max(last);
        self.links.insert((from, to), (sent, due));
        if self.hits(self.weather.overtake_ppm) {
            self.counts.overtaken += 1;
            return due + Duration::from_millis(self.draws.between(1, 3_000));
        }
        due
    }

    /// The link's own, from the seed and its ends: no table of all pairs.
    fn latency_us(&self, from: &NodeId, to: &NodeId) -> u64 {
        let mut ends = [from.0.0, to.0.0].concat();
        ends.extend(self.seed.to_le_bytes());
        let digest = Hash::blob(&ends);
        let word = digest.0[..8].try_into().expect("invariant: a digest has 32 bytes");
        1_000 + u64::from_le_bytes(word) % (self.weather.latency_ms.max(1) * 1_000)
    }

    fn put(&mut self, to: NodeId, due: Instant, parcel: Parcel) {
        self.number += 1;
        let Some(inbox) = self.inboxes.get_mut(&to) else { return };
        if inbox.parcels.len() >= limits::INBOX_PARCELS {
            self.counts.overflowed += 1;
            return;
        }
        inbox.parcels.insert((due, self.number), parcel);
        inbox.arrived.notify_one();
    }
}

/// One machine's end of the switchboard, while it is up.
pub struct Endpoint {
    board: Switchboard,
    node: NodeId,
    machine: usize,
    arrived: Rc<Notify>,
    trace: Trace,
    witness: Witness,
    bugs: Bugs,
    fuse: Fuse,
}

impl Endpoint {
    /// When the next parcel is here.
    fn due(&self) -> Option<Instant> {
        let board = self.board.0.borrow();
        let inbox = board.inboxes.get(&self.node)?;
        inbox.parcels.first_key_value().map(|((due, _), _)| *due)
    }

    /// Takes the first parcel and reads it.
    fn take(&self) -> Option<(NodeId, Brought)> {
        let mut board = self.board.0.borrow_mut();
        let (_, Parcel { from, what }) = board.inboxes.get_mut(&self.node)?.parcels.pop_first()?;
        let bytes = match what {
            What::Bytes(bytes) => bytes,
            What::Met => {
                self.trace.step("met", 0, from.0);
                return Some((from, Brought::Met));
            }
            What::Parted => {
                board.counts.parted += 1;
                self.trace.step("parted", 0, from.0);
                return Some((from, Brought::Parted));
            }
        };
        let Ok(message) = letter::decode(&bytes) else {
            // No node of this mesh forges bytes.
            let (machine, what) = (self.machine, "a message of another node");
            self.witness.look(Moment::Unreadable { machine, what });
            return None;
        };
        board.counts.delivered += 1;
        self.witness.said(self.node, &message);
        self.trace.step("delivered", bytes.len() as u64, Hash::blob(&bytes));
        Some((from, Brought::Message(message)))
    }
}

impl Mesh for Endpoint {
    fn send(&mut self, to: NodeId, message: Message) {
        let (besides, forged) = {
            let mut bugs = self.bugs.borrow_mut();
            (bugs.besides(&message), bugs.forged(&message))
        };
        for message in [Some(message), besides].into_iter().flatten() {
            if self.fuse.burn_letter() {
                return;
            }
            self.witness.sent(self.machine, self.node, to, &message);
            self.board.0.borrow_mut().post(self.node, to, letter::encode(&message));
        }
        if let Some(message) = forged {
            let parcel = Parcel { from: to, what: What::Bytes(letter::encode(&message)) };
            self.board.0.borrow_mut().put(self.node, Instant::now(), parcel);
        }
    }

    fn announce(&mut self, message: Message) {
        let mut board = self.board.0.borrow_mut();
        let others: Vec<NodeId> = board.inboxes.keys().copied().filter(|node| *node != self.node).collect();
        for to in others {
            if self.fuse.burn_letter() {
                return;
            }
            board.post(self.node, to, letter::encode(&message));
        }
    }

    async fn next(&mut self) -> (NodeId, Brought) {
        loop {
            match self.due() {
                None => self.arrived.notified().await,
                Some(due) if due <= Instant::now() => {
                    if let Some(letter) = self.take() {
                        return letter;
                    }
                }
                Some(due) => {
                    tokio::select! {
                        biased;
                        () = sleep_until(due) => {}
                        () = self.arrived.notified() => {}
                    }
                }
            }
        }
    }
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        let mut board = self.board.0.borrow_mut();
        if let Some(inbox) = board.inboxes.get_mut(&self.node) {
            inbox.up = false;
        }
        // A process that ends has its connections closed; a machine without power says nothing.
        if board.draws.between(0, 1) == 1 {
            board.tell_all(self.node, || What::Parted);
        }
    }
}

#[cfg(test)]
mod tests {
    use forgemesh_node::boot;
    use forgemesh_protocol::canon::Bytes;
    use forgemesh_protocol::id::{JobId, MeshId};
    use forgemesh_protocol::keys::SecretKey;
    use tokio::time::timeout;

    use super::*;
    use crate::known::Known;
    use crate::planted;

    /// Three machines on one board.
    struct World {
        board: Switchboard,
        witness: Witness,
        trace: Trace,
        nodes: Vec<NodeId>,
        ends: Vec<Endpoint>,
    }

    impl World {
        fn new() -> World {
            World::of(1)
        }

        fn of(seed: u64) -> World {
            let secrets: Vec<SecretKey> = (1..=3).map(|n| SecretKey::from_bytes(&[n; 32])).collect();
            let nodes: Vec<NodeId> = secrets.iter().map(|secret| secret.public().id()).collect();
            let genesis = boot::found(&secrets[0], "links".to_owned(), [7; 16], 1).0;
            let witness = Witness::new(genesis, nodes.clone(), Known::default());
            let (board, trace) = (Switchboard::new(seed), Trace::start());
            let mut world = World { board, witness, trace, nodes, ends: Vec::new() };
            (0..3).for_each(|machine| world.plug(machine));
            world
        }

        /// A machine's next life, as the last of the ends.
        fn plug(&mut self, machine: usize) {
            let (node, mesh) = (self.nodes[machine], MeshId(Hash::ZERO));
            let bugs = planted::bugs(None, node, mesh, Draws::new(1, "bug"));
            let (trace, witness) = (self.trace.of(machine), self.witness.clone());
            self.ends.push(self.board.plug_in(node, machine, trace, witness, bugs, Fuse::default()));
        }

        /// What comes next to an end within a minute.
        async fn heard(&mut self, end: usize) -> Option<Brought> {
            Some(timeout(Duration::from_secs(60), self.ends[end].next()).await.ok()?.1)
        }

        fn send(&mut self, from: usize, to: usize, message: Message) {
            self.ends[from].send(self.nodes[to], message);
        }

        /// Who sent the next message that arrives there within a minute, and after how many milliseconds.
        async fn next(&mut self, at: usize) -> Option<(usize, u64)> {
            let started = Instant::now();
            let (from, _) = timeout(Duration::from_secs(60), self.ends[at].next()).await.ok()?;
            let from = self.nodes.iter().position(|node| *node == from);
            Some((from.expect("a machine"), started.elapsed().as_millis() as u64))
        }
    }

    fn numbered(number: u8) -> Message {
        Message::Over { job: JobId(Hash([number; 32])) }
    }

    #[tokio::test(start_paused = true)]
    async fn a_narrow_link_takes_the_time_that_its_bytes_need() {
        let mut world = World::new();
        let large = Message::Blob { bytes: Bytes(vec![7; 50_000]) };
        let bytes = letter::encode(&large).len() as u64;
        // Latency, and timers of whole milliseconds.
        let besides_ms = 10;
        world.board.set_weather(Weather { bytes_per_s: 10_000, latency_ms: 1, ..Weather::FAIR });
        world.send(0, 1, large.clone());
        world.send(0, 1, large.clone());
        world.send(0, 2, numbered(1));
        let (_, small_ms) = world.next(2).await.expect("it arrives");
        assert!(small_ms < 100, "another link is free: {small_ms} ms");
        let (_, first_ms) = world.next(1).await.expect("it arrives");
        let carried_ms = bytes * 1_000 / 10_000;
        let due_ms = carried_ms..=carried_ms + besides_ms;
        assert!(
            due_ms.contains(&(small_ms + first_ms)),
            "{small_ms} and {first_ms} ms, {carried_ms} are due"
        );
        let (_, second_ms) = world.next(1).await.expect("it arrives");
        assert!(carried_ms.abs_diff(second_ms) <= besides_ms, "it waits for the first: {second_ms} ms");
        world.board.heal();
        world.send(0, 1, large);
        let (_, fair_ms) = world.next(1).await.expect("it arrives");
        assert!(fair_ms <= bytes * 1_000 / Weather::FAIR.bytes_per_s + 40 + besides_ms, "{fair_ms} ms");
    }

    #[tokio::test(start_paused = true)]
    async fn a_cut_stops_one_direction_until_it_is_over() {
        let mut world = World::new();
        let until = Instant::now() + Duration::from_secs(90);
        world.board.cut(Cut { from: Side::One(0), to: Side::One(1), until });
        world.board.cut(Cut { from: Side::All, to: Side::One(2), until });
        world.send(0, 1, numbered(1));
        world.send(0, 2, numbered(2));
        world.send(1, 2, numbered(3));
        world.send(1, 0, numbered(4));
        assert_eq!(world.next(0).await.map(|(from, _)| from), Some(1), "the other direction is open");
        world.send(2, 1, numbered(5));
        assert_eq!(world.next(1).await.map(|(from, _)| from), Some(2), "who hears nobody is heard");
        assert_eq!(world.next(2).await, None, "nobody reaches it");
        assert_eq!(world.board.counts().cut, 3);
        sleep_until(until).await;
        world.send(0, 1, numbered(6));
        assert_eq!(world.next(1).await.map(|(from, _)| from), Some(0));
        world.send(1, 2, numbered(7));
        assert_eq!(world.next(2).await.map(|(from, _)| from), Some(1));
        assert_eq!(world.board.counts().cut, 3);
    }

    #[tokio::test(start_paused = true)]
    async fn bad_weather_loses_repeats_lets_overtake_and_breaks() {
        const ALL: u64 = 1_000_000;
        let mut world = World::new();
        world.board.set_weather(Weather { loss_ppm: ALL, ..Weather::FAIR });
        world.send(0, 1, numbered(1));
        assert_eq!(world.next(1).await, None);
        world.board.set_weather(Weather { repeat_ppm: ALL, ..Weather::FAIR });
        world.send(0, 1, numbered(2));
        assert!(world.next(1).await.is_some() && world.next(1).await.is_some(), "it comes twice");
        assert_eq!(world.next(1).await, None);
        world.board.set_weather(Weather { overtake_ppm: ALL, ..Weather::FAIR });
        (0..20).for_each(|number| world.send(0, 1, numbered(number)));
        let mut order = Vec::new();
        for _ in 0..20 {
            let (_, brought) = world.ends[1].next().await;
            order.push(brought);
        }
        let sent: Vec<Brought> = (0..20).map(|number| Brought::Message(numbered(number))).collect();
        assert_ne!(order, sent, "later ones come first");
        let counts = world.board.counts();
        assert_eq!((counts.lost, counts.repeated, counts.overtaken), (1, 1, 20));
        world.board.set_weather(Weather { break_ppm: ALL, ..Weather::FAIR });
        world.send(0, 1, numbered(1));
        world.board.heal();
        assert_eq!(world.ends[1].next().await.1, Brought::Message(numbered(1)));
        for end in [1, 0] {
            let heard = [world.ends[end].next().await.1, world.ends[end].next().await.1];
            assert_eq!(heard, [Brought::Parted, Brought::Met]);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_life_s_end_is_heard_or_not_and_the_next_one_s_beginning_always() {
        let mut told = 0;
        for seed in 1..=20 {
            let mut world = World::of(seed);
            world.send(0, 1, numbered(1));
            assert_eq!(world.next(1).await.map(|(from, _)| from), Some(0));
            drop(world.ends.remove(0));
            told += match world.heard(0).await {
                Some(brought) => usize::from(brought == Brought::Parted),
                None => 0,
            };
            world.plug(0);
            assert_eq!(world.heard(1).await, None, "it has never heard of it");
            assert_eq!(world.heard(0).await, Some(Brought::Met));
        }
        assert!((4..=16).contains(&told), "{told} of 20");
    }
}
