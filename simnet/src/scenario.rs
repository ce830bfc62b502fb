//! What is to happen in one simulation: how many machines, which jobs when, which faults when, who lies. All of it
//! follows from the seed, and all of it is a list that can be shortened.

use forgemesh_kernel::job::Job;
use forgemesh_protocol::limits;

use crate::adversary::Misdeed;
use crate::disk::Unsynced;
use crate::draws::Draws;
use crate::faults::{CLASSES, Fault, Field, What};
use crate::planted::Bug;
use crate::workload::{self, Arrival};

/// One simulation, before it runs.
#[derive(Clone, Debug)]
pub struct Scenario {
    pub seed: u64,
    /// How long clients ask and faults strike, in virtual milliseconds; then the world is healed.
    pub span_ms: u64,
    pub machines: usize,
    /// The first of them are the hub's members.
    pub hubs: usize,
    /// So many after them stand for the hub, and are admitted to it at that time.
    pub standbys: usize,
    pub admitted_ms: u64,
    /// In the order of their times.
    pub jobs: Vec<Arrival>,
    pub faults: Vec<Fault>,
    /// Machines whose agents do wrong, and what.
    pub liars: Vec<(usize, Misdeed)>,
    /// A deliberate bug of the hub's machines.
    pub bug: Option<Bug>,
}

/// What a caller fixes of a scenario; the seed decides the rest.
#[derive(Clone, Debug, Default)]
pub struct Wish {
    pub machines: Option<usize>,
    /// Members of the hub.
    pub hubs: Option<usize>,
    pub span_ms: Option<u64>,
    pub jobs: Option<u64>,
    /// Names of the classes of fault; none means that the seed decides.
    pub classes: Option<Vec<String>>,
    pub bug: Option<Bug>,
}

/// The classes of fault that a seed has if nobody says otherwise.
fn classes(seed: u64) -> Vec<String> {
    let on = CLASSES.iter().filter(|(_, name, _)| drawing(seed, name).1);
    on.map(|(_, name, _)| (*name).to_owned()).collect()
}

/// What draws the faults of a class, and whether the seed has it.
fn drawing(seed: u64, name: &str) -> (Draws, bool) {
    let mut draws = Draws::new(seed, name);
    let on = draws.between(0, 1) == 0;
    (draws, on)
}

/// How long a world runs if nobody says otherwise.
const SPAN_MS: u64 = 120_000;

impl Scenario {
    /// What the seed makes of a wish.
    pub fn random(seed: u64, wish: &Wish) -> Scenario {
        let mut draws = Draws::new(seed, "scenario");
        let drawn = draws.between(4, 12) as usize;
        let machines = wish.machines.unwrap_or(drawn.max(wish.hubs.unwrap_or(1)));
        let hubs = hubs(seed, machines, wish);
        let (standbys, admitted_ms) = standbys(seed, machines - hubs, wish.bug);
        let span_ms = wish.span_ms.unwrap_or(SPAN_MS);
        let some = draws.between(2, 6);
        let jobs = wish.jobs.unwrap_or_else(|| some.max(some * (span_ms / (2 * SPAN_MS)).min(50)));
        let jobs = workload::draw(&mut Draws::new(seed, "jobs"), jobs, span_ms, machines as u64);
        let field =
            Field { machines, span_ms, hubs, standbys, arrivals: jobs.iter().map(|job| job.at_ms).collect() };
        let mut faults = Vec::new();
        let own = classes(seed);
        for (_, name, draw) in CLASSES {
            let mut draws = drawing(seed, name).0;
            if wish.classes.as_ref().unwrap_or(&own).iter().any(|class| class == name) {
                faults.extend(draw(&field, &mut draws));
            }
        }
        // Whoever may sit has to keep its log.
        let may_sit = hubs..hubs + standbys;
        faults.retain(|fault| !matches!(fault.what, What::Rot { machine, .. } if may_sit.contains(&machine)));
        faults.sort_by_key(|fault| fault.at_ms);
        let liars = liars(seed, machines, hubs + standbys, wish.bug);
        let bug = wish.bug;
        let mut scenario =
            Scenario { seed, span_ms, machines, hubs, standbys, admitted_ms, jobs, faults, liars, bug };
        scenario.provoke();
        scenario
    }

