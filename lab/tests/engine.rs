//! The Docker engine of container instances, the base image, and a build instance that becomes an AMI's image.
#![allow(clippy::unwrap_used, reason = "a test's failure is its message")]

use std::process::Command;
use std::time::Duration;

use lab::engine::build_instance::{AMI, BuildInstance};
use lab::engine::container::{Container, ContainerOrder, Network};
use lab::engine::{Engine, folder_beside};
use lab::instances::programs;

/// The engine, or none where none can run: then the test says that it was skipped, and why.
async fn engine() -> Option<Engine> {
    match Engine::find(&folder_beside(&programs().unwrap())).await {
        Ok(engine) => Some(engine),
        Err(reason) => {
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
    let Some(engine) = engine().await else { return };
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
    assert_eq!(container.booted(Duration::from_secs(60)).await.unwrap(), "running");
    assert_eq!(container.succeed(&["cat", "/etc/built-here"]).await.unwrap(), "built\n");
    assert_eq!(container.run(&["ls", "/usr/sbin/policy-rc.d"]).await.unwrap().0, 2, "left in the image");
    let links = container.succeed(&["ls", "/sys/class/net"]).await.unwrap();
    assert_eq!(links, "lo\n", "a network of its own");
    container.remove().await.unwrap();
    assert!(!container.runs().await.unwrap());
    engine.remove_image(&format!("{AMI}:{ami}")).await.unwrap();
}
