//! Power loss at every moment, and fail-stop: what was acknowledged is there, and no batch is half there.
//!
//! `cargo test` opens some ten thousand images. The long run:
//! `FORGEMESH_CRASH_IMAGES=100000 cargo test -p forgemesh-storage --test suite -- --nocapture crash::power`.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::time::Instant;

use forgemesh_protocol::hash::Hash;
use forgemesh_storage::testing::{Action, Disk, Random, Unsynced, Weakness, When};
use forgemesh_storage::{Batch, CommitError, OpenError, ReadError, Storage};

use crate::contents;
use crate::workload::{Finding, Run, addresses};

const IMAGES: &str = "FORGEMESH_CRASH_IMAGES";
const SEED: &str = "FORGEMESH_CRASH_SEED";
/// One in so many images is crashed again while it recovers.
const AGAIN: usize = 100;

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name} is a number")))
}

/// How many images of each way and outcome there were.
#[derive(Default)]
struct Tally(BTreeMap<String, u64>);

impl Tally {
    fn add(&mut self, what: String, images: u64) {
        *self.0.entry(what).or_default() += images;
    }

    fn images(&self) -> u64 {
        self.0.values().sum()
    }
}

fn way_name(way: Unsynced) -> &'static str {
    match way {
        Unsynced::Lost => "lost",
        Unsynced::Kept => "kept",
        Unsynced::Torn(_) => "torn",
    }
}

/// Crashes the workload of `seed` everywhere; panics with a line that does it again.
fn crash_workload(seed: u64) -> Tally {
    let mut random = Random(!seed);
    let torn = [(); 4].map(|()| Unsynced::Torn(random.draw()));
    let ways = [&[Unsynced::Lost, Unsynced::Kept], &torn[..]].concat();
    let run = Run::new(seed, |_| {}, |storage, batch| storage.commit(batch).unwrap());
    let again = format!("{SEED}={seed} {IMAGES}=1 cargo test -p forgemesh-storage --test suite crash::power");
    let mut tally = Tally::default();
    run.each_crash(&ways, |moment, way, image, finding| {
        assert!(finding.is_sound(), "crash at {moment}, {way:?}: {finding:?}; do it again: {again}");
        tally.add(format!("{} {finding:?}", way_name(way)), 1);
        if random.below(AGAIN) == 0 {
            let (images, bad) = Run::crash_again(image, random.draw());
            assert!(bad.is_none(), "crash at {moment}, {way:?}, {bad:?}; do it again: {again}");
            tally.add("while recovering".to_owned(), images);
        }
    });
    tally
}

#[test]
fn power_loss_at_every_moment_leaves_whole_acknowledged_batches() {
    let (wanted, first) = (setting(IMAGES, 15_000), setting(SEED, 20_261_125));
    let threads = std::thread::available_parallelism().map_or(1, |threads| threads.get() as u64);
    println!("seeds from {first}");
    let (began, mut tally, mut workloads) = (Instant::now(), Tally::default(), 0);
    while tally.images() < wanted {
        let round: Vec<u64> = (0..threads.min(wanted)).map(|n| first + workloads + n).collect();
        let tallies: Vec<Tally> = std::thread::scope(|scope| {
            let running: Vec<_> =
                round.iter().map(|seed| scope.spawn(move || crash_workload(*seed))).collect();
            running.into_iter().map(|one| one.join().expect("a crash that the line above names")).collect()
        });
        workloads += round.len() as u64;
        tallies.into_iter().flat_map(|one| one.0).for_each(|(what, images)| tally.add(what, images));
    }
    println!(
        "{} images of {workloads} workloads, seeds {first} to {}, {:?}, {:.0} s",
        tally.images(),
        first + workloads - 1,
        tally.0,
        began.elapsed().as_secs_f64()
    );
}

/// The findings of a workload that is run wrongly.
fn unsound(
    seed: u64,
    prepare: impl Fn(&Disk),
    commit: impl Fn(&Storage, &Batch),
) -> (u64, BTreeMap<&'static str, u64>) {
    let (mut images, mut kinds) = (0, BTreeMap::new());
    let run = Run::new(seed, prepare, commit);
    run.each_crash(&[Unsynced::Lost, Unsynced::Torn(seed)], |_, _, _, finding| {
        let kind = match finding {
            Finding::Acknowledged | Finding::UnderWay => "sound",
            Finding::Unreadable(_) => "unreadable",
            Finding::Lost(_) => "lost",
            Finding::Torn => "torn",
        };
        images += 1;
        *kinds.entry(kind).or_default() += 1;
    });
    println!("seed {seed}: {images} images, {kinds:?}");
    (images, kinds)
}

#[test]
fn a_lying_sync_is_noticed() {
    let (images, kinds) = unsound(7, |disk| disk.lie(true), |storage, batch| storage.commit(batch).unwrap());
    assert!(kinds["lost"] > images / 4, "{kinds:?}");
    assert!(kinds.contains_key("unreadable") || kinds.contains_key("torn"), "{kinds:?}");
}

#[test]
fn a_commit_that_is_not_durable_is_noticed() {
    let weak = |storage: &Storage, batch: &Batch| storage.commit_weakly(batch, Weakness::NotDurable).unwrap();
    let (images, kinds) = unsound(7, |_| {}, weak);
    assert!(kinds["lost"] > images / 4, "{kinds:?}");
}

