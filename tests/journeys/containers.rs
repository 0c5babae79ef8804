//! Journeys on container instances: systemd, units, real Docker and reboots, on instances of the lab's AMI.

mod crashes;
mod jobs;
mod reboots;

use std::time::{Duration, Instant};

use lab::engine::container::Container;
use lab::engine::{Engine, folder_beside};
use lab::instances::kind::InstanceKind;
use lab::instances::programs;

use crate::scene::{PATIENCE, Scene};

/// Quick to let go, quick to look.
const SETTINGS: &str = "idle-period: 1s\npoll-interval: 200ms\nheartbeat-interval: 1s\n";

/// The engine. Where none can run, the test is skipped and says so; on CI that is a failure.
pub async fn engine() -> Option<Engine> {
    match Engine::find(&folder_beside(&programs().unwrap())).await {
        Ok(engine) => Some(engine),
        Err(reason) => {
            assert!(std::env::var_os("CI").is_none_or(|ci| ci.is_empty()), "{reason}");
            eprintln!("SKIPPED, no container instances here: {reason}");
            None
        }
    }
}

/// A stack whose instances are containers.
async fn scene(parameters: &[(&str, &str)]) -> Option<Scene> {
    let kind = InstanceKind::Containers(engine().await?);
    let all: Vec<_> = parameters.iter().copied().chain([("Settings", SETTINGS)]).collect();
    // One tick an invocation.
    Some(Scene::on(kind, &all, vec![("LAMBDA_TIMEOUT".to_owned(), "1s".to_owned())]).await)
}

/// The container of an instance.
fn machine(scene: &Scene, id: &str) -> Container {
    scene.lab.instances().containers().unwrap().container(id).unwrap()
}

/// The first instance as soon as it runs, long before it is in service.
async fn first_machine(scene: &Scene) -> (String, Container) {
    let begun = Instant::now();
    loop {
        if let Some(id) = scene.lab.instances().running().pop() {
            let container = machine(scene, &id);
            return (id, container);
        }
        assert!(begun.elapsed() < PATIENCE, "no instance: {:?}", scene.group());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A property of a unit, as systemd has it.
async fn unit(machine: &Container, name: &str, property: &str) -> String {
    let show = ["systemctl", "show", "--value", "--property", property, name];
    machine.succeed(&show).await.unwrap().trim().to_owned()
}

/// Waits until a command inside succeeds.
async fn until_inside(machine: &Container, command: &str) {
    let begun = Instant::now();
    loop {
        // While it boots, the engine may refuse to run anything.
        let answer = machine.run(&["sh", "-c", command]).await;
        if answer.as_ref().is_ok_and(|(status, _)| *status == 0) {
            return;
        }
        assert!(begun.elapsed() < PATIENCE, "never true: {command}: {answer:?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Idle instances lose their protection, the scaler takes them, and their containers are gone.
async fn returns_to_zero(scene: &Scene) {
    scene.group_until(|g| g.members.iter().all(|m| !m.protected)).await;
    let decision = scene.tick().await.unwrap();
    assert_eq!((&decision["step"], &decision["to"]), (&"scale-in".into(), &0.into()), "{decision}");
    let group = scene.group_until(|g| g.members.is_empty()).await;
    assert_eq!(group.desired, 0);
    assert_eq!(scene.lab.instances().running(), Vec::<String>::new());
}

/// Nobody was refused anything: the template's roles suffice.
fn nobody_was_denied(scene: &Scene) {
    let denied: Vec<_> = scene.lab.endpoint().calls().into_iter().filter(|call| call.denied > 0).collect();
    assert!(denied.is_empty(), "{denied:?}");
}
