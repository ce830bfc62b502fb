//! The model disk itself: it forgets what it may, keeps what it must, and fails when told to.

use std::io::ErrorKind;

use forgemesh_storage::testing::{Action, Disk, Growth, Random, Unsynced, When};
use redb::StorageBackend;

#[test]
fn a_power_loss_keeps_what_a_sync_covered_and_only_then() {
    let seed = 20_261_124;
    println!("seed {seed}");
    let mut random = Random(seed);
    for _ in 0..200 {
        let disk = Disk::new(random.draw());
        let mut synced = Vec::new();
        for _ in 0..random.below(40) {
            let (at, n) = (random.below(9_000) as u64, random.below(3_000));
            match random.below(6) {
                0 => disk.set_len(at).unwrap(),
                1 => {
                    disk.sync_data().unwrap();
                    synced = disk.image();
                }
                _ => disk.write(at, &vec![random.draw() as u8; n]).unwrap(),
            }
        }
        assert_eq!(disk.power_loss(Unsynced::Lost).image(), synced);
        assert_eq!(disk.power_loss(Unsynced::Kept).image(), disk.image());
        let torn = Unsynced::Torn(random.draw());
        assert_eq!(disk.power_loss(torn).image(), disk.power_loss(torn).image());
    }
}

#[test]
fn a_torn_write_is_whole_in_every_sector() {
    let mut kinds = [0; 3];
    for seed in 0..300 {
        let disk = Disk::with_image(seed, vec![1; 8_192]);
        disk.write(700, &[2; 4_096]).unwrap();
        let image = disk.power_loss(Unsynced::Torn(seed)).image();
        for (n, sector) in image.chunks(512).enumerate() {
            let written = (n * 512..n * 512 + 512).filter(|at| (700..4_796).contains(at)).count();
            let found = sector.iter().filter(|byte| **byte == 2).count();
            assert!(found == 0 || found == written, "sector {n}: {found} of {written}");
        }
        let arrived = image.iter().filter(|byte| **byte == 2).count();
        kinds[if arrived == 0 { 0 } else { 1 + usize::from(arrived == 4_096) }] += 1;
    }
    assert!(kinds.iter().all(|kind| *kind > 60), "lost, torn, whole: {kinds:?}");
}

#[test]
fn syncs_that_lie_or_fail_make_nothing_durable() {
    let disk = Disk::new(1);
    disk.lie(true);
    disk.write(0, b"first").unwrap();
    disk.sync_data().unwrap();
    assert_eq!(disk.power_loss(Unsynced::Lost).image(), b"");
    disk.lie(false);
    disk.sync_data().unwrap();
    assert_eq!(disk.power_loss(Unsynced::Lost).image(), b"first");

    disk.fail(Action::Sync, When::After(0), ErrorKind::Other);
    disk.write(0, b"limbo").unwrap();
    assert!(disk.sync_data().is_err());
    disk.write(5, b" later").unwrap();
    disk.sync_data().unwrap();
    assert_eq!(disk.image(), b"limbo later");
    assert_eq!(disk.power_loss(Unsynced::Lost).image(), b"first later");
    disk.write(0, b"again").unwrap();
    disk.sync_data().unwrap();
    assert_eq!(disk.power_loss(Unsynced::Lost).image(), b"again later");
}

#[test]
fn faults_strike_when_they_were_told_to() {
    let disk = Disk::with_image(5, vec![0; 4_096]);
    let read = || disk.read(0, &mut [0; 8]).is_ok();
    disk.fail(Action::Read, When::After(2), ErrorKind::Other);
    assert_eq!([(); 5].map(|()| read()), [true, true, false, true, true]);
    disk.fail(Action::Read, When::Since(1), ErrorKind::Other);
    assert_eq!([(); 4].map(|()| read()), [true, false, false, false]);
    disk.write(0, b"not a read").unwrap();
    disk.heal();
    disk.fail(Action::Change, When::OneIn(4), ErrorKind::StorageFull);
    let failed = (0..1_000).filter(|_| disk.write(0, b"x").is_err()).count();
    assert!((150..350).contains(&failed), "{failed} of 1,000");
    assert!(read());
}

#[test]
fn a_dead_process_reaches_nothing() {
    let disk = Disk::new(1);
    disk.light_fuse(2);
    disk.write(0, b"kept").unwrap();
    disk.sync_data().unwrap();
    assert!(!disk.is_dead());
    assert!(disk.write(0, b"never").is_err() && disk.is_dead());
    assert!(disk.read(0, &mut [0; 4]).is_err() && disk.sync_data().is_err() && disk.len().is_err());
    assert_eq!(disk.counts().changes(), 2);
    let after = disk.power_loss(Unsynced::Kept);
    after.write(4, b" on").unwrap();
    assert_eq!((after.image(), disk.image()), (b"kept on".to_vec(), b"kept".to_vec()));
}

#[test]
fn room_is_counted_in_blocks() {
    let disk = Disk::new(1);
    disk.limit(Some(5 * 4_096), Growth::Sparse);
    disk.set_len(1 << 22).unwrap();
    assert_eq!(disk.free(), Some(5 * 4_096));
    disk.write(100, &[1; 4_096]).unwrap();
    disk.write(4_096, &[2; 4_096]).unwrap();
    assert_eq!(disk.free(), Some(3 * 4_096));
    let full = disk.write(1 << 20, &[3; 4 * 4_096]).unwrap_err();
    assert_eq!((full.kind(), disk.free()), (ErrorKind::StorageFull, Some(3 * 4_096)));
    disk.set_len(4_096).unwrap();
    assert_eq!(disk.free(), Some(4 * 4_096));

    disk.limit(Some(5 * 4_096), Growth::Whole);
    assert_eq!(disk.set_len(6 * 4_096).unwrap_err().kind(), ErrorKind::StorageFull);
    disk.set_len(3 * 4_096).unwrap();
    assert_eq!(disk.free(), Some(2 * 4_096));
    disk.leave_free(0);
    disk.write(0, &[4; 3 * 4_096]).unwrap();
    assert!(disk.write(3 * 4_096, b"x").is_err());
}

#[test]
fn rot_flips_bits_and_one_seed_decides_which() {
    let disks = [1, 1, 2].map(|seed| Disk::with_image(seed, vec![9; 4_096]));
    let places = disks.each_ref().map(|disk| disk.rot(3));
    assert_eq!(places[0], places[1]);
    assert_ne!(places[0], places[2]);
    for (disk, places) in disks.iter().zip(&places) {
        assert!(places.iter().all(|at| disk.image()[*at] != 9));
        assert_eq!(disk.power_loss(Unsynced::Lost).image(), disk.image());
    }
    assert_eq!(Disk::new(1).rot(3), Vec::<usize>::new());
}
