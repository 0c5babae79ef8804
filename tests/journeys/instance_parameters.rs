//! What a stack's parameters do on its instances: the agents' configuration, and what a job sees of it.

use serde_json::json;

use crate::scene::Scene;

#[tokio::test]
async fn the_parameters_of_a_stack_show_on_its_instance_and_in_its_jobs() {
    let parameters = [
        ("BuildkiteQueue", "deploy"),
        ("BuildkiteAgentTags", "size=large"),
        ("AgentsPerInstance", "2"),
        ("MinSize", "1"),
        ("MaxSize", "1"),
        ("InstanceTypes", "c7a.large,c7i.large"),
        ("Settings", "agent-priority: 7\n"),
    ];
    let scene = Scene::start(&parameters, Vec::new()).await;
    // MinSize: nobody asked for this one. MaxSize is no more, so it stays however idle it is.
    let member = scene.in_service(1).await.remove(0);
    assert_eq!(member.instance_type, "c7a.large", "the first of InstanceTypes");
    let folder = scene.lab.instances().folder(&member.id);
    let file = |name: &str| std::fs::read_to_string(folder.join(name)).unwrap();
    let config = file("etc/buildkite-agent/buildkite-agent.cfg");
    for part in ["queue=deploy", "size=large", "instance-type=c7a.large", "priority=\"7\""] {
        assert!(config.contains(part), "{part}: {config}");
    }
    // BuildkiteAgentToken and AgentEndpoint: the CI lets these agents in, and they are two.
    let script =
        "echo \"$BUILDKITE_AGENT_NAME $BUILDKITE_AGENT_META_DATA_QUEUE $BUILDKITE_AGENT_META_DATA_SIZE\"";
    // Each waits for the other one, so that both agents have to come.
    let meet = scene.lab.folder().join("meet").display().to_string();
    let on_queue = |n: u32| {
        let waits = format!("touch '{meet}-{n}'; until [ -e '{meet}-{}' ]; do sleep 0.1; done", 3 - n);
        json!({"jobs": [{"command": format!("{script}; {waits}"), "queue": "deploy"}]})
    };
    let jobs = [scene.queue_as("app", "", on_queue(1)).await, scene.queue_as("app", "", on_queue(2)).await];
    let mut agents = std::collections::BTreeSet::new();
    for job in &jobs {
        let (status, log) = scene.ended(job).await;
        assert!(status == 0 && log.contains(" deploy large"), "{log}");
        let ended = scene.job_until(job, &["passed"]).await;
        agents.insert(ended["agent_name"].as_str().unwrap().to_owned());
    }
    assert_eq!(agents, [1, 2].map(|n| format!("ci-{}-{n}", member.id)).into());
    // A job of another queue is not for this stack.
    let other = scene.queue("app", "true").await;
    let waits = scene.job_until(&other, &["scheduled"]).await;
    assert!(waits["agent_name"].is_null(), "{waits}");
    scene.lab.stop().await.unwrap();
}
