//! A private mesh and those who are not of it: at every address of its hub, and through a relay, who has no key connects
//! with nobody, and who has the key and stands in no list is told nothing.
//!
//! Wherever somebody is refused, a member has come in by the same way before: the way is open, to members.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use forgemesh_kernel::job::Job;
use forgemesh_node::ports::{Brought, Mesh};
use forgemesh_node::real::swarm::{Config, Swarm, node_at};
use forgemesh_protocol::canon::{self, Bytes};
use forgemesh_protocol::enrolment::Invitation;
use forgemesh_protocol::hash::Hash;
use forgemesh_protocol::keys::{SecretKey, Signed};
use forgemesh_protocol::limits;
use forgemesh_protocol::submission::{Offer, Submission};
use forgemesh_protocol::ticket::Ticket;
use forgemesh_protocol::wire::Message;
use forgemesh_storage::{Batch, KeyFile, MetaKey, Storage};
use forgemesh_tests::node::{Ended, Node, Running};
use serde_json::{Value, json};

use crate::netns::{Host, Internet};

/// On all addresses of its machine, and on one for this machine alone.
const LISTEN: [&str; 2] = ["/ip4/0.0.0.0/tcp/4610", "/ip4/127.0.0.1/tcp/4611"];
const LISTEN_6: &str = "/ip6/::/tcp/4612";
/// A job of a moment.
const NOOP: [&str; 3] = ["job", "submit", "diag@1/noop.v1"];
/// Longer than anybody may take over a handshake.
const SETUP: Duration = Duration::from_millis(limits::FRAME_MS + 5_000);
/// What a private node says before it knows whom it has before it: random bytes that its cipher begins with.
const NONCE_BYTES: usize = 24;
/// How long a stranger is given to be answered.
const ANSWER: Duration = Duration::from_secs(4);
/// How long a ticket is good that a test waits for the end of.
const SHORT_MS: u64 = 4_000;

/// The hub of a private mesh, running on a machine of its own.
struct Hub {
    machine: Host,
    node: Node,
    mesh: Value,
    _runs: Running,
}

impl Hub {
    fn new(net: &mut Internet) -> Hub {
        let machine = net.host();
        let ipv6 = net.add_ipv6(&machine).map(|_| LISTEN_6);
        let node = Node::within(machine.words());
        let listen = LISTEN.into_iter().chain(ipv6).flat_map(|address| ["--listen", address]);
        let args: Vec<&str> = ["init", "--private", "--json"].into_iter().chain(listen).collect();
        let mesh = node.ok(&args).json()["mesh"].clone();
        let _runs = node.up();
        Hub { machine, node, mesh, _runs }
    }

    /// Everywhere that it listens and somebody can dial: the network behind a link-local address is not named in it.
    fn addresses(&self) -> Vec<String> {
        let listen = network(&self.node)["listen"].clone();
        let all = listen.as_array().expect("a list").iter().map(text);
        all.filter(|address| !address.starts_with("/ip6/fe80:")).collect()
    }

    fn ticket(&self) -> String {
        text(&self.node.ok(&["ticket", "create", "--json"]).json()["ticket"])
    }

    /// A node on that machine, admitted and not running.
    fn member(&self, machine: &Host, name: &str) -> Node {
        let node = Node::within(machine.words());
        let joined = node.ok(&["join", &self.ticket(), "--name", name, "--json"]).json();
        assert_eq!(joined["mesh"], self.mesh);
        node
    }

    /// Its key.
    fn secret(&self) -> SecretKey {
        secret(&self.node)
    }

    /// Its peer id.
    fn peer(&self) -> String {
        let addresses = self.addresses();
        addresses[0].rsplit('/').next().expect("it ends in one").to_owned()
    }

    /// Who is in its list, by name.
    fn names(&self) -> Vec<String> {
        let listed = self.node.ok(&["node", "ls", "--json"]).json();
        let nodes = listed["nodes"].as_array().expect("a list");
        nodes.iter().filter_map(|node| node["name"].as_str().map(str::to_owned)).collect()
    }

    fn peers(&self) -> Value {
        network(&self.node)["peers"].clone()
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("no text: {value}")).to_owned()
}

fn read(ticket: &str) -> Ticket {
    Ticket::read(ticket, now_ms()).expect("a ticket")
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    u64::try_from(since.as_millis()).expect("a date")
}

/// The key of a node that has one.
fn secret(node: &Node) -> SecretKey {
    let key = KeyFile::load_or_create(&node.home(), || Err("it has no key")).expect("a key");
    SecretKey::from_bytes(key.secret())
}

