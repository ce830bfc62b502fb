//! `forgemesh status`: how the running node and its mesh stand.

use serde_json::Value;

use super::client::Client;
use super::error::CliError;
use super::span::span;
use super::{Common, hint, print_json};
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
            "{}: {} of {} threads, {}; {} shards held, {} being executed",
            text(&value["mode"]),
            value["capacity"],
            value["threads"],
            text(&value["backend"]),
            value["held"],
            value["executing"]
        ),
    );
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
                "term {}, {} log entries, {} jobs in the ledger, {} open, {} of {} agents live",
                hub["term"], hub["log"], hub["ledger"], hub["jobs"], hub["live_agents"], hub["agents"]
            ),
        );
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
        let peers = match network["peers"].as_u64().unwrap_or(0) {
            1 => "1 peer".to_owned(),
            peers => format!("{peers} peers"),
        };
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

fn heard(ago_ms: &Value) -> String {
    match ago_ms.as_u64() {
        Some(ms) => format!("heard {} s ago", ms / 1_000),
        None => "not heard yet".to_owned(),
    }
}
