//! Measures what one core does for a profile: nanoseconds a path, with all statistics, without order statistics, with
//! sums alone, or with none. Prints one JSON line a repetition; `tests/bench/run.py` alternates it with its peers.

use std::time::Instant;

use forgemesh_kernel::accumulator::{LeafAccumulator, Mode};
use forgemesh_kernel::backend::Isa;
use forgemesh_kernel::bracket::Brackets;
use forgemesh_kernel::job::Job;
use forgemesh_kernel::num::chacha::Key;
use forgemesh_kernel::registry;

/// What a leaf keeps.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Keep {
    /// Sums, histogram, exact percentiles: what a job does.
    All,
    /// Sums and histogram.
    Histogram,
    /// Sums alone.
    Sums,
    /// Nothing: the paths are computed and dropped. The rest is the share of the exact reduction.
    Nothing,
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [file, paths, keep, repeat] = args.as_slice() else {
        eprintln!("usage: bench-kernel JOB.json PATHS all|histogram|sums|nothing REPEAT");
        std::process::exit(2);
    };
    let keep = match keep.as_str() {
        "all" => Keep::All,
        "histogram" => Keep::Histogram,
        "sums" => Keep::Sums,
        "nothing" => Keep::Nothing,
        other => panic!("keep {other}: use all, histogram, sums or nothing"),
    };
    let paths: u64 = paths.parse().expect("PATHS is a number");
    let repeat: u32 = repeat.parse().expect("REPEAT is a number");
    let envelope = std::fs::read(file).expect("the job file can be read");
    let (job, _) = Job::read(&envelope).expect("the job is valid");
    let isa = Isa::from_request(std::env::var("FORGEMESH_ISA").ok().as_deref())
        .expect("an instruction set of this CPU");
    for _ in 0..repeat {
        let seconds = measure(&job, isa, paths, keep);
        println!(
            "{{\"isa\":\"{isa}\",\"paths\":{paths},\"seconds\":{seconds},\"ns_per_path\":{}}}",
            seconds * 1e9 / paths as f64
        );
    }
}

/// Seconds for `paths` paths on this thread, beyond the pilot's, which is made first and not measured.
fn measure(job: &Job, isa: Isa, paths: u64, keep: Keep) -> f64 {
    let profile = registry::find(&job.contract().op).expect("the profile was found once");
    let prepared = profile.decode(&job.contract().args.0).expect("the arguments were read once");
    let geometry = prepared.geometry();
    let mut shape = prepared.shape();
    let key = Key::from_bytes(&job.root_seed().0);
    if keep != Keep::All {
        shape.columns.iter_mut().for_each(|column| column.levels.clear());
    }
    if keep == Keep::Sums {
        shape.columns.iter_mut().for_each(|column| column.histogram = false);
    }
    if keep == Keep::Nothing {
        shape.columns.clear();
    }
    let mode = if keep == Keep::All {
        let mut pilot = LeafAccumulator::new(&shape, &Mode::Pilot);
        prepared.run(isa, &key, 0..geometry.pilot_paths.max(1), &mut pilot);
        let brackets = Brackets::from_pilot(&pilot.finish(), &shape);
        Mode::Bracketed(std::sync::Arc::new(brackets))
    } else {
        Mode::Plain
    };
    let start = Instant::now();
    let mut sum: Option<forgemesh_kernel::accumulator::Accumulator> = None;
    let mut first = geometry.pilot_paths;
    let end = first + paths;
    while first < end {
        let last = (first + geometry.leaf_paths).min(end);
        let mut leaf = LeafAccumulator::new(&shape, &mode);
        prepared.run(isa, &key, first..last, &mut leaf);
        let leaf = leaf.finish();
        match &mut sum {
            None => sum = Some(leaf),
            Some(sum) => sum.merge(&leaf).expect("leaves of one job merge"),
        }
        first = last;
    }
    let seconds = start.elapsed().as_secs_f64();
    assert_eq!(sum.map_or(0, |sum| sum.paths), paths, "every path was counted");
    seconds
}
