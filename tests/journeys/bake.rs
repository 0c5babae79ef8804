//! The lab's AMI: the real Packer on a container, whose files then are the image that instances boot.

use std::path::Path;
use std::process::Command;

use lab::bake::bake;
use lab::children::lab_program;
use lab::engine::build_instance::{AMI, BuildInstance};
use lab::engine::container::{Container, ContainerOrder, ENGINE_INSIDE, Network};
use lab::engine::{Engine, folder_beside};
use lab::lab::{Lab, LabOptions};
use lab::stack::IMAGE_PARAMETER;
use serde_json::Value;

use crate::lone_cloud::Said;

/// A lab and an engine; none where no engine can run or Packer has no package, which is a failure on CI.
async fn workshop() -> Option<(Lab, Engine)> {
    let lab = Lab::start(LabOptions::default()).await.unwrap();
    let packer = Command::new("packer").arg("version").output();
    let reason = match (Engine::find(&folder_beside(lab.programs())).await, packer) {
        (Ok(engine), Ok(_)) => return Some((lab, engine)),
        (Err(reason), _) => reason.to_string(),
        (_, Err(reason)) => format!("no packer: {reason}"),
    };
    assert!(std::env::var_os("CI").is_none_or(|ci| ci.is_empty()), "{reason}");
    eprintln!("SKIPPED: {reason}");
    lab.stop().await.unwrap();
    None
}

