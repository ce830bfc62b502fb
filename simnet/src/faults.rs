//! What goes wrong, one class a file: each class draws its faults from the seed and knows how each begins and ends.
//! A fault is a value with a time, so that a failing list can be shortened and run again.

pub mod blob_loss;
pub mod churn;
pub mod clock;
pub mod crash;
pub mod disk_error;
pub mod disk_full;
pub mod execution;
pub mod leader_isolation;
pub mod mid_send;
pub mod partition;
pub mod pause;
pub mod read_error;
pub mod rot;
pub mod seat_loss;
pub mod weather;

use serde::Serialize;

use crate::disk::{Room, Unsynced};
use crate::draws::Draws;
use crate::machine::Machine;
use crate::switchboard::{Side, Switchboard, Weather};
use crate::witness::Witness;

/// One fault of a scenario.
#[derive(Clone, Debug, PartialEq)]
pub struct Fault {
    /// Virtual milliseconds after the start.
    pub at_ms: u64,
    /// How long it lasts; what it leaves may last longer.
    pub for_ms: u64,
    pub what: What,
}

/// What goes wrong.
#[derive(Clone, Debug, PartialEq)]
pub enum What {
    /// Off at once, on again at the end.
    Off { machine: usize, way: Unsynced },
    /// Dies at the step of its ports that comes after so many.
    Fuse { machine: usize, steps: u64, way: Unsynced },
    /// Dies before it sends a letter more than so many.
    MidSend { machine: usize, letters: u64, way: Unsynced },
    /// Leaves the mesh, comes back at the end.
    Away { machine: usize },
    /// Off for so long that another takes its seat in the hub.
    SeatLoss { machine: usize, way: Unsynced },
    /// The process stands still.
    Pause { machine: usize },
    /// The clock is set, and stays so.
    Clock { machine: usize, by_ms: i64 },
    /// Nothing passes from here to there.
    Cut { from: Side, to: Side },
    /// Whoever leads the hub then is cut off: hears nobody, is heard by nobody, or both.
    Isolate { deaf: bool, mute: bool },
    /// All links get worse.
    Weather(Weather),
    /// Little can be written, or nothing.
    DiskFull { machine: usize, room: Room },
    /// Dies in the middle of writing, after so many changes of its disk.
    MidWrite { machine: usize, changes: u64, way: Unsynced },
    /// After so many changes one fails, or every one until the disk is opened again; what was not synced is torn.
    DiskError { machine: usize, after: u64, once: bool, seed: u64 },
    /// After so many reads one fails, or every one until the disk is opened again.
    ReadError { machine: usize, after: u64, once: bool },
    /// So many bits turn.
    Rot { machine: usize, bits: usize },
    /// Its executor fails every shard.
    Execution { machine: usize },
    /// After so many accumulators that it stores, so many are lost.
    BlobLoss { machine: usize, after: u64, blobs: u64 },
}

/// The classes, by which faults are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    Crash,
    Churn,
    Pause,
    Clock,
    Partition,
    LeaderIsolation,
    Weather,
    DiskFull,
    DiskError,
    Rot,
    Execution,
    BlobLoss,
    SeatLoss,
    ReadError,
    MidSend,
}

/// What faults are drawn for.
pub struct Field {
    pub machines: usize,
    /// Faults begin before this.
    pub span_ms: u64,
    /// The first of them are the hub's members.
    pub hubs: usize,
    /// So many after them stand by.
    pub standbys: usize,
    /// When clients ask.
    pub arrivals: Vec<u64>,
}

impl Field {
    /// A time at which a fault begins: half of them strike soon after a client has asked, while there is work.
    pub fn time(&self, draws: &mut Draws) -> u64 {
        let (any, number, after) = (draws.between(0, self.span_ms), draws.word(), draws.between(0, 6_000));
        match self.arrivals.get(number as usize % (2 * self.arrivals.len()).max(1)) {
            Some(at_ms) => at_ms + after,
            None => any,
        }
    }

    /// Any machine; a member of the hub one time in three, since everything hangs on them.
    pub fn machine(&self, draws: &mut Draws) -> usize {
        let among = if draws.between(0, 2) == 0 { self.hubs } else { self.machines };
        draws.between(0, among as u64 - 1) as usize
    }

    /// A machine that only executes; none where all are members of the hub.
    pub fn agent(&self, draws: &mut Draws) -> Option<usize> {
        let last = (self.machines - self.hubs).checked_sub(1)?;
        Some(self.hubs + draws.between(0, last as u64) as usize)
    }

    /// How many faults of a class there are: some for every minute.
    pub fn count(&self, draws: &mut Draws, most_a_minute: u64) -> u64 {
        let minutes = self.span_ms.div_ceil(60_000).clamp(1, 240);
        draws.between(1, (most_a_minute * minutes).max(1))
    }
}

/// What of the unsynced writes survives a power loss.
pub fn way(draws: &mut Draws) -> Unsynced {
    match draws.between(0, 3) {
        0 => Unsynced::Lost,
        1 => Unsynced::Kept,
        _ => Unsynced::Torn(draws.word()),
    }
}

/// Draws the faults of one class.
pub type Drawer = fn(&Field, &mut Draws) -> Vec<Fault>;

