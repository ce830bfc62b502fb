//! One simulated machine: a key, a disk, a clock, and one life of a node after the other. A life is the production
//! node between modelled ports; it ends by a crash at any step, by an error of its disk, or with the world.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::{Arc, Weak};

use forgemesh_consensus::raft::{Failure, StartError};
use forgemesh_node::boot::{BootError, Membership, Parts, boot};
use forgemesh_node::driver::{DriverError, Handle};
use forgemesh_node::outage::Outage;
use forgemesh_protocol::genesis::Genesis;
use forgemesh_protocol::hash::Hash;
use forgemesh_protocol::id::NodeId;
use forgemesh_protocol::keys::SecretKey;
use forgemesh_storage::{CommitError, OpenError, ReadError, Storage};
use tokio::time::{Duration, sleep};

use crate::adversary::{self, Misdeed};
use crate::disk::{Disk, Unsynced};
use crate::draws::Draws;
use crate::durable::Unreadable;
use crate::executor::{ModelledExecutor, Pace, Queue};
use crate::faults::Class;
use crate::fuse::Fuse;
use crate::gate::Gate;
use crate::gauge::Gauge;
use crate::ills::Ills;
use crate::observer::Observer;
use crate::planted::{self, Bug, Bugs};
use crate::store::ModelledStore;
use crate::switchboard::Switchboard;
use crate::trace::Trace;
use crate::watched::Watched;
use crate::witness::Witness;
use crate::world::{Broken, EPOCH_MS};

/// What all machines of a world share.
#[derive(Clone)]
pub struct Ground {
    pub seed: u64,
    pub genesis: Genesis,
    pub board: Switchboard,
    pub trace: Trace,
    pub witness: Witness,
}

/// What makes one machine differ from another.
#[derive(Clone)]
pub struct Make {
    pub number: usize,
    pub secret: SecretKey,
    /// Links of its beacon chain, if its operator would have it sit in the hub.
    pub stand: Option<u64>,
    pub misdeed: Option<Misdeed>,
    pub bug: Option<Bug>,
    /// Its node is a member of the hub, or may become one.
    pub is_member: bool,
}

/// A machine. Clones are the same one.
#[derive(Clone)]
pub struct Machine(Rc<Inner>);

struct Inner {
    make: Make,
    node: NodeId,
    ground: Ground,
    disk: RefCell<Disk>,
    /// After so many reads one fails, or all do: once it has struck, this is over.
    unreadable: Cell<Option<(u64, bool)>>,
    /// Bits of the disk have turned: what it says of itself is excused.
    rotten: Cell<bool>,
    /// It will never come back.
    gone: Cell<bool>,
    /// How far the machine's clock is off, in milliseconds.
    clock_ms: Rc<Cell<i64>>,
    gate: Gate,
    fuse: RefCell<Fuse>,
    gauge: RefCell<Gauge>,
    /// What the next crash does to unsynced writes.
    way: Cell<Unsynced>,
    /// Reasons for which it must be down.
    held: Watched<u32>,
    /// How to reach the living node, and which of its lives this is.
    life: Watched<(u64, Option<Handle>)>,
    /// What the living node keeps.
    storage: RefCell<Weak<Storage>>,
    counts: Cell<LifeCounts>,
    ills: Ills,
}

/// What a machine went through.
#[derive(Clone, Copy, Debug, Default)]
pub struct LifeCounts {
    pub crashes: u64,
    pub disk_errors: u64,
    pub replaced_disks: u64,
}

/// How a life ended.
enum End {
    Crashed,
    /// The disk gave an error, or had no room for what had to be written: the node has stopped by itself.
    Outage(Outage),
    /// The disk holds what cannot be read any more.
    Damaged(String),
}

impl Machine {
    /// A machine that was never switched on.
    pub fn new(make: Make, ground: Ground) -> Result<Machine, OpenError> {
        let node = make.secret.public().id();
        let seed = Draws::new(ground.seed, &format!("disk of machine {}", make.number)).word();
        Ok(Machine(Rc::new(Inner {
            node,
            make,
            ills: Ills::new(ground.witness.clone(), node),
            ground,
            disk: RefCell::new(Disk::blank(seed)?),
            unreadable: Cell::new(None),
            rotten: Cell::new(false),
            gone: Cell::new(false),
            clock_ms: Rc::default(),
            gate: Gate::default(),
            fuse: RefCell::default(),
            gauge: RefCell::default(),
            way: Cell::new(Unsynced::Kept),
            held: Watched::new(0),
            life: Watched::new((0, None)),
            storage: RefCell::default(),
            counts: Cell::default(),
        })))
    }

