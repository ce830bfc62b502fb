//! `config.toml`, what a node's operator has decided: where it listens, whom it knows, how much of itself it lends.
//!
//! Strict: an unknown setting or a value out of range is refused with its line. Must never hold a secret.

use std::ops::{Range, RangeInclusive};
use std::path::{Path, PathBuf};

use forgemesh_protocol::envelope::BillingMode;
use forgemesh_protocol::id::NodeId;
use forgemesh_protocol::limits;
use forgemesh_protocol::op::Op;
use forgemesh_protocol::organization::{Organization, OrganizationError};
use forgemesh_protocol::region::Region;
use forgemesh_protocol::ticket::is_address;
use serde::Deserialize;
use toml::Spanned;

use crate::core::availability::{Availability, Mode};

/// The file within a data folder.
pub const CONFIG_FILE_NAME: &str = "config.toml";
/// Bytes of the file at most.
const BYTES: u64 = 8 << 10;
/// Memory that may be given to the process that computes: from a small shard's needs to the largest machine's 16 TiB.
const MEMORY_MIB: RangeInclusive<u32> = 64..=16 << 20;
/// Characters that are shown of a line that cannot be read.
const LINE: usize = 80;
const MINUTES_A_DAY: u32 = 24 * 60;

/// The settings.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Config {
    /// Multiaddr texts; none: the node listens nowhere.
    pub listen: Vec<String>,
    /// Where others reach it, if it is not where it listens: a forwarded port.
    pub external: Vec<String>,
    /// Hub members' addresses, each with its peer id.
    pub bootstrap: Vec<String>,
    /// Looks for nodes in the local network, and is seen there.
    pub mdns: bool,
    /// Threads that compute; none: all cores.
    pub threads: Option<u16>,
    /// Memory of the process that computes; none: half of what the machine has.
    pub memory_mib: Option<u32>,
    /// Operations that this node executes; none: all.
    pub ops: Vec<Op>,
    /// When it takes work, in minutes of the day (UTC); none: always.
    pub hours: Vec<Range<u32>>,
    /// Takes no work until it is told to.
    pub paused: bool,
    /// May be given a seat in the hub.
    pub stand: bool,
    /// Takes work only while others leave the machine idle.
    pub idle_only: bool,
    /// Where it stands, in its operator's words.
    pub region: Option<Region>,
    /// Takes jobs of its own, of `clients` and of `organizations` alone.
    pub private: bool,
    /// Nodes and keys whose jobs a private node takes beside its own.
    pub clients: Vec<NodeId>,
    /// Organizations of whose nodes it takes them, too.
    pub organizations: Vec<Organization>,
    /// Billing modes of the jobs that it takes; none: all.
    pub billing: Vec<BillingMode>,
}

/// Why the file was refused.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("cannot read {}: {source}; check its permissions", path.display())]
    Read { path: PathBuf, source: std::io::Error },
    #[error("{} is longer than {BYTES} bytes; it should hold settings alone", path.display())]
    TooLong { path: PathBuf },
    #[error("{}, line {line}: {reason}", path.display())]
    Value { path: PathBuf, line: usize, reason: String },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    listen: Vec<Spanned<String>>,
    #[serde(default)]
    external: Vec<Spanned<String>>,
    #[serde(default)]
    bootstrap: Vec<Spanned<String>>,
    #[serde(default)]
    mdns: bool,
    threads: Option<Spanned<i64>>,
    memory_mib: Option<Spanned<i64>>,
    gpus: Option<Spanned<i64>>,
    #[serde(default)]
    ops: Vec<Spanned<String>>,
    #[serde(default)]
    hours_utc: Vec<Spanned<String>>,
    #[serde(default)]
    paused: bool,
    #[serde(default)]
    stand: bool,
    #[serde(default)]
    idle_only: bool,
    region: Option<Spanned<String>>,
    visibility: Option<Spanned<String>>,
    #[serde(default)]
    clients: Vec<Spanned<String>>,
    #[serde(default)]
    organizations: Vec<Spanned<String>>,
    #[serde(default)]
    billing: Vec<Spanned<String>>,
}

impl Config {
    /// Reads the file of a data folder; none if it is not there.
    pub fn read(folder: &Path) -> Result<Option<Config>, ConfigError> {
        let path = folder.join(CONFIG_FILE_NAME);
        let failed = |source| ConfigError::Read { path: path.clone(), source };
        let length = match std::fs::metadata(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            found => found.map_err(failed)?.len(),
        };
        if length > BYTES {
            return Err(ConfigError::TooLong { path });
        }
        let text = std::fs::read_to_string(&path).map_err(failed)?;
        Config::parse(&text, &path).map(Some)
    }

