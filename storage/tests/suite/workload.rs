//! Random workloads over every kind of write, and what a loss of power may leave of them.
//!
//! Owns the batches, all from one seed, and the judgement of an image. Must never allow more than this: the state last
//! acknowledged, or that of the one batch under way.

use std::sync::LazyLock;

use forgemesh_protocol::artifact::sum;
use forgemesh_protocol::hash::Hash;
use forgemesh_storage::testing::{Disk, Random, Unsynced};
use forgemesh_storage::{Batch, MetaKey, Storage};

use crate::{Contents, PIECES, contents, damage, id};

const BLOBS: u64 = 12;
/// The first blobs are there from the start, and of these the first are damaged.
const KEPT: u64 = 8;
const ROTTEN: u64 = 3;
const BATCHES: usize = 8;

fn blob(n: u64) -> Vec<u8> {
    let mut random = Random(n);
    let mut bytes = format!("blob {n} of the workload ").into_bytes();
    // Small ones, some of several pages, and one for which the file grows.
    let most = match n {
        11 => 500_000,
        n if n.is_multiple_of(4) => 30_000,
        _ => 600,
    };
    let length = bytes.len() + random.below(most);
    bytes.extend(std::iter::repeat_with(|| random.draw() as u8).take(length - bytes.len()));
    bytes
}

pub fn addresses() -> &'static [Hash] {
    static ADDRESSES: LazyLock<Vec<Hash>> =
        LazyLock::new(|| (0..BLOBS).map(|n| Hash::blob(&blob(n))).collect());
    &ADDRESSES
}

/// Makes batches that the storage accepts.
struct Maker {
    random: Random,
    first_log: u64,
    next_log: u64,
    snapshot: Option<u64>,
    ledger: u64,
    outbox: u64,
    writes: u64,
}

impl Maker {
    fn new(seed: u64) -> Maker {
        Maker {
            random: Random(seed),
            first_log: 0,
            next_log: 0,
            snapshot: None,
            ledger: 0,
            outbox: 0,
            writes: 0,
        }
    }

    /// Different for every write, a few bytes or a few pages long.
    fn value(&mut self) -> Vec<u8> {
        self.writes += 1;
        let times = if self.random.below(8) == 0 { self.random.below(900) } else { self.random.below(20) };
        format!("value {} ", self.writes).into_bytes().repeat(1 + times)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.random.below(bound as usize) as u64
    }

    fn add_write(&mut self, batch: &mut Batch) {
        let value = self.value();
        match self.below(19) {
            0 => drop(batch.put_blob(blob(self.below(BLOBS)))),
            1 => drop(batch.delete_blob(addresses()[self.random.below(BLOBS as usize)])),
            2 | 3 => drop(batch.quarantine_blob(addresses()[self.random.below(BLOBS as usize)])),
            4 | 5 => {
                batch.append_log(self.next_log, value);
                self.next_log += 1;
            }
            6 => {
                // Now and then beyond the log, as from a leader.
                let ahead = if self.below(6) == 0 { 3 } else { 0 };
                let first = self.snapshot.unwrap_or(0);
                let index = first + self.below((self.next_log + ahead).saturating_sub(first).max(1));
                batch.put_snapshot(index, value);
                self.snapshot = Some(index);
                self.dropped(index);
            }
            17 => {
                let index = self.below(PIECES);
                let sum = sum(index, &value).expect("invariant: no value is empty, nor as long as a piece");
                batch.put_piece(id(0), index, sum, value);
            }
            18 => drop(batch.delete_piece(id(0), self.below(PIECES))),
            7 => drop(batch.put_job(id(self.below(6)), value)),
            8 => {
                batch.append_ledger(self.ledger, value);
                self.ledger += 1;
            }
            9 => drop(batch.put_kv("n", &format!("key {}", self.below(5)), value)),
            10 => drop(batch.delete_kv("n", &format!("key {}", self.below(5)))),
            11 => {
                batch.put_outbox(self.outbox, value);
                self.outbox += 1;
            }
            12 if self.below(2) == 0 => drop(batch.delete_outbox(self.below(self.outbox + 1))),
            12 => drop(batch.put_meta(MetaKey::Genesis, value)),
            13 => {
                let from = self.first_log + self.below(self.next_log - self.first_log + 2);
                batch.truncate_log(from);
                self.next_log = self.next_log.min(from);
            }
            14 => {
                let through = self.below(self.next_log + 2);
                batch.purge_log(through);
                self.dropped(through);
            }
            15 if self.next_log > self.snapshot.unwrap_or(0) => {
                let first = self.snapshot.unwrap_or(0);
                let index = first + self.below(self.next_log - first);
                batch.renew_snapshot(index, value);
                self.snapshot = Some(index);
            }
            _ => drop(batch.put_refusal(id(100 + self.below(5)), value)),
        }
    }

    /// The log up to `index` is gone.
    fn dropped(&mut self, index: u64) {
        self.first_log = self.first_log.max(index + 1);
        self.next_log = self.next_log.max(index + 1);
    }

    fn batch(&mut self) -> Batch {
        let mut batch = Batch::new();
        for _ in 0..self.below(7) {
            self.add_write(&mut batch);
        }
        batch
    }
}