    /// What a planted bug needs to do harm.
    fn provoke(&mut self) {
        match self.bug {
            Some(Bug::BoastfulExecutor) => self.jobs.insert(0, workload::many_shards()),
            // Agents look a minute after their start.
            Some(Bug::HastyAgent) => {
                self.jobs.push(Arrival { at_ms: limits::SCRUB_MS - 1_500, ..workload::many_shards() });
                self.jobs.sort_by_key(|job| job.at_ms);
            }
            // It dies soon after it has said what it attests.
            Some(Bug::ForgottenLink) => {
                let times = self.jobs.iter().flat_map(|job| (1..8).map(|n| job.at_ms + n * 700));
                let dies = |(machine, at_ms): (usize, u64)| {
                    let what = What::MidSend { machine, letters: at_ms % 61, way: Unsynced::Kept };
                    Fault { at_ms, for_ms: 0, what }
                };
                let more: Vec<Fault> = (0..self.hubs).cycle().zip(times).map(dies).collect();
                self.faults.extend(more);
                self.faults.sort_by_key(|fault| fault.at_ms);
            }
            // A torn image of a disk that never synced is damaged, which every node notices; a whole old one is not.
            Some(Bug::LyingDisk) => {
                self.faults.retain(|fault| !matches!(fault.what, What::DiskError { .. }));
                self.faults.iter_mut().for_each(|fault| match &mut fault.what {
                    What::Off { way, .. }
                    | What::Fuse { way, .. }
                    | What::MidSend { way, .. }
                    | What::MidWrite { way, .. } => {
                        *way = Unsynced::Lost;
                    }
                    _ => {}
                });
            }
            _ => {}
        }
    }

    /// The same with these faults and jobs alone, by their numbers.
    pub fn only(&self, faults: Option<&[usize]>, jobs: Option<&[usize]>) -> Scenario {
        let mut scenario = self.clone();
        if let Some(kept) = faults {
            scenario.faults = kept.iter().filter_map(|&n| self.faults.get(n).cloned()).collect();
        }
        if let Some(kept) = jobs {
            scenario.jobs = kept.iter().filter_map(|&n| self.jobs.get(n).cloned()).collect();
        }
        scenario
    }

    /// When the world is healed: when the last fault has ended and the last client has asked.
    pub fn heal_ms(&self) -> u64 {
        let faults = self.faults.iter().map(|fault| fault.at_ms + fault.for_ms);
        let jobs = self.jobs.iter().map(|job| job.at_ms);
        faults.chain(jobs).chain([self.span_ms]).max().unwrap_or(self.span_ms)
    }

    /// The canonical envelopes of its jobs.
    pub fn envelopes(&self) -> Result<Vec<Vec<u8>>, forgemesh_protocol::problem::Problems> {
        let read = |arrival: &Arrival| {
            let (job, terms) = Job::read(arrival.envelope.as_bytes())?;
            Ok(job.envelope(&terms))
        };
        self.jobs.iter().map(read).collect()
    }
}

/// One member, three or five: as wished, or in two, two and one of five worlds; an odd number in any case that the
/// machines allow, and more than one where a bug is one of the quorum.
fn hubs(seed: u64, machines: usize, wish: &Wish) -> usize {
    let drawn = match Draws::new(seed, "hubs").between(0, 4) {
        0 | 1 => 1,
        2 | 3 => 3,
        _ => 5,
    };
    let least = if wish.bug.is_some_and(Bug::needs_quorum) { 3 } else { 1 };
    let most = machines.max(1) - usize::from(machines.max(1).is_multiple_of(2));
    wish.hubs.unwrap_or(drawn.max(least)).clamp(1, most)
}

/// In one world of three, one or two of the agents stand for the hub; and when they are admitted.
fn standbys(seed: u64, agents: usize, bug: Option<Bug>) -> (usize, u64) {
    let mut draws = Draws::new(seed, "standbys");
    let (some, count, at_ms) = (draws.between(0, 2) == 0, draws.between(1, 2), draws.between(0, 40_000));
    let count = if some && bug.is_none() { agents.saturating_sub(1).min(count as usize) } else { 0 };
    (count, at_ms)
}

/// One world in eight has an agent that lies; so has the one whose checker is blind.
fn liars(seed: u64, machines: usize, honest: usize, bug: Option<Bug>) -> Vec<(usize, Misdeed)> {
    let mut draws = Draws::new(seed, "liars");
    let misdeed = Misdeed::ALL[draws.between(0, Misdeed::ALL.len() as u64 - 1) as usize];
    let lies = draws.between(0, 7) == 0;
    // A member of the hub that lies would be no agent's misdeed alone.
    let agents = honest..machines;
    match bug {
        Some(Bug::BlindChecker) => (0..machines).map(|machine| (machine, Misdeed::OtherSeed)).collect(),
        Some(_) => Vec::new(),
        None if lies && !agents.is_empty() => {
            vec![(draws.between(agents.start as u64, agents.end as u64 - 1) as usize, misdeed)]
        }
        None => Vec::new(),
    }
}
