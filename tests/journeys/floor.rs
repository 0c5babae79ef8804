//! A floor of idle instances: they are there without jobs, a job finds one at once, and nothing is made over and over.

use lab::group::model::Group;

use crate::scene::{PATIENCE, Scene};

const SETTINGS: &str = "idle-period: 1s\npoll-interval: 200ms\n";

fn launches(group: &Group) -> usize {
    group.activities.iter().filter(|activity| activity.description.starts_with("Launching")).count()
}

#[tokio::test]
async fn a_floor_of_idle_instances_is_kept_without_jobs_and_a_job_finds_one_at_once() {
    let parameters = [("ScalerSettings", "idle-instances: 2"), ("MaxSize", "4"), ("Settings", SETTINGS)];
    let scene = Scene::start(&parameters, vec![("LAMBDA_TIMEOUT".to_owned(), "1s".to_owned())]).await;
    let decision = scene.tick().await.unwrap();
    assert_eq!((&decision["to"], &decision["needed"]), (&2.into(), &2.into()), "{decision}");
    assert_eq!(decision["reason"], "the policy keeps more instances than jobs need");
    scene.in_service(2).await;

    // Idle for their period they could go, if the scaler let them.
    let idle = |group: &Group| group.members.iter().all(|member| !member.protected);
    scene.group_until(|group| group.in_service() == 2 && idle(group)).await;
    for _ in 0..3 {
        let decision = scene.tick().await.unwrap();
        assert_eq!((&decision["step"], &decision["capacity"]["releasable"]), (&"hold".into(), &2.into()));
    }

    // A job runs without anybody scaling for it; then the floor is made up for.
    let enough = scene.lab.folder().join("enough");
    let job = scene.queue("app", &format!("until [ -e '{}' ]; do sleep 0.1; done", enough.display())).await;
    scene.job_until(&job, &["running"]).await;
    let group = scene.group();
    assert_eq!((group.desired, launches(&group)), (2, 2), "{:?}", group.activities);
    assert_eq!(scene.tick().await.unwrap()["to"], 3, "one busy, two idle");
    scene.in_service(3).await;

    // And after it one goes again: no more than the floor stays.
    std::fs::write(&enough, "").unwrap();
    assert_eq!(scene.ended(&job).await.0, 0);
    scene.group_until(|group| group.in_service() == 3 && idle(group)).await;
    assert_eq!(scene.tick().await.unwrap()["to"], 2);
    let group = scene.group_until(|group| group.members.len() == 2).await;
    assert_eq!(scene.tick().await.unwrap()["step"], "hold");
    assert_eq!((group.desired, launches(&group)), (2, 3), "{:?}", group.activities);
    scene.lab.stop().await.unwrap();
}

#[tokio::test]
async fn instances_of_a_floor_do_not_retire_by_themselves_while_the_scaler_keeps_them() {
    let settings = format!("{SETTINGS}fail-safe-after: 2s\n");
    // A document by reference, which the function reads when it starts.
    let document = "/tidemark/ci/scaler-settings";
    let place = format!("ssm:{document}");
    let parameters = [("ScalerSettings", place.as_str()), ("MaxSize", "2"), ("Settings", &settings)];
    let scene = Scene::start(&parameters, vec![("LAMBDA_TIMEOUT".to_owned(), "1s".to_owned())]).await;
    let text = ["--name", document, "--value", "idle-instances: 1\nmax-instances: 1\n"];
    let said = scene.aws(&[&["ssm", "put-parameter", "--type", "String"][..], &text].concat()).await;
    assert!(said.success, "{}", said.stderr);
    // In these seconds no tick may come in time: a scaler has just said so.
    let now = jiff::Timestamp::now().to_string();
    let name = ["--name", "/tidemark/ci/scaler-keeps"];
    let put = [&["ssm", "put-parameter", "--type", "String", "--value", &now][..], &name].concat();
    let said = scene.aws(&put).await;
    assert!(said.success, "{}", said.stderr);
    assert_eq!(scene.tick().await.unwrap()["to"], 1);
    let id = scene.in_service(1).await[0].id.clone();
    scene.group_until(|group| group.members.iter().all(|member| !member.protected)).await;

    // It asks before it would go, and stays.
    let begun = std::time::Instant::now();
    while !scene.watch_log(&id).contains("describe-scaler") {
        assert!(begun.elapsed() < PATIENCE, "watch never asked: {}", scene.watch_log(&id));
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    let decision = scene.tick().await.unwrap();
    assert_eq!((&decision["step"], &decision["capacity"]["releasable"]), (&"hold".into(), &1.into()));
    let told =
        [&["ssm", "get-parameter", "--query", "Parameter.Value", "--output", "text"][..], &name].concat();
    let told = scene.aws(&told).await;
    assert!(told.success && told.stdout.trim() > now.as_str(), "the scaler says it anew: {}", told.stdout);
    let group = scene.group();
    assert_eq!(
        (group.desired, launches(&group), &group.members[0].id),
        (1, 1, &id),
        "{:?}",
        group.activities
    );
    scene.lab.stop().await.unwrap();
}
