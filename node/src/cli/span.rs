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

#[cfg(test)]
mod tests {
    use super::span;

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
