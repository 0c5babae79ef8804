//! From boot to jobs and back to nothing, and scale-in beside a running job.

use lab::group::model::Lifecycle;

use super::{machine, nobody_was_denied, returns_to_zero, scene, unit};

/// Two jobs that need each other, so two agents must run them at once; then real Docker, as the agents' user.
fn meets(own: &str, other: &str) -> String {
    format!(
        "touch /var/tmp/{own}; until [ -e /var/tmp/{other} ]; do sleep 0.1; done; echo \"$(id -un) on $(cat /proc/1/comm)\"; \
         until docker info > /dev/null 2>&1; do sleep 0.2; done; docker info --format 'engine of {{{{.Name}}}}'"
    )
}

#[tokio::test]
async fn two_agents_of_one_instance_boot_to_jobs_and_leave_when_idle() {
    let Some(scene) = scene(&[("MaxSize", "2"), ("AgentsPerInstance", "2")]).await else { return };
    let first = scene.queue("app", &meets("first", "second")).await;
    let second = scene.queue("app", &meets("second", "first")).await;
    let decision = scene.tick().await.unwrap();
    assert_eq!((&decision["from"], &decision["to"]), (&0.into(), &1.into()), "{decision}");
    let id = scene.in_service(1).await[0].id.clone();
    let mut agents = Vec::new();
    for job in [&first, &second] {
        let (status, log) = scene.ended(job).await;
        assert_eq!(status, 0, "{log}");
        assert!(log.contains("buildkite-agent on systemd"), "{log}");
        assert!(log.contains(&format!("engine of {id}")), "{log}");
        let job = scene.job_until(job, &["passed"]).await;
        agents.push(job["agent_name"].as_str().unwrap().to_owned());
    }
    agents.sort();
    assert_eq!(agents, [format!("ci-{id}-1"), format!("ci-{id}-2")]);

    let inside = machine(&scene, &id);
    for name in ["tidemark-boot", "tidemark-watch", "tidemark-agent@1", "tidemark-agent@2", "docker"] {
        assert_eq!(unit(&inside, name, "ActiveState").await, "active", "{name}");
    }
    // The metadata service has its own address, and nothing but the lab is in reach.
    let variables = inside.succeed(&["cat", "/etc/tidemark/environment"]).await.unwrap();
    assert!(!variables.contains("METADATA"), "{variables}");
    returns_to_zero(&scene).await;
    let console = scene.lab.instances().console(&id).unwrap();
    assert!(console.contains("boot: ready in"), "the console stays when the instance has gone: {console}");
    nobody_was_denied(&scene);
    scene.lab.stop().await.unwrap();
}

#[tokio::test]
async fn scale_in_beside_a_running_job_waits_for_it() {
    let Some(scene) = scene(&[("MaxSize", "1")]).await else { return };
    let job = scene.queue("long", "until [ -e /var/tmp/enough ]; do sleep 0.1; done; echo done well").await;
    scene.tick().await.unwrap();
    let id = scene.in_service(1).await[0].id.clone();
    scene.job_until(&job, &["running"]).await;
    let terminate = ["autoscaling", "terminate-instance-in-auto-scaling-group", "--instance-id", &id];
    let said = scene.aws(&[&terminate[..], &["--should-decrement-desired-capacity"]].concat()).await;
    assert!(said.success, "{}", said.stderr);
    let heartbeats = || scene.calls("autoscaling:RecordLifecycleActionHeartbeat", &id);
    let group = scene.group_until(|g| heartbeats() >= 2 || g.member(&id).is_none()).await;
    let member = group.member(&id).expect("the instance went before its job");
    assert_eq!(member.lifecycle, Lifecycle::TerminatingWait);
    machine(&scene, &id).succeed(&["touch", "/var/tmp/enough"]).await.unwrap();
    let (status, log) = scene.ended(&job).await;
    assert_eq!(status, 0, "{log}");
    assert!(log.contains("done well"), "{log}");
    let group = scene.group_until(|g| g.members.is_empty()).await;
    assert_eq!(group.desired, 0);
    nobody_was_denied(&scene);
    scene.lab.stop().await.unwrap();
}
