//! A disk in memory behind redb: what a power loss at any moment leaves of it, and every way in which it fails.
//!
//! Owns the crash model: synced operations are there; of the later ones any subset may be, whole or torn at 512-byte
//! sectors. Pages are shared between images until one of them is written to.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use forgemesh_storage::{OpenError, Storage};
use redb::StorageBackend;

use crate::draws::Draws;

const PAGE: usize = 4_096;
const SECTOR: usize = 512;

/// One page; none is all zeros.
type Page = Option<Arc<[u8; PAGE]>>;

/// What of the operations after the last sync survives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unsynced {
    /// Nothing.
    Lost,
    /// All of it: the process died, not the machine.
    Kept,
    /// A random subset, torn at sectors; from this seed.
    Torn(u64),
}

#[derive(Clone, Debug)]
enum Op {
    Write { offset: usize, data: Vec<u8> },
    SetLen(usize),
}

/// What is wrong with a disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Ills {
    /// Operations still allowed before every one fails.
    errors_after: Option<u64>,
    /// Nothing can be written.
    full: bool,
    /// A sync says that it is done and does nothing.
    lies: bool,
}

#[derive(Clone, Debug, Default)]
struct Image {
    len: usize,
    pages: Vec<Page>,
}

#[derive(Debug, Default)]
struct State {
    now: Image,
    /// Length at the last sync, and the pages that changed since, as they were.
    synced_len: usize,
    before: BTreeMap<usize, Page>,
    pending: Vec<Op>,
    ills: Ills,
}

/// The disk of one machine. Clones are the same disk.
#[derive(Clone, Debug, Default)]
pub struct Disk(Arc<Mutex<State>>);

thread_local! {
    /// An initialised, cleanly closed database, made once in each thread.
    static BLANK: Result<Disk, OpenError> = {
        let disk = Disk::default();
        Storage::with_backend(disk.clone()).map(|storage| {
            drop(storage);
            disk
        })
    };
}

impl Disk {
    /// A disk of its own with an empty database on it.
    pub fn blank() -> Disk {
        // Opening it will say what kept it from being made.
        BLANK.with(|blank| blank.as_ref().map(|disk| disk.after(Unsynced::Kept)).unwrap_or_default())
    }

    /// What a power loss at this moment leaves: a disk of its own, in good order.
    pub fn after(&self, way: Unsynced) -> Disk {
        let state = self.state();
        let mut image = state.now.clone();
        if way != Unsynced::Kept {
            image.pages.resize(image.pages.len().max(state.synced_len.div_ceil(PAGE)), None);
            for (&number, page) in &state.before {
                if let Some(place) = image.pages.get_mut(number) {
                    *place = page.clone();
                }
            }
            image.set_len(state.synced_len);
        }
        if let Unsynced::Torn(seed) = way {
            let mut draws = Draws::new(seed, "torn");
            state.pending.iter().for_each(|op| tear(op, &mut image, &mut draws));
        }
        let synced_len = image.len;
        // Only the lie goes with the device; what was wrong with the old handle is over.
        let ills = Ills { lies: state.ills.lies, full: state.ills.full, errors_after: None };
        Disk(Arc::new(Mutex::new(State { now: image, synced_len, ills, ..State::default() })))
    }

    /// After `ops` more operations every one of them fails.
    pub fn fail_after(&self, ops: u64) {
        self.state().ills.errors_after = Some(ops);
    }

    /// Fills it up, or gives it room again.
    pub fn set_full(&self, full: bool) {
        self.state().ills.full = full;
    }

    /// From now on a sync does nothing and says that it did.
    pub fn lie(&self) {
        self.state().ills.lies = true;
    }

