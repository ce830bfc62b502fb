//! A job as it is given on the command line: a file, or an op with arguments.

use std::io::Read;
use std::path::{Path, PathBuf};

use clap::Args;
use forgemesh_kernel::job::Job;
use forgemesh_protocol::envelope::Terms;
use forgemesh_protocol::limits;
use forgemesh_protocol::op::Op;
use forgemesh_protocol::problem::Problems;
use forgemesh_protocol::region::{Region, Regions};
use forgemesh_protocol::submission::Offer;
use serde_json::{Value, json};

use super::argument::{self, value_of};
use super::error::CliError;
use super::near;
use crate::core::placement::{self, Capabilities};

/// Which job.
#[derive(Args)]
pub struct JobInput {
    /// A job file (JSON; "-" is standard input), or an op such as mc@1/insurance.v1.
    #[arg(value_name = "FILE|OP")]
    target: String,
    /// Arguments that replace those of the file, or the op's defaults: iterations=200000.
    #[arg(value_name = "KEY=VALUE")]
    args: Vec<String>,
    /// Pin the root seed: the same seed and arguments give the same bits, anywhere, for ever.
    #[arg(long, value_name = "TEXT")]
    seed: Option<String>,
    /// How much is executed again: none, spotcheck or full.
    #[arg(long, value_name = "MODE")]
    verify: Option<String>,
    /// Have it executed only by nodes that say they are in this region; may be given several times.
    #[arg(long, value_name = "NAME")]
    region: Vec<Region>,
}

impl JobInput {
    /// The market terms: where it may be executed.
    pub fn offer(&self) -> Result<Offer, CliError> {
        let regions =
            Regions::new(self.region.clone()).map_err(|error| CliError::Usage(error.to_string()))?;
        Ok(Offer { regions, ..Offer::default() })
    }

    /// The bytes of the envelope, with what the command line changes.
    pub fn envelope(&self) -> Result<Vec<u8>, CliError> {
        let bytes = self.bytes()?;
        if self.args.is_empty() && self.seed.is_none() && self.verify.is_none() {
            return Ok(bytes);
        }
        // Read strictly first: a duplicate key must not vanish in the rewriting. What is no JSON object is handed on as it
        // is, to be refused by its reader.
        let strict = forgemesh_protocol::json::Json::parse(&bytes);
        if !matches!(strict, Ok(forgemesh_protocol::json::Json::Map(_))) {
            return Ok(bytes);
        }
        let mut envelope: Value =
            serde_json::from_slice(&bytes).map_err(|error| CliError::Usage(format!("not a job: {error}")))?;
        let mut keys = std::collections::BTreeSet::new();
        for pair in &self.args {
            let (key, value) = pair.split_once('=').ok_or_else(|| {
                CliError::Usage(format!("\"{pair}\" is not KEY=VALUE; write for example iterations=200000"))
            })?;
            if let Some(whole) = written_whole(key, value) {
                let text = format!("{key} is a field within an argument; write the argument whole: {whole}");
                return Err(CliError::Usage(text));
            }
            if !keys.insert(key) {
                return Err(CliError::Usage(format!("{key} is given twice; keep one of them")));
            }
            argument::check(&envelope["op"], key, value)?;
            set(&mut envelope, "args", key, value_of(value));
        }
        if let Some(seed) = &self.seed {
            envelope["seed"] = json!({"mode": "explicit", "value": seed});
        }
        if let Some(verify) = &self.verify {
            set(&mut envelope, "policy", "verify", Value::from(verify.as_str()));
        }
        serde_json::to_vec(&envelope).map_err(|error| CliError::Usage(error.to_string()))
    }

    fn bytes(&self) -> Result<Vec<u8>, CliError> {
        let path = Path::new(&self.target);
        if self.target == "-" || path.exists() {
            return read_bounded(path, limits::ENVELOPE_BYTES as u64 + 1);
        }
        if let Ok(op) = self.target.parse::<Op>() {
            let envelope = json!({"op": op, "args": {}});
            return serde_json::to_vec(&envelope).map_err(|error| CliError::Usage(error.to_string()));
        }
        if self.target.contains('@') {
            return Err(CliError::Usage(forgemesh_protocol::op::OpError.to_string()));
        }
        Err(CliError::NoJobFile { path: path.to_owned(), near: near::ops(&self.target) })
    }
}

/// For `a.b=1` the form that works, `'a={"b":1}'`, as a shell takes it.
fn written_whole(key: &str, value: &str) -> Option<String> {
    let (argument, fields) = key.split_once('.')?;
    if argument.is_empty() || fields.split('.').any(str::is_empty) {
        return None;
    }
    let object = fields.rsplit('.').fold(value_of(value), |inner, field| json!({ field: inner }));
    Some(argument::written_out(argument, &object))
}

fn set(envelope: &mut Value, object: &str, key: &str, value: Value) {
    let place = envelope.get_mut(object);
    match place {
        None | Some(Value::Null) => envelope[object] = json!({ key: value }),
        Some(Value::Object(map)) => {
            map.insert(key.to_owned(), value);
        }
        // Its reader names what is wrong with it.
        Some(_) => {}
    }
}

/// Reads a whole file, refusing one that is longer than `limit`; "-" is standard input.
pub fn read_bounded(path: &Path, limit: u64) -> Result<Vec<u8>, CliError> {
    let failed = |source| CliError::Read { path: PathBuf::from(path), source };
    let mut bytes = Vec::new();
    if path == Path::new("-") {
        std::io::stdin().lock().take(limit).read_to_end(&mut bytes).map_err(failed)?;
    } else {
        let file = std::fs::File::open(path).map_err(failed)?;
        file.take(limit).read_to_end(&mut bytes).map_err(failed)?;
    }
    Ok(bytes)
}

/// Reads a job and holds its policy and its offer against the one node there is.
pub fn admit(envelope: &[u8], offer: &Offer) -> Result<(Job, Terms), Problems> {
    let (job, terms) = Job::read(envelope)?;
    placement::check(&terms.policy, &offer.regions, &Capabilities::EMBEDDED)?;
    Ok((job, terms))
}