    /// Reads a text; `path` is for the errors.
    pub fn parse(text: &str, path: &Path) -> Result<Config, ConfigError> {
        let reader = Reader { text, path };
        let file: File = toml::from_str(text).map_err(|error| reader.syntax(&error))?;
        let listen = |text: &str| text.starts_with('/') && text.bytes().all(|byte| byte.is_ascii_graphic());
        let from_outside = "where others reach this node is written like /ip4/203.0.113.7/tcp/4610";
        let (an_address, with_peer) = (
            "an address is written like /ip4/0.0.0.0/tcp/4610",
            "it is written like /ip4/192.0.2.1/tcp/4610/p2p/12D3…",
        );
        let threads = file.threads.map(|threads| {
            let found = u16::try_from(*threads.get_ref()).ok().filter(|found| (1..=1024).contains(found));
            found.ok_or_else(|| reader.value(&threads, "threads are 1 to 1024".to_owned()))
        });
        let memory_mib = file.memory_mib.map(|memory| {
            let found = u32::try_from(*memory.get_ref()).ok().filter(|found| MEMORY_MIB.contains(found));
            let range = format!("memory_mib is {} to {}", MEMORY_MIB.start(), MEMORY_MIB.end());
            found.ok_or_else(|| reader.value(&memory, range))
        });
        // It holds without anybody's doing: the process that executes shards opens no file, and so no device.
        if let Some(gpus) = file.gpus.filter(|gpus| *gpus.get_ref() != 0) {
            return Err(
                reader.value(&gpus, "gpus is 0: no operation of this version runs on a GPU".to_owned())
            );
        }
        let op = |text: &str| text.parse::<Op>().map_err(|error| error.to_string());
        let address = |good: fn(&str) -> bool, cure: &'static str| {
            move |text: &str| {
                let short = text.len() <= limits::ADDRESS_BYTES;
                if short && good(text) { Ok(text.to_owned()) } else { Err(cure.to_owned()) }
            }
        };
        let private = file.visibility.map(|word| match word.get_ref().as_str() {
            "public" => Ok(false),
            "private" => Ok(true),
            _ => Err(reader.value(&word, "visibility is \"public\" or \"private\"".to_owned())),
        });
        let private = private.transpose()?.unwrap_or(false);
        for (setting, listed) in [("clients", &file.clients), ("organizations", &file.organizations)] {
            if let Some(first) = listed.first().filter(|_| !private) {
                let cure = format!("{setting} are for visibility = \"private\": add that, or leave them out");
                return Err(reader.value(first, cure));
            }
        }
        let region = file.region.map(|region| {
            let read = region.get_ref().parse::<Region>();
            read.map_err(|error| reader.value(&region, format!("\"{}\": {error}", region.get_ref())))
        });
        Ok(Config {
            listen: reader.each(file.listen, limits::BOOTSTRAP, address(listen, an_address))?,
            external: reader.each(file.external, limits::BOOTSTRAP, address(listen, from_outside))?,
            mdns: file.mdns,
            bootstrap: reader.each(file.bootstrap, limits::BOOTSTRAP, address(is_address, with_peer))?,
            threads: threads.transpose()?,
            memory_mib: memory_mib.transpose()?,
            ops: reader.each(file.ops, limits::HELLO_OPS, op)?,
            hours: reader.each(file.hours_utc, 24, hours)?,
            paused: file.paused,
            stand: file.stand,
            idle_only: file.idle_only,
            region: region.transpose()?,
            private,
            // One place is the node's own.
            clients: reader.each(file.clients, limits::HELLO_CLIENTS - 1, client)?,
            organizations: reader.each(file.organizations, limits::HELLO_ORGANIZATIONS, organization)?,
            billing: reader.each(file.billing, limits::HELLO_BILLING, billing)?,
        })
    }

    /// What it says of work of this node, at this moment (milliseconds since 1970). `idle`: others leave the machine idle.
    pub fn availability(&self, node: NodeId, now_ms: u64, idle: bool) -> Availability {
        let mode = match self.paused || !self.is_open(now_ms) {
            true => Mode::Paused,
            false if self.idle_only && !idle => Mode::Yielding,
            false => Mode::Working,
        };
        let clients = || std::iter::once(node).chain(self.clients.iter().copied().filter(|id| *id != node));
        Availability {
            mode,
            threads: self.threads.map(u64::from),
            ops: self.ops.clone(),
            region: self.region.clone(),
            billing: self.billing.clone(),
            clients: self.private.then(|| clients().collect()),
            organizations: self.organizations.clone(),
        }
    }

    /// Is this a time at which the node takes work?
    pub fn is_open(&self, now_ms: u64) -> bool {
        let minute = (now_ms / 60_000 % u64::from(MINUTES_A_DAY)) as u32;
        let within = |hours: &Range<u32>| match hours.start <= hours.end {
            true => hours.contains(&minute),
            // Over midnight.
            false => minute >= hours.start || minute < hours.end,
        };
        self.hours.is_empty() || self.hours.iter().any(within)
    }

    /// The text of a new node's file; with `threads` of that many.
    pub fn template(listen: &[String], bootstrap: &[String], threads: Option<u16>) -> String {
        let list = |texts: &[String]| {
            let quoted: Vec<String> = texts.iter().map(|text| format!("\"{text}\"")).collect();
            format!("[{}]", quoted.join(", "))
        };
        let threads = threads.map_or("# threads = 4".to_owned(), |threads| format!("threads = {threads}"));
        format!(
            "# Settings of this node; `forgemesh up` reads them when it starts.\n\n\
             # Where other nodes reach it. None: it reaches others, and nobody reaches it: no place for a hub member.\n\
             listen = {}\n\
             # Hub members of the mesh, to find the others by.\n\
             bootstrap = {}\n\
             # external = [\"/ip4/203.0.113.7/tcp/4610\"]  # where others reach it, if not there: a forwarded port\n\
             # mdns = true                        # looks for nodes in the local network, and is seen there by whoever is in it\n\n\
             {threads:<36} # threads that compute; all cores without it\n\
             # memory_mib = 4096                  # memory of the process that computes; half the machine's without it\n\
             # gpus = 0                           # GPUs that jobs may use: no operation uses one yet\n\
             # ops = [\"mc@1/reserve.v1\"]          # operations that it executes; all without it\n\
             # hours_utc = [\"20:00-06:00\"]        # when it takes work; always without it\n\
             # idle_only = true                   # takes work only while others leave the machine idle\n\
             # paused = true                      # takes no work until `forgemesh node resume`\n\
             # region = \"eu-west\"                 # where it stands, for jobs that ask for a region\n\
             # visibility = \"private\"            # takes jobs of its own and of those below alone; public without it\n\
             # clients = []                       # for a private node: ids of nodes, by `forgemesh node identity`\n\
             # organizations = [\"acme\"]           # for a private node: takes jobs of nodes that were invited to these\n\
             # billing = [\"test\"]                 # takes jobs of these billing modes; all without it\n\
             # stand = true                       # hub members may promote it to one of them; it has to listen then\n",
            list(listen),
            list(bootstrap)
        )
    }
}

