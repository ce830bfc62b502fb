//! Names that are nearly what was written, for whoever has mistyped one.

use forgemesh_kernel::registry::{self, PROFILES};

use crate::config::Config;

/// Longer texts are no mistyped names.
const LONGEST: usize = 64;
/// So many letters may be wrong.
const WRONG: usize = 3;

/// Operations that are nearly called so, the nearest first.
pub fn ops(text: &str) -> Vec<String> {
    let mut found: Vec<(usize, String)> = Vec::new();
    for name in PROFILES.iter().map(|profile| profile.op().to_string()) {
        let distance = if text.len() >= WRONG && name.contains(text) { 0 } else { distance(text, &name) };
        if distance <= WRONG {
            found.push((distance, name));
        }
    }
    found.sort();
    found.into_iter().map(|(_, name)| name).collect()
}

/// What the settings say of operations that this version does not know; none if there is nothing of the kind.
pub fn foreign_ops(config: &Config) -> Option<String> {
    let foreign = config.ops.iter().filter(|op| registry::require(op).is_err());
    let named = foreign.map(|op| match ops(&op.to_string()).first() {
        Some(near) => format!("{op} (is {near} meant?)"),
        None => op.to_string(),
    });
    let named: Vec<String> = named.collect();
    let left = config.ops.len() - named.len();
    let all = if left == 0 { ", and nothing else: it executes no shard" } else { "" };
    let text = "ops in config.toml names what this version does not execute";
    (!named.is_empty()).then(|| format!("{text}: {}{all}", named.join(", ")))
}

/// How many letters have to be changed, put in or left out to make one text the other.
fn distance(one: &str, other: &str) -> usize {
    let (one, other): (Vec<char>, Vec<char>) = (one.chars().collect(), other.chars().collect());
    if one.len().max(other.len()) > LONGEST {
        return usize::MAX;
    }
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (i, a) in one.iter().enumerate() {
        let mut above_left = std::mem::replace(&mut row[0], i + 1);
        for (j, b) in other.iter().enumerate() {
            let changed = above_left + usize::from(a != b);
            above_left = row[j + 1];
            row[j + 1] = changed.min(above_left + 1).min(row[j] + 1);
        }
    }
    row[other.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_comes_first_and_a_far_one_not_at_all() {
        for (a, b, apart) in [("", "", 0), ("abc", "", 3), ("kitten", "sitting", 3), ("ab", "ba", 2)] {
            assert_eq!(distance(a, b), apart, "{a} {b}");
        }
        assert_eq!(ops("mc@1/reserv.v1"), ["mc@1/reserve.v1"]);
        assert_eq!(ops("insurance"), ["mc@1/insurance.v1"]);
        assert!(
            ops("mc@9/later.v9").is_empty() && ops("").is_empty() && ops(&"m".repeat(1 << 20)).is_empty()
        );
    }

    #[test]
    fn operations_that_are_not_known_are_named_with_what_may_be_meant() {
        let of = |ops: &[&str]| {
            let ops = ops.iter().map(|op| op.parse().expect("an op")).collect();
            foreign_ops(&Config { ops, ..Config::default() })
        };
        assert_eq!(of(&[]), None);
        assert_eq!(of(&["mc@1/reserve.v1"]), None);
        let text = of(&["mc@1/reserve.v1", "mc@1/reserve.v2"]).expect("one is foreign");
        assert!(text.ends_with(": mc@1/reserve.v2 (is mc@1/reserve.v1 meant?)"), "{text}");
        let text = of(&["mc@9/later.v9"]).expect("it is foreign");
        assert!(text.ends_with(": mc@9/later.v9, and nothing else: it executes no shard"), "{text}");
    }
}
