//! A trace as CSV.

use std::io::{self, Write};

use super::{Build, Millis};

/// Writes builds as a trace of the queue `queue`. A build without jobs is an announcement alone.
///
/// # Errors
/// Those of the writer.
pub fn write(out: impl Write, queue: &str, builds: &[Build]) -> io::Result<()> {
    let mut csv = csv::Writer::from_writer(out);
    csv.write_record([
        "runnable_at",
        "duration_s",
        "queue",
        "pipeline",
        "build",
        "hinted_at",
        "hinted_jobs",
    ])?;
    for (number, build) in builds.iter().enumerate() {
        let name = (number + 1).to_string();
        let hinted_at = build.hint.map(|hint| seconds(hint.at)).unwrap_or_default();
        let hinted_jobs = build.hint.map(|hint| hint.jobs.to_string()).unwrap_or_default();
        let mut row = |runnable_at: &str, duration: &str| {
            csv.write_record([runnable_at, duration, queue, &build.pipeline, &name, &hinted_at, &hinted_jobs])
        };
        for job in &build.jobs {
            row(&seconds(job.runnable_at), &seconds(job.duration))?;
        }
        if build.jobs.is_empty() {
            row("", "")?;
        }
    }
    csv.flush()
}

fn seconds(millis: Millis) -> String {
    format!("{}.{:03}", millis / 1000, millis % 1000)
}
