//! What the command line does when the disk fails: the handle is dead, so the data folder is opened again, and the node
//! goes on from what is durable.

use std::cell::Cell;
use std::io::{self, ErrorKind};
use std::thread::sleep;
use std::time::{Duration, Instant};

use forgemesh_storage::{KeyFileError, OpenError, Storage};

use super::error::CliError;
use super::home::{self, Home};
use super::{Common, say};
use crate::config::ConfigError;
use crate::outage::Outage;
use crate::real::control::ControlError;

/// How often the folder is opened again before the error is the user's to see.
const REOPENED: u32 = 3;
/// How long a shard that is still being executed may hold the old handle.
const PATIENCE: Duration = Duration::from_secs(30);
/// Until the folder is opened again: at first, and at most. It doubles from one failure to the next.
const PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// A life as long as this was a good one: what fails after it fails for the first time.
const GOOD_LIFE: Duration = Duration::from_secs(60);

/// Does `work` on an open data folder, again after each I/O error. A full disk is not waited for: whoever gave the command
/// is there to make room.
pub fn surviving_io_errors<T>(
    common: &Common,
    mut home: Home,
    mut work: impl FnMut(&Home) -> Result<T, CliError>,
) -> Result<(Home, T), CliError> {
    for _ in 0..REOPENED {
        match work(&home) {
            Ok(done) => return Ok((home, done)),
            Err(error) if outage(&error, Some(&home.storage)) == Some(Outage::Disk) => {
                say(&error.to_string());
                drop(home);
                home = open_again(common)?;
            }
            Err(error) => return Err(error),
        }
    }
    work(&home).map(|done| (home, done))
}

fn open_again(common: &Common) -> Result<Home, CliError> {
    let mut waited = Duration::ZERO;
    loop {
        sleep(PAUSE);
        waited += PAUSE;
        match home::open(common) {
            Err(error) if waited < PATIENCE && (is_in_use(&error) || is_disk(&error)) => {}
            opened => return opened,
        }
    }
}

/// Runs a node that is to run for good: one life after the other, as long as it is only the disk that fails. It waits for
/// an operator to make room, too, since nobody may be there to start it again. What fails before it was ever up is the
/// user's to see. `pause` waits; it says whether the node was told to stop.
pub fn living_on(
    common: &Common,
    home: Home,
    was_up: &Cell<bool>,
    mut pause: impl FnMut(Duration) -> bool,
    mut live: impl FnMut(&Home) -> Result<(), CliError>,
) -> Result<(), CliError> {
    let (mut opened, mut failed, mut waits) = (Ok(home), 0, false);
    loop {
        let begun = Instant::now();
        let (outage, error) = match opened {
            Ok(home) => match live(&home) {
                Ok(()) => return Ok(()),
                Err(error) => (outage(&error, Some(&home.storage)), error),
            },
            // A thread of the last life still holds it, or another command looks at it for a moment.
            Err(error) if is_in_use(&error) && was_up.get() => {
                if !std::mem::replace(&mut waits, true) {
                    say(&format!("{error}; the node waits for it"));
                }
                if pause(PAUSE) {
                    return Ok(());
                }
                opened = home::open_existing(common);
                continue;
            }
            Err(error) => (outage(&error, None), error),
        };
        waits = false;
        failed = if begun.elapsed() >= GOOD_LIFE { 1 } else { failed + 1 };
        let Some(outage) = outage.filter(|_| was_up.get() || failed <= REOPENED) else { return Err(error) };
        let wait = PAUSE.saturating_mul(1 << failed.saturating_sub(1).min(16)).min(LONGEST_PAUSE);
        let again = format!("the node opens its data folder again in {wait:?}");
        match outage {
            Outage::Full => {
                say(&format!("the disk is full, what was accepted is kept: free some space; {again}"));
            }
            Outage::Disk => {
                say(&error.to_string());
                say(&again);
            }
        }
        if pause(wait) {
            return Ok(());
        }
        // Never a new one in the place of one that was moved away.
        opened = home::open_existing(common);
    }
}

