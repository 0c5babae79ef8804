//! Instances that cannot boot are not launched over and over: three failed boots, then probes, until one gets ready.

use std::time::{Duration, Instant};

use jiff::SignedDuration;
use lab::group::model::{Activity, ActivityStatus, Group, Lifecycle};
use lab::lab::LabOptions;
use serde_json::Value;

use crate::counts::{Answer, Counts};
use crate::scene::{PATIENCE, Scene, until};

const REPEATED: &str = "3 boots in a row failed and the group repeats them: its launch is held";
const SETTINGS: &str =
    "bootstrap-script: ssm:/tidemark/ci/bootstrap\npoll-interval: 200ms\nidle-period: never\n";

async fn script(scene: &Scene, script: &str) {
    let name =
        ["ssm", "put-parameter", "--overwrite", "--type", "String", "--name", "/tidemark/ci/bootstrap"];
    let said = scene.aws(&[&name[..], &["--value", script]].concat()).await;
    assert!(said.success, "{}", said.stderr);
}

fn failed_boots(group: &Group) -> usize {
    group.activities.iter().filter(|a| a.status == ActivityStatus::Cancelled).count()
}

fn launch(activity: &Activity) -> bool {
    activity.description.starts_with("Launching")
}

fn launches(group: &Group) -> usize {
    group.activities.iter().filter(|a| launch(a)).count()
}

/// Three jobs want three instances, none of which can boot; the tick that then sees it.
async fn storm(scene: &Scene, counts: &Counts) -> Value {
    counts.say(Answer::Jobs { scheduled: 3, running: 0 });
    assert_eq!(scene.tick().await.unwrap()["to"], 3);
    // At once: the group launches others in their place, after its own pause.
    scene.group_until(|g| failed_boots(g) == 3).await;
    let decision = scene.tick().await.unwrap();
    assert_eq!((&decision["step"], &decision["to"]), (&"scale-in".into(), &0.into()), "{decision}");
    assert_eq!(decision["boots_failing"]["in_a_row"], 3, "{decision}");
    scene.group_until(|g| g.members.is_empty()).await;
    let why = decision["boots_failing"]["last"]["failure"].as_str().unwrap();
    assert!(why.ends_with("was abandoned: Lifecycle Action Completed with ABANDON Result"), "{why}");
    decision
}