    /// Lives until the world ends.
    pub async fn live(self) -> Result<(), Broken> {
        let inner = &self.0;
        let trace = inner.ground.trace.of(inner.make.number);
        for life in 1.. {
            inner.held.wait_for(|reasons| (*reasons == 0).then_some(())).await;
            let end = self.one_life(life, trace.clone()).await?;
            self.0.life.change(|alive| *alive = (life, None));
            trace.step("died", life, Hash::ZERO);
            inner.ground.witness.died(inner.node);
            self.after(end)?;
            if inner.gone.get() {
                break;
            }
            let mut draws = self.draws("pause", life);
            sleep(Duration::from_millis(draws.between(1, 5_000))).await;
        }
        Ok(())
    }

    fn draws(&self, purpose: &str, life: u64) -> Draws {
        Draws::new(self.0.ground.seed, &format!("{purpose} of life {life} of machine {}", self.0.make.number))
    }

    async fn one_life(&self, life: u64, trace: Trace) -> Result<End, Broken> {
        let Inner { make, ground, .. } = &*self.0;
        let bugs = planted::bugs(make.bug, self.0.node, ground.genesis.mesh_id(), self.draws("bug", life));
        let disk = self.0.disk.borrow().clone();
        if bugs.borrow().lies() {
            disk.lie();
        }
        // Who audits the disk reads it too, and what it has read the node would find in memory: it has a copy.
        let sound = || self.0.unreadable.get().and_then(|_| disk.after(Unsynced::Kept).open().ok());
        let audited = sound();
        if let Some((after, once)) = self.0.unreadable.get() {
            self.0.ills.expect(Class::ReadError);
            disk.fail_reads(after, once);
        }
        let storage = match disk.open() {
            Ok(storage) => Arc::new(storage),
            Err(OpenError::Corrupt { detail, .. }) => return Ok(End::Damaged(detail)),
            Err(error) => return Outage::of_open(&error).map(End::Outage).ok_or_else(|| error.into()),
        };
        match ground.witness.opened(make.number, audited.as_ref().unwrap_or(&storage)) {
            Ok(()) => {}
            Err(Unreadable::Read(error)) => return of_read(error, &storage),
            Err(Unreadable::Logged(error)) => return Ok(End::Damaged(error.to_string())),
        }
        let (fuse, gauge) = (Fuse::default(), Gauge::default());
        self.0.fuse.replace(fuse.clone());
        self.0.gauge.replace(gauge.clone());
        let executor = ModelledExecutor {
            conduct: adversary::conduct(make.misdeed),
            storage: storage.clone(),
            draws: self.draws("executor", life),
            trace: trace.clone(),
            fuse: fuse.clone(),
            gauge: gauge.clone(),
            bugs: Bugs::clone(&bugs),
            queue: Queue::default(),
            pace: Pace::new(ground.seed, make.number),
            ills: self.0.ills.clone(),
            witness: ground.witness.clone(),
        };
        let store = ModelledStore {
            storage: storage.clone(),
            draws: self.draws("store", life),
            trace: trace.clone(),
            fuse: fuse.clone(),
            gauge,
            bugs: Bugs::clone(&bugs),
            observer: Observer { witness: ground.witness.clone(), machine: make.number },
            waiting: Default::default(),
            stored: Default::default(),
            unwritten: Vec::new(),
            ills: self.0.ills.clone(),
            was_low: Cell::new(storage.room().low),
        };
        let mesh = ground.board.plug_in(
            self.0.node,
            make.number,
            trace.clone(),
            ground.witness.clone(),
            bugs,
            fuse.clone(),
        );
        let membership = Membership::Joined(ground.genesis.clone());
        let parts =
            Parts { secret: make.secret.clone(), membership, stand: make.stand, mesh, executor, store };
        let driver = match boot(&storage, parts) {
            Ok(driver) => driver,
            Err(error) => return of_boot(error, &storage),
        };
        if let Err(error) =
            ground.witness.booted(make.number, sound().as_ref().unwrap_or(&storage), driver.core().hub())
        {
            return of_read(error, &storage);
        }
        trace.step("booted", life, Hash::ZERO);
        self.0.storage.replace(Arc::downgrade(&storage));
        self.0.life.change(|alive| *alive = (life, Some(driver.handle())));
        let (clock, started) = (Rc::clone(&self.0.clock_ms), ground.trace.clone());
        let wall_ms = move || (EPOCH_MS + started.elapsed_ms()).saturating_add_signed(clock.get());
        let ended = self.0.gate.run(driver.run(wall_ms, fuse.blown())).await;
        match ended {
            Ok(()) => Ok(End::Crashed),
            Err(error) => self.of_driver(error, &storage),
        }
    }

