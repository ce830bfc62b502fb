//! `forgemesh init` and `forgemesh join`: a data folder becomes a node's, of a new mesh or of one that is there.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use forgemesh_protocol::canon::{self, Bytes};
use forgemesh_protocol::charter::Charters;
use forgemesh_protocol::enrolment::{Invitation, Join, is_name};
use forgemesh_protocol::genesis::Genesis;
use forgemesh_protocol::id::MeshId;
use forgemesh_protocol::keys::Signed;
use forgemesh_protocol::limits;
use forgemesh_protocol::organization::Organization;
use forgemesh_protocol::ticket::{Ticket, TicketError};
use forgemesh_storage::{Batch, DATABASE_FILE_NAME, MetaKey, PIECES_FILE_NAME, RESERVE_FILE_NAME};
use serde_json::json;
use tokio::time::sleep;

use super::client::Client;
use super::embedded::{self, now_ms, unexpected};
use super::error::CliError;
use super::home::{self, Home};
use super::ticket::{LIFETIME_MINUTES, print_ticket};
use super::{Common, address, hint, network, print, print_json, refusal, say};
use crate::boot;
use crate::config::{CONFIG_FILE_NAME, Config};
use crate::core::{EnrolmentCommand, Reply, Request};
use crate::real::enrol::{NotAdmitted, enrol};
use crate::real::swarm::Swarm;

/// How long a hub may take to answer a node that wants to join.
const PATIENCE: Duration = Duration::from_secs(30);

/// Arguments of `init`.
#[derive(Args)]
pub struct InitArgs {
    /// What the mesh is called.
    #[arg(long, default_value = "mesh", value_name = "NAME")]
    name: String,
    /// A mesh of invited nodes alone, behind a key that all of them share.
    #[arg(long)]
    private: bool,
    /// On how many nodes each artifact is kept, for ever the mesh's.
    #[arg(long, default_value_t = 3, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=limits::REPLICATION))]
    replication: u64,
    /// To which organization this node belongs, for ever the mesh's word; its first ticket is for none.
    #[arg(long, value_name = "NAME")]
    organization: Option<Organization>,
    /// Where this node listens [default: /ip4/0.0.0.0/tcp/4610]; may be given several times. Port 0: any free one.
    #[arg(long, value_name = "ADDR")]
    listen: Vec<String>,
}

/// Arguments of `join`.
#[derive(Args)]
pub struct JoinArgs {
    /// The line that `forgemesh ticket create` printed on a hub member; "-" reads it from standard input.
    ticket: String,
    /// What this node is called in the mesh.
    #[arg(long, default_value = "", value_name = "NAME")]
    name: String,
    /// Join only this mesh.
    #[arg(long, value_name = "ID")]
    mesh: Option<MeshId>,
    /// Where this node listens [default: nowhere, it reaches the others]; may be given several times. Who is to sit in the
    /// hub has to listen where the others reach it.
    #[arg(long, value_name = "ADDR")]
    listen: Vec<String>,
}

/// Makes a mesh.
pub fn init(common: &Common, args: &InitArgs) -> Result<(), CliError> {
    if args.name.len() > limits::MESH_NAME_BYTES || args.name.chars().any(char::is_control) {
        let text = format!("a mesh is called by at most {} printable bytes", limits::MESH_NAME_BYTES);
        return Err(CliError::Usage(text));
    }
    let was_there = home::folder(common)?.exists();
    let home = open_unused(common)?;
    let made = found(common, args, &home);
    if made.is_err() && !was_there {
        // While it is held. All that is in it was made here, and nobody has been told of it.
        let _ = std::fs::remove_dir_all(&home.folder);
    }
    let Made { genesis, listen, ticket } = made?;
    let (id, expires_ms, addresses) = (ticket.invitation(), ticket.expires_ms, ticket.bootstrap.clone());
    let line = ticket.issue(&home.secret);
    if common.json {
        print_json(&json!({
            "mesh": genesis.mesh_id(), "name": args.name, "node": home.secret.public().id(),
            "folder": home.folder.display().to_string(), "private": args.private, "listen": listen,
            "organization": args.organization,
            "ticket": line, "ticket_id": id, "expires_ms": expires_ms, "addresses": addresses,
        }));
        return Ok(());
    }
    print(&format!("mesh {} ({})", genesis.mesh_id(), args.name));
    print(&format!("node {}", home.secret.public().id()));
    if let Some(organization) = &args.organization {
        print(&format!("organization {organization}"));
        let make = format!("ticket create --organization {organization}");
        hint::print_whole(&format!("another node of it joins by a ticket of `forgemesh {make}`"));
    }
    hint::print_whole("start it with `forgemesh up`; a first ticket for another node:\n");
    print_ticket(&line, &id.to_string(), LIFETIME_MINUTES, &addresses);
    Ok(())
}

