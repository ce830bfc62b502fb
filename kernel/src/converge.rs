//! Whether a job has converged: its criteria, what it sees when it looks, and the decision.
//!
//! The specification is `convergence.v1.md` beside this file. A decision is a pure function of exact sums; nothing here
//! may know who computed them, in which order, or how long it took.

use forgemesh_protocol::canon::F64;
use forgemesh_protocol::contract::{Convergence, Coverage, StopReason};
use forgemesh_protocol::limits;
use forgemesh_protocol::problem::{ProblemCode, Problems};
use forgemesh_protocol::schema::{Field, Kind, Need, Schema};
use serde::{Deserialize, Serialize};

use crate::bracket::BILLION;
use crate::moments::Moments;
use crate::num::normal::inverse_cdf;
use crate::scale::{LARGEST_MAGNITUDE, Scale};
use crate::summary::{mean, parts_per_billion, spread};

/// The frozen rules.
pub const SPEC: &str = include_str!("convergence.v1.md");

/// When a job may stop: the argument `convergence`, canonical.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Criteria {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    relative_half_width: Option<F64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    absolute_half_width: Option<F64>,
    confidence: F64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    variance_window: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    variance_tolerance: Option<F64>,
    min_iterations: u64,
}

const SHARE: Kind = Kind::Float { min: 0.0, max: 1.0, above: true };

static SCHEMA: Schema = Schema {
    doc: "When to stop before the budget is used up: as soon as every criterion that is given holds at one look.",
    fields: &[
        Field::new(
            "relative_half_width",
            "Half the width of the confidence interval of the mean, as a share of the mean.",
            SHARE,
            Need::Optional,
        ),
        Field::new(
            "absolute_half_width",
            "The same, in the unit of the output.",
            Kind::Float { min: 0.0, max: LARGEST_MAGNITUDE, above: true },
            Need::Optional,
        ),
        Field::new(
            "confidence",
            "Of the two-sided interval; a multiple of 1e-9. Nominal, since the job looks repeatedly.",
            Kind::Float { min: 0.0, max: 0.999_999_999, above: true },
            Need::Default("0.95"),
        ),
        Field::new(
            "variance_window",
            "Looks over which the variance must be steady; with variance_tolerance.",
            Kind::Int { min: 2, max: limits::VARIANCE_LOOKS },
            Need::Optional,
        ),
        Field::new(
            "variance_tolerance",
            "How far the variances of the window may lie apart, as a share of the last.",
            SHARE,
            Need::Optional,
        ),
        Field::new(
            "min_iterations",
            "No look before this many; nor before the first checkpoint, eight leaves.",
            Kind::Int { min: 0, max: limits::JOB_PATHS },
            Need::Default("0"),
        ),
    ],
};

/// The argument, as every profile that has it declares it.
pub const FIELD: Field = Field::new(
    "convergence",
    "When to stop early; absent: not at all.",
    Kind::Object(&SCHEMA),
    Need::Optional,
);

/// What a job sees of its first column when it looks.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Look {
    pub mean: f64,
    pub variance: f64,
    pub std_error: f64,
}

impl Look {
    /// At the sums of all paths so far.
    pub fn at(moments: &Moments, scale: Scale) -> Look {
        let spread = spread(moments, scale);
        Look {
            mean: mean(moments.sum, moments.n, scale),
            variance: spread.variance,
            std_error: spread.std_error,
        }
    }
}

