//! Shortens a failing scenario: drops faults and jobs as long as it still fails in the same way, by delta debugging
//! (Zeller and Hildebrandt 2002).

use crate::limits;
use crate::scenario::Scenario;

/// What of a failing scenario is needed to make it fail, by the numbers of its faults and of its jobs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shortened {
    pub faults: Vec<usize>,
    pub jobs: Vec<usize>,
    /// Simulations that it took.
    pub runs: usize,
}

impl Shortened {
    /// All of a scenario.
    pub fn whole(scenario: &Scenario) -> Shortened {
        let (faults, jobs) = ((0..scenario.faults.len()).collect(), (0..scenario.jobs.len()).collect());
        Shortened { faults, jobs, runs: 0 }
    }
}

/// The shortest lists found within the bound on runs; the scenario must have failed as `kind`. `run` says how one fails, if
/// it does.
pub fn shorten(
    scenario: &Scenario,
    kind: &str,
    mut run: impl FnMut(&Scenario) -> Option<String>,
) -> Shortened {
    let mut runs = 0;
    let mut fails = |faults: &[usize], jobs: &[usize]| {
        runs += 1;
        runs <= limits::SHORTENING_RUNS
            && run(&scenario.only(Some(faults), Some(jobs))).is_some_and(|broken| broken == kind)
    };
    let Shortened { mut faults, mut jobs, .. } = Shortened::whole(scenario);
    // With fewer jobs, fewer faults may do.
    loop {
        let before = (faults.len(), jobs.len());
        faults = reduce(faults, |kept| fails(kept, &jobs));
        jobs = reduce(jobs, |kept| fails(&faults, kept));
        if (faults.len(), jobs.len()) == before {
            break;
        }
    }
    Shortened { faults, jobs, runs: runs.min(limits::SHORTENING_RUNS) }
}

/// Drops parts, at first large ones, of what still fails.
fn reduce(mut kept: Vec<usize>, mut fails: impl FnMut(&[usize]) -> bool) -> Vec<usize> {
    let mut part = kept.len();
    while part > 0 {
        let (mut at, mut dropped) = (0, false);
        while at < kept.len() {
            let end = (at + part).min(kept.len());
            let rest = [&kept[..at], &kept[end..]].concat();
            if fails(&rest) {
                (kept, dropped) = (rest, true);
            } else {
                at = end;
            }
        }
        if part > 1 {
            part = part.div_ceil(2);
        } else if !dropped {
            break;
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::reduce;

    #[test]
    fn what_is_needed_remains_and_nothing_else() {
        let mut runs = 0;
        let kept = reduce((0..100).collect(), |kept| {
            runs += 1;
            kept.contains(&17) && kept.contains(&18) && kept.contains(&90)
        });
        assert_eq!(kept, [17, 18, 90]);
        assert!(runs < 120, "{runs} runs");
        assert_eq!(reduce(vec![1, 2, 3], |_| true), [0; 0]);
        assert_eq!(reduce(vec![1, 2], |kept| kept.len() == 2), [1, 2]);
    }
}
