//! How a node comes to life: from an open store, a key and three ports, the same way in production, in an embedded
//! run and in the simulator.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use forgemesh_consensus::job::JobRecord;
use forgemesh_consensus::machine::{Gap, Hub, RestoreError};
use forgemesh_consensus::raft::{self, Committed, Head, Logged, LoggedError, Start, StartError, Timing};
use forgemesh_consensus::settle::Concluded;
use forgemesh_protocol::attestation::{Claim, decode_claims};
use forgemesh_protocol::canon::{self, Bytes, CanonError};
use forgemesh_protocol::charter::{CharterError, Charters, Seating};
use forgemesh_protocol::genesis::{Genesis, GenesisError, HubMember, Parameters};
use forgemesh_protocol::hash::{Domain, Hash, Hasher};
use forgemesh_protocol::id::{JobId, MeshId, NodeId};
use forgemesh_protocol::keys::SecretKey;
use forgemesh_protocol::ledger::LedgerEntry;
use forgemesh_protocol::limits;
use forgemesh_protocol::wire::Attested;
use forgemesh_storage::{Batch, CommitError, MetaKey, ReadError, Storage};

use crate::core::archive::LedgerEnd;
use crate::core::beacon::BeaconChain;
use crate::core::books::{shelve, signed};
use crate::core::hub::Found;
use crate::core::{Core, Identity, Recovered};
use crate::driver::Driver;
use crate::job_file::{JobFile, SWEEP_NAMESPACE, UNSIGNED_NAMESPACE};
use crate::{links, ports};

/// Rows read at a time.
const PAGE: usize = 1_000;

/// Why a node did not come to life.
#[derive(Debug, thiserror::Error)]
pub enum BootError {
    #[error("the data folder cannot be read: {0}")]
    Read(#[from] ReadError),
    #[error("the data folder cannot be written: {0}")]
    Commit(#[from] CommitError),
    #[error("{0}")]
    Genesis(#[from] GenesisError),
    #[error("{0}")]
    Log(#[from] StartError),
    #[error(
        "the replicated log in the data folder is damaged, or of an earlier version of this program: {0}; finish its jobs with that version, restore a backup, or set FORGEMESH_HOME to another folder"
    )]
    Logged(#[from] LoggedError),
    #[error(
        "the replicated log in the data folder has a hole: {0}; restore a backup, or set FORGEMESH_HOME to another folder"
    )]
    Gap(#[from] Gap),
    #[error(
        "the snapshot in the data folder: {0}; restore a backup, or set FORGEMESH_HOME to another folder"
    )]
    Snapshot(#[from] RestoreError),
    #[error(
        "who sits in the hub, in the data folder: {0}; restore a backup, or set FORGEMESH_HOME to another folder"
    )]
    Charter(#[from] CharterError),
    #[error(
        "the books in the data folder are not those of its log: the first {0} entries are others, or in another order; set FORGEMESH_HOME to another folder, join the mesh anew and have that node promoted in the place of this one"
    )]
    Books(u64),
    #[error("{what} in the data folder: {error}; restore a backup, or set FORGEMESH_HOME to another folder")]
    Damaged { what: &'static str, error: CanonError },
    #[error(
        "the data folder belongs to another node's key; put its node.key back, or set FORGEMESH_HOME to another folder"
    )]
    ForeignKey,
    #[error(
        "the data folder belongs to mesh {stored}, not to {joined}; set FORGEMESH_HOME to another folder to join that one"
    )]
    OtherMesh { stored: MeshId, joined: MeshId },
}

/// What a node is made of.
pub struct Parts<M, E, S> {
    pub secret: SecretKey,
    pub membership: Membership,
    /// Links of its beacon chain, if its operator would have it sit in the hub.
    pub stand: Option<u64>,
    pub mesh: M,
    pub executor: E,
    pub store: S,
}

