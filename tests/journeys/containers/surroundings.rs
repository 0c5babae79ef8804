//! What surrounds jobs and agents under systemd: cgroups, memory, leftovers, the watch that hears of jobs.

use std::time::Instant;

use lab::engine::container::Container;
use lab::instances::kind::InstanceKind;

use super::{SETTINGS, engine, machine, nobody_was_denied, returns_to_zero, unit, until_inside};
use crate::scene::{PATIENCE, Scene};

/// A stack of containers whose settings say more.
pub async fn scene_with(settings: &str, parameters: &[(&str, &str)]) -> Option<Scene> {
    let kind = InstanceKind::Containers(engine().await?);
    let settings = format!("{SETTINGS}{settings}");
    let all: Vec<_> = parameters.iter().copied().chain([("Settings", settings.as_str())]).collect();
    Some(Scene::on(kind, &all, vec![("LAMBDA_TIMEOUT".to_owned(), "1s".to_owned())]).await)
}

/// A script as root on the instance: what it prints.
pub async fn on(machine: &Container, script: &str) -> String {
    machine.succeed(&["sh", "-ec", script]).await.unwrap()
}

const AGENTS: [&str; 2] = ["tidemark-agent@1", "tidemark-agent@2"];

/// What a job may leave: daemons with sessions of their own, an ssh-agent, a Docker configuration.
const LEAVES: &str = "cp /bin/sleep leftover-a; cp /bin/sleep leftover-b; \
    setsid sh -c 'exec ./leftover-a 86000 > /dev/null 2>&1 < /dev/null' & \
    (setsid ./leftover-b 86000 > /dev/null 2>&1 < /dev/null &); \
    until [ $(grep -lx 'leftover-[ab]' /proc/[0-9]*/comm 2> /dev/null | wc -l) = 2 ]; do sleep 0.1; done; \
    ssh-add -l; echo '{}' > \"$DOCKER_CONFIG/of-the-job\"; echo \"docker: $DOCKER_CONFIG\"; \
    echo \"score: $(cat /proc/self/oom_score_adj)\"; grep -o 'job-[0-9-]*$' /proc/self/cgroup | head -n 1";

#[tokio::test]
async fn jobs_are_shut_in_and_agents_outlive_them() {
    let Some(scene) = scene_with("", &[("MaxSize", "1"), ("AgentsPerInstance", "2")]).await else { return };
    scene.upload("app/private_ssh_key", &ssh_key(&scene)).await;
    let long = scene.queue("long", "until [ -e /var/tmp/enough ]; do sleep 0.1; done; echo done well").await;
    scene.tick().await.unwrap();
    let id = scene.in_service(1).await[0].id.clone();
    scene.job_until(&long, &["running"]).await;
    let inside = machine(&scene, &id);

    nothing_is_left(&scene, &inside, &long).await;
    leftovers_of_root_are_given_back(&scene, &inside).await;
    memory_ends_the_job(&scene, &inside).await;
    watch_is_away_for_a_while(&scene, &inside, &long).await;
    // A lie about another agent's job ends but the liar's own, and a job without its own end holds nothing.
    let lie = format!("BUILDKITE_JOB_ID={long} agent-bootstrap hook pre-exit");
    assert_eq!(scene.run("app", &lie).await.0, 0);
    assert_ne!(scene.run("app", "kill -KILL $PPID; sleep 60").await.0, 0);
    until_inside(&inside, &format!("agent-bootstrap status | grep -F '\"jobs\":[\"{long}\"]'")).await;
    let gone = on(&inside, "journalctl -u tidemark-watch | grep -c 'its process is gone'").await;
    assert_eq!(gone.trim(), "1");

    inside.succeed(&["touch", "/var/tmp/enough"]).await.unwrap();
    let (status, log) = scene.ended(&long).await;
    assert!(status == 0 && log.contains("done well"), "{log}");
    for agent in AGENTS {
        assert_eq!(unit(&inside, agent, "NRestarts").await, "0", "{agent}");
    }
    returns_to_zero(&scene).await;
    nobody_was_denied(&scene);
    scene.lab.stop().await.unwrap();
}

/// A new key pair's private half.
fn ssh_key(scene: &Scene) -> String {
    let path = scene.lab.folder().join("key");
    let mut keygen = std::process::Command::new("ssh-keygen");
    let made = keygen.args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(&path).status().unwrap();
    assert!(made.success());
    std::fs::read_to_string(path).unwrap()
}

