//! A changed bit, a missing end, an added byte: each is found, and the report says where.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use forgemesh_node::bundle;
use forgemesh_node::evidence::{self, Report, Status};
use forgemesh_protocol::envelope::ArtifactKind;
use serde_json::{Value, json};

use super::draws::Draws;
use super::node::{Ended, Node, path, small_job};

/// What a finished job leaves, in memory.
struct Left {
    receipt: Vec<u8>,
    artifacts: BTreeMap<String, Vec<u8>>,
    bundle: Vec<u8>,
}

impl Left {
    fn by(job: &Value) -> Left {
        let node = Node::new();
        let id = node.run(job, "out")["job_id"].as_str().expect("an id").to_owned();
        node.ok(&["receipt", "bundle", &id, "--out", "job.bundle.tar"]);
        let read = |name: &str| std::fs::read(node.path(name)).expect("the file was written");
        let artifact =
            |kind: ArtifactKind| (kind.file_name().to_owned(), read(&format!("out/{}", kind.file_name())));
        Left {
            receipt: read("out/receipt.json"),
            artifacts: ArtifactKind::ALL.into_iter().map(artifact).collect(),
            bundle: read("job.bundle.tar"),
        }
    }

    /// Of the small reserving job.
    fn reserve() -> &'static Left {
        static LEFT: OnceLock<Left> = OnceLock::new();
        LEFT.get_or_init(|| Left::by(&small_job()))
    }

    /// Of a job whose bundle is small enough to change it everywhere.
    fn tiny() -> &'static Left {
        static LEFT: OnceLock<Left> = OnceLock::new();
        LEFT.get_or_init(|| {
            let op = json!({"name": "diag", "version": 1, "profile": "mix.v1"});
            Left::by(&json!({"op": op, "args": {"iterations": 16}}))
        })
    }
}

/// The checks that failed; each must say where.
fn failures(report: &Report, what: &str) -> Vec<String> {
    let failed = report.checks.iter().filter(|check| check.status == Status::Failed);
    let name = |check: &evidence::Check| {
        assert!(!check.detail.is_empty(), "{what}: {} has no detail", check.name);
        check.name.clone()
    };
    failed.map(name).collect()
}

/// The checks that failed, of which there must be one.
fn failed(report: &Report, what: &str) -> Vec<String> {
    let names = failures(report, what);
    assert!(!names.is_empty(), "{what}: nothing was found");
    names
}

fn examine(receipt: &[u8], what: &str) -> Vec<String> {
    let mut report = Report::default();
    evidence::examine(receipt, None, &mut report);
    failed(&report, what)
}

/// The checks that fail for these bytes, as `verify` reads them: as a bundle, or else as a receipt.
fn check_bundle(bytes: &[u8]) -> Vec<String> {
    let mut report = Report::default();
    if bundle::is_bundle(bytes) {
        bundle::check(bytes, None, &mut report);
    } else {
        evidence::examine(bytes, None, &mut report);
    }
    failures(&report, "a bundle")
}

/// The file of a bundle that a byte belongs to, and how far into it; negative within its header.
fn file_at(bundle: &[u8], at: usize) -> (String, i64) {
    let is_header = |block: &usize| bundle.get(block + 257..block + 262) == Some(b"ustar");
    let header = (0..=at / 512).rev().map(|block| block * 512).find(is_header).unwrap_or(0);
    let name = bundle[header..].split(|byte| *byte == 0).next().unwrap_or_default();
    (String::from_utf8_lossy(name).into_owned(), at as i64 - header as i64 - 512)
}

/// The same for the message of a failed test, with the CBOR keys or text before the byte.
fn place(bundle: &[u8], at: usize) -> String {
    let (name, offset) = file_at(bundle, at);
    format!("{name}{offset:+}, after {}", bundle[at.saturating_sub(48)..at].escape_ascii())
}

/// Is this byte one of the job's record?
fn is_record(bundle: &[u8], at: usize) -> bool {
    let (name, offset) = file_at(bundle, at);
    name == "evidence.cbor" && offset >= 0
}

/// Changes one bit at each of these places; fails with a list of the changes that were not found.
fn flip_all(bundle: &[u8], flips: &[(usize, usize)]) {
    let missed = std::sync::Mutex::new(Vec::new());
    on_two_threads(flips.len(), |i| {
        let (at, bit) = flips[i];
        let mut changed = bundle.to_vec();
        changed[at] ^= 1 << bit;
        if check_bundle(&changed).is_empty() {
            missed.lock().expect("no thread panics").push((at, bit));
        }
    });
    let mut missed = missed.into_inner().expect("no thread panicked");
    missed.sort_unstable();
    let list: Vec<String> =
        missed.iter().map(|(at, bit)| format!("bit {bit} of byte {at}: {}", place(bundle, *at))).collect();
    assert!(
        list.is_empty(),
        "{} of {} changes were not found:\n{}",
        list.len(),
        flips.len(),
        list.join("\n")
    );
}