/// Which mesh a node belongs to.
#[derive(Clone, Debug)]
pub enum Membership {
    /// The mesh in the store, of which this node is a hub member. On the first start a mesh of one is made, with this
    /// name and these random bytes.
    Founder { name: String, nonce: [u8; 16] },
    /// This mesh, admitted to by somebody else.
    Joined(Genesis),
}

/// Makes a node of its parts, going on where `storage` was left. Reads and writes it directly: nothing runs yet.
pub fn boot<M, E, S>(storage: &Arc<Storage>, parts: Parts<M, E, S>) -> Result<Driver<M, E, S>, BootError>
where
    M: ports::Mesh,
    E: ports::Executor,
    S: ports::Store,
{
    let Parts { secret, membership, stand, mesh, executor, store } = parts;
    let genesis = mesh_of(storage, &secret, membership)?;
    let mut seating = seating_of(storage, &genesis)?;
    let mut charters = seating.charters(genesis.clone())?;
    let outbox = outbox(storage)?;
    let node = secret.public().id();
    let identity = Identity { node, mesh: genesis.mesh_id(), secret };
    let (candidacy, beacon) = candidacy(storage, &identity.secret, &charters, stand)?.unzip();
    let hub = match beacon {
        Some(beacon) => {
            let (hub, compacted, unrecorded) = replay(storage, node, genesis.clone())?;
            record(storage, &hub, &identity.secret, unrecorded)?;
            sweep(storage, &hub, &outbox)?;
            let members = claims(storage, &hub)?;
            let unsigned = unsigned(storage)?;
            if hub.state().seating.number > seating.number {
                (charters, seating) = (hub.charters().clone(), hub.state().seating.clone());
            }
            Some((hub, Found { compacted, members, beacon, unsigned }))
        }
        None => None,
    };
    if charters.member(&identity.secret.public()).is_some() {
        // It lets nothing go from now on.
        links::forget(storage)?;
    }
    // The voters of a log that is empty: who is not among them waits to be made a member.
    // Once others have sat, a log of its own would be another mesh's.
    let founding = seating.number == 0;
    let voters = match founding {
        true => genesis.hub.iter().map(|member| member.key.id()).collect(),
        false => {
            let ever = charters.ever().map(|member| member.key.id());
            ever.filter(|other| *other != node).take(limits::HUB_MEMBERS).collect()
        }
    };
    let log =
        hub.is_some().then(|| Start { node, voters, storage: storage.clone(), timing: Timing::default() });
    let ledger = ledger_end(storage)?;
    let recovered = Recovered { charters, seating, candidacy, ledger, hub, outbox };
    let core = Core::new(identity, recovered, executor.capacity(), executor.backend());
    Ok(Driver::new(core, mesh, executor, store, log))
}

/// Who sits in the hub, as far as this data folder tells.
fn seating_of(storage: &Storage, genesis: &Genesis) -> Result<Seating, BootError> {
    let damaged = |error| BootError::Damaged { what: "who sits in the hub", error };
    match storage.meta(MetaKey::Seating)? {
        Some(bytes) => canon::from_bytes(&bytes, limits::SNAPSHOT_BYTES).map_err(damaged),
        None => Ok(Seating::of(genesis)),
    }
}

/// Who sits in the hub, as far as this data folder tells, for readers; none before its first start.
pub fn seating(storage: &Storage) -> Result<Option<Seating>, BootError> {
    genesis(storage)?.map(|genesis| seating_of(storage, &genesis)).transpose()
}

/// Who may sit there.
pub fn charters(storage: &Storage, genesis: Genesis) -> Result<Charters, BootError> {
    Ok(seating_of(storage, &genesis)?.charters(genesis)?)
}