/// Ticks until the group is as wanted; what is seen between holds for each look.
async fn ticks_until(scene: &Scene, wanted: impl Fn(&Group) -> bool, always: impl Fn(&Group)) -> Group {
    let begun = Instant::now();
    loop {
        scene.tick().await.unwrap();
        let group = scene.group();
        always(&group);
        if wanted(&group) {
            return group;
        }
        assert!(begun.elapsed() < PATIENCE, "{:?} {:?}", group.members, group.activities);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test]
async fn three_failed_boots_then_probes_one_at_a_time_until_one_gets_ready() {
    let counts = Counts::start().await;
    let mut environment = counts.environment();
    environment.push(("PROBE_AFTER".to_owned(), "4s".to_owned()));
    let scene = Scene::start(&[("MaxSize", "3"), ("Settings", SETTINGS)], environment).await;
    script(&scene, "#!/bin/sh\necho this image is bad; exit 1\n").await;
    storm(&scene, &counts).await;
    let before = launches(&scene.group());

    let one_at_a_time = |g: &Group| assert!(g.desired <= 1 && g.members.len() <= 1, "{:?}", g.members);
    let group = ticks_until(&scene, |g| failed_boots(g) > before && g.desired == 0, one_at_a_time).await;
    assert_eq!(launches(&group), before + 1, "one probe, and no successor of it");
    let console = scene.lab.instances().console(&group.activities[0].instance).unwrap();
    assert!(console.contains("this image is bad"), "{console}");

    // Mended from outside: the group launches from the same template, so a probe finds out.
    script(&scene, "#!/bin/sh\nexit 0\n").await;
    let group = ticks_until(&scene, |g| g.in_service() > 0, |g| assert!(g.members.len() <= 3)).await;
    // The tick that sees it in service may have asked for the others already.
    let ready =
        group.activities.iter().find(|a| a.status == ActivityStatus::Successful && launch(a)).unwrap();
    let until_then = group.activities.iter().filter(|a| launch(a) && Some(a.start) <= ready.end).count();
    assert_eq!(until_then, before + 2, "{:?}", group.activities);
    ticks_until(&scene, |g| g.in_service() == 3, |_| ()).await;
    let decision = scene.tick().await.unwrap();
    assert!(decision.get("boots_failing").is_none(), "{decision}");
    let (status, log) = scene.run("app", "echo ran after all").await;
    assert_eq!(status, 0, "{log}");

    let said = scene.aws(&["cloudwatch", "list-metrics", "--namespace", "Buildkite"]).await;
    assert!(said.stdout.contains("BootsFailing"), "{}", said.stdout);
    let asked = scene.lab.endpoint().calls();
    let asked: Vec<_> =
        asked.iter().filter(|c| c.action == "autoscaling:DescribeScalingActivities").collect();
    assert!(!asked.is_empty() && asked.iter().all(|c| c.denied == 0), "{asked:?}");
    // All is well: nobody asks.
    let before: u64 = asked.iter().map(|c| c.count).sum();
    for _ in 0..5 {
        scene.tick().await.unwrap();
    }
    assert_eq!(scene.calls("autoscaling:DescribeScalingActivities", ""), before);
    scene.lab.stop().await.unwrap();
}

#[tokio::test]
async fn another_launch_template_is_tried_at_once() {
    let counts = Counts::start().await;
    let parameters = |settings| [("MaxSize", "3"), ("Settings", settings)];
    let mut scene = Scene::start(&parameters("idle-perod: 5m\n"), counts.environment()).await;
    let decision = storm(&scene, &counts).await;
    let next: jiff::Timestamp = decision["boots_failing"]["next_probe"].as_str().unwrap().parse().unwrap();
    let last: jiff::Timestamp = decision["boots_failing"]["last"]["ended"].as_str().unwrap().parse().unwrap();
    assert_eq!(next.duration_since(last).as_secs(), 60);
    let decision = scene.tick().await.unwrap();
    assert_eq!(decision["step"], "hold");
    assert_eq!(
        decision["reason"],
        "boots keep failing: one instance at a time is tried, after growing pauses"
    );

    scene.stack = scene.lab.deploy_stack("ci", &parameters("idle-period: never\n")).await.unwrap();
    let decision = scene.tick().await.unwrap();
    assert_eq!((&decision["step"], &decision["to"]), (&"scale-out".into(), &3.into()), "{decision}");
    scene.in_service(3).await;
    scene.lab.stop().await.unwrap();
}

/// For so many seconds the third boot that fails is held: longer than it takes to see that, and to mend what ails them.
const HELD: &str = "20";

fn is_held_for_long(launch: &Activity) {
    let held = launch.end.unwrap().duration_since(launch.start);
    assert!(held.as_secs() >= HELD.parse().unwrap(), "held for {held:#}");
}

/// A group that AWS itself keeps at such a size: nobody ticks. Its instances need a script that is not there.
async fn kept_by_aws(size: (&str, &str), probe_after: &str) -> Scene {
    let environment = vec![("TIDEMARK_PROBE_AFTER".to_owned(), probe_after.to_owned())];
    let options = LabOptions { instance_environment: environment, ..LabOptions::default() };
    Scene::of(options, &[size, ("MaxSize", "2"), ("Settings", SETTINGS)]).await
}

fn console(scene: &Scene, launch: &Activity) -> String {
    scene.lab.instances().console(&launch.instance).unwrap_or_default()
}

#[tokio::test]
async fn what_the_minimum_launches_again_is_tried_one_at_a_time_and_all_come_once_it_is_mended() {
    let scene = kept_by_aws(("MinSize", "2"), HELD).await;
    let launched = |g: &Group| -> Vec<Activity> {
        g.activities.iter().filter(|a| a.description.starts_with("Launching")).cloned().collect()
    };
    let group = scene.group_until(|g| launches(g) == 4).await;
    assert_eq!(failed_boots(&group), 2, "both were given up at once, and launched again");
    let [elder, probe] = &launched(&group)[2..] else { unreachable!("four launches") };
    let (elder, probe) = if (elder.start, &elder.instance) < (probe.start, &probe.instance) {
        (elder, probe)
    } else {
        (probe, elder)
    };
    until("both are held", || {
        console(&scene, probe).contains(REPEATED)
            && console(&scene, elder).contains(&format!("{} is tried first", probe.instance))
    })
    .await;
    assert_eq!(
        (launches(&scene.group()), scene.group().members.len()),
        (4, 2),
        "two are missing, two are held"
    );
    script(&scene, "#!/bin/sh\nexit 0\n").await;

    // The probe's successor gets ready, and only then the other one is let go for its own.
    let group = scene.group_until(|g| g.in_service() == 2 && g.members.len() == 2).await;
    let now = |launch: &Activity| group.activities.iter().find(|a| a.id == launch.id).unwrap();
    let ended = |launch: &Activity| now(launch).end.unwrap();
    let (cured, last) = (&launched(&group)[4], &launched(&group)[5]);
    assert_eq!(launches(&group), 6, "{:?}", group.activities);
    is_held_for_long(now(probe));
    assert!(cured.start >= ended(probe) && ended(elder) >= ended(cured), "{:?}", group.activities);
    assert!(last.start >= ended(elder) && last.status == ActivityStatus::Successful, "{last:?}");
    assert!(console(&scene, elder).contains("not held any longer: nothing speaks for it any more"));
    let calls = scene.lab.endpoint().calls();
    for action in ["DescribeScalingActivities", "RecordLifecycleActionHeartbeat"] {
        let asked: Vec<_> = calls.iter().filter(|c| c.action == format!("autoscaling:{action}")).collect();
        assert!(!asked.is_empty() && asked.iter().all(|c| c.denied == 0), "{action}: {asked:?}");
    }
    scene.lab.stop().await.unwrap();
}

#[tokio::test]
async fn a_warm_pool_whose_instances_cannot_boot_is_not_filled_for_ever() {
    let scene = kept_by_aws(("WarmPoolSize", "1"), HELD).await;
    let group = scene.group_until(|g| launches(g) == 3).await;
    let third = group.activities.iter().rfind(|a| a.description.starts_with("Launching")).unwrap();
    assert!(third.description.contains("into warm pool"), "{third:?}");
    until("it is held", || console(&scene, third).contains(REPEATED)).await;
    script(&scene, "#!/bin/sh\nexit 0\n").await;
    let prepared = |g: &Group| g.members.iter().any(|m| m.lifecycle == Lifecycle::WarmedStopped);
    let group = scene.group_until(prepared).await;
    is_held_for_long(group.activities.iter().find(|a| a.id == third.id).unwrap());
    assert_eq!(launches(&group), 4, "{:?}", group.activities);
    scene.lab.stop().await.unwrap();
}

#[tokio::test]
async fn pauses_make_launches_few_where_only_aws_launches() {
    let (with, without) =
        tokio::join!(kept_by_aws(("MinSize", "1"), "30"), kept_by_aws(("MinSize", "1"), "0"));
    let name = with.group().definition.name;
    // Ten seconds and a boot, six times.
    let (held, storm) = tokio::join!(
        with.group_until(|g| failed_boots(g) == 2 && launches(g) == 3),
        without.lab.groups().until(&name, PATIENCE * 2, |g| failed_boots(g) == 6)
    );
    // However slow this machine is: the fourth comes after half a minute, the fifth after a minute more.
    let group = with.group();
    let begun = held.activities.iter().map(|a| a.start).min().unwrap();
    let soon = |a: &&Activity| launch(a) && a.start.duration_since(begun) < SignedDuration::from_mins(2);
    let few = group.activities.iter().filter(soon).count();
    let many = launches(&storm.unwrap());
    println!("{few} launches with pauses, {many} without");
    assert!(few <= 4 && many >= 6, "{few} of {many}: {:?}", group.activities);
    with.lab.stop().await.unwrap();
    without.lab.stop().await.unwrap();
}
