//! What a scaler learned lies on the stack's table: a restart does not cost it.

use crate::counts::{Answer, Counts};
use crate::daemon::Daemon;
use crate::hints::{SECRET, post, signed};
use crate::scene::{Scene, until};

async fn start(scene: &Scene, counts: &Counts) -> Daemon {
    let given = [
        ("ASG_NAME", "ci-spot,ci-instances"),
        ("BUILDKITE_AGENT_TOKEN", "token"),
        ("HINT_SECRET", SECRET),
        ("LAMBDA_INTERVAL", "500ms"),
        ("LAUNCH_PATIENCE", "1s"),
        ("STATE_TABLE", scene.stack.resources["ScalerState"].as_str()),
    ];
    let given = given.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned()));
    let endpoint = counts.environment().into_iter().filter(|(name, _)| name == "BUILDKITE_AGENT_ENDPOINT");
    let daemon = Daemon::start(scene, &scene.stack.resources["ScalerRole"], given.chain(endpoint)).await;
    daemon.ticks(2).await;
    daemon
}

async fn hear(daemon: &Daemon, body: &str) {
    let (status, said) = post(&daemon.url, body, &signed(body)).await;
    assert!(matches!(status, 200 | 202), "{said}");
}

#[tokio::test]
async fn a_restarted_scaler_knows_what_builds_bring_and_where_aws_does_not_deliver() {
    let counts = Counts::start().await;
    let scene = Scene::start(&[("MaxSize", "9"), ("SpotPrice", "0.05")], Vec::new()).await;
    scene.lab.groups().set_capacity_available("ci-spot", false);
    let daemon = start(&scene, &counts).await;
    counts.say(Answer::Jobs { scheduled: 1, running: 0 });
    let short = |daemon: &Daemon| {
        let last = daemon.decisions_on("ci-spot").pop();
        last.is_some_and(|decision| decision["capacity"]["short"] == true)
    };
    until("AWS has no spot instances", || short(&daemon)).await;
    let of_build = r#""build":{"id":"b-1"},"pipeline":{"slug":"app"}"#;
    hear(&daemon, &format!(r#"{{"event":"build.running",{of_build}}}"#)).await;
    for job in 0..3 {
        hear(&daemon, &format!(r#"{{"event":"job.scheduled","job":{{"id":"j-{job}"}},{of_build}}}"#)).await;
    }
    hear(&daemon, &format!(r#"{{"event":"build.finished",{of_build}}}"#)).await;
    daemon.stop().await;

    let daemon = start(&scene, &counts).await;
    let first = daemon.decisions_on("ci-spot").remove(0);
    assert_eq!(first["capacity"]["short"], true, "it need not wait for launches again: {first}");
    hear(&daemon, r#"{"event":"build.scheduled","build":{"id":"b-2"},"pipeline":{"slug":"app"}}"#).await;
    // Three jobs, and the tenth more that announcements get.
    let announced = || daemon.decisions_on("ci-instances").iter().any(|decision| decision["announced"] == 4);
    until("the build's jobs are expected", announced).await;
    daemon.stop().await;
    scene.lab.stop().await.unwrap();
}
