//! Artifacts as a node keeps them: in pieces, whole or in part, or as a blob of a job. One address finds either.
//!
//! Owns the records about them in the key-value memory. Must never call an artifact whole that lacks a piece.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::ops::Range;

use forgemesh_protocol::artifact::{Outline, Outliner, Pin, piece_length, pieces, pieces_of};
use forgemesh_protocol::canon::{self, Bytes};
use forgemesh_protocol::hash::Hash;
use forgemesh_protocol::id::JobId;
use forgemesh_protocol::keys::Signed;
use forgemesh_protocol::limits;
use forgemesh_protocol::wire::{Keeping, KeptPage, Outlined};
use forgemesh_storage::{Batch, ReadError, Storage};
use serde::{Deserialize, Serialize};

/// Namespace of what is kept: address → `Kept`. No envelope can name it: a namespace there has no space.
const KEPT_NAMESPACE: &str = "forgemesh artifact";
/// Namespace of the outlines: address → `Outline`. Those of blobs are made when they are asked for.
const OUTLINE_NAMESPACE: &str = "forgemesh outline";
/// Namespace of the artifacts that final jobs name: address ‖ `/` ‖ job → nothing.
const NAMED_NAMESPACE: &str = "forgemesh named";
/// Rows read at a time.
const PAGE: usize = 512;
/// Artifacts listed, or some more.
const LISTED: usize = 10_000;

/// What is here of an artifact.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Kept {
    /// In bytes.
    pub length: u64,
    /// A bit for each piece, the first one's lowest: whether it is here. None once all are.
    pub pieces: Bytes,
    /// Why it is kept, if somebody has signed that.
    pub pin: Option<Signed<Pin>>,
}

impl Kept {
    /// Nothing of it yet.
    pub fn nothing(length: u64, pin: Option<Signed<Pin>>) -> Kept {
        let bytes = usize::try_from(pieces(length).div_ceil(8)).unwrap_or(0);
        Kept { length, pieces: Bytes(vec![0; bytes]), pin }
    }

    /// Is all of it here?
    pub fn is_whole(&self) -> bool {
        self.pieces.0.is_empty()
    }

    /// Is this piece here?
    pub fn has(&self, index: u64) -> bool {
        let byte = usize::try_from(index / 8).ok().and_then(|at| self.pieces.0.get(at));
        self.is_whole() || byte.is_some_and(|byte| byte >> (index % 8) & 1 == 1)
    }

    /// This piece is here from now on.
    pub fn add(&mut self, index: u64) {
        let byte = usize::try_from(index / 8).ok().and_then(|at| self.pieces.0.get_mut(at));
        byte.into_iter().for_each(|byte| *byte |= 1 << (index % 8));
        let here: u64 = self.pieces.0.iter().map(|byte| u64::from(byte.count_ones())).sum();
        if here == pieces(self.length) {
            self.pieces.0.clear();
        }
    }

    /// This piece is here no longer.
    pub fn remove(&mut self, index: u64) {
        if self.is_whole() {
            let mut rest = Kept::nothing(self.length, None);
            (0..pieces(self.length)).filter(|other| *other != index).for_each(|other| rest.add(other));
            self.pieces = rest.pieces;
        } else if let Some(byte) = usize::try_from(index / 8).ok().and_then(|at| self.pieces.0.get_mut(at)) {
            *byte &= !(1 << (index % 8));
        }
    }

    /// The pieces that are not here, as ranges.
    pub fn missing(&self) -> Vec<Range<u64>> {
        let mut missing: Vec<Range<u64>> = Vec::new();
        for index in (0..pieces(self.length)).filter(|index| !self.has(*index)) {
            match missing.last_mut() {
                Some(last) if last.end == index => last.end += 1,
                _ => missing.push(index..index + 1),
            }
        }
        missing
    }

    /// Bytes that are here.
    pub fn bytes(&self) -> u64 {
        let here = (0..pieces(self.length)).filter(|index| self.has(*index));
        if self.is_whole() { self.length } else { here.map(|index| piece_length(self.length, index)).sum() }
    }

    /// Is somebody's wish to keep it in force?
    pub fn is_pinned(&self, now_ms: u64) -> bool {
        self.pin.as_ref().is_some_and(|pin| pin.body.until_ms > now_ms)
    }

