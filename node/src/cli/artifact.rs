//! `forgemesh artifact`: bytes under their address, put into the mesh and had from it.
//!
//! Files are read and written a piece at a time. Must never leave a file under its name that is not whole.

use std::fmt::Display;
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, IsTerminal, Read, Seek, SeekFrom, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use clap::Subcommand;
use forgemesh_protocol::artifact::{Outline, Outliner, Pin, piece_length, pieces};
use forgemesh_protocol::canon::Bytes;
use forgemesh_protocol::hash::{BlobHasher, Hash};
use forgemesh_protocol::keys::Signed;
use forgemesh_protocol::limits;
use forgemesh_protocol::wire::Outlined;
use forgemesh_storage::Batch;
use forgemesh_storage::limits::GROUP_BYTES;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};

use super::client::Client;
use super::embedded::now_ms;
use super::error::CliError;
use super::home::Home;
use super::source::Source;
use super::{Common, count, hint, overwrite, print, print_json, say};
use crate::artifacts::{self, Kept};
use crate::boot;
use crate::garbage;
use crate::links;
use crate::real::control::request::Request;

/// Milliseconds of a day.
const DAY_MS: u64 = 24 * 3600 * 1000;
/// How often it is shown that something is still waited for.
const LOOK: Duration = Duration::from_millis(200);
/// Blobs that are removed in one batch.
const BATCH_BLOBS: usize = 10_000;
/// Pieces of one batch, where no node runs.
const BATCH_PIECES: usize = GROUP_BYTES / limits::PIECE_BYTES;

/// What to do with artifacts. An address is what `b3sum` prints of the bytes.
#[derive(Subcommand)]
pub enum ArtifactCommand {
    /// Put a file into the mesh, and say its address.
    Put {
        /// Of 16 GiB at most.
        file: PathBuf,
        /// Days for which the mesh keeps it.
        #[arg(long, default_value_t = 30, value_name = "DAYS", value_parser = clap::value_parser!(u64).range(1..=3660))]
        keep: u64,
    },
    /// Have an artifact, or some of its bytes, from whichever node has it; every byte is checked against the address.
    Get {
        /// 64 lower-case hexadecimal digits.
        address: String,
        /// The file to write [default: standard output].
        #[arg(long, short, value_name = "FILE")]
        out: Option<PathBuf>,
        /// Write over a file that is there.
        #[arg(long, requires = "out")]
        force: bool,
        /// Only the bytes from A up to B, B not among them; without B up to the end.
        #[arg(long, value_name = "A..B")]
        range: Option<String>,
    },
    /// Have an artifact on this node's disk before it is needed there, from whichever node has it; every byte is checked
    /// against the address. It stays until `artifact gc`, or for as long as the mesh keeps it. The node goes on when this
    /// command is ended.
    Fetch {
        /// 64 lower-case hexadecimal digits.
        address: String,
    },
    /// List what is here: whole or in part, for whom, and until when.
    Ls,
    /// Remove what nothing needs: artifacts that no pin and no job asks for. Where no node runs, the folder of a hub of one also
    /// loses the blobs of no job, and an agent's what it has computed for jobs that are over, which it lets go itself while it
    /// runs. Never what a receipt stands on.
    Gc {
        /// Only say what would go; of very much, what goes first.
        #[arg(long)]
        dry_run: bool,
    },
}

/// Some bytes of an artifact.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    from: u64,
    to: Option<u64>,
}

impl FromStr for Part {
    type Err = String;

    fn from_str(text: &str) -> Result<Part, String> {
        let wrong = || "give A..B with A less than B, or A.. for all from A on".to_owned();
        let (from, to) = text.split_once("..").ok_or_else(wrong)?;
        let number = |text: &str| text.parse::<u64>().map_err(|_| wrong());
        let from = if from.is_empty() { 0 } else { number(from)? };
        let to = if to.is_empty() { None } else { Some(number(to)?) };
        if to.is_some_and(|to| to <= from) { Err(wrong()) } else { Ok(Part { from, to }) }
    }
}

