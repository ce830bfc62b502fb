//! All that an auditor needs, in one deterministic tar: the receipt, the artifacts, the job's record with every
//! attestation, verdict and vote, the claims and the accumulators.
//!
//! A bundle is accepted only if packing its contents again gives the same bytes.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Cursor, Read};

use forgemesh_consensus::job::{JobRecord, Reveal};
use forgemesh_consensus::settle;
use forgemesh_protocol::attestation::{Claim, decode_claims};
use forgemesh_protocol::canon;
use forgemesh_protocol::challenge::{CheckOutcome, beacon_step, drawn_digest};
use forgemesh_protocol::envelope::Verify;
use forgemesh_protocol::hash::{Domain, Hash};
use forgemesh_protocol::id::{MeshId, NodeId};
use forgemesh_protocol::keys::Signable;
use forgemesh_protocol::limits;
use forgemesh_protocol::plan::StageRun;
use forgemesh_protocol::state::State;
use forgemesh_protocol::vote::{FinalResult, Outcome};
use forgemesh_storage::{ReadError, Storage};

use crate::artifacts;
use crate::blobs::{BlobError, Blobs};
use crate::boot;
use crate::cause;
use crate::evidence::{self, Examined, Report, Status};
use crate::job_file::JobFile;
use crate::ports::Done;
use crate::prepared::Jobs;
use crate::reduce;
use crate::reducers::Reducers;

/// The receipt in a bundle, and beside the artifacts.
pub const RECEIPT: &str = "receipt.json";
/// The job's record: canonical CBOR of a `JobRecord`.
const EVIDENCE: &str = "evidence.cbor";
const BLOBS: &str = "blobs/";
/// Bytes of a block of a tar.
const TAR_BLOCK: usize = 512;

/// Why there is no bundle.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    #[error("{0}")]
    Read(#[from] ReadError),
    #[error("blob {0} of the job is not here any more: it was submitted with \"persist\": false")]
    Gone(Hash),
    #[error(
        "blob {0} of the job is not on this node, as the evidence of a job is with the hub: pack the bundle on a hub member"
    )]
    Elsewhere(Hash),
}

/// Packs the evidence of a final job.
pub fn pack(storage: &Storage, file: &JobFile) -> Result<Vec<u8>, BundleError> {
    let gone = |hash| match file.finished.record.terms.artifacts.persist {
        true => BundleError::Elsewhere(hash),
        false => BundleError::Gone(hash),
    };
    let mut entries = BTreeMap::new();
    entries.insert(RECEIPT.to_owned(), file.receipt.to_bytes());
    entries.insert(EVIDENCE.to_owned(), file.finished.record.encode());
    for artifact in file.finished.result.iter().flat_map(|result| &result.artifacts) {
        let bytes = artifacts::bytes(storage, &artifact.blake3)?.ok_or_else(|| gone(artifact.blake3))?;
        entries.insert(artifact.kind.file_name().to_owned(), bytes);
    }
    let record = &file.finished.record;
    let packed: Vec<_> = entries.values().map(|bytes| Hash::blob(bytes)).collect();
    let (needed, rest): (Vec<_>, Vec<_>) =
        record.batches.iter().partition(|batch| file.finished.rests_on(batch));
    for hash in boot::batch_blobs(storage, needed.into_iter())? {
        if !packed.contains(&hash) {
            let bytes = storage.blob(&hash)?.ok_or_else(|| gone(hash))?;
            entries.insert(format!("{BLOBS}{hash}"), bytes);
        }
    }
    // What was set aside counts for nothing, nor does anything of which nothing came; perhaps nobody ever had it.
    let rest = rest.into_iter().chain(record.set_aside.iter().map(|aside| &aside.batch));
    for hash in boot::batch_blobs(storage, rest)? {
        if let Some(bytes) = boot::whole(storage, &hash)?.filter(|_| !packed.contains(&hash)) {
            entries.insert(format!("{BLOBS}{hash}"), bytes);
        }
    }
    Ok(tar_of(&entries))
}