    /// Takes a pin that is good for longer than the one there is; true if it is.
    pub fn adopt(&mut self, pin: Option<Signed<Pin>>) -> bool {
        let until = |pin: &Option<Signed<Pin>>| pin.as_ref().map_or(0, |pin| pin.body.until_ms);
        let longer = until(&pin) > until(&self.pin);
        if longer {
            self.pin = pin;
        }
        longer
    }

    /// Writes the record.
    pub fn put(&self, batch: &mut Batch, artifact: &Hash) {
        batch.put_kv(KEPT_NAMESPACE, &artifact.to_string(), canon::to_bytes(self));
    }
}

/// What a look at the disk finds of an artifact.
#[derive(Clone, Debug, PartialEq)]
pub struct Look {
    /// Its record, with the outline as long as it is not whole.
    pub kept: Option<(Kept, Option<Outline>)>,
    /// A blob under this address: its length.
    pub blob: Option<u64>,
    /// Does a final job name it?
    pub named: bool,
}

impl Look {
    /// Its length, if all of it is here.
    pub fn whole(&self) -> Option<u64> {
        let kept = self.kept.as_ref().filter(|(kept, _)| kept.is_whole()).map(|(kept, _)| kept.length);
        kept.or(self.blob)
    }
}

/// Writes the outline and the last piece, with which an artifact's record begins; says what is here then.
pub fn begin(batch: &mut Batch, outlined: &Outlined) -> Kept {
    let Outlined { artifact, outline, last, pin } = outlined;
    let mut kept = Kept::nothing(outline.length, pin.clone());
    let index = pieces(outline.length) - 1;
    batch.put_kv(OUTLINE_NAMESPACE, &artifact.to_string(), canon::to_bytes(outline));
    // An outline that was checked has the sum of each of its pieces.
    if let Some(sum) = outline.sum(artifact, index) {
        kept.add(index);
        batch.put_piece(*artifact, index, sum, last.0.clone());
    }
    kept.put(batch, artifact);
    kept
}

/// Notes that a final job names this artifact.
pub fn name(batch: &mut Batch, artifact: &Hash, job: &JobId) {
    batch.put_kv(NAMED_NAMESPACE, &format!("{artifact}/{job}"), Vec::new());
}

/// Forgets an artifact's pieces and records; a blob under the address stays.
pub fn forget(batch: &mut Batch, artifact: &Hash, kept: &Kept) {
    for index in (0..pieces(kept.length)).filter(|index| kept.has(*index)) {
        batch.delete_piece(*artifact, index);
    }
    batch.delete_kv(OUTLINE_NAMESPACE, &artifact.to_string());
    batch.delete_kv(KEPT_NAMESPACE, &artifact.to_string());
}

/// The record of an artifact.
pub fn kept(storage: &Storage, artifact: &Hash) -> Result<Option<Kept>, ReadError> {
    let bytes = storage.kv(KEPT_NAMESPACE, &artifact.to_string())?;
    // What is not ours is as good as missing: it is fetched again.
    Ok(bytes.and_then(|bytes| canon::from_bytes(&bytes, limits::CONTROL_BYTES).ok()))
}

fn outline(storage: &Storage, artifact: &Hash) -> Result<Option<Outline>, ReadError> {
    let bytes = storage.kv(OUTLINE_NAMESPACE, &artifact.to_string())?;
    Ok(bytes.and_then(|bytes| canon::from_bytes(&bytes, limits::CONTROL_BYTES).ok()))
}

/// The jobs that name an artifact, at most so many.
pub fn named_by(storage: &Storage, artifact: &Hash, most: usize) -> Result<Vec<String>, ReadError> {
    let prefix = format!("{artifact}/");
    let rows = storage.kv_list(NAMED_NAMESPACE, Some(&prefix), most)?;
    Ok(rows.iter().filter_map(|(key, _)| key.strip_prefix(&prefix).map(str::to_owned)).collect())
}

/// What is here of an artifact.
pub fn look(storage: &Storage, artifact: &Hash) -> Result<Look, ReadError> {
    let kept = match kept(storage, artifact)? {
        Some(kept) if kept.is_whole() => Some((kept, None)),
        Some(kept) => outline(storage, artifact)?.map(|outline| (kept, Some(outline))),
        None => None,
    };
    let blob = storage.blob_len(artifact)?.map(|length| length as u64);
    Ok(Look { kept, blob, named: !named_by(storage, artifact, 1)?.is_empty() })
}