/// What this node would sit in the hub with, its key and its beacon chain, if it may: it was admitted once, or stands for
/// it. The chain is read from its checkpoints, or computed anew.
fn candidacy(
    storage: &Storage,
    secret: &SecretKey,
    charters: &Charters,
    stand: Option<u64>,
) -> Result<Option<(HubMember, BeaconChain)>, BootError> {
    let key = secret.public();
    let admitted = charters.member(&key);
    let Some(length) = admitted.map(|member| member.beacon_length).or(stand) else { return Ok(None) };
    let stored = storage.meta(MetaKey::Beacon)?.and_then(|b| BeaconChain::from_checkpoints(&b, length));
    let is_new = stored.is_none();
    let seed = || beacon_seed(secret, &charters.genesis().nonce);
    let beacon = stored.unwrap_or_else(|| BeaconChain::new(seed(), length));
    if is_new && admitted.is_none() {
        let mut batch = Batch::new();
        batch.put_meta(MetaKey::Beacon, beacon.checkpoint_bytes());
        storage.commit(&batch)?;
    }
    let standing = || HubMember { key, beacon_anchor: beacon.anchor(), beacon_length: length };
    let own = admitted.cloned().unwrap_or_else(standing);
    Ok(Some((own, beacon)))
}

/// The mesh of this data folder, for readers; none before its first start.
pub fn genesis(storage: &Storage) -> Result<Option<Genesis>, BootError> {
    match storage.meta(MetaKey::Genesis)? {
        Some(bytes) => Ok(Some(Genesis::decode(&bytes)?)),
        None => Ok(None),
    }
}

/// The hub's state, with the whole log applied and the books complete, for readers; none before the first start.
pub fn hub(storage: &Storage, secret: &SecretKey) -> Result<Option<Hub>, BootError> {
    let Some(genesis) = genesis(storage)? else { return Ok(None) };
    charters(storage, genesis.clone())?.member(&secret.public()).ok_or(BootError::ForeignKey)?;
    let (hub, _, unrecorded) = replay(storage, secret.public().id(), genesis)?;
    record(storage, &hub, secret, unrecorded)?;
    Ok(Some(hub))
}

/// Writes into the books what a crash kept out of them, before anyone can miss it there.
fn record(
    storage: &Storage,
    hub: &Hub,
    secret: &SecretKey,
    unrecorded: Vec<Concluded>,
) -> Result<(), BootError> {
    let mut end = ledger_end(storage)?;
    for concluded in unrecorded {
        let entry = &concluded.job.entry;
        // Who was brought up to date by a snapshot has gaps: what comes after one is fetched with the rest.
        if entry.seq != end.entries {
            break;
        }
        if entry.prev != end.head {
            return Err(BootError::Books(end.entries));
        }
        end = LedgerEnd { entries: entry.seq + 1, head: entry.hash() };
        let file = signed(concluded, hub.charters(), secret);
        let finished = &file.finished;
        let mut batch = shelve(&file);
        let charter = hub.charters().version(finished.charter);
        if charter.is_none_or(|charter| file.receipt.signatures.len() < charter.quorum()) {
            batch.put_kv(UNSIGNED_NAMESPACE, &finished.record.id.to_string(), Vec::new());
        }
        storage.commit(&batch)?;
    }
    let own = LedgerEnd::of(hub.state());
    if own.entries == end.entries && own != end { Err(BootError::Books(end.entries)) } else { Ok(()) }
}

/// The mesh of this data folder; on the first start it is made or joined.
fn mesh_of(storage: &Storage, secret: &SecretKey, membership: Membership) -> Result<Genesis, BootError> {
    let stored = genesis(storage)?;
    let mut batch = Batch::new();
    let genesis = match (membership, stored) {
        (Membership::Founder { .. }, Some(stored)) => {
            stored.member(&secret.public()).ok_or(BootError::ForeignKey)?;
            return Ok(stored);
        }
        (Membership::Joined(genesis), Some(stored)) if genesis != stored => {
            return Err(BootError::OtherMesh { stored: stored.mesh_id(), joined: genesis.mesh_id() });
        }
        (Membership::Joined(_), Some(stored)) => return Ok(stored),
        (Membership::Founder { name, nonce }, None) => {
            let (genesis, beacon) = found(secret, name, nonce, limits::BEACON_LENGTH);
            batch.put_meta(MetaKey::Beacon, beacon.checkpoint_bytes());
            genesis
        }
        (Membership::Joined(genesis), None) => genesis,
    };
    batch.put_meta(MetaKey::Genesis, canon::to_bytes(&genesis));
    storage.commit(&batch)?;
    Ok(genesis)
}

