//! One quantity of a job's paths: its moments, its histogram, its order statistics.

use crate::histogram::Histogram;
use crate::moments::Moments;
use crate::order::Order;

/// Statistics of a column over the valid paths.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    pub moments: Moments,
    /// Absent if the profile asks for none.
    pub histogram: Option<Histogram>,
    pub order: Order,
}

impl Column {
    /// Bytes it takes in memory, about.
    pub fn size(&self) -> usize {
        let kept = match &self.order {
            Order::None => 0,
            Order::Pilot(values) => values.len(),
            Order::Bracketed(levels) => levels.iter().map(|level| level.inside.len() + 16).sum(),
        };
        8 * kept + 48 * self.histogram.as_ref().map_or(0, Histogram::len) + 256
    }
}
