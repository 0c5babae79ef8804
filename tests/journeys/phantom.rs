//! An instance that does not come up: after its boot budget a successor is asked for beside it, and all is told.

use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use lab::group::model::Group;
use lab::lab::LabOptions;
use serde_json::{Value, json};
use tokio::process::Command;

use crate::alarms::alarm_until;
use crate::daemon::Daemon;
use crate::scene::{PATIENCE, Scene, until};

const SETTINGS: &str =
    "bootstrap-script: ssm:/tidemark/ci/bootstrap\nidle-period: 1s\npoll-interval: 200ms\n";

/// Longer than the shortest budget, which boots of seconds come to.
const PASSED: SignedDuration = SignedDuration::from_mins(3);

/// From then on the first instance that boots hangs until `late` is there; others are well.
async fn script(scene: &Scene) {
    let script = format!(
        "#!/bin/sh\ncd '{}' && [ -e one-hangs ] && mkdir hangs 2>/dev/null || exit 0\nuntil [ -e late ]; do sleep 0.1; done\n",
        scene.lab.folder().display()
    );
    let put = ["ssm", "put-parameter", "--type", "String", "--name", "/tidemark/ci/bootstrap", "--value"];
    let said = scene.aws(&[&put[..], &[&script]].concat()).await;
    assert!(said.success, "{}", said.stderr);
}

fn touch(scene: &Scene, name: &str) {
    std::fs::write(scene.lab.folder().join(name), "").unwrap();
}

async fn daemon(scene: &Scene) -> Daemon {
    let variables = [
        ("ASG_NAME", "ci-instances".to_owned()),
        ("BUILDKITE_AGENT_TOKEN", scene.agent_token().await),
        ("BUILDKITE_AGENT_ENDPOINT", scene.lab.build_server().unwrap().agent_endpoint()),
        ("HINT_SECRET", crate::hints::SECRET.to_owned()),
        ("LAMBDA_INTERVAL", "300ms".to_owned()),
        ("PUBLISH_EVERY", "300ms".to_owned()),
        ("STATE_TABLE", scene.stack.resources["ScalerState"].clone()),
    ];
    let variables = variables.map(|(name, value)| (name.to_owned(), value));
    Daemon::start(scene, &scene.stack.resources["ScalerRole"], variables).await
}

/// What an earlier scaler learned, as it would be had it learned all of it so much earlier.
async fn time_passes(scene: &Scene) {
    let table = ["--table-name", scene.stack.resources["ScalerState"].as_str()];
    let key = json!({"id": {"S": "state default ci-instances"}}).to_string();
    let get = scene.aws(&[&["dynamodb", "get-item", "--key", &key][..], &table].concat()).await;
    let mut item: Value = serde_json::from_str(&get.stdout).unwrap();
    let mut body: Value = serde_json::from_str(item["Item"]["body"]["S"].as_str().unwrap()).unwrap();
    let since = &body["state"]["groups"]["ci-instances"]["boots"]["since"];
    assert_eq!(since.as_object().map(serde_json::Map::len), Some(1), "one boots: {body}");
    put_earlier(&mut body);
    item["Item"]["body"]["S"] = json!(body.to_string());
    let item = item["Item"].to_string();
    let put = scene.aws(&[&["dynamodb", "put-item", "--item", &item][..], &table].concat()).await;
    assert!(put.success, "{}", put.stderr);
}

fn put_earlier(value: &mut Value) {
    match value {
        Value::String(text) => {
            if let Ok(time) = text.parse::<Timestamp>() {
                *text = (time - PASSED).to_string();
            }
        }
        Value::Array(all) => all.iter_mut().for_each(put_earlier),
        Value::Object(all) => all.values_mut().for_each(put_earlier),
        _ => {}
    }
}

/// The most that was published of it in a second, the last one first.
async fn published(scene: &Scene) -> Vec<f64> {
    let now = Timestamp::now();
    let (from, to) =
        ((now - SignedDuration::from_mins(5)).to_string(), (now + SignedDuration::from_mins(1)).to_string());
    let metric = ["--namespace", "Buildkite", "--metric-name", "PhantomInstances", "--dimensions"];
    let range = ["Name=Queue,Value=default", "--start-time", &from, "--end-time", &to, "--period", "1"];
    let get = ["cloudwatch", "get-metric-statistics", "--statistics", "Maximum"];
    let said = scene.aws(&[&get[..], &metric, &range].concat()).await;
    let read: Value = serde_json::from_str(&said.stdout).unwrap();
    let mut points = read["Datapoints"].as_array().unwrap().clone();
    // The CLI leaves times as CloudWatch's protocol has them: seconds.
    let at = |point: &Value| point["Timestamp"].as_f64().unwrap_or_else(|| panic!("{point}"));
    points.sort_by(|a, b| at(b).total_cmp(&at(a)));
    points.iter().map(|point| point["Maximum"].as_f64().unwrap()).collect()
}

