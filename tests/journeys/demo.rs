//! `make demo` as a user runs it: the real program, and what it leaves behind.

use std::path::Path;

use serde_json::{Value, json};
use tokio::process::Command;

use crate::containers;
use crate::leftovers::leftovers;

const METRICS: [&str; 11] = [
    "BootsFailing",
    "BusyAgentCount",
    "BusyAgentPercentage",
    "CapacityShort",
    "IdleAgentCount",
    "PhantomInstances",
    "RunningJobsCount",
    "ScheduledJobsCount",
    "TotalAgentCount",
    "UnfinishedJobsCount",
    "WaitingJobsCount",
];

#[tokio::test]
async fn the_demo_passes_and_its_report_says_who_did_what_when() {
    passes("processes", "process instances", "processes").await;
}

#[tokio::test]
async fn the_demo_passes_on_containers() {
    if containers::engine().await.is_none() {
        return;
    }
    // What a user gets who asks for nothing.
    let of = passes("auto", "container instances on ", "containers of ami-").await;
    let packer = Command::new("packer").arg("version").output().await.is_ok();
    assert!(of.ends_with(if packer { ", baked by Packer" } else { "no packer on PATH" }), "{of}");
}

/// The answer is what it ran on, in the demo's words.
async fn passes(instances: &str, named: &str, of: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().join("demo");
    let mut demo = Command::new(lab::children::lab_program().unwrap());
    demo.args(["demo", "--instances", instances, "--folder"]).arg(&folder);
    let output = demo.output().await.unwrap();
    let (said, told) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{said}\n{told}");
    assert!(told.contains(named), "{told}");
    assert_eq!(leftovers(&folder), Vec::<String>::new());

    let summary = said.lines().next().unwrap();
    let peak = summary.strip_prefix("demo: 8 jobs passed, capacity 0 -> ").expect(summary);
    let (peak, rest) = peak.split_once(" -> 0 in ").expect(summary);
    assert!(rest.ends_with(" s"), "{summary}");
    assert!(told.contains("$ aws s3 cp --sse aws:kms env s3://"), "{told}");

    let svg = std::fs::read_to_string(folder.join("timeline.svg")).unwrap();
    assert!(svg.starts_with("<svg") && svg.trim_end().ends_with("</svg>"), "{svg}");
    let report = report(&folder);
    let of_report = report["instances"].as_str().unwrap().to_owned();
    assert!(of_report.starts_with(of) && said.contains(&format!("\ninstances: {of_report}\n")), "{said}");
    jobs(&report);
    capacity(&report, peak.parse().unwrap());
    metrics(&report);
    calls(&report);
    of_report
}

fn report(folder: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(folder.join("report.json")).unwrap()).unwrap()
}

fn list<'a>(report: &'a Value, name: &str) -> &'a [Value] {
    report[name].as_array().unwrap_or_else(|| panic!("report.json has no list {name}"))
}

fn jobs(report: &Value) {
    let jobs = list(report, "jobs");
    assert_eq!(jobs.len(), 8);
    for job in jobs {
        assert_eq!(job["exit_status"], "0", "{job}");
        assert_eq!(job["queue"], "default", "{job}");
        let instance = job["instance"].as_str().unwrap();
        assert!(instance.starts_with("i-") && instance.len() > 2, "{job}");
        assert!(job["agent"].as_str().unwrap().contains(instance), "{job}");
        assert!(job["wait_s"].as_f64().unwrap() > 0.0, "{job}");
        assert!(!job["id"].as_str().unwrap().is_empty(), "{job}");
    }
    for pipeline in ["web", "api"] {
        assert_eq!(jobs.iter().filter(|job| job["pipeline"] == pipeline).count(), 4, "{pipeline}");
    }
}

/// From nothing to the peak and back, each step with its reason.
fn capacity(report: &Value, peak: u64) {
    let lines = list(report, "capacity");
    let desired: Vec<u64> = lines.iter().map(|line| line["desired"].as_u64().unwrap()).collect();
    assert_eq!((desired.first(), desired.last()), (Some(&0), Some(&0)), "{lines:?}");
    assert_eq!(desired.iter().max(), Some(&peak), "{lines:?}");
    assert!((2..=3).contains(&peak), "eight jobs and at most three instances: {lines:?}");
    // One that boots slowly may come when the first ones have done all jobs and left.
    let at_once = lines.iter().filter_map(|line| line["in_service"].as_u64()).max().unwrap();
    assert!((2..=peak).contains(&at_once), "{lines:?}");
    assert_eq!(lines.last().unwrap()["in_service"], 0, "{lines:?}");
    let times: Vec<f64> = lines.iter().map(|line| line["t_s"].as_f64().unwrap()).collect();
    assert!(times.is_sorted(), "{lines:?}");
    for line in lines {
        assert!(!line["reason"].as_str().unwrap().is_empty(), "{line}");
    }
}

fn metrics(report: &Value) {
    let metrics = list(report, "metrics");
    let by_queue = || json!({"Queue": "default"});
    let of_counts = METRICS.iter().flat_map(|name| {
        let with_org = json!({"Org": "lab", "Queue": "default"});
        [(*name, with_org), (*name, by_queue())]
    });
    let mut expected: Vec<_> = of_counts.chain([("DecisionLatency", by_queue())]).collect();
    expected.sort_by_key(|(name, _)| *name);
    let held = metrics.iter().map(|m| (m["name"].as_str().unwrap(), m["dimensions"].clone()));
    assert_eq!(held.collect::<Vec<_>>(), expected);
    let scheduled = metrics.iter().find(|m| m["name"] == "ScheduledJobsCount").unwrap();
    assert!(scheduled["samples"].as_f64().unwrap() >= 1.0, "{scheduled}");
    assert!(scheduled["maximum"].as_f64().unwrap() >= 1.0, "{scheduled}");
}

/// Who may do it did it, and nobody was refused anything.
fn calls(report: &Value) {
    let calls = list(report, "aws_calls");
    let denied: Vec<&Value> = calls.iter().filter(|call| call["denied"] != 0).collect();
    assert!(denied.is_empty(), "{denied:?}");
    for (action, role) in [
        ("autoscaling:SetDesiredCapacity", "Scaler"),
        ("autoscaling:SetInstanceProtection", "Instance"),
        ("autoscaling:CompleteLifecycleAction", "Instance"),
        ("cloudwatch:PutMetricData", "Scaler"),
        ("ecr:GetAuthorizationToken", "Instance"),
        ("s3:GetObject", "Instance"),
        ("secretsmanager:GetSecretValue", "Instance"),
        ("secretsmanager:GetSecretValue", "Scaler"),
    ] {
        let made = calls.iter().any(|call| {
            let caller = call["caller"].as_str().unwrap();
            call["action"] == action && caller.contains(role) && call["count"].as_u64() > Some(0)
        });
        assert!(made, "{role} never called {action}: {calls:?}");
    }
}
