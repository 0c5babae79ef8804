//! Journeys on container instances: systemd, units, real Docker and reboots, on instances of the lab's AMI.

mod boot_crashes;
mod brake;
mod crashes;
mod disk;
mod jobs;
mod logs;
mod notices;
mod reboots;
mod refreshed;
mod replacements;
mod rolls;
mod surroundings;
mod trouble;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use lab::engine::build_instance::AMI;
use lab::engine::container::{Container, ContainerOrder, Network};
use lab::engine::{Engine, folder_beside};
use lab::instances::kind::InstanceKind;
use lab::instances::programs;
use lab::lab::Lab;

use crate::scene::{PATIENCE, Scene, until};

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
    let all: Vec<_> = [("Settings", SETTINGS)].into_iter().chain(parameters.iter().copied()).collect();
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

/// How many instances there have ever been.
fn launched(scene: &Scene) -> usize {
    let ids: BTreeSet<String> =
        scene.group().activities.iter().map(|activity| activity.instance.clone()).collect();
    ids.len()
}

/// Writes a parameter as a stack's owner does.
async fn put_parameter(scene: &Scene, name: &str, value: &str) {
    let put = ["ssm", "put-parameter", "--overwrite", "--type", "String", "--name", name];
    let said = scene.aws(&[&put[..], &["--value", value]].concat()).await;
    assert!(said.success, "{}", said.stderr);
}

/// Queues a job that runs until `/var/tmp/enough` is there, and waits until it runs: its instance, and the job.
async fn busy(scene: &Scene) -> (String, String) {
    let job = scene
        .queue("long", "echo begun; until [ -e /var/tmp/enough ]; do sleep 0.1; done; echo done well")
        .await;
    if scene.group().in_service() == 0 {
        scene.tick().await.unwrap();
    }
    let running = scene.job_until(&job, &["running"]).await;
    scene.log_until(&job, "\nbegun").await;
    let agent = running["agent_name"].as_str().unwrap();
    let holder = scene.group().members.iter().find(|m| agent.contains(&m.id)).unwrap().id.clone();
    (holder, job)
}

/// Lets the job of [`busy`] come to its good end.
async fn enough(scene: &Scene, id: &str, job: &str) {
    machine(scene, id).succeed(&["touch", "/var/tmp/enough"]).await.unwrap();
    let (status, log) = scene.ended(job).await;
    assert_eq!(status, 0, "{log}");
    assert!(log.contains("done well"), "{log}");
}

/// An AMI made of the lab's own by a command in it.
struct OtherAmi {
    engine: Engine,
    id: String,
}

impl OtherAmi {
    async fn make(engine: &Engine, lab: &Lab, command: &str) -> Self {
        let id = format!("ami-{:017x}", std::process::id());
        let order = ContainerOrder {
            name: format!("tidemark-test-{id}"),
            hostname: "ip-10-0-0-1".into(),
            image: lab.ami().unwrap().image(),
            network: Network::None,
            command: vec!["sleep".into(), "infinity".into()],
            binds: Vec::new(),
        };
        let container = Container::start(engine, order).await.unwrap();
        container.succeed(&["sh", "-c", command]).await.unwrap();
        container.commit(AMI, &id).await.unwrap();
        container.remove().await.unwrap();
        Self { engine: engine.clone(), id }
    }

    /// Its instances have to be gone.
    async fn remove(self) {
        self.engine.remove_image(&format!("{AMI}:{}", self.id)).await.unwrap();
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
