//! What an instance logs arrives in CloudWatch Logs, under the template's own role: once, in order, whatever fails.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use agent_bootstrap::layout::Layout;
use agent_bootstrap::logs::position::PositionFile;
use agent_bootstrap::logs::source::Position;
use agent_bootstrap::units::process::Process;
use lab::endpoint::faults::{Effect, Fault};
use lab::group::model::Lifecycle;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::scene::{PATIENCE, Scene};

const PUT: &str = "logs:PutLogEvents";

/// The messages of an instance's stream, in CloudWatch's order; none where there is no stream.
pub async fn shipped(scene: &Scene, group: &str, instance: &str) -> Vec<String> {
    let at = ["--log-group-name", group, "--log-stream-name", instance];
    let said = scene.aws(&[&["logs", "get-log-events", "--start-from-head"], &at[..]].concat()).await;
    if !said.success {
        assert!(said.stderr.contains("ResourceNotFoundException"), "{}", said.stderr);
        return Vec::new();
    }
    let answer: Value = serde_json::from_str(&said.stdout).unwrap();
    let events = answer["events"].as_array().unwrap().iter();
    events.map(|event| event["message"].as_str().unwrap().to_owned()).collect()
}

/// Waits until a stream is as wanted.
pub async fn shipped_until(
    scene: &Scene,
    group: &str,
    instance: &str,
    wanted: impl Fn(&[String]) -> bool,
) -> Vec<String> {
    let begun = Instant::now();
    loop {
        let messages = shipped(scene, group, instance).await;
        if wanted(&messages) {
            return messages;
        }
        assert!(begun.elapsed() < PATIENCE, "{group} of {instance} has only {messages:#?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// A program on an instance that logs numbered lines.
struct Talker {
    file: std::fs::File,
    said: u32,
}

impl Talker {
    fn on(folder: PathBuf) -> Self {
        let path = folder.join("var/log/tidemark/talker.log");
        let file = std::fs::File::options().create(true).append(true).open(path).unwrap();
        Self { file, said: 0 }
    }

    fn says(&mut self, count: u32) {
        for _ in 0..count {
            writeln!(self.file, "line {}", self.said).unwrap();
            self.said += 1;
        }
    }

    fn all(&self) -> Vec<String> {
        (0..self.said).map(|n| format!("talker: line {n}")).collect()
    }
}

fn of_talker(messages: &[String]) -> Vec<String> {
    messages.iter().filter(|m| m.starts_with("talker: ")).cloned().collect()
}

/// The process that ships an instance's logs.
async fn shipping(scene: &Scene, id: &str) -> Pid {
    let file = scene.lab.instances().folder(id).join("run/tidemark/logs.pid");
    let begun = Instant::now();
    loop {
        let text = std::fs::read_to_string(&file).unwrap_or_default();
        // A killed one's file stays until the next one writes its own.
        if let Some(process) = text.parse().ok().filter(|process: &Process| process.is_alive()) {
            return Pid::from_raw(process.pid);
        }
        assert!(begun.elapsed() < PATIENCE, "nothing ships the logs of {id}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn lines_arrive_once_and_in_order_through_faults_and_are_not_lost_by_a_kill() {
    let scene = Scene::start(&[("MinSize", "1"), ("MaxSize", "1")], Vec::new()).await;
    let id = scene.in_service(1).await[0].id.clone();
    let (status, log) = scene.run("app", "echo done").await;
    assert_eq!(status, 0, "{log}");
    shipped_until(&scene, "/tidemark/ci/boot", &id, |m| m.iter().any(|m| m.contains("boot: ready in"))).await;
    let agents =
        shipped_until(&scene, "/tidemark/ci/agent", &id, |m| m.iter().any(|m| m.contains("finished")));
    assert!(agents.await.iter().all(|m| m.starts_with("agent-1: ")));
    shipped_until(&scene, "/tidemark/ci/watch", &id, |m| m.iter().any(|m| m.contains("its hook says so")))
        .await;

    let mut talker = Talker::on(scene.lab.instances().folder(&id));
    let faults = scene.lab.endpoint().faults();
    for effect in [Effect::Throttle, Effect::Deny, Effect::Fail, Effect::Expire, Effect::Drop, Effect::Hang] {
        let times = if effect == Effect::Hang { 1 } else { 3 };
        faults.add(Fault::on(PUT, effect).of("*Instance*").times(times));
        talker.says(500);
        let all = talker.all();
        let found =
            shipped_until(&scene, "/tidemark/ci/system", &id, |m| of_talker(m).len() >= all.len()).await;
        assert_eq!(of_talker(&found), all, "after {effect:?}");
        assert_eq!(faults.list(), [], "{effect:?} was not met");
    }
    for words in ["tried again", "allow the instance role this action"] {
        shipped_until(&scene, "/tidemark/ci/watch", &id, |m| m.iter().any(|m| m.contains(words))).await;
    }

    killed(&scene, &id, &mut talker).await;
    scene.lab.stop().await.unwrap();
}

/// Waits until all that was said is known on the instance to be delivered: it may be in CloudWatch a while before.
async fn acknowledged(scene: &Scene, id: &str) {
    let layout = Layout::below(scene.lab.instances().folder(id));
    let said =
        std::fs::metadata(scene.lab.instances().folder(id).join("var/log/tidemark/talker.log")).unwrap();
    let begun = Instant::now();
    loop {
        if let Some(Position::Files(files)) = PositionFile::of(&layout, id).read()
            && files.values().any(|reached| (reached.inode, reached.offset) == (said.ino(), said.len()))
        {
            return;
        }
        assert!(begun.elapsed() < PATIENCE, "never acknowledged");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Killed while it delivers: all lines arrive, and what comes twice was under way.
async fn killed(scene: &Scene, id: &str, talker: &mut Talker) {
    acknowledged(scene, id).await;
    let before = talker.all().len();
    for round in 0..4u64 {
        let slow = scene.lab.endpoint().faults().add(Fault::on(PUT, Effect::Delay(300 * round)));
        talker.says(200);
        let calls = scene.calls(PUT, id);
        let begun = Instant::now();
        while scene.calls(PUT, id) == calls && begun.elapsed() < Duration::from_secs(3) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let pid = shipping(scene, id).await;
        kill(pid, Signal::SIGKILL).unwrap();
        scene.lab.endpoint().faults().remove(slow);
    }
    let all: BTreeSet<String> = talker.all().into_iter().collect();
    let found = shipped_until(scene, "/tidemark/ci/system", id, |m| {
        of_talker(m).into_iter().collect::<BTreeSet<_>>() == all
    });
    let found = of_talker(&found.await);
    // Each kill may leave one round in doubt, which here is all that was said since the first one.
    assert!(found.len() <= all.len() + 200 * (1 + 2 + 3 + 4), "{} of {}", found.len(), all.len());
    assert_eq!(found[..before], talker.all()[..before], "what was acknowledged is sent again");
}

#[tokio::test]
async fn an_instance_that_ends_has_delivered_its_last_lines() {
    let scene = Scene::start(&[("MinSize", "1"), ("MaxSize", "2")], Vec::new()).await;
    let id = scene.in_service(1).await[0].id.clone();
    let job = scene.queue("app", "sleep 1").await;
    scene.job_until(&job, &["running"]).await;
    let mut talker = Talker::on(scene.lab.instances().folder(&id));
    scene.lab.endpoint().faults().add(Fault::on(PUT, Effect::Throttle).of("*Instance*").times(2));
    talker.says(3000);
    let end = ["autoscaling", "terminate-instance-in-auto-scaling-group", "--instance-id", &id];
    let said = scene.aws(&[&end[..], &["--no-should-decrement-desired-capacity"]].concat()).await;
    assert!(said.success, "{}", said.stderr);
    scene.group_until(|g| g.members.iter().all(|m| m.id != id)).await;

    assert_eq!(of_talker(&shipped(&scene, "/tidemark/ci/system", &id).await), talker.all());
    let file = scene.lab.instances().folder(&id).join("var/log/tidemark/agent-1.log");
    let file = std::fs::read_to_string(file).unwrap();
    let agent = shipped(&scene, "/tidemark/ci/agent", &id).await;
    assert_eq!(
        agent.len(),
        file.lines().filter(|line| !line.trim().is_empty()).count(),
        "{file}\n{agent:#?}"
    );
    let watch = shipped(&scene, "/tidemark/ci/watch", &id).await;
    assert!(watch.iter().any(|m| m.contains("\"stop-agents\"")), "{watch:#?}");
    scene.lab.stop().await.unwrap();
}

#[tokio::test]
async fn logs_go_on_while_an_instance_cannot_leave() {
    let parameters = [("MinSize", "1"), ("MaxSize", "2"), ("Settings", "poll-interval: 200ms\n")];
    let scene = Scene::start(&parameters, Vec::new()).await;
    let id = scene.in_service(1).await[0].id.clone();
    let complete = "autoscaling:CompleteLifecycleAction";
    let fault = scene.lab.endpoint().faults().add(Fault::on(complete, Effect::Fail).of(&format!("*{id}*")));
    let end = ["autoscaling", "terminate-instance-in-auto-scaling-group", "--instance-id", &id];
    let said = scene.aws(&[&end[..], &["--no-should-decrement-desired-capacity"]].concat()).await;
    assert!(said.success, "{}", said.stderr);
    let begun = Instant::now();
    while !scene.watch_log(&id).contains(r#""step":"ship-logs""#) {
        assert!(begun.elapsed() < PATIENCE, "logs stay ended: {}", scene.watch_log(&id));
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let mut talker = Talker::on(scene.lab.instances().folder(&id));
    // Twice: an attempt to leave may come in between.
    for _ in 0..2 {
        talker.says(100);
        let all = talker.all();
        shipped_until(&scene, "/tidemark/ci/system", &id, |m| of_talker(m) == all).await;
    }
    scene.lab.endpoint().faults().remove(fault);
    scene.group_until(|g| g.members.iter().all(|m| m.id != id)).await;
    scene.lab.stop().await.unwrap();
}

#[tokio::test]
async fn an_instance_whose_boot_fails_says_why_in_its_logs() {
    let parameters = [("MinSize", "0"), ("MaxSize", "1"), ("Settings", "idle-perod: 5m")];
    let scene = Scene::start(&parameters, Vec::new()).await;
    let group = scene.stack.output("AutoScalingGroupName").unwrap();
    let set = ["autoscaling", "set-desired-capacity", "--auto-scaling-group-name", group];
    let said = scene.aws(&[&set[..], &["--desired-capacity", "1"]].concat()).await;
    assert!(said.success, "{}", said.stderr);
    let id = scene.group_until(|g| !g.members.is_empty()).await.members[0].id.clone();
    // Nobody holds an instance that never had a job, but nobody says so either.
    scene
        .group_until(|g| g.members.iter().all(|m| m.id != id || m.lifecycle == Lifecycle::TerminatingWait))
        .await;
    let complete = ["autoscaling", "complete-lifecycle-action", "--auto-scaling-group-name", group];
    let of = [
        "--lifecycle-hook-name",
        "terminating",
        "--lifecycle-action-result",
        "CONTINUE",
        "--instance-id",
        &id,
    ];
    scene.aws(&[&complete[..], &of[..]].concat()).await;
    scene.group_until(|g| g.members.iter().all(|m| m.id != id)).await;
    let why = |m: &[String]| m.iter().any(|m| m.contains("did you mean `idle-period`?"));
    shipped_until(&scene, "/tidemark/ci/boot", &id, why).await;
    scene.lab.stop().await.unwrap();
}

#[tokio::test]
async fn a_prefix_gives_the_older_names_in_groups_that_instances_make() {
    let parameters =
        [("MinSize", "1"), ("MaxSize", "1"), ("LogGroupPrefix", "/buildkite"), ("LogRetentionDays", "30")];
    let scene = Scene::start(&parameters, Vec::new()).await;
    let id = scene.in_service(1).await[0].id.clone();
    let (status, log) = scene.run("app", "echo done").await;
    assert_eq!(status, 0, "{log}");
    for (name, line) in [
        ("buildkite-agent", "finished"),
        ("elastic-stack", "boot: ready in"),
        ("lifecycled", "its hook says so"),
    ] {
        let group = format!("/buildkite/{name}");
        shipped_until(&scene, &group, &id, |m| m.iter().any(|m| m.contains(line))).await;
        let said = scene.aws(&["logs", "describe-log-groups", "--log-group-name-prefix", &group]).await;
        let groups: Value = serde_json::from_str(&said.stdout).unwrap();
        assert_eq!(groups["logGroups"][0]["retentionInDays"], 30, "{groups}");
    }
    let said = scene.aws(&["logs", "describe-log-groups", "--log-group-name-prefix", "/tidemark/ci/"]).await;
    let groups: Value = serde_json::from_str(&said.stdout).unwrap();
    let names: Vec<&str> =
        groups["logGroups"].as_array().unwrap().iter().map(|g| g["logGroupName"].as_str().unwrap()).collect();
    assert_eq!(names, ["/tidemark/ci/scaler"]);
    scene.lab.stop().await.unwrap();
}
