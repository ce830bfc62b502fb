//! The control socket of a running node: a Unix socket in its data folder, for its operator alone.
//!
//! A client sends one JSON object a line and gets lines back: any number of `{"event": …}` and `{"part": length}`, the latter
//! with so many bytes after its line, then one `{"ok": …}` or `{"error": …}`. Owns the socket and the lines; what a request
//! means is the desk's. Must never read more than it has room for, nor let one client keep another waiting.

pub mod request;

use std::future::Future;
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use forgemesh_protocol::limits;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::unix::OwnedWriteHalf;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// The socket within a data folder.
pub const SOCKET_FILE_NAME: &str = "control.sock";
/// How long answers under way may take once the node stops.
const FAREWELL: Duration = Duration::from_secs(1);

/// Why there is no control socket.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    #[error("{} is no socket; move it away", path.display())]
    NotASocket { path: PathBuf },
    #[error("cannot listen at {}: {source}; use a data folder with a shorter path (at most about 90 bytes) that this user may write", path.display())]
    Listen { path: PathBuf, source: io::Error },
    #[error("the system refuses a thread: {0}; raise the limit on threads")]
    Thread(io::Error),
}

/// What answers requests.
pub trait Desk: Send + Sync + 'static {
    /// Answers one request; an error is an object with `code` and `message`. What is attached goes to `out` first.
    fn answer(&self, line: &[u8], out: &mut Answers) -> impl Future<Output = Result<Value, Value>> + Send;

    /// What the desk does by itself, until it is told to stop.
    fn background(self: Arc<Self>, stopped: watch::Receiver<bool>) -> impl Future<Output = ()> + Send;
}

/// The way back to one client.
pub struct Answers {
    to: OwnedWriteHalf,
}

/// The client went away.
#[derive(Debug)]
pub struct Gone;

impl Answers {
    /// Something happened.
    pub async fn event(&mut self, event: &Value) -> Result<(), Gone> {
        self.line(&json!({ "event": event })).await
    }

    /// Bytes that the answer speaks of.
    pub async fn attach(&mut self, bytes: &[u8]) -> Result<(), Gone> {
        for part in bytes.chunks(limits::CONTROL_PART_BYTES) {
            self.line(&json!({ "part": part.len() })).await?;
            self.to.write_all(part).await.map_err(|_| Gone)?;
        }
        Ok(())
    }

    async fn line(&mut self, value: &Value) -> Result<(), Gone> {
        let mut line = value.to_string().into_bytes();
        line.push(b'\n');
        self.to.write_all(&line).await.map_err(|_| Gone)
    }
}

/// The socket and the thread that serves it; dropping it ends both.
pub struct Control {
    path: PathBuf,
    stop: watch::Sender<bool>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Control {
    /// Listens in this folder, whose lock the caller holds: a socket that is there already is a dead process's.
    pub fn start<D: Desk>(folder: &Path, desk: Arc<D>) -> Result<Control, ControlError> {
        let path = folder.join(SOCKET_FILE_NAME);
        match std::fs::symlink_metadata(&path) {
            Ok(found) if !found.file_type().is_socket() => return Err(ControlError::NotASocket { path }),
            Ok(_) => drop(std::fs::remove_file(&path)),
            Err(_) => {}
        }
        let failed = |source| ControlError::Listen { path: path.clone(), source };
        let listener = std::os::unix::net::UnixListener::bind(&path).map_err(failed)?;
        // The folder is private already; the socket says so itself.
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).map_err(failed)?;
        listener.set_nonblocking(true).map_err(failed)?;
        let (stop, stopped) = watch::channel(false);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(ControlError::Thread)?;
        // A thread of its own: reading large answers from the disk does not hold up the node's loop.
        let run = move || runtime.block_on(serve(listener, desk, stopped));
        let thread = thread::Builder::new().name("forgemesh-control".to_owned()).spawn(run);
        Ok(Control { path, stop, thread: Some(thread.map_err(ControlError::Thread)?) })
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        // The thread holds the other end as long as it runs.
        let _ = self.stop.send(true);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        let _ = std::fs::remove_file(&self.path);
    }
}

async fn serve<D: Desk>(
    listener: std::os::unix::net::UnixListener,
    desk: Arc<D>,
    mut stopped: watch::Receiver<bool>,
) {
    let Ok(listener) = UnixListener::from_std(listener) else { return };
    let (mut clients, for_clients) = (JoinSet::new(), stopped.clone());
    clients.spawn(Arc::clone(&desk).background(stopped.clone()));
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) if clients.len() <= limits::CONTROL_CLIENTS => {
                    clients.spawn(client(stream, Arc::clone(&desk), for_clients.clone()));
                }
                // Too many, or the system has no room for one more: the client sees its connection end.
                Ok(_) => {}
                Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
            },
            Some(_) = clients.join_next() => {}
            () = told(&mut stopped) => break,
        }
    }
    let farewell = async { while clients.join_next().await.is_some() {} };
    let _ = tokio::time::timeout(FAREWELL, farewell).await;
}

/// Until the node stops.
pub async fn told(stopped: &mut watch::Receiver<bool>) {
    // A sender that is gone stops too.
    drop(stopped.wait_for(|stop| *stop).await);
}

/// One client, until it goes or the node stops.
async fn client<D: Desk>(stream: UnixStream, desk: Arc<D>, mut stopped: watch::Receiver<bool>) {
    let (from, to) = stream.into_split();
    let (mut from, mut out) = (BufReader::new(from), Answers { to });
    loop {
        let line = tokio::select! {
            line = read_line(&mut from) => line,
            () = told(&mut stopped) => return,
        };
        let answer = match line {
            Ok(Some(line)) => desk.answer(&line, &mut out).await,
            Err(error) if error.kind() == ErrorKind::InvalidData => {
                let message = format!("a request has at most {} bytes; send less", limits::CONTROL_BYTES);
                let error = json!({ "code": "usage", "message": message });
                // Where the next line begins is not known.
                drop(out.line(&json!({ "error": error })).await);
                return;
            }
            Ok(None) | Err(_) => return,
        };
        let line = match answer {
            Ok(value) => json!({ "ok": value }),
            Err(error) => json!({ "error": error }),
        };
        if out.line(&line).await.is_err() {
            return;
        }
    }
}

/// The next line without its end; none at the client's end.
async fn read_line(from: &mut (impl AsyncBufReadExt + Unpin)) -> io::Result<Option<Vec<u8>>> {
    let mut line = Vec::new();
    let limit = limits::CONTROL_BYTES as u64 + 1;
    let read = from.take(limit).read_until(b'\n', &mut line).await?;
    match line.last() {
        _ if read == 0 => Ok(None),
        Some(b'\n') => {
            line.pop();
            Ok(Some(line))
        }
        _ if read as u64 == limit => Err(ErrorKind::InvalidData.into()),
        // The last line needs no end.
        _ => Ok(Some(line)),
    }
}
