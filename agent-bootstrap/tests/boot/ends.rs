//! Whom a boot tells how it ended.

use tokio::io::{AsyncBufReadExt as _, BufReader};

use crate::stage::{Stage, until};

const ABANDONED: &str = "CompleteLifecycleAction launching ABANDON";
const CONTINUED: &str = "CompleteLifecycleAction launching CONTINUE";

#[tokio::test]
async fn a_boot_that_went_well_is_told_to_all_who_wait() {
    let stage = Stage::new().await.under_systemd();
    stage.change(|world| world.creating = true);
    let run = stage.boot().await;
    assert_eq!(run.code, 0, "{}", run.stderr);
    let calls = stage.calls();
    assert_eq!(calls[1..], [CONTINUED, "SignalResource ci/Group SUCCESS", "PutMetricData"]);
    assert_eq!(stage.change(|world| world.state), "InService");
    assert_eq!(stage.systemctl(), ["start tidemark-agent@1.service"]);
    let metrics = stage.change(|world| world.metrics.remove(0));
    for word in ["Tidemark", "BootSeconds", "Stack", "Phase", "identity", "agent token", "total", "Seconds"] {
        assert!(metrics.contains(word), "no {word} in {metrics:?}");
    }
}

#[tokio::test]
async fn nobody_waits_for_most_instances() {
    let stage = Stage::new().await;
    stage.change(|world| world.state = "InService");
    let run = stage.boot().await;
    assert_eq!((run.code, stage.living()), (0, 1), "{}", run.stderr);
    assert!(!run.stderr.contains("could not"), "{}", run.stderr);
}

#[tokio::test]
async fn a_boot_quicker_than_its_group_tells_it_again() {
    let stage = Stage::new().await;
    stage.change(|world| world.state = "Pending");
    let run = stage.boot().await;
    assert_eq!((run.code, stage.living()), (0, 1), "{}", run.stderr);
    assert_eq!(stage.change(|world| world.state), "InService");
    assert_eq!(stage.calls_of("CompleteLifecycleAction").len(), 2);
}

#[tokio::test]
async fn no_agent_runs_on_an_instance_that_its_hook_would_give_up() {
    let stage = Stage::new().await;
    stage.refuse("CompleteLifecycleAction", 1, "AccessDenied", "not authorized");
    let run = stage.boot().await;
    assert_eq!((run.code, stage.living()), (77, 0), "{}", run.stderr);
    assert!(
        run.stderr.contains("boot: launch action: autoscaling:CompleteLifecycleAction"),
        "{}",
        run.stderr
    );
}

#[tokio::test]
async fn a_failed_boot_gives_its_instance_up_and_powers_it_off() {
    let stage = Stage::new().await.settings("idle-perod: 5m\n").under_systemd();
    stage.change(|world| world.creating = true);
    let run = stage.boot().await;
    assert_eq!(run.code, 78, "{}", run.stderr);
    let calls = stage.calls();
    for call in [ABANDONED, "SignalResource ci/Group FAILURE", "SetInstanceHealth i-0abc Unhealthy"] {
        assert!(calls.iter().any(|c| c == call), "no {call} in {calls:?}");
    }
    assert_eq!(stage.change(|world| world.state), "Terminating:Proceed", "no hook waits for a dead instance");
    assert_eq!(stage.systemctl(), ["poweroff --no-block"], "and no agent was started");
    let lines: Vec<&str> = run.stderr.lines().filter(|l| l.contains("boot: settings:")).collect();
    assert_eq!(lines.len(), 1, "one line says why: {}", run.stderr);
    assert!(run.stderr.contains("i-0abc: the launch is abandoned"), "{}", run.stderr);
    assert!(run.stderr.contains("CloudFormation is told"), "{}", run.stderr);
}