fn network(node: &Node) -> Value {
    node.ok(&["status", "--json"]).json()["network"].clone()
}

/// Is it one that only its own machine can dial?
fn is_local(address: &str) -> bool {
    address.starts_with("/ip4/127.") || address.starts_with("/ip6/::1/")
}

/// Has a node begin with these addresses and no others.
fn configure(node: &Node, listen: &[&str], bootstrap: &[&str]) {
    let config = format!("listen = {listen:?}\nbootstrap = {bootstrap:?}\n");
    std::fs::write(node.home().join("config.toml"), config).expect("a data folder");
}

/// All that a node has, but for its network key, on that machine; with another key if one is given.
fn without_key(member: &Node, machine: &Host, bootstrap: &[&str], key: Option<&str>) -> Node {
    let node = Node::within(machine.words());
    std::fs::create_dir(node.home()).expect("a new folder");
    for file in ["node.key", "forgemesh.redb"] {
        std::fs::copy(member.home().join(file), node.home().join(file)).expect("the member's");
    }
    if let Some(key) = key {
        let own = std::fs::read_to_string(member.home().join("swarm.key")).expect("a private mesh's");
        let kept = own.len() - key.len() - 1;
        let path = node.home().join("swarm.key");
        std::fs::copy(member.home().join("swarm.key"), &path).expect("with its permissions");
        std::fs::write(path, format!("{}{key}\n", &own[..kept])).expect("our file");
    }
    configure(&node, &[], bootstrap);
    node
}

/// A node that tries to come in, and at once to give the mesh a job.
struct Outsider {
    node: Node,
    runs: Running,
    submits: Child,
}

impl Outsider {
    fn new(node: Node) -> Outsider {
        let runs = node.up();
        let mut submit = node.command(&[&NOOP[..], &["--json"]].concat());
        let submit = submit.stdout(Stdio::piped()).stderr(Stdio::piped());
        let submits = submit.spawn().expect("it starts");
        Outsider { node, runs, submits }
    }

    /// Whatever came of it.
    fn has_tried(&self) -> bool {
        let network = network(&self.node);
        network["last_failure"] != json!(null) || network["peers"] != json!(0)
    }

    /// It has tried, and connected with nobody: it knows what it knew.
    fn ends_outside(self) {
        let network = network(&self.node);
        assert_eq!(network["peers"], json!(0), "{network}");
        assert_ne!(network["last_failure"], json!(null), "it has not tried: {network}");
        self.ends_untold();
    }

    /// It was told that it does not belong, and has learnt of no job.
    fn ends_turned_away(self) {
        self.ends_with("rejected", "does not belong to the mesh");
    }

    /// No hub member answers it, and it has learnt of no job.
    fn ends_untold(self) {
        self.ends_with("hub_unreachable", "none can be reached");
    }

    /// What it was told of its job, and that it knows of none.
    fn ends_with(self, code: &str, words: &str) {
        let refused = Ended::of(self.submits.wait_with_output().expect("a child of ours"));
        let error = refused.error(1, code);
        assert!(text(&error["message"]).contains(words), "{error}");
        assert_eq!(self.runs.down(&self.node), Some(0));
        assert_eq!(self.node.ok(&["job", "ls", "--json"]).json()["jobs"], json!([]));
    }
}

#[test]
fn without_the_key_nobody_connects_at_any_address() {
    let Some(mut net) = Internet::new() else { return };
    let hub = Hub::new(&mut net);
    let elsewhere = net.host();
    net.add_ipv6(&elsewhere);
    let members = [hub.member(&hub.machine, "here"), hub.member(&elsewhere, "elsewhere")];
    let addresses = hub.addresses();
    let (local, public): (Vec<&str>, Vec<&str>) =
        addresses.iter().map(String::as_str).partition(|address| is_local(address));
    assert!(local.len() >= 2 && !public.is_empty(), "{addresses:?}");
    let ways = [(&members[0], &hub.machine, &local), (&members[1], &elsewhere, &public)];
    let mut outsiders = Vec::new();
    for (member, machine, addresses) in ways {
        let each = addresses.iter().map(|address| without_key(member, machine, &[address], None));
        outsiders.extend(each.map(Outsider::new));
        let other_key = "5a".repeat(32);
        outsiders.push(Outsider::new(without_key(member, machine, addresses, Some(&other_key))));
    }
    hub.node.ok(&[&NOOP[..], &["--wait"]].concat());
    for outsider in &outsiders {
        hub.node.until("it has tried", || outsider.has_tried());
    }
    assert_eq!(hub.peers(), json!(0));
    // The ways are open while they go on trying, and lead to this hub: a member's books say so.
    for (member, _, addresses) in ways {
        for address in addresses {
            configure(member, &[], &[address]);
            let runs = member.up();
            member.until("a member comes in", || network(member)["peers"] == json!(1));
            assert_eq!(hub.peers(), json!(1));
            assert_eq!(runs.down(member), Some(0));
        }
        assert_eq!(member.ok(&["job", "ls", "--json"]).json()["jobs"][0]["state"], json!("finalized"));
    }
    outsiders.into_iter().for_each(Outsider::ends_outside);
    hub.node.until("the members are gone", || hub.peers() == json!(0));
    // Neither does the hub know of anybody else than the two.
    assert_eq!(network(&hub.node)["known"], json!(2));
    hub.node.ok(&[&NOOP[..], &["--wait"]].concat());
}