/// Both refuse the whole file for a rotten blob, as they read everything after a crash.
#[test]
fn a_commit_in_one_phase_or_without_the_allocator_state_is_noticed() {
    for weakness in [Weakness::OnePhase, Weakness::SlowRepair] {
        let weak = |storage: &Storage, batch: &Batch| storage.commit_weakly(batch, weakness).unwrap();
        let (images, kinds) = unsound(7, |_| {}, weak);
        assert!(kinds["unreadable"] > images / 4, "{weakness:?}: {kinds:?}");
    }
}

#[test]
fn a_crash_while_creating_is_whole_or_named() {
    let disk = Disk::new(4);
    disk.record();
    let storage = Storage::with_backend(disk.clone()).unwrap();
    let created = disk.counts().changes();
    let empty = contents(&storage, &[]).unwrap();
    disk.each_crash(&[Unsynced::Lost, Unsynced::Kept, Unsynced::Torn(4)], |moment, way, image| {
        match Storage::with_backend(Disk::with_image(4, image)) {
            Ok(storage) => assert_eq!(contents(&storage, &[]).unwrap(), empty),
            Err(error) => assert!(moment < created, "crash at {moment}, {way:?}: {error}"),
        }
    });
}

#[test]
fn an_io_error_ends_the_handle_and_opening_again_finds_whole_batches() {
    let batch = |n: u64| {
        let mut batch = Batch::new();
        batch.put_blob(vec![n as u8; 30_000]);
        batch.append_log(n, b"entry".to_vec()).append_ledger(n, b"ledger".to_vec()).clone()
    };
    for (action, kind, full) in [
        (Action::Change, ErrorKind::StorageFull, true),
        (Action::Write, ErrorKind::Other, false),
        (Action::Sync, ErrorKind::Other, false),
        (Action::Change, ErrorKind::Other, false),
    ] {
        for passed in 0..200 {
            let disk = Disk::new(passed);
            let storage = Storage::with_backend(disk.clone()).unwrap();
            storage.commit(&batch(0)).unwrap();
            let before = contents(&storage, addresses()).unwrap();
            disk.fail(action, When::After(passed), kind);
            let result = storage.commit(&batch(1));
            if result.is_ok() {
                assert!(passed > 1, "a commit of {passed} operations");
                break;
            }
            let error = result.unwrap_err();
            assert_eq!(error == CommitError::DiskFull, full, "{error}");
            assert_eq!(matches!(error, CommitError::Io { .. }), !full, "{error}");
            assert!(storage.is_dead());
            let moment = disk.counts();
            assert_eq!(storage.commit(&Batch::new()), Err(CommitError::Dead));
            assert_eq!(storage.ledger_len(), Err(ReadError::Dead));
            drop(storage);
            assert_eq!(disk.counts(), moment, "a dead handle touched the disk");

            // The same process opens again and goes on; then the power goes, with what a failed sync left in limbo.
            let storage = Storage::with_backend(disk.clone()).unwrap();
            if contents(&storage, addresses()).unwrap() == before {
                storage.commit(&batch(1)).unwrap();
            }
            storage.commit(&batch(2)).unwrap();
            let acknowledged = contents(&storage, addresses()).unwrap();
            assert_eq!(storage.last_log_index(), Ok(Some(2)));
            for way in [Unsynced::Lost, Unsynced::Kept, Unsynced::Torn(passed)] {
                let storage = Storage::with_backend(disk.power_loss(way)).unwrap();
                assert_eq!(
                    contents(&storage, addresses()).unwrap(),
                    acknowledged,
                    "{action:?} {passed} {way:?}"
                );
            }
        }
    }
}

#[test]
fn a_failed_read_ends_the_handle_and_harms_nothing() {
    // More than the engine keeps in memory, and little of it in each row, so that there is something to read.
    let blobs: Vec<Vec<u8>> = (0..800_u32).map(|n| n.to_le_bytes().repeat(8 << 10)).collect();
    let addresses: Vec<Hash> = blobs.iter().map(|blob| Hash::blob(blob)).collect();
    let disk = Disk::new(7);
    let storage = Storage::with_backend(disk.clone()).unwrap();
    for (index, blobs) in blobs.chunks(100).enumerate() {
        let mut batch = Batch::new();
        for blob in blobs {
            batch.put_blob(blob.clone());
        }
        storage.commit(batch.append_log(index as u64, b"entry".to_vec())).unwrap();
    }
    let whole = contents(&storage, &addresses).unwrap();
    drop(storage);
    for passed in [0, 1, 2, 3, 5, 8, 13, 21, 34, 55] {
        for is_open in [false, true] {
            // A disk of its own, as the last one left it.
            let disk = disk.power_loss(Unsynced::Kept);
            let fail = || disk.fail(Action::Read, When::After(passed), ErrorKind::Other);
            if !is_open {
                fail();
            }
            match Storage::with_backend(disk.clone()) {
                Err(error) => assert!(matches!(error, OpenError::Io { .. }) && !is_open, "{passed}: {error}"),
                Ok(storage) => {
                    if is_open {
                        fail();
                    }
                    let error = contents(&storage, &addresses).unwrap_err();
                    assert!(matches!(error, ReadError::Io { .. }), "{passed}: {error}");
                    assert!(storage.is_dead());
                    assert_eq!(storage.commit(&Batch::new()), Err(CommitError::Dead));
                    assert_eq!(storage.ledger_len(), Err(ReadError::Dead));
                }
            }
            let storage = Storage::with_backend(disk).unwrap();
            assert_eq!(contents(&storage, &addresses).unwrap(), whole, "{passed} {is_open}");
        }
    }
}