/// Does what was asked for.
pub fn artifact(common: &Common, command: ArtifactCommand) -> Result<(), CliError> {
    match command {
        ArtifactCommand::Put { file, keep } => put(common, &file, now_ms() + keep * DAY_MS),
        ArtifactCommand::Get { address, out, force, range } => {
            let address = parsed(&address)?;
            let part: Part = parsed(range.as_deref().unwrap_or(".."))?;
            match out {
                Some(path) => {
                    overwrite::allowed(&path, force)?;
                    get_file(common, address, &path, part)
                }
                None if common.json => {
                    Err(CliError::Usage("with --json the bytes need a file: give -o FILE".to_owned()))
                }
                None if std::io::stdout().is_terminal() => {
                    Err(CliError::Usage("the bytes would go to the terminal: give -o FILE".to_owned()))
                }
                None => {
                    let mut to = Sink::new(std::io::stdout().lock(), Path::new("standard output"));
                    match receive(Source::open(common)?, address, part, &mut to) {
                        // A reader that has gone away has what it wanted.
                        Err(CliError::Write { source, .. }) if source.kind() == ErrorKind::BrokenPipe => {
                            Ok(())
                        }
                        got => got.map(|_| ()),
                    }
                }
            }
        }
        ArtifactCommand::Fetch { address } => fetch(common, parsed(&address)?),
        ArtifactCommand::Ls => list(common, Source::open(common)?),
        ArtifactCommand::Gc { dry_run } => collect(common, Source::open(common)?, dry_run),
    }
}

fn parsed<T: FromStr<Err: Display>>(text: &str) -> Result<T, CliError> {
    text.parse().map_err(|error| CliError::Usage(format!("\"{text}\": {error}")))
}

/// A file that is put, piece by piece.
struct Pieces {
    file: File,
    path: PathBuf,
    length: u64,
}

impl Pieces {
    fn open(path: &Path) -> Result<Pieces, CliError> {
        let failed = |source| CliError::Read { path: path.to_owned(), source };
        let file = File::open(path).map_err(failed)?;
        let found = file.metadata().map_err(failed)?;
        if !found.is_file() {
            return Err(CliError::Usage(format!("{} is not a plain file; give one", path.display())));
        }
        if found.len() > limits::STREAMED_BYTES {
            let (length, most) = (found.len(), limits::STREAMED_BYTES);
            let text = format!("{} has {length} bytes, at most {most} are taken; split it", path.display());
            return Err(CliError::Usage(text));
        }
        Ok(Pieces { file, path: path.to_owned(), length: found.len() })
    }

    fn read(&mut self, index: u64) -> Result<Vec<u8>, CliError> {
        let mut piece = vec![0; piece_length(self.length, index) as usize];
        let from = SeekFrom::Start(index * limits::PIECE_BYTES as u64);
        let read = self.file.seek(from).and_then(|_| self.file.read_exact(&mut piece));
        read.map_err(|source| CliError::Read { path: self.path.clone(), source })?;
        Ok(piece)
    }
}

/// A bar for people, of so many bytes.
fn bar(what: &'static str, length: u64) -> ProgressBar {
    let bar = ProgressBar::new(length).with_style(bar_style());
    bar.set_message(what);
    bar
}

fn bar_style() -> ProgressStyle {
    ProgressStyle::with_template("{msg:14} [{bar:32}] {bytes}/{total_bytes} {bytes_per_sec}")
        .map_or_else(|_| ProgressStyle::default_bar(), |style| style.progress_chars("=> "))
}

/// What is shown of an artifact on its way: that it is looked for, and a bar once its length is known.
struct Finding(ProgressBar);

impl Finding {
    fn new() -> Finding {
        let shown = ProgressBar::new_spinner();
        if let Ok(style) = ProgressStyle::with_template("{spinner} {msg}") {
            shown.set_style(style);
        }
        shown.set_message(format!("looking for it, for {} s at most", limits::SEEK_MS / 1_000));
        shown.enable_steady_tick(LOOK);
        Finding(shown)
    }

