//! What agents and checkers send to the hub. Nothing unsigned is kept, and nothing is believed that can be checked.

use forgemesh_consensus::adjudicate::{self, ChainHead};
use forgemesh_consensus::command::Command;
use forgemesh_protocol::attestation::Attestation;
use forgemesh_protocol::canon::Bytes;
use forgemesh_protocol::challenge::{CheckOutcome, Verdict};
use forgemesh_protocol::hash::Hash;
use forgemesh_protocol::id::{JobId, NodeId};
use forgemesh_protocol::keys::{Signable, Signed};
use forgemesh_protocol::limits;
use forgemesh_protocol::wire::{Attested, Delivery, Hello, Message};
use forgemesh_storage::Batch;

use super::HubRole;
use crate::core::placement::shard_ns;
use crate::core::{AfterStore, Context};

impl HubRole {
    /// An agent said hello: it hears how far its chain is logged. What is too long to be kept was not said.
    pub fn heard(&mut self, cx: &mut Context<'_>, from: NodeId, hello: &Hello) {
        if !self.machine.admits(&from) || !hello.is_bounded() {
            return;
        }
        let log_ms = self.log_time(cx);
        if self.lead.is_none() {
            return self.scheduler.met(from, hello, cx.now.up_ms);
        }
        self.scheduler.heard(from, hello, &self.machine.state().open, cx.now, log_ms);
        self.agent_spoke(&from);
        if let Some(term) = self.leads_in().filter(|_| from != self.node) {
            cx.send(from, Message::Led { term, books: self.machine.state().ledger_len });
        }
        self.answer(cx, from);
        for holding in hello.holds.iter().filter(|holding| self.machine.job(&holding.job).is_none()) {
            if self.machine.state().seen.contains_key(&holding.job) {
                cx.send(from, Message::Over { job: holding.job });
            }
        }
    }

    /// A batch of claims arrived with its attestation.
    pub fn attested(&mut self, cx: &mut Context<'_>, from: NodeId, attested: Attested) {
        let attestation = &attested.attestation;
        let (body, head) = (&attestation.body, self.machine.chain(&attestation.body.agent));
        let own = from == self.node;
        if !self.is_its_own(from, attestation) {
            return;
        }
        let Some(lead) = &mut self.lead else { return };
        self.scheduler.seen(&from, cx.now.up_ms);
        if body.seq <= head.seq {
            return self.answer(cx, from);
        }
        let (job, stage) = (body.job, body.stage);
        let Some(claims) = lead.intake.arrived(attested, head, own, cx.now.up_ms) else { return };
        if let Some(record) = self.machine.job(&job).filter(|record| record.run().number == stage) {
            let wall_us = claims.iter().map(|claim| claim.wall_us).fold(0, u64::saturating_add);
            let estimate_ns = shard_ns(record).saturating_mul(claims.len() as u64);
            self.scheduler.paced(&from, wall_us, estimate_ns);
        }
    }

    /// Has an agent of this mesh signed this of itself, in an attestation's form? Nothing else is kept, fetched for, or
    /// proposed.
    fn is_its_own(&self, from: NodeId, attestation: &Signed<Attestation>) -> bool {
        let known = self.machine.chain(&from) != ChainHead::EMPTY;
        let good = || adjudicate::check_form(attestation, self.machine.charters(), known).is_ok();
        from == attestation.body.agent && self.machine.admits(&from) && (from == self.node || good())
    }

    /// A batch of claims arrived with all that it claims. Who leads takes it in; who follows keeps it until it is logged.
    pub fn delivered(&mut self, cx: &mut Context<'_>, from: NodeId, delivery: Delivery) {
        if self.lead.is_none() {
            let attestation = &delivery.attested.attestation;
            let (body, head) = (&attestation.body, self.machine.chain(&from));
            let is_next = (head.seq + 1..=head.seq + limits::PENDING_BATCHES as u64).contains(&body.seq);
            if is_next && self.is_its_own(from, attestation) {
                self.deliveries.keep(from, delivery, cx.now.up_ms);
            }
            return;
        }
        self.attested(cx, from, delivery.attested);
        self.blobs(cx, &from, delivery.blobs);
    }

    /// A blob of somebody's claims arrived.
    pub fn blob(&mut self, cx: &mut Context<'_>, from: &NodeId, bytes: Bytes) {
        self.blobs(cx, from, vec![bytes]);
    }

