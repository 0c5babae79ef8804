//! A group rolls to another AMI while jobs keep coming.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use lab::group::model::{Group, Lifecycle};

use super::{OtherAmi, busy, engine, enough, machine, nobody_was_denied, put_parameter, scene};
use crate::scene::{PATIENCE, Scene};

const SETTINGS: &str = "poll-interval: 200ms\nheartbeat-interval: 1s\nupdate-check: 500ms\nupdate-concurrency: 2\n\
    idle-period: never\n";
const VERSION: &str = "/etc/image-version";

/// What a roll was seen to do.
#[derive(Default)]
struct Seen {
    looks: usize,
    most_away: usize,
    desired: BTreeSet<u32>,
}

impl Seen {
    /// Looks until the group is as wanted. Away is who leaves, and who of those desired is not there.
    async fn until(&mut self, what: &str, scene: &Scene, wanted: impl Fn(&Group) -> bool) -> Group {
        let begun = Instant::now();
        loop {
            let group = scene.group();
            let in_service = group.members.iter().filter(|m| m.lifecycle == Lifecycle::InService);
            let staying = in_service.map(async |m| !leaves(scene, &m.id).await);
            let staying = futures::future::join_all(staying).await.into_iter().filter(|stays| *stays).count();
            // What changed while its instances were asked would count some who were never away together.
            if scene.group() == group {
                self.looks += 1;
                self.most_away = self.most_away.max((group.desired as usize).saturating_sub(staying));
            }
            self.desired.insert(group.desired);
            if wanted(&group) {
                return group;
            }
            assert!(begun.elapsed() < PATIENCE * 2, "not {what}: {:?}", group.members);
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

/// Does an instance drain? One that cannot be asked is on its way out, or about to come in.
async fn leaves(scene: &Scene, id: &str) -> bool {
    let Some(container) = scene.lab.instances().containers().unwrap().container(id) else { return true };
    let asked = container.run(&["agent-bootstrap", "status"]).await;
    asked.is_ok_and(|(_, text)| text.contains("\"draining\"") || text.contains("\"retired\""))
}

/// Tells the version of the AMI it runs on.
const JOB: &str = "echo of $(cat /etc/image-version || echo 1)";

/// A job every now and then, until all is `rolled` and for long enough to be a load.
async fn load(scene: &Scene, rolled: &Cell<bool>) -> Vec<String> {
    let mut jobs = Vec::new();
    let mut clock = tokio::time::interval(Duration::from_millis(800));
    while jobs.len() < 10 || !rolled.get() {
        clock.tick().await;
        jobs.push(scene.queue("app", JOB).await);
    }
    jobs
}

/// The version of the AMI a job ran on; it has passed.
async fn version(scene: &Scene, job: &str) -> &'static str {
    let (status, log) = scene.ended(job).await;
    assert_eq!(status, 0, "{log}");
    ["1", "2"].into_iter().find(|version| log.contains(&format!("\nof {version}"))).unwrap()
}

#[tokio::test]
async fn a_group_rolls_to_another_ami_under_load_and_every_job_passes() {
    let Some(mut scene) = scene(&[("MaxSize", "3"), ("Settings", SETTINGS)]).await else { return };
    let engine = engine().await.unwrap();
    let ami = OtherAmi::make(&engine, &scene.lab, &format!("echo 2 > {VERSION}")).await;
    put_parameter(&scene, "/other/ami", &ami.id).await;
    let name = scene.group().definition.name;
    let set = ["autoscaling", "set-desired-capacity", "--auto-scaling-group-name", &name];
    let said = scene.aws(&[&set[..], &["--desired-capacity", "3"]].concat()).await;
    assert!(said.success, "{}", said.stderr);
    let first = scene.group_until(|g| g.in_service() == 3).await;
    let (holder, job) = busy(&scene).await;

    let before = scene.queue("app", JOB).await;
    assert_eq!(version(&scene, &before).await, "1");
    let parameters = [("MaxSize", "3"), ("Settings", SETTINGS), ("ImageId", "/other/ami")];
    scene.stack = scene.lab.deploy_stack("ci", &parameters).await.unwrap();
    let mut seen = Seen::default();
    let rolled = Cell::new(false);
    let roll = async {
        let new = |g: &Group| {
            g.members
                .iter()
                .filter(|m| m.lifecycle == Lifecycle::InService && m.template_version == "2")
                .count()
        };
        let group =
            seen.until("rolled but for the long job", &scene, |g| new(g) == 2 && g.members.len() == 3).await;
        let held = group.member(&holder).unwrap();
        assert_eq!((held.lifecycle, held.protected), (Lifecycle::InService, true), "its job runs");
        enough(&scene, &holder, &job).await;
        let group = seen.until("rolled", &scene, |g| new(g) == 3 && g.members.len() == 3).await;
        rolled.set(true);
        group
    };
    let (jobs, group) = tokio::join!(load(&scene, &rolled), roll);
    let mut versions = BTreeSet::new();
    for job in &jobs {
        versions.insert(version(&scene, job).await);
    }
    assert!(versions.contains("2"), "{versions:?}");
    assert!(seen.looks > 5, "{} looks tell nothing", seen.looks);
    assert!(seen.most_away <= 2, "{} were away at once", seen.most_away);
    assert_eq!(seen.desired, BTreeSet::from([3]), "nobody moved the desired capacity");
    for member in &group.members {
        assert!(first.member(&member.id).is_none(), "{} was there before", member.id);
        assert_eq!(machine(&scene, &member.id).succeed(&["cat", VERSION]).await.unwrap(), "2\n");
    }
    nobody_was_denied(&scene);
    scene.lab.stop().await.unwrap();
    ami.remove().await;
}
