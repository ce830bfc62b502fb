//! So many of something, in words.

/// "1 job", "2 jobs".
pub fn of(count: u64, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

/// The same of a number in an answer; none of anything if it is no number.
pub fn told(count: &serde_json::Value, noun: &str) -> String {
    of(count.as_u64().unwrap_or(0), noun)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn one_is_not_several() {
        assert_eq!([of(0, "job"), of(1, "job"), told(&json!(2), "shard")], ["0 jobs", "1 job", "2 shards"]);
    }
}
