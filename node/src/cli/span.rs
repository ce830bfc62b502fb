//! Spans of time for people: one number and its unit.

/// A span as people say it: the largest unit of which there are two, so that it is not far from what it was.
pub fn span(ms: u64) -> String {
    let seconds = ms / 1_000;
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        7_200..172_800 => format!("{} h", seconds / 3_600),
        _ => format!("{} days", seconds / 86_400),
    }
}

/// The same of a span that is still to come, to the nearest: of a day that has just begun a day is left.
pub fn left(ms: u64) -> String {
    let seconds = ms.div_ceil(1_000);
    let half = match seconds {
        0..120 => 0,
        120..7_200 => 30,
        7_200..172_800 => 1_800,
        _ => 43_200,
    };
    span((seconds + half).saturating_mul(1_000))
}

#[cfg(test)]
mod tests {
    use super::{left, span};

    #[test]
    fn what_is_left_of_a_span_is_said_to_the_nearest() {
        for (ms, text) in [
            (0, "0 s"),
            (1, "1 s"),
            (5_399_000, "90 min"),
            (86_399_900, "24 h"),
            (84_600_000, "24 h"),
            (84_599_000, "23 h"),
            (2_591_999_000, "30 days"),
            (u64::MAX, "213503982334 days"),
        ] {
            assert_eq!(left(ms), text, "{ms}");
        }
    }

    #[test]
    fn a_span_has_the_largest_unit_of_which_there_are_two() {
        for (seconds, text) in [
            (0, "0 s"),
            (119, "119 s"),
            (120, "2 min"),
            (7_199, "119 min"),
            (86_400, "24 h"),
            (172_800, "2 days"),
        ] {
            assert_eq!(span(seconds * 1_000 + 999), text);
        }
    }
}