impl Criteria {
    /// Checks what no single field can, for a job with this budget. `path` is that of the object.
    pub fn check(&self, budget: u64, path: &str) -> Result<(), Problems> {
        let mut problems = Problems::default();
        let at = |field: &str| format!("{path}.{field}");
        if self.relative_half_width.is_none()
            && self.absolute_half_width.is_none()
            && self.variance_window.is_none()
            && self.variance_tolerance.is_none()
        {
            let cure = "add \"relative_half_width\", \"absolute_half_width\", or \"variance_window\" with \
                        \"variance_tolerance\"; without a criterion leave \"convergence\" out";
            problems.add(ProblemCode::MissingField, path, "no criterion is given", cure);
        }
        let pair = [
            ("variance_window", self.variance_window.is_some(), "add the number of looks, at least 2"),
            ("variance_tolerance", self.variance_tolerance.is_some(), "add a share, for example 0.05"),
        ];
        if pair[0].1 != pair[1].1 {
            for (field, _, cure) in pair.iter().filter(|(_, given, _)| !given) {
                problems.add(
                    ProblemCode::MissingField,
                    at(field),
                    "required by the other one, but absent",
                    *cure,
                );
            }
        }
        if parts_per_billion(self.confidence.get()).is_none() {
            let message = format!("found {}", self.confidence.get());
            let cure = "expected a multiple of 1e-9 between 0 and 1";
            problems.add(ProblemCode::OutOfRange, at("confidence"), message, cure);
        }
        if self.min_iterations > budget {
            let message = format!("{} is more than the {budget} iterations of the job", self.min_iterations);
            let cure = "lower it, or raise the iterations";
            problems.add(ProblemCode::Inconsistent, at("min_iterations"), message, cure);
        }
        problems.into_result(())
    }

    /// Of the two-sided interval.
    pub fn confidence(&self) -> F64 {
        self.confidence
    }

    /// No look is taken before so many paths.
    pub fn min_iterations(&self) -> u64 {
        self.min_iterations
    }

    /// Half the width of the confidence interval of the mean.
    pub fn half_width(&self, look: &Look) -> f64 {
        let ppb = parts_per_billion(self.confidence.get()).expect("invariant: checked when it was read");
        // Both are exact, so this is one rounding.
        let p = (BILLION + ppb) as f64 / (2 * BILLION) as f64;
        inverse_cdf(p) * look.std_error
    }

    /// Whether the job has converged at the last of these looks.
    pub fn hold(&self, looks: &[Look]) -> bool {
        // Without spread nothing is known of the width.
        let Some(look) = looks.last().filter(|look| look.variance > 0.0) else { return false };
        self.is_narrow(self.half_width(look), look.mean) && self.is_steady(looks)
    }

    /// Whether an interval of this half-width about this mean is as narrow as was asked for.
    pub fn is_narrow(&self, half_width: f64, mean: f64) -> bool {
        let absolute = self.absolute_half_width.is_none_or(|most| half_width <= most.get());
        absolute && self.relative_half_width.is_none_or(|most| half_width <= most.get() * mean.abs())
    }

    fn is_steady(&self, looks: &[Look]) -> bool {
        let (Some(window), Some(tolerance)) = (self.variance_window, self.variance_tolerance) else {
            return true;
        };
        let Some(last) = looks.len().checked_sub(window as usize).map(|first| &looks[first..]) else {
            return false;
        };
        let (mut smallest, mut largest, mut newest) = (f64::INFINITY, 0.0, 0.0);
        for Look { variance, .. } in last.iter().copied() {
            smallest = if variance < smallest { variance } else { smallest };
            largest = if variance > largest { variance } else { largest };
            newest = variance;
        }
        largest - smallest <= tolerance.get() * newest
    }

