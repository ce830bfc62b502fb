//! `forgemesh op`: the registered operations and their arguments.

use clap::Subcommand;
use forgemesh_kernel::registry;
use forgemesh_protocol::op::Op;
use serde_json::json;

use super::error::CliError;
use super::{Common, print, print_json};

/// What to show.
#[derive(Subcommand)]
pub enum OpCommand {
    /// List them.
    Ls,
    /// The JSON Schema (draft 2020-12) of an operation's arguments.
    Schema {
        /// For example mc@1/reserve.v1.
        op: String,
    },
}

/// Prints what was asked for.
pub fn op(common: &Common, command: &OpCommand) -> Result<(), CliError> {
    match command {
        OpCommand::Ls if common.json => {
            let op = |profile: &&dyn forgemesh_kernel::profile::Profile| json!({"op": profile.op().to_string(), "doc": profile.doc()});
            print_json(&json!({"ops": registry::PROFILES.iter().map(op).collect::<Vec<_>>()}));
        }
        OpCommand::Ls => {
            for profile in registry::PROFILES {
                print(&format!("{:<20} {}", profile.op().to_string(), profile.doc()));
            }
        }
        OpCommand::Schema { op } => {
            let op: Op = op
                .parse()
                .map_err(|error: forgemesh_protocol::op::OpError| CliError::Usage(error.to_string()))?;
            let profile =
                registry::require(&op).map_err(|problems| CliError::Refused { problems, record: None })?;
            let mut schema = profile.schema().json_schema();
            schema["$schema"] = json!("https://json-schema.org/draft/2020-12/schema");
            schema["title"] = json!(op.to_string());
            print_json(&schema);
        }
    }
    Ok(())
}
