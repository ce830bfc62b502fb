//! Batches: what can be written, its bounds, and which table group applies it.
//!
//! Owns the list of writes. Must never hold a write whose effect depends on anything but the tables and the batch.

use forgemesh_protocol::hash::Hash;
use redb::WriteTransaction;

use crate::error::{CommitError, Fail};
use crate::limits::*;
use crate::meta::MetaKey;
use crate::slots::Slots;
use crate::{blobs, jobs, kv, ledger_log, meta, outbox, pieces, quarantine, raft_log, refusals, snapshot};

/// Bytes and their address; the pair is only made together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blob {
    hash: Hash,
    bytes: Vec<u8>,
}

impl Blob {
    /// Hashes `bytes` with plain BLAKE3.
    pub fn new(bytes: Vec<u8>) -> Blob {
        Blob { hash: Hash::blob(&bytes), bytes }
    }

    /// The address.
    pub fn hash(&self) -> Hash {
        self.hash
    }

    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// One write. The writes of a batch take effect in order and become visible together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Write {
    /// Keeps a blob under its address; one already there is left alone, a damaged one is replaced.
    PutBlob { blob: Blob },
    /// Forgets a blob; no error when it is not there.
    DeleteBlob { hash: Hash },
    /// Moves a damaged blob out of the way: its address counts as missing and can be put anew; a record of it stays for
    /// diagnosis (see `Storage::quarantined`). Whole bytes stay where they are; no error when there are none.
    QuarantineBlob { hash: Hash },
    /// Keeps a piece of an artifact; one already there is replaced. `sum` is what the caller has found to be the sum of
    /// these bytes (`forgemesh_protocol::artifact::is_sum`): with another one the piece is as good as damaged.
    PutPiece { artifact: Hash, index: u64, sum: Hash, bytes: Vec<u8> },
    /// Forgets a piece; no error when it is not there.
    DeletePiece { artifact: Hash, index: u64 },
    /// Appends to the replicated log. `index` must be the next one: 0 at first, then the last index (or that up to which
    /// the log was dropped, whichever is larger) plus 1; else `CommitError::LogGap`.
    AppendLog { index: u64, entry: Vec<u8> },
    /// Takes back the entries from `from` on, which another leader's will replace; no error when there are none. What
    /// was dropped cannot be taken back: `CommitError::LogDropped`.
    TruncateLog { from: u64 },
    /// Drops the log up to and including `through`, which may lie beyond its end; no error when it is gone already.
    PurgeLog { through: u64 },
    /// Replaces the snapshot by the state after entry `index`, and drops the log up to and including `index`. It may
    /// lie beyond the log (a snapshot received from a leader), never before the snapshot held.
    PutSnapshot { index: u64, state: Vec<u8> },
    /// The same, but the log stays: who is a little behind can still be helped with entries. `index` must be in the log
    /// or have been dropped from it; else `CommitError::LogGap`.
    RenewSnapshot { index: u64, state: Vec<u8> },
    /// Keeps a job's record. A new id gets the next insertion number, a known one keeps its own.
    PutJob { id: Hash, record: Vec<u8> },
    /// Appends to the ledger. `seq` must be the next one, 0 at first; else `CommitError::LedgerGap`.
    AppendLedger { seq: u64, entry: Vec<u8> },
    /// Sets a key of a namespace.
    PutKv { namespace: String, key: String, value: Vec<u8> },
    /// Removes a key of a namespace; no error when it is not there.
    DeleteKv { namespace: String, key: String },
    /// Keeps one of this node's own signed attestations until the hub has it. Putting the same bytes again is fine,
    /// other bytes are `CommitError::OutboxConflict`.
    PutOutbox { seq: u64, attestation: Vec<u8> },
    /// Forgets the attestations up to and including `through_seq`.
    DeleteOutbox { through_seq: u64 },
    /// Sets one of the node's own single values.
    PutMeta { key: MetaKey, value: Vec<u8> },
    /// Keeps a refused envelope's record; one refused again becomes the newest. Beyond `MAX_REFUSALS` the oldest go.
    PutRefusal { id: Hash, record: Vec<u8> },
}

impl Write {
    /// Bytes that count against `MAX_BATCH_BYTES`.
    fn size(&self) -> usize {
        match self {
            Write::PutBlob { blob } => blob.bytes.len(),
            Write::PutPiece { bytes, .. } => bytes.len(),
            Write::AppendLog { entry, .. } | Write::AppendLedger { entry, .. } => entry.len(),
            Write::PutSnapshot { state, .. } | Write::RenewSnapshot { state, .. } => state.len(),
            Write::PutJob { record, .. } | Write::PutRefusal { record, .. } => record.len(),
            Write::PutKv { namespace, key, value } => namespace.len() + key.len() + value.len(),
            Write::PutOutbox { attestation, .. } => attestation.len(),
            Write::PutMeta { value, .. } => value.len(),
            Write::DeleteBlob { .. }
            | Write::QuarantineBlob { .. }
            | Write::DeletePiece { .. }
            | Write::TruncateLog { .. }
            | Write::PurgeLog { .. }
            | Write::DeleteKv { .. }
            | Write::DeleteOutbox { .. } => 0,
        }
    }

