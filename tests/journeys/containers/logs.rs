//! Logs of a machine with a journal: SIGKILL of their shipping, in its middle and in the instance's last minute.

use std::collections::BTreeSet;

use lab::endpoint::faults::{Effect, Fault};
use lab::engine::container::Container;

use super::{machine, nobody_was_denied, scene, until, until_inside};
use crate::logs::{shipped, shipped_until};
use crate::scene::Scene;

const PUT: &str = "logs:PutLogEvents";
const GROUP: &str = "/tidemark/ci/system";
const KILL: [&str; 5] = ["systemctl", "kill", "--kill-whom=main", "--signal=SIGKILL", "tidemark-logs"];

/// A program on the instance that writes numbered lines to the journal.
struct Talker<'a> {
    inside: &'a Container,
    said: usize,
}

impl Talker<'_> {
    async fn says(&mut self, count: usize) {
        let (from, to) = (self.said, self.said + count - 1);
        let command = format!("seq -f 'line %.0f' {from} {to} | systemd-cat -t talker");
        self.inside.succeed(&["sh", "-c", &command]).await.unwrap();
        self.said += count;
    }

    fn all(&self) -> Vec<String> {
        (0..self.said).map(|number| format!("talker: line {number}")).collect()
    }
}

/// What the talker said, each line where it came first.
fn of_talker(messages: &[String]) -> Vec<String> {
    let mut seen = BTreeSet::new();
    messages.iter().filter(|m| m.starts_with("talker: ") && seen.insert(*m)).cloned().collect()
}

/// The group replaces an instance.
async fn terminate(scene: &Scene, id: &str) {
    let end = ["autoscaling", "terminate-instance-in-auto-scaling-group", "--instance-id", id];
    let said = scene.aws(&[&end[..], &["--no-should-decrement-desired-capacity"]].concat()).await;
    assert!(said.success, "{}", said.stderr);
}

#[tokio::test]
async fn lines_of_a_killed_shipping_arrive_also_in_the_instances_last_minute() {
    let Some(scene) = scene(&[("MinSize", "1"), ("MaxSize", "2")]).await else { return };
    let id = scene.in_service(1).await[0].id.clone();
    let inside = machine(&scene, &id);
    let mut talker = Talker { inside: &inside, said: 0 };
    let faults = scene.lab.endpoint().faults();
    for round in 0..3 {
        // One that is taken before the kill, one after.
        let effect = if round == 1 { Effect::Delay(1000) } else { Effect::Hang };
        let under_way = Fault { resource: GROUP.into(), ..Fault::on(PUT, effect) };
        faults.add(under_way.of("*/i-*").times(1));
        talker.says(200).await;
        until("lines are under way", || faults.list().is_empty()).await;
        inside.succeed(&KILL).await.unwrap();
        let all = talker.all();
        let found = shipped_until(&scene, GROUP, &id, |m| of_talker(m).len() == all.len()).await;
        assert_eq!(of_talker(&found), all, "round {round}");
    }

    // A stop that comes before it is started again is the next test's matter.
    until_inside(&inside, "systemctl is-active tidemark-logs").await;
    talker.says(200).await;
    let held = faults.add(Fault::on(PUT, Effect::Hang).of("*/i-*"));
    terminate(&scene, &id).await;
    let stopping = "[ \"$(systemctl show --value -p ActiveState tidemark-logs)\" = deactivating ]";
    until_inside(&inside, stopping).await;
    talker.says(50).await;
    inside.succeed(&KILL).await.unwrap();
    faults.remove(held);
    let group = scene.group_until(|g| g.member(&id).is_none() && g.in_service() == 1).await;
    assert_eq!(group.desired, 1, "replaced, as was asked");
    let found = shipped(&scene, GROUP, &id).await;
    assert_eq!(of_talker(&found), talker.all(), "the last minute's lines");
    let watch = shipped(&scene, "/tidemark/ci/watch", &id).await;
    assert!(watch.iter().any(|m| m.contains("\"flush-logs\"")), "{watch:#?}");
    nobody_was_denied(&scene);
    scene.lab.stop().await.unwrap();
}

#[tokio::test]
async fn lines_written_before_a_killed_shipping_is_started_again_arrive_although_the_machine_ends() {
    let Some(scene) = scene(&[("MinSize", "1"), ("MaxSize", "2")]).await else { return };
    let id = scene.in_service(1).await[0].id.clone();
    let inside = machine(&scene, &id);
    let mut talker = Talker { inside: &inside, said: 0 };
    let later = "cd /run/systemd/system; mkdir tidemark-logs.service.d; \
        printf '[Service]\\nRestartSec=600\\n' > tidemark-logs.service.d/later.conf; systemctl daemon-reload";
    inside.succeed(&["sh", "-c", later]).await.unwrap();
    until_inside(&inside, "systemctl is-active tidemark-logs").await;
    inside.succeed(&KILL).await.unwrap();
    until_inside(&inside, "[ \"$(systemctl show --value -p SubState tidemark-logs)\" = auto-restart ]").await;
    talker.says(200).await;
    terminate(&scene, &id).await;
    scene.group_until(|g| g.member(&id).is_none() && g.in_service() == 1).await;
    let found = shipped(&scene, GROUP, &id).await;
    assert_eq!(of_talker(&found), talker.all());
    nobody_was_denied(&scene);
    scene.lab.stop().await.unwrap();
}