/// Entries in the order of their names, without owners and times.
fn tar_of(entries: &BTreeMap<String, Vec<u8>>) -> Vec<u8> {
    // Beside each file a header and its padding, and the end.
    let bytes = entries.values().map(|bytes| bytes.len() + 2 * TAR_BLOCK).sum::<usize>() + 2 * TAR_BLOCK;
    let mut builder = tar::Builder::new(Vec::with_capacity(bytes));
    for (name, bytes) in entries {
        let mut header = tar::Header::new_ustar();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        header.set_mtime(0);
        header.set_uid(0);
        header.set_gid(0);
        builder
            .append_data(&mut header, name, Cursor::new(bytes))
            .expect("invariant: short names and a vector to write to");
    }
    builder.into_inner().expect("invariant: writing to a vector cannot fail")
}

fn untar(bytes: &[u8]) -> Result<BTreeMap<String, Vec<u8>>, String> {
    let mut entries = BTreeMap::new();
    let mut archive = tar::Archive::new(bytes);
    let files = archive.entries().map_err(|error| error.to_string())?;
    for file in files {
        let mut file = file.map_err(|error| error.to_string())?;
        if file.header().entry_type() != tar::EntryType::Regular {
            return Err("an entry is not a plain file".to_owned());
        }
        let name =
            String::from_utf8(file.path_bytes().into_owned()).map_err(|_| "a name is not text".to_owned())?;
        // A plain file is in the archive as it is, so none is longer than the archive.
        let size = usize::try_from(file.size()).unwrap_or(usize::MAX).min(bytes.len());
        let mut content = Vec::with_capacity(size);
        file.by_ref()
            .take(bytes.len() as u64)
            .read_to_end(&mut content)
            .map_err(|error| format!("{name}: {error}"))?;
        entries.insert(name, content);
    }
    Ok(entries)
}

/// Whether a file looks like a bundle: a tar header's magic stands at byte 257.
pub fn is_bundle(bytes: &[u8]) -> bool {
    bytes.get(257..262) == Some(b"ustar")
        || bytes.starts_with(b"blobs/")
        || bytes.starts_with(EVIDENCE.as_bytes())
}

struct Contents<'a>(&'a BTreeMap<String, Vec<u8>>);

impl Blobs for Contents<'_> {
    fn blob(&self, address: &Hash) -> Result<Vec<u8>, BlobError> {
        let bytes = self.0.get(&format!("{BLOBS}{address}"));
        let whole = bytes.filter(|bytes| Hash::blob(bytes) == *address);
        whole.cloned().ok_or(BlobError::Gone(*address))
    }
}

/// Checks a bundle: the receipt, the artifacts, and everything the receipt was made from.
pub fn check(bytes: &[u8], pinned: Option<MeshId>, report: &mut Report) -> Option<Examined> {
    let entries = match untar(bytes) {
        Ok(entries) => entries,
        Err(error) => {
            report.note("bundle.archive", Status::Failed, format!("{error}; it is truncated or damaged"));
            return None;
        }
    };
    let difference = canon::first_difference(&tar_of(&entries), bytes);
    report.expect(
        "bundle.archive",
        difference.is_none(),
        format!("{} files, canonically packed", entries.len()),
        format!("differs from its canonical packing at byte {}", difference.unwrap_or_default()),
    );
    for (name, content) in &entries {
        if let Some(address) = name.strip_prefix(BLOBS)
            && Hash::blob(content).to_string() != address
        {
            report.note(format!("bundle.{name}"), Status::Failed, "its content is not that of its address");
        }
    }
    let Some(receipt) = entries.get(RECEIPT) else {
        report.note("bundle.receipt", Status::Failed, format!("there is no {RECEIPT} in the bundle"));
        return None;
    };
    let examined = evidence::examine(receipt, pinned, report)?;
    evidence::check_artifacts(&examined, &entries, report);
    check_evidence(&examined, &entries, report);
    Some(examined)
}

