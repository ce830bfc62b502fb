//! Artifacts at the desk: a client's bytes on their way to the node, and the node's to a client.
//!
//! Must never hold more than a few pieces of one, whatever its length.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};

use forgemesh_protocol::artifact::{Outline, Pin, pieces_of};
use forgemesh_protocol::canon::Bytes;
use forgemesh_protocol::hash::Hash;
use forgemesh_protocol::keys::Signed;
use forgemesh_protocol::limits;
use forgemesh_protocol::wire::Outlined;
use serde_json::{Value, json};

use super::{Answer, Desk, plain};
use crate::artifacts::{self, Kept};
use crate::cli::artifact::{row, within};
use crate::cli::embedded::{now_ms, unexpected};
use crate::cli::error::CliError;
use crate::core::{Reply, Request as Ask};
use crate::real::control::Answers;

/// Bytes after which a client hears how far an artifact is.
const STEP: u64 = 16 * limits::PIECE_BYTES as u64;
/// Bytes that are on the disk before the first of them go to the client.
const WINDOW: u64 = 4 * limits::PIECE_BYTES as u64;

impl Desk {
    /// Takes an artifact on, in this node's name.
    pub(super) async fn put_artifact(
        &self,
        artifact: Hash,
        outline: Outline,
        last: Bytes,
        until_ms: u64,
    ) -> Result<Answer, CliError> {
        if until_ms > now_ms() + limits::PIN_MS {
            return Err(CliError::Usage(
                "an artifact is kept for ten years at most; ask for less".to_owned(),
            ));
        }
        let pin = Pin { artifact, length: outline.length, until_ms };
        let pin = Some(Signed::new(pin, self.handle.mesh(), &self.secret));
        let outlined = Outlined { artifact, outline, last, pin };
        match self.handle.request(Ask::PutArtifact(Box::new(outlined))).await? {
            Reply::Artifact { missing, .. } => {
                let missing: Vec<_> = missing.iter().map(|range| [range.start, range.end]).collect();
                plain(json!({ "missing": missing }))
            }
            Reply::Done => plain(json!({ "missing": [] })),
            other => Err(refused(artifact, other)),
        }
    }

    pub(super) async fn put_piece(
        &self,
        artifact: Hash,
        index: u64,
        bytes: Bytes,
    ) -> Result<Answer, CliError> {
        match self.handle.request(Ask::PutPiece { artifact, index, bytes }).await? {
            Reply::Done => plain(json!({})),
            other => Err(refused(artifact, other)),
        }
    }

    /// Waits until all of it is durable here, and says how far it is meanwhile.
    pub(super) async fn fetch_artifact(&self, artifact: Hash, out: &mut Answers) -> Result<Value, CliError> {
        let is_whole = AtomicBool::new(false);
        let whole = async {
            let length = self.have(artifact, 0..u64::MAX).await;
            is_whole.store(true, Ordering::Relaxed);
            length
        };
        // Words on the way, which nothing depends on.
        let told = async {
            let (mut here, mut length) = (0, u64::MAX);
            while here < length && !is_whole.load(Ordering::Relaxed) {
                let step = here..here.saturating_add(STEP);
                let Ok(found) = self.have(artifact, step.clone()).await else { return };
                (length, here) = (found, step.end.min(found));
                if out.event(&json!({ "length": length, "here": here })).await.is_err() {
                    return;
                }
            }
        };
        let (length, ()) = tokio::join!(whole, told);
        Ok(json!({ "length": length? }))
    }

    async fn have(&self, artifact: Hash, bytes: Range<u64>) -> Result<u64, CliError> {
        match self.handle.request(Ask::Artifact { artifact, bytes }).await? {
            Reply::Artifact { length, .. } => Ok(length),
            other => Err(refused(artifact, other)),
        }
    }

    /// How long an artifact is, if these bytes of it are on the disk.
    fn is_here(&self, artifact: &Hash, bytes: &Range<u64>) -> Result<Option<u64>, CliError> {
        let look = artifacts::look(&self.storage, artifact)?;
        let in_part = look.kept.as_ref().map(|(kept, _)| kept);
        let has = |kept: &&Kept| pieces_of(kept.length, bytes).all(|index| kept.has(index));
        Ok(look.whole().or(in_part.filter(has).map(|kept| kept.length)))
    }

    /// Sends a client what it asked for, while the rest is still on its way to this node.
    pub(super) async fn send_artifact(
        &self,
        artifact: Hash,
        from: u64,
        to: Option<u64>,
        out: &mut Answers,
    ) -> Result<Value, CliError> {
        let to = to.unwrap_or(u64::MAX);
        let sent = async {
            let (mut at, mut told) = (from, false);
            loop {
                let window = at..at.saturating_add(WINDOW).min(to);
                let length = match self.is_here(&artifact, &window)? {
                    Some(length) => length,
                    None => self.have(artifact, window.clone()).await?,
                };
                within(length, from)?;
                if !told && out.event(&json!({ "length": length })).await.is_err() {
                    return Ok(length);
                }
                told = true;
                for index in pieces_of(length, &window) {
                    let first = index * limits::PIECE_BYTES as u64;
                    let part = first.max(at)..(first + limits::PIECE_BYTES as u64).min(window.end);
                    let mut bytes = Vec::new();
                    let whole = artifacts::read(&self.storage, &artifact, length, &part, |part| {
                        bytes.extend_from_slice(part);
                        Ok::<_, CliError>(())
                    })??;
                    if !whole {
                        return Err(CliError::NoSuchArtifact(artifact));
                    }
                    if out.attach(&bytes).await.is_err() {
                        return Ok(length);
                    }
                }
                at = window.end;
                if at >= to.min(length) {
                    return Ok(length);
                }
            }
        };
        let (_, length) = tokio::try_join!(self.have(artifact, from..to), sent)?;
        Ok(json!({ "length": length }))
    }

    /// Removes batch after batch, until there is nothing left to be removed.
    pub(super) async fn collect_garbage(&self, dry: bool) -> Result<Answer, CliError> {
        let (mut artifacts, mut bytes) = (0, 0);
        loop {
            match self.handle.request(Ask::Collect { dry }).await? {
                Reply::Collected { artifacts: more, bytes: of_these } => {
                    (artifacts, bytes) = (artifacts + more, bytes + of_these);
                    if more == 0 || dry {
                        return plain(json!({ "artifacts": artifacts, "bytes": bytes }));
                    }
                }
                other => return Err(unexpected(other)),
            }
        }
    }

    pub(super) fn list_artifacts(&self) -> Result<Answer, CliError> {
        let rows = artifacts::rows(&self.storage)?;
        plain(json!({ "artifacts": rows.iter().map(row).collect::<Vec<_>>() }))
    }
}

fn refused(artifact: Hash, reply: Reply) -> CliError {
    match reply {
        Reply::NoArtifact => CliError::NoSuchArtifact(artifact),
        Reply::NotOfArtifact => CliError::NotOfArtifact(artifact),
        other => unexpected(other),
    }
}