#[test]
fn without_the_key_nobody_comes_through_a_relay() {
    let Some(mut net) = Internet::new() else { return };
    let hub = Hub::new(&mut net);
    let (elsewhere, hidden) = (net.host(), net.host_behind_nat());
    let [member, guest] =
        [(&elsewhere, "elsewhere"), (&hidden, "hidden")].map(|(host, name)| hub.member(host, name));
    let public = format!("/ip4/{}/", hub.machine.address());
    let relay = hub.addresses().into_iter().find(|address| address.starts_with(&public)).expect("it listens");
    configure(&guest, &[&format!("{relay}/p2p-circuit")], &[&relay]);
    let _guest_runs = guest.up();
    let mut circuit = None;
    guest.until("the relay has a place for it", || {
        let listen = network(&guest)["listen"].clone();
        let mut all = listen.as_array().into_iter().flatten().map(text);
        circuit = all.find(|address| address.starts_with(&public));
        circuit.is_some()
    });
    let circuit = circuit.expect("it was found");
    assert!(circuit.contains("/p2p-circuit/"), "{circuit}");
    let key = "c3".repeat(32);
    let outsiders = [None, Some(key.as_str())]
        .map(|key| Outsider::new(without_key(&member, &elsewhere, &[&circuit], key)));
    for outsider in &outsiders {
        guest.until("it has tried", || outsider.has_tried());
    }
    assert_eq!((hub.peers(), network(&guest)["peers"].clone()), (json!(1), json!(1)));
    // A member comes in that way, and so there are two connected with the guest.
    configure(&member, &[], &[&circuit]);
    let runs = member.up();
    guest.until("a member comes in", || network(&guest)["peers"] == json!(2));
    assert_eq!(network(&member)["peers"], json!(2));
    assert_eq!(runs.down(&member), Some(0));
    guest.until("it has gone", || network(&guest)["peers"] == json!(1));
    outsiders.into_iter().for_each(Outsider::ends_outside);
    guest.ok(&[&NOOP[..], &["--wait"]].concat());
    assert_eq!((hub.peers(), network(&guest)["peers"].clone()), (json!(1), json!(1)));
}

/// Says this at the address, and nothing more; what comes back until the other side closes, standard output of a child.
fn say(machine: &Host, address: &str, what: &Path) -> Child {
    let [_, _, ip, _, port] = *address.split('/').take(5).collect::<Vec<_>>() else { panic!("{address}") };
    let talk = "exec 3<>\"/dev/tcp/$0/$1\"; cat \"$2\" >&3; cat <&3";
    let words =
        [machine.words(), ["timeout", "30", "bash", "-c", talk, ip, port].map(str::to_owned).to_vec()];
    let words = words.concat();
    let mut command = Command::new(&words[0]);
    let command = command.args(&words[1..]).arg(what).stdin(Stdio::null());
    command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("it starts")
}

/// Ports of a machine at which something waits for datagrams.
fn datagrams(machine: &Host) -> String {
    let words = [machine.words(), ["ss", "-lunH"].map(str::to_owned).to_vec()].concat();
    let ended = Command::new(&words[0]).args(&words[1..]).output().expect("it starts");
    assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
    String::from_utf8_lossy(&ended.stdout).trim().to_owned()
}