fn check_evidence(examined: &Examined, entries: &BTreeMap<String, Vec<u8>>, report: &mut Report) {
    let predicate = &examined.statement.predicate;
    let Some(bytes) = entries.get(EVIDENCE) else {
        return report.note("evidence.record", Status::Failed, format!("there is no {EVIDENCE}"));
    };
    let (found, stated) = (Hash::of(Domain::EVIDENCE, bytes), predicate.evidence);
    if found != stated {
        let detail = format!("the digest of {EVIDENCE} is {found}, the receipt says {stated}");
        return report.note("evidence.record", Status::Failed, detail);
    }
    let record = match JobRecord::decode(bytes) {
        Ok(record) => record,
        Err(error) => return report.note("evidence.record", Status::Failed, error.to_string()),
    };
    // Nothing may be derived from a stranger's record before it is known to be of this contract and cut by its plan.
    if let Err(error) = record.is_of(&examined.job) {
        return report.note("evidence.record", Status::Failed, error.to_string());
    }
    let result = record.votes.last().and_then(|vote| match &vote.body.outcome {
        Outcome::Final(result) if predicate.result.is_some() => Some(result.clone()),
        _ => None,
    });
    let finished_ms = predicate.run_details.metadata.finished_ms;
    let again = settle::statement(
        &record,
        &examined.job,
        result.as_ref(),
        predicate.failure.as_ref(),
        finished_ms,
        &examined.charters,
        examined.charters.current().version,
    );
    let same = again.digest() == examined.statement.digest();
    report.expect(
        "evidence.record",
        same,
        "the receipt follows from the record",
        "the receipt does not follow from the record",
    );
    if !same {
        return;
    }
    check_signed(examined, &record, entries, report);
    check_draws(examined, &record, report);
    check_reduction(&record, result.as_ref(), entries, report);
}

/// Every attestation, lease, verdict and vote bears its signature; every claim is the attested one.
fn check_signed(
    examined: &Examined,
    record: &JobRecord,
    entries: &BTreeMap<String, Vec<u8>>,
    report: &mut Report,
) {
    let mesh = examined.charters.mesh();
    let set_aside = record.set_aside.iter().map(|set_aside| set_aside.batch.digest);
    // A batch is in the record once: what was set aside does not count as well.
    let mut seen: BTreeSet<Hash> = set_aside.collect();
    for batch in &record.batches {
        let body = &batch.attestation.body;
        let name = format!("evidence.attestation.{}", batch.digest.short());
        let leases = body.leases.iter().all(|lease| {
            lease.verify(mesh).is_ok()
                && examined.charters.member(&lease.key).is_some()
                && lease.body.agent == body.agent
        });
        let input = record.stage_run(body.stage).and_then(StageRun::input_hash);
        let of_stage = body
            .leases
            .iter()
            .map(|lease| &lease.body)
            .filter(|lease| (lease.job, lease.stage, lease.input) == (record.id, body.stage, input));
        let covered = batch.credited.iter().all(|shard| of_stage.clone().any(|lease| lease.covers(shard)));
        let fit = |claims: Vec<Claim>| claims.iter().map(|claim| claim.shard).eq(body.shards.iter());
        let needed = record.rests_on(batch, examined.statement.predicate.failure.as_ref());
        let claimed = match Contents(entries).blob(&body.members) {
            Ok(bytes) => decode_claims(&bytes).is_ok_and(fit),
            Err(_) => !needed,
        };
        let own = batch.attestation.key.id() == body.agent
            && body.digest() == batch.digest
            && body.job == record.id
            && seen.insert(batch.digest);
        let verdict = batch.verdict.as_ref().is_none_or(|verdict| {
            verdict.verify(mesh).is_ok()
                && verdict.body.attestation == batch.digest
                && verdict.body.job == record.id
                && verdict.body.outcome == CheckOutcome::Agreed
                && examined.charters.member(&verdict.key).is_some()
        });
        let signed = batch.attestation.verify(mesh).is_ok();
        report.expect(
            name,
            signed && own && leases && covered && claimed && verdict,
            format!("{} shards by {}", batch.credited.len(), body.agent),
            "an attestation, one of its leases, its claims or its verdict is not what was signed",
        );
    }
    check_set_aside(examined, record, report);
    let votes = record.votes.iter().all(|vote| {
        vote.verify(mesh).is_ok()
            && vote.body.job == record.id
            && examined.charters.member(&vote.key).is_some()
    });
    report.expect(
        "evidence.votes",
        votes,
        format!("{} reduction votes", record.votes.len()),
        "a reduction vote is not a hub member's",
    );
}

/// What no longer counts was set aside for cause.
fn check_set_aside(examined: &Examined, record: &JobRecord, report: &mut Report) {
    if record.set_aside.is_empty() && record.convicted.is_empty() {
        return;
    }
    let (batches, agents) = (record.set_aside.len(), record.convicted.len());
    match cause::contradiction(record, &examined.charters) {
        None => {
            let detail = format!("{batches} batches do not count, {agents} agents convicted");
            report.note("evidence.set_aside", Status::Ok, detail);
        }
        Some(detail) => report.note("evidence.set_aside", Status::Failed, detail),
    }
}