    fn found(&self, length: u64) {
        self.0.set_length(length);
        self.0.set_style(bar_style());
        self.0.set_message("fetching");
    }
}

fn put(common: &Common, path: &Path, until_ms: u64) -> Result<(), CliError> {
    let mut file = Pieces::open(path)?;
    let shown = bar("hashing", file.length);
    let mut outliner = Outliner::default();
    let mut last = Vec::new();
    for index in 0..pieces(file.length) {
        last = file.read(index)?;
        outliner.push(&last);
        shown.inc(last.len() as u64);
    }
    shown.finish_and_clear();
    let (artifact, outline) = outliner.finish();
    let given = Given { artifact, outline, last: Bytes(last), until_ms };
    let sent = match Source::open(common)? {
        Source::Node(client) => given.send(client, &mut file)?,
        Source::Folder(home) => given.lay(&home, &mut file)?,
    };
    if common.json {
        print_json(&json!({
            "artifact": artifact, "bytes": file.length, "new_bytes": sent, "kept_until_ms": until_ms,
        }));
    } else {
        print(&artifact.to_string());
    }
    Ok(())
}

/// An artifact that is put.
struct Given {
    artifact: Hash,
    outline: Outline,
    last: Bytes,
    until_ms: u64,
}

impl Given {
    /// Through the node's control socket; says how many bytes it had not.
    fn send(self, mut client: Client, file: &mut Pieces) -> Result<u64, CliError> {
        let Given { artifact, outline, last, until_ms } = self;
        let length = outline.length;
        let put = Request::PutArtifact { artifact, outline, last, until_ms };
        let missing = ranges(&client.ask(&put)?.value["missing"]);
        let shown = bar("sending", length);
        let mut sent = 0;
        for index in missing.into_iter().flatten() {
            let bytes = file.read(index)?;
            sent += bytes.len() as u64;
            client.ask(&Request::PutPiece { artifact, index, bytes: Bytes(bytes) })?;
            shown.set_position(sent);
        }
        client.ask(&Request::FetchArtifact { artifact })?;
        shown.finish_and_clear();
        Ok(sent)
    }

    /// Into the data folder itself.
    fn lay(self, home: &Home, file: &mut Pieces) -> Result<u64, CliError> {
        let Given { artifact, outline, last, until_ms } = self;
        let genesis = boot::genesis(&home.storage)?;
        let mesh = genesis.ok_or_else(|| CliError::NoMesh { folder: home.folder.clone() })?.mesh_id();
        let pin = Some(Signed::new(Pin { artifact, length: outline.length, until_ms }, mesh, &home.secret));
        let look = artifacts::look(&home.storage, &artifact)?;
        let mut batch = Batch::new();
        let mut kept = match (look.whole(), look.kept) {
            (_, Some((mut kept, _))) => {
                kept.adopt(pin);
                kept
            }
            (Some(length), None) => Kept { length, pieces: Bytes::default(), pin },
            (None, None) => {
                artifacts::begin(&mut batch, &Outlined { artifact, outline: outline.clone(), last, pin })
            }
        };
        let (missing, mut sent, mut held) = (kept.missing(), 0, 0);
        for index in missing.into_iter().flatten() {
            let bytes = file.read(index)?;
            let sum = outline.sum_of(&artifact, index, &bytes);
            let sum = sum.ok_or_else(|| CliError::FileChanged { path: file.path.clone() })?;
            sent += bytes.len() as u64;
            kept.add(index);
            batch.put_piece(artifact, index, sum, bytes);
            held += 1;
            if held == BATCH_PIECES {
                kept.put(&mut batch, &artifact);
                home.storage.commit(&std::mem::take(&mut batch))?;
                held = 0;
            }
        }
        kept.put(&mut batch, &artifact);
        home.storage.commit(&batch)?;
        Ok(sent)
    }
}

