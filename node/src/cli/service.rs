//! `forgemesh service`: the node of a data folder as a systemd user unit, so that it runs unattended and without root.
//!
//! Must never touch a unit that it did not write.

mod unit;

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use clap::Subcommand;
use etcetera::BaseStrategy as _;
use serde_json::json;

use super::client::Client;
use super::error::CliError;
use super::{Common, home, print, print_json};
use unit::{UNIT, Unit, is_ours};

pub use unit::Unnameable;

/// Starts the service now and at every login, and keeps a user's services running while nobody is logged in.
const ENABLE: &str = "systemctl --user enable --now forgemesh";
const LINGER: &str = "loginctl enable-linger";

/// What to do with the service.
#[derive(Subcommand)]
pub enum ServiceCommand {
    /// Have systemd run the node of this data folder: now, after a crash, after a reboot. No root is needed.
    Install {
        /// Print the unit, and change nothing.
        #[arg(long)]
        print: bool,
        /// MiB of memory for the whole node: beyond them the system ends it, and it is started again.
        #[arg(long, value_name = "MIB", value_parser = clap::value_parser!(u64).range(256..=1 << 30))]
        memory_mib: Option<u64>,
    },
    /// Stop the service and remove its unit; the data folder stays.
    Uninstall,
    /// Whether the unit is there, and whether it runs.
    Status,
}

/// Does what was asked for.
pub fn service(common: &Common, command: &ServiceCommand) -> Result<(), CliError> {
    if common.node.is_some() {
        let text = "--node names a node that runs; a service is for the data folder of --home";
        return Err(CliError::Usage(text.to_owned()));
    }
    match command {
        ServiceCommand::Install { print, memory_mib } => install(common, *print, *memory_mib),
        ServiceCommand::Uninstall => uninstall(common),
        ServiceCommand::Status => status(common),
    }
}

fn install(common: &Common, only_print: bool, memory_mib: Option<u64>) -> Result<(), CliError> {
    let folder = home::folder(common)?;
    // As systemd finds it, wherever this was asked from.
    let home = match folder.canonicalize() {
        Ok(home) => home,
        Err(error) if error.kind() == ErrorKind::NotFound => return Err(CliError::NoMesh { folder }),
        Err(source) => return Err(CliError::Read { path: folder, source }),
    };
    let program = std::env::current_exe().map_err(CliError::Thread)?;
    let text = Unit { program, home, threads: common.threads, memory_mib }.text()?;
    let path = place()?;
    if only_print {
        if common.json {
            print_json(&json!({ "path": path.display().to_string(), "unit": text }));
        } else {
            print(text.trim_end());
        }
        return Ok(());
    }
    let old = read(&path)?;
    if old.is_none() && Client::find(common)?.is_some() {
        return Err(CliError::Runs { folder });
    }
    let changed = old.as_deref() != Some(text.as_str());
    if changed {
        write(&path, &text)?;
    }
    let running = Systemctl::reload();
    if running.is_reachable() {
        running.demand(&["enable", "--now", UNIT])?;
        if old.is_some() && changed {
            // What runs still is the old one.
            running.demand(&["restart", UNIT])?;
        }
    }
    let mut left = Vec::new();
    if !running.is_reachable() {
        left.push(ENABLE);
    }
    if !lingers() {
        left.push(LINGER);
    }
    if common.json {
        print_json(&json!({
            "unit": path.display().to_string(), "written": changed, "started": running.is_reachable(), "left": left,
        }));
        return Ok(());
    }
    print(&format!("{} {}", if changed { "wrote" } else { "unchanged:" }, path.display()));
    if let Systemctl::Unreachable(why) = &running {
        print(&format!("systemd cannot be reached here: {why}"));
    } else {
        print("the node runs as a service; its log: journalctl --user --unit forgemesh");
    }
    for command in left {
        let why = if command == LINGER { "it runs while nobody is logged in, too" } else { "it is started" };
        print(&format!("left to do, so that {why}: {command}"));
    }
    Ok(())
}

fn uninstall(common: &Common) -> Result<(), CliError> {
    let path = place()?;
    let found = read(&path)?.is_some();
    let mut running = Systemctl::Reachable;
    if found {
        running = Systemctl::reload();
        if running.is_reachable() {
            running.demand(&["disable", "--now", UNIT])?;
        }
        std::fs::remove_file(&path).map_err(|source| CliError::Write { path: path.clone(), source })?;
        // Its unit is gone: systemd forgets it now or when it is started next.
        let _ = Systemctl::reload();
    }
    let stopped = running.is_reachable();
    if common.json {
        print_json(
            &json!({ "unit": path.display().to_string(), "removed": found, "stopped": found && stopped }),
        );
    } else if !found {
        print("no service is installed");
    } else if stopped {
        print(&format!("stopped the service and removed {}", path.display()));
    } else {
        print(&format!("removed {}; if the node runs still, stop it: forgemesh down", path.display()));
    }
    Ok(())
}