fn client(text: &str) -> Result<NodeId, String> {
    let cure = "a client is the id of a node, 64 digits; `forgemesh node identity` says it there";
    text.parse().map_err(|_| cure.to_owned())
}

fn organization(text: &str) -> Result<Organization, String> {
    text.parse().map_err(|error: OrganizationError| error.to_string())
}

fn billing(text: &str) -> Result<BillingMode, String> {
    let found = BillingMode::ALL.into_iter().find(|mode| mode.as_str() == text);
    found.ok_or_else(|| "a billing mode is \"billable\" or \"test\"".to_owned())
}

/// `HH:MM-HH:MM`; the end may lie after midnight.
fn hours(text: &str) -> Result<Range<u32>, String> {
    let cure = "hours are written like \"20:00-06:00\" (UTC)";
    let minute = |text: &str| {
        let (hours, minutes) = text.split_once(':')?;
        let number = |digits: &str| {
            (digits.len() == 2 && digits.bytes().all(|b| b.is_ascii_digit()))
                .then(|| digits.parse::<u32>().ok())?
        };
        let (hours, minutes) = (number(hours)?, number(minutes)?);
        (minutes < 60 && hours * 60 + minutes <= MINUTES_A_DAY).then_some(hours * 60 + minutes)
    };
    let (from, to) = text.split_once('-').ok_or(cure)?;
    match (minute(from), minute(to)) {
        (Some(from), Some(to)) if from != to => Ok(from..to),
        _ => Err(cure.to_owned()),
    }
}

/// What names the place of an error.
struct Reader<'a> {
    text: &'a str,
    path: &'a Path,
}