/// Does `each` for every number below `count`, on two threads.
fn on_two_threads(count: usize, each: impl Fn(usize) + Sync) {
    std::thread::scope(|scope| {
        scope.spawn(|| (0..count).step_by(2).for_each(&each));
        scope.spawn(|| (1..count).step_by(2).for_each(&each));
    });
}

#[test]
fn what_was_not_changed_verifies() {
    for left in [Left::reserve(), Left::tiny()] {
        let mut report = Report::default();
        let examined = evidence::examine(&left.receipt, None, &mut report).expect("it can be read");
        evidence::check_artifacts(&examined, &left.artifacts, &mut report);
        bundle::check(&left.bundle, Some(examined.charters.mesh()), &mut report);
        assert!(report.is_ok(), "{report:#?}");
    }
}

#[test]
fn every_bit_of_a_receipt_counts() {
    let receipt = &Left::reserve().receipt;
    on_two_threads(receipt.len(), |at| {
        let mut changed = receipt.clone();
        for bit in 0..8 {
            changed[at] = receipt[at] ^ 1 << bit;
            for name in examine(&changed, &format!("bit {bit} of byte {at}")) {
                let place = name.split('.').next();
                assert!(matches!(place, Some("receipt" | "contract" | "submission")), "{name}");
            }
        }
    });
}

#[test]
fn every_length_of_a_receipt_but_the_whole_fails() {
    let receipt = &Left::reserve().receipt;
    on_two_threads(receipt.len(), |length| {
        assert_eq!(examine(&receipt[..length], &format!("{length} bytes")), ["receipt.encoding"]);
    });
}

#[test]
fn a_changed_artifact_is_named() {
    let left = Left::reserve();
    let mut report = Report::default();
    let examined = evidence::examine(&left.receipt, None, &mut report).expect("it can be read");
    let mut draws = Draws::new("artifacts");
    for (name, bytes) in &left.artifacts {
        let check = format!("artifact.{name}");
        let check_with = |changed: Vec<u8>, what: &str| {
            let mut report = Report::default();
            let files = BTreeMap::from([(name.clone(), changed)]);
            evidence::check_artifacts(&examined, &files, &mut report);
            assert!(failed(&report, what).contains(&check), "{what}: {report:#?}");
        };
        for _ in 0..400 {
            let (at, bit) = (draws.below(bytes.len()), draws.below(8));
            let mut changed = bytes.clone();
            changed[at] ^= 1 << bit;
            check_with(changed, &format!("{name}: bit {bit} of byte {at}"));
        }
        for length in [0, 1, bytes.len() / 2, bytes.len() - 1] {
            check_with(bytes[..length].to_vec(), &format!("{name}: {length} bytes"));
        }
        check_with([bytes.as_slice(), b"\n"].concat(), &format!("{name}: a byte more"));
    }
}

#[test]
fn every_byte_of_a_small_bundles_headers_and_blobs_counts() {
    let bundle = &Left::tiny().bundle;
    let mut draws = Draws::new("small bundle");
    let is_chosen = |at: &usize| {
        let (name, offset) = file_at(bundle, *at);
        // Receipt, record and artifacts have tests of their own, so an eighth of their bytes is enough here.
        !is_record(bundle, *at) && (offset < 0 || name.starts_with("blobs/") || at.is_multiple_of(8))
    };
    let flips: Vec<(usize, usize)> =
        (0..bundle.len()).filter(is_chosen).map(|at| (at, draws.below(8))).collect();
    flip_all(bundle, &flips);
}

#[test]
fn every_byte_of_the_jobs_record_counts() {
    let bundle = &Left::tiny().bundle;
    let mut draws = Draws::new("record");
    let record = (0..bundle.len()).filter(|at| is_record(bundle, *at));
    let flips: Vec<(usize, usize)> = record.map(|at| (at, draws.below(8))).collect();
    flip_all(bundle, &flips);
}

#[test]
fn sampled_changes_of_a_bundle_are_found() {
    let bundle = &Left::reserve().bundle;
    let mut draws = Draws::new("bundle");
    let flips: Vec<(usize, usize)> = (0..600).map(|_| (draws.below(bundle.len()), draws.below(8))).collect();
    flip_all(bundle, &flips);
}

#[test]
fn a_bundle_that_ends_early_or_late_fails() {
    for bundle in [&Left::tiny().bundle, &Left::reserve().bundle] {
        let mut draws = Draws::new("lengths of a bundle");
        let blocks = (0..bundle.len()).step_by(512).take(64);
        let mut lengths: Vec<usize> = blocks.chain((0..200).map(|_| draws.below(bundle.len()))).collect();
        lengths.extend((1..=1100).step_by(11).map(|cut| bundle.len() - cut));
        on_two_threads(lengths.len(), |i| {
            assert!(
                !check_bundle(&bundle[..lengths[i]]).is_empty(),
                "{} of {} bytes",
                lengths[i],
                bundle.len()
            );
        });
        for tail in [&b"\0"[..], b"x", &[0; 512], &[0; 10_240]] {
            assert!(
                !check_bundle(&[bundle.as_slice(), tail].concat()).is_empty(),
                "{} bytes more",
                tail.len()
            );
        }
    }
}