    /// Keeps those that somebody claims or that are wanted.
    fn blobs(&mut self, cx: &mut Context<'_>, from: &NodeId, blobs: Vec<Bytes>) {
        let mut batch = Batch::new();
        let (mut arrived, mut awaited, mut completes) = (Vec::new(), false, false);
        for bytes in blobs {
            let blob = Hash::blob(&bytes.0);
            let lead = self.lead.as_mut();
            let claimed = lead.is_some_and(|lead| lead.intake.arrived_blob(&blob, cx.now.up_ms));
            let wanted = self.fetcher.arrived(from, &blob, cx.now.up_ms);
            if wanted {
                self.copied(cx, &blob, &bytes);
            }
            // What comes while there is no room for it is asked for again.
            let evidence = !self.disk_low && self.evidence.fetcher.arrived(from, &blob, cx.now.up_ms);
            if claimed || wanted || evidence {
                (awaited, completes) = (awaited | wanted, completes | evidence);
                arrived.push(blob);
                batch.put_blob(bytes.0);
            }
        }
        // Batches become durable in order: what needs them comes after them.
        match awaited {
            _ if arrived.is_empty() => return,
            true => cx.store(batch, AfterStore::Nothing),
            false => drop(cx.store_later(batch)),
        }
        if completes {
            self.completes(cx);
        }
        arrived.iter().for_each(|blob| self.lacks_no_more(blob));
    }

    /// A blob of somebody's claims is lost. The attestation is logged all the same, so that the chain goes on; the
    /// reduction will say what it lacks.
    pub fn no_blob(&mut self, cx: &mut Context<'_>, from: &NodeId, blob: &Hash) {
        self.lead.iter_mut().for_each(|lead| lead.intake.gone(from, blob));
        self.fetcher.refused(cx.reach, from, blob, cx.now.up_ms);
        self.evidence.fetcher.refused(cx.reach, from, blob, cx.now.up_ms);
    }

    /// Has attestations fetched and logged.
    pub(super) fn take_in(&mut self, cx: &mut Context<'_>) {
        let Some(lead) = &mut self.lead else { return };
        let (scheduler, up_ms) = (&self.scheduler, cx.now.up_ms);
        lead.intake.expire(up_ms, |agent| scheduler.is_live(agent, up_ms));
        let machine = &self.machine;
        let ready = lead.intake.ready(|agent| machine.chain(agent));
        let fetch = lead.intake.fetch(cx.now.up_ms);
        for Attested { attestation, members } in ready {
            if attestation.body.agent != cx.identity.node {
                let mut batch = Batch::new();
                batch.put_blob(members.0.clone());
                // Its entry comes after it.
                cx.store_later(batch);
            }
            self.members.insert(attestation.body.digest(), members);
            self.propose(cx, Command::Attest { attestation });
        }
        for (agent, blobs) in fetch {
            cx.send(agent, Message::Fetch { blobs });
        }
    }

    /// A checker's verdict arrived.
    pub fn judged(&mut self, cx: &mut Context<'_>, verdict: Signed<Verdict>) {
        let body = &verdict.body;
        let member = self.machine.charters().current().member(&verdict.key).is_some();
        if !member || verdict.verify(cx.identity.mesh).is_err() {
            return;
        }
        // Only what may count enters the log; a batch that was set aside meanwhile is not checked any more either.
        if self.machine.job(&body.job).is_some_and(|job| job.awaits_verdict(&body.attestation)) {
            let (job, attestation) = (body.job, body.attestation);
            let agreed = (body.outcome == CheckOutcome::Agreed).then_some(attestation);
            self.propose(cx, Command::Judge { verdict });
            // If it is the last one, what follows it counts.
            self.log_votes(cx, &job, agreed);
        } else if let Some(lead) = &mut self.lead {
            lead.checking.remove(&body.attestation);
        }
    }

    /// An agent could not execute a shard: another attempt, or the end of the job.
    pub fn shard_failed(
        &mut self,
        cx: &mut Context<'_>,
        from: NodeId,
        job: JobId,
        stage: u64,
        shard: u64,
        detail: String,
    ) {
        let record = self.machine.job(&job).filter(|record| record.run().number == stage);
        let Some(record) = record.filter(|_| self.lead.is_some()) else { return };
        if let Some(decision) =
            self.scheduler.failed(&self.machine, record, from, shard, detail, cx.now.up_ms)
        {
            self.carry_out(cx, decision);
        }
    }

    /// Tells an agent how far its chain is logged.
    pub(super) fn answer(&self, cx: &mut Context<'_>, agent: NodeId) {
        let ChainHead { seq, digest } = self.machine.chain(&agent);
        cx.send(agent, Message::Logged { seq, digest });
    }
}
