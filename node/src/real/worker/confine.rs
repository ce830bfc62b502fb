//! What a worker takes from itself before it reads any work: files, network, rights, memory beyond its share.
//!
//! Two layers, for not every system gives both. The filter of calls (`filter.rs`, Linux) leaves nothing but memory,
//! clocks and the pipes that are open. Beside it limits that every Unix has: no descriptor can be opened (so no file
//! and no socket either), nothing written into a file, no core dumped. Whatever the system refuses is named, never
//! passed over. Must be called when all threads run: afterwards none can be started.

use rustix::process::{Resource, Rlimit, setrlimit};

use super::frame::Gap;

/// Before the threads are started, which inherit it: ends with its node, yields to everything else, and is what the
/// system ends first when it is out of memory.
pub fn prepare() {
    #[cfg(target_os = "linux")]
    {
        // Beside the end of the pipe, which a worker in the middle of a reply would see late. Each is a courtesy.
        let _ = rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL));
        let _ = std::fs::write("/proc/self/oom_score_adj", "500");
        let _ = rustix::process::setpriority_process(None, super::NICENESS);
    }
}

/// Confines this process for good, to so many bytes of memory; what could not be done.
pub fn confine(memory_bytes: u64) -> Vec<Gap> {
    let mut gaps = Vec::new();
    let mut limit = |resource, value, gap| {
        let limit = Rlimit { current: Some(value), maximum: Some(value) };
        if setrlimit(resource, limit).is_err() && !gaps.contains(&gap) {
            gaps.push(gap);
        }
    };
    limit(Resource::Core, 0, Gap::Files);
    limit(Resource::Fsize, 0, Gap::Files);
    limit(Resource::Nofile, 0, Gap::Files);
    // Memory that it writes, stacks and heaps, not addresses: an allocator sets many more of those aside than it uses.
    limit(Resource::Data, memory_bytes, Gap::Memory);
    gaps.extend(refuse_calls());
    gaps
}

#[cfg(target_os = "linux")]
fn refuse_calls() -> Vec<Gap> {
    use rustix::process::{DumpableBehavior, set_dumpable_behavior};

    let mut gaps = Vec::new();
    // Not dumpable: no process of the same user reads its memory, nor does a core dump.
    let rights =
        rustix::thread::set_no_new_privs(true).and(set_dumpable_behavior(DumpableBehavior::NotDumpable));
    if rights.is_err() {
        gaps.push(Gap::Rights);
    }
    if let Err(error) = super::filter::install() {
        crate::stderr::say(&error.to_string());
        gaps.push(Gap::Calls);
    }
    gaps
}

/// Other systems have filters of their own, and none of them is used here yet.
#[cfg(not(target_os = "linux"))]
fn refuse_calls() -> Vec<Gap> {
    vec![Gap::Calls]
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::fs::{self, File};
    use std::io;
    use std::net::{TcpListener, TcpStream, UdpSocket};
    use std::os::unix::net::{UnixListener, UnixStream};
    use std::os::unix::process::CommandExt;
    use std::panic::catch_unwind;
    use std::process::Command;
    use std::sync::mpsc::channel;
    use std::thread;

    use rustix::process::Pid;

    use super::*;

    /// Tells a process of this very test that it is the one to be confined, and where it may try.
    const INSIDE: &str = "FORGEMESH_TEST_CONFINED";
    const MEMORY_BYTES: u64 = 64 << 20;
    const EPERM: i32 = 1;
    /// The last words of one that was confined as it should be.
    const CONFINED: &str = "everything was refused";

    /// What a shard might try, by name.
    fn attempts(folder: &str, address: &str, parent: Pid) -> Vec<(&'static str, io::Result<()>)> {
        let (there, new) = (format!("{folder}/there"), format!("{folder}/new"));
        let fewer = Rlimit { current: Some(64), maximum: Some(64) };
        vec![
            ("a datagram socket", UdpSocket::bind("127.0.0.1:0").map(drop)),
            ("a connection", TcpStream::connect(address).map(drop)),
            ("a socket in a file", UnixStream::connect(format!("{folder}/socket")).map(drop)),
            ("reading a file", File::open(&there).map(drop)),
            ("writing a file", File::options().write(true).open(&there).map(drop)),
            ("a new folder", fs::create_dir(format!("{folder}/folder"))),
            ("another name for a file", fs::rename(&there, &new)),
            ("no file any more", fs::remove_file(&new)),
            ("a new file", File::create(&there).map(drop)),
            ("a thread", thread::Builder::new().spawn(|| ()).map(|thread| drop(thread.join()))),
            ("a process", Command::new("true").spawn().and_then(|mut child| child.wait()).map(drop)),
            ("a signal to another", rustix::process::test_kill_process(parent).map_err(Into::into)),
            ("another limit", setrlimit(Resource::Nofile, fewer).map_err(Into::into)),
        ]
    }

    /// The other side of the test.
    fn inside(folder: &str) {
        let parent = rustix::process::getppid().expect("whoever runs this test");
        let listener = TcpListener::bind("127.0.0.1:0").expect("not confined yet");
        let address = listener.local_addr().expect("it is bound").to_string();
        let _socket = UnixListener::bind(format!("{folder}/socket")).expect("not confined yet");
        File::create(format!("{folder}/there")).expect("not confined yet");
        for (name, outcome) in attempts(folder, &address, parent) {
            outcome.unwrap_or_else(|error| panic!("{name} would be refused anyway: {error}"));
        }
        // A thread that runs already is confined with the others.
        let (begin, begun) = channel();
        let (answer, answered) = channel();
        thread::spawn({
            let (folder, address) = (folder.to_owned(), address.clone());
            move || {
                answer.send(Vec::new()).expect("it is waited for");
                begun.recv().expect("it is told");
                answer.send(attempts(&folder, &address, parent)).expect("it is waited for");
            }
        });
        answered.recv().expect("it runs");
        assert_eq!(confine(MEMORY_BYTES), [], "this system confines nobody");
        begin.send(()).expect("it waits");
        let of_thread = answered.recv().expect("it answers");
        for (name, outcome) in attempts(folder, &address, parent).into_iter().chain(of_thread) {
            let code = outcome.map_err(|error| error.raw_os_error());
            assert_eq!(code, Err(Some(EPERM)), "{name}");
        }
        // It would not come back from here.
        assert_eq!(Command::new("true").exec().raw_os_error(), Some(EPERM));
        let mut memory = Vec::<u8>::new();
        memory.try_reserve_exact(1 << 20).expect("this much it may have");
        memory.try_reserve_exact(MEMORY_BYTES as usize).expect_err("more than it may have");
        catch_unwind(|| panic!("a bug in a profile")).expect_err("it panics, and goes on");
        println!("{CONFINED}");
    }

    #[test]
    fn what_a_worker_has_no_business_with_is_refused() {
        if let Ok(folder) = std::env::var(INSIDE) {
            return inside(&folder);
        }
        let folder = tempfile::tempdir().expect("a folder");
        let this = std::env::current_exe().expect("this test");
        let name = concat!(module_path!(), "::what_a_worker_has_no_business_with_is_refused");
        let name = name.split_once("::").map_or(name, |(_, name)| name);
        let output = Command::new(this)
            .args(["--exact", name, "--nocapture"])
            .env(INSIDE, folder.path())
            .output()
            .expect("this test starts again");
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && said.contains(CONFINED), "{output:?}");
    }
}
