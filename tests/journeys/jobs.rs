//! What a job leaves behind ends with it, unless the stack lets it live.

use agent_bootstrap::units::process::Process;

use crate::scene::Scene;

/// The process that a job left behind in a session of its own, and is over when this is answered.
async fn left_behind(scene: &Scene) -> Option<Process> {
    let file = scene.lab.folder().join("daemon");
    let command = format!(
        "setsid sh -c 'echo $$ > {0}; exec sleep 600' > /dev/null 2>&1 & until [ -s {0} ]; do sleep 0.05; done",
        file.display()
    );
    let (status, log) = scene.run("app", &command).await;
    assert_eq!(status, 0, "{log}");
    Process::running(std::fs::read_to_string(&file).unwrap().trim().parse().unwrap())
}

#[tokio::test]
async fn a_daemon_ends_with_the_job_that_started_it() {
    let scene = Scene::start(&[("MinSize", "1"), ("MaxSize", "1")], Vec::new()).await;
    assert_eq!(left_behind(&scene).await, None);
    scene.lab.stop().await.unwrap();
}

#[tokio::test]
async fn a_stack_may_let_daemons_live_on() {
    let settings = [("MinSize", "1"), ("MaxSize", "1"), ("Settings", "keep-job-processes: true")];
    let scene = Scene::start(&settings, Vec::new()).await;
    assert!(left_behind(&scene).await.is_some_and(Process::is_alive));
    scene.lab.stop().await.unwrap();
}
