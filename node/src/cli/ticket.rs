//! `forgemesh ticket`: who may join.

use clap::Subcommand;
use serde_json::Value;

use super::client::Client;
use super::error::CliError;
use super::{Common, print, print_json};
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
        TicketCommand::Create { minutes } => Request::Invite { minutes: *minutes },
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
        TicketCommand::Create { minutes } => {
            let addresses = value["addresses"].as_array().map(Vec::as_slice).unwrap_or_default();
            let addresses: Vec<String> =
                addresses.iter().filter_map(Value::as_str).map(str::to_owned).collect();
            print_ticket(&text(&value, "ticket"), minutes, &addresses);
        }
        TicketCommand::Ls => {
            let tickets = value["tickets"].as_array().map(Vec::as_slice).unwrap_or_default();
            if tickets.is_empty() {
                print("no tickets; `forgemesh ticket create` makes one");
            }
            for ticket in tickets {
                let used = ticket["used_by"].as_str().and_then(|node| node.get(..8));
                let by = used.map_or(String::new(), |node| format!("by node {node}"));
                print(&format!("{}  {:<8} {by}", &text(ticket, "id")[..8], text(ticket, "state")));
            }
        }
        TicketCommand::Revoke { .. } => print(&format!("revoked {}", text(&value, "revoked"))),
    }
    Ok(())
}

/// Prints a ticket as the command that uses it.
pub fn print_ticket(line: &str, minutes: u64, addresses: &[String]) {
    print(&format!("forgemesh join {line}\n"));
    let time =
        if minutes.is_multiple_of(60) { format!("{} h", minutes / 60) } else { format!("{minutes} min") };
    print(&format!("good for one node, for {time}; whoever has the line can use it"));
    match addresses {
        [] => print("it names no address: start the node with a listen address in config.toml"),
        addresses => print(&format!("it leads to {}", addresses.join(", "))),
    }
}
