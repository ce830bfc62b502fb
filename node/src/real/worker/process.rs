//! One worker process as its node sees it: how it is started, what it said, how it ended.
//!
//! Owns the words for how it ended. Must never hand it anything of the node: no environment, no folder, no open file.

use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;
use std::time::Duration;

use forgemesh_kernel::backend::Isa;
use rustix::process::{Pid, Signal, kill_process_group};

use super::frame::{self, FIRST_BYTES, FrameError, Ready, Start};
use crate::stderr;

/// Bytes of what one worker says that reach the node's log, and of one line of it.
const SAID_BYTES: u64 = 64 << 10;
const LINE_CHARS: usize = 300;
/// What the standard library says before it aborts for want of memory, and how it ends whatever it says.
const OUT_OF_MEMORY: &str = "memory allocation of ";
const ADVICE: &str = "note: run with `RUST_BACKTRACE";
const SIGKILL: i32 = 9;
/// How long the last words of one that has ended are waited for: whoever holds its pipe may be somebody else.
const WORDS: Duration = Duration::from_secs(1);

/// How to start a worker.
#[derive(Clone, Debug)]
pub struct Launch {
    pub program: PathBuf,
    pub threads: usize,
    pub isa: Isa,
    pub memory_bytes: u64,
}

impl Launch {
    /// Of this very program.
    pub fn own(threads: usize, isa: Isa, memory_bytes: u64) -> std::io::Result<Launch> {
        // On Linux by what runs, not by its name: a node goes on when its executable was replaced by a newer one.
        let running = PathBuf::from("/proc/self/exe");
        let program = if running.exists() { running } else { std::env::current_exe()? };
        Ok(Launch { program, threads, isa, memory_bytes })
    }

    fn first_frame(&self) -> Start {
        Start {
            version: super::VERSION.to_owned(),
            threads: self.threads as u64,
            isa: self.isa.to_string(),
            memory_bytes: self.memory_bytes,
        }
    }
}

/// A worker that was started; it is killed and reaped by [`Process::end`].
pub struct Process {
    child: Child,
    words: Receiver<String>,
}

impl Process {
    /// Starts one and tells it what to be; its pipes. `echo` writes what it says into the node's log.
    pub fn spawn(launch: &Launch, echo: bool) -> std::io::Result<(Process, ChildStdin, ChildStdout)> {
        let mut command = Command::new(&launch.program);
        command.arg0("forgemesh").arg("worker").env_clear().current_dir("/");
        // A group of its own: Ctrl-C is for the node, which ends its worker when it is done with it.
        command.process_group(0).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn()?;
        let pipes = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let (Some(mut stdin), Some(stdout), Some(stderr)) = pipes else {
            return Err(std::io::Error::other("a child without pipes"));
        };
        let (say, words) = sync_channel(1);
        // Nobody may be left to hear them.
        let listener = move || drop(say.try_send(listen(stderr, echo)));
        let process = Process { child, words };
        if let Err(error) = thread::Builder::new().name("forgemesh-words".to_owned()).spawn(listener) {
            process.end(launch.memory_bytes);
            return Err(error);
        }
        // One that has ended already says why itself.
        let _ = frame::write(&mut stdin, &launch.first_frame(), FIRST_BYTES);
        Ok((process, stdin, stdout))
    }

    /// Ends it at once, and what it may have started where nothing kept it from that; it has nothing that it would have
    /// to put in order.
    pub fn kill(&mut self) {
        if let Some(group) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            let _ = kill_process_group(group, Signal::KILL);
        }
        // One that has ended already is as good.
        let _ = self.child.kill();
    }

    /// Sees it to its end; why it ended.
    pub fn end(mut self, memory_bytes: u64) -> String {
        // One that hung up its pipe and goes on ends here.
        self.kill();
        let status = self.child.wait();
        let said = self.words.recv_timeout(WORDS).unwrap_or_default();
        match status {
            Ok(status) => cause(status, &said, memory_bytes),
            Err(error) => format!("it cannot be waited for: {error}"),
        }
    }
}

/// Waits for a worker's first frame.
pub fn ready(stdout: &mut ChildStdout) -> Result<Option<Ready>, FrameError> {
    frame::read(stdout, FIRST_BYTES)
}

/// Why a worker with these last words ended.
fn cause(status: ExitStatus, said: &str, memory_bytes: u64) -> String {
    let mib = memory_bytes >> 20;
    if said.starts_with(OUT_OF_MEMORY) {
        return format!(
            "it wanted more than the {mib} MiB of memory that it may have ({status}); raise memory_mib in config.toml, or run a smaller job"
        );
    }
    match status.signal() {
        Some(SIGKILL) => {
            format!("it was killed ({status}), by somebody or by the system for want of memory")
        }
        _ if said.is_empty() => format!("it ended with {status}"),
        _ => format!("it ended with {status}: {said}"),
    }
}

/// Reads what a worker says to its end, with bounds; its last line.
fn listen(stderr: ChildStderr, echo: bool) -> String {
    let mut last = String::new();
    let mut reader = BufReader::new(stderr);
    let mut bounded = reader.by_ref().take(SAID_BYTES);
    let mut line = Vec::new();
    while bounded.read_until(b'\n', &mut line).is_ok_and(|read| read > 0) {
        let text = String::from_utf8_lossy(&line);
        // What a worker says may be a stranger's: no more than one line of plain characters each.
        let text = text.trim_end().chars().take(LINE_CHARS);
        let text: String = text.map(|c| if c.is_control() { ' ' } else { c }).collect();
        line.clear();
        if text.is_empty() || text.starts_with(ADVICE) {
            continue;
        }
        if echo {
            stderr::say(&format!("worker: {text}"));
        }
        last = text;
    }
    // More is thrown away, but read: a full pipe would stop the worker.
    let _ = std::io::copy(&mut reader, &mut std::io::sink());
    last
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_it_ended_is_said_with_its_cause() {
        let (killed, aborted, exited) =
            (ExitStatus::from_raw(9), ExitStatus::from_raw(6), ExitStatus::from_raw(1 << 8));
        assert!(cause(killed, "", 1 << 30).contains("SIGKILL"));
        let memory = cause(aborted, "memory allocation of 4096 bytes failed", 1 << 30);
        assert!(memory.contains("1024 MiB") && memory.contains("memory_mib"), "{memory}");
        assert!(cause(aborted, "", 1 << 30).contains("SIGABRT"));
        assert_eq!(cause(exited, "no", 1 << 30), "it ended with exit status: 1: no");
    }
}
