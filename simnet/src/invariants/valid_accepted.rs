//! No job that is valid is refused: worlds submit no others, and long before they expire. That there is no room now is no
//! refusal; the client asks again. Source: consensus/src/admission.rs; README.md, "A job file".

use super::{Invariant, Moment, View};

/// The invariant.
pub struct ValidAccepted;

impl Invariant for ValidAccepted {
    fn name(&self) -> &'static str {
        "valid_accepted"
    }

    fn check(&mut self, view: &View<'_>) -> Result<bool, String> {
        match &view.moment {
            Moment::Acknowledged { .. } => Ok(true),
            Moment::Refused { job, reason } => Err(format!("job {job} is valid and was refused: {reason}")),
            _ => Ok(false),
        }
    }
}
