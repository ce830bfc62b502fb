//! Jobs that other nodes have announced to all: the leader fetches the submissions that have not come by themselves.

use std::collections::BTreeMap;

use forgemesh_protocol::id::{JobId, NodeId};
use forgemesh_protocol::limits;
use forgemesh_protocol::wire::Message;

use super::HubRole;
use crate::core::Context;

/// Announced jobs: who says that it has the submission, and when to ask for it. Not everyone who says so need have it.
#[derive(Default)]
pub(super) struct Hearsay {
    jobs: BTreeMap<JobId, (Vec<NodeId>, u64)>,
}

impl Hearsay {
    /// In how many milliseconds a submission is to be asked for.
    pub fn next_deadline(&self, up_ms: u64) -> u64 {
        let next = self.jobs.values().map(|(_, due_ms)| *due_ms).min();
        next.map_or(u64::MAX, |due_ms| due_ms.saturating_sub(up_ms))
    }
}

impl HubRole {
    /// A node says that a client of its own has a job. It will say so again, as long as it has no answer.
    pub fn announced(&mut self, cx: &mut Context<'_>, from: NodeId, job: JobId) {
        let known = self.has_seen(&job);
        let Some(lead) = &mut self.lead else { return };
        let room = lead.hearsay.jobs.len() < limits::ANNOUNCED || lead.hearsay.jobs.contains_key(&job);
        if !known && room {
            // Most of them are on their way already.
            let new = || (Vec::new(), cx.now.up_ms + limits::ANNOUNCED_MS);
            let (announcers, _) = lead.hearsay.jobs.entry(job).or_insert_with(new);
            if announcers.len() < limits::ANNOUNCERS && !announcers.contains(&from) {
                announcers.push(from);
            }
        }
    }

    /// Asks for those that have not come.
    pub(super) fn fetch_announced(&mut self, cx: &mut Context<'_>) {
        let Some(lead) = &mut self.lead else { return };
        let due = lead.hearsay.jobs.extract_if(.., |_, (_, due_ms)| cx.now.up_ms >= *due_ms);
        let due: Vec<(JobId, Vec<NodeId>)> = due.map(|(job, (announcers, _))| (job, announcers)).collect();
        for (job, announcers) in due {
            if !self.has_seen(&job) {
                announcers.into_iter().for_each(|from| cx.send(from, Message::Bring { job }));
            }
        }
    }

    /// Has this job entered the log?
    fn has_seen(&self, job: &JobId) -> bool {
        let state = self.machine.state();
        state.open.contains_key(job) || state.seen.contains_key(job)
    }
}
