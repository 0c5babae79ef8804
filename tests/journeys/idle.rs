//! A stack whose settings say nothing of idleness: an instance goes by the time that it took to come.

use jiff::SignedDuration;
use serde_json::Value;

use crate::counts::{Answer, Counts};
use crate::scene::{Scene, until};

/// A duration as `watch` and the instance file say it.
fn duration(text: &Value) -> SignedDuration {
    text.as_str().unwrap().parse().unwrap()
}

#[tokio::test]
async fn an_instance_is_given_back_when_it_was_idle_for_four_fifths_of_its_boot() {
    let counts = Counts::start().await;
    let scene = Scene::start(&[("MaxSize", "1")], counts.environment()).await;
    counts.say(Answer::Jobs { scheduled: 1, running: 0 });
    assert_eq!(scene.tick().await.unwrap()["to"], 1);
    let id = scene.in_service(1).await[0].id.clone();
    let group = scene.group_until(|group| group.members.iter().all(|member| !member.protected)).await;
    assert_eq!(group.in_service(), 1);

    let file = scene.lab.instances().folder(&id).join("etc/tidemark/instance.json");
    let instance: Value = serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
    let idle_period = lifecycle::idle::period(Some(duration(&instance["booted-in"])));
    // What is done is said when AWS has answered.
    until("watch says so", || scene.watch_log(&id).contains(r#""step":"unprotect""#)).await;
    let log = scene.watch_log(&id);
    let lines: Vec<Value> = log.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    assert_eq!(duration(&lines[0]["idle_period"]), idle_period, "{log}");
    let dropped = lines.iter().find(|line| line["step"] == "unprotect").unwrap();
    let idle = dropped["why"].as_str().unwrap().strip_prefix("idle for ").unwrap();
    let idle: SignedDuration = idle.parse().unwrap();
    assert!(idle >= idle_period, "{idle:#} of {idle_period:#}: {log}");
    // Instances of the lab come in seconds; on a machine that takes its time it is said above what should be.
    if idle_period < SignedDuration::from_secs(20) {
        assert!(idle < SignedDuration::from_mins(1), "no fixed minute: {log}");
    }

    counts.say(Answer::Jobs { scheduled: 0, running: 0 });
    assert_eq!(scene.tick().await.unwrap()["to"], 0);
    scene.group_until(|group| group.members.is_empty()).await;
    scene.lab.stop().await.unwrap();
}