#[test]
fn who_only_talks_learns_not_even_what_listens() {
    let Some(mut net) = Internet::new() else { return };
    let hub = Hub::new(&mut net);
    let machine = net.host();
    net.add_ipv6(&machine);
    let noise = [b"\x13/multistream/1.0.0\n\x07/noise\n\x00\x20", &[7_u8; 32][..]].concat();
    let hello = [b"\x16\x03\x01\x00\x2f\x01\x00\x00\x2b\x03\x03".as_slice(), &[9; 41]].concat();
    let said: [(&str, Vec<u8>); 7] = [
        ("nothing", Vec::new()),
        ("http", b"GET / HTTP/1.1\r\nHost: mesh\r\n\r\n".to_vec()),
        ("tls", hello.clone()),
        ("libp2p's tls", [b"\x13/multistream/1.0.0\n\x0b/tls/1.0.0\n".as_slice(), &hello].concat()),
        ("noise", noise.clone()),
        ("nonce", [&[5; NONCE_BYTES][..], &noise].concat()),
        ("garbage", (0..60_000_u32).map(|i| i.wrapping_mul(2_654_435_761).to_be_bytes()[0]).collect()),
    ];
    let files = said.each_ref().map(|(name, bytes)| (*name, hub.node.file(name, bytes)));
    let begun = SystemTime::now();
    let mut asked = Vec::new();
    for address in hub.addresses() {
        let from = if is_local(&address) { &hub.machine } else { &machine };
        for (name, file) in &files {
            asked.push((format!("{name} at {address}"), say(from, &address, file)));
        }
    }
    assert!(asked.len() >= 3 * said.len(), "{}", asked.len());
    let mut nonces = BTreeSet::new();
    for (what, child) in asked {
        let ended = child.wait_with_output().expect("a child of ours");
        let answer = ended.stdout;
        assert!(answer.len() <= NONCE_BYTES, "{what}: {}", String::from_utf8_lossy(&answer));
        assert!(answer.is_empty() || nonces.insert(answer), "{what}: an answer that somebody had before");
        assert_ne!(ended.status.code(), Some(124), "{what}: it was not closed");
    }
    assert!(begun.elapsed().expect("later") < SETUP);
    hub.node.ok(&[&NOOP[..], &["--wait"]].concat());
    assert_eq!((hub.peers(), network(&hub.node)["known"].clone()), (json!(0), json!(0)));
    // A node of an open mesh says more.
    let (open, place) = open_mesh(&mut net, "/ip4/0.0.0.0/tcp/4610");
    let address = format!("/ip4/{}/tcp/4610", place.address());
    let answer = say(&machine, &address, &files[3].1).wait_with_output().expect("a child of ours").stdout;
    assert!(String::from_utf8_lossy(&answer).contains("/multistream/1.0.0"), "{answer:?}");
    drop(open);
}

fn open_mesh(net: &mut Internet, listen: &str) -> (Running, Host) {
    let place = net.host();
    let node = Node::within(place.words());
    node.ok(&["init", "--listen", listen]);
    (node.up(), place)
}

#[test]
fn behind_a_key_nothing_waits_for_datagrams() {
    let Some(mut net) = Internet::new() else { return };
    let quic = "/ip4/0.0.0.0/udp/4610/quic-v1";
    let hub = Hub::new(&mut net);
    assert_eq!(datagrams(&hub.machine), "");
    // The key does not cover QUIC: it is refused wherever it could be asked for.
    let refused = Node::new().forgemesh(&["init", "--private", "--listen", quic, "--json"]);
    assert!(text(&refused.error(1, "network")["message"]).contains("TCP address"));
    let elsewhere = net.host();
    let member = hub.member(&elsewhere, "member");
    for [listen, bootstrap] in [[&[quic][..], &[]], [&[], &[&format!("{quic}/p2p/{}", hub.peer())]]] {
        configure(&member, listen, bootstrap);
        let refused = member.forgemesh(&["up", "--json"]);
        assert!(text(&refused.error(1, "network")["message"]).contains("TCP address"));
    }
    let (_runs, place) = open_mesh(&mut net, quic);
    assert!(datagrams(&place).contains(":4610"), "an open mesh listens there");
}