impl Reader<'_> {
    fn value<T>(&self, found: &Spanned<T>, reason: String) -> ConfigError {
        self.at(found.span().start, reason)
    }

    /// What is no TOML, or no setting: in the parser's words, of which there may be several lines, with what stands there.
    fn syntax(&self, error: &toml::de::Error) -> ConfigError {
        let said: Vec<&str> = error.message().lines().map(str::trim).collect();
        let byte = error.span().map_or(0, |span| span.start);
        let begun = self.text.get(..byte).and_then(|before| before.rfind('\n')).map_or(0, |end| end + 1);
        let line = self.text.get(begun..).and_then(|rest| rest.lines().next()).unwrap_or_default();
        let line: String = line.trim().chars().filter(|c| !c.is_control()).take(LINE).collect();
        let reason = format!("{}, in \"{line}\"; mend that line, or put a # before it", said.join(", "));
        self.at(byte, reason)
    }

    fn at(&self, byte: usize, reason: String) -> ConfigError {
        let before = self.text.get(..byte).unwrap_or(self.text);
        ConfigError::Value { path: self.path.to_owned(), line: before.matches('\n').count() + 1, reason }
    }

    fn each<T>(
        &self,
        found: Vec<Spanned<String>>,
        most: usize,
        read: impl Fn(&str) -> Result<T, String>,
    ) -> Result<Vec<T>, ConfigError> {
        if let Some(beyond) = found.get(most) {
            return Err(self.value(beyond, format!("at most {most} are allowed here; leave some out")));
        }
        let one = |item: &Spanned<String>| {
            let text = item.get_ref();
            read(text).map_err(|reason| self.value(item, format!("\"{text}\": {reason}")))
        };
        found.iter().map(one).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Config, ConfigError> {
        Config::parse(text, Path::new("config.toml"))
    }

    fn refused(text: &str) -> String {
        parse(text).expect_err("refused").to_string()
    }

    #[test]
    fn the_template_is_read_with_and_without_its_comments() {
        let (listen, bootstrap) = ("/ip4/0.0.0.0/tcp/4610", "/ip4/192.0.2.1/tcp/4610/p2p/12D3KooW");
        let text = Config::template(&[listen.to_owned()], &[bootstrap.to_owned()], None);
        let read = parse(&text).expect("it is read");
        let expected = Config {
            listen: vec![listen.to_owned()],
            bootstrap: vec![bootstrap.to_owned()],
            ..Config::default()
        };
        assert_eq!(read, expected);
        let bare = |line: &str| match line.strip_prefix("# ") {
            Some(setting) if setting.contains(" = ") => setting.to_owned(),
            _ => line.to_owned(),
        };
        let text: Vec<String> = text.lines().map(bare).collect();
        let all = parse(&text.join("\n")).expect("it is read");
        assert_eq!((all.threads, all.ops.len(), all.hours.len(), all.paused), (Some(4), 1, 1, true));
        assert_eq!((all.idle_only, all.private, all.billing.len()), (true, true, 1));
        assert_eq!(all.organizations, [acme()]);
        assert_eq!(all.region.map(String::from).as_deref(), Some("eu-west"));
        assert_eq!(all.memory_mib, Some(4096));
        assert_eq!((all.external, all.mdns), (vec!["/ip4/203.0.113.7/tcp/4610".to_owned()], true));
        let few = Config::template(&[], &[], Some(1));
        assert_eq!(parse(&few).expect("it is read").threads, Some(1), "{few}");
    }

    #[test]
    fn what_is_wrong_is_named_with_its_line() {
        assert!(refused("listen = []\nthread = 4\n").contains("line 2"), "an unknown setting");
        assert!(refused("threads = \"four\"").contains("line 1"), "another type");
        assert!(refused("memory_mib = 63").contains("line 1: memory_mib is 64 to 16777216"));
        assert!(refused("memory_mib = -1").contains("memory_mib is"));
        assert!(
            refused("gpus = 1").contains("line 1: gpus is 0: no operation of this version runs on a GPU")
        );
        assert!(refused("\n\nthreads = 0").contains("line 3: threads are 1 to 1024"));
        assert!(
            refused("paused = false\nops = [\n \"mc@1/reserve.v1\",\n \"mc\"]").contains("line 4: \"mc\"")
        );
        assert!(refused("listen = [\"0.0.0.0:4610\"]").contains("/ip4/0.0.0.0/tcp/4610"));
        assert!(refused("external = [\"example.org:4610\"]").contains("/ip4/203.0.113.7/tcp/4610"));
        assert!(refused("bootstrap = [\"/ip4/192.0.2.1/tcp/1\"]").contains("p2p"));
        for hours in [
            "",
            "20:00",
            "20:00-20:00",
            "24:01-01:00",
            "2:00-03:00",
            "aa:bb-cc:dd",
            "20:00-06:60",
            "+1:00-02:00",
        ] {
            assert!(refused(&format!("hours_utc = [\"{hours}\"]")).contains("UTC"), "{hours}");
        }
        assert!(refused(&format!("hours_utc = [{}]", "\"01:00-02:00\",".repeat(25))).contains("at most 24"));
    }

    #[test]
    fn hours_go_over_midnight() {
        let config = parse("hours_utc = [\"22:30-06:00\", \"12:00-12:01\"]").expect("it is read");
        let at = |hours: u64, minutes: u64| config.is_open(((1_000 * 24 + hours) * 60 + minutes) * 60_000);
        let open = [at(22, 30), at(23, 59), at(0, 0), at(5, 59), at(12, 0)];
        let closed = [at(22, 29), at(6, 0), at(11, 59), at(12, 1)];
        assert!(open.iter().all(|open| *open) && !closed.iter().any(|open| *open));
        assert_eq!(config.availability(node(1), (24 + 7) * 3_600_000, true).mode, Mode::Paused);
        assert_eq!(config.availability(node(1), (24 + 3) * 3_600_000, true).mode, Mode::Working);
        assert_eq!(Config::default().availability(node(1), 0, false), Availability::default());
    }

    fn acme() -> Organization {
        "acme".parse().expect("an organization")
    }

    fn node(id: u8) -> NodeId {
        NodeId(forgemesh_protocol::hash::Hash([id; 32]))
    }

    #[test]
    fn a_provider_says_for_whom_it_works_and_where() {
        let client = node(2);
        let text = format!(
            "region = \"eu-west\"\nvisibility = \"private\"\nclients = [\"{client}\"]\n\
             organizations = [\"acme\", \"risk.example.org\"]\nbilling = [\"test\"]\n"
        );
        let available = parse(&text).expect("it is read").availability(node(1), 0, true);
        assert_eq!(available.clients, Some(vec![node(1), client]), "itself, too");
        assert_eq!(available.region.map(String::from).as_deref(), Some("eu-west"));
        assert_eq!(available.billing, [BillingMode::Test]);
        assert_eq!(available.organizations, [acme(), "risk.example.org".parse().expect("an organization")]);
        // For organizations alone it is for itself, too.
        let text = "visibility = \"private\"\norganizations = [\"acme\"]";
        let of_acme = parse(text).expect("it is read").availability(node(1), 0, true);
        assert_eq!((of_acme.clients, of_acme.organizations), (Some(vec![node(1)]), vec![acme()]));
        // Private for nobody is for itself; a public one names nobody.
        let alone = parse("visibility = \"private\"").expect("it is read").availability(node(1), 0, true);
        assert_eq!(alone.clients, Some(vec![node(1)]));
        let public = parse("visibility = \"public\"").expect("it is read").availability(node(1), 0, true);
        assert_eq!(public.clients, None);
        for (text, words) in [
            ("\nregion = \"EU\"", "line 2: \"EU\": a region is"),
            ("visibility = \"secret\"", "public"),
            ("visibility = \"private\"\nclients = [\"ab\"]", "line 2: \"ab\": a client is the id"),
            ("clients = [\"00\"]", "visibility = \"private\""),
            (
                "\norganizations = [\"acme\"]",
                "line 2: organizations are for visibility = \"private\": add that",
            ),
            ("visibility = \"public\"\norganizations = [\"acme\"]", "organizations are for visibility"),
            (
                "visibility = \"private\"\norganizations = [\"acme\",\n \"Acme Ltd\"]",
                "line 3: \"Acme Ltd\": an organization is 1 to 64",
            ),
            ("visibility = \"private\"\norganizations = [\"\"]", "line 2: \"\": an organization is"),
            ("visibility = \"private\"\norganizations = \"acme\"", "line 2"),
            ("billing = [\"free\"]", "\"billable\" or \"test\""),
            ("idle_only = 1", "line 1"),
        ] {
            assert!(refused(text).contains(words), "{text}: {}", refused(text));
        }
        let many = format!("visibility = \"private\"\nclients = [{}]", format!("\"{client}\",").repeat(64));
        assert!(refused(&many).contains("at most 63"));
        let many = format!("visibility = \"private\"\norganizations = [{}]", "\"acme\",".repeat(17));
        assert!(refused(&many).contains("line 2: at most 16"));
    }

    #[test]
    fn a_node_for_idle_machines_yields_while_hours_and_pauses_hold() {
        let config = parse("idle_only = true").expect("it is read");
        assert_eq!(config.availability(node(1), 0, false).mode, Mode::Yielding);
        assert_eq!(config.availability(node(1), 0, true).mode, Mode::Working);
        let paused = parse("idle_only = true\npaused = true").expect("it is read");
        assert_eq!(paused.availability(node(1), 0, true).mode, Mode::Paused);
    }
}
