//! Updates roll from within: every instance leaves for a successor when its jobs are done, and the group stays.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use agent_bootstrap::layout::Layout;
use agent_bootstrap::watch::client;
use agent_bootstrap::watch::protocol::Request;
use lab::group::model::{Group, Lifecycle};
use lifecycle::State;

use crate::counts::{Answer, Counts};
use crate::scene::{PATIENCE, Scene};

const FAST: &str = "poll-interval: 200ms\nupdate-check: 500ms\nupdate-concurrency: 2\nidle-period: never\n";

/// What a roll was seen to do.
#[derive(Default)]
struct Seen {
    looks: usize,
    most_away: usize,
    desired: BTreeSet<u32>,
}

impl Seen {
    /// Looks once. Away is who drains, who ends, and who of those desired is not there. What changed in the group while
    /// its instances were asked is left out: that would count some who were never away together.
    async fn look(&mut self, scene: &Scene) -> Group {
        let group = scene.group();
        let mut staying = 0;
        for member in group.members.iter().filter(|m| m.lifecycle == Lifecycle::InService) {
            let leaves =
                matches!(state(scene, &member.id).await, Some(State::Draining(_) | State::Retired(_)));
            staying += usize::from(!leaves);
        }
        if scene.group() == group {
            self.looks += 1;
            self.most_away = self.most_away.max((group.desired as usize).saturating_sub(staying));
        }
        self.desired.insert(group.desired);
        group
    }

