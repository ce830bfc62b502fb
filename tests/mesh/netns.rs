//! An internet of a test's own: network namespaces of this machine, joined by a router, some of them behind a NAT, on
//! lines that can be cut, lossy or narrow.
//!
//! A namespace lives as long as the process that holds it, and that process as long as the pipe to this one: however a
//! test ends, nothing of it is left, and no name is taken that another test could want. Must never touch the network of
//! the machine itself: all that is changed lies within the namespaces.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::OnceLock;

/// What is needed, and in which package it comes.
const TOOLS: [(&str, &str); 6] = [
    ("ip", "iproute2"),
    ("ss", "iproute2"),
    ("tc", "iproute2"),
    ("nft", "nftables"),
    ("nsenter", "util-linux"),
    ("unshare", "util-linux"),
];
/// Where the hosts of the internet are: a network of documentation (RFC 5737), four addresses to each line.
const PUBLIC: &str = "198.51.100";
/// Likewise of IPv6 (RFC 3849): a network to each line.
const PUBLIC_6: &str = "2001:db8:0";
/// What is there where the kernel has IPv6.
const IPV6: &str = "/proc/sys/net/ipv6/conf/all";
/// Where the hosts behind every NAT are: all of them use the same addresses, as at home.
const BEHIND: &str = "192.168.1";
/// A namespace's own end of its line.
const LINE: &str = "line";

/// One network namespace.
struct Place {
    holder: Child,
}

impl Place {
    fn new(unshare: &[&str]) -> Place {
        let (program, args) = unshare.split_first().expect("a program");
        let mut command = Command::new(program);
        // It tells when it is there, and goes when nobody holds its input any more.
        command.args(args).args(["sh", "-c", "echo here; exec cat"]);
        let mut holder =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("unshare starts");
        let mut line = String::new();
        BufReader::new(holder.stdout.as_mut().expect("piped")).read_line(&mut line).expect("text");
        assert_eq!(line, "here\n", "a namespace could not be made with {unshare:?}");
        Place { holder }
    }

    /// The words before a command that is to run here.
    fn words(&self) -> Vec<String> {
        let net = format!("--net=/proc/{}/ns/net", self.holder.id());
        [permission().words.clone(), vec!["nsenter".to_owned(), net, "--".to_owned()]].concat()
    }

    /// Runs a command here that must succeed; its words are separated by spaces.
    fn run(&self, text: &str) {
        let ended = command(&self.words(), text).stdin(Stdio::null()).output().expect("nsenter starts");
        assert!(ended.status.success(), "{text}: {}", said(&ended));
    }

    /// Likewise, with something to read.
    fn feed(&self, text: &str, input: &str) {
        let mut command = command(&self.words(), text);
        let command = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut process = command.spawn().expect("nsenter starts");
        process.stdin.take().expect("piped").write_all(input.as_bytes()).expect("it reads");
        let ended = process.wait_with_output().expect("a child of ours");
        assert!(ended.status.success(), "{text}: {}\n{input}", said(&ended));
    }

    /// Sets filters and translations.
    fn filter(&self, rules: &str) {
        self.feed("nft -f -", rules);
    }

    /// A line from here to another namespace, each end with its name, its address and 30 bits of network.
    fn connect(&self, name: &str, address: &str, other: &Place, other_address: &str) {
        let (here, there) = (self.holder.id(), other.holder.id());
        self.run(&format!("ip link add {name} netns {here} type veth peer name {LINE} netns {there}"));
        for (place, name, address) in [(self, name, address), (other, LINE, other_address)] {
            place.run(&format!("ip address add {address}/30 dev {name}"));
            place.run(&format!("ip link set {name} up"));
        }
        other.run(&format!("ip route add default via {address}"));
    }

    fn forward(&self) {
        self.feed("tee /proc/sys/net/ipv4/ip_forward", "1");
    }

    /// Gives this end of a line an address of IPv6, used at once though nobody has looked whether another has it.
    fn add_ipv6(&self, line: &str, address: &str) {
        self.feed(&format!("tee {IPV6}/disable_ipv6"), "0");
        self.run(&format!("ip address add {address}/64 dev {line} nodad"));
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // It has nothing to finish; one that has ended already is as good.
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}

fn command(words: &[String], text: &str) -> Command {
    let mut words = words.iter().map(String::as_str).chain(text.split(' '));
    let mut command = Command::new(words.next().expect("a program"));
    command.args(words);
    command
}

fn said(ended: &Output) -> String {
    String::from_utf8_lossy(&[&ended.stdout[..], &ended.stderr[..]].concat()).into_owned()
}

/// How this user may make namespaces.
struct Permission {
    /// The words before every command: into a namespace of users, where this user is root, or none where it is root.
    words: Vec<String>,
    refusal: Option<String>,
    /// Holds that namespace of users as long as the tests run.
    _users: Option<Place>,
}

/// Finds it out once.
fn permission() -> &'static Permission {
    static FOUND: OnceLock<Permission> = OnceLock::new();
    FOUND.get_or_init(|| {
        let attempt = |text: &str| {
            let ended = command(&[], text).stdin(Stdio::null()).output();
            ended.map_err(|error| error.to_string()).and_then(|ended| match ended.status.success() {
                true => Ok(()),
                false => Err(said(&ended).trim().to_owned()),
            })
        };
        let Err(refusal) = attempt("unshare --net true") else {
            return Permission { words: Vec::new(), refusal: None, _users: None };
        };
        if attempt("unshare --user --map-root-user --net true").is_err() {
            return Permission { words: Vec::new(), refusal: Some(refusal), _users: None };
        }
        let users = Place::new(&["unshare", "--user", "--map-root-user"]);
        let user = format!("--user=/proc/{}/ns/user", users.holder.id());
        let words = ["nsenter", &user, "--preserve-credentials", "--"].map(str::to_owned).to_vec();
        Permission { words, refusal: None, _users: Some(users) }
    })
}