/// A mesh that was made.
struct Made {
    genesis: Genesis,
    listen: Vec<String>,
    /// For another node.
    ticket: Ticket,
}

/// Makes a mesh in a data folder that belongs to none.
fn found(common: &Common, args: &InitArgs, home: &Home) -> Result<Made, CliError> {
    let listen =
        if args.listen.is_empty() { vec![address::DEFAULT_LISTEN.to_owned()] } else { args.listen.clone() };
    let listen = listen.iter().map(|text| address::settle_port(text)).collect::<Result<Vec<_>, _>>()?;
    let nonce = home::random::<16>().map_err(CliError::Entropy)?;
    let (mut genesis, beacon) = boot::found(&home.secret, args.name.clone(), nonce, limits::BEACON_LENGTH);
    genesis.parameters.open = !args.private;
    genesis.parameters.replication = args.replication;
    genesis.parameters.organization.clone_from(&args.organization);
    let key = args.private.then(home::random::<32>).transpose().map_err(CliError::Entropy)?;
    let config = Config { listen: listen.clone(), ..Config::default() };
    // An address that cannot be had is found out before anything is written.
    let addresses =
        address::of(network::config(&home.secret, &Charters::new(genesis.clone()), &config, key))?;
    write_files(home, &listen, &[], key)?;
    let mut batch = Batch::new();
    batch.put_meta(MetaKey::Beacon, beacon.checkpoint_bytes());
    batch.put_meta(MetaKey::Genesis, canon::to_bytes(&genesis));
    home.storage.commit(&batch)?;
    let expires_ms = now_ms() + LIFETIME_MINUTES * 60_000;
    let ticket = Ticket {
        genesis: genesis.clone(),
        seating: None,
        bootstrap: addresses,
        network_key: key.map(|key| Bytes(key.to_vec())),
        secret: Bytes(home::random::<32>().map_err(CliError::Entropy)?.to_vec()),
        expires_ms,
        organization: None,
    };
    log_invitation(common, home, &ticket)?;
    Ok(Made { genesis, listen, ticket })
}

/// Joins a mesh: its hub admits this node, or of this command a key is left at most, for the next attempt.
pub fn join(common: &Common, args: &JoinArgs) -> Result<(), CliError> {
    if !is_name(&args.name) {
        let text = format!("a node is called by at most {} printable bytes", limits::NODE_NAME_BYTES);
        return Err(CliError::Usage(text));
    }
    let text = match args.ticket.as_str() {
        "-" => {
            let bytes = super::input::read_bounded(Path::new("-"), limits::TICKET_BYTES as u64 + 1)?;
            String::from_utf8_lossy(&bytes).into_owned()
        }
        text => text.to_owned(),
    };
    let ticket = Ticket::read(&text, now_ms())?;
    let mesh = ticket.genesis.mesh_id();
    if let Some(wanted) = args.mesh.filter(|wanted| *wanted != mesh) {
        return Err(CliError::Usage(format!(
            "the ticket is of mesh {mesh}, not of {wanted}; ask for another"
        )));
    }
    if ticket.bootstrap.is_empty() {
        let text = "the ticket names no address; start its mesh with a listen address and make a new one";
        return Err(CliError::Usage(text.to_owned()));
    }
    let useless = useless(&home::folder(common)?);
    let home = open_unused(common)?;
    let listen = args.listen.iter().map(|text| address::settle_port(text)).collect::<Result<Vec<_>, _>>()?;
    let key = ticket.network_key.as_ref().and_then(|key| <[u8; 32]>::try_from(&key.0[..]).ok());
    let config = Config { listen: listen.clone(), bootstrap: ticket.bootstrap.clone(), ..Config::default() };
    if !common.json {
        let (addresses, seconds) = (ticket.bootstrap.join(", "), PATIENCE.as_secs());
        say(&format!("asking the hub at {addresses}, for {seconds} s at most"));
    }
    if let Err(error) = admit(&home, &ticket, &config, key, &args.name) {
        remove(&useless);
        return Err(error);
    }
    write_files(&home, &listen, &ticket.bootstrap, key)?;
    home.enter(&ticket.genesis, ticket.seating.as_ref(), ticket.organization.as_ref())?;
    let (node, name) = (home.secret.public().id(), &ticket.genesis.name);
    if common.json {
        print_json(&json!({
            "mesh": mesh, "name": name, "node": node, "folder": home.folder.display().to_string(),
            "private": key.is_some(), "organization": ticket.organization,
        }));
        return Ok(());
    }
    let of = ticket.organization.map(|organization| format!(" of organization {organization}"));
    print(&format!("joined mesh {mesh} ({name}) as node {node}{}", of.unwrap_or_default()));
    hint::print_whole("start it with `forgemesh up`");
    Ok(())
}