/// Ranges of pieces as a node names them.
fn ranges(value: &Value) -> Vec<Range<u64>> {
    let range = |pair: &Value| Some(pair[0].as_u64()?..pair[1].as_u64()?);
    value.as_array().into_iter().flatten().filter_map(range).collect()
}

/// Where the bytes go, and what they hash to.
struct Sink<W> {
    to: W,
    path: PathBuf,
    hasher: BlobHasher,
    bytes: u64,
}

impl<W: Write> Sink<W> {
    fn new(to: W, path: &Path) -> Sink<W> {
        Sink { to, path: path.to_owned(), hasher: BlobHasher::default(), bytes: 0 }
    }

    fn take(&mut self, bytes: &[u8]) -> Result<(), CliError> {
        self.hasher.update(bytes);
        self.bytes += bytes.len() as u64;
        self.to.write_all(bytes).map_err(|source| CliError::Write { path: self.path.clone(), source })
    }
}

/// Writes a file that takes its name once it is whole; into what is there and no plain file, such as a pipe.
fn get_file(common: &Common, artifact: Hash, path: &Path, part: Part) -> Result<(), CliError> {
    let source = Source::open(common)?;
    let failed = |source| CliError::Write { path: path.to_owned(), source };
    // Behind a link is the file that is meant.
    let there = std::fs::canonicalize(path).ok();
    let is_stream = std::fs::metadata(path).is_ok_and(|found| !found.is_file());
    let target = there.filter(|_| !is_stream).unwrap_or_else(|| path.to_owned());
    let unfinished = (!is_stream).then(|| {
        let mut name = target.as_os_str().to_owned();
        name.push(format!(".{}.part", std::process::id()));
        PathBuf::from(name)
    });
    let mut options = OpenOptions::new();
    let opened = match &unfinished {
        Some(unfinished) => options.write(true).create_new(true).open(unfinished),
        None => options.write(true).open(path),
    };
    let mut sink = Sink::new(opened.map_err(failed)?, path);
    let got = receive(source, artifact, part, &mut sink);
    let done = got.and_then(|length| {
        if let Some(unfinished) = &unfinished {
            sink.to.sync_all().and_then(|()| std::fs::rename(unfinished, &target)).map_err(failed)?;
        }
        Ok(length)
    });
    if let (Err(_), Some(unfinished)) = (&done, &unfinished) {
        let _ = std::fs::remove_file(unfinished);
    }
    let length = done?;
    if let Some(to) = part.to.filter(|to| *to > length) {
        say(&format!("it has {length} bytes; there are none from there up to {to}"));
    }
    if common.json {
        print_json(&json!({
            "artifact": artifact, "path": path.display().to_string(), "bytes": sink.bytes, "from": part.from,
            "length": length,
        }));
    } else {
        print(&format!("{} ({} bytes)", path.display(), sink.bytes));
    }
    Ok(())
}

/// Has bytes of an artifact; says how long the whole is.
fn receive<W: Write>(
    source: Source,
    artifact: Hash,
    part: Part,
    sink: &mut Sink<W>,
) -> Result<u64, CliError> {
    let length = match source {
        Source::Node(mut client) => {
            let shown = Finding::new();
            let request = Request::GetArtifact { artifact, from: part.from, to: part.to };
            let mut found = |event: &Value| {
                if let Some(length) = event["length"].as_u64() {
                    let to = part.to.map_or(length, |to| to.min(length));
                    shown.found(to.saturating_sub(part.from));
                }
            };
            let answered = client.receive(&request, &mut found, &mut |bytes| {
                shown.0.inc(bytes.len() as u64);
                sink.take(bytes)
            })?;
            shown.0.finish_and_clear();
            answered["length"].as_u64().ok_or(CliError::Hung)?
        }
        Source::Folder(home) => {
            let look = artifacts::look(&home.storage, &artifact)?;
            let length = look.whole().ok_or(CliError::NotInFolder(artifact))?;
            within(length, part.from)?;
            let range = part.from..part.to.unwrap_or(length);
            if !artifacts::read(&home.storage, &artifact, length, &range, |bytes| sink.take(bytes))?? {
                return Err(CliError::NotInFolder(artifact));
            }
            length
        }
    };
    let is_all = part.from == 0 && sink.bytes == length;
    if is_all && sink.hasher.finish() != artifact {
        return Err(CliError::Hung);
    }
    sink.to.flush().map_err(|source| CliError::Write { path: sink.path.clone(), source })?;
    Ok(length)
}