    /// What the result says of it, at the stop.
    pub fn record(&self, looks: &[Look]) -> Convergence {
        Convergence {
            reason: if self.hold(looks) { StopReason::Converged } else { StopReason::Budget },
            looks: looks.len() as u64,
            confidence: self.confidence,
            half_width: F64::new(looks.last().map_or(0.0, |look| self.half_width(look)))
                .expect("invariant: statistics of bounded integers are finite"),
            coverage: Coverage::Nominal,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn f64_of(value: f64) -> Option<F64> {
        Some(F64::new(value).unwrap())
    }

    fn none() -> Criteria {
        Criteria {
            relative_half_width: None,
            absolute_half_width: None,
            confidence: F64::new(0.95).unwrap(),
            variance_window: None,
            variance_tolerance: None,
            min_iterations: 0,
        }
    }

    fn look(mean: f64, variance: f64, std_error: f64) -> Look {
        Look { mean, variance, std_error }
    }

    /// The double nearest Φ⁻¹(0.975) = 1.95996398454005423…
    const Z: f64 = 1.959_963_984_540_054;

    #[test]
    fn the_half_width_is_that_of_the_normal_distribution() {
        let at = |confidence: f64| {
            let criteria = Criteria { confidence: F64::new(confidence).unwrap(), ..none() };
            criteria.half_width(&look(0.0, 1.0, 1.0))
        };
        // Quantiles to 16 digits: Φ⁻¹ of 0.75, 0.95, 0.975, 0.995, 0.9999999995.
        for (confidence, z) in [
            (0.5, 0.674_489_750_196_081_7),
            (0.9, 1.644_853_626_951_472_7),
            (0.95, Z),
            (0.99, 2.575_829_303_548_900_4),
            (0.999_999_999, 6.109_410_204_870_5),
        ] {
            assert!((at(confidence) / z - 1.0).abs() < 1e-8, "{confidence}: {}", at(confidence));
        }
        assert!((at(0.95) / Z - 1.0).abs() < 1e-15);
    }

    #[test]
    fn a_width_that_is_met_exactly_is_met_and_one_step_beyond_it_is_not() {
        for std_error in [1.0, 0.1, 12_345.678_9, 1e-9] {
            let here = look(-3.0, 1.0, std_error);
            let half = none().half_width(&here);
            let absolute = |most| Criteria { absolute_half_width: f64_of(most), ..none() };
            assert!(absolute(half).hold(&[here]));
            assert!(!absolute(half.next_down()).hold(&[here]));
            // A mean of a power of two: the product is exact.
            let relative = |most| Criteria { relative_half_width: f64_of(most), ..none() };
            for mean in [4.0, -4.0] {
                let here = look(mean, 1.0, std_error);
                assert!(relative(half / 4.0).hold(&[here]));
                assert!(!relative((half / 4.0).next_down()).hold(&[here]));
            }
            assert!(!relative(1.0).hold(&[look(0.0, 1.0, std_error)]), "no share of a mean of zero");
        }
    }

    #[test]
    fn the_variances_of_the_window_may_lie_exactly_the_tolerance_apart() {
        let steady = |window, tolerance| Criteria {
            variance_window: Some(window),
            variance_tolerance: f64_of(tolerance),
            ..none()
        };
        let looks: Vec<Look> = [900.0, 110.0, 96.0, 100.0].into_iter().map(|v| look(1.0, v, 1.0)).collect();
        assert!(steady(2, 0.04).hold(&looks));
        assert!(!steady(2, 0.04_f64.next_down()).hold(&looks));
        assert!(steady(3, 0.14).hold(&looks), "the largest and the smallest need not be the last");
        assert!(!steady(3, 0.14_f64.next_down()).hold(&looks));
        assert!(!steady(4, 1.0).hold(&looks), "900 is within the window");
        assert!(!steady(5, 1.0).hold(&looks), "five looks were not taken");
        assert!(steady(2, 1.0).hold(&[look(0.0, 5.0, 1.0); 2]), "the mean is nobody's business");
    }

    #[test]
    fn every_criterion_that_is_given_must_hold() {
        let looks = [look(10.0, 4.0, 0.1), look(10.0, 5.0, 0.1)];
        let all = Criteria {
            absolute_half_width: f64_of(0.2),
            relative_half_width: f64_of(0.02),
            variance_window: Some(2),
            variance_tolerance: f64_of(0.2),
            ..none()
        };
        assert!(all.hold(&looks));
        assert!(!Criteria { absolute_half_width: f64_of(0.19), ..all.clone() }.hold(&looks));
        assert!(!Criteria { relative_half_width: f64_of(0.019), ..all.clone() }.hold(&looks));
        assert!(!Criteria { variance_tolerance: f64_of(0.19), ..all.clone() }.hold(&looks));
        assert!(!Criteria { variance_window: Some(3), ..all }.hold(&looks));
    }

    #[test]
    fn without_spread_or_without_a_look_nothing_has_converged() {
        let wide = Criteria { absolute_half_width: f64_of(1e15), ..none() };
        assert!(!wide.hold(&[]));
        assert!(!wide.hold(&[look(5.0, 0.0, 0.0)]));
        assert!(wide.hold(&[look(5.0, 5e-324, 0.0)]));
    }
}
