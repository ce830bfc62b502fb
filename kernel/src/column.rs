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
