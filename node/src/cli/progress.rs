//! How a running job is shown: a bar for people, lines of JSON for programs, or nothing.

use clap::ValueEnum;
use forgemesh_protocol::id::JobId;
use forgemesh_protocol::state::State;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;

use crate::core::Progress;
use crate::stderr;

/// What to show on standard error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ProgressMode {
    /// A bar if standard error is a terminal, else nothing.
    Auto,
    /// One JSON object a line for each phase event.
    Json,
    /// Nothing.
    None,
}

/// Shows one job.
pub struct Display {
    mode: ProgressMode,
    bar: Option<ProgressBar>,
    last: Option<(State, u64, bool)>,
}

impl Display {
    /// For a job of `leaves` leaves.
    pub fn new(mode: ProgressMode, leaves: u64) -> Display {
        let bar = (mode == ProgressMode::Auto).then(|| {
            let bar = ProgressBar::new(leaves);
            let style =
                ProgressStyle::with_template("{msg:12} [{bar:32}] {percent:>3} %  {elapsed} (eta {eta})");
            if let Ok(style) = style {
                bar.set_style(style.progress_chars("=> "));
            }
            bar
        });
        Display { mode, bar, last: None }
    }

    /// The job is durable.
    pub fn accepted(&self, job: &JobId, resumed: bool) {
        self.event(job, if resumed { "resumed" } else { "accepted" }, json!({}));
    }

    /// The job moved.
    pub fn report(&mut self, progress: &Progress) {
        if let Some(bar) = &self.bar {
            bar.set_message(progress.state.as_str());
            bar.set_position(progress.done_leaves);
        }
        let now = (progress.state, progress.stage, progress.recorded);
        let fields = json!({
            "stage": progress.stage, "done_leaves": progress.done_leaves, "leaves": progress.leaves,
            "unverified": progress.unverified,
        });
        if self.last != Some(now) {
            self.last = Some(now);
            let name = if progress.recorded { "recorded" } else { progress.state.as_str() };
            self.event(&progress.job, name, fields);
        } else if progress.state == State::Running {
            self.event(&progress.job, "progress", fields);
        }
    }

    /// Nothing more will come.
    pub fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }

    fn event(&self, job: &JobId, event: &str, fields: serde_json::Value) {
        if self.mode == ProgressMode::Json {
            let mut line = json!({"event": event, "job_id": job});
            if let (Some(line), Some(fields)) = (line.as_object_mut(), fields.as_object()) {
                line.extend(fields.clone());
            }
            stderr::say(&line.to_string());
        }
    }
}
