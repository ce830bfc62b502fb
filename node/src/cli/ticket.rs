//! `forgemesh ticket`: who may join.

use clap::Subcommand;
use forgemesh_protocol::organization::Organization;
use serde_json::Value;

use super::client::Client;
use super::embedded::now_ms;
use super::error::CliError;
use super::span::{left, span};
use super::{Common, hint, print, print_json};
use crate::real::control::request::Request;

/// How long a ticket is good for if nothing is said: a day.
pub const LIFETIME_MINUTES: u64 = 24 * 60;

/// What to do with tickets. The node must run, and be a hub member.
#[derive(Subcommand)]
pub enum TicketCommand {
    /// A line to paste on another machine: it admits one node, once. Keep it secret.
    Create {
        /// Minutes it is good for.
        #[arg(long, default_value_t = LIFETIME_MINUTES, value_name = "N")]
        minutes: u64,
        /// To which organization the node that uses it will belong: private nodes may list that, see config.toml.
        #[arg(long, value_name = "NAME")]
        organization: Option<Organization>,
    },
    /// Tickets and what became of them.
    Ls,
    /// Make a ticket useless.
    Revoke {
        /// Its id, or the beginning of it.
        ticket: String,
    },
}

/// Does what was asked for.
pub fn ticket(common: &Common, command: TicketCommand) -> Result<(), CliError> {
    let mut client = Client::require(common)?;
    let request = match &command {
        TicketCommand::Create { minutes, organization } => {
            Request::Invite { minutes: *minutes, organization: organization.clone() }
        }
        TicketCommand::Ls => Request::Tickets {},
        TicketCommand::Revoke { ticket } => Request::Withdraw { ticket: ticket.clone() },
    };
    let value = client.ask(&request)?.value;
    if common.json {
        print_json(&value);
        return Ok(());
    }
    let text = |value: &Value, key: &str| value[key].as_str().unwrap_or_default().to_owned();
    match command {
        TicketCommand::Create { minutes, organization } => {
            let addresses = value["addresses"].as_array().map(Vec::as_slice).unwrap_or_default();
            let addresses: Vec<String> =
                addresses.iter().filter_map(Value::as_str).map(str::to_owned).collect();
            print_ticket(&text(&value, "ticket"), &text(&value, "id"), minutes, &addresses);
            if let Some(organization) = organization {
                print(&format!("the node will belong to organization {organization}"));
            }
        }
        TicketCommand::Ls => {
            let tickets = value["tickets"].as_array().map(Vec::as_slice).unwrap_or_default();
            if tickets.is_empty() {
                hint::print_whole("no tickets; `forgemesh ticket create` makes one");
            }
            for ticket in tickets {
                print(&row(ticket, now_ms()));
            }
        }
        TicketCommand::Revoke { .. } => print(&format!("revoked {}", text(&value, "revoked"))),
    }
    Ok(())
}

/// A ticket as it is listed: its id, what became of it, how old it is, how long it is still good for, and for whom.
fn row(ticket: &Value, now_ms: u64) -> String {
    let text = |key: &str| ticket[key].as_str().unwrap_or_default();
    let at = |key: &str| ticket[key].as_u64().unwrap_or(0);
    let ago = |ms: u64| format!("{} ago", span(now_ms.saturating_sub(ms)));
    let (id, state, expires_ms) = (text("id"), text("state"), at("expires_ms"));
    let end = match state {
        "used" => format!("by node {}", text("used_by").get(..8).unwrap_or_default()),
        "open" => format!("good for another {}", left(expires_ms.saturating_sub(now_ms))),
        "expired" => format!("expired {}", ago(expires_ms)),
        _ => String::new(),
    };
    let made = format!("made {}", ago(at("at_ms")));
    let of = ticket["organization"].as_str().map(|of| format!("  for {of}")).unwrap_or_default();
    format!("{}  {state:<8} {made:<18} {end}{of}", id.get(..8).unwrap_or_default()).trim_end().to_owned()
}

/// Prints a ticket as the command that uses it.
pub fn print_ticket(line: &str, id: &str, minutes: u64, addresses: &[String]) {
    print(&format!("forgemesh join {line}\n"));
    let id = id.get(..8).unwrap_or_default();
    let time = span(minutes.saturating_mul(60_000));
    print(&format!("ticket {id} is good for one node, for {time}; whoever has the line can use it"));
    match addresses {
        [] => print("it names no address: start the node with a listen address in config.toml"),
        addresses => print(&format!("it leads to {}", addresses.join(", "))),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::row;

    #[test]
    fn a_listed_ticket_says_how_old_it_is_and_how_long_it_is_good_for() {
        let now_ms = 10_000_000;
        let listed = |state: &str, expires_ms: u64| {
            let node = (state == "used").then(|| "b".repeat(64));
            let ticket = json!({
                "id": "a".repeat(64), "state": state, "used_by": node, "at_ms": now_ms - 30_000,
                "expires_ms": expires_ms,
            });
            row(&ticket, now_ms)
        };
        for (state, expires_ms, says) in [
            ("open", now_ms + 300_000, "aaaaaaaa  open     made 30 s ago      good for another 5 min"),
            ("expired", now_ms - 5_000, "aaaaaaaa  expired  made 30 s ago      expired 5 s ago"),
            ("used", now_ms, "aaaaaaaa  used     made 30 s ago      by node bbbbbbbb"),
            ("revoked", now_ms, "aaaaaaaa  revoked  made 30 s ago"),
        ] {
            assert_eq!(listed(state, expires_ms), says);
        }
        let of_acme = json!({ "id": "a".repeat(64), "state": "open", "used_by": null, "at_ms": now_ms - 30_000,
            "expires_ms": now_ms + 300_000, "organization": "acme" });
        assert!(row(&of_acme, now_ms).ends_with("good for another 5 min  for acme"));
    }
}