/// The outline of an artifact that is here, with its last piece.
pub fn outlined(storage: &Storage, artifact: &Hash) -> Result<Option<Outlined>, ReadError> {
    let kept = kept(storage, artifact)?;
    let pin = kept.and_then(|kept| kept.pin);
    if let Some(outline) = outline(storage, artifact)? {
        let last = storage.piece(artifact, pieces(outline.length) - 1)?;
        return Ok(last.map(|last| Outlined { artifact: *artifact, outline, last: Bytes(last), pin }));
    }
    let Some(bytes) = storage.blob(artifact)? else { return Ok(None) };
    let mut outliner = Outliner::default();
    bytes.chunks(limits::PIECE_BYTES).for_each(|piece| outliner.push(piece));
    let (_, outline) = outliner.finish();
    let from = bytes.len().saturating_sub(1) / limits::PIECE_BYTES * limits::PIECE_BYTES;
    Ok(Some(Outlined { artifact: *artifact, outline, last: Bytes(bytes[from..].to_vec()), pin }))
}

/// A piece that is here; for one of a blob the whole blob is read.
pub fn piece(storage: &Storage, artifact: &Hash, index: u64) -> Result<Option<Vec<u8>>, ReadError> {
    if let Some(piece) = storage.piece(artifact, index)? {
        return Ok(Some(piece));
    }
    let blob = storage.blob(artifact)?.unwrap_or_default();
    let piece = usize::try_from(index).ok().and_then(|index| blob.chunks(limits::PIECE_BYTES).nth(index));
    Ok(piece.map(<[u8]>::to_vec))
}

/// The bytes of a range, piece by piece, of an artifact whose pieces there are here; false if one is not, or is damaged.
pub fn read<E>(
    storage: &Storage,
    artifact: &Hash,
    length: u64,
    range: &Range<u64>,
    mut each: impl FnMut(&[u8]) -> Result<(), E>,
) -> Result<Result<bool, E>, ReadError> {
    // A blob is read once, whole.
    let mut blob = None;
    for index in pieces_of(length, range) {
        let piece = match storage.piece(artifact, index)? {
            Some(piece) => piece,
            None => {
                if blob.is_none() {
                    blob = Some(storage.blob(artifact)?.unwrap_or_default());
                }
                let mut pieces = blob.iter().flat_map(|blob| blob.chunks(limits::PIECE_BYTES));
                match usize::try_from(index).ok().and_then(|index| pieces.nth(index)) {
                    Some(piece) => piece.to_vec(),
                    None => return Ok(Ok(false)),
                }
            }
        };
        let first = index * limits::PIECE_BYTES as u64;
        let within = |at: u64| at.clamp(first, first + piece.len() as u64) - first;
        let part = within(range.start) as usize..within(range.end) as usize;
        if let Err(error) = each(&piece[part]) {
            return Ok(Err(error));
        }
    }
    Ok(Ok(true))
}

/// All of an artifact's bytes; none if a piece is not here, or is damaged.
pub fn bytes(storage: &Storage, artifact: &Hash) -> Result<Option<Vec<u8>>, ReadError> {
    let Some(length) = look(storage, artifact)?.whole() else { return Ok(None) };
    let mut bytes = Vec::new();
    let is_whole = read(storage, artifact, length, &(0..length), |part| {
        bytes.extend_from_slice(part);
        Ok::<(), Infallible>(())
    })?;
    Ok(is_whole.unwrap_or(false).then_some(bytes))
}

/// Records in the order of their addresses, after this one.
pub fn list(storage: &Storage, after: Option<&Hash>) -> Result<Vec<(Hash, Kept)>, ReadError> {
    let after = after.map(Hash::to_string);
    let rows = storage.kv_list(KEPT_NAMESPACE, after.as_deref(), PAGE)?;
    let read = |(key, bytes): (String, Vec<u8>)| {
        Some((key.parse().ok()?, canon::from_bytes(&bytes, limits::CONTROL_BYTES).ok()?))
    };
    Ok(rows.into_iter().filter_map(read).collect())
}