/// Has an artifact on this node's disk.
fn fetch(common: &Common, artifact: Hash) -> Result<(), CliError> {
    let length = match Source::open(common)? {
        Source::Node(mut client) => {
            let shown = Finding::new();
            let answered = client.follow(&Request::FetchArtifact { artifact }, |event| {
                if let (Some(length), Some(here)) = (event["length"].as_u64(), event["here"].as_u64()) {
                    shown.found(length);
                    shown.0.set_position(here);
                }
            })?;
            shown.0.finish_and_clear();
            answered.value["length"].as_u64().ok_or(CliError::Hung)?
        }
        Source::Folder(home) => {
            let look = artifacts::look(&home.storage, &artifact)?;
            look.whole().ok_or(CliError::NotInFolder(artifact))?
        }
    };
    if common.json {
        print_json(&json!({ "artifact": artifact, "bytes": length }));
    } else {
        print(&format!("{artifact} is here ({length} bytes)"));
    }
    Ok(())
}

/// Does an artifact of this length have a byte there, or is that its end?
pub fn within(length: u64, from: u64) -> Result<(), CliError> {
    if from > length {
        return Err(CliError::Usage(format!("the artifact has {length} bytes; give a range within them")));
    }
    Ok(())
}

fn list(common: &Common, source: Source) -> Result<(), CliError> {
    let rows = match source {
        Source::Node(mut client) => client.ask(&Request::Artifacts {})?.value["artifacts"].take(),
        Source::Folder(home) => json!(rows(&home)?),
    };
    if common.json {
        print_json(&json!({ "artifacts": rows }));
        return Ok(());
    }
    let rows = rows.as_array().map(Vec::as_slice).unwrap_or_default();
    if rows.is_empty() {
        hint::print_whole("no artifacts here; `forgemesh artifact put FILE` makes one");
    }
    for row in rows {
        let (bytes, here) = (row["bytes"].as_u64().unwrap_or(0), row["here"].as_u64().unwrap_or(0));
        let part = if here < bytes { format!(", {here} of them here") } else { String::new() };
        let jobs = row["jobs"].as_array().map_or(0, Vec::len);
        let why = match (row["kept_until_ms"].as_u64(), jobs) {
            (_, 1..) => format!("kept for {}", count::of(jobs as u64, "job")),
            (Some(until_ms), _) if until_ms > now_ms() => {
                format!("kept for {}", count::of((until_ms - now_ms()).div_ceil(DAY_MS), "day"))
            }
            _ => "kept for nobody".to_owned(),
        };
        print(&format!("{}  {bytes} bytes{part}; {why}", row["artifact"].as_str().unwrap_or_default()));
    }
    Ok(())
}

fn collect(common: &Common, source: Source, dry: bool) -> Result<(), CliError> {
    let found = match source {
        Source::Node(mut client) => client.ask(&Request::CollectGarbage { dry })?.value,
        Source::Folder(home) => collect_here(&home, dry)?,
    };
    let number = |key: &str| found[key].as_u64().unwrap_or(0);
    let (artifacts, blobs, bytes) = (number("artifacts"), number("blobs"), number("bytes"));
    if common.json {
        print_json(&json!({ "dry_run": dry, "artifacts": artifacts, "blobs": blobs, "bytes": bytes }));
    } else {
        let would = if dry { "would go" } else { "are gone" };
        print(&format!("{artifacts} artifacts and {blobs} blobs of jobs {would}: {bytes} bytes"));
    }
    Ok(())
}

