//! The Docker engine of container instances, in a chroot too; the base image; a build instance that becomes an AMI's image.
#![allow(clippy::unwrap_used, reason = "a test's failure is its message")]

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use bollard::body_full;
use bollard::query_parameters::{
    CreateImageOptionsBuilder, DownloadFromContainerOptionsBuilder, UploadToContainerOptionsBuilder,
};
use futures::StreamExt as _;
use lab::children::until_all_ended;
use lab::engine::build_instance::{AMI, BuildInstance};
use lab::engine::container::{Container, ContainerOrder, Network};
use lab::engine::{Engine, folder_beside, until_ended};
use lab::instances::programs;

/// The engine, or none where none can run; on CI that is a failure.
async fn engine(folder: &Path) -> Option<Engine> {
    match Engine::find(folder).await {
        Ok(engine) => Some(engine),
        Err(reason) => {
            assert!(std::env::var_os("CI").is_none_or(|ci| ci.is_empty()), "{reason}");
            eprintln!("SKIPPED: {reason}");
            None
        }
    }
}

fn ssh(instance: &BuildInstance, command: &str) -> String {
    let output = Command::new("ssh")
        .args([
            "-o",
            "StrictHostKeyChecking=no",
            "-o",
            "UserKnownHostsFile=/dev/null",
            "-o",
            "LogLevel=ERROR",
        ])
        .arg("-i")
        .arg(instance.ssh_key())
        .args(["-p", &instance.ssh_port().to_string()])
        .arg(format!("{}@{}", instance.ssh_user(), instance.ssh_host()))
        .arg(command)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[tokio::test]
async fn what_is_built_over_ssh_becomes_an_image_that_boots() {
    let Some(engine) = engine(&folder_beside(&programs().unwrap())).await else { return };
    let base = engine.base_image(|what| eprintln!("{what}")).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let instance = BuildInstance::start(&engine, base, folder.path()).await.unwrap();
    assert_eq!(ssh(&instance, "sudo id -un"), "root\n");
    ssh(&instance, "echo built | sudo tee /etc/built-here && sudo systemctl enable ssh");
    let ami = format!("ami-test-{}", std::process::id());
    instance.become_ami(&ami).await.unwrap();
    instance.stop().await.unwrap();

    let order = ContainerOrder {
        name: format!("tidemark-test-{ami}"),
        hostname: "ip-10-0-0-1".into(),
        image: format!("{AMI}:{ami}"),
        network: Network::None,
        command: vec!["/sbin/init".into()],
        binds: Vec::new(),
    };
    let container = Container::start(&engine, order).await.unwrap();
    assert_eq!(container.booted(Duration::from_secs(120)).await.unwrap(), "running");
    assert_eq!(container.succeed(&["cat", "/etc/built-here"]).await.unwrap(), "built\n");
    assert_eq!(container.run(&["ls", "/usr/sbin/policy-rc.d"]).await.unwrap().0, 2, "left in the image");
    let links = container.succeed(&["ls", "/sys/class/net"]).await.unwrap();
    assert_eq!(links, "lo\n", "a network of its own");
    container.remove().await.unwrap();
    assert!(!container.runs().await.unwrap());
    engine.remove_image(&format!("{AMI}:{ami}")).await.unwrap();
}

/// A system without files of its own but for what is written there: programs are this machine's.
async fn bare_image(engine: &Engine, image: &str) {
    let folder = tempfile::tempdir().unwrap();
    for name in ["usr", "etc", "proc", "sys", "dev", "run", "tmp"] {
        std::fs::create_dir(folder.path().join(name)).unwrap();
    }
    for name in ["bin", "lib", "lib64"] {
        std::os::unix::fs::symlink(format!("usr/{name}"), folder.path().join(name)).unwrap();
    }
    let (repository, tag) = image.split_once(':').unwrap();
    let options = CreateImageOptionsBuilder::default().from_src("-").repo(repository).tag(tag).build();
    let archive = body_full(packed(folder.path()).into());
    let made: Vec<_> = engine.docker().create_image(Some(options), Some(archive), None).collect().await;
    assert!(made.iter().all(Result::is_ok), "{made:?}");
}

fn packed(folder: &Path) -> Vec<u8> {
    let tar = Command::new("tar").args(["--owner=0", "--group=0", "-c", "-C"]).arg(folder).arg(".").output();
    tar.unwrap().stdout
}

#[tokio::test(flavor = "multi_thread")]
async fn files_written_inside_are_seen_outside_and_the_other_way_round() {
    let folder = tempfile::tempdir().unwrap();
    let Some(engine) = engine(folder.path()).await else { return };
    let name = format!("tidemark-test-files-{}", std::process::id());
    let image = format!("{name}:bare");
    bare_image(&engine, &image).await;
    let order = ContainerOrder {
        hostname: "ip-10-0-0-1".into(),
        name: name.clone(),
        image: image.clone(),
        network: Network::None,
        command: vec!["sleep".into(), "infinity".into()],
        binds: vec!["/usr:/usr:ro".into()],
    };
    let container = Container::start(&engine, order).await.unwrap();
    container.succeed(&["sh", "-c", "echo from inside > /written"]).await.unwrap();
    assert!(!Path::new("/written").exists(), "what runs in a container runs on this machine");
    let options = DownloadFromContainerOptionsBuilder::default().path("/written").build();
    let parts: Vec<_> = engine.docker().download_from_container(&name, Some(options)).collect().await;
    let archive: Vec<u8> = parts.into_iter().flat_map(|part| part.unwrap()).collect();
    assert!(archive.windows(11).any(|bytes| bytes == b"from inside"), "{} bytes", archive.len());

    let sent = tempfile::tempdir().unwrap();
    std::fs::write(sent.path().join("sent"), "from outside").unwrap();
    let options = UploadToContainerOptionsBuilder::default().path("/").build();
    let archive = body_full(packed(sent.path()).into());
    engine.docker().upload_to_container(&name, Some(options), archive).await.unwrap();
    assert_eq!(container.succeed(&["cat", "/sent"]).await.unwrap(), "from outside");
    container.remove().await.unwrap();
    engine.remove_image(&image).await.unwrap();
    drop(engine);
    drop(container);
    tokio::task::block_in_place(|| {
        // The guard first, which needs the engine until it has done its work.
        until_all_ended();
        until_ended(folder.path());
    });
}

/// `$1` is a folder to work in, `$2` what kind of chroot, then comes what runs there.
const IN_A_CHROOT: &str = r#"
set -e
place=$1 kind=$2; shift 2
mount -t tmpfs tidemark-test "$place"
root=$place/root
mkdir "$root"
case $kind in
    mount) mount --rbind / "$root" ;;
    folder)
        for entry in /*; do
            if [ -L "$entry" ]; then
                cp -P "$entry" "$root/"
            elif [ -d "$entry" ]; then
                mkdir "$root$entry"
                mount --rbind "$entry" "$root$entry"
            fi
        done ;;
esac
exec chroot "$root" "$@"
"#;

/// As in a build root or a rescue system: with a root of its own on the machine's mounts.
#[test]
fn files_are_seen_in_a_chroot_too() {
    if !nix::unistd::Uid::effective().is_root() {
        eprintln!("SKIPPED: a chroot needs root");
        return;
    }
    for kind in ["mount", "folder"] {
        let place = tempfile::tempdir().unwrap();
        let inside = Command::new("unshare")
            .args(["--mount", "--propagation", "private", "sh", "-c", IN_A_CHROOT, "chroot"])
            .arg(place.path())
            .arg(kind)
            .arg(std::env::current_exe().unwrap())
            .args(["--exact", "files_written_inside_are_seen_outside_and_the_other_way_round"])
            .arg("--nocapture")
            // The machine's own engine has the machine's root.
            .env("DOCKER_HOST", "unix:///nonexistent")
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&inside.stdout) + String::from_utf8_lossy(&inside.stderr);
        assert!(inside.status.success() && said.contains("1 passed"), "{kind}: {said}");
        eprint!("{said}");
    }
}