    /// How a life ended whose node has stopped by itself.
    fn of_driver(&self, error: DriverError, storage: &Storage) -> Result<End, Broken> {
        let machine = self.0.make.number;
        if let Some(outage) = Outage::of_driver(&error, storage) {
            return Ok(End::Outage(outage));
        }
        match error {
            DriverError::Store(error) => of_commit(error, storage),
            error @ (DriverError::Forked | DriverError::LogStart(_)) => Ok(End::Damaged(error.to_string())),
            DriverError::Halted(halted) => Err(Broken::Halted { machine, halted }),
            // What it could not read or write is the disk's; a disk in good order does not fail it.
            DriverError::Log(Failure::Storage(detail)) if self.0.rotten.get() => Ok(End::Damaged(detail)),
            DriverError::Log(failure) => Err(Broken::Replica { machine, failure }),
        }
    }

    /// What the end of a life leaves, for the next one.
    fn after(&self, end: End) -> Result<(), Broken> {
        let inner = &self.0;
        let mut counts = inner.counts.get();
        let disk = inner.disk.borrow().clone();
        let next = match end {
            End::Crashed => {
                let was_sending = inner.fuse.borrow().was_sending();
                inner.ills.strike(if was_sending { Class::MidSend } else { Class::Crash });
                counts.crashes += 1;
                disk.after(inner.way.get())
            }
            // Not its error: it was the process that died, at a change of the disk.
            End::Outage(_) if disk.is_dead() => {
                inner.ills.strike(Class::Crash);
                counts.crashes += 1;
                disk.after(inner.way.get())
            }
            End::Outage(outage) => {
                let failures = disk.failures();
                let class = match outage {
                    Outage::Full if failures.room > 0 => Some(Class::DiskFull),
                    _ if failures.reads > 0 => Some(Class::ReadError),
                    _ if failures.changes > 0 => Some(Class::DiskError),
                    // Somebody has met the full disk before, and the handle was dead.
                    _ if failures.room > 0 => Some(Class::DiskFull),
                    _ => None,
                };
                if class.is_none() && !inner.rotten.get() {
                    return Err(Broken::Unprovoked { machine: inner.make.number });
                }
                class.into_iter().for_each(|class| inner.ills.strike(class));
                if class == Some(Class::ReadError) {
                    inner.unreadable.set(None);
                }
                counts.disk_errors += 1;
                disk.after(inner.way.get())
            }
            End::Damaged(detail) if !inner.rotten.get() => {
                return Err(Broken::Damaged { machine: inner.make.number, detail });
            }
            // Whoever runs it puts in another disk: the key is kept apart. Not in a member of the hub: without its vote
            // and its log it would vote a second time, and for anybody.
            End::Damaged(_) => {
                counts.replaced_disks += 1;
                inner.gone.set(inner.make.is_member);
                inner.rotten.set(false);
                inner.ground.witness.lost_disk(inner.make.number);
                Disk::blank(self.draws("another disk", counts.replaced_disks).word())?
            }
        };
        // The next disk and the next life have none of these.
        [Class::Crash, Class::DiskError, Class::ReadError, Class::MidSend]
            .into_iter()
            .for_each(|class| inner.ills.forget(class));
        inner.disk.replace(next);
        inner.counts.set(counts);
        Ok(())
    }

    /// The machine's node.
    pub fn node(&self) -> NodeId {
        self.0.node
    }

    /// The machine's number.
    pub fn number(&self) -> usize {
        self.0.make.number
    }

    /// Switches it off, at once and until it is released as often as it was held.
    pub fn hold(&self, way: Unsynced) {
        if self.is_alive() {
            self.0.ills.forget(Class::Crash);
        }
        self.0.way.set(way);
        self.0.held.change(|reasons| *reasons += 1);
        self.0.gate.open();
        self.0.fuse.borrow().blow();
    }

    /// Keeps it off from the beginning.
    pub fn begin_held(&self) {
        self.0.held.change(|reasons| *reasons += 1);
    }

    /// One reason less to be off.
    pub fn release(&self) {
        self.0.held.change(|reasons| *reasons = reasons.saturating_sub(1));
    }