fn is_in_use(error: &CliError) -> bool {
    matches!(error, CliError::Open(OpenError::InUse { .. }))
}

fn is_disk(error: &CliError) -> bool {
    outage(error, None) == Some(Outage::Disk)
}

/// Is it the disk's, and may pass? `storage` is what was worked on.
fn outage(error: &CliError, storage: Option<&Storage>) -> Option<Outage> {
    match error {
        CliError::Open(error) => Outage::of_open(error),
        CliError::Storage(error) => Outage::of_read(error, storage?),
        CliError::Commit(error) => Outage::of_commit(error, storage?),
        CliError::Boot(error) => Outage::of_boot(error, storage?),
        CliError::Driver(error) => Outage::of_driver(error, storage?),
        // What lies beside the database on the same disk.
        CliError::Key(KeyFileError::Io { source, .. })
        | CliError::Config(ConfigError::Read { source, .. })
        | CliError::Control(ControlError::Listen { source, .. })
        | CliError::Read { source, .. } => of_file(source),
        _ => None,
    }
}

fn of_file(error: &io::Error) -> Option<Outage> {
    match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => Some(Outage::Full),
        ErrorKind::ReadOnlyFilesystem => Some(Outage::Disk),
        // EIO has no kind of its own.
        _ => (error.raw_os_error() == Some(rustix::io::Errno::IO.raw_os_error())).then_some(Outage::Disk),
    }
}

#[cfg(test)]
mod tests {
    use forgemesh_consensus::raft::{Failure, StartError};
    use forgemesh_storage::{CommitError, ReadError};

    use super::*;
    use crate::boot::BootError;
    use crate::driver::DriverError;

    fn detail() -> String {
        "the cable was loose".to_owned()
    }

    /// Every error of a disk that may be better in a moment, wherever it is met.
    fn outages() -> Vec<CliError> {
        vec![
            DriverError::Store(CommitError::Io { detail: detail() }).into(),
            DriverError::Store(CommitError::Dead).into(),
            DriverError::LogStart(StartError::Read(ReadError::Io { detail: detail() })).into(),
            BootError::Commit(CommitError::Io { detail: detail() }).into(),
            BootError::Read(ReadError::Io { detail: detail() }).into(),
            BootError::Log(StartError::Read(ReadError::Dead)).into(),
            CliError::Storage(ReadError::Io { detail: detail() }),
            CliError::Commit(CommitError::Dead),
            OpenError::Io { place: "backend".to_owned(), detail: detail() }.into(),
            OpenError::ReadOnly { action: "write", path: "data".into() }.into(),
            CliError::Read { path: "network.key".into(), source: io::Error::from_raw_os_error(5) },
        ]
    }

    fn full() -> Vec<CliError> {
        vec![
            DriverError::Store(CommitError::DiskFull).into(),
            BootError::Commit(CommitError::DiskFull).into(),
            OpenError::DiskFull { place: "backend".to_owned() }.into(),
        ]
    }

    /// What opening the folder again does not mend.
    fn damage() -> Vec<CliError> {
        vec![
            DriverError::Store(CommitError::Damaged { detail: detail() }).into(),
            // The handle goes on: it is no I/O error.
            DriverError::Log(Failure::Storage(detail())).into(),
            DriverError::Log(Failure::Panicked).into(),
            DriverError::Forked.into(),
            BootError::ForeignKey.into(),
            CliError::Storage(ReadError::Damaged { detail: detail() }),
            OpenError::Corrupt { place: "backend".to_owned(), detail: detail() }.into(),
        ]
    }