    /// Looks until the group is as wanted.
    async fn until(&mut self, what: &str, scene: &Scene, wanted: impl Fn(&Group) -> bool) -> Group {
        let begun = Instant::now();
        loop {
            let group = self.look(scene).await;
            if wanted(&group) {
                return group;
            }
            assert!(begun.elapsed() < PATIENCE, "not {what}: {:?}", group.members);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

/// Which of these instances drained for an update, by what their watch wrote down.
fn drained(scene: &Scene, instances: &BTreeSet<String>) -> BTreeSet<String> {
    let drains = |id: &&String| {
        let log = scene.watch_log(id);
        let drains = log.matches(r#""step":{"drain":"#).count();
        assert_eq!(drains, log.matches(r#""step":{"drain":"update"}"#).count(), "{log}");
        drains > 0
    };
    instances.iter().filter(drains).cloned().collect()
}

/// What an instance's watch says of it; none before it runs.
async fn state(scene: &Scene, id: &str) -> Option<State> {
    let layout = Layout::below(scene.lab.instances().folder(id));
    let answer = client::ask(&layout, &Request::Status, Duration::ZERO).await.ok()?;
    Some(answer.status?.state)
}

/// How often each of these asked for the order of the launches.
fn asked_for_order(scene: &Scene, group: &Group) -> Vec<u64> {
    ids(group).iter().map(|id| scene.calls("autoscaling:DescribeScalingActivities", id)).collect()
}

/// The settings that all instances name from now on.
async fn put(scene: &Scene, settings: &str) {
    let name = ["ssm", "put-parameter", "--overwrite", "--type", "String", "--name", "/tidemark/ci/settings"];
    let said = scene.aws(&[&name[..], &["--value", settings]].concat()).await;
    assert!(said.success, "{}", said.stderr);
}

fn ids(group: &Group) -> BTreeSet<String> {
    group.members.iter().map(|m| m.id.clone()).collect()
}

/// Queues a job that runs until `file` is there, and tells the instance that took it.
async fn long_job(scene: &Scene, file: &std::path::Path) -> (String, String) {
    let command = format!("until [ -e '{}' ]; do sleep 0.1; done; echo done well", file.display());
    let job = scene.queue("long", &command).await;
    let running = scene.job_until(&job, &["running"]).await;
    let agent = running["agent_name"].as_str().unwrap().to_owned();
    let holder = scene.group().members.iter().find(|m| agent.contains(&m.id)).unwrap().id.clone();
    (job, holder)
}

#[tokio::test]
async fn an_update_replaces_every_instance_two_at_once_and_a_long_job_outlasts_the_roll() {
    let counts = Counts::start().await;
    // CloudFormation's own ways to update a group end jobs; moto would not show it.
    let template = std::fs::read_to_string("../cloudformation/ci-stack.yml").unwrap();
    assert!(!template.lines().any(|line| line.trim_start().starts_with("UpdatePolicy:")));
    let parameters = |tags| [("MaxSize", "4"), ("Settings", FAST), ("BuildkiteAgentTags", tags)];
    let mut scene = Scene::start(&parameters("roll=1"), counts.environment()).await;
    counts.say(Answer::Jobs { scheduled: 4, running: 0 });
    assert_eq!(scene.tick().await.unwrap()["to"], 4);
    let first = scene.group_until(|g| g.in_service() == 4).await;
    let enough = scene.lab.folder().join("enough");
    let (job, holder) = long_job(&scene, &enough).await;
    let mut short = Vec::new();
    for _ in 0..6 {
        short.push(scene.queue("short", "sleep 1; echo short").await);
    }

    assert_eq!(asked_for_order(&scene, &first), [0; 4], "nothing is outdated: nobody asks");
    scene.stack = scene.lab.deploy_stack("ci", &parameters("roll=2")).await.unwrap();
    let mut seen = Seen::default();
    let others_are_new = |g: &Group| {
        let new =
            g.members.iter().filter(|m| m.lifecycle == Lifecycle::InService && m.template_version == "2");
        new.count() == 3 && g.members.len() == 4
    };
    let group = seen.until("rolled but for the long job", &scene, others_are_new).await;
    let held = group.member(&holder).unwrap();
    assert_eq!((held.lifecycle, held.protected), (Lifecycle::InService, true), "its job runs");
    assert_eq!(scene.job_until(&job, &["running"]).await["state"], "running");

    std::fs::write(&enough, "").unwrap();
    let rolled = |g: &Group| g.in_service() == 4 && g.members.iter().all(|m| m.template_version == "2");
    let group = seen.until("rolled", &scene, rolled).await;
    let (status, log) = scene.ended(&job).await;
    assert_eq!(status, 0, "{log}");
    for job in &short {
        let (status, log) = scene.ended(job).await;
        assert_eq!(status, 0, "{log}");
    }
    assert!(ids(&first).is_disjoint(&ids(&group)), "every instance is another one");
    assert_eq!(drained(&scene, &ids(&first)), ids(&first), "each drained for the update");
    assert_eq!(drained(&scene, &ids(&group)), BTreeSet::new(), "and nobody else");
    assert!(seen.looks > 5, "{} looks tell nothing", seen.looks);
    assert!(seen.most_away <= 2, "{} were away at once", seen.most_away);
    assert_eq!(seen.desired, BTreeSet::from([4]), "nobody moved the desired capacity");
    assert_eq!(
        (group.definition.created, &group.definition.arn),
        (first.definition.created, &first.definition.arn)
    );
    let successor = scene.run("after", "echo $BUILDKITE_AGENT_META_DATA_ROLL").await;
    assert!(successor.0 == 0 && successor.1.contains('2'), "{successor:?}");
    // At the first look, and when one has come that was not there before: that is four times. A call that fails is made
    // again; but not every look asks, of which there are two a second.
    let asked = asked_for_order(&scene, &first);
    assert!(asked.iter().all(|calls| (1..=8).contains(calls)), "{asked:?}");
    scene.lab.stop().await.unwrap();
}

#[tokio::test]
async fn settings_by_reference_roll_without_a_new_launch_template_and_broken_ones_do_not() {
    let counts = Counts::start().await;
    let scene =
        Scene::start(&[("MaxSize", "2"), ("Settings", "ssm:/tidemark/ci/settings")], counts.environment())
            .await;
    put(&scene, &format!("{FAST}agent-tags: roll=1\n")).await;
    counts.say(Answer::Jobs { scheduled: 2, running: 0 });
    scene.tick().await.unwrap();
    scene.in_service(2).await;
    let enough = scene.lab.folder().join("enough");
    let (job, holder) = long_job(&scene, &enough).await;
    let first = scene.group();

    // What would not boot is no update. Each instance has read it at least once.
    put(&scene, "no-such-setting: 1\n").await;
    let reads = |id: &str| scene.calls("ssm:GetParameter", id);
    let before: Vec<(String, u64)> = ids(&first).into_iter().map(|id| (id.clone(), reads(&id))).collect();
    let begun = Instant::now();
    while before.iter().any(|(id, count)| reads(id) < count + 2) {
        assert!(begun.elapsed() < PATIENCE, "the settings are not read again");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    for id in ids(&first) {
        assert!(!matches!(state(&scene, &id).await, Some(State::Draining(_))), "{id}");
    }

    put(&scene, &format!("{FAST}agent-tags: roll=2\n")).await;
    let mut seen = Seen::default();
    let other = |g: &Group| {
        g.in_service() == 2 && g.members.len() == 2 && ids(g).intersection(&ids(&first)).count() == 1
    };
    let group = seen.until("rolled but for the long job", &scene, other).await;
    assert!(group.member(&holder).unwrap().protected, "its job runs");
    std::fs::write(&enough, "").unwrap();
    let rolled = |g: &Group| g.in_service() == 2 && ids(g).is_disjoint(&ids(&first));
    let group = seen.until("rolled", &scene, rolled).await;
    assert_eq!(scene.ended(&job).await.0, 0);
    assert!(group.members.iter().all(|m| m.template_version == "1"), "{:?}", group.members);
    assert_eq!(drained(&scene, &ids(&first)), ids(&first));
    let successor = scene.run("after", "echo $BUILDKITE_AGENT_META_DATA_ROLL").await;
    assert!(successor.0 == 0 && successor.1.contains('2'), "{successor:?}");
    scene.lab.stop().await.unwrap();
}

/// With which settings the instances in service booted, if all that are desired are.
fn booted_with(scene: &Scene, group: &Group) -> Option<Vec<String>> {
    let read = |id: &String| {
        let config = scene.lab.instances().folder(id).join("etc/buildkite-agent/buildkite-agent.cfg");
        let config = std::fs::read_to_string(config).unwrap_or_default();
        let tag = config.split("roll=").nth(1).unwrap_or_default();
        tag.chars().take_while(char::is_ascii_digit).collect()
    };
    let complete = group.in_service() == 3 && group.members.len() == 3;
    complete.then(|| ids(group).iter().map(read).collect())
}

#[tokio::test]
async fn settings_changed_again_and_taken_back_in_the_middle_of_a_roll_take_no_more_than_one_at_once() {
    const ONE: &str =
        "poll-interval: 200ms\nupdate-check: 500ms\nupdate-concurrency: 1\nidle-period: never\n";
    let roll = |number: u8| format!("{ONE}agent-tags: roll={number}\n");
    let counts = Counts::start().await;
    let parameters = [("MaxSize", "3"), ("Settings", "ssm:/tidemark/ci/settings")];
    let scene = Scene::start(&parameters, counts.environment()).await;
    put(&scene, &roll(1)).await;
    counts.say(Answer::Jobs { scheduled: 3, running: 0 });
    scene.tick().await.unwrap();
    scene.in_service(3).await;

    let mut seen = Seen::default();
    let all = |number: &'static str| {
        let scene = &scene;
        move |g: &Group| booted_with(scene, g).is_some_and(|tags| tags.iter().all(|tag| tag == number))
    };
    let some = |number: &'static str| {
        let scene = &scene;
        move |g: &Group| booted_with(scene, g).is_some_and(|tags| tags.iter().any(|tag| tag == number))
    };
    put(&scene, &roll(2)).await;
    seen.until("begun", &scene, some("2")).await;
    put(&scene, &roll(3)).await;
    seen.until("all changed twice", &scene, all("3")).await;

    put(&scene, &roll(4)).await;
    let middle = seen.until("begun again", &scene, some("4")).await;
    // Those that stay have seen the change: they had 500 ms for it many times over.
    put(&scene, &roll(3)).await;
    let group = seen.until("as before", &scene, all("3")).await;
    assert!(ids(&middle) != ids(&group), "who came meanwhile has left");
    assert!(seen.looks > 5 && seen.most_away <= 1, "{} of {} looks", seen.most_away, seen.looks);
    assert_eq!(seen.desired, BTreeSet::from([3]));
    scene.lab.stop().await.unwrap();
}