#[test]
fn a_ticket_that_is_no_longer_good_admits_nobody_from_elsewhere() {
    let Some(mut net) = Internet::new() else { return };
    let hub = Hub::new(&mut net);
    let (machine, behind_nat) = (net.host(), net.host_behind_nat());
    net.add_ipv6(&machine);
    let used = hub.ticket();
    let first = Node::within(machine.words());
    first.ok(&["join", &used, "--name", "first"]);
    let made = hub.node.ok(&["ticket", "create", "--json"]).json();
    hub.node.ok(&["ticket", "revoke", &text(&made["id"])]);
    let (revoked, ticket) = (text(&made["ticket"]), read(&hub.ticket()));
    // What a ticket of yesterday is to the node that is given it.
    let late = Ticket { expires_ms: now_ms() - 86_400_000, ..ticket }.issue(&hub.secret());
    for place in [&machine, &behind_nat] {
        for (line, exit, code, word) in [
            (&used, 1, "not_admitted", "has been used"),
            (&revoked, 1, "not_admitted", "was revoked"),
            (&late, 2, "ticket", "expired 24 h ago"),
        ] {
            let outsider = Node::within(place.words());
            let error = outsider.forgemesh(&["join", line, "--json"]).error(exit, code);
            assert!(text(&error["message"]).contains(word), "{word}: {error}");
            // Nothing of the mesh stays with it.
            assert!(
                !outsider.home().join("swarm.key").exists() && !outsider.home().join("config.toml").exists()
            );
            outsider.forgemesh(&["up", "--json"]).error(2, "no_mesh");
        }
    }
    assert_eq!(hub.names(), ["first"]);
    hub.node.until("nobody is connected", || hub.peers() == json!(0));
    // One that is good is, from the same places.
    hub.member(&behind_nat, "second");
    assert_eq!(hub.names().len(), 2);
}

/// A node that has the key of the mesh, its genesis and its addresses, and was never admitted.
fn with_key_in_no_list(ticket: &Ticket) -> Node {
    let node = Node::new();
    let storage = Storage::open(&node.home()).expect("a new folder");
    let own = KeyFile::load_or_create(&node.home(), || Ok::<_, ()>([0x2f; 32])).expect("a new key");
    let id = SecretKey::from_bytes(own.secret()).public().id();
    let mut batch = Batch::new();
    batch.put_meta(MetaKey::Genesis, canon::to_bytes(&ticket.genesis));
    batch.put_kv("forgemesh node", "joined", id.0.0.to_vec());
    storage.commit(&batch).expect("it is written");
    let key: String = key_of(ticket).iter().map(|byte| format!("{byte:02x}")).collect();
    let path = node.home().join("swarm.key");
    std::fs::write(&path, format!("/key/swarm/psk/1.0.0/\n/base16/\n{key}\n")).expect("our folder");
    std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).expect("our file");
    configure(&node, &[], &[&ticket.bootstrap[0]]);
    node
}

fn key_of(ticket: &Ticket) -> [u8; 32] {
    let key = ticket.network_key.as_ref().expect("a private mesh's");
    key.0.clone().try_into().expect("32 bytes")
}

/// A node in this process: says what it is told to, and hears all that it is told.
struct Talker {
    swarm: Swarm,
    secret: SecretKey,
    runtime: tokio::runtime::Runtime,
}