#[tokio::test]
async fn a_boot_that_fails_before_its_group_waits_gives_its_instance_up_once_it_does() {
    let stage = Stage::new().await.settings("idle-perod: 5m\n");
    stage.change(|world| world.state = "Pending");
    let run = stage.boot().await;
    assert_eq!(run.code, 78, "{}", run.stderr);
    assert_eq!(stage.calls_of(ABANDONED).len(), 2, "{:?}", stage.calls());
    assert_eq!(stage.change(|world| world.state), "Terminating:Proceed", "{}", run.stderr);
}

#[tokio::test]
async fn metrics_that_nobody_takes_fail_no_boot() {
    let stage = Stage::new().await;
    stage.change(|world| world.silent.insert("PutMetricData".to_owned()));
    let mut child = stage.command(&["boot"]).spawn().unwrap();
    until("an agent runs", || stage.living() > 0).await;
    assert!(child.try_wait().unwrap().is_none(), "agents come first");
    assert!(child.wait().await.unwrap().success());
}

#[tokio::test]
async fn in_a_warm_pool_agents_start_when_the_group_wants_them() {
    let stage = Stage::new().await;
    stage.change(|world| world.state = "Warmed:Pending:Wait");
    let target = "meta-data/autoscaling/target-lifecycle-state".to_owned();
    stage.change(|world| world.metadata.insert(target.clone(), "Warmed:Running".to_owned()));
    let mut child = stage.command(&["boot"]).spawn().unwrap();
    let mut said = BufReader::new(child.stderr.take().unwrap()).lines();
    while !said.next_line().await.unwrap().unwrap().contains("boot: prepared; agents start when") {}
    assert_eq!(stage.change(|world| world.state), "Warmed:Running");
    assert!(stage.path("etc/buildkite-agent/buildkite-agent.cfg").exists(), "it is prepared");
    assert!(!stage.layout.instance_file().exists() && stage.living() == 0, "and no more than that");
    // It leaves the pool: the launching hook holds it once more, and its token was rotated meanwhile.
    stage.secret(Ok("r0tated"));
    stage.change(|world| {
        world.state = "Pending:Wait";
        world.metadata.insert(target, "InService".to_owned())
    });
    assert!(child.wait().await.unwrap().success());
    assert_eq!((stage.change(|world| world.state), stage.living()), ("InService", 1));
    assert!(stage.text("etc/buildkite-agent/buildkite-agent.cfg").contains("token=\"r0tated\"\n"));
}

#[tokio::test]
async fn an_instance_that_its_group_ends_starts_no_agents() {
    for target in ["Terminated", "Warmed:Terminated"] {
        let stage = Stage::new().await;
        let path = "meta-data/autoscaling/target-lifecycle-state".to_owned();
        stage.change(|world| world.metadata.insert(path, target.to_owned()));
        let run = stage.boot().await;
        assert_eq!((run.code, stage.living()), (0, 0), "{}", run.stderr);
        assert!(run.stderr.contains("no agent was started"), "{}", run.stderr);
        assert_eq!(stage.calls_of("SetInstanceHealth").len(), 0);
    }
}

#[tokio::test]
async fn the_report_tells_of_the_last_boot() {
    let stage = Stage::new().await;
    let run = stage.run(&["boot", "--report"]).await;
    assert_eq!((run.code, stage.calls().len()), (1, 0));
    assert!(run.stderr.contains("no boot has ended here yet"), "{}", run.stderr);
    assert_eq!(stage.boot().await.code, 0);
    let run = stage.run(&["boot", "--report"]).await;
    assert_eq!(run.code, 0, "{}", run.stderr);
    for words in ["i-0abc: ready in ", "phase ", "agent token ", "launch action "] {
        assert!(run.stdout.contains(words), "{}", run.stdout);
    }
    stage.secret(Err(("AccessDeniedException", "not authorized")));
    assert_eq!(stage.boot().await.code, 77);
    let run = stage.run(&["boot", "--report", "--json"]).await;
    let report: serde_json::Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!(report["outcome"], "failed");
    assert!(report["error"].as_str().unwrap().starts_with("boot: agent token:"), "{report}");
}
