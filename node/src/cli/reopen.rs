//! What the command line does when the disk fails for a moment: the handle is dead, so the data folder is opened again,
//! and the node goes on from what is durable.

use std::thread::sleep;
use std::time::Duration;

use forgemesh_storage::{CommitError, OpenError};

use super::Common;
use super::error::CliError;
use super::home::{self, Home};
use crate::driver::DriverError;

/// How often the folder is opened again before the error is the user's to see.
const REOPENED: u32 = 3;
/// How long a shard that is still being executed may hold the old handle.
const PATIENCE: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(500);

/// Does `work` on an open data folder, again after each I/O error. A full disk is not waited for: only its owner can
/// make room.
pub fn surviving_io_errors<T>(
    common: &Common,
    mut home: Home,
    mut work: impl FnMut(&Home) -> Result<T, CliError>,
) -> Result<(Home, T), CliError> {
    for _ in 0..REOPENED {
        match work(&home) {
            Ok(done) => return Ok((home, done)),
            Err(CliError::Driver(DriverError::Store(
                error @ (CommitError::Io { .. } | CommitError::Dead),
            ))) => {
                eprintln!("forgemesh: {error}");
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
            Err(CliError::Open(OpenError::InUse { .. })) if waited < PATIENCE => {}
            opened => return opened,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn io_error() -> CliError {
        DriverError::Store(CommitError::Io { detail: "the cable was loose".to_owned() }).into()
    }

    #[test]
    fn the_folder_is_opened_again_after_an_io_error_but_not_for_ever() {
        let folder = tempfile::tempdir().expect("a folder");
        let common = Common { json: false, home: Some(folder.path().to_owned()), threads: None, node: None };
        for failures in 0..=REOPENED + 1 {
            let home = home::open(&common).expect("it opens");
            let mut calls = 0;
            let done = surviving_io_errors(&common, home, |home| {
                calls += 1;
                assert!(!home.storage.is_dead());
                if calls <= failures { Err(io_error()) } else { Ok(calls) }
            });
            match done {
                Ok((_, calls)) => assert_eq!(calls, failures + 1),
                Err(error) => assert!(failures > REOPENED, "{failures}: {error}"),
            }
        }
        let home = home::open(&common).expect("it opens");
        let full = surviving_io_errors(&common, home, |_| {
            Err::<(), _>(DriverError::Store(CommitError::DiskFull).into())
        });
        assert!(matches!(full, Err(CliError::Driver(DriverError::Store(CommitError::DiskFull)))));
    }
}