/// A container of an AMI, with `binds`.
async fn container(engine: &Engine, ami: &str, command: &[&str], binds: Vec<String>) -> Container {
    let name = format!("tidemark-test-{ami}-{}-{}", command.len(), std::process::id());
    let order = ContainerOrder {
        hostname: "ip-10-0-0-1".to_owned(),
        name,
        image: format!("{AMI}:{ami}"),
        network: Network::None,
        command: command.iter().map(|word| (*word).to_owned()).collect(),
        binds,
    };
    Container::start(engine, order).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn packer_bakes_an_image_with_everything_and_it_boots() {
    let Some((lab, engine)) = workshop().await else { return };
    let baked = bake(&engine, lab.programs(), &|line| eprintln!("{line}")).await.unwrap();
    // As it lies there, before any boot.
    let still = container(&engine, &baked.ami, &["sleep", "infinity"], Vec::new()).await;
    let (status, report) = still.run(&["agent-bootstrap", "doctor", "--image", "--json"]).await.unwrap();
    let report: Value = serde_json::from_str(&report).unwrap();
    assert_eq!(status, 0, "{report:#}");
    let unwell: Vec<&Value> =
        report["checks"].as_array().unwrap().iter().filter(|check| check["verdict"] != "ok").collect();
    assert!(unwell.iter().all(|check| check["name"] == "buildkite-agent"), "{unwell:?}");
    let proxy = still.run(&["sh", "-c", "ls /etc/apt/apt.conf.d | grep proxy"]).await.unwrap();
    assert_eq!(proxy.1, "", "this machine's proxy is no part of an image");
    still.remove().await.unwrap();

    let folder = tempfile::tempdir().unwrap();
    let options = folder.path().join("docker");
    std::fs::write(&options, ENGINE_INSIDE).unwrap();
    let bind = format!("{}:/etc/default/docker:ro", options.display());
    let booted = container(&engine, &baked.ami, &["/sbin/init"], vec![bind]).await;
    // Without a metadata service boot tries again and again; it alone may not have come up.
    for unit in ["docker", "ssh"] {
        let up = format!("until systemctl is-active --quiet {unit}; do sleep 0.1; done");
        let (status, _) = booted.run(&["timeout", "120", "sh", "-c", &up]).await.unwrap();
        let journal = booted.run(&["journalctl", "--no-pager", "-n", "30", "-u", unit]).await.unwrap().1;
        assert_eq!(status, 0, "{unit}: {journal}");
    }
    let failed =
        booted.succeed(&["systemctl", "list-units", "--failed", "--plain", "--no-legend"]).await.unwrap();
    assert!(failed.lines().all(|line| line.starts_with("tidemark-")), "{failed}");
    for unit in ["docker.service", "tidemark-boot.service", "tidemark-watch.service"] {
        assert_eq!(
            booted.succeed(&["systemctl", "is-enabled", unit]).await.unwrap().trim(),
            "enabled",
            "{unit}"
        );
    }
    assert_eq!(
        booted.run(&["systemctl", "is-enabled", "apt-daily.timer"]).await.unwrap().1.trim(),
        "disabled"
    );
    for (command, word) in [
        ("docker version --format {{.Server.Version}}", "26."),
        ("docker buildx version", "buildx"),
        ("docker compose version", "Docker Compose version"),
        ("git --version", "git version"),
        ("git lfs version", "git-lfs/"),
        ("aws --version", "aws-cli/2"),
        ("jq --version", "jq-1"),
        ("sudo -u buildkite-agent docker ps --quiet", ""),
        ("sudo -u buildkite-agent sudo -n true || echo no sudo for jobs", "no sudo for jobs"),
        ("agent-bootstrap --version", env!("CARGO_PKG_VERSION")),
        ("build-agent --version", env!("CARGO_PKG_VERSION")),
        ("systemctl is-active ssh", "active"),
        ("systemd-analyze cat-config systemd/journald.conf", "SystemMaxUse=500M"),
    ] {
        let said = booted.succeed(&["sh", "-c", command]).await.unwrap();
        assert!(said.contains(word), "{command}: {said}");
    }
    let identity = booted.succeed(&["cat", "/etc/machine-id"]).await.unwrap();
    assert_eq!(identity.trim().len(), 32, "an instance finds its own: {identity}");
    booted.remove().await.unwrap();

    let again = bake(&engine, lab.programs(), &|line| panic!("nothing takes long: {line}")).await.unwrap();
    assert_eq!((again.ami, again.took), (baked.ami, None));
    lab.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_that_lacks_something_is_not_recorded() {
    let Some((lab, engine)) = workshop().await else { return };
    let baked = bake(&engine, lab.programs(), &|line| eprintln!("{line}")).await.unwrap();
    lab.stacks().use_image(&baked.ami).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let instance = BuildInstance::start(&engine, &baked.image(), folder.path()).await.unwrap();
    let script = folder.path().join("mine");
    let spoils = "#!/bin/sh\nrm /usr/bin/git-lfs\nuserdel buildkite-agent\nid -un > /etc/my-own\n\
        chmod 0644 /etc/sudoers.d/60-tidemark\nchmod g+w /etc/systemd/system/tidemark-boot.service\n";
    std::fs::write(&script, spoils).unwrap();

    let mut build = Command::new("make");
    build
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(".."))
        .args(["-s", "build-ami"])
        .envs(lab.admin_environment())
        .env_remove("AWS_PROFILE")
        .env_remove("MAKEFLAGS")
        .env_remove("MAKELEVEL")
        .env_remove("MFLAGS")
        .env("IMAGE_SSH", format!("{}@{}:{}", instance.ssh_user(), instance.ssh_host(), instance.ssh_port()))
        .env("IMAGE_SSH_KEY", instance.ssh_key())
        .env("IMAGE_SCRIPT", &script)
        .env("PROGRAMS", lab.programs());
    let failed: Said = tokio::task::spawn_blocking(move || build.output().unwrap().into()).await.unwrap();
    assert!(!failed.success && failed.stdout.is_empty(), "{failed:?}");
    for word in [
        "checks failed: git-lfs, access, user",
        "fix: install git-lfs",
        "fix: chmod go-w /etc/systemd/system/tidemark-boot.service; chmod 0440 /etc/sudoers.d/60-tidemark",
        "build-ami: packer failed",
    ] {
        assert!(failed.stderr.contains(word), "{word}: {}", failed.stderr);
    }
    let ran = instance.container().succeed(&["cat", "/etc/my-own"]).await.unwrap();
    assert_eq!(ran, "root\n", "the owner's script");
    let recorded = lab.session().await.ssm().get_parameter().name(IMAGE_PARAMETER).send().await.unwrap();
    assert_eq!(recorded.parameter.unwrap().value.unwrap(), baked.ami, "as before");
    instance.stop().await.unwrap();
    lab.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn where_there_is_no_packer_its_provisioners_make_the_image_and_it_says_so() {
    let Some((lab, engine)) = workshop().await else { return };
    let folder = tempfile::tempdir().unwrap();
    let path = std::env::var_os("PATH").unwrap();
    let programs =
        std::env::split_paths(&path).flat_map(std::fs::read_dir).flatten().map(|p| p.unwrap().path());
    for program in programs.filter(|program| program.file_name() != Some("packer".as_ref())) {
        // The first of a name wins, as on PATH.
        let _ = std::os::unix::fs::symlink(&program, folder.path().join(program.file_name().unwrap()));
    }
    let mut bake = tokio::process::Command::new(lab_program().unwrap());
    let said: Said = bake.arg("bake").env("PATH", folder.path()).output().await.unwrap().into();
    assert!(said.success, "{said:?}");
    assert!(said.stderr.contains("made by packer/provision alone, since there is no packer"), "{said:?}");
    let ami = said.stdout.trim().strip_prefix(&format!("{AMI}:")).unwrap();
    let still = container(&engine, ami, &["sleep", "infinity"], Vec::new()).await;
    still.succeed(&["agent-bootstrap", "doctor", "--image"]).await.unwrap();
    still.succeed(&["skopeo", "--version"]).await.unwrap();
    still.remove().await.unwrap();
    lab.stop().await.unwrap();
}
