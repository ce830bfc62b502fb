//! `forgemesh status`: how the running node and its mesh stand.

use serde_json::Value;

use super::client::Client;
use super::error::CliError;
use super::span::span;
use super::{Common, count, hint, print_json};
use crate::core::EXPELLED;
use crate::real::control::request::Request;

/// Prints the status of the running node.
pub fn status(common: &Common) -> Result<(), CliError> {
    let value = Client::require(common)?.ask(&Request::Status {})?.value;
    if common.json {
        print_json(&value);
        return Ok(());
    }
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let row = |name: &str, value: String| hint::print_whole(&format!("{name:<10} {value}"));
    row("node", text(&value["node"]));
    row("mesh", format!("{} ({})", text(&value["mesh"]), text(&value["mesh_name"])));
    let leads = value["leads"].as_bool() == Some(true);
    let leader = text(&value["leader"]);
    let short = leader.get(..8).unwrap_or_default();
    row(
        "role",
        match (text(&value["role"]).as_str(), leads) {
            ("hub", true) => "hub member, leads".to_owned(),
            ("hub", false) if short.is_empty() => "hub member, nobody leads".to_owned(),
            ("hub", false) => format!("hub member, {short} leads"),
            _ if value["expelled"].as_bool() == Some(true) => format!("none: {EXPELLED}"),
            _ if short.is_empty() => "agent, its hub was not heard yet".to_owned(),
            _ => format!("agent of hub {short}, {}", heard(&value["heard_ms_ago"])),
        },
    );
    if let Some(organization) = value["organization"].as_str() {
        row("belongs to", organization.to_owned());
    }
    row(
        "running",
        format!(
            "for {}, process {}, version {}",
            span(value["up_ms"].as_u64().unwrap_or(0)),
            value["pid"],
            text(&value["version"])
        ),
    );
    row(
        "work",
        format!(
            "{}: {} of {}, {}; {} held, {} being executed, {} executed since the start",
            text(&value["mode"]),
            value["capacity"],
            count::told(&value["threads"], "thread"),
            text(&value["backend"]),
            count::told(&value["held"], "shard"),
            value["executing"],
            value["executed"]
        ),
    );
    row("books", count::told(&value["books"], "final job"));
    if value["disk_low"].as_bool() == Some(true) {
        row("disk", "too little room for new work: free some space".to_owned());
    }
    let settings = &value["settings"];
    if let Some(error) = settings["error"].as_str() {
        row(
            "settings",
            format!("{error}; the node runs with what it read at its start, and would not start again"),
        );
    } else if settings["changed"].as_bool() == Some(true) {
        row("settings", "config.toml was changed since the node was started, and is read at the start alone: `forgemesh down`, then `forgemesh up`".to_owned());
    }
    let hub = &value["hub"];
    if hub.is_object() {
        row(
            "hub",
            format!(
                "{}; term {}, {} log entries, {} in the ledger, {} open, {} of {} live",
                seats(value["seats"].as_u64().unwrap_or(0), hub),
                hub["term"],
                hub["log"],
                count::told(&hub["ledger"], "job"),
                hub["jobs"],
                hub["live_agents"],
                count::told(&hub["agents"], "agent")
            ),
        );
        if let Some(told) = evidence(hub) {
            row("evidence", told);
        }
    }
    let network = &value["network"];
    if network.is_object() {
        for address in network["listen"].as_array().into_iter().flatten() {
            row("listens", text(address));
        }
        for address in network["external"].as_array().into_iter().flatten() {
            row("reached", text(address));
        }
        for misled in network["misled"].as_array().into_iter().flatten() {
            let (address, node) = (text(&misled["address"]), text(&misled["node"]));
            let short = node.get(..8).unwrap_or_default();
            row("bootstrap", format!("at {address} another node answers, {short}: see `forgemesh doctor`"));
        }
        let reachable = match network["reachable"].as_bool() {
            Some(true) => "reachable",
            Some(false) => "not reachable from outside",
            None => "reachability unknown",
        };
        let peers = count::told(&network["peers"], "peer");
        let relayed = match network["relayed"].as_u64().unwrap_or(0) {
            0 => String::new(),
            relayed => format!(", {relayed} of them through a relay alone"),
        };
        row("network", format!("{peers} connected{relayed}, {reachable}"));
    } else {
        row("network", "none: the node is alone".to_owned());
    }
    Ok(())
}