    /// Opens a folder in the way of the node for a moment, as another command does.
    #[test]
    fn who_looks_at_the_folder_keeps_a_node_waiting_and_no_longer() {
        let (_folder, common) = folder();
        let was_up = Cell::new(true);
        let (mut other, mut pauses) = (None, Vec::new());
        let mut error = outages().pop();
        let home = home::open(&common).expect("it opens");
        let pause = |wait| {
            pauses.push(wait);
            // Taken while the node waits, and let go after a while.
            other = match pauses.len() {
                1 => Some(home::open(&common).expect("nobody has it")),
                2..40 => other.take(),
                _ => None,
            };
            false
        };
        let ended = living_on(&common, home, &was_up, pause, |_| error.take().map_or(Ok(()), Err));
        assert!(ended.is_ok());
        assert_eq!(pauses, [PAUSE; 40], "it does not wait longer and longer for that");
    }

    fn folder() -> (tempfile::TempDir, Common) {
        let folder = tempfile::tempdir().expect("a folder");
        let common = Common { json: false, home: Some(folder.path().to_owned()), threads: None, node: None };
        (folder, common)
    }

    #[test]
    fn the_folder_is_opened_again_after_an_io_error_but_not_for_ever() {
        let (_folder, common) = folder();
        for failures in 0..=REOPENED + 1 {
            let home = home::open(&common).expect("it opens");
            let (mut calls, mut errors) = (0, outages().into_iter());
            let done = surviving_io_errors(&common, home, |home| {
                calls += 1;
                assert!(!home.storage.is_dead());
                if calls <= failures { Err(errors.next().expect("more than that")) } else { Ok(calls) }
            });
            match done {
                Ok((_, calls)) => assert_eq!(calls, failures + 1),
                Err(error) => assert!(failures > REOPENED, "{failures}: {error}"),
            }
        }
        for error in full().into_iter().chain(damage()) {
            let home = home::open(&common).expect("it opens");
            let (mut error, mut calls) = (Some(error), 0);
            let ended = surviving_io_errors(&common, home, |_| {
                calls += 1;
                Err::<(), _>(error.take().expect("it is called once"))
            });
            assert!(ended.is_err() && calls == 1);
        }
    }

    #[test]
    fn a_node_that_was_up_goes_on_whatever_its_disk_fails_in_and_for_as_long_as_it_does() {
        let (_folder, common) = folder();
        let errors: Vec<CliError> = (0..3).flat_map(|_| outages().into_iter().chain(full())).collect();
        let (mut lives, many) = (0, errors.len());
        let (mut errors, mut pauses) = (errors.into_iter(), Vec::new());
        let was_up = Cell::new(false);
        let home = home::open(&common).expect("it opens");
        let pause = |wait| {
            pauses.push(wait);
            false
        };
        let ended = living_on(&common, home, &was_up, pause, |home| {
            assert!(!home.storage.is_dead());
            was_up.set(true);
            lives += 1;
            errors.next().map_or(Ok(()), Err)
        });
        assert!(ended.is_ok());
        assert_eq!((lives, pauses.len()), (many + 1, many));
        assert_eq!((pauses[0], pauses[1], pauses.last()), (PAUSE, PAUSE * 2, Some(&LONGEST_PAUSE)));
        // Told to stop while it waits, it stops.
        let home = home::open(&common).expect("it opens");
        let mut error = full().pop();
        let told = living_on(&common, home, &was_up, |_| true, |_| error.take().map_or(Ok(()), Err));
        assert!(told.is_ok());
        for error in damage() {
            let (home, mut error) = (home::open(&common).expect("it opens"), Some(error));
            let pause = |_| panic!("it waits for what does not pass");
            let ended = living_on(&common, home, &was_up, pause, |_| error.take().map_or(Ok(()), Err));
            assert!(ended.is_err());
        }
    }

    #[test]
    fn a_node_that_never_came_up_says_why() {
        let (_folder, common) = folder();
        let (mut lives, was_up) = (0, Cell::new(false));
        let home = home::open(&common).expect("it opens");
        let ended = living_on(
            &common,
            home,
            &was_up,
            |_| false,
            |_| {
                lives += 1;
                Err(BootError::Commit(CommitError::DiskFull).into())
            },
        );
        assert!(matches!(ended, Err(CliError::Boot(BootError::Commit(CommitError::DiskFull)))));
        assert_eq!(lives, REOPENED + 1);
    }
}
