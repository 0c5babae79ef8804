//! What a boot does to Docker: the engine is a server of ours on the instance's own socket, never the machine's.

use axum::Router;
use serde_json::{Value, json};

use crate::faults::fails;
use crate::stage::{Stage, until};

/// An instance whose image has Docker; its engine answers, or is dead.
async fn with_docker(stage: Stage, alive: bool) -> Stage {
    stage.executable("usr/bin/dockerd", "");
    std::fs::create_dir_all(stage.path("run")).unwrap();
    if alive {
        let listener = tokio::net::UnixListener::bind(stage.path("run/docker.sock")).unwrap();
        let version = || async { axum::Json(json!({ "Version": "27.3.1", "ApiVersion": "1.47" })) };
        tokio::spawn(async move { axum::serve(listener, Router::new().fallback(version)).await });
    }
    stage
}

fn write(stage: &Stage, path: &str, text: &str) {
    let path = stage.path(path);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
}

fn daemon(stage: &Stage) -> Value {
    serde_json::from_str(&stage.text("etc/docker/daemon.json")).unwrap()
}

const ALL: &str = "docker-userns-remap: true\ndocker-address-pools: [172.30.0.0/16:24, 'fd00:1::/48:64']\n\
    docker-data-root: /srv/docker\ndocker-experimental: true\n";

