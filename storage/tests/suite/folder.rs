//! Data folders: creation, interruption, locks, permissions, versions.

use std::fs;
use std::path::Path;
use std::process::Command;

use forgemesh_storage::{Batch, DATABASE_FILE_NAME, OpenError, SCHEMA_VERSION, Storage};
use tempfile::tempdir;

use crate::sealed;

const NEW_FILE_NAME: &str = "forgemesh.redb.new";
/// Names the folder that a second process of this test binary shall try to open.
const CHILD_FOLDER: &str = "FORGEMESH_STORAGE_TEST_FOLDER";

fn put_something(folder: &Path) {
    let storage = Storage::open(folder).unwrap();
    storage.commit(Batch::new().append_ledger(0, b"kept".to_vec())).unwrap();
}

#[cfg(unix)]
fn mode(path: &Path) -> u32 {
    use std::os::unix::fs::PermissionsExt;
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[cfg(unix)]
#[test]
fn a_new_folder_is_private() {
    let root = tempdir().unwrap();
    let folder = root.path().join("a").join("b");
    put_something(&folder);
    assert_eq!(mode(&folder), 0o700);
    assert_eq!(mode(&folder.join(DATABASE_FILE_NAME)), 0o600);
    assert!(!folder.join(NEW_FILE_NAME).exists());
    assert_eq!(Storage::open(&folder).unwrap().ledger(0), Ok(Some(b"kept".to_vec())));
}

#[test]
fn an_interrupted_creation_begins_anew() {
    let root = tempdir().unwrap();
    let whole = root.path().join("whole");
    put_something(&whole);
    let image = fs::read(whole.join(DATABASE_FILE_NAME)).unwrap();
    // Killed at any step before the rename: nothing, a part of a file, or a whole one under the temporary name.
    for (n, leftover) in [&image[..0], &image[..100], &image[..5_000], &image[..]].into_iter().enumerate() {
        let folder = root.path().join(n.to_string());
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join(NEW_FILE_NAME), leftover).unwrap();
        let storage = Storage::open(&folder).unwrap();
        assert_eq!(storage.ledger_len(), Ok(0));
        assert!(!folder.join(NEW_FILE_NAME).exists());
    }
    // A leftover beside a finished database is only removed.
    fs::write(whole.join(NEW_FILE_NAME), b"x").unwrap();
    assert_eq!(Storage::open(&whole).unwrap().ledger_len(), Ok(1));
    assert!(!whole.join(NEW_FILE_NAME).exists());
}

#[test]
fn a_second_handle_is_refused_until_the_first_is_dropped() {
    let root = tempdir().unwrap();
    let first = Storage::open(root.path()).unwrap();
    let error = Storage::open(root.path()).unwrap_err();
    assert!(matches!(&error, OpenError::InUse { folder } if folder == root.path()), "{error}");
    assert!(error.to_string().contains("FORGEMESH_HOME"));
    drop(first);
    Storage::open(root.path()).unwrap();
}

#[test]
fn a_second_process_is_refused() {
    if let Some(folder) = std::env::var_os(CHILD_FOLDER) {
        let error = Storage::open(Path::new(&folder)).unwrap_err();
        assert!(matches!(error, OpenError::InUse { .. }), "{error}");
        return;
    }
    let root = tempdir().unwrap();
    let _held = Storage::open(root.path()).unwrap();
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "folder::a_second_process_is_refused"])
        .env(CHILD_FOLDER, root.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&child.stdout);
    assert!(child.status.success() && said.contains("1 passed"), "{said}");
}

#[test]
fn what_is_not_a_database_is_named_and_left_alone() {
    let root = tempdir().unwrap();
    let path = root.path().join(DATABASE_FILE_NAME);
    for bytes in [&b""[..], b"x", b"not a database at all", &[0; 100_000]] {
        fs::write(&path, bytes).unwrap();
        let error = Storage::open(root.path()).unwrap_err();
        assert!(matches!(error, OpenError::Corrupt { .. }), "{error}");
        assert_eq!(fs::read(&path).unwrap(), bytes);
    }
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    assert!(matches!(Storage::open(root.path()), Err(OpenError::WrongKind { .. })));
    let file = root.path().join("file");
    fs::write(&file, b"").unwrap();
    assert!(Storage::open(&file).is_err());
}

#[test]
fn a_newer_schema_is_refused() {
    const META: redb::TableDefinition<&[u8], &[u8]> = redb::TableDefinition::new("meta");
    let root = tempdir().unwrap();
    put_something(root.path());
    let path = root.path().join(DATABASE_FILE_NAME);
    let set = |version: u32, sound: bool| {
        let database = redb::Database::open(&path).unwrap();
        let transaction = database.begin_write().unwrap();
        let mut record = sealed("meta", b"schema", &version.to_be_bytes());
        record[0] ^= u8::from(!sound);
        transaction.open_table(META).unwrap().insert(&b"schema"[..], &record[..]).unwrap();
        transaction.commit().unwrap();
    };
    set(SCHEMA_VERSION + 1, true);
    let error = Storage::open(root.path()).unwrap_err();
    let OpenError::NewerSchema { found, supported } = error else { panic!("{error}") };
    assert_eq!((found, supported), (SCHEMA_VERSION + 1, SCHEMA_VERSION));
    for (version, sound) in [(0, true), (SCHEMA_VERSION, false)] {
        set(version, sound);
        let error = Storage::open(root.path()).unwrap_err();
        assert!(matches!(error, OpenError::Corrupt { .. }), "{error}");
    }
    set(SCHEMA_VERSION, true);
    assert_eq!(Storage::open(root.path()).unwrap().ledger_len(), Ok(1));
}