    /// It dies after so many more steps of its ports, or letters of its own.
    pub fn arm(&self, class: Class, after: u64, way: Unsynced) {
        if !self.is_alive() {
            return;
        }
        self.0.ills.expect(class);
        self.0.way.set(way);
        match class {
            Class::MidSend => self.0.fuse.borrow().arm_letters(after),
            _ => self.0.fuse.borrow().arm(after),
        }
    }

    /// The process stands still.
    pub fn gate(&self) -> &Gate {
        &self.0.gate
    }

    /// Sets its clock forward or back.
    pub fn step_clock(&self, by_ms: i64) {
        self.0.clock_ms.set(self.0.clock_ms.get().saturating_add(by_ms));
    }

    /// The disk that is in it now.
    pub fn disk(&self) -> Disk {
        self.0.disk.borrow().clone()
    }

    /// What the next crash does to unsynced writes.
    pub fn set_way(&self, way: Unsynced) {
        self.0.way.set(way);
    }

    /// After so many reads one of its disk's fails, or all do: now, or when it is opened the next time.
    pub fn fail_reads(&self, after: u64, once: bool) {
        self.0.unreadable.set(Some((after, once)));
        self.disk().fail_reads(after, once);
    }

    /// Nothing is wrong with it any more that can be mended.
    pub fn heal(&self) {
        self.0.unreadable.set(None);
        self.disk().heal();
        self.ills().heal();
        self.set_way(Unsynced::Kept);
    }

    /// Turns bits of its disk.
    pub fn rot(&self, bits: usize) {
        self.0.rotten.set(true);
        self.0.ground.witness.rotten(self.0.make.number);
        if self.disk().rot(bits) {
            self.0.ground.witness.struck(Class::Rot);
        }
    }

    /// Whether its node runs, if only behind a closed gate.
    pub fn is_alive(&self) -> bool {
        self.0.life.read(|(_, handle)| handle.is_some())
    }

    /// How to reach its node, if it runs.
    pub fn handle(&self) -> Option<Handle> {
        self.0.life.read(|(_, handle)| handle.clone())
    }

    /// Whether it will never come back.
    pub fn is_gone(&self) -> bool {
        self.0.gone.get()
    }

    /// What is wrong with it and has not shown yet.
    pub fn ills(&self) -> &Ills {
        &self.0.ills
    }

    /// The node of a life after `last`, once it is up; its number and the way to it.
    pub async fn alive(&self, last: u64) -> (u64, Handle) {
        let newer = |(number, handle): &(u64, Option<Handle>)| {
            handle.clone().filter(|_| *number > last).map(|handle| (*number, handle))
        };
        self.0.life.wait_for(newer).await
    }

    /// What its living node keeps.
    pub fn storage(&self) -> Option<Arc<Storage>> {
        self.0.storage.borrow().upgrade()
    }

    /// What waits inside it.
    pub fn gauge(&self) -> Gauge {
        self.0.gauge.borrow().clone()
    }

    /// What it went through.
    pub fn counts(&self) -> LifeCounts {
        self.0.counts.get()
    }
}

fn of_boot(error: BootError, storage: &Storage) -> Result<End, Broken> {
    match (Outage::of_boot(&error, storage), error) {
        (Some(outage), _) => Ok(End::Outage(outage)),
        (None, BootError::Commit(error)) => of_commit(error, storage),
        (None, BootError::Read(error)) => of_read(error, storage),
        (
            None,
            error @ (BootError::Damaged { .. }
            | BootError::Snapshot(_)
            | BootError::Charter(_)
            | BootError::Logged(_)
            | BootError::Log(StartError::Read(_) | StartError::Damaged { .. })),
        ) => Ok(End::Damaged(error.to_string())),
        (None, error) => Err(error.into()),
    }
}

fn of_commit(error: CommitError, storage: &Storage) -> Result<End, Broken> {
    match (Outage::of_commit(&error, storage), error) {
        (Some(outage), _) => Ok(End::Outage(outage)),
        (None, error) if storage.is_damaged() => Ok(End::Damaged(error.to_string())),
        (None, error @ (CommitError::Damaged { .. } | CommitError::Corrupt { .. })) => {
            Ok(End::Damaged(error.to_string()))
        }
        (None, error) => Err(Broken::Refused(error)),
    }
}

fn of_read(error: ReadError, storage: &Storage) -> Result<End, Broken> {
    let outage = Outage::of_read(&error, storage);
    Ok(outage.map_or_else(|| End::Damaged(error.to_string()), End::Outage))
}