#[tokio::test]
async fn the_daemon_is_told_what_the_settings_say_and_restarted_once_before_agents() {
    let stage = with_docker(Stage::new().await.settings(ALL).under_systemd(), true).await;
    write(&stage, "etc/docker/daemon.json", r#"{"log-driver": "journald", "experimental": false}"#);
    write(
        &stage,
        "etc/passwd",
        "root:x:0:0::/root:/bin/bash\nbuildkite-agent:x:997:996::/var/lib/buildkite-agent:/bin/bash\n",
    );
    write(&stage, "etc/subuid", "admin:165536:65536\nbuildkite-agent:1:1\n");
    let run = stage.boot().await;
    assert_eq!(run.code, 0, "{}", run.stderr);
    let expected = json!({
        "log-driver": "journald",
        "userns-remap": "buildkite-agent",
        "default-address-pools": [
            {"base": "172.30.0.0/16", "size": 24},
            {"base": "fd00:1::/48", "size": 64}
        ],
        "data-root": "/srv/docker",
        "experimental": true
    });
    assert_eq!(daemon(&stage), expected);
    assert_eq!(
        stage.systemctl(),
        ["reset-failed docker.service", "restart docker.service", "start tidemark-agent@1.service"]
    );
    assert_eq!(
        stage.text("etc/subuid"),
        "buildkite-agent:997:1\nbuildkite-agent:100000:65536\nadmin:165536:65536\n"
    );
    assert_eq!(stage.text("etc/subgid"), "buildkite-agent:996:1\nbuildkite-agent:100000:65536\n");
    assert!(stage.text("etc/buildkite-agent/buildkite-agent.cfg").contains(",docker=27.3.1"));

    // Nothing changed, so nothing is restarted; but a restart that was cut off is made up for.
    assert_eq!(stage.boot().await.code, 0);
    let restarts = || stage.systemctl().iter().filter(|line| *line == "restart docker.service").count();
    assert_eq!(restarts(), 1);
    write(&stage, "run/tidemark/docker-restart", "");
    assert_eq!(stage.boot().await.code, 0);
    assert_eq!(restarts(), 2);
    assert_eq!(stage.boot().await.code, 0);
    assert_eq!(restarts(), 2);
}

#[tokio::test]
async fn a_daemon_that_needs_no_change_is_only_waited_for() {
    let stage = with_docker(Stage::new().await.under_systemd(), false).await;
    let mut child = stage.command(&["boot"]).spawn().unwrap();
    // Fetched beside the wait for the daemon.
    until("the token is fetched", || !stage.calls_of("secretsmanager.GetSecretValue").is_empty()).await;
    assert!(
        child.try_wait().unwrap().is_none() && stage.systemctl().is_empty(),
        "agents wait for the daemon"
    );
    let stage = with_docker(stage, true).await;
    assert!(child.wait_with_output().await.unwrap().status.success());
    assert_eq!(stage.systemctl(), ["start tidemark-agent@1.service"]);
    assert!(!stage.path("etc/docker/daemon.json").exists());
}

#[tokio::test]
async fn beside_running_agents_the_daemon_is_not_restarted() {
    let stage = with_docker(Stage::new().await, true).await;
    assert_eq!(stage.boot().await.code, 0);
    let stage = stage.settings("docker-experimental: true");
    let run = stage.boot().await;
    assert_eq!((run.code, stage.living()), (0, 1), "{}", run.stderr);
    assert!(run.stderr.contains("counts from the next reboot: agents run here"), "{}", run.stderr);
    assert_eq!(daemon(&stage), json!({"experimental": true}));
}

/// An instance type with a disk of its own, mounted there or nowhere.
fn with_disk(stage: &Stage, mounted: &Value) {
    let disk = json!({
        "path": "/dev/nvme1n1", "type": "disk", "model": "Amazon EC2 NVMe Instance Storage", "mountpoints": [mounted]
    });
    let listed = json!({ "blockdevices": [disk] });
    stage.executable("bin/lsblk", &format!("#!/bin/sh\ncat <<'END'\n{listed}\nEND\n"));
    stage.executable("bin/blkid", "#!/bin/sh\nexit 2\n");
}

#[tokio::test]
async fn beside_running_agents_a_volume_that_is_not_mounted_counts_as_none() {
    let stage = with_docker(Stage::new().await, true).await;
    assert_eq!(stage.boot().await.code, 0);
    let stage = stage.settings("instance-storage: ext4");
    with_disk(&stage, &Value::Null);
    let run = stage.boot().await;
    assert_eq!((run.code, stage.living()), (0, 1), "{}", run.stderr);
    assert!(run.stderr.contains("boot: storage: it counts from the next reboot"), "{}", run.stderr);
    assert!(!stage.path("etc/docker/daemon.json").exists(), "Docker is left where it is");

    let mount_point = stage.path("mnt/instance-storage");
    with_disk(&stage, &json!(mount_point));
    let run = stage.boot().await;
    assert_eq!((run.code, stage.living()), (0, 1), "{}", run.stderr);
    assert_eq!(daemon(&stage), json!({ "data-root": mount_point.join("docker") }));
}

#[tokio::test]
async fn a_dead_daemon_fails_the_boot_within_its_budget() {
    let stage = with_docker(Stage::new().await.under_systemd(), false).await;
    fails(&stage, 69, &["boot: docker: Docker does not answer on", "docker.sock", "journalctl -u docker"])
        .await;
    assert_eq!(stage.systemctl(), ["poweroff --no-block"]);
}

#[tokio::test]
async fn what_cannot_be_told_to_the_daemon_fails_at_once() {
    let stage = with_docker(Stage::new().await.settings("docker-experimental: true"), true).await;
    write(&stage, "etc/docker/daemon.json", "{not json");
    fails(&stage, 78, &["boot: docker:", "etc/docker/daemon.json", "correct it in the image"]).await;

    let stage = Stage::new().await.settings("docker-experimental: true");
    fails(&stage, 78, &["boot: docker: the docker-… settings: this image has no Docker"]).await;

    let stage = with_docker(Stage::new().await.settings("docker-userns-remap: true"), true).await;
    write(&stage, "etc/passwd", "root:x:0:0::/root:/bin/bash\n");
    fails(&stage, 78, &["boot: docker: docker-userns-remap: there is no user buildkite-agent"]).await;

    let stage = Stage::new().await.settings("docker-address-pools: 10.0.0.0/8\ndocker-data-root: here\n");
    fails(&stage, 78, &["`docker-address-pools` holds what is no pool", "`docker-data-root` is no path"])
        .await;
}