/// The challenged leaves are those that the beacon draws.
fn check_draws(examined: &Examined, record: &JobRecord, report: &mut Report) {
    if record.terms.policy.verify == Verify::None {
        return report.note("evidence.draws", Status::Ok, "nothing was to be drawn");
    }
    let ppm = examined.charters.genesis().parameters.spotcheck_ppm;
    let (mut checked, mut links) = (0, BTreeMap::new());
    let as_drawn = record.batches.iter().filter(|batch| !batch.credited.is_empty()).all(|batch| {
        let after = batch.reveal.as_ref().is_none_or(|reveal| batch.logged < reveal.logged);
        let Some(verdict) = &batch.verdict else { return after && record.state == State::Failed };
        let drawn = record.challenged(batch, ppm);
        checked += drawn.len();
        after && batch.reveal.is_some() && verdict.body.drawn == drawn_digest(&drawn)
    });
    let set_aside = record.set_aside.iter().map(|set_aside| &set_aside.batch);
    let reveals = record.batches.iter().chain(set_aside).filter_map(|batch| batch.reveal.as_deref().copied());
    // One place in the log, one place in the chain, one value; later in the log is further from the anchor.
    let one_each = reveals
        .clone()
        .all(|reveal| *links.entry((reveal.member, reveal.ordinal)).or_insert(reveal) == reveal);
    let in_order =
        links.values().zip(links.values().skip(1)).all(|(a, b)| a.member != b.member || a.logged < b.logged);
    report.expect(
        "evidence.draws",
        as_drawn && one_each && in_order && lead_to_anchors(examined, &links),
        format!("{checked} leaves of {} batches, drawn from links of the hub's beacon", record.batches.len()),
        "the checked leaves are not those that the beacon draws, or a beacon link is none of the hub's",
    );
}

/// From each member's furthest link one step at a time to its anchor: every other link lies on the way.
fn lead_to_anchors(examined: &Examined, links: &BTreeMap<(NodeId, u64), Reveal>) -> bool {
    examined.charters.ever().all(|member| {
        let own: Vec<&Reveal> = links.values().filter(|reveal| reveal.member == member.key.id()).collect();
        let Some(furthest) = own.last().filter(|reveal| reveal.ordinal < member.beacon_length) else {
            return own.is_empty();
        };
        let (mut link, mut met) = (furthest.value, 0);
        for ordinal in (0..=furthest.ordinal).rev() {
            match links.get(&(member.key.id(), ordinal)) {
                Some(reveal) if reveal.value == link => met += 1,
                Some(_) => return false,
                None => {}
            }
            link = beacon_step(&link);
        }
        link == member.beacon_anchor && met == own.len()
    }) && links.keys().all(|(member, _)| examined.charters.node(member).is_some())
}

/// Reducing the accumulators again gives what was voted for, to the byte.
fn check_reduction(
    record: &JobRecord,
    result: Option<&FinalResult>,
    entries: &BTreeMap<String, Vec<u8>>,
    report: &mut Report,
) {
    let Some(result) = result else {
        return report.note("evidence.reduction", Status::NotChecked, "the job failed: there is no result");
    };
    match reduce::reduce(record, &Jobs::default(), &Reducers::default(), &Contents(entries)) {
        Ok(Done::Reduced { outcome: Outcome::Final(again), .. }) => report.expect(
            "evidence.reduction",
            again == *result,
            format!(
                "{} computed again from the accumulators of {} batches",
                result.result_hash,
                record.batches.len()
            ),
            format!(
                "reducing the accumulators gives {}, voted was {}",
                again.result_hash, result.result_hash
            ),
        ),
        Ok(Done::Lacking { detail, .. } | Done::Unfit { detail, .. }) => {
            report.note("evidence.reduction", Status::Failed, detail)
        }
        Ok(_) => {
            report.note("evidence.reduction", Status::Failed, "the accumulators do not reduce to a result")
        }
        Err(detail) => report.note("evidence.reduction", Status::Failed, detail),
    }
}

/// Longest file that `verify` reads.
pub const FILE_BYTES: u64 = limits::BUNDLE_BYTES as u64;
