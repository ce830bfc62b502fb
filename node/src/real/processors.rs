//! How the processors' time was spent, by the kernel's own count (`/proc`, Linux).
//!
//! Must never decide anything: it reads, and `core/idleness.rs` judges.

use std::io;
use std::path::{Path, PathBuf};

use crate::core::idleness::Reading;

/// Processes below this one that are counted as its own, one below the other.
const GENERATIONS: usize = 4;
/// And at most so many of them.
const PROCESSES: usize = 1_024;

/// Reads the counters.
#[derive(Clone, Debug)]
pub struct Processors {
    proc: PathBuf,
    pid: u32,
}

impl Default for Processors {
    fn default() -> Processors {
        Processors { proc: PathBuf::from("/proc"), pid: std::process::id() }
    }
}

impl Processors {
    /// Reads them now. This process and those below it are the node's own.
    pub fn read(&self) -> io::Result<Reading> {
        let text = std::fs::read_to_string(self.proc.join("stat"))?;
        let (total, spent) = machine(&text).ok_or_else(strange)?;
        // The node's own last: what it spends in between is not laid to others.
        let own = self.process(self.pid)? + self.below(self.pid);
        Ok(Reading { total, spent, own })
    }

    fn process(&self, pid: u32) -> io::Result<u64> {
        process(&std::fs::read_to_string(self.folder(pid).join("stat"))?).ok_or_else(strange)
    }

    /// Of the processes that this one has started. One that ends meanwhile is counted by who waits for it.
    fn below(&self, pid: u32) -> u64 {
        let (mut sum, mut generation, mut seen) = (0, vec![pid], 0);
        for _ in 0..GENERATIONS {
            generation = generation.iter().flat_map(|&pid| self.children(pid)).collect();
            seen += generation.len();
            if seen > PROCESSES {
                break;
            }
            sum += generation.iter().filter_map(|&pid| self.process(pid).ok()).sum::<u64>();
        }
        sum
    }

    /// By each of its threads.
    fn children(&self, pid: u32) -> Vec<u32> {
        let Ok(threads) = std::fs::read_dir(self.folder(pid).join("task")) else { return Vec::new() };
        let of = |thread: &Path| std::fs::read_to_string(thread.join("children")).unwrap_or_default();
        let texts: Vec<String> = threads.flatten().map(|thread| of(&thread.path())).collect();
        texts.iter().flat_map(|text| text.split_whitespace()).filter_map(|pid| pid.parse().ok()).collect()
    }

    fn folder(&self, pid: u32) -> PathBuf {
        self.proc.join(pid.to_string())
    }
}

fn strange() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "the kernel's counters have another form than proc(5) says")
}

/// All time and what was spent of it, from the first line of `stat`: user, nice, system, idle, iowait, irq, softirq, steal.
/// Time that a hypervisor gave to others is not spent here.
fn machine(text: &str) -> Option<(u64, u64)> {
    let mut words = text.lines().next()?.strip_prefix("cpu ")?.split_whitespace();
    let mut next = || words.next()?.parse::<u64>().ok();
    let (user, nice, system, idle) = (next()?, next()?, next()?, next()?);
    let (wait, irq, soft, steal) = (next()?, next()?, next()?, next().unwrap_or(0));
    let spent = [user, nice, system, irq, soft].into_iter().fold(0, u64::saturating_add);
    Some(([idle, wait, steal].into_iter().fold(spent, u64::saturating_add), spent))
}

/// utime, stime, cutime and cstime of a process. Its name is in parentheses and may hold anything.
fn process(text: &str) -> Option<u64> {
    let (_, after) = text.rsplit_once(')')?;
    // The state is field 3 and comes first here; the four are fields 14 to 17.
    let fields: Vec<&str> = after.split_whitespace().skip(11).take(4).collect();
    let times: Option<Vec<i64>> = fields.iter().map(|field| field.parse().ok()).collect();
    let times = times.filter(|times| times.len() == 4)?;
    Some(times.into_iter().filter_map(|time| u64::try_from(time).ok()).sum())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stat(pid: u32, name: &str, times: [u64; 4]) -> String {
        let [user, system, waited_user, waited_system] = times;
        format!(
            "{pid} ({name}) S 1 1 1 0 -1 4194560 1 2 3 4 {user} {system} {waited_user} {waited_system} 20 0 9 0\n"
        )
    }

    #[test]
    fn others_are_all_but_this_process_and_those_below_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let proc = folder.path().to_owned();
        let write = |path: &str, text: &str| {
            let path = proc.join(path);
            std::fs::create_dir_all(path.parent().expect("below proc")).expect("our folder");
            std::fs::write(path, text).expect("our file");
        };
        write("stat", "cpu  100 20 30 800 50 6 7 40 0 0\ncpu0 1 2 3 4 5 6 7 8 0 0\nintr 9\n");
        write("7/stat", &stat(7, "a ) b (", [10, 5, 2, 1]));
        write("7/task/7/children", "8 9 ");
        write("7/task/71/children", "10\n");
        write("8/stat", &stat(8, "worker", [4, 0, 0, 0]));
        write("9/stat", "torn");
        write("10/stat", &stat(10, "worker", [0, 3, 0, 0]));
        let processors = Processors { proc: proc.clone(), pid: 7 };
        let read = processors.read().expect("it is read");
        assert_eq!(read, Reading { total: 1_053, spent: 163, own: 18 + 4 + 3 });
        for broken in ["", "cpu 1 2", "cpux 1 2 3 4 5 6 7", "cpu  a b c d e f g"] {
            write("stat", broken);
            assert!(processors.read().is_err(), "{broken}");
        }
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn this_machine_is_read() {
        let processors = Processors::default();
        let (first, mut last) = (processors.read().expect("Linux"), processors.read().expect("Linux"));
        // Work of one's own until it shows: the kernel counts in hundredths of a second.
        let mut sum = 1_u64;
        while last.own < first.own + 5 {
            for n in 0..1_000_000 {
                sum = std::hint::black_box(sum.wrapping_mul(6_364_136_223_846_793_005) ^ n);
            }
            last = processors.read().expect("Linux");
        }
        assert!(last.total > first.total && last.spent > first.spent && last.spent <= last.total);
    }
}