fn launches(group: &Group) -> usize {
    group.activities.iter().filter(|activity| activity.description.starts_with("Launching")).count()
}

#[tokio::test]
async fn what_does_not_come_up_gets_a_successor_and_is_told_until_it_does() {
    // Alarms look once a second; no schedule fires: the scaler is a daemon.
    let options = LabOptions { minute: Some(Duration::from_secs(1)), ..LabOptions::default() };
    let scene = Scene::of(options, &[("MaxSize", "5"), ("Settings", SETTINGS)]).await;
    script(&scene).await;
    let first = daemon(&scene).await;
    let command = format!("until [ -e '{}' ]; do sleep 0.1; done", scene.lab.folder().join("gate").display());
    let mut jobs = Vec::new();
    for _ in 0..3 {
        jobs.push(scene.queue("app", &command).await);
    }
    // Three good boots tell how long one may take.
    for job in &jobs {
        scene.job_until(job, &["running"]).await;
    }

    touch(&scene, "one-hangs");
    jobs.push(scene.queue("app", &command).await);
    let boots = |decision: &Value| {
        (&decision["capacity"]["live"], &decision["capacity"]["in_service"]) == (&4.into(), &3.into())
    };
    until("the scaler saw it boot", || first.decisions_on("ci-instances").iter().any(boots)).await;
    until("it hangs", || scene.lab.folder().join("hangs").exists()).await;
    let group = scene.group();
    let late = &group.members.iter().find(|member| !member.waits.is_empty()).unwrap().id;
    assert_eq!(
        (group.desired, launches(&group)),
        (4, 4),
        "it is capacity to come: nobody asks for another one"
    );
    assert_eq!(published(&scene).await.first(), Some(&0.0));
    first.stop().await;

    time_passes(&scene).await;
    let scaler = daemon(&scene).await;
    let group = scene.group_until(|g| g.in_service() == 4).await;
    assert_eq!((group.desired, launches(&group), group.members.len()), (5, 5, 5), "one successor, beside it");
    assert!(group.members.iter().any(|member| member.id == *late && !member.waits.is_empty()), "{group:?}");
    scene.job_until(&jobs[3], &["running"]).await;
    alarm_until(&scene, "PhantomInstances", "ALARM").await;
    assert_eq!(published(&scene).await.first(), Some(&1.0));
    assert_eq!(scene.group().desired, 5, "a phantom is made up for once");

    // It comes up after all: an instance as any other, and one too many.
    touch(&scene, "late");
    let group = scene.group_until(|g| g.desired == 4 && g.members.len() == 4).await;
    assert_eq!(launches(&group), 5);
    let begun = Instant::now();
    while published(&scene).await.first() != Some(&0.0) {
        assert!(begun.elapsed() < PATIENCE, "{:?}", published(&scene).await);
    }
    alarm_until(&scene, "PhantomInstances", "OK").await;

    touch(&scene, "gate");
    for job in &jobs {
        assert_eq!(scene.ended(job).await.0, 0, "{}", scene.log(job).await);
    }
    scene.group_until(|g| g.members.is_empty()).await;
    let log = scaler.log().to_owned();
    scaler.stop().await;
    let mut explain = Command::new(scene.lab.programs().join("scaler"));
    let told = explain.args(["explain", "--last", "50", "--file"]).arg(&log).output().await.unwrap();
    let told = String::from_utf8(told.stdout).unwrap();
    let line = format!(
        "ci-instances: 4 -> 5 instances: 1 job scheduled and 3 running need 4 instances; {late} is a phantom"
    );
    assert!(told.contains(&line), "{line:?} is not in {told}");
    assert!(told.contains("booting for longer than 2m"), "{told}");
    assert!(!told.contains("does not replay"), "{told}");
    scene.lab.stop().await.unwrap();
}
