//! `forgemesh node`: the nodes of the mesh, and how much of this one it may have.

use clap::Subcommand;
use serde_json::{Value, json};

use super::client::Client;
use super::error::CliError;
use super::submit::print_reasons;
use super::{Common, count, hint, home, print, print_json};
use crate::real::control::request::Request;

/// What to do with nodes.
#[derive(Subcommand)]
pub enum NodeCommand {
    /// The nodes of the mesh.
    Ls,
    /// Everything about one of them.
    Show {
        /// Its id, the beginning of it, or its name.
        node: String,
    },
    /// This node's id, and that of its mesh.
    Identity,
    /// Take no new work, finish what is held.
    Drain,
    /// Take no new work, give back what is not begun.
    Pause,
    /// Take work again.
    Resume,
    /// How much of this node the mesh may have, until it is started again; config.toml is for good.
    Limits {
        /// Threads that compute; 0: all.
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(0..=1024))]
        compute: Option<u16>,
        /// Operations that it executes, such as mc@1/reserve.v1; may be given several times. "all": all.
        #[arg(long, value_name = "OP")]
        op: Vec<String>,
    },
    /// Why this node has nothing to do.
    WhyIdle,
    /// What this node's network has counted since its start, in the text format of OpenMetrics.
    Metrics,
    /// Admit nodes to the hub, whose config.toml says `stand = true` and where they listen. In force once a majority of its
    /// members' operators have said the same.
    Promote {
        /// Their ids, or the beginnings of them.
        #[arg(required = true)]
        node: Vec<String>,
        /// Dismiss this one for it; may be given several times.
        #[arg(long, value_name = "NODE")]
        replace: Vec<String>,
        /// How many of the admitted sit at a time: 1, 3 or 5; without it no fewer than now, and as many as there can be.
        #[arg(long, value_name = "N")]
        seats: Option<u64>,
    },
    /// Dismiss nodes from the hub; they go on as agents. In force once a majority of operators have said the same.
    Dismiss {
        /// Their ids, or the beginnings of them.
        #[arg(required = true)]
        node: Vec<String>,
        /// How many of the admitted sit at a time: 1, 3 or 5; without it no fewer than now, and as many as there can be.
        #[arg(long, value_name = "N")]
        seats: Option<u64>,
    },
    /// Remove an admitted node from a private mesh; in an open one it loses its organization, and may go on working.
    Expel {
        /// Its id, or the beginning of it.
        node: String,
    },
}

/// Does what was asked for.
pub fn node(common: &Common, command: &NodeCommand) -> Result<(), CliError> {
    if let NodeCommand::Identity = command {
        return identity(common);
    }
    let request = match command {
        NodeCommand::Ls | NodeCommand::Show { .. } | NodeCommand::Identity => Request::Nodes {},
        NodeCommand::Drain => Request::Drain {},
        NodeCommand::Pause => Request::Pause {},
        NodeCommand::Resume => Request::Resume {},
        NodeCommand::Limits { compute, op } => {
            let ops = (!op.is_empty()).then(|| op.iter().filter(|op| *op != "all").cloned().collect());
            Request::Limits { threads: *compute, ops }
        }
        NodeCommand::WhyIdle => Request::WhyIdle {},
        NodeCommand::Metrics => Request::Metrics {},
        NodeCommand::Expel { node } => Request::Expel { node: node.clone() },
        NodeCommand::Promote { node, replace, seats } => {
            Request::Amend { admit: node.clone(), dismiss: replace.clone(), seats: *seats }
        }
        NodeCommand::Dismiss { node, seats } => {
            Request::Amend { admit: Vec::new(), dismiss: node.clone(), seats: *seats }
        }
    };
    let value = Client::require(common)?.ask(&request)?.value;
    if let NodeCommand::Show { node } = command {
        return show(common, &value, node);
    }
    if common.json {
        print_json(&value);
        return Ok(());
    }
    match command {
        NodeCommand::Ls => list(&value),
        NodeCommand::Limits { .. } => {
            print(&format!(
                "{} of {}, {}",
                value["capacity"],
                count::told(&value["threads"], "thread"),
                list_or(&value["ops"], "all operations")
            ));
            caps(&value);
        }
        NodeCommand::Metrics => print(value["openmetrics"].as_str().unwrap_or_default().trim_end()),
        NodeCommand::WhyIdle => {
            let (held, executing) = (&value["held"], &value["executing"]);
            if value["idle"] == json!(false) {
                print(&format!(
                    "it is not idle: {} held, {executing} being executed",
                    count::told(held, "shard")
                ));
            } else if value["reasons"].as_array().is_none_or(Vec::is_empty) {
                print("it is ready: nothing was lent to it yet");
            } else {
                print("it is idle");
            }
            if value["reasons"].as_array().is_some_and(|reasons| !reasons.is_empty()) {
                print_reasons(&value);
            }
        }
        NodeCommand::Promote { .. } | NodeCommand::Dismiss { .. } => {
            let (consents, needed) = (value["consents"].as_u64().unwrap_or(0), &value["needed"]);
            let next = match needed.as_u64().is_some_and(|needed| consents >= needed) {
                true => {
                    "they take their seats as soon as they follow the log and have the books; `forgemesh status` says from when on one of them may be lost"
                }
                false => "run the same command on another hub member",
            };
            hint::print_whole(&format!("{} seats; {consents} of {needed} consents; {next}", value["seats"]));
            for node in value["reach_unknown"].as_array().into_iter().flatten().filter_map(Value::as_str) {
                print(&format!("whether others can dial {node} is not known here: see that it listens"));
            }
        }
        NodeCommand::Expel { .. } => {
            let node = value["expelled"].as_str().unwrap_or_default();
            match value["may_work"] == json!(true) {
                true => print(&format!(
                    "{node} belongs to no organization any more; the mesh is open, so it may work"
                )),
                false => print(&format!("expelled {node}")),
            }
        }
        _ => print(&format!(
            "{}; {} held",
            value["mode"].as_str().unwrap_or_default(),
            count::told(&value["held"], "shard")
        )),
    }
    Ok(())
}