    fn check(&self) -> Result<(), CommitError> {
        match self {
            Write::PutBlob { blob } => at_most("a blob", blob.bytes.len(), MAX_BLOB_BYTES),
            Write::PutPiece { bytes, .. } => at_most("a piece", bytes.len(), MAX_PIECE_BYTES),
            Write::AppendLog { entry, .. } => at_most("a log entry", entry.len(), MAX_LOG_ENTRY_BYTES),
            Write::PutSnapshot { state, .. } | Write::RenewSnapshot { state, .. } => {
                at_most("a snapshot", state.len(), MAX_SNAPSHOT_BYTES)
            }
            Write::PutJob { record, .. } => at_most("a job record", record.len(), MAX_RECORD_BYTES),
            Write::AppendLedger { entry, .. } => at_most("a ledger entry", entry.len(), MAX_RECORD_BYTES),
            Write::PutOutbox { attestation, .. } => {
                at_most("an attestation", attestation.len(), MAX_RECORD_BYTES)
            }
            Write::PutMeta { value, .. } => at_most("a meta value", value.len(), MAX_RECORD_BYTES),
            Write::PutRefusal { record, .. } => at_most("a refusal record", record.len(), MAX_REFUSAL_BYTES),
            Write::PutKv { namespace, key, value } => {
                kv::check_key(namespace, key)?;
                at_most("a key-value value", value.len(), MAX_KV_VALUE_BYTES)
            }
            Write::DeleteKv { namespace, key } => kv::check_key(namespace, key),
            Write::DeleteBlob { .. }
            | Write::QuarantineBlob { .. }
            | Write::DeletePiece { .. }
            | Write::TruncateLog { .. }
            | Write::PurgeLog { .. }
            | Write::DeleteOutbox { .. } => Ok(()),
        }
    }
}

/// A sequence of writes that becomes durable as a whole or not at all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    writes: Vec<Write>,
    /// Bytes of all of them.
    size: usize,
}

impl Batch {
    /// An empty batch; committing it still syncs.
    pub fn new() -> Batch {
        Batch::default()
    }

    /// Adds a write; bounds are checked by `check` and by the commit.
    pub fn push(&mut self, write: Write) -> &mut Batch {
        self.size += write.size();
        self.writes.push(write);
        self
    }

    /// Adds a blob and says its address.
    pub fn put_blob(&mut self, bytes: Vec<u8>) -> Hash {
        let blob = Blob::new(bytes);
        let hash = blob.hash();
        self.push(Write::PutBlob { blob });
        hash
    }

    /// See [`Write::DeleteBlob`].
    pub fn delete_blob(&mut self, hash: Hash) -> &mut Batch {
        self.push(Write::DeleteBlob { hash })
    }

    /// See [`Write::QuarantineBlob`].
    pub fn quarantine_blob(&mut self, hash: Hash) -> &mut Batch {
        self.push(Write::QuarantineBlob { hash })
    }

    /// See [`Write::PutPiece`].
    pub fn put_piece(&mut self, artifact: Hash, index: u64, sum: Hash, bytes: Vec<u8>) -> &mut Batch {
        self.push(Write::PutPiece { artifact, index, sum, bytes })
    }

    /// See [`Write::DeletePiece`].
    pub fn delete_piece(&mut self, artifact: Hash, index: u64) -> &mut Batch {
        self.push(Write::DeletePiece { artifact, index })
    }

    /// See [`Write::AppendLog`].
    pub fn append_log(&mut self, index: u64, entry: Vec<u8>) -> &mut Batch {
        self.push(Write::AppendLog { index, entry })
    }

    /// See [`Write::TruncateLog`].
    pub fn truncate_log(&mut self, from: u64) -> &mut Batch {
        self.push(Write::TruncateLog { from })
    }

    /// See [`Write::PurgeLog`].
    pub fn purge_log(&mut self, through: u64) -> &mut Batch {
        self.push(Write::PurgeLog { through })
    }

    /// See [`Write::RenewSnapshot`].
    pub fn renew_snapshot(&mut self, index: u64, state: Vec<u8>) -> &mut Batch {
        self.push(Write::RenewSnapshot { index, state })
    }

    /// See [`Write::PutSnapshot`].
    pub fn put_snapshot(&mut self, index: u64, state: Vec<u8>) -> &mut Batch {
        self.push(Write::PutSnapshot { index, state })
    }

    /// See [`Write::PutJob`].
    pub fn put_job(&mut self, id: Hash, record: Vec<u8>) -> &mut Batch {
        self.push(Write::PutJob { id, record })
    }

    /// See [`Write::AppendLedger`].
    pub fn append_ledger(&mut self, seq: u64, entry: Vec<u8>) -> &mut Batch {
        self.push(Write::AppendLedger { seq, entry })
    }

    /// See [`Write::PutKv`].
    pub fn put_kv(&mut self, namespace: &str, key: &str, value: Vec<u8>) -> &mut Batch {
        self.push(Write::PutKv { namespace: namespace.to_owned(), key: key.to_owned(), value })
    }