/// A new mesh whose one hub member has this key and a beacon chain of so many links.
pub fn found(secret: &SecretKey, name: String, nonce: [u8; 16], links: u64) -> (Genesis, BeaconChain) {
    let (genesis, mut beacons) = found_together(std::slice::from_ref(secret), name, nonce, links);
    (genesis, beacons.remove(0))
}

/// A new mesh whose hub has these keys, each with a beacon chain of so many links.
pub fn found_together(
    secrets: &[SecretKey],
    name: String,
    nonce: [u8; 16],
    links: u64,
) -> (Genesis, Vec<BeaconChain>) {
    let nonce = Bytes(nonce.to_vec());
    let chain = |secret: &SecretKey| BeaconChain::new(beacon_seed(secret, &nonce), links);
    let beacons: Vec<BeaconChain> = secrets.iter().map(chain).collect();
    let member = |(secret, beacon): (&SecretKey, &BeaconChain)| HubMember {
        key: secret.public(),
        beacon_anchor: beacon.anchor(),
        beacon_length: links,
    };
    let hub = secrets.iter().zip(&beacons).map(member).collect();
    let (protocol, parameters) = (limits::PROTOCOL_VERSION, Parameters::default());
    (Genesis { protocol, name, nonce, hub, parameters }, beacons)
}

/// The chain's secret start follows from the node's key: signing a fixed text is a function only its owner has.
fn beacon_seed(secret: &SecretKey, nonce: &Bytes) -> Hash {
    let signature = secret.sign_raw(b"forgemesh beacon seed v1");
    Hasher::new(Domain::BEACON).bytes(&signature.0).bytes(&nonce.0).finish()
}

/// The machine after the whole log, and what became final in it without being recorded.
fn replay(
    storage: &Storage,
    node: NodeId,
    genesis: Genesis,
) -> Result<(Hub, u64, Vec<Concluded>), BootError> {
    let mut hub = match storage.snapshot()? {
        Some((_, bytes)) => {
            let (_, state) = Head::split(&bytes)?;
            Hub::restore(genesis, state)?
        }
        None => Hub::new(genesis),
    };
    let compacted = hub.state().next;
    let Some(agreed) = raft::agreed(storage, node)? else { return Ok((hub, compacted, Vec::new())) };
    let recorded = storage.ledger_len()?;
    let mut unrecorded = Vec::new();
    loop {
        let page = storage.log(hub.state().next, PAGE)?;
        let page: Vec<_> = page.into_iter().take_while(|(index, _)| *index <= agreed).collect();
        if page.is_empty() {
            return Ok((hub, compacted, unrecorded));
        }
        for (_, bytes) in page {
            let entry = match Committed::try_from(Logged::decode(&bytes)?)? {
                Committed::Entry(entry) => *entry,
                Committed::Other { index, term } => {
                    hub.pass_over(index, term)?;
                    continue;
                }
            };
            hub.expect(entry.index)?;
            // A rejected entry was rejected when it was first applied: it changes nothing now either.
            let concluded = hub.apply(&entry).ok().and_then(|applied| applied.concluded);
            unrecorded.extend(concluded.filter(|it| it.job.entry.seq >= recorded).map(|it| *it));
        }
    }
}

/// Claims of the batches of open jobs that are not checked yet.
fn claims(storage: &Storage, hub: &Hub) -> Result<BTreeMap<Hash, Bytes>, BootError> {
    let mut members = BTreeMap::new();
    for job in hub.state().open.values() {
        for batch in job.current_batches().filter(|batch| !job.is_settled(batch)) {
            if let Some(bytes) = whole(storage, &batch.attestation.body.members)? {
                members.insert(batch.digest, Bytes(bytes));
            }
        }
    }
    Ok(members)
}