/// For whom it works, when and where.
fn caps(value: &Value) {
    let row = |name: &str, text: String| print(&format!("{name:<10} {text}"));
    let idle = if value["idle_only"] == json!(true) { ", while the machine is idle" } else { "" };
    row("hours", format!("{}{idle}", list_or(&value["hours_utc"], "always")));
    row("region", value["region"].as_str().unwrap_or("none said").to_owned());
    row(
        "jobs of",
        match value["clients"].as_array() {
            None => "everybody (public)".to_owned(),
            Some(_) => format!("{} (private)", list_or(&value["clients"], "nobody")),
        },
    );
    if value["organizations"].as_array().is_some_and(|organizations| !organizations.is_empty()) {
        row("and of", format!("nodes of {}", list_or(&value["organizations"], "none")));
    }
    row("billing", list_or(&value["billing"], "billable and test jobs"));
}

fn list_or(value: &Value, none: &str) -> String {
    let texts: Vec<&str> = value.as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    if texts.is_empty() { none.to_owned() } else { texts.join(", ") }
}

fn list(value: &Value) {
    for node in value["nodes"].as_array().into_iter().flatten() {
        let id = node["node"].as_str().and_then(|id| id.get(..8)).unwrap_or_default();
        let is = |what: &str| node[what] == json!(true);
        let roles =
            [("leads", "hub, leads"), ("hub", "hub"), ("standby", "standby"), ("candidate", "candidate")];
        let role = roles.iter().find(|(what, _)| is(what)).map_or("agent", |(_, role)| role);
        // Its seat is its own, and the hub's log does not count its vote yet.
        let role = if node["votes"] == json!(false) { "hub, enters" } else { role };
        let state = match (node["live"].as_bool(), &node["accepts"]) {
            _ if is("expelled") => "expelled",
            (Some(true), accepts) if *accepts == json!(0) => "takes no work",
            (Some(true), _) => "works",
            _ if node["heard_ms_ago"].is_null() => "not heard",
            _ => "silent",
        };
        let backend = node["backend"].as_str().unwrap_or("-");
        let threads = node["capacity"].as_u64().map_or("-".to_owned(), |threads| threads.to_string());
        let holds = node["holds"].as_u64().unwrap_or(0);
        let name = node["name"].as_str().unwrap_or_default();
        let of = node["organization"].as_str().map(|of| format!("  of {of}")).unwrap_or_default();
        print(&format!(
            "{id}  {role:<11} {state:<14} {threads:>3} threads  {backend:<14} {holds:>5} shards  {name}{of}"
        ));
    }
}

fn show(common: &Common, value: &Value, name: &str) -> Result<(), CliError> {
    let named = |node: &&Value| {
        let id = node["node"].as_str().unwrap_or_default();
        (name.len() >= 4 && id.starts_with(name)) || node["name"].as_str() == Some(name)
    };
    let found: Vec<&Value> = value["nodes"].as_array().into_iter().flatten().filter(named).collect();
    let [node] = found[..] else { return Err(CliError::NoSuchNode(name.to_owned())) };
    if common.json {
        print_json(node);
        return Ok(());
    }
    for (key, value) in node.as_object().into_iter().flatten().filter(|(_, value)| !value.is_null()) {
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        print(&format!("{:<14} {text}", key.replace('_', " ")));
    }
    Ok(())
}

/// Who this node is: by the node that runs, or by the folder.
fn identity(common: &Common) -> Result<(), CliError> {
    let value = match Client::find(common)? {
        Some(mut client) => {
            let status = client.ask(&Request::Status {})?.value;
            json!({ "node": status["node"], "mesh": status["mesh"], "role": status["role"] })
        }
        None => {
            let home = home::open_existing(common)?;
            let genesis = crate::boot::genesis(&home.storage)?;
            let key = home.secret.public();
            let seated = crate::boot::seating(&home.storage)?.map(|seating| seating.seated);
            let role = |seated: &Vec<_>| if seated.contains(&key.id()) { "hub" } else { "agent" };
            json!({
                "node": key.id(), "mesh": genesis.as_ref().map(|genesis| genesis.mesh_id()),
                "role": seated.as_ref().map(role),
            })
        }
    };
    if common.json {
        print_json(&value);
        return Ok(());
    }
    let text = |key: &str| value[key].as_str().unwrap_or("none yet").to_owned();
    print(&format!("node {}\nmesh {}\nrole {}", text("node"), text("mesh"), text("role")));
    Ok(())
}
