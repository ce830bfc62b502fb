//! The node key file: made once, private, refused when anything about it is wrong.

use std::convert::Infallible;
use std::fs;
use std::path::Path;

use forgemesh_storage::{KEY_FILE_NAME, KeyFile, KeyFileError};
use tempfile::tempdir;

type Loaded = Result<KeyFile, KeyFileError<Infallible>>;

fn load(folder: &Path) -> Loaded {
    KeyFile::load_or_create(folder, || panic!("a key file is there"))
}

fn create(folder: &Path) -> KeyFile {
    KeyFile::load_or_create(folder, || Ok::<_, Infallible>([0xa7; 32])).unwrap()
}

#[test]
fn a_key_is_made_once_and_loaded_ever_after() {
    let root = tempdir().unwrap();
    // A crash left this before the rename.
    fs::write(root.path().join("node.key.new"), b"half").unwrap();
    let made = create(root.path());
    assert!(made.created());
    let again = load(root.path()).unwrap();
    assert!(!again.created());
    assert_eq!((made.secret(), again.secret()), (&[0xa7; 32], &[0xa7; 32]));
    let text = fs::read_to_string(root.path().join(KEY_FILE_NAME)).unwrap();
    assert_eq!(text, format!("forgemesh node key v1 {}\n", "a7".repeat(32)));
    assert!(!root.path().join("node.key.new").exists());
    assert!(!format!("{again:?}").contains("a7"));
}

#[cfg(unix)]
#[test]
fn a_key_that_others_can_read_is_refused_with_the_cure() {
    use std::os::unix::fs::PermissionsExt;
    let root = tempdir().unwrap();
    create(root.path());
    let path = root.path().join(KEY_FILE_NAME);
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    for mode in [0o640, 0o604, 0o660, 0o644, 0o610] {
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        let error = load(root.path()).unwrap_err();
        assert!(matches!(error, KeyFileError::Permissions { mode: found, .. } if found == mode), "{error}");
        assert!(error.to_string().contains("chmod 600"));
    }
    fs::set_permissions(&path, fs::Permissions::from_mode(0o400)).unwrap();
    load(root.path()).unwrap();
}

#[cfg(unix)]
#[test]
fn a_link_or_a_folder_is_refused() {
    let root = tempdir().unwrap();
    let (folder, elsewhere) = (root.path().join("data"), root.path().join("elsewhere"));
    create(&elsewhere);
    fs::create_dir(&folder).unwrap();
    for target in [elsewhere.join(KEY_FILE_NAME), elsewhere.join("missing")] {
        std::os::unix::fs::symlink(target, folder.join(KEY_FILE_NAME)).unwrap();
        assert!(matches!(load(&folder), Err(KeyFileError::NotAFile { .. })));
        fs::remove_file(folder.join(KEY_FILE_NAME)).unwrap();
    }
    fs::create_dir(folder.join(KEY_FILE_NAME)).unwrap();
    assert!(matches!(load(&folder), Err(KeyFileError::NotAFile { .. })));
}

#[test]
fn any_other_content_is_refused_and_left_alone() {
    let root = tempdir().unwrap();
    create(root.path());
    let path = root.path().join(KEY_FILE_NAME);
    let good = fs::read(&path).unwrap();
    for length in 0..good.len() {
        fs::write(&path, &good[..length]).unwrap();
        assert!(matches!(load(root.path()), Err(KeyFileError::Length { .. })), "{length}");
    }
    fs::write(&path, [&good[..], b"\n"].concat()).unwrap();
    assert!(matches!(load(root.path()), Err(KeyFileError::Length { .. })));
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] = b'G';
        fs::write(&path, &bad).unwrap();
        assert!(matches!(load(root.path()), Err(KeyFileError::Content { .. })), "{at}");
        assert_eq!(fs::read(&path).unwrap(), bad);
    }
}

#[test]
fn no_entropy_means_no_file() {
    let root = tempdir().unwrap();
    let result = KeyFile::load_or_create(root.path(), || Err("no randomness"));
    assert!(matches!(result, Err(KeyFileError::Entropy("no randomness"))));
    assert!(!root.path().join(KEY_FILE_NAME).exists());
}
