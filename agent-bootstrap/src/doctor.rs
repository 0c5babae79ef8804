//! `doctor`: does everything that a job on this instance depends on work? One line a check, with a fix line.
//!
//! # Layout
//! - [`report`]: verdicts, text and JSON; pure.
//! - [`judge`]: what was observed becomes a check; pure.
//! - [`observe`], [`programs`]: asks AWS, the CI, Docker, the disk and the clock; decides nothing.
//! - [`settings`]: what is configured here.
//! - [`image`]: is everything in a fresh image?
//!
//! See `docs/doctor.md`.

pub mod image;
pub mod judge;
pub mod observe;
pub mod programs;
pub mod report;
pub mod settings;

use std::io::Write;

use jiff::Timestamp;

use crate::failure::Failure;
use crate::layout::Layout;
use report::{Check, Report, Verdict};
use settings::Settings;

/// Arguments of `doctor`.
#[derive(Debug, clap::Args)]
pub struct DoctorArgs {
    /// Print the report as JSON
    #[arg(long)]
    pub json: bool,
    /// Check a fresh image: are programs, units, hooks and settings there?
    #[arg(long)]
    pub image: bool,
}

/// Runs every check and prints one line each.
///
/// # Errors
/// Failed (1) when a check failed; the report is printed all the same.
pub async fn run(layout: &Layout, args: DoctorArgs) -> Result<(), Failure> {
    let variable = |name: &str| std::env::var(name).ok();
    let report = if args.image { image::report(layout) } else { instance(layout, &variable).await };
    let text = if args.json { report.json() } else { report.text() };
    let mut stdout = std::io::stdout().lock();
    let written = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
    written.map_err(|fault| Failure::failed(format!("doctor: the report to stdout: {fault}")))?;
    let failed: Vec<&str> =
        report.checks.iter().filter(|c| c.verdict == Verdict::Fail).map(|c| c.name).collect();
    if failed.is_empty() {
        return Ok(());
    }
    Err(Failure::failed(format!(
        "doctor: {} of {} checks failed: {}",
        failed.len(),
        report.checks.len(),
        failed.join(", ")
    )))
}

/// All at once: what does not answer costs its own patience only.
async fn instance(layout: &Layout, variable: &dyn Fn(&str) -> Option<String>) -> Report {
    let settings = Settings::read(layout, variable);
    let path = variable("PATH").unwrap_or_default();
    let session = observe::session(&settings).await;
    let session = session.as_ref();
    let (identity, bucket, object, key, ci, docker, clock) = futures::join!(
        observe::identity(session),
        observe::bucket(session, &settings),
        observe::readable_object(session, &settings),
        observe::key(session, &settings),
        observe::ci(&settings),
        programs::docker(&path),
        observe::clock(&settings, session.ok()),
    );
    let (disk_path, disk) = observe::disk(layout);
    let mut checks = vec![
        judge::identity(identity),
        judge::bucket(settings.bucket.as_deref(), bucket),
        judge::key(settings.kms_key.as_deref(), key),
        judge::decrypt(settings.bucket.as_deref(), object),
        judge::ci(settings.endpoint.as_deref(), settings.queue.as_deref(), ci),
        judge::docker(docker),
        judge::helper(programs::find(crate::registry::job_folder::HELPER_PROGRAM, &path)),
        judge::disk(&disk_path, disk.as_ref()),
        judge::clock(clock, Timestamp::now()),
    ];
    checks.extend(settings.faults.iter().map(|fault| Check::fail("settings", fault, "correct the file")));
    Report { checks }
}