fn status(common: &Common) -> Result<(), CliError> {
    let path = place()?;
    let unit = match read(&path) {
        Ok(Some(_)) => "installed",
        Ok(None) => "not installed",
        Err(CliError::ForeignUnit { .. }) => "not ours",
        Err(error) => return Err(error),
    };
    let [active, enabled] = ["is-active", "is-enabled"].map(|word| {
        let said = run("systemctl", &["--user", word, UNIT]).ok().map(|ran| ran.out);
        said.filter(|word| !word.is_empty()).unwrap_or_else(|| "unknown".to_owned())
    });
    let (lingers, runs) = (lingers(), Client::find(common)?.is_some());
    if common.json {
        print_json(&json!({
            "unit": path.display().to_string(), "state": unit, "active": active, "enabled": enabled,
            "lingers": lingers, "node_runs": runs,
        }));
        return Ok(());
    }
    let row = |name: &str, text: &str| print(&format!("{name:<10} {text}"));
    row("unit", &format!("{unit}: {}", path.display()));
    row("active", &active);
    row("enabled", &enabled);
    row("lingers", if lingers { "yes" } else { "no, it ends with the last login: loginctl enable-linger" });
    row("node", if runs { "runs" } else { "does not run" });
    Ok(())
}

/// Where this user's units are.
fn place() -> Result<PathBuf, CliError> {
    let strategy = etcetera::choose_base_strategy().map_err(|_| {
        CliError::Usage("this user has no home folder; set HOME or XDG_CONFIG_HOME".to_owned())
    })?;
    Ok(strategy.config_dir().join("systemd/user").join(UNIT))
}

/// The unit that is there; one that somebody else wrote is an error.
fn read(path: &Path) -> Result<Option<String>, CliError> {
    match std::fs::read_to_string(path) {
        Ok(text) if is_ours(&text) => Ok(Some(text)),
        Ok(_) => Err(CliError::ForeignUnit { path: path.to_owned() }),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        // No text of ours.
        Err(error) if error.kind() == ErrorKind::InvalidData => {
            Err(CliError::ForeignUnit { path: path.to_owned() })
        }
        Err(source) => Err(CliError::Read { path: path.to_owned(), source }),
    }
}

/// All of the file or nothing: systemd may look at any moment.
fn write(path: &Path, text: &str) -> Result<(), CliError> {
    let failed = |source| CliError::Write { path: path.to_owned(), source };
    let folder = path.parent().unwrap_or(Path::new("/"));
    std::fs::create_dir_all(folder).map_err(failed)?;
    let whole = path.with_extension("service.new");
    std::fs::write(&whole, text).map_err(failed)?;
    std::fs::rename(&whole, path).map_err(failed)
}

/// This user's systemd.
enum Systemctl {
    Reachable,
    Unreachable(String),
}

impl Systemctl {
    /// Has it read its units again, which shows whether it is there.
    fn reload() -> Systemctl {
        match run("systemctl", &["--user", "daemon-reload"]) {
            Ok(ran) if ran.good => Systemctl::Reachable,
            Ok(ran) => Systemctl::Unreachable(ran.error),
            Err(error) => Systemctl::Unreachable(format!("systemctl: {error}")),
        }
    }

    fn is_reachable(&self) -> bool {
        matches!(self, Systemctl::Reachable)
    }

    /// Has it do something that must succeed.
    fn demand(&self, args: &[&str]) -> Result<(), CliError> {
        let args = [&["--user"], args].concat();
        let command = format!("systemctl {}", args.join(" "));
        match run("systemctl", &args) {
            Ok(ran) if ran.good => Ok(()),
            Ok(ran) => Err(CliError::Systemd { command, said: ran.error }),
            Err(error) => Err(CliError::Systemd { command, said: error.to_string() }),
        }
    }
}

/// Do this user's services run while nobody is logged in?
fn lingers() -> bool {
    let user = rustix::process::getuid().as_raw().to_string();
    let asked = run("loginctl", &["show-user", &user, "--property=Linger"]);
    asked.is_ok_and(|ran| ran.out == "Linger=yes")
}

/// What a program said.
struct Ran {
    good: bool,
    out: String,
    error: String,
}

fn run(program: &str, args: &[&str]) -> std::io::Result<Ran> {
    let ran = Command::new(program).args(args).stdin(Stdio::null()).output()?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    Ok(Ran { good: ran.status.success(), out: text(&ran.stdout), error: text(&ran.stderr) })
}
