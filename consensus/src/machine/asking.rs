//! What can be told of a request before it is an entry, so that a broken one costs its taker a look and no disk anything.
//!
//! Must never refuse what the log would grant now, nor with other words than the log's.

use forgemesh_protocol::id::MeshId;

use super::{CancelRefused, Hub, Rejected, SeatRefused};
use crate::admission::{self, AdmissionError};
use crate::command::Command;
use crate::enrolment::{EnrolmentRefused, check_member};

/// Checks what anybody can tell of a request: its bounds, and whether it is signed.
pub fn check_signed(command: &Command, mesh: MeshId) -> Result<(), Rejected> {
    match command {
        Command::Submit { submission } => {
            admission::check_size(&submission.body)?;
            submission.verify(mesh).map_err(AdmissionError::Signature)?;
        }
        Command::Cancel { cancellation } => {
            cancellation.verify(mesh).map_err(CancelRefused::Signature)?;
        }
        Command::Invite { invitation } => invitation.verify(mesh).map_err(EnrolmentRefused::Signature)?,
        Command::Withdraw { withdrawal } => withdrawal.verify(mesh).map_err(EnrolmentRefused::Signature)?,
        Command::Expel { expulsion } => expulsion.verify(mesh).map_err(EnrolmentRefused::Signature)?,
        Command::Consent { charter } => charter.verify(mesh).map_err(SeatRefused::Signature)?,
        // Nobody asks for these: the hub's members make them.
        _ => {}
    }
    Ok(())
}

impl Hub {
    /// Checks what a member can tell of a request besides, at this time: whether the job can be read, and whether its signer
    /// may ask for it.
    pub fn check_request(&self, command: &Command, wall_ms: u64) -> Result<(), Rejected> {
        match command {
            Command::Submit { submission } => {
                check_signed(command, self.mesh)?;
                if !self.state.seen.contains_key(&submission.job_id(self.mesh)) {
                    admission::read(&submission.body, wall_ms.max(self.state.now_ms))?;
                }
            }
            Command::Cancel { cancellation } => {
                check_signed(command, self.mesh)?;
                // One that is not open here may be in what is not applied yet.
                if self.job(&cancellation.body.job).is_some_and(|job| job.submission.key != cancellation.key)
                {
                    return Err(CancelRefused::NotTheSubmitter.into());
                }
            }
            Command::Invite { invitation } => drop(check_member(invitation, &self.charters)?),
            Command::Withdraw { withdrawal } => drop(check_member(withdrawal, &self.charters)?),
            Command::Expel { expulsion } => drop(check_member(expulsion, &self.charters)?),
            Command::Consent { charter } => self.check_consent(charter)?,
            _ => {}
        }
        Ok(())
    }
}