/// Where the books end.
fn ledger_end(storage: &Storage) -> Result<LedgerEnd, BootError> {
    let entries = storage.ledger_len()?;
    let last = match entries.checked_sub(1) {
        Some(last) => storage.ledger(last)?,
        None => None,
    };
    let entry = last.map(|bytes| canon::from_bytes::<LedgerEntry>(&bytes, limits::COMMAND_BYTES)).transpose();
    let entry = entry.map_err(|error| BootError::Damaged { what: "a ledger entry", error })?;
    Ok(LedgerEnd { entries, head: entry.map_or(Hash::ZERO, |entry| entry.hash()) })
}

/// Final jobs whose receipts lack signatures.
fn unsigned(storage: &Storage) -> Result<Vec<JobFile>, BootError> {
    let mut files = Vec::new();
    for (key, _) in storage.kv_list(UNSIGNED_NAMESPACE, None, PAGE)? {
        let record = match key.parse::<JobId>() {
            Ok(id) => storage.job(&id.0)?,
            Err(_) => None,
        };
        let file = record.map(|bytes| JobFile::decode(&bytes)).transpose();
        files.extend(file.map_err(|error| BootError::Damaged { what: "a job's record", error })?);
    }
    Ok(files)
}

pub(crate) fn outbox(storage: &Storage) -> Result<Vec<Attested>, BootError> {
    let (mut outbox, mut from) = (Vec::new(), 0);
    loop {
        let page = storage.outbox(from, PAGE)?;
        let Some((last, _)) = page.last() else { return Ok(outbox) };
        from = last + 1;
        for (_, bytes) in page {
            let attested: Attested = canon::from_bytes(&bytes, limits::COMMAND_BYTES)
                .map_err(|error| BootError::Damaged { what: "an attestation", error })?;
            outbox.push(attested);
        }
    }
}

/// Removes the blobs of jobs that were not to be kept, unless another job has the same bytes.
fn sweep(storage: &Storage, hub: &Hub, outbox: &[Attested]) -> Result<(), BootError> {
    let doomed = storage.kv_list(SWEEP_NAMESPACE, None, PAGE)?;
    if doomed.is_empty() {
        return Ok(());
    }
    let (mut kept, mut going) = (BTreeSet::new(), BTreeSet::new());
    for job in hub.state().open.values() {
        kept.extend(record_blobs(storage, job)?);
    }
    // What the agent has committed to may not be in the log yet.
    kept.extend(outbox.iter().flat_map(vouched_for));
    each_file(storage, |file| {
        let id = file.finished.record.id.to_string();
        let set = if doomed.iter().any(|(key, _)| *key == id) { &mut going } else { &mut kept };
        set.extend(blobs_of(storage, &file)?);
        Ok(())
    })?;
    let mut batch = Batch::new();
    for hash in going.difference(&kept) {
        batch.delete_blob(*hash);
    }
    for (key, _) in &doomed {
        batch.delete_kv(SWEEP_NAMESPACE, key);
    }
    Ok(storage.commit(&batch)?)
}

/// Every blob that belongs to a final job: claims, accumulators, artifacts.
pub fn blobs_of(storage: &Storage, file: &JobFile) -> Result<Vec<Hash>, ReadError> {
    let mut blobs = record_blobs(storage, &file.finished.record)?;
    blobs.extend(
        file.finished.result.iter().flat_map(|result| &result.artifacts).map(|artifact| artifact.blake3),
    );
    Ok(blobs)
}

/// Shows every final job's record, newest first.
pub(crate) fn each_file(
    storage: &Storage,
    mut show: impl FnMut(JobFile) -> Result<(), ReadError>,
) -> Result<(), BootError> {
    let mut before = None;
    loop {
        let page = storage.jobs(before, PAGE)?;
        let Some(last) = page.last() else { return Ok(()) };
        before = Some(last.seq);
        for row in page {
            let file = JobFile::decode(&row.record);
            show(file.map_err(|error| BootError::Damaged { what: "a job's record", error })?)?;
        }
    }
}