/// The router that all lines lead to.
pub struct Internet {
    router: Place,
    lines: u8,
}

/// A machine: where a node of a test runs.
pub struct Host {
    place: Place,
    nat: Option<Place>,
    /// The router's end of its line, within the router.
    line: String,
    /// Where it, or its NAT, is in the internet.
    address: String,
}

/// What a NAT makes of a port behind it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ports {
    /// The same port, whoever is talked to: two such NATs can be talked through by who dials at the same moment.
    Kept,
    /// Another one for each connection.
    Drawn,
}

impl Internet {
    /// A router without lines. None, after saying so, where this user may not make namespaces; what is missing on a
    /// machine where it may is a failure.
    pub fn new() -> Option<Internet> {
        if let Some(refusal) = &permission().refusal {
            // Past the test runner, which shows what a test prints only if it fails.
            let text = format!(
                "\nSKIPPED, for network namespaces may not be made here: {refusal}; run it as root\n"
            );
            std::io::stderr().write_all(text.as_bytes()).expect("standard error is open");
            return None;
        }
        for (tool, package) in TOOLS {
            let found = Command::new(tool).arg("-V").stdin(Stdio::null()).output();
            assert!(
                found.is_ok(),
                "{tool} is missing, which this test needs: install the package {package}, or run tests/run as root"
            );
        }
        let router = place();
        router.forward();
        Some(Internet { router, lines: 0 })
    }

    /// A machine with an address of its own.
    pub fn host(&mut self) -> Host {
        let place = place();
        let (line, address) = self.attach(&place);
        Host { place, nat: None, line, address }
    }

    /// Gives a machine without a NAT an address of IPv6 too, and says it; none where the kernel has no IPv6.
    pub fn add_ipv6(&self, host: &Host) -> Option<String> {
        if !Path::new(IPV6).exists() {
            return None;
        }
        let network = format!("{PUBLIC_6}:{}:", host.line.trim_start_matches("line"));
        let (here, there) = (format!("{network}:1"), format!("{network}:2"));
        self.router.add_ipv6(&host.line, &here);
        self.router.feed(&format!("tee {IPV6}/forwarding"), "1");
        host.place.add_ipv6(LINE, &there);
        host.place.run(&format!("ip -6 route add default via {here}"));
        Some(there)
    }

    /// A machine that others see as its NAT, which lets in only what answers.
    pub fn host_behind_nat(&mut self) -> Host {
        self.behind(Ports::Kept)
    }

    /// One behind a NAT through which nobody can be dialled, however cleverly.
    pub fn host_behind_hard_nat(&mut self) -> Host {
        self.behind(Ports::Drawn)
    }

    fn behind(&mut self, ports: Ports) -> Host {
        let (place, nat) = (place(), place());
        let (line, address) = self.attach(&nat);
        nat.forward();
        nat.connect("home", &format!("{BEHIND}.1"), &place, &format!("{BEHIND}.2"));
        let how = if ports == Ports::Kept { "" } else { "fully-random" };
        // What comes unasked is dropped without a word, as RFC 5382 wants it: a refusal would end what the other side of a
        // hole is about to open.
        let only_answers = format!("iifname {LINE} ct state established,related accept\niifname {LINE} drop");
        nat.filter(&format!(
            "table ip nat {{\n\
             chain out {{\ntype nat hook postrouting priority srcnat;\noifname {LINE} masquerade {how}\n}}\n\
             chain in {{\ntype filter hook input priority filter;\n{only_answers}\n}}\n\
             chain through {{\ntype filter hook forward priority filter;\n{only_answers}\n}}\n}}\n"
        ));
        Host { place, nat: Some(nat), line, address }
    }

    /// From now on the router drops so many packets of a hundred, of all lines and both ways.
    pub fn lose(&self, percent: u8) {
        self.router.filter(&format!(
            "table ip loss\ndelete table ip loss\ntable ip loss {{\nchain through {{\ntype filter hook forward priority filter;\n\
             numgen random mod 100 < {percent} drop\n}}\n}}\n"
        ));
    }

    fn attach(&mut self, place: &Place) -> (String, String) {
        let (line, first) = (format!("line{}", self.lines), 4 * self.lines + 1);
        self.lines += 1;
        let address = format!("{PUBLIC}.{}", first + 1);
        self.router.connect(&line, &format!("{PUBLIC}.{first}"), place, &address);
        (line, address)
    }

    /// Pulls a host's plug.
    pub fn cut(&self, host: &Host) {
        self.router.run(&format!("ip link set {} down", host.line));
    }

    /// And puts it in again.
    pub fn mend(&self, host: &Host) {
        self.router.run(&format!("ip link set {} up", host.line));
    }

    /// Makes a host's line as narrow as this, each way.
    pub fn narrow(&self, host: &Host, kbit_per_s: u32) {
        let outer = host.nat.as_ref().unwrap_or(&host.place);
        for (place, line) in [(&self.router, host.line.as_str()), (outer, LINE)] {
            place.run(&format!(
                "tc qdisc add dev {line} root tbf rate {kbit_per_s}kbit burst 32kb latency 400ms"
            ));
        }
    }
}

impl Host {
    /// Its address in the internet, or that of its NAT.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The words before a command that is to run on this machine.
    pub fn words(&self) -> Vec<String> {
        self.place.words()
    }
}

/// A new namespace in which a machine can talk to itself.
fn place() -> Place {
    let words: Vec<&str> = permission().words.iter().map(String::as_str).collect();
    let place = Place::new(&[&words[..], &["unshare", "--net"]].concat());
    place.run("ip link set lo up");
    place
}