impl Talker {
    fn new(ticket: &Ticket, secret: SecretKey) -> Talker {
        let config = Config {
            listen: Vec::new(),
            bootstrap: ticket.bootstrap.clone(),
            pre_shared_key: Some(key_of(ticket)),
            ..Config::new(secret.clone(), ticket.genesis.mesh_id())
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        Talker { swarm: Swarm::start(config).expect("it starts"), secret, runtime }
    }

    /// Says each of these to the hub, and hears what comes for a while; whether it belongs is no news of the mesh.
    fn say(&mut self, ticket: &Ticket, said: Vec<Message>) -> Vec<Message> {
        let hub = node_at(&ticket.bootstrap[0]).expect("whose it is");
        said.into_iter().for_each(|message| self.swarm.send(hub, message));
        let mut heard = Vec::new();
        self.runtime.block_on(async {
            let end = tokio::time::Instant::now() + ANSWER;
            while let Ok((_, brought)) = tokio::time::timeout_at(end, self.swarm.next()).await {
                if let Brought::Message(message) = brought
                    && !matches!(message, Message::Belonging { .. })
                {
                    heard.push(message);
                }
            }
        });
        heard
    }

    /// All questions to which a hub has an answer that says something of the mesh, and a job.
    fn ask(&mut self, ticket: &Ticket, artifact: Hash) -> Vec<Message> {
        let job = br#"{"op":{"name":"diag","version":1,"profile":"noop.v1"},"args":{}}"#;
        let (job, terms) = Job::read(job).expect("a job");
        let envelope = Bytes(job.envelope(&terms));
        let expires_ms = now_ms() + 600_000;
        let submission =
            Submission { envelope, offer: Offer::default(), nonce: Bytes(vec![2; 16]), expires_ms };
        let submission = Signed::new(submission, ticket.genesis.mesh_id(), &self.secret);
        let ask = |number, body: &[u8]| Message::Ask { number, body: Bytes(body.to_vec()) };
        let said = vec![
            Message::Books { from: 0 },
            Message::Outline { artifact },
            ask(1, br#"{"do":"jobs"}"#),
            ask(2, br#"{"do":"nodes"}"#),
            Message::Submit(Box::new(submission)),
        ];
        self.say(ticket, said)
    }
}

#[test]
fn who_has_the_key_and_is_in_no_list_is_told_nothing() {
    let (hub, guest) = (Node::new(), Node::new());
    let made = hub.init(&["--private"]);
    let _runs = hub.up();
    guest.ok(&["join", &text(&made["ticket"]), "--name", "guest"]);
    hub.ok(&[&NOOP[..], &["--wait"]].concat());
    let expelled = Node::new();
    expelled.ok(&[
        "join",
        &text(&hub.ok(&["ticket", "create", "--json"]).json()["ticket"]),
        "--name",
        "expelled",
    ]);
    hub.ok(&["node", "expel", &text(&expelled.ok(&["node", "identity", "--json"]).json()["node"])]);
    let ticket = read(&text(&hub.ok(&["ticket", "create", "--json"]).json()["ticket"]));
    let outsiders = [Outsider::new(with_key_in_no_list(&ticket)), Outsider::new(expelled)];
    let mut stranger = Talker::new(&ticket, SecretKey::from_bytes(&[0x1e; 32]));
    let file = hub.file("kept", b"for those who belong");
    let kept = hub.ok(&["artifact", "put", file.to_str().expect("a path"), "--json"]).json();
    let kept: Hash = text(&kept["artifact"]).parse().expect("an address");
    let heard = stranger.ask(&ticket, kept);
    assert!(heard.is_empty(), "{heard:?}");
    let listed = hub.ok(&["job", "ls", "--json"]).json();
    assert_eq!(listed["jobs"].as_array().map(Vec::len), Some(1), "{listed}");
    // A member that asks the same is answered, and its job is taken.
    let mut member = Talker::new(&ticket, secret(&guest));
    let heard = member.ask(&ticket, kept);
    assert!(heard.iter().any(|message| matches!(message, Message::Outlined(_))), "{heard:?}");
    assert!(heard.iter().any(|message| matches!(message, Message::Book { .. })), "{heard:?}");
    assert_eq!(
        heard.iter().filter(|message| matches!(message, Message::Answer { .. })).count(),
        2,
        "{heard:?}"
    );
    assert!(
        heard.iter().any(|message| matches!(message, Message::Answered { refused: None, .. })),
        "{heard:?}"
    );
    // A ticket that has run out by the hub's clock admits nobody, whatever its holder makes of the date in it.
    let mut short = Ticket { secret: Bytes(vec![0x77; 32]), ..ticket.clone() };
    let invitation =
        Invitation { secret: short.invitation(), expires_ms: now_ms() + SHORT_MS, organization: None };
    let invitation = Signed::new(invitation, ticket.genesis.mesh_id(), &secret(&hub));
    member.say(&ticket, vec![Message::Invite(Box::new(invitation))]);
    let state = || {
        let listed = hub.ok(&["ticket", "ls", "--json"]).json();
        let tickets = listed["tickets"].as_array().expect("a list").clone();
        tickets
            .into_iter()
            .find(|ticket| ticket["id"] == json!(short.invitation()))
            .map(|it| text(&it["state"]))
    };
    hub.until("it has run out", || state().as_deref() == Some("expired"));
    short.expires_ms = now_ms() + 600_000;
    let line = short.issue(&secret(&hub));
    let error = Node::new().forgemesh(&["join", &line, "--json"]).error(1, "not_admitted");
    assert!(text(&error["message"]).contains("the ticket has expired"), "{error}");
    drop((stranger, member));
    // They come again and again, and in the end they are kept out.
    let kept_out = || hub.ok(&["status", "--json"]).json()["network"]["peers"] == json!(0);
    hub.until("nobody is connected for long", || {
        (0..20).all(|_| {
            std::thread::sleep(Duration::from_millis(150));
            kept_out()
        })
    });
    outsiders.into_iter().for_each(Outsider::ends_turned_away);
}