async fn nothing_is_left(scene: &Scene, inside: &Container, long: &str) {
    let (status, log) = scene.run("app", LEAVES).await;
    assert_eq!(status, 0, "{log}");
    for words in ["(ED25519)", "docker: /run/tidemark/jobs/", "score: 500", "job-"] {
        assert!(log.contains(words), "no {words} in {log}");
    }
    let living = "grep -lxE 'leftover-[ab]|ssh-agent' /proc/[0-9]*/comm 2> /dev/null || true";
    assert_eq!(on(inside, living).await, "");
    assert_eq!(
        on(inside, "ls -A /run/tidemark/jobs").await.trim(),
        long,
        "the long job's folder, and no other"
    );
    let mut cgroups = Vec::new();
    for agent in AGENTS {
        let find = format!(
            "for path in $(cut -d: -f3 /proc/{}/cgroup | grep tidemark-agent | sort -u); do \
             find \"/sys/fs/cgroup$path\" /sys/fs/cgroup/*\"$path\" -mindepth 1 -type d -name 'job-*' 2> /dev/null || true; done",
            unit(inside, agent, "MainPID").await
        );
        cgroups.push(on(inside, &find).await.lines().count());
        // systemd in a container may not lower it, so that the process itself has 0: still far from a job's 500.
        assert_eq!(unit(inside, agent, "OOMScoreAdjust").await, "-500");
        assert_eq!(unit(inside, agent, "OOMPolicy").await, "continue");
        assert_eq!(unit(inside, agent, "Delegate").await, "yes");
    }
    cgroups.sort_unstable();
    assert_eq!(cgroups, [0, 1], "the long job has its cgroup, and no other is left");
}

async fn leftovers_of_root_are_given_back(scene: &Scene, inside: &Container) {
    // As a container of a job leaves them.
    let leave = "for folder in /var/lib/buildkite-agent/builds/*/*/app; do \
        mkdir -m 700 \"$folder/of-root\"; echo x > \"$folder/of-root/file\"; chmod 600 \"$folder/of-root/file\"; done; \
        ls -d /var/lib/buildkite-agent/builds/*/*/app | wc -l";
    assert_eq!(on(inside, leave).await.trim(), "1", "one agent has run the pipeline");
    let (status, log) = scene.run("app", "find . -user root | wc -l; rm -rf of-root && echo removed").await;
    assert_eq!(status, 0, "{log}");
    assert!(log.contains("things given back") && log.contains("removed"), "{log}");
}

/// The agents get little memory, as on a small machine; a job takes more.
async fn memory_ends_the_job(scene: &Scene, inside: &Container) {
    let mut before = Vec::new();
    for agent in AGENTS {
        before.push(unit(inside, agent, "MainPID").await);
    }
    let pids = before.join(" ");
    // Version 1 has a hierarchy for memory that systemd in a container does not manage.
    let small = format!(
        "own=/sys/fs/cgroup/memory$(sed -n 's/^[0-9]*:memory://p' /proc/1/cgroup); \
         if [ -d \"$own\" ]; then mkdir \"$own/small\"; echo 256M > \"$own/small/memory.limit_in_bytes\"; \
         for pid in {pids}; do echo $pid > \"$own/small/cgroup.procs\"; done; \
         else systemctl set-property --runtime {} MemoryMax=256M MemorySwapMax=0; fi",
        AGENTS.map(|agent| format!("{agent}.service")).join(" ")
    );
    on(inside, &small).await;
    let (status, log) = scene.run("app", "tail /dev/zero").await;
    assert!(status != 0 && log.contains("ended by signal 9"), "{status}: {log}");
    for (agent, pid) in AGENTS.iter().zip(&before) {
        assert_eq!(&unit(inside, agent, "MainPID").await, pid, "{agent}");
        assert_eq!(unit(inside, agent, "ActiveState").await, "active", "{agent}");
    }
    let (status, log) = scene.run("app", "echo on it goes").await;
    assert!(status == 0 && log.contains("on it goes"), "{log}");
    let large = "own=/sys/fs/cgroup/memory$(sed -n 's/^[0-9]*:memory://p' /proc/1/cgroup); [ -d \"$own/small\" ] || exit 0; \
        for pid in $(cat \"$own/small/cgroup.procs\"); do echo $pid > \"$own/cgroup.procs\" || true; done; rmdir \"$own/small\"";
    on(inside, large).await;
}

/// systemd stops and starts watch beside a running job.
async fn watch_is_away_for_a_while(scene: &Scene, inside: &Container, job: &str) {
    inside.succeed(&["systemctl", "stop", "tidemark-watch"]).await.unwrap();
    assert_eq!(unit(inside, "tidemark-watch", "ActiveState").await, "inactive");
    for agent in AGENTS {
        assert_eq!(unit(inside, agent, "ActiveState").await, "active", "{agent}");
    }
    // A job of that time waits for it.
    let waits = scene.queue("app", "echo let in").await;
    scene.job_until(&waits, &["running"]).await;
    inside.succeed(&["systemctl", "start", "tidemark-watch"]).await.unwrap();
    let (status, log) = scene.ended(&waits).await;
    assert!(status == 0 && log.contains("let in"), "{log}");
    until_inside(inside, &format!("agent-bootstrap status | grep -F '\"jobs\":[\"{job}\"]'")).await;
    assert_eq!(scene.job_until(job, &["running"]).await["state"], "running");
    let begun = Instant::now();
    while !scene.group().members[0].protected {
        assert!(begun.elapsed() < PATIENCE, "a busy instance is not protected");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
}
