//! A disk in memory that remembers every operation and can show what a power loss at any moment leaves.
//!
//! Owns the crash model: synced operations are there; of the later ones any subset may be, whole or torn at 512-byte
//! sectors. Must never lose what a completed sync covers: a lying sync is another fault.

use std::io;
use std::sync::{Arc, Mutex};

use redb::StorageBackend;

use crate::Random;

const SECTOR: usize = 512;

#[derive(Clone, Debug)]
enum Op {
    Write { offset: usize, data: Vec<u8> },
    SetLen(usize),
    Sync,
}

impl Op {
    fn apply(&self, image: &mut Vec<u8>) {
        match self {
            Op::Write { offset, data } => put(image, *offset, data),
            Op::SetLen(len) => image.resize(*len, 0),
            Op::Sync => {}
        }
    }
}

fn put(image: &mut Vec<u8>, offset: usize, data: &[u8]) {
    if image.len() < offset + data.len() {
        image.resize(offset + data.len(), 0);
    }
    image[offset..offset + data.len()].copy_from_slice(data);
}

/// What of the operations after the last sync survives.
#[derive(Clone, Copy, Debug)]
pub enum Unsynced {
    /// Nothing.
    Lost,
    /// All of it, though no sync promised it.
    Kept,
    /// A random subset, torn at sectors; from this seed.
    Torn(u64),
}

#[derive(Debug, Default)]
struct State {
    image: Vec<u8>,
    ops: Vec<Op>,
    /// Operations still allowed before every write and sync fails with this kind.
    fail: Option<(usize, io::ErrorKind)>,
}

/// A handle on the disk; clones share it.
#[derive(Clone, Debug, Default)]
pub struct Disk(Arc<Mutex<State>>);

impl Disk {
    pub fn with_image(image: Vec<u8>) -> Disk {
        Disk(Arc::new(Mutex::new(State { image, ..State::default() })))
    }

    pub fn image(&self) -> Vec<u8> {
        self.0.lock().unwrap().image.clone()
    }

    /// Number of operations so far: a moment to crash at.
    pub fn moment(&self) -> usize {
        self.0.lock().unwrap().ops.len()
    }

    /// After `ops` more writes, syncs or changes of length, these fail.
    pub fn fail_after(&self, ops: usize, kind: io::ErrorKind) {
        self.0.lock().unwrap().fail = Some((ops, kind));
    }

    fn act(&self, op: Op) -> io::Result<()> {
        let mut state = self.0.lock().unwrap();
        match &mut state.fail {
            Some((0, kind)) => return Err((*kind).into()),
            Some((left, _)) => *left -= 1,
            None => {}
        }
        op.apply(&mut state.image);
        state.ops.push(op);
        Ok(())
    }

    /// Calls `check` with the image after a power loss at every moment from `first` on, for each way of losing.
    pub fn each_crash(
        &self,
        first: usize,
        ways: &[Unsynced],
        mut check: impl FnMut(usize, Unsynced, Vec<u8>),
    ) {
        let ops = self.0.lock().unwrap().ops.clone();
        let (mut durable, mut synced) = (Vec::new(), 0);
        for moment in 0..=ops.len() {
            if moment > 0 && matches!(ops[moment - 1], Op::Sync) {
                ops[synced..moment].iter().for_each(|op| op.apply(&mut durable));
                synced = moment;
            }
            if moment >= first {
                for way in ways {
                    check(moment, *way, survive(&durable, &ops[synced..moment], *way));
                }
            }
        }
    }
}

fn survive(durable: &[u8], pending: &[Op], way: Unsynced) -> Vec<u8> {
    let mut image = durable.to_vec();
    match way {
        Unsynced::Lost => {}
        Unsynced::Kept => pending.iter().for_each(|op| op.apply(&mut image)),
        Unsynced::Torn(seed) => {
            let mut random = Random(seed ^ pending.len() as u64);
            for op in pending {
                tear(op, &mut image, &mut random);
            }
        }
    }
    image
}

fn tear(op: &Op, image: &mut Vec<u8>, random: &mut Random) {
    match (op, random.below(3)) {
        (_, 0) => {}
        (op, 1) | (op @ (Op::SetLen(_) | Op::Sync), _) => op.apply(image),
        (Op::Write { offset, data }, _) => {
            for (n, sector) in data.chunks(SECTOR).enumerate() {
                if random.below(2) == 0 {
                    put(image, offset + n * SECTOR, sector);
                }
            }
        }
    }
}

impl StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.lock().unwrap().image.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let state = self.0.lock().unwrap();
        let found = usize::try_from(offset)
            .ok()
            .and_then(|offset| state.image.get(offset..offset.checked_add(out.len())?))
            .ok_or(io::ErrorKind::UnexpectedEof)?;
        out.copy_from_slice(found);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.act(Op::SetLen(len as usize))
    }

    fn sync_data(&self) -> io::Result<()> {
        self.act(Op::Sync)
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.act(Op::Write { offset: offset as usize, data: data.to_vec() })
    }
}