/// The blobs behind an attestation of this node's own: claims and accumulators.
pub(crate) fn vouched_for(attested: &Attested) -> Vec<Hash> {
    let claims = decode_claims(&attested.members.0).unwrap_or_default();
    claims.iter().map(|claim| claim.blob).chain([attested.attestation.body.members]).collect()
}

/// A blob, if it is here and not damaged: a rotten one must not keep the node from its life.
pub(crate) fn whole(storage: &Storage, blob: &Hash) -> Result<Option<Vec<u8>>, ReadError> {
    match storage.blob(blob) {
        Err(ReadError::CorruptBlob { .. }) => Ok(None),
        other => other,
    }
}

/// Claims and accumulators of a job.
pub(crate) fn record_blobs(storage: &Storage, record: &JobRecord) -> Result<Vec<Hash>, ReadError> {
    let set_aside = record.set_aside.iter().map(|aside| &aside.batch);
    batch_blobs(storage, record.batches.iter().chain(set_aside))
}

/// Claims and accumulators of batches.
pub(crate) fn batch_blobs<'a>(
    storage: &Storage,
    batches: impl Iterator<Item = &'a forgemesh_consensus::job::Batch>,
) -> Result<Vec<Hash>, ReadError> {
    let mut blobs = Vec::new();
    for batch in batches {
        let members = batch.attestation.body.members;
        let claims = claims_at(storage, &members)?.unwrap_or_default();
        blobs.extend(claims.iter().map(|claim| claim.blob));
        blobs.push(members);
    }
    Ok(blobs)
}

/// The claims at an address; none if they are not here, or not whole.
pub(crate) fn claims_at(storage: &Storage, members: &Hash) -> Result<Option<Vec<Claim>>, ReadError> {
    Ok(whole(storage, members)?.and_then(|bytes| decode_claims(&bytes).ok()))
}

#[cfg(test)]
mod tests {
    use forgemesh_protocol::envelope::{Billing, BillingMode, BillingReason};
    use forgemesh_protocol::op::Op;
    use forgemesh_protocol::state::State;

    use super::*;

    /// They have come from another node, in another order.
    #[test]
    fn who_has_other_books_than_its_log_does_not_come_to_life() {
        let folder = tempfile::tempdir().unwrap();
        let storage = Storage::open(folder.path()).unwrap();
        let secret = SecretKey::from_bytes(&[1; 32]);
        let (genesis, _) = found_together(std::slice::from_ref(&secret), "books".to_owned(), [0; 16], 1);
        let entry = LedgerEntry {
            seq: 0,
            prev: Hash::ZERO,
            at_ms: 0,
            accounting: 1,
            job: JobId(Hash::ZERO),
            state: State::Failed,
            receipt: Hash::ZERO,
            contract: Hash::ZERO,
            result_hash: None,
            failure: None,
            op: Op { name: "diag".to_owned(), version: 1, profile: "noop.v1".to_owned() },
            submitter: secret.public().id(),
            billing: Billing { mode: BillingMode::Test, reason: BillingReason::Internal },
            providers: Vec::new(),
            charge_ucredits: 0,
        };
        let mut batch = Batch::new();
        batch.append_ledger(0, canon::to_bytes(&entry));
        storage.commit(&batch).unwrap();
        let starts = |ledger_len, ledger_head| {
            let mut state = Hub::new(genesis.clone()).state().clone();
            (state.ledger_len, state.ledger_head) = (ledger_len, ledger_head);
            let hub = Hub::restore(genesis.clone(), &canon::to_bytes(&state)).unwrap();
            record(&storage, &hub, &secret, Vec::new())
        };
        assert!(matches!(starts(1, Hash::blob(b"another")), Err(BootError::Books(1))));
        assert!(starts(1, entry.hash()).is_ok());
        // Where they do not end at the same entry there is nothing to compare yet.
        assert!(starts(0, Hash::ZERO).is_ok() && starts(2, Hash::blob(b"the next")).is_ok());
    }
}
