//! The parts that outputs have in common.

use forgemesh_protocol::canon::F64;
use serde::{Deserialize, Serialize};

use crate::column::Column;
use crate::histogram;
use crate::scale::Scale;

/// An order statistic: the smallest value that at least `level` of all paths do not exceed (inverse of the empirical
/// distribution, type 1 of Hyndman & Fan 1996). Exact, not interpolated.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Percentile {
    pub level: F64,
    pub value: F64,
}

/// A class of the distribution: `lower ≤ value < upper`, or one single value where both are equal.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bin {
    pub lower: F64,
    pub upper: F64,
    pub count: u64,
    /// Mean of the values in the class, to the nearest double of the exact sum over the count.
    pub mean: F64,
}

/// A finite number; outputs have no other.
pub fn number(value: f64) -> F64 {
    F64::new(value).expect("invariant: statistics of bounded integers are finite")
}

/// The non-empty classes of a column, ascending.
pub fn distribution(column: &Column, scale: Scale) -> Vec<Bin> {
    let Some(histogram) = &column.histogram else { return Vec::new() };
    let class = |(bin, count, sum): (i16, u64, i128)| {
        let (lower, end) = histogram::bounds(bin);
        // A class of one integer is a point; a wider one ends where the next begins.
        let upper = if end - lower == 1 { lower } else { end };
        let mean = crate::summary::mean(sum, count, scale);
        Bin {
            lower: number(scale.value(lower)),
            upper: number(scale.value(upper)),
            count,
            mean: number(mean),
        }
    };
    histogram.iter().map(class).collect()
}