/// Removes what nothing needs from a data folder on which no node runs.
fn collect_here(home: &Home, dry: bool) -> Result<Value, CliError> {
    let (mut artifacts, mut bytes) = (0, 0);
    loop {
        let garbage = garbage::artifacts(&home.storage, now_ms())?;
        artifacts += garbage.len();
        bytes += garbage.iter().map(|(_, kept)| kept.bytes()).sum::<u64>();
        if garbage.is_empty() || dry {
            break;
        }
        home.storage.commit(&garbage::removal(&garbage))?;
    }
    // As far as this folder knows; who was ever admitted to the hub has nothing here that it could judge while others sit.
    let seated = boot::seating(&home.storage)?.map(|seating| seating.seated).unwrap_or_default();
    let own = home.secret.public();
    let genesis = boot::genesis(&home.storage)?;
    let charters = genesis.map(|genesis| boot::charters(&home.storage, genesis)).transpose()?;
    let keeps = charters.is_some_and(|charters| charters.member(&own).is_some());
    let (blobs, of_blobs) = match keeps {
        true if seated == [own.id()] => collect_of_hub(home, dry)?,
        true => (0, 0),
        false => collect_of_agent(home, dry)?,
    };
    Ok(json!({ "artifacts": artifacts, "blobs": blobs, "bytes": bytes + of_blobs }))
}

/// Removes the blobs that no receipt stands on; says how many, and of how many bytes.
fn collect_of_hub(home: &Home, dry: bool) -> Result<(usize, u64), CliError> {
    let Some(hub) = boot::hub(&home.storage, &home.secret)? else { return Ok((0, 0)) };
    let blobs = garbage::blobs(&home.storage, &hub, now_ms())?;
    for part in blobs.chunks(BATCH_BLOBS).filter(|_| !dry) {
        let mut batch = Batch::new();
        for (blob, _) in part {
            batch.delete_blob(*blob);
        }
        home.storage.commit(&batch)?;
    }
    Ok((blobs.len(), blobs.iter().map(|(_, length)| length).sum()))
}

/// Removes what an agent has vouched for and nothing needs, as it does itself now and then.
fn collect_of_agent(home: &Home, dry: bool) -> Result<(usize, u64), CliError> {
    // Which of the links that are kept the hub has is not known here.
    let unlogged = home.storage.outbox(0, 1)?.first().map_or(u64::MAX, |(seq, _)| *seq);
    let (mut blobs, mut bytes) = (0, 0);
    loop {
        let spent = links::spent(&home.storage, unlogged)?;
        blobs += spent.blobs.len();
        for blob in &spent.blobs {
            bytes += home.storage.blob_len(blob)?.unwrap_or(0) as u64;
        }
        if dry || spent.rows.is_empty() {
            return Ok((blobs, bytes));
        }
        home.storage.commit(&spent.removal())?;
    }
}

/// What is listed of a data folder.
fn rows(home: &Home) -> Result<Vec<Value>, CliError> {
    Ok(artifacts::rows(&home.storage)?.iter().map(row).collect())
}

/// One artifact as it is listed.
pub fn row(row: &artifacts::Row) -> Value {
    let pin = row.kept.as_ref().and_then(|kept| kept.pin.as_ref());
    json!({
        "artifact": row.artifact,
        "bytes": row.length,
        "here": row.kept.as_ref().map_or(row.length, Kept::bytes),
        "kept_until_ms": pin.map(|pin| pin.body.until_ms),
        "kept_by": pin.map(|pin| pin.key.id()),
        "jobs": row.jobs,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_read_strictly() {
        for (text, from, to) in [
            ("0..1", 0, Some(1)),
            ("5..", 5, None),
            ("..7", 0, Some(7)),
            ("..", 0, None),
            ("1..9", 1, Some(9)),
        ] {
            assert_eq!(text.parse(), Ok(Part { from, to }), "{text}");
        }
        for text in ["", "1", "1..1", "2..1", "a..b", "-1..2", "1...2", "1..2..3", "18446744073709551616.."] {
            assert!(text.parse::<Part>().is_err(), "{text}");
        }
    }
}
