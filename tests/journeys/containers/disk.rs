//! A disk that fills: what is unused is removed when nothing runs, and an instance that nothing helps makes room.

use lab::group::model::{Group, Lifecycle};

use super::{busy, enough, machine, nobody_was_denied, put_parameter, returns_to_zero, scene, until_inside};

/// Docker's data on a small file system of its own: 40 MiB of it shall be free.
const SMALL_DISK: &str = "#!/bin/sh\nset -e\nsystemctl stop docker.socket docker\n\
    mount -t tmpfs -o size=400m tmpfs /var/lib/docker\nsystemctl start docker\n";

/// A job with large images, which it uses as long as it runs, and until they are old enough to be removed.
const FILLS: &str = "set -e; cd $(mktemp -d); until docker info > /dev/null 2>&1; do sleep 0.2; done; \
    for name in one two; do head -c 185M /dev/zero > large; tar -c large | docker import - $name > /dev/null; rm large; done; \
    made=$(date +%s); echo filled; until [ -e /var/tmp/used ] && [ $(date +%s) -gt $((made + 2)) ]; do sleep 0.1; done; \
    docker image inspect one two > /dev/null; echo used both";

#[tokio::test]
async fn a_full_disk_is_cleaned_when_nothing_runs_and_one_that_stays_full_makes_room() {
    let settings = format!(
        "{}bootstrap-script: ssm:/tidemark/ci/bootstrap\ndisk-check: 200ms\ndocker-prune-until: 1s\n",
        super::SETTINGS
    );
    let Some(scene) = scene(&[("MaxSize", "2"), ("Settings", &settings)]).await else { return };
    put_parameter(&scene, "/tidemark/ci/bootstrap", SMALL_DISK).await;
    let job = scene.queue("app", FILLS).await;
    scene.tick().await.unwrap();
    let id = scene.in_service(1).await[0].id.clone();
    let inside = machine(&scene, &id);
    scene.log_until(&job, "\nfilled").await;
    let state =
        |state: &str| format!("agent-bootstrap status 2> /dev/null | grep -q '\"state\":\"{state}\"'");
    until_inside(&inside, &state("cordoned")).await;
    let next = scene.queue("app", "docker image ls --quiet | wc -l; echo next on $HOSTNAME").await;
    inside.succeed(&["touch", "/var/tmp/used"]).await.unwrap();
    let (status, log) = scene.ended(&job).await;
    assert!(status == 0 && log.contains("used both"), "nothing was taken from beneath a job: {log}");
    let (status, log) = scene.ended(&next).await;
    assert!(status == 0 && log.contains(&format!("next on {id}")), "with room again it serves: {log}");
    assert!(log.lines().any(|line| line.trim() == "0"), "the images are gone: {log}");
    let said = inside.succeed(&["journalctl", "-b", "-o", "cat", "-u", "tidemark-watch"]).await.unwrap();
    assert!(said.contains("\"pruned\":\"unused\"") && said.contains("\"disk\":\"fine\""), "{said}");

    // What no prune removes.
    let (holder, job) = busy(&scene).await;
    assert_eq!(holder, id);
    inside
        .succeed(&["sh", "-c", "head -c 375M /dev/zero > /var/lib/docker/forgotten || true"])
        .await
        .unwrap();
    until_inside(&inside, &state("cordoned")).await;
    assert!(scene.group().member(&id).unwrap().protected, "its job runs");
    enough(&scene, &id, &job).await;
    let successor = |g: &Group| g.members.iter().any(|m| m.id != id && m.lifecycle == Lifecycle::InService);
    let group = scene.group_until(|g| g.member(&id).is_none() && successor(g)).await;
    assert_eq!(group.desired, 1, "a successor, not a smaller group");
    let console = scene.lab.instances().console(&id).unwrap();
    assert!(console.contains("\"drain\":\"disk-full\""), "{console}");
    assert_eq!(scene.run("app", "docker info > /dev/null && echo well").await.0, 0);
    returns_to_zero(&scene).await;
    nobody_was_denied(&scene);
    scene.lab.stop().await.unwrap();
}
