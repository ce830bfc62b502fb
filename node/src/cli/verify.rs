//! `forgemesh verify`: is this receipt, with whatever lies beside it, true? Needs neither network nor data folder.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::Args;
use forgemesh_protocol::envelope::ArtifactKind;
use forgemesh_protocol::id::MeshId;
use forgemesh_protocol::limits;
use serde_json::json;

use super::error::CliError;
use super::input::read_bounded;
use super::{Common, print, print_json};
use crate::bundle;
use crate::evidence::{self, Examined, Report, Status};

/// Bytes in which the first key of a receipt is looked for; room for one that was written out anew.
const BEGINNING: usize = 1024;

/// Arguments of `verify`.
#[derive(Args)]
pub struct VerifyArgs {
    /// A receipt (artifacts are looked for in its folder), or a bundle.
    #[arg(value_name = "RECEIPT")]
    receipt: PathBuf,
    /// The mesh you trust; without it, `verify` says that authenticity is unpinned.
    #[arg(long, value_name = "ID")]
    mesh: Option<String>,
}

/// Checks, prints every check, and fails with exit code 3 if one failed.
pub fn verify(common: &Common, args: &VerifyArgs) -> Result<(), CliError> {
    let pinned = pin(args.mesh.as_deref())?;
    let mut report = Report::default();
    let examined = examine(&args.receipt, pinned, &mut report)?;
    let summary = examined.as_ref().map(|examined| {
        let predicate = &examined.statement.predicate;
        json!({
            "job_id": predicate.run_details.metadata.job_id,
            "state": predicate.state,
            "mesh_id": predicate.mesh.id,
            "result_hash": predicate.result.as_ref().map(|result| result.result_hash),
            "verification": predicate.verification,
        })
    });
    if common.json {
        print_json(&json!({"ok": report.is_ok(), "receipt": summary, "checks": report.checks}));
    } else {
        for check in &report.checks {
            let mark = match check.status {
                Status::Ok => "ok  ",
                Status::Failed => "FAIL",
                Status::NotChecked => "-   ",
            };
            print(&format!("{mark} {:<28} {}", check.name, check.detail));
        }
    }
    if !report.is_ok() {
        let what = args.receipt.display().to_string();
        if common.json {
            // The report above is the one JSON object; the exit code says the rest.
            std::process::exit(3);
        }
        return Err(CliError::Verification { what, failures: report.failures() });
    }
    if !common.json {
        print("verified: everything that is here holds together");
    }
    Ok(())
}

/// The mesh id given on the command line.
pub fn pin(mesh: Option<&str>) -> Result<Option<MeshId>, CliError> {
    let parse = |text: &str| text.parse().map_err(|error| CliError::Usage(format!("--mesh: {error}")));
    mesh.map(parse).transpose()
}

/// Whether a file is worth being called a damaged receipt rather than none: every receipt begins with its payload.
fn resembles_receipt(bytes: &[u8]) -> bool {
    let (beginning, key) = (&bytes[..bytes.len().min(BEGINNING)], br#""payload""#);
    beginning.windows(key.len()).any(|window| window == key)
}

/// Checks a receipt with the artifacts beside it, or a bundle.
pub fn examine(
    path: &Path,
    pinned: Option<MeshId>,
    report: &mut Report,
) -> Result<Option<Examined>, CliError> {
    if path.is_dir() {
        return Err(CliError::Folder { path: path.to_owned() });
    }
    let bytes = read_bounded(path, bundle::FILE_BYTES)?;
    if bundle::is_bundle(&bytes) {
        return Ok(bundle::check(&bytes, pinned, report));
    }
    if !resembles_receipt(&bytes) {
        let detail = "this is no receipt; `forgemesh run FILE --out DIR` writes DIR/receipt.json";
        report.note("receipt.encoding", Status::Failed, detail.to_owned());
        return Ok(None);
    }
    let Some(examined) = evidence::examine(&bytes, pinned, report) else { return Ok(None) };
    let folder = path.parent().unwrap_or(Path::new("."));
    let mut files = BTreeMap::new();
    for kind in ArtifactKind::ALL {
        let path = folder.join(kind.file_name());
        if path.exists() {
            files.insert(kind.file_name().to_owned(), read_bounded(&path, limits::ARTIFACT_BYTES as u64)?);
        }
    }
    evidence::check_artifacts(&examined, &files, report);
    Ok(Some(examined))
}
