//! `lab demo`: the product's main job from end to end on this machine, with the real template, programs and secrets.
//!
//! # Layout
//! - [`scenario`]: two pipelines, their secrets and the services their jobs use.
//! - [`ci`]: the demo as a user of the build server.
//! - [`onlooker`]: prints what happens and keeps it for chart and report.
//! - [`timeline`]: pure; what happened between two looks.
//! - [`report`], [`chart`]: what the demo leaves behind.

pub mod chart;
pub mod ci;
pub mod onlooker;
pub mod report;
pub mod scenario;
pub mod timeline;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::instances::kind::Wanted;
use crate::lab::{Lab, LabOptions};
use ci::Ci;
use onlooker::{Screen, Watching};
use report::{CallLine, MetricLine, Report};
use scenario::Services;

/// Jobs of each pipeline.
const JOBS: usize = 4;
/// The group's limit.
const MAXIMUM: &str = "3";

/// The last lines of a demo.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// Jobs that passed.
    pub passed: usize,
    /// Jobs in all.
    pub jobs: usize,
    /// Highest desired capacity.
    pub peak: u32,
    /// Seconds from the first queued job to the group's return to zero.
    pub seconds: u64,
    /// What they ran on.
    pub instances: String,
}

impl std::fmt::Display for Summary {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { passed, jobs, peak, seconds, .. } = self;
        let outcome = if passed == jobs {
            format!("{jobs} jobs passed")
        } else {
            format!("{passed} of {jobs} jobs passed")
        };
        write!(f, "demo: {outcome}, capacity 0 -> {peak} -> 0 in {seconds} s")
    }
}

/// Runs the demo in `folder` and leaves `report.json` and `timeline.svg` there.
///
/// # Errors
/// A part does not start, a job fails, or the group does not return to zero; logs then stay in the folder.
pub async fn run(folder: &Path, instances: Wanted) -> Result<Summary> {
    let folder = fresh(folder)?;
    let screen = Screen::new();
    screen.say("demo", "the real template and programs, on a local cloud on this machine");
    let instances = instances.choose(|what| screen.say("lab", what)).await?;
    screen.say("lab", &instances.to_string());
    let options = LabOptions {
        folder: Some(folder.join("lab")),
        instances,
        hold_schedules: true,
        ..LabOptions::default()
    };
    let mut lab = Lab::start(options).await?;
    if let Some(ami) = lab.ami() {
        screen.say("lab", &format!("instances boot {ami}"));
    }
    let outcome = on_the_lab(&mut lab, &folder, &screen).await;
    screen.clear();
    let stopped = lab.stop().await;
    let summary = outcome?;
    stopped?;
    Ok(summary)
}

/// An empty folder; an earlier demo's is removed.
fn fresh(folder: &Path) -> Result<PathBuf> {
    if folder.exists() {
        std::fs::remove_dir_all(folder)
            .with_context(|| format!("remove the last demo in {}", folder.display()))?;
    }
    std::fs::create_dir_all(folder).with_context(|| format!("make {}", folder.display()))?;
    Ok(folder.canonicalize()?)
}