/// A disk with blobs on it, some of them damaged since.
fn rotten_disk(seed: u64) -> Disk {
    let disk = Disk::new(seed);
    let storage = Storage::with_backend(disk.clone()).unwrap();
    for n in 0..KEPT {
        let mut batch = Batch::new();
        batch.put_blob(blob(n));
        storage.commit(&batch).unwrap();
    }
    // Of a closed database, or of one whose process was killed.
    let disk = if seed.is_multiple_of(2) {
        drop(storage);
        disk
    } else {
        disk.power_loss(Unsynced::Kept)
    };
    for n in 0..ROTTEN {
        damage(&disk, format!("blob {n} of the workload ").as_bytes());
    }
    disk
}

/// What an image turned out to be.
#[derive(Clone, Debug, PartialEq)]
pub enum Finding {
    /// The state last acknowledged.
    Acknowledged,
    /// That of the batch under way.
    UnderWay,
    /// It does not open, or not every read works.
    Unreadable(String),
    /// An earlier state: so many acknowledged batches are gone.
    Lost(usize),
    /// No state that ever was.
    Torn,
}

impl Finding {
    pub fn is_sound(&self) -> bool {
        matches!(self, Finding::Acknowledged | Finding::UnderWay)
    }
}

/// A recorded run, and the state after each acknowledgement with its moment.
pub struct Run {
    disk: Disk,
    states: Vec<(u64, Contents)>,
}

impl Run {
    /// Runs the workload of `seed`; `commit` and `prepare` may do it wrong.
    pub fn new(seed: u64, prepare: impl Fn(&Disk), commit: impl Fn(&Storage, &Batch)) -> Run {
        let disk = rotten_disk(seed);
        disk.record();
        prepare(&disk);
        let (mut maker, addresses) = (Maker::new(seed), addresses());
        let storage = Storage::with_backend(disk.clone()).unwrap();
        let first = contents(&storage, addresses).unwrap();
        assert!(first.corrupt.len() as u64 == ROTTEN, "{:?}", first.corrupt);
        let mut states = vec![(0, first)];
        for _ in 0..BATCHES {
            let batch = maker.batch();
            commit(&storage, &batch);
            states.push((disk.counts().changes(), contents(&storage, addresses).unwrap()));
        }
        Run { disk, states }
    }

    /// Judges what every loss of power leaves.
    pub fn each_crash(&self, ways: &[Unsynced], mut judged: impl FnMut(u64, Unsynced, &[u8], Finding)) {
        self.disk.each_crash(ways, |moment, way, image| {
            let finding = self.judge(moment, &image);
            judged(moment, way, &image, finding);
        });
    }

    fn judge(&self, moment: u64, image: &[u8]) -> Finding {
        let found = Storage::with_backend(Disk::with_image(moment, image.to_vec()))
            .map_err(|error| error.to_string())
            .and_then(|storage| contents(&storage, addresses()).map_err(|error| error.to_string()));
        let last = self.states.iter().rposition(|(at, _)| *at <= moment).expect("the first state");
        match found {
            Err(error) => Finding::Unreadable(error),
            Ok(found) if found == self.states[last].1 => Finding::Acknowledged,
            Ok(found) if self.states.get(last + 1).is_some_and(|(_, state)| *state == found) => {
                Finding::UnderWay
            }
            Ok(found) => match self.states[..last].iter().rposition(|(_, state)| *state == found) {
                Some(earlier) => Finding::Lost(last - earlier),
                None => Finding::Torn,
            },
        }
    }

    /// Opens an image, loses power at every moment of that and of one more commit, and says how many of these images
    /// there were and the first that held anything but the image's own state or that of the commit.
    pub fn crash_again(image: &[u8], seed: u64) -> (u64, Option<String>) {
        let disk = Disk::with_image(seed, image.to_vec());
        disk.record();
        let (addresses, probe) =
            (addresses(), Batch::new().put_meta(MetaKey::Beacon, b"probe".to_vec()).clone());
        let storage = Storage::with_backend(disk.clone()).unwrap();
        let before = (contents(&storage, addresses).unwrap(), storage.meta(MetaKey::Beacon).unwrap());
        let opened = disk.counts().changes();
        storage.commit(&probe).unwrap();
        let committed = disk.counts().changes();
        let after = (contents(&storage, addresses).unwrap(), storage.meta(MetaKey::Beacon).unwrap());
        drop(storage);
        let (mut images, mut bad) = (0, None);
        disk.each_crash(&[Unsynced::Lost, Unsynced::Torn(seed)], |moment, way, image| {
            images += 1;
            let found = Storage::with_backend(Disk::with_image(seed, image))
                .map_err(|error| error.to_string())
                .and_then(|storage| {
                    let meta = storage.meta(MetaKey::Beacon).map_err(|error| error.to_string())?;
                    Ok((contents(&storage, addresses).map_err(|error| error.to_string())?, meta))
                });
            let fine = match &found {
                Ok(found) if moment < opened => *found == before,
                Ok(found) if moment < committed => *found == before || *found == after,
                Ok(found) => *found == after,
                Err(_) => false,
            };
            if !fine && bad.is_none() {
                bad = Some(format!("again at {moment}, {way:?}: {:?}", found.err()));
            }
        });
        (images, bad)
    }
}
