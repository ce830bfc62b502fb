//! `service`: what it writes for systemd, and what it asks of it. A fake `systemctl` and `loginctl` note their calls: these
//! tests never touch the services of whoever runs them.

use std::path::{Path, PathBuf};
use std::process::Command;

use forgemesh_tests::{forgemesh, script};
use serde_json::json;

use super::node::{Ended, Node, path};

/// A node whose person has a home, settings and tools of its own.
struct Desktop {
    node: Node,
}

const GOOD: &str = "exit 0";
const NO_BUS: &str = "echo 'Failed to connect to bus' >&2; exit 1";

impl Desktop {
    /// `systemctl` and `loginctl` note their arguments, then do this.
    fn new(systemctl: &str, loginctl: &str) -> Desktop {
        let desktop = Desktop { node: Node::new() };
        desktop.node.init(&[]);
        desktop.tools(systemctl, loginctl);
        desktop
    }

    fn tools(&self, systemctl: &str, loginctl: &str) {
        let bin = self.node.path("bin");
        std::fs::create_dir_all(&bin).expect("our folder");
        for (name, then) in [("systemctl", systemctl), ("loginctl", loginctl)] {
            let calls = self.node.path("calls");
            let text = format!("echo \"{name} $*\" >> '{}'\n{then}", calls.display());
            script(&bin.join(name), &text);
        }
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = self.node.command(&[&["service"], args].concat());
        command.env("HOME", self.node.path("")).env("XDG_CONFIG_HOME", self.node.path("config"));
        command.env("PATH", format!("{}:/usr/bin:/bin", self.node.path("bin").display()));
        command
    }

    fn service(&self, args: &[&str]) -> Ended {
        Ended::of(self.command(args).output().expect("it starts"))
    }

    fn unit(&self) -> PathBuf {
        self.node.path("config/systemd/user/forgemesh.service")
    }

    /// What systemd was asked since this was asked last.
    fn calls(&self) -> Vec<String> {
        let path = self.node.path("calls");
        let calls = std::fs::read_to_string(&path).unwrap_or_default();
        let _ = std::fs::remove_file(&path);
        calls.lines().filter(|call| call.starts_with("systemctl")).map(str::to_owned).collect()
    }
}

#[test]
fn a_service_is_installed_once_changed_and_removed() {
    let desktop = Desktop::new(GOOD, "echo Linger=yes");
    let first = desktop.service(&["install", "--json"]).json();
    assert_eq!(
        (&first["written"], &first["started"], &first["left"]),
        (&json!(true), &json!(true), &json!([]))
    );
    let enable = "systemctl --user enable --now forgemesh.service";
    assert_eq!(desktop.calls(), ["systemctl --user daemon-reload", enable]);
    let text = std::fs::read_to_string(desktop.unit()).expect("it is written");
    let home = desktop.node.home().canonicalize().expect("it is there");
    assert!(text.contains(&format!("--home \"{}\" up\n", home.display())), "{text}");
    assert!(text.contains("NoNewPrivileges=yes") && text.contains("Restart=on-failure"), "{text}");
    // Once more changes nothing, and starts nothing anew.
    assert_eq!(desktop.service(&["install", "--json"]).json()["written"], json!(false));
    assert_eq!(desktop.calls(), ["systemctl --user daemon-reload", enable]);
    // Another unit of ours takes its place, and what runs is started anew.
    let changed = desktop.service(&["install", "--memory-mib", "512", "--threads", "2", "--json"]);
    assert_eq!(changed.json()["written"], json!(true), "{}", changed.text());
    let restart = "systemctl --user restart forgemesh.service";
    assert_eq!(desktop.calls(), ["systemctl --user daemon-reload", enable, restart]);
    let text = std::fs::read_to_string(desktop.unit()).expect("it is written");
    assert!(text.contains("MemoryMax=512M") && text.contains("--threads 2 up"), "{text}");
    let status = desktop.service(&["status", "--json"]).json();
    assert_eq!((&status["state"], &status["lingers"]), (&json!("installed"), &json!(true)));
    desktop.calls();
    assert_eq!(desktop.service(&["uninstall", "--json"]).json()["removed"], json!(true));
    let disable = "systemctl --user disable --now forgemesh.service";
    let reload = "systemctl --user daemon-reload";
    assert_eq!(desktop.calls(), [reload, disable, reload]);
    assert!(!desktop.unit().exists() && desktop.node.home().exists());
    let again = desktop.service(&["uninstall", "--json"]);
    assert_eq!((again.code, &again.json()["removed"], desktop.calls().len()), (0, &json!(false), 0));
}