async fn on_the_lab(lab: &mut Lab, folder: &Path, screen: &Screen) -> Result<Summary> {
    screen.say("lab", &format!("moto behind an endpoint that decides as AWS does: {}", lab.endpoint().url()));
    let services = Services::start(&folder.join("services")).await?;
    screen.say("lab", "git over SSH and HTTP, a registry with a password, a registry with ECR's tokens");
    for service in services.addresses() {
        lab.let_reach(service);
    }
    let settings = services.settings();
    let parameters = [("MaxSize", MAXIMUM), ("ECRAccessPolicy", "readonly"), ("Settings", settings.as_str())];
    let stack = lab.deploy_stack("demo", &parameters).await?;
    screen.say("stack", &format!("{} resources of cloudformation/ci-stack.yml", stack.resources.len()));
    let bucket = stack.output("SecretsBucket")?;
    for line in scenario::upload(lab, folder, bucket, &services.secrets()?).await? {
        screen.say("secrets", &line);
    }
    let server = lab.build_server().context("the build server runs")?;
    let ci = Ci::of(server)?;
    let queued = Instant::now();
    for pipeline in services.pipelines()? {
        ci.queue(&pipeline, JOBS).await?;
        screen.say("ci", &format!("{JOBS} jobs of pipeline {} queued ({})", pipeline.slug, pipeline.repo));
    }
    let mut watching = Watching {
        lab,
        ci: &ci,
        stack: &stack,
        screen,
        queued,
        samples: Vec::new(),
        capacity: Vec::new(),
        unexplained: None,
    };
    let ended = watching.until_idle().await;
    let Watching { samples, capacity, .. } = watching;
    let elapsed = queued.elapsed();
    let builds = ci.builds().await?;
    let report = Report {
        elapsed_s: elapsed.as_secs_f64(),
        instances: instances(lab),
        jobs: ci::lines(&builds),
        capacity,
        metrics: metrics(lab).await?,
        aws_calls: calls(lab),
        unused_allows: unused(lab).await?,
    };
    let summary = Summary {
        passed: report.jobs.iter().filter(|job| job.exit_status == "0").count(),
        jobs: report.jobs.len(),
        peak: samples.iter().map(|s| s.desired).max().unwrap_or(0),
        seconds: elapsed.as_secs(),
        instances: report.instances.clone(),
    };
    std::fs::write(folder.join("report.json"), serde_json::to_string_pretty(&report)?)?;
    std::fs::write(folder.join("timeline.svg"), chart::draw(&summary.to_string(), &samples))?;
    ended?;
    let summary = verdict(&ci, &report, summary).await?;
    let private = services.private_values();
    let mut masked = 0;
    for job in &report.jobs {
        let log = ci.log(&job.id).await?;
        masked += log.matches("a careless line: [REDACTED]").count();
        ensure!(
            !private.iter().any(|value| log.contains(value)),
            "the log of job {} shows a secret's value",
            job.id
        );
    }
    ensure!(masked > 0, "no job printed the password that should have been hidden");
    screen.say("secrets", "jobs printed a password; no log shows it");
    Ok(summary)
}

/// A failed job's log says more than its status.
async fn verdict(ci: &Ci, report: &Report, summary: Summary) -> Result<Summary> {
    if let Some(failed) = report.jobs.iter().find(|job| job.exit_status != "0") {
        let log = ci.log(&failed.id).await.unwrap_or_default();
        bail!(
            "{summary}\njob {} of {} ended with {}:\n{log}",
            failed.id,
            failed.pipeline,
            failed.exit_status
        );
    }
    Ok(summary)
}

/// What the jobs ran on.
fn instances(lab: &Lab) -> String {
    lab.ami().map_or_else(|| "processes".to_owned(), |ami| format!("containers of {ami}"))
}

/// What CloudWatch in the lab holds of the scaler's metrics.
async fn metrics(lab: &Lab) -> Result<Vec<MetricLine>> {
    let client = lab.session().await.cloudwatch();
    let listed = client.list_metrics().namespace("Buildkite").send().await.context("list of metrics")?;
    let now =
        aws::cloudwatch::primitives::DateTime::from(std::time::SystemTime::now() + Duration::from_secs(60));
    let began =
        aws::cloudwatch::primitives::DateTime::from(std::time::SystemTime::now() - Duration::from_secs(3600));
    let mut lines = Vec::new();
    for metric in listed.metrics() {
        let name = metric.metric_name().unwrap_or_default();
        let answer = client
            .get_metric_statistics()
            .namespace("Buildkite")
            .metric_name(name)
            .set_dimensions(Some(metric.dimensions().to_vec()))
            .start_time(began)
            .end_time(now)
            .period(3600)
            .statistics("Maximum".into())
            .statistics("SampleCount".into())
            .send()
            .await
            .with_context(|| format!("statistics of {name}"))?;
        let points = answer.datapoints();
        let dimensions = metric.dimensions().iter();
        lines.push(MetricLine {
            name: name.to_owned(),
            dimensions: dimensions
                .filter_map(|d| Some((d.name()?.to_owned(), d.value()?.to_owned())))
                .collect(),
            samples: points.iter().filter_map(|p| p.sample_count()).sum(),
            maximum: points.iter().filter_map(|p| p.maximum()).fold(0.0, f64::max),
        });
    }
    lines.sort_by(|a, b| (&a.name, &a.dimensions).cmp(&(&b.name, &b.dimensions)));
    Ok(lines)
}

/// What the template allows and this demo never needed, one line each.
async fn unused(lab: &Lab) -> Result<Vec<String>> {
    let unused = lab.endpoint().unused_allows().await?;
    Ok(unused.into_iter().map(|u| format!("{} {}/{}: {}", u.role, u.policy, u.statement, u.action)).collect())
}

fn calls(lab: &Lab) -> Vec<CallLine> {
    let counted = lab.endpoint().calls().into_iter();
    let mut lines: Vec<CallLine> = counted
        .map(|c| CallLine { action: c.action, caller: c.caller, count: c.count, denied: c.denied })
        .collect();
    lines.sort();
    lines
}