/// Artifacts that final jobs name, with the job, in the order of their addresses, after this key.
pub fn named(storage: &Storage, after: Option<&str>) -> Result<Vec<(String, Hash, JobId)>, ReadError> {
    let rows = storage.kv_list(NAMED_NAMESPACE, after, PAGE)?;
    let read = |(key, _): (String, Vec<u8>)| {
        let (artifact, job) = key.split_once('/')?;
        Some((key.clone(), artifact.parse().ok()?, job.parse().ok()?))
    };
    Ok(rows.into_iter().filter_map(read).collect())
}

/// What a slice of scrubbing pieces found.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PieceScrub {
    /// An artifact with pieces that are damaged or gone: its record without them, and which they are.
    pub rotten: Option<(Hash, Kept, Vec<u64>)>,
    /// Where to go on; none after the last piece of all.
    pub next: Option<(Hash, u64)>,
}

/// Reads pieces of one artifact, from this one on or of the first one after it, to see whether they are what was written.
pub fn scrub(storage: &Storage, from: Option<(Hash, u64)>) -> Result<PieceScrub, ReadError> {
    let here = match from {
        Some((artifact, index)) => kept(storage, &artifact)?.map(|kept| (artifact, kept, index)),
        None => None,
    };
    let behind = from.map(|(artifact, _)| artifact);
    let first = || -> Result<Option<(Hash, Kept, u64)>, ReadError> {
        let next = list(storage, behind.as_ref())?.into_iter().next();
        Ok(next.map(|(artifact, kept)| (artifact, kept, 0)))
    };
    let in_it = here.filter(|(_, kept, index)| *index < pieces(kept.length));
    let Some((artifact, kept, index)) = in_it.map_or_else(first, |found| Ok(Some(found)))? else {
        return Ok(PieceScrub::default());
    };
    let next = index.saturating_add((limits::SCRUB_BYTES / limits::PIECE_BYTES) as u64);
    let mut without = kept.clone();
    let mut rotten = Vec::new();
    // What is pinned may lie in a blob, which is scrubbed as such.
    let is_blob = storage.has_blob(&artifact)?;
    for index in (index..next.min(pieces(kept.length))).filter(|index| kept.has(*index)) {
        match storage.piece(&artifact, index) {
            Ok(Some(_)) => {}
            Ok(None) if is_blob => {}
            Ok(None) | Err(ReadError::Corrupt { .. }) => {
                without.remove(index);
                rotten.push(index);
            }
            Err(error) => return Err(error),
        }
    }
    let rotten = (!rotten.is_empty()).then_some((artifact, without, rotten));
    Ok(PieceScrub { rotten, next: Some((artifact, next)) })
}

/// An artifact as it is listed.
pub struct Row {
    pub artifact: Hash,
    /// In bytes.
    pub length: u64,
    /// Its record; none for a blob.
    pub kept: Option<Kept>,
    /// The final jobs that name it.
    pub jobs: Vec<JobId>,
}

/// Every artifact of which something is here, up to a bound.
pub fn rows(storage: &Storage) -> Result<Vec<Row>, ReadError> {
    let mut rows: BTreeMap<Hash, Row> = BTreeMap::new();
    let mut after = None;
    loop {
        let page = list(storage, after.as_ref())?;
        let Some((last, _)) = page.last() else { break };
        after = Some(*last);
        for (artifact, kept) in page {
            let row = Row { artifact, length: kept.length, kept: Some(kept), jobs: Vec::new() };
            rows.insert(artifact, row);
        }
        if rows.len() >= LISTED {
            break;
        }
    }
    let mut after: Option<String> = None;
    loop {
        let page = named(storage, after.as_deref())?;
        let Some((last, _, _)) = page.last() else { break };
        after = Some(last.clone());
        for (_, artifact, job) in page {
            let listed = rows.get(&artifact).map(|row| row.length);
            let length = match listed {
                Some(length) => Some(length),
                None => storage.blob_len(&artifact)?.map(|length| length as u64),
            };
            let Some(length) = length else { continue };
            let new = || Row { artifact, length, kept: None, jobs: Vec::new() };
            rows.entry(artifact).or_insert_with(new).jobs.push(job);
        }
        if rows.len() >= LISTED {
            break;
        }
    }
    Ok(rows.into_values().collect())
}