/// How far a hub member has what its receipts stand on; nothing in a hub that was never of several.
fn evidence(hub: &Value) -> Option<String> {
    let (jobs, all) = (hub["evidence"]["jobs"].as_u64()?, hub["ledger"].as_u64()?);
    Some(match (jobs < all, hub["evidence"]["missing"].as_bool() == Some(true)) {
        (true, missing) => {
            let missing = if missing { ", and some was nowhere to be had" } else { "" };
            let all = count::of(all, "job");
            format!("{jobs} of {all} looked through for claims and accumulators that this member lacks{missing}")
        }
        (false, true) => {
            "claims or accumulators of some jobs were nowhere to be had, and are asked for again: start the members that are off".to_owned()
        }
        (false, false) => {
            format!("all of {} looked through, nothing is known to be missing", count::of(all, "job"))
        }
    })
}

/// How many sit, and how many of them may be lost: nobody is counted on whose vote the log does not count yet, or with whom
/// this node is not connected.
fn seats(seats: u64, hub: &Value) -> String {
    let away = hub["away"].as_u64().filter(|away| *away > 0);
    match (seats, hub["voting"].as_u64(), hub["spare"].as_u64()) {
        (1, ..) => "1 seat".to_owned(),
        (_, Some(voting), Some(0)) if voting < seats => {
            format!("{seats} seats, {} of them without a vote yet: none may be lost", seats - voting)
        }
        (_, _, Some(spare)) => {
            let which = match (spare, away) {
                (0, _) => "none".to_owned(),
                (_, None) => format!("any {spare}"),
                (_, Some(_)) => format!("any {spare} of the others"),
            };
            let away = away.map_or(String::new(), |away| format!(" {away} of them away:"));
            format!("{seats} seats,{away} {which} may be lost")
        }
        (_, _, None) => format!("{seats} seats"),
    }
}

fn heard(ago_ms: &Value) -> String {
    match ago_ms.as_u64() {
        Some(ms) => format!("heard {} s ago", ms / 1_000),
        None => "not heard yet".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn evidence_is_told_of_where_there_are_several() {
        for (evidence, told) in [
            (Value::Null, None),
            (json!({ "jobs": 3, "missing": false }), Some("3 of 7 jobs looked through")),
            (json!({ "jobs": 3, "missing": true }), Some("3 of 7 jobs looked through")),
            (
                json!({ "jobs": 7, "missing": true }),
                Some("claims or accumulators of some jobs were nowhere to be had"),
            ),
            (json!({ "jobs": 7, "missing": false }), Some("all of 7 jobs looked through")),
        ] {
            let found = super::evidence(&json!({ "ledger": 7, "evidence": evidence }));
            assert_eq!(found.is_some(), told.is_some());
            assert!(
                told.is_none_or(|told| found.as_ref().is_some_and(|found| found.starts_with(told))),
                "{found:?}"
            );
        }
    }

    #[test]
    fn a_seat_whose_vote_does_not_count_is_not_called_a_safety() {
        for (count, voting, away, spare, text) in [
            (1, json!(1), 0, json!(0), "1 seat"),
            (2, json!(2), 0, json!(0), "2 seats, none may be lost"),
            (3, json!(1), 0, json!(0), "3 seats, 2 of them without a vote yet: none may be lost"),
            (3, json!(3), 0, json!(1), "3 seats, any 1 may be lost"),
            (3, json!(3), 1, json!(0), "3 seats, 1 of them away: none may be lost"),
            (5, json!(3), 0, json!(1), "5 seats, any 1 may be lost"),
            (5, json!(5), 1, json!(1), "5 seats, 1 of them away: any 1 of the others may be lost"),
            (5, json!(5), 2, json!(0), "5 seats, 2 of them away: none may be lost"),
            (3, Value::Null, 1, Value::Null, "3 seats"),
        ] {
            assert_eq!(seats(count, &json!({ "voting": voting, "away": away, "spare": spare })), text);
        }
    }
}
