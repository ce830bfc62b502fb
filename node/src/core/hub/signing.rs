//! How a receipt comes to the signatures of a majority: every member signs the statement that it has derived for itself
//! and gives its signature to the others; who lacks some asks for them.
//!
//! Must never work for whoever has no part in it: few are asked for their signatures, and few may ask.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use forgemesh_protocol::charter::{Charter, Charters};
use forgemesh_protocol::id::{JobId, NodeId};
use forgemesh_protocol::keys::PublicKey;
use forgemesh_protocol::limits;
use forgemesh_protocol::receipt::{Receipt, ReceiptSignature};
use forgemesh_protocol::wire::Message;

use super::HubRole;
use crate::core::{AfterWork, Context, Entered, Progress};
use crate::job_file::JobFile;
use crate::ports::{Done, Work};

/// Receipts on their way to a majority.
#[derive(Default)]
pub(super) struct Signing {
    collecting: BTreeMap<JobId, Collecting>,
    /// Signatures of jobs that are not final here yet, by their members: they cannot be checked before.
    early: BTreeMap<JobId, BTreeMap<NodeId, ReceiptSignature>>,
    early_order: VecDeque<JobId>,
    /// Jobs that are being looked up, and for whom.
    reading: BTreeSet<(NodeId, JobId)>,
}

struct Collecting {
    file: JobFile,
    progress: Progress,
    asked_ms: u64,
}

impl Signing {
    /// In how many milliseconds somebody is to be asked again.
    pub fn next_deadline(&self, up_ms: u64) -> u64 {
        let next = self.collecting.values().map(|collecting| collecting.asked_ms + limits::RETRY_MS).min();
        next.map_or(u64::MAX, |at_ms| at_ms.saturating_sub(up_ms))
    }

    fn keep_early(&mut self, job: JobId, signature: ReceiptSignature) {
        let of_job = self.early.entry(job).or_insert_with(|| {
            self.early_order.push_back(job);
            BTreeMap::new()
        });
        if of_job.len() < limits::HUB_ADMITTED {
            of_job.insert(signature.keyid, signature);
        }
        while self.early_order.len() > limits::OPEN_JOBS
            && let Some(oldest) = self.early_order.pop_front()
        {
            self.early.remove(&oldest);
        }
    }
}

impl HubRole {
    /// Others may sign from now on.
    pub fn know(&mut self, charters: &Charters) {
        self.told = charters.clone();
    }

    /// The newest that this node knows. Who has lost its seat, and then what was not yet durable of the log, has records of
    /// its own under a charter that its machine does not reach any more.
    fn charters(&self) -> &Charters {
        let own = self.machine.charters();
        if own.current().version < self.told.current().version { &self.told } else { own }
    }

    /// The charter that was in force when a job became final: its members sign the receipt.
    fn charter_of(&self, file: &JobFile) -> &Charter {
        let charters = self.charters();
        charters.version(file.finished.charter).unwrap_or_else(|| charters.current())
    }

    /// This member's receipt is on its way to the disk, with what others have signed already: they get its signature. True
    /// if that is all it needs.
    pub(super) fn sign(&mut self, cx: &mut Context<'_>, file: &mut JobFile, progress: &Progress) -> bool {
        let job = file.finished.record.id;
        for signature in &file.receipt.signatures {
            let message = Message::Signed { job, signature: signature.clone() };
            self.others(cx).into_iter().for_each(|member| cx.send(member, message.clone()));
        }
        let early = self.signing.early.remove(&job).unwrap_or_default();
        self.signing.early_order.retain(|other| *other != job);
        let charter = self.charter_of(file).clone();
        early.into_values().for_each(|signature| add(&charter, &mut file.receipt, signature));
        if file.receipt.signatures.len() >= charter.quorum() {
            return true;
        }
        let (file, progress) = (file.clone(), progress.clone());
        self.signing.collecting.insert(job, Collecting { file, progress, asked_ms: cx.now.up_ms });
        false
    }

    /// What was left without its signatures when this node stopped.
    pub(super) fn sign_on(&mut self, unsigned: Vec<JobFile>) {
        for file in unsigned {
            let record = &file.finished.record;
            let leaves = record.plan.leaves();
            let (job, state, stage) = (record.id, record.state, record.run().number);
            let done_leaves = file.finished.result.as_ref().map_or(leaves, |result| result.stop_leaf);
            let progress = Progress { job, state, stage, done_leaves, leaves, unverified: 0, recorded: true };
            self.signing.collecting.insert(job, Collecting { file, progress, asked_ms: 0 });
        }
    }

