//! The command line's end of a running node's control socket.

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use forgemesh_protocol::limits;
use serde_json::Value;

use super::error::CliError;
use super::lookup::AS_LAST_KNOWN;
use super::{Common, hint, home, say};
use crate::real::control::SOCKET_FILE_NAME;
use crate::real::control::request::Request;

/// Says what to do where no node runs.
pub fn no_node(folder: PathBuf) -> CliError {
    let has_mesh = home::may_have_mesh(&folder);
    if has_mesh { CliError::NoNode { folder } } else { CliError::NoNodeNorMesh { folder } }
}

/// A connection to a node.
pub struct Client {
    to: UnixStream,
    from: BufReader<UnixStream>,
}

/// An answer with what came along.
pub struct Answered {
    pub value: Value,
    pub attached: Vec<u8>,
}

impl Client {
    /// The node of `--node`, which must run; else the node of this data folder, if one runs there.
    pub fn find(common: &Common) -> Result<Option<Client>, CliError> {
        match &common.node {
            Some(named) => {
                let path = if named.is_dir() { named.join(SOCKET_FILE_NAME) } else { named.clone() };
                match Client::connect(&path)? {
                    Some(client) => Ok(Some(client)),
                    None => Err(no_node(hint::folder(named))),
                }
            }
            None => Client::connect(&home::folder(common)?.join(SOCKET_FILE_NAME)),
        }
    }

    /// The same, but a node must run.
    pub fn require(common: &Common) -> Result<Client, CliError> {
        match Client::find(common)? {
            Some(client) => Ok(client),
            None => Err(no_node(home::folder(common)?)),
        }
    }

    /// None if nobody listens there: no node runs, or one has died.
    fn connect(path: &Path) -> Result<Option<Client>, CliError> {
        let failed = |source| CliError::Socket { path: PathBuf::from(path), source };
        match UnixStream::connect(path) {
            Ok(to) => {
                let from = BufReader::new(to.try_clone().map_err(failed)?);
                Ok(Some(Client { to, from }))
            }
            Err(error) => match error.kind() {
                // A path too long for a socket has no node behind it either.
                ErrorKind::NotFound
                | ErrorKind::NotADirectory
                | ErrorKind::ConnectionRefused
                | ErrorKind::InvalidInput => Ok(None),
                _ => Err(failed(error)),
            },
        }
    }

    /// The connection itself, for whoever may have to end it.
    pub fn stream(&self) -> std::io::Result<UnixStream> {
        self.to.try_clone()
    }

    /// Asks, and waits for the answer.
    pub fn ask(&mut self, request: &Request) -> Result<Answered, CliError> {
        self.follow(request, |_| {})
    }

    /// Asks, and shows every event until the answer comes.
    pub fn follow(&mut self, request: &Request, mut event: impl FnMut(&Value)) -> Result<Answered, CliError> {
        let mut attached = Vec::new();
        let mut attach = |part: &[u8]| {
            attached.extend_from_slice(part);
            if attached.len() > limits::CONTROL_ANSWER_BYTES { Err(CliError::Hung) } else { Ok(()) }
        };
        let value = self.converse(request, &mut event, &mut attach)?;
        Ok(Answered { value, attached })
    }

    /// Asks, and takes what is attached as it comes, however much it is.
    pub fn receive(
        &mut self,
        request: &Request,
        event: &mut impl FnMut(&Value),
        part: &mut impl FnMut(&[u8]) -> Result<(), CliError>,
    ) -> Result<Value, CliError> {
        self.converse(request, event, part)
    }

    fn converse(
        &mut self,
        request: &Request,
        event: &mut impl FnMut(&Value),
        part: &mut impl FnMut(&[u8]) -> Result<(), CliError>,
    ) -> Result<Value, CliError> {
        let mut line = request.line();
        if line.len() > limits::CONTROL_BYTES {
            let text = format!("a request has at most {} bytes; use a smaller file", limits::CONTROL_BYTES);
            return Err(CliError::Usage(text));
        }
        line.push(b'\n');
        self.to.write_all(&line).map_err(|_| CliError::Hung)?;
        let mut bytes = Vec::new();
        loop {
            let mut value = self.line()?;
            if let Some(length) = value["part"].as_u64() {
                self.part(length, &mut bytes)?;
                part(&bytes)?;
            } else if value.get("ok").is_some() {
                let value = value["ok"].take();
                if value["current"] == Value::Bool(false) {
                    say(AS_LAST_KNOWN);
                }
                return Ok(value);
            } else if value.get("error").is_some() {
                return Err(CliError::Node(value["error"].take()));
            } else {
                event(&value["event"]);
            }
        }
    }

    fn part(&mut self, length: u64, bytes: &mut Vec<u8>) -> Result<(), CliError> {
        let length = usize::try_from(length).ok().filter(|length| *length <= limits::CONTROL_PART_BYTES);
        bytes.resize(length.ok_or(CliError::Hung)?, 0);
        self.from.read_exact(bytes).map_err(|_| CliError::Hung)
    }

    fn line(&mut self) -> Result<Value, CliError> {
        let mut line = Vec::new();
        let limit = limits::CONTROL_LINE_BYTES as u64;
        let read = (&mut self.from).take(limit).read_until(b'\n', &mut line);
        match read {
            Ok(read) if read > 0 => serde_json::from_slice(&line).map_err(|_| CliError::Hung),
            _ => Err(CliError::Hung),
        }
    }
}