    /// See [`Write::DeleteKv`].
    pub fn delete_kv(&mut self, namespace: &str, key: &str) -> &mut Batch {
        self.push(Write::DeleteKv { namespace: namespace.to_owned(), key: key.to_owned() })
    }

    /// See [`Write::PutOutbox`].
    pub fn put_outbox(&mut self, seq: u64, attestation: Vec<u8>) -> &mut Batch {
        self.push(Write::PutOutbox { seq, attestation })
    }

    /// See [`Write::DeleteOutbox`].
    pub fn delete_outbox(&mut self, through_seq: u64) -> &mut Batch {
        self.push(Write::DeleteOutbox { through_seq })
    }

    /// See [`Write::PutMeta`].
    pub fn put_meta(&mut self, key: MetaKey, value: Vec<u8>) -> &mut Batch {
        self.push(Write::PutMeta { key, value })
    }

    /// See [`Write::PutRefusal`].
    pub fn put_refusal(&mut self, id: Hash, record: Vec<u8>) -> &mut Batch {
        self.push(Write::PutRefusal { id, record })
    }

    /// Moves the writes of `other` behind those of this batch: group commit.
    pub fn append(&mut self, mut other: Batch) -> &mut Batch {
        self.size += other.size;
        self.writes.append(&mut other.writes);
        self
    }

    /// Whether this batch and `other` may be written together, in at most so many bytes.
    pub fn has_room(&self, other: &Batch, most_bytes: usize) -> bool {
        self.writes.len() + other.writes.len() <= MAX_BATCH_WRITES
            && self.size + other.size <= most_bytes.min(MAX_BATCH_BYTES)
    }

    /// The writes, in order.
    pub fn writes(&self) -> &[Write] {
        &self.writes
    }

    /// Whether there is nothing to write.
    pub fn is_empty(&self) -> bool {
        self.writes.is_empty()
    }

    /// Bytes that count against `MAX_BATCH_BYTES`.
    pub fn size(&self) -> usize {
        self.size
    }

    /// Checks every bound without touching the disk.
    ///
    /// # Errors
    /// `TooLarge` or `Empty`, naming what.
    pub fn check(&self) -> Result<(), CommitError> {
        at_most("writes in a batch", self.writes.len(), MAX_BATCH_WRITES)?;
        at_most("a batch", self.size, MAX_BATCH_BYTES)?;
        self.writes.iter().try_for_each(Write::check)
    }

    /// Applies the writes within a transaction.
    pub(crate) fn apply(
        &self,
        transaction: &WriteTransaction,
        slots: Option<&Slots>,
    ) -> Result<(), Fail<CommitError>> {
        self.writes.iter().try_for_each(|write| apply(transaction, slots, write))
    }
}

impl From<Vec<Write>> for Batch {
    fn from(writes: Vec<Write>) -> Self {
        let size = writes.iter().map(Write::size).sum();
        Batch { writes, size }
    }
}

/// Refuses what is larger than its bound.
pub(crate) fn at_most(what: &'static str, size: usize, limit: usize) -> Result<(), CommitError> {
    if size > limit { Err(CommitError::TooLarge { what, size, limit }) } else { Ok(()) }
}

/// Applies one write within a transaction.
fn apply(
    transaction: &WriteTransaction,
    slots: Option<&Slots>,
    write: &Write,
) -> Result<(), Fail<CommitError>> {
    match write {
        Write::PutBlob { blob } => blobs::put(transaction, blob),
        Write::DeleteBlob { hash } => blobs::delete(transaction, hash),
        Write::QuarantineBlob { hash } => quarantine::put(transaction, hash),
        Write::PutPiece { artifact, index, sum, bytes } => {
            pieces::put(transaction, slots, artifact, *index, sum, bytes)
        }
        Write::DeletePiece { artifact, index } => pieces::delete(transaction, slots, artifact, *index),
        Write::AppendLog { index, entry } => raft_log::append(transaction, *index, entry),
        Write::TruncateLog { from } => raft_log::truncate(transaction, *from),
        Write::PurgeLog { through } => raft_log::drop_through(transaction, *through),
        Write::PutSnapshot { index, state } => snapshot::put(transaction, *index, state),
        Write::RenewSnapshot { index, state } => snapshot::renew(transaction, *index, state),
        Write::PutJob { id, record } => jobs::put(transaction, id, record),
        Write::AppendLedger { seq, entry } => ledger_log::append(transaction, *seq, entry),
        Write::PutKv { namespace, key, value } => kv::put(transaction, namespace, key, value),
        Write::DeleteKv { namespace, key } => kv::delete(transaction, namespace, key),
        Write::PutOutbox { seq, attestation } => outbox::put(transaction, *seq, attestation),
        Write::DeleteOutbox { through_seq } => outbox::delete_through(transaction, *through_seq),
        Write::PutMeta { key, value } => meta::put(transaction, *key, value),
        Write::PutRefusal { id, record } => refusals::put(transaction, id, record),
    }
}