/// `forgemesh verify` on a machine of its own, with these files.
fn verify(files: &[(&str, &[u8])]) -> Ended {
    let stranger = Node::new();
    let paths: Vec<_> = files.iter().map(|(name, bytes)| stranger.file(name, bytes)).collect();
    let ended = stranger.forgemesh(&["verify", path(&paths[0]), "--json"]);
    assert!(!stranger.home().exists(), "verify needs no data folder");
    ended
}

/// Fails unless the process found something; the names of what failed.
fn found(ended: &Ended, what: &str) -> Vec<String> {
    let report = ended.json();
    assert_eq!((ended.code, &report["ok"]), (3, &json!(false)), "{what}: {report:#}");
    let failed =
        report["checks"].as_array().into_iter().flatten().filter(|check| check["status"] == "failed");
    let names: Vec<String> = failed.filter_map(|check| check["name"].as_str().map(str::to_owned)).collect();
    assert!(!names.is_empty(), "{what}: {report:#}");
    names
}

#[test]
fn the_process_finds_what_the_library_finds() {
    let left = Left::reserve();
    let mut draws = Draws::new("processes");
    for _ in 0..24 {
        let (at, bit) = (draws.below(left.receipt.len()), draws.below(8));
        let mut changed = left.receipt.clone();
        changed[at] ^= 1 << bit;
        let what = format!("bit {bit} of byte {at}");
        assert_eq!(found(&verify(&[("receipt.json", &changed)]), &what), examine(&changed, &what), "{what}");
        let length = draws.below(left.receipt.len());
        let what = format!("{length} bytes of the receipt");
        assert_eq!(found(&verify(&[("receipt.json", &left.receipt[..length])]), &what), ["receipt.encoding"]);
    }
    for (name, bytes) in &left.artifacts {
        let mut changed = bytes.clone();
        changed[draws.below(bytes.len())] ^= 1 << draws.below(8);
        let names = found(&verify(&[("receipt.json", &left.receipt), (name, &changed)]), name);
        assert!(names.contains(&format!("artifact.{name}")), "{names:?}");
    }
    for _ in 0..12 {
        let (at, bit) = (draws.below(left.bundle.len()), draws.below(8));
        let mut changed = left.bundle.clone();
        changed[at] ^= 1 << bit;
        let what = format!("bit {bit} of byte {at} of the bundle");
        assert_eq!(found(&verify(&[("b.tar", &changed)]), &what), check_bundle(&changed), "{what}");
        let length = draws.below(left.bundle.len());
        found(&verify(&[("b.tar", &left.bundle[..length])]), &format!("{length} bytes of the bundle"));
    }
}

#[test]
fn as_text_the_failed_check_is_marked_and_repeated() {
    let left = Left::reserve();
    let node = Node::new();
    let mut changed = left.artifacts["result.json"].clone();
    changed[10] ^= 1;
    let receipt = node.file("receipt.json", &left.receipt);
    node.file("result.json", changed);
    let ended = node.forgemesh(&["verify", path(&receipt)]);
    assert_eq!(ended.code, 3);
    assert!(ended.text().contains("FAIL artifact.result.json"), "{}", ended.text());
    assert!(!ended.text().contains("verified:"));
    assert!(ended.stderr.contains("verification FAILED") && ended.stderr.contains("artifact.result.json"));
}

#[test]
fn files_that_are_no_receipts_fail_without_a_panic() {
    let long = vec![b'{'; 17 << 20];
    let deep = "{\"payload\":".repeat(10_000);
    for bytes in [&b""[..], b"{}", b"null", b"\xff\xfe", b"ustar", deep.as_bytes(), &long] {
        let names = found(&verify(&[("receipt.json", bytes)]), "no receipt");
        assert_eq!(names, ["receipt.encoding"]);
    }
    let mut magic = vec![0; 1024];
    magic[257..262].copy_from_slice(b"ustar");
    found(&verify(&[("b.tar", &magic)]), "a tar of nothing");
    found(&verify(&[("b.tar", b"blobs/")]), "the beginning of a tar");
}

#[test]
fn what_is_no_receipt_is_told_where_receipts_come_from() {
    let node = Node::new();
    let file = node.file("result.json", b"{\"output\":{}}");
    for command in ["verify", "replay"] {
        let ended = node.forgemesh(&[command, path(&file)]);
        assert_eq!(ended.code, 3, "{}", ended.stderr);
        assert!(
            ended.stderr.contains("this is no receipt; `forgemesh run FILE --out DIR`"),
            "{}",
            ended.stderr
        );
        let folder = node.forgemesh(&[command, path(&node.path("")), "--json"]);
        let error = folder.error(2, "cannot_read");
        assert!(
            error["message"].as_str().is_some_and(|text| text.contains("give the file receipt.json in it"))
        );
    }
    // A receipt that is damaged is no stranger: what is wrong with it is said instead.
    let receipt = Left::reserve().receipt.clone();
    let damaged = node.file("receipt.json", &receipt[..receipt.len() / 2]);
    let ended = node.forgemesh(&["verify", path(&damaged)]);
    assert!(ended.code == 3 && !ended.stderr.contains("this is no receipt"), "{}", ended.stderr);
}