/// A page of what this node keeps for the mesh: whole, and pinned or named by a final job. It reads on until the page is full:
/// a node may keep few of those that its books name.
pub fn page(storage: &Storage, after: Option<Hash>, now_ms: u64) -> Result<KeptPage, ReadError> {
    let mut keeping = BTreeMap::new();
    // How far each list was read; none: to its end.
    let (mut pinned_to, mut named_to) = (Some(after), Some(after));
    let through = loop {
        let behind = [pinned_to, named_to].into_iter().flatten().min();
        let Some(to) = behind else { break None };
        let within = |artifact: &Hash| Some(*artifact) <= to;
        if keeping.keys().filter(|artifact| within(artifact)).count() >= limits::HOLDINGS_PAGE {
            break to;
        }
        if pinned_to == behind {
            let rows = list(storage, to.as_ref())?;
            pinned_to = full(&rows, |(artifact, _)| *artifact);
            let rows = rows.into_iter().filter(|(_, kept)| kept.is_whole() && kept.is_pinned(now_ms));
            keeping.extend(rows.map(|(artifact, kept)| (artifact, kept.pin.map(|pin| pin.key.id()))));
        } else {
            // No key of a job is greater than this one.
            let rows = named(storage, to.map(|to| format!("{to}/~")).as_deref())?;
            named_to = full(&rows, |(_, artifact, _)| *artifact);
            for (_, artifact, _) in rows {
                if !keeping.contains_key(&artifact) && look(storage, &artifact)?.whole().is_some() {
                    keeping.insert(artifact, None);
                }
            }
        }
    };
    let mut artifacts: Vec<Keeping> =
        keeping.into_iter().map(|(artifact, pinned_by)| Keeping { artifact, pinned_by }).collect();
    let is_full = through.is_some() || artifacts.len() > limits::HOLDINGS_PAGE;
    artifacts.truncate(limits::HOLDINGS_PAGE);
    let through = artifacts.last().map(|row| row.artifact).filter(|_| is_full);
    Ok(KeptPage { after, artifacts, through })
}

/// The address of the last row where there may be more of them.
fn full<T>(rows: &[T], address: impl Fn(&T) -> Hash) -> Option<Option<Hash>> {
    rows.last().filter(|_| rows.len() >= PAGE).map(|last| Some(address(last)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The books name what others keep, too, and one artifact for many jobs; a page is full all the same, and says all.
    #[test]
    fn a_page_is_full_however_little_of_what_is_named_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let storage = Storage::open(folder.path()).unwrap();
        let mut kept = std::collections::BTreeSet::new();
        for part in 0..8_u64 {
            let mut batch = Batch::new();
            for i in 0..500_u64 {
                let bytes = (500 * part + i).to_be_bytes();
                let artifact = Hash::blob(&bytes);
                if i % 3 == 0 {
                    batch.put_blob(bytes.to_vec());
                    kept.insert(artifact);
                }
                for job in 0..=i % 2 {
                    name(&mut batch, &artifact, &JobId(Hash([job as u8; 32])));
                }
            }
            storage.commit(&batch).unwrap();
        }
        // One of those that jobs name is pinned too, and one alone.
        let mut batch = Batch::new();
        let named_and_pinned = *kept.first().unwrap();
        let pinned = Hash::blob(b"pinned");
        let key = forgemesh_protocol::keys::SecretKey::from_bytes(&[7; 32]);
        let mesh = forgemesh_protocol::id::MeshId(Hash([1; 32]));
        for artifact in [named_and_pinned, pinned] {
            let pin = Signed::new(Pin { artifact, length: 8, until_ms: 2 }, mesh, &key);
            let mut record = Kept::nothing(8, Some(pin));
            record.add(0);
            record.put(&mut batch, &artifact);
        }
        storage.commit(&batch).unwrap();
        kept.insert(pinned);
        let (mut after, mut said, mut pages) = (None, Vec::new(), 0);
        loop {
            let page = page(&storage, after, 1).unwrap();
            assert!(page.is_sound(), "{} from {after:?} through {:?}", page.artifacts.len(), page.through);
            said.extend(page.artifacts.iter().map(|row| (row.artifact, row.pinned_by)));
            pages += 1;
            after = page.through;
            if after.is_none() {
                break;
            }
        }
        let expected = kept.iter().map(|artifact| {
            let is_pinned = *artifact == named_and_pinned || *artifact == pinned;
            (*artifact, is_pinned.then(|| key.public().id()))
        });
        assert_eq!((said, pages), (expected.collect::<Vec<_>>(), 3));
    }
}