    /// Who sits, and who may take a seat: it has its receipts whole before others count on it.
    fn others(&self, cx: &Context<'_>) -> BTreeSet<NodeId> {
        let charters = self.machine.agreed().into_iter().chain([self.charters().current()]);
        let wanted = charters.flat_map(|charter| &charter.admitted);
        let all = cx.members.iter().copied().chain(wanted.map(|member| member.key.id()));
        all.filter(|member| *member != self.node).collect()
    }

    /// Was this node ever admitted, or is it to be?
    fn is_signer(&self, node: &NodeId) -> bool {
        let wanted = || self.machine.agreed().is_some_and(|charter| charter.node(node).is_some());
        self.charters().node(node).is_some() || wanted()
    }

    /// The first entry of the ledger whose receipt lacks signatures, of those that follow from this node's log.
    pub fn first_unsigned(&self) -> u64 {
        let entries = self.signing.collecting.values().map(|of| of.file.finished.entry.seq);
        entries.min().unwrap_or(u64::MAX)
    }

    /// Another member's signature arrived.
    pub fn signed(&mut self, cx: &mut Context<'_>, from: NodeId, job: JobId, signature: ReceiptSignature) {
        if self.charters().node(&signature.keyid).is_none() {
            return;
        }
        let of_job = self.signing.collecting.get(&job);
        let charter = of_job.map(|collecting| self.charter_of(&collecting.file).clone());
        let (Some(charter), Some(collecting)) = (charter, self.signing.collecting.get_mut(&job)) else {
            // As long as it cannot be checked, only the member itself is believed to have sent it.
            if self.machine.job(&job).is_some() && signature.keyid == from {
                self.signing.keep_early(job, signature);
            }
            return;
        };
        add(&charter, &mut collecting.file.receipt, signature);
        if collecting.file.receipt.signatures.len() < charter.quorum() {
            return;
        }
        if let Some(Collecting { file, progress, .. }) = self.signing.collecting.remove(&job) {
            cx.finished.push(Entered::Signed { file: Box::new(file), progress: Box::new(progress) });
        }
    }

    /// Asks for the signatures that are missing.
    pub(super) fn collect(&mut self, cx: &mut Context<'_>) {
        let up_ms = cx.now.up_ms;
        let is_due = |of: &Collecting| up_ms >= of.asked_ms + limits::RETRY_MS;
        let due = self.signing.collecting.iter_mut().filter(|(_, of)| is_due(of));
        let mut asked = Vec::new();
        for (job, collecting) in due {
            collecting.asked_ms = up_ms;
            asked.push((*job, collecting.file.finished.charter));
        }
        for (job, charter) in asked {
            // Whoever was admitted then, whether it sits now or not; and who sits now has what those have signed.
            let admitted = self.charters().version(charter).into_iter().flat_map(|charter| &charter.admitted);
            let signers = admitted.map(|member| member.key.id());
            let asked: BTreeSet<NodeId> = signers.chain(cx.members.iter().copied()).collect();
            let others = asked.into_iter().filter(|node| *node != self.node);
            others.for_each(|member| cx.send(member, Message::Sign { job }));
        }
    }

    /// A member asks for the signatures that this one has. Whether it was one when the job became final shows the job.
    pub fn asked_to_sign(&mut self, cx: &mut Context<'_>, from: NodeId, job: JobId) {
        let theirs = self.signing.reading.iter().filter(|(asker, _)| *asker == from).count();
        let is_free = theirs < limits::SIGNATURES_READ;
        if is_free
            && self.is_signer(&from)
            && self.machine.job(&job).is_none()
            && self.signing.reading.insert((from, job))
        {
            cx.work(Work::File { job }, AfterWork::Signature { to: from, job });
        }
    }

    /// The receipt was looked for.
    pub fn file_read(&mut self, cx: &mut Context<'_>, to: NodeId, job: JobId, done: Done) {
        self.signing.reading.remove(&(to, job));
        let Done::File { file: Some(file) } = done else { return };
        // Those of others, too: they may be gone.
        for signature in &file.receipt.signatures {
            cx.send(to, Message::Signed { job, signature: signature.clone() });
        }
    }
}

/// Adds a member's signature, if it is good and new.
fn add(charter: &Charter, receipt: &mut Receipt, signature: ReceiptSignature) {
    let member = charter.node(&signature.keyid);
    let known = receipt.signatures.iter().any(|other| other.keyid == signature.keyid);
    let good = |key: &PublicKey| key.verify_raw(&receipt.signed_message(), &signature.sig).is_ok();
    if !known && member.is_some_and(|member| good(&member.key)) {
        receipt.signatures.push(signature);
        receipt.signatures.sort_by_key(|signature| signature.keyid);
    }
}
