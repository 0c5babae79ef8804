//! A paused queue does not grow, and grows when it is resumed: the scaler reads the CI's Stacks API.

use lab::group::model::Group;
use serde_json::Value;
use tokio::process::Command;

use crate::lone_cloud::Said;
use crate::scene::Scene;

const SETTINGS: &str = "idle-period: 1s\npoll-interval: 200ms\n";
const PAUSED: &str = "the queue is paused: jobs that wait ask for nothing";

/// The operator's word to the CI.
async fn operator(scene: &Scene, arguments: &[&str]) -> String {
    let server = scene.lab.build_server().unwrap();
    let mut command = Command::new(scene.lab.programs().join("build-server"));
    command.args(["queues", "--server", server.url(), "--token-file"]).arg(server.api_token_file());
    let said: Said = command.args(arguments).output().await.unwrap().into();
    assert!(said.success, "{}", said.stderr);
    said.stdout
}

/// Names of the metrics that were published of the queue alone.
async fn published(scene: &Scene) -> Vec<String> {
    let said = scene.aws(&["cloudwatch", "list-metrics", "--namespace", "Buildkite"]).await;
    let answer: Value = serde_json::from_str(&said.stdout).unwrap();
    let metrics = answer["Metrics"].as_array().unwrap().iter();
    let of_queue = metrics.filter(|metric| metric["Dimensions"].as_array().is_some_and(|d| d.len() == 1));
    of_queue.map(|metric| metric["MetricName"].as_str().unwrap().to_owned()).collect()
}

/// Names of the queue's metrics that the stack's dashboard shows. A dot in a line stands for what the line before it has.
async fn on_the_dashboard(scene: &Scene) -> Vec<String> {
    let get = ["cloudwatch", "get-dashboard", "--dashboard-name", "ci-us-east-1"];
    let answer: Value = serde_json::from_str(&scene.aws(&get).await.stdout).unwrap();
    let body: Value = serde_json::from_str(answer["DashboardBody"].as_str().unwrap()).unwrap();
    let mut names = Vec::new();
    for widget in body["widgets"].as_array().unwrap() {
        let mut before = vec![String::new(); 4];
        for line in widget["properties"]["metrics"].as_array().unwrap() {
            for (place, word) in line.as_array().unwrap().iter().filter_map(Value::as_str).enumerate() {
                if word != "." {
                    word.clone_into(&mut before[place]);
                }
            }
            if (&*before[0], &*before[2], &*before[3]) == ("Buildkite", "Queue", "default") {
                names.push(before[1].clone());
            }
        }
    }
    let newer = ["OldestJobWaitSeconds", "EstimatedHourlyCost", "DecisionLatency", "PhantomInstances"];
    assert!(newer.iter().all(|name| names.iter().any(|shown| shown == name)), "{names:?}");
    names
}

fn is_idle(group: &Group) -> bool {
    group.in_service() == 2 && group.members.iter().all(|member| !member.protected)
}

#[tokio::test]
async fn a_paused_queue_does_not_grow_and_grows_when_it_is_resumed() {
    let parameters = [
        ("ScalerSettings", "{job-source: stacks, hourly-price: 0.1}"),
        ("MaxSize", "4"),
        ("Settings", SETTINGS),
    ];
    let environment = [("LAMBDA_TIMEOUT", "1s"), ("PUBLISH_EVERY", "10ms")];
    let environment = environment.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    let scene = Scene::start(&parameters, environment).await;
    let gate = scene.lab.folder().join("gate").display().to_string();
    let waits = format!("until [ -e {gate} ]; do sleep 0.1; done");

    let said = operator(&scene, &["pause", "default", "--note", "moving the database"]).await;
    assert!(said.starts_with("queue default 0 scheduled") && said.contains("moving the database"), "{said}");
    let jobs = [scene.queue("app", &waits).await, scene.queue("app", &waits).await];
    let decision = scene.tick().await.unwrap();
    assert_eq!((&decision["step"], &decision["reason"]), (&"hold".into(), &PAUSED.into()), "{decision}");
    assert_eq!(
        (&decision["paused"], &decision["jobs"]["scheduled"]),
        (&true.into(), &2.into()),
        "{decision}"
    );
    assert_eq!(scene.group().desired, 0);
    let names = published(&scene).await;
    assert!(names.contains(&"ScheduledJobsCount".to_owned()), "{names:?}");
    assert!(
        !names.contains(&"OldestJobWaitSeconds".to_owned()),
        "no job of a paused queue can run: {names:?}"
    );

    operator(&scene, &["resume", "default"]).await;
    assert_eq!(scene.tick().await.unwrap()["to"], 2);
    let names = published(&scene).await;
    assert!(names.contains(&"OldestJobWaitSeconds".to_owned()));
    for name in on_the_dashboard(&scene).await {
        assert!(names.contains(&name), "nobody publishes {name}, which the dashboard shows: {names:?}");
    }
    for job in &jobs {
        scene.job_until(job, &["running"]).await;
    }

    // Paused again: what runs keeps its instances, what comes asks for none.
    operator(&scene, &["pause", "default"]).await;
    let late = scene.queue("app", "true").await;
    let decision = scene.tick().await.unwrap();
    assert_eq!((&decision["step"], &decision["reason"]), (&"hold".into(), &PAUSED.into()), "{decision}");
    assert_eq!((&decision["jobs"]["running"], &decision["needed"]), (&2.into(), &2.into()), "{decision}");
    std::fs::write(&gate, "").unwrap();
    for job in &jobs {
        assert_eq!(scene.ended(job).await.0, 0);
    }
    // Their agents are idle beside a job that waits, and go as ever.
    scene.group_until(is_idle).await;
    let decision = scene.tick().await.unwrap();
    assert_eq!((&decision["step"], &decision["to"]), (&"scale-in".into(), &0.into()), "{decision}");
    scene.group_until(|group| group.members.is_empty()).await;

    operator(&scene, &["resume", "default"]).await;
    assert_eq!(scene.tick().await.unwrap()["to"], 1);
    assert_eq!(scene.ended(&late).await.0, 0);

    let mut explain = Command::new(scene.lab.programs().join("scaler"));
    explain.args(["explain", "--stack", "ci"]).env_clear().envs(scene.lab.admin_environment());
    let told: Said = explain.output().await.unwrap().into();
    assert!(told.success, "{}", told.stderr);
    let words = [
        "ci-instances: stays at 0 instances: the queue is paused, 2 jobs wait for that to end: no job runs",
        "ci-instances: 0 -> 2 instances: 2 jobs scheduled need 2 instances",
        "ci-instances: stays at 2 instances: the queue is paused, 1 job waits for that to end: 2 jobs running need 2",
        "ci-instances: 2 -> 0 instances: the queue is paused, 1 job waits for that to end: no job runs; 2 are idle",
        "ci-instances: 0 -> 1 instance: 1 job scheduled needs 1 instance",
    ];
    let mut rest = told.stdout.lines();
    for wanted in words {
        assert!(rest.any(|line| line.contains(wanted)), "{wanted:?} is not next in\n{}", told.stdout);
    }
    assert!(!told.stdout.contains("does not replay"), "{}", told.stdout);
    scene.lab.stop().await.unwrap();
}
