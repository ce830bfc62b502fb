//! The node's ed25519 secret in a file of its own.
//!
//! Owns the file's name, mode and format. Must never draw entropy (the caller brings it), never print the secret, never
//! replace a file that is there, and never load one that others could have read.

use std::fmt;
use std::fs::{File, Metadata};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use crate::files::{create_private_file, create_private_folder, publish, remove_leftover};

/// The key file within a data folder.
pub const KEY_FILE_NAME: &str = "node.key";
const NEW_FILE_NAME: &str = "node.key.new";
/// What the one line starts with; 64 hexadecimal digits and a line end follow.
const HEADER: &[u8] = b"forgemesh node key v1 ";
const FILE_BYTES: usize = HEADER.len() + 64 + 1;

/// Why there is no key. `E` is what the caller's source of entropy says.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError<E> {
    /// Others may read the file.
    #[error("{} can be read by others (mode {mode:03o}); if nobody did, run: chmod 600 {}", path.display(), path.display())]
    Permissions {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// A symbolic link, a folder, or anything but a plain file.
    #[error("{} is not a plain file; put the key file itself there", path.display())]
    NotAFile {
        /// The path.
        path: PathBuf,
    },
    /// Not the length of a key file.
    #[error("{} has a wrong length ({found} bytes, a key file has {}); restore it from a backup, or move it away to get a new identity", path.display(), FILE_BYTES)]
    Length {
        /// The file.
        path: PathBuf,
        /// Bytes found.
        found: u64,
    },
    /// The right length, but not a key.
    #[error("{} does not hold one line `forgemesh node key v1 <64 hex digits>`; restore it from a backup, or move it away to get a new identity", path.display())]
    Content {
        /// The file.
        path: PathBuf,
    },
    /// The file could not be read or written.
    #[error("cannot {action} {}: {source}; make the data folder readable and writable for this user", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// The caller's source of entropy failed.
    #[error("no entropy for a new node key: {0}")]
    Entropy(E),
}

/// A loaded secret, wiped from memory when dropped.
pub struct KeyFile {
    secret: Zeroizing<[u8; 32]>,
    created: bool,
}

impl KeyFile {
    /// Loads `node.key`, or writes the 32 bytes that `fresh` returns into a new one (mode 0600 from its first moment;
    /// temporary name, sync, rename, sync of the folder). Call it while holding the folder's `Storage`: its lock keeps
    /// two first starts from making two keys.
    ///
    /// # Errors
    /// See [`KeyFileError`]; a file that is there is never changed.
    pub fn load_or_create<E>(
        folder: &Path,
        fresh: impl FnOnce() -> Result<[u8; 32], E>,
    ) -> Result<KeyFile, KeyFileError<E>> {
        let path = folder.join(KEY_FILE_NAME);
        match std::fs::symlink_metadata(&path) {
            Ok(found) => load(&path, &found),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let secret = Zeroizing::new(fresh().map_err(KeyFileError::Entropy)?);
                create(folder, &path, &secret)?;
                Ok(KeyFile { secret, created: true })
            }
            Err(error) => Err(io_error("open", &path)(error)),
        }
    }

    /// The ed25519 secret key (RFC 8032, section 5.1.5: the 32-byte seed).
    pub fn secret(&self) -> &[u8; 32] {
        &self.secret
    }

    /// Whether this call made the file.
    pub fn created(&self) -> bool {
        self.created
    }
}

impl fmt::Debug for KeyFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyFile").field("created", &self.created).finish_non_exhaustive()
    }
}

fn io_error<E>(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> KeyFileError<E> + use<E> {
    let path = path.to_owned();
    move |source| KeyFileError::Io { action, path, source }
}

fn load<E>(path: &Path, named: &Metadata) -> Result<KeyFile, KeyFileError<E>> {
    // Before opening: opening a pipe would wait for its writer.
    if !named.is_file() {
        return Err(KeyFileError::NotAFile { path: path.to_owned() });
    }
    let file = File::open(path).map_err(io_error("open", path))?;
    let opened = file.metadata().map_err(io_error("open", path))?;
    check_private(path, named, &opened)?;
    if opened.len() != FILE_BYTES as u64 {
        return Err(KeyFileError::Length { path: path.to_owned(), found: opened.len() });
    }
    let mut content = Zeroizing::new([0u8; FILE_BYTES]);
    (&file).read_exact(&mut content[..]).map_err(io_error("read", path))?;
    match decode(&content) {
        Some(secret) => Ok(KeyFile { secret, created: false }),
        None => Err(KeyFileError::Content { path: path.to_owned() }),
    }
}

/// The opened file must be the one that was named (no link slipped in between), and this user's alone.
#[cfg(unix)]
fn check_private<E>(path: &Path, named: &Metadata, opened: &Metadata) -> Result<(), KeyFileError<E>> {
    use std::os::unix::fs::MetadataExt;
    if (named.dev(), named.ino()) != (opened.dev(), opened.ino()) {
        return Err(KeyFileError::NotAFile { path: path.to_owned() });
    }
    match opened.mode() & 0o777 {
        mode if mode & 0o077 != 0 => Err(KeyFileError::Permissions { path: path.to_owned(), mode }),
        _ => Ok(()),
    }
}

/// Elsewhere the folder's access list decides.
#[cfg(not(unix))]
fn check_private<E>(_path: &Path, _named: &Metadata, _opened: &Metadata) -> Result<(), KeyFileError<E>> {
    Ok(())
}

fn create<E>(folder: &Path, path: &Path, secret: &[u8; 32]) -> Result<(), KeyFileError<E>> {
    create_private_folder(folder).map_err(io_error("create", folder))?;
    let new = folder.join(NEW_FILE_NAME);
    remove_leftover(&new).map_err(io_error("remove", &new))?;
    let content = encode(secret);
    let mut file = create_private_file(&new).map_err(io_error("create", &new))?;
    file.write_all(&content[..]).map_err(io_error("write", &new))?;
    file.sync_all().map_err(io_error("sync", &new))?;
    publish(&new, path).map_err(io_error("create", path))
}

fn encode(secret: &[u8; 32]) -> Zeroizing<[u8; FILE_BYTES]> {
    let mut content = Zeroizing::new([b'\n'; FILE_BYTES]);
    content[..HEADER.len()].copy_from_slice(HEADER);
    for (pair, byte) in content[HEADER.len()..].chunks_exact_mut(2).zip(secret) {
        pair[0] = digit(byte >> 4);
        pair[1] = digit(byte & 15);
    }
    content
}

fn digit(value: u8) -> u8 {
    if value < 10 { b'0' + value } else { b'a' + value - 10 }
}

fn decode(content: &[u8; FILE_BYTES]) -> Option<Zeroizing<[u8; 32]>> {
    let digits = content.strip_prefix(HEADER)?.strip_suffix(b"\n")?;
    let mut secret = Zeroizing::new([0u8; 32]);
    for (byte, pair) in secret.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = value(pair[0])? << 4 | value(pair[1])?;
    }
    Some(secret)
}

fn value(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}
