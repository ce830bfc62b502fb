//! The command line. Exit codes: 0 ok, 1 failed, 2 wrong usage, 3 verification failed, 130 interrupted. Every error names
//! its cure.

mod address;
mod argument;
mod artifact;
mod cancel;
mod checks;
mod client;
mod count;
mod desk;
mod dev;
mod doctor;
mod embedded;
mod error;
mod hint;
mod home;
mod init;
mod input;
mod interrupt;
mod job;
mod lookup;
mod near;
mod network;
mod nodes;
mod op;
mod overwrite;
mod plan;
mod progress;
mod refusal;
mod render;
mod reopen;
mod replay;
mod run;
mod service;
mod source;
mod span;
mod status;
mod submit;
mod ticket;
mod up;
mod verify;
mod view;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use self::error::CliError;
use crate::real::worker;
use crate::stderr;

/// A compute mesh whose answers can be checked: bit-identical results, with evidence that anyone can verify offline.
#[derive(Parser)]
#[command(name = "forgemesh", version, max_term_width = 110)]
struct Cli {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    command: Command,
}

/// What every command takes.
#[derive(Args, Clone)]
struct Common {
    /// Print one JSON object instead of text.
    #[arg(long, global = true)]
    json: bool,
    /// The node's data folder [default: the platform's data folder, or $FORGEMESH_HOME].
    #[arg(long, global = true, value_name = "DIR")]
    home: Option<PathBuf>,
    /// Ask the node that runs on this data folder, or behind this socket.
    #[arg(long = "node", id = "running_node", global = true, value_name = "DIR|SOCKET")]
    node: Option<PathBuf>,
    /// Threads that compute [default: all cores]. The result does not depend on it.
    #[arg(long, global = true, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,
}

#[derive(Subcommand)]
enum Command {
    /// Make a mesh whose first node this is.
    Init(init::InitArgs),
    /// Join a mesh with the line that one of its hub members made.
    Join(init::JoinArgs),
    /// Run the node of the data folder.
    Up(up::UpArgs),
    /// Stop it.
    Down,
    /// Have the system run the node, unattended and without root.
    #[command(subcommand)]
    Service(service::ServiceCommand),
    /// How the running node and its mesh stand.
    Status,
    /// Look for what keeps the node from its work, and say how to mend it.
    Doctor,
    /// The nodes of the mesh, and how much of this one it may have.
    #[command(subcommand)]
    Node(nodes::NodeCommand),
    /// Who may join the mesh.
    #[command(subcommand)]
    Ticket(ticket::TicketCommand),
    /// Tools for developers: a whole mesh on this machine.
    #[command(subcommand)]
    Dev(dev::DevCommand),
    /// Run a job, on the running node or an embedded one, and leave a receipt.
    Run(run::RunArgs),
    /// Check a receipt or a bundle offline; needs no network and no data folder.
    Verify(verify::VerifyArgs),
    /// Execute a receipt's contract again and compare bits.
    Replay(replay::ReplayArgs),
    /// Show how a job would be cut: stages, leaves, shards, estimate. Nothing is executed.
    Plan(plan::PlanArgs),
    /// The registered operations.
    #[command(subcommand)]
    Op(op::OpCommand),
    /// The jobs of this node.
    #[command(subcommand)]
    Job(job::JobCommand),
    /// Bytes under their address: put into the mesh, had from whichever node has them.
    #[command(subcommand)]
    Artifact(artifact::ArtifactCommand),
    /// Receipts of this node's jobs.
    #[command(subcommand)]
    Receipt(job::ReceiptCommand),
    /// Compute shards for the node that has started this.
    #[command(hide = true)]
    Worker,
}

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let common = cli.common;
    // Who verifies or replays asks no node.
    if !matches!(cli.command, Command::Verify(_) | Command::Replay(_)) {
        hint::remember(&common);
    }
    let result = match cli.command {
        Command::Init(args) => init::init(&common, &args),
        Command::Join(args) => init::join(&common, &args),
        Command::Up(args) => up::up(&common, &args),
        Command::Down => up::down(&common),
        Command::Service(command) => service::service(&common, &command),
        Command::Status => status::status(&common),
        Command::Doctor => doctor::doctor(&common),
        Command::Node(command) => nodes::node(&common, &command),
        Command::Ticket(command) => ticket::ticket(&common, command),
        Command::Dev(command) => dev::dev(&common, &command),
        Command::Run(args) => run::run(&common, args),
        Command::Verify(args) => verify::verify(&common, &args),
        Command::Replay(args) => replay::replay(&common, &args),
        Command::Plan(args) => plan::plan(&common, &args),
        Command::Op(command) => op::op(&common, &command),
        Command::Job(command) => job::job(&common, command),
        Command::Artifact(command) => artifact::artifact(&common, command),
        Command::Receipt(command) => job::receipt(&common, &command),
        Command::Worker => worker::inside::serve().map_err(CliError::InWorker),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => error.report(common.json),
    }
}

/// Prints to standard output; a reader that has gone away is no error.
fn print(text: &str) {
    use std::io::Write;
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.write_all(b"\n"));
}

/// Says something beside the answer, on standard error.
fn say(text: &str) {
    stderr::say(&format!("forgemesh: {}", hint::whole(text)));
}

/// Prints one JSON object.
fn print_json(value: &serde_json::Value) {
    print(&serde_json::to_string_pretty(value).expect("invariant: text keys and finite numbers"));
}