/// Every class with how it draws.
pub const CLASSES: [(Class, &str, Drawer); 15] = [
    (Class::Crash, "crash", crash::draw),
    (Class::Churn, "churn", churn::draw),
    (Class::Pause, "pause", pause::draw),
    (Class::Clock, "clock", clock::draw),
    (Class::Partition, "partition", partition::draw),
    (Class::LeaderIsolation, "leader_isolation", leader_isolation::draw),
    (Class::Weather, "weather", weather::draw),
    (Class::DiskFull, "disk_full", disk_full::draw),
    (Class::DiskError, "disk_error", disk_error::draw),
    (Class::Rot, "rot", rot::draw),
    (Class::Execution, "execution", execution::draw),
    (Class::BlobLoss, "blob_loss", blob_loss::draw),
    (Class::SeatLoss, "seat_loss", seat_loss::draw),
    (Class::ReadError, "read_error", read_error::draw),
    (Class::MidSend, "mid_send", mid_send::draw),
];

impl What {
    /// Its class.
    pub fn class(&self) -> Class {
        match self {
            What::Off { .. } | What::Fuse { .. } | What::MidWrite { .. } => Class::Crash,
            What::MidSend { .. } => Class::MidSend,
            What::Away { .. } => Class::Churn,
            What::Pause { .. } => Class::Pause,
            What::Clock { .. } => Class::Clock,
            What::Cut { .. } => Class::Partition,
            What::Isolate { .. } => Class::LeaderIsolation,
            What::Weather(_) => Class::Weather,
            What::DiskFull { .. } => Class::DiskFull,
            What::DiskError { .. } => Class::DiskError,
            What::ReadError { .. } => Class::ReadError,
            What::Rot { .. } => Class::Rot,
            What::Execution { .. } => Class::Execution,
            What::BlobLoss { .. } => Class::BlobLoss,
            What::SeatLoss { .. } => Class::SeatLoss,
        }
    }
}

impl Fault {
    /// It begins. What strikes at once is counted here, the rest when it shows.
    pub fn begin(&self, machines: &[Machine], board: &Switchboard, witness: &Witness) {
        let leader = leader_isolation::leader(machines, witness);
        if self.strikes_now(machines, leader) {
            witness.struck(self.what.class());
        }
        match &self.what {
            What::Off { machine, way } | What::SeatLoss { machine, way } => {
                crash::off(&machines[*machine], *way);
            }
            What::Fuse { machine, steps, way } => machines[*machine].arm(Class::Crash, *steps, *way),
            What::MidSend { machine, letters, way } => mid_send::begin(&machines[*machine], *letters, *way),
            What::Away { machine } => churn::leave(&machines[*machine], self.at_ms),
            What::Pause { machine } => pause::begin(&machines[*machine], self.for_ms),
            What::Clock { machine, by_ms } => machines[*machine].step_clock(*by_ms),
            What::Cut { from, to } => partition::begin(board, *from, *to, self.for_ms),
            What::Isolate { deaf, mute } => {
                leader.into_iter().for_each(|leader| {
                    leader_isolation::begin(board, leader, *deaf, *mute, self.for_ms);
                });
            }
            What::Weather(weather) => board.set_weather(*weather),
            What::DiskFull { machine, room } => disk_full::begin(&machines[*machine], *room),
            What::MidWrite { machine, changes, way } => crash::mid_write(&machines[*machine], *changes, *way),
            What::DiskError { machine, after, once, seed } => {
                disk_error::begin(&machines[*machine], *after, *once, *seed);
            }
            What::ReadError { machine, after, once } => read_error::begin(&machines[*machine], *after, *once),
            What::Rot { machine, bits } => machines[*machine].rot(*bits),
            What::Execution { machine } => machines[*machine].ills().begin_failing(),
            What::BlobLoss { machine, after, blobs } => machines[*machine].ills().lose(*after, *blobs),
        }
    }

    /// Does it reach something that lives, as soon as it begins?
    fn strikes_now(&self, machines: &[Machine], leader: Option<usize>) -> bool {
        let lives = |machine: &usize| machines[*machine].is_alive();
        match &self.what {
            What::Away { .. } if self.at_ms == 0 => true,
            What::Off { machine, .. }
            | What::SeatLoss { machine, .. }
            | What::Away { machine }
            | What::Pause { machine }
            | What::Clock { machine, .. } => lives(machine),
            What::Cut { from, to } => [from, to].into_iter().all(|side| match side {
                Side::One(machine) => lives(machine),
                Side::All => true,
            }),
            What::Isolate { .. } => leader.is_some_and(|leader| lives(&leader)),
            What::Weather(_) => (0..machines.len()).any(|machine| lives(&machine)),
            What::Fuse { .. }
            | What::MidSend { .. }
            | What::DiskFull { .. }
            | What::MidWrite { .. }
            | What::DiskError { .. }
            | What::ReadError { .. }
            | What::Rot { .. }
            | What::Execution { .. }
            | What::BlobLoss { .. } => false,
        }
    }

    /// It ends.
    pub fn end(&self, machines: &[Machine], board: &Switchboard) {
        match &self.what {
            What::Off { machine, .. } | What::SeatLoss { machine, .. } | What::Away { machine } => {
                machines[*machine].release();
            }
            What::Weather(_) => board.set_weather(Weather::FAIR),
            What::DiskFull { machine, .. } => disk_full::end(&machines[*machine]),
            What::Execution { machine } => machines[*machine].ills().end_failing(),
            What::Fuse { .. }
            | What::MidSend { .. }
            | What::MidWrite { .. }
            | What::Pause { .. }
            | What::Clock { .. }
            | What::Cut { .. }
            | What::Isolate { .. }
            | What::DiskError { .. }
            | What::ReadError { .. }
            | What::Rot { .. }
            | What::BlobLoss { .. } => {}
        }
    }
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "at {}.{:03} s", self.at_ms / 1_000, self.at_ms % 1_000)?;
        if self.for_ms > 0 {
            write!(f, " for {}.{:03} s", self.for_ms / 1_000, self.for_ms % 1_000)?;
        }
        write!(f, ": {:?}", self.what)
    }
}