    /// Turns one bit of a page that is in use, at rest as well as in the eyes of whoever reads it.
    pub fn rot(&self, draws: &mut Draws) {
        let mut state = self.state();
        let used: Vec<usize> = (0..state.now.pages.len()).filter(|&n| state.now.pages[n].is_some()).collect();
        let Some(last) = used.len().checked_sub(1) else { return };
        let number = used[draws.between(0, last as u64) as usize];
        let bit = draws.between(0, PAGE as u64 * 8 - 1) as usize;
        for page in [state.now.pages.get_mut(number)].into_iter().flatten().flatten() {
            Arc::make_mut(page)[bit / 8] ^= 1 << (bit % 8);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // One thread has it; a panic in redb must not hide what is on it.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn act(&self, op: Op) -> io::Result<()> {
        let mut state = self.state();
        state.may_act()?;
        if state.ills.full {
            return Err(io::ErrorKind::StorageFull.into());
        }
        state.remember(&op);
        op.apply(&mut state.now);
        state.pending.push(op);
        Ok(())
    }
}

impl State {
    fn may_act(&mut self) -> io::Result<()> {
        match &mut self.ills.errors_after {
            Some(0) => Err(io::Error::other("a simulated disk error")),
            Some(left) => {
                *left -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// Keeps the pages that `op` changes as the last sync left them.
    fn remember(&mut self, op: &Op) {
        let touched = match op {
            Op::Write { offset, data } => offset / PAGE..(offset + data.len()).div_ceil(PAGE),
            Op::SetLen(len) if *len < self.now.len => len / PAGE..self.now.pages.len(),
            Op::SetLen(_) => 0..0,
        };
        for number in touched {
            let page = self.now.pages.get(number).cloned().flatten();
            self.before.entry(number).or_insert(page);
        }
    }
}

impl Op {
    fn apply(&self, image: &mut Image) {
        match self {
            Op::Write { offset, data } => image.put(*offset, data),
            Op::SetLen(len) => image.set_len(*len),
        }
    }
}

impl Image {
    fn set_len(&mut self, len: usize) {
        self.pages.resize(len.div_ceil(PAGE), None);
        if len < self.len
            && let Some(page) = self.pages.get_mut(len / PAGE).and_then(Option::as_mut)
        {
            Arc::make_mut(page)[len % PAGE..].fill(0);
        }
        self.len = len;
    }

    fn put(&mut self, offset: usize, data: &[u8]) {
        if self.len < offset + data.len() {
            self.set_len(offset + data.len());
        }
        let (mut at, mut rest) = (offset, data);
        while !rest.is_empty() {
            let (start, count) = (at % PAGE, rest.len().min(PAGE - at % PAGE));
            let page = self.pages[at / PAGE].get_or_insert_with(|| Arc::new([0; PAGE]));
            Arc::make_mut(page)[start..start + count].copy_from_slice(&rest[..count]);
            (at, rest) = (at + count, &rest[count..]);
        }
    }

    fn get(&self, offset: usize, out: &mut [u8]) {
        let (mut at, mut rest) = (offset, out);
        while !rest.is_empty() {
            let (start, count) = (at % PAGE, rest.len().min(PAGE - at % PAGE));
            let (now, later) = rest.split_at_mut(count);
            match &self.pages[at / PAGE] {
                Some(page) => now.copy_from_slice(&page[start..start + count]),
                None => now.fill(0),
            }
            (at, rest) = (at + count, later);
        }
    }
}

/// Loses an operation, keeps it, or keeps some of its sectors.
fn tear(op: &Op, image: &mut Image, draws: &mut Draws) {
    match (op, draws.between(0, 2)) {
        (_, 0) => {}
        (op, 1) | (op @ Op::SetLen(_), _) => op.apply(image),
        (Op::Write { offset, data }, _) => {
            for (n, sector) in data.chunks(SECTOR).enumerate() {
                if draws.between(0, 1) == 0 {
                    image.put(offset + n * SECTOR, sector);
                }
            }
        }
    }
}

impl StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.state().now.len as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let mut state = self.state();
        state.may_act()?;
        let end = usize::try_from(offset).ok().and_then(|offset| offset.checked_add(out.len()));
        if end.is_none_or(|end| end > state.now.len) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        state.now.get(offset as usize, out);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.act(Op::SetLen(usize::try_from(len).map_err(io::Error::other)?))
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut state = self.state();
        state.may_act()?;
        if !state.ills.lies {
            state.synced_len = state.now.len;
            state.before.clear();
            state.pending.clear();
        }
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.act(Op::Write {
            offset: usize::try_from(offset).map_err(io::Error::other)?,
            data: data.to_vec(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(disk: &Disk) -> Vec<u8> {
        let mut out = vec![0; disk.len().unwrap() as usize];
        disk.read(0, &mut out).unwrap();
        out
    }

    #[test]
    fn a_power_loss_keeps_what_was_synced_and_any_part_of_the_rest() {
        let disk = Disk::default();
        disk.write(4_000, &[1; 5_000]).unwrap();
        disk.sync_data().unwrap();
        let synced = bytes(&disk);
        disk.write(100, &[2; 9_500]).unwrap();
        disk.set_len(5_000).unwrap();
        disk.set_len(20_000).unwrap();
        assert_eq!(bytes(&disk.after(Unsynced::Lost)), synced);
        assert_eq!(bytes(&disk.after(Unsynced::Kept)), bytes(&disk));
        let torn: std::collections::BTreeSet<_> =
            (0..200).map(|seed| bytes(&disk.after(Unsynced::Torn(seed)))).collect();
        assert!(torn.len() > 50, "{} images", torn.len());
        assert!(torn.contains(&synced) && torn.contains(&bytes(&disk)));
        let whole = torn.iter().all(|image| image.iter().all(|byte| [0, 1, 2].contains(byte)));
        assert!(whole, "no byte that nobody wrote");
    }

    #[test]
    fn an_image_shares_nothing_that_is_written_later() {
        let disk = Disk::blank();
        let (image, before) = (disk.after(Unsynced::Kept), bytes(&disk));
        assert!(before.len() > PAGE);
        disk.write(0, &[9; 10]).unwrap();
        assert_eq!(bytes(&image), before);
        assert_eq!(bytes(&Disk::blank()), before);
    }

    #[test]
    fn ills_are_named() {
        let disk = Disk::default();
        disk.write(0, &[1; 10]).unwrap();
        disk.set_full(true);
        assert_eq!(disk.write(0, &[1; 10]).unwrap_err().kind(), io::ErrorKind::StorageFull);
        disk.set_full(false);
        disk.lie();
        disk.sync_data().unwrap();
        assert_eq!(disk.after(Unsynced::Lost).len().unwrap(), 0);
        disk.fail_after(1);
        disk.write(0, &[1; 10]).unwrap();
        assert!(disk.write(0, &[1; 10]).is_err() && disk.sync_data().is_err());
    }
}