#[test]
fn without_systemd_the_unit_is_written_and_the_commands_that_remain_are_said() {
    let desktop = Desktop::new(NO_BUS, NO_BUS);
    let said = desktop.service(&["install", "--json"]);
    assert_eq!(said.code, 0, "{}", said.stderr);
    let left = json!(["systemctl --user enable --now forgemesh", "loginctl enable-linger"]);
    assert_eq!((&said.json()["started"], &said.json()["left"]), (&json!(false), &left));
    assert!(desktop.unit().exists());
    let text = desktop.service(&["install"]).text();
    assert!(text.contains("Failed to connect to bus") && text.contains("loginctl enable-linger"), "{text}");
    assert_eq!(desktop.service(&["status", "--json"]).json()["lingers"], json!(false));
    assert_eq!(desktop.service(&["uninstall"]).code, 0);
    assert!(!desktop.unit().exists());
    // systemd is there, and refuses.
    desktop.tools("case \"$*\" in *enable*) echo 'no' >&2; exit 1;; esac", NO_BUS);
    let error = desktop.service(&["install", "--json"]).error(1, "service");
    assert!(error["message"].as_str().is_some_and(|text| text.contains("enable --now")), "{error}");
}

#[test]
fn somebody_elses_unit_stays_as_it_is() {
    let desktop = Desktop::new(GOOD, GOOD);
    let unit = desktop.unit();
    std::fs::create_dir_all(unit.parent().expect("a folder")).expect("our folder");
    for theirs in [&b"[Service]\nExecStart=/bin/true\n"[..], &[0xff, 0xfe]] {
        std::fs::write(&unit, theirs).expect("our file");
        for command in ["install", "uninstall"] {
            let error = desktop.service(&[command, "--json"]).error(1, "service");
            assert!(error["message"].as_str().is_some_and(|text| text.contains("--print")), "{error}");
        }
        assert_eq!(std::fs::read(&unit).expect("it is there"), theirs);
        assert_eq!(desktop.service(&["status", "--json"]).json()["state"], json!("not ours"));
    }
}

#[test]
fn what_cannot_run_is_not_installed() {
    let desktop = Desktop { node: Node::new() };
    desktop.tools(GOOD, GOOD);
    desktop.service(&["install", "--json"]).error(2, "no_mesh");
    desktop.node.init(&[]);
    let running = desktop.node.up();
    desktop.service(&["install", "--json"]).error(1, "node_runs");
    assert!(!desktop.unit().exists() && desktop.calls().is_empty());
    drop(running);
    // A look changes nothing.
    let shown = desktop.service(&["install", "--print"]);
    assert!(shown.text().contains("[Service]") && !desktop.unit().exists() && desktop.calls().is_empty());
}

/// systemd itself reads the unit, finds the program in it, and has nothing to say.
#[test]
fn systemd_finds_the_program_whatever_it_is_called() {
    let desktop = Desktop::new(NO_BUS, NO_BUS);
    let folder = desktop.node.path("odd %h $HOME folder");
    std::fs::create_dir_all(&folder).expect("our folder");
    let program = folder.join("forge mesh");
    if std::fs::hard_link(forgemesh(), &program).is_err() {
        std::fs::copy(forgemesh(), &program).expect("room for it");
    }
    let home = desktop.node.path("home %n \"quoted\" $USER");
    std::fs::rename(desktop.node.home(), &home).expect("our folder");
    let mut install = Command::new(&program);
    install.args(["--home", path(&home), "service", "install", "--json"]);
    install.env("HOME", desktop.node.path("")).env("XDG_CONFIG_HOME", desktop.node.path("config"));
    install.env("PATH", desktop.node.path("bin"));
    assert_eq!(Ended::of(install.output().expect("it starts")).code, 0);
    if let Some(said) = verify(&desktop, &desktop.unit()) {
        assert_eq!(said, "");
    }
    // It is no rubber stamp: without the program it complains.
    std::fs::remove_file(&program).expect("our file");
    if let Some(said) = verify(&desktop, &desktop.unit()) {
        assert!(said.contains("not executable"), "{said}");
    }
}

/// What `systemd-analyze verify` says; none where there is none.
fn verify(desktop: &Desktop, unit: &Path) -> Option<String> {
    let runtime = desktop.node.path("runtime");
    std::fs::create_dir_all(&runtime).expect("our folder");
    let mut command = Command::new("systemd-analyze");
    command.args(["--user", "verify"]).arg(unit).env("XDG_RUNTIME_DIR", runtime);
    let said = command.output().ok()?;
    let text = String::from_utf8_lossy(&said.stderr).into_owned();
    Some(text.lines().filter(|line| line.contains("forgemesh")).collect())
}
