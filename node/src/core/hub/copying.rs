//! How a member gets the blobs of batches that another one has logged: the claims first, then what they claim.

use forgemesh_protocol::attestation::{Attestation, decode_claims};
use forgemesh_protocol::canon::Bytes;
use forgemesh_protocol::hash::Hash;
use forgemesh_protocol::id::{JobId, NodeId};
use forgemesh_protocol::keys::{Signable, Signed};
use forgemesh_protocol::wire::Message;
use forgemesh_storage::Batch;

use super::HubRole;
use super::deliveries::Claimed;
use crate::core::{AfterWork, Context};
use crate::ports::{Done, Work};

/// A batch whose claims are not here, or whose claimed blobs may not be.
pub(super) struct Copying {
    agent: NodeId,
    members: Hash,
}

impl HubRole {
    /// A batch was logged: this member will need what it claims. The leader had it before.
    pub(super) fn copy(&mut self, cx: &mut Context<'_>, attestation: &Signed<Attestation>) {
        let body = &attestation.body;
        let digest = body.digest();
        let delivered = self.deliveries.take(&body.agent, &digest);
        if self.members.contains_key(&digest) || self.copying.contains_key(&digest) {
            return;
        }
        if let Some(Claimed { members, blobs }) = delivered {
            if body.agent != self.node {
                let mut batch = Batch::new();
                for blob in blobs.into_iter().chain([members.clone()]) {
                    batch.put_blob(blob.0);
                }
                self.delivered.insert(body.job, cx.store_later(batch));
            }
            self.members.insert(digest, members);
            return;
        }
        self.copying.insert(digest, Copying { agent: body.agent, members: body.members });
        cx.work(Work::Load { blobs: vec![body.members] }, AfterWork::Claims(digest));
    }

    /// A batch was logged of which nothing counts.
    pub(super) fn leave(&mut self, attestation: &Signed<Attestation>) {
        let digest = attestation.body.digest();
        self.members.remove(&digest);
        drop(self.deliveries.take(&attestation.body.agent, &digest));
    }

    /// Is something on its way to the disk that a reduction of this job reads?
    pub(super) fn is_copying(&self, cx: &Context<'_>, job: &JobId) -> bool {
        self.delivered.get(job).is_some_and(|batch| !cx.tokens.is_stored(*batch))
    }

    /// Looks for the claims of all batches that still have to be checked.
    pub(super) fn copy_all(&mut self, cx: &mut Context<'_>) {
        let open = self.machine.state().open.values();
        let unsettled = open.flat_map(|job| job.current_batches().filter(|batch| !job.is_settled(batch)));
        let attestations: Vec<_> = unsettled.map(|batch| batch.attestation.clone()).collect();
        attestations.iter().for_each(|attestation| self.copy(cx, attestation));
    }

    /// The claims were looked for on this node's disk.
    pub fn claims_read(&mut self, cx: &mut Context<'_>, batch: Hash, done: Done) {
        let Some(copying) = self.copying.get(&batch) else { return };
        let found = match done {
            Done::Loaded { mut blobs } => blobs.pop().flatten(),
            _ => None,
        };
        match found {
            Some(bytes) => self.claims_here(cx, batch, bytes),
            None => {
                let (members, sources) = (copying.members, self.sources(cx, copying.agent, []));
                if let Some(job) = self.job_of(&batch) {
                    self.fetcher.want(job, members, sources);
                }
            }
        }
    }

    fn claims_here(&mut self, cx: &mut Context<'_>, batch: Hash, bytes: Bytes) {
        let claims = decode_claims(&bytes.0).unwrap_or_default();
        self.members.insert(batch, bytes);
        self.touched.extend(self.job_of(&batch));
        let blobs = claims.iter().map(|claim| claim.blob).collect();
        cx.work(Work::Lookup { blobs }, AfterWork::Lookup(batch));
    }

    fn job_of(&self, batch: &Hash) -> Option<JobId> {
        let open = self.machine.state().open.values();
        let mut holds = open.filter(|job| job.batches.iter().any(|other| other.digest == *batch));
        holds.next().map(|job| job.id)
    }

    /// What the claims name was looked for on this node's disk.
    pub fn looked_up(&mut self, cx: &mut Context<'_>, batch: Hash, done: Done) {
        let Some(copying) = self.copying.remove(&batch) else { return };
        if let (Done::LookedUp { missing }, Some(job)) = (done, self.job_of(&batch)) {
            let sources = self.sources(cx, copying.agent, []);
            missing.into_iter().for_each(|blob| self.fetcher.want(job, blob, sources.clone()));
        }
    }

    /// A blob arrived that this member had asked for.
    pub(super) fn copied(&mut self, cx: &mut Context<'_>, blob: &Hash, bytes: &Bytes) {
        let waits = |(batch, copying): (&Hash, &Copying)| (copying.members == *blob).then_some(*batch);
        let batches: Vec<Hash> = self.copying.iter().filter_map(waits).collect();
        batches.into_iter().for_each(|batch| self.claims_here(cx, batch, bytes.clone()));
    }

    /// Asks for what is wanted, and gives up what nobody has.
    pub(super) fn fetch(&mut self, cx: &mut Context<'_>) {
        for blob in self.fetcher.gone(cx.reach, cx.now.up_ms) {
            self.lacks_for_ever(cx, &blob);
            let waits = |(batch, copying): (&Hash, &Copying)| (copying.members == blob).then_some(*batch);
            let batches: Vec<Hash> = self.copying.iter().filter_map(waits).collect();
            for batch in batches {
                self.copying.remove(&batch);
                if let Some(job) = self.job_of(&batch) {
                    self.lost(cx, job, &[batch], "a batch's claims are lost".to_owned());
                }
            }
        }
        for (node, blobs) in self.fetcher.requests(cx.reach, cx.now.up_ms) {
            cx.send(node, Message::Fetch { blobs });
        }
    }
}
