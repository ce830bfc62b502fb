//! Where a job that may stop early came to its end: in words, and whether that can be.

use forgemesh_kernel::job::Job;
use forgemesh_protocol::contract::{Convergence, StopReason, Work};
use forgemesh_protocol::plan::Plan;

/// What is wrong with the end that a result with this mean states; none if it can be that of this contract.
pub fn contradiction(
    job: &Job,
    work: &Work,
    convergence: Option<&Convergence>,
    mean: Option<f64>,
) -> Option<&'static str> {
    let plan = job.plan();
    let (Some(criteria), Some(found)) = (job.criteria(), convergence) else {
        let same = job.criteria().is_some() == convergence.is_some();
        return (!same).then_some("a result says how it converged exactly if its contract asks for that");
    };
    if !plan.is_stop(work.leaves) || work.iterations != plan.paths_before(work.leaves) {
        return Some("the job does not look where it is said to have ended");
    }
    if found.looks != plan.looks().take_while(|end| *end <= work.leaves).count() as u64 {
        return Some("there are not so many looks before that end");
    }
    if found.reason == StopReason::Budget && work.leaves != plan.leaves() {
        return Some("the budget was not used up");
    }
    let narrow = mean.is_some_and(|mean| criteria.is_narrow(found.half_width.get(), mean));
    if found.reason == StopReason::Converged && !narrow {
        return Some("the interval is wider than the contract asks for");
    }
    if found.confidence != criteria.confidence() {
        return Some("the contract asks for another confidence");
    }
    None
}

/// How the job ended, for people; none if it ran to its end and its contract knows no other.
pub fn describe(plan: &Plan, work: &Work, convergence: Option<&Convergence>) -> Option<String> {
    plan.first_look?;
    let looks = plan.looks().take_while(|end| *end <= work.leaves).count();
    let looks = if looks == 1 { "1 look".to_owned() } else { format!("{looks} looks") };
    let (done, budget) = (count(work.iterations), count(plan.paths));
    let Some(found) = convergence else {
        let stopped = work.iterations < plan.paths;
        return stopped.then(|| format!("stopped early after {looks}, {done} of {budget} iterations"));
    };
    let width = format!(
        "nominal {} % half-width {}",
        decimal(found.confidence.get() * 100.0),
        decimal(found.half_width.get())
    );
    Some(match found.reason {
        StopReason::Converged if work.iterations < plan.paths => {
            format!("stopped early: converged after {looks}, {done} of {budget} iterations ({width})")
        }
        StopReason::Converged => {
            format!("converged at the last of {looks}, with all {budget} iterations ({width})")
        }
        StopReason::Budget => format!("not converged: {looks}, all {budget} iterations ({width})"),
    })
}

/// Six significant figures: enough to read.
fn decimal(value: f64) -> String {
    let shown: f64 = format!("{value:.5e}").parse().unwrap_or(value);
    shown.to_string()
}

/// A count with its thousands set apart.
pub fn count(value: u64) -> String {
    let digits = value.to_string();
    let mut grouped = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}