/// What this command makes in a data folder that is of no use there unless the node is admitted. The key is not among it:
/// whichever member refuses, another may have admitted this very key.
fn useless(folder: &Path) -> Vec<PathBuf> {
    let made = [DATABASE_FILE_NAME, PIECES_FILE_NAME, RESERVE_FILE_NAME].map(|name| folder.join(name));
    made.into_iter().filter(|path| !path.exists()).collect()
}

/// Removes files while the folder is still held. What cannot be removed stays, and does no harm.
fn remove(files: &[PathBuf]) {
    for file in files {
        let _ = std::fs::remove_file(file);
    }
}

/// Has the hub admit this node.
fn admit(
    home: &Home,
    ticket: &Ticket,
    config: &Config,
    key: Option<[u8; 32]>,
    name: &str,
) -> Result<(), CliError> {
    let body = Join {
        secret: ticket.secret.clone(),
        name: name.to_owned(),
        expires_ms: now_ms() + limits::JOIN_TTL_MS,
    };
    let join = Signed::new(body, ticket.genesis.mesh_id(), &home.secret);
    let charters = ticket.charters().map_err(TicketError::from)?;
    let hub = match &ticket.seating {
        Some(seating) => seating.seated.clone(),
        None => charters.ever().map(|member| member.key.id()).collect(),
    };
    let mut swarm = Swarm::start(network::config(&home.secret, &charters, config, key))?;
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(CliError::Thread)?;
    let addresses = || ticket.bootstrap.join(", ");
    runtime.block_on(async {
        tokio::select! {
            answer = enrol(&mut swarm, &hub, &join) => {
                answer.map_err(|NotAdmitted(reason)| CliError::NotAdmitted(reason))
            }
            () = refusal::of_all(&ticket.bootstrap) => Err(CliError::NobodyListens(addresses())),
            () = sleep(PATIENCE) => Err(CliError::HubUnreachable(addresses())),
        }
    })
}

/// A data folder that belongs to no mesh yet.
fn open_unused(common: &Common) -> Result<Home, CliError> {
    if common.node.is_some() {
        return Err(CliError::Usage("--node names a node that runs; use --home for a new one".to_owned()));
    }
    if Client::find(common)?.is_some() {
        return Err(CliError::Runs { folder: home::folder(common)? });
    }
    let home = home::open(common)?;
    match boot::genesis(&home.storage)? {
        Some(genesis) => Err(CliError::HasMesh { folder: home.folder, mesh: genesis.mesh_id() }),
        None => Ok(home),
    }
}

/// Writes configuration and network key. What an attempt that failed later has left is written anew.
fn write_files(
    home: &Home,
    listen: &[String],
    bootstrap: &[String],
    key: Option<[u8; 32]>,
) -> Result<(), CliError> {
    for old in network::files(&home.folder) {
        // Most often there is none.
        let _ = std::fs::remove_file(old);
    }
    if let Some(key) = key {
        network::write_key(&home.folder, &key)?;
    }
    let path = home.folder.join(CONFIG_FILE_NAME);
    std::fs::write(&path, Config::template(listen, bootstrap, None))
        .map_err(|source| CliError::Write { path, source })
}

/// Enters the first ticket's invitation into the new mesh's log.
fn log_invitation(common: &Common, home: &Home, ticket: &Ticket) -> Result<(), CliError> {
    let (secret, expires_ms) = (ticket.invitation(), ticket.expires_ms);
    let mesh = Genesis::mesh_id(&ticket.genesis);
    let invitation = Signed::new(Invitation { secret, expires_ms, organization: None }, mesh, &home.secret);
    let request = Request::Enrolment(Box::new(EnrolmentCommand::Invite(invitation)));
    let driver = embedded::boot(common, home)?;
    embedded::serve(driver, async |handle| match handle.request(request).await? {
        Reply::Done => Ok(()),
        other => Err(unexpected(other)),
    })
}
