//! Container instances of the AMI again and again, and the services of an idle one.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use lab::engine::container::Container;
use lab::engine::{Engine, folder_beside};
use lab::group::model::{Group, Lifecycle};
use lab::instances::kind::InstanceKind;
use lab::lab::{Lab, LabOptions};
use serde_json::Value;

use crate::service::{LOOKED_AT, Service, kib};

const BOOTS: usize = 20;

const PATIENCE: Duration = Duration::from_secs(60);

/// Docker's start is not ours: its phase counts only while another one runs beside it.
const NOT_OURS: &str = "docker";

/// What was measured.
pub struct Containers {
    /// From the start of `boot` to the agent's connection, each without Docker.
    pub boots: Vec<Duration>,
    /// From the group's order to end an idle instance to the completion of its hook.
    pub retires: Vec<Duration>,
    pub services: Vec<Service>,
}

/// Boots and retires instances of the AMI with these programs. An error where no engine can run.
pub fn measure(programs: &std::path::Path) -> Result<Containers> {
    let runtime = tokio::runtime::Runtime::new()?;
    runtime.block_on(async {
        let engine = Engine::find(&folder_beside(programs)).await?;
        eprintln!("bench: on container instances; the AMI is baked if these programs are new");
        let instances = InstanceKind::Containers(engine);
        let options = LabOptions {
            instances,
            programs: Some(programs.into()),
            hold_schedules: true,
            ..LabOptions::default()
        };
        let mut lab = Lab::start(options).await?;
        let parameters = [("MaxSize", "1"), ("Settings", "idle-period: never\n")];
        let stack = lab.deploy_stack("ci", &parameters).await?;
        let name = stack.output("AutoScalingGroupName").context("the stack has a group")?.to_owned();
        let autoscaling = lab.session().await.autoscaling();
        let mut measured = Containers { boots: Vec::new(), retires: Vec::new(), services: Vec::new() };
        for round in 1..=BOOTS {
            autoscaling
                .set_desired_capacity()
                .auto_scaling_group_name(&name)
                .desired_capacity(1)
                .send()
                .await?;
            let group = lab.groups().until(&name, PATIENCE, |group| group.in_service() == 1).await?;
            let id = group.members[0].id.clone();
            let containers = lab.instances().containers().context("instances are containers")?;
            let inside = containers.container(&id).context("the instance runs")?;
            measured.boots.push(boot(&inside).await?);
            if round == BOOTS {
                measured.services = idle(&inside).await?;
            }
            let terminate = autoscaling.terminate_instance_in_auto_scaling_group().instance_id(&id);
            terminate.should_decrement_desired_capacity(true).send().await?;
            let begun = Instant::now();
            let waits =
                |group: &Group| group.member(&id).is_some_and(|m| m.lifecycle == Lifecycle::TerminatingWait);
            lab.groups().until(&name, PATIENCE, |group| !waits(group)).await?;
            measured.retires.push(begun.elapsed());
            lab.groups().until(&name, PATIENCE, |group| group.members.is_empty()).await?;
        }
        lab.stop().await?;
        measured.boots.sort();
        measured.retires.sort();
        Ok(measured)
    })
}

async fn property(inside: &Container, unit: &str, property: &str) -> Result<u64> {
    let text = inside.succeed(&["systemctl", "show", "--value", "--property", property, unit]).await?;
    text.trim().parse().with_context(|| format!("{property} of {unit}: {text}"))
}

/// Waits until the agent has connected, and asks the journal when that was.
async fn boot(inside: &Container) -> Result<Duration> {
    let ask = ["journalctl", "--output=json", "--unit=tidemark-agent@1"];
    let begun = Instant::now();
    let connected: u64 = loop {
        let said = inside.succeed(&ask).await?;
        let line = said.lines().find(|line| line.contains("connected"));
        if let Some(line) = line {
            let line: Value = serde_json::from_str(line)?;
            break line["__MONOTONIC_TIMESTAMP"].as_str().context("a time")?.parse()?;
        }
        ensure!(begun.elapsed() < PATIENCE, "the agent does not connect: {said}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    let started = property(inside, "tidemark-boot.service", "ExecMainStartTimestampMonotonic").await?;
    let report: Value =
        serde_json::from_str(&inside.succeed(&["agent-bootstrap", "boot", "--report", "--json"]).await?)?;
    Ok(Duration::from_micros(connected - started).saturating_sub(alone(&report)))
}

/// How long Docker's phase ran with no other beside it.
fn alone(report: &Value) -> Duration {
    let phases = report["phases"].as_array().map(Vec::as_slice).unwrap_or_default();
    let span = |phase: &Value| {
        let began = phase["began"].as_u64().unwrap_or_default();
        began..began + phase["milliseconds"].as_u64().unwrap_or_default()
    };
    let (docker, ours): (Vec<_>, Vec<_>) = phases.iter().partition(|phase| phase["name"] == NOT_OURS);
    let ours: Vec<_> = ours.into_iter().map(span).collect();
    let alone = docker.into_iter().flat_map(span).filter(|ms| !ours.iter().any(|span| span.contains(ms)));
    Duration::from_millis(alone.count() as u64)
}

/// `watch` and `logs`, and the `journalctl` that `logs` reads from.
async fn idle(inside: &Container) -> Result<Vec<Service>> {
    let watch = property(inside, "tidemark-watch.service", "MainPID").await?;
    let logs = property(inside, "tidemark-logs.service", "MainPID").await?;
    let journalctl = inside.succeed(&["pgrep", "--parent", &logs.to_string()]).await?.trim().parse()?;
    let services = [("watch", watch), ("logs", logs), ("its journalctl", journalctl)];
    // What starting takes is not idleness.
    tokio::time::sleep(Duration::from_secs(3)).await;
    let begun = Instant::now();
    let mut before = Vec::new();
    for (_, pid) in services {
        before.push(cpu(inside, pid).await?);
    }
    tokio::time::sleep(LOOKED_AT).await;
    let mut measured = Vec::new();
    for ((name, pid), before) in services.into_iter().zip(before) {
        let spent = u128::from(cpu(inside, pid).await? - before);
        let status = inside.succeed(&["cat", &format!("/proc/{pid}/status")]).await?;
        let rss_kib = kib(&status, "VmRSS:");
        measured.push(Service { name, rss_kib, cpu_ppm: spent * 1_000_000 / begun.elapsed().as_nanos() });
    }
    Ok(measured)
}

/// Nanoseconds on a core so far, of all threads of a process.
async fn cpu(inside: &Container, pid: u64) -> Result<u64> {
    let all = inside.succeed(&["sh", "-c", &format!("cat /proc/{pid}/task/*/schedstat")]).await?;
    Ok(all.lines().filter_map(|line| line.split_whitespace().next()?.parse::<u64>().ok()).sum())
}
