//! Who may say what of jobs: real hooks, run as other users, below agents of their own or below none.

use std::process::Stdio;

use agent_bootstrap::units::AgentUnit;
use agent_bootstrap::units::process::Process;
use agent_bootstrap::watch::protocol::Answer;
use lifecycle::State;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout};
use tokio::task::LocalSet;

use crate::stage::{AGENTS, HOOK, Stage};

const STARTS: &str = "\"$PROGRAM\" hook environment > /dev/null 2>&1; echo \"started $?\"";
const ENDS: &str = "\"$PROGRAM\" hook pre-exit > /dev/null 2>&1; echo ended";

/// Only root can be somebody else.
fn is_root() -> bool {
    let is_root = nix::unistd::Uid::effective().is_root();
    if !is_root {
        eprintln!("SKIPPED: only root can ask as somebody else");
    }
    is_root
}

/// A process of the agents' user that runs each line it is given as a job: a child of its own.
struct Agent {
    child: Child,
    stdin: ChildStdin,
    said: Lines<BufReader<ChildStdout>>,
}

impl Agent {
    fn start(stage: &Stage) -> Self {
        let mut shell = stage.shell(AGENTS, "while read -r line; do sh -c \"$line\n:\"; echo over; done");
        // A group of its own, so that its jobs end with it.
        shell.process_group(0).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = shell.spawn().unwrap();
        let (stdin, stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        Self { child, stdin, said: BufReader::new(stdout).lines() }
    }

    fn process(&self) -> Process {
        Process::running(self.child.id().unwrap().try_into().unwrap()).unwrap()
    }

    async fn begin(&mut self, job: &str) {
        self.stdin.write_all(format!("{job}\n").as_bytes()).await.unwrap();
    }

    async fn says(&mut self) -> String {
        self.said.next_line().await.unwrap().unwrap()
    }

    /// Runs a job to its end: what it said.
    async fn run(&mut self, job: &str) -> Vec<String> {
        self.begin(job).await;
        let mut said = Vec::new();
        loop {
            match self.says().await.as_str() {
                "over" => return said,
                line => said.push(line.to_owned()),
            }
        }
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = killpg(Pid::from_raw(self.process().pid), Signal::SIGKILL);
    }
}

/// A watched instance with two agents.
async fn two_agents() -> (Stage, Agent, Agent) {
    let mut stage = Stage::new(Some(HOOK));
    stage.orders.agents = [1, 2]
        .map(|number| AgentUnit { number, name: format!("a-{number}"), program: "agent".into() })
        .into();
    let (one, two) = (Agent::start(&stage), Agent::start(&stage));
    stage.agent.borrow_mut().processes = [Some(one.process()), Some(two.process())];
    stage.watch().await;
    stage.until("the agents run", |s| s.state == State::Ready).await;
    (stage, one, two)
}

#[tokio::test]
async fn a_job_cannot_end_or_replace_another_agents_job() {
    if !is_root() {
        return;
    }
    LocalSet::new()
        .run_until(async {
            let (stage, mut good, mut bad) = two_agents().await;
            good.begin(&format!("export BUILDKITE_JOB_ID=good; {STARTS}; sleep 600")).await;
            assert_eq!(good.says().await, "started 0");

            // It says that the other one is over, and that it is the other's agent.
            let pid = good.process().pid;
            let said = bad
                .run(&format!(
                    "export BUILDKITE_JOB_ID=good BUILDKITE_AGENT_PID={pid}; {ENDS}; \
                     export BUILDKITE_JOB_ID=bad; {STARTS}"
                ))
                .await;
            assert_eq!(said, ["ended", "started 0"]);
            assert!(stage.status().await.jobs.contains(&"good".to_owned()));
            // It never told its own end, but its process is gone.
            stage.until("the bad job is over", |s| s.jobs == ["good"]).await;
            assert!(stage.is_protected());

            // Whatever it calls its job: it has one, which ends with it.
            let many = format!("for n in 1 2 3 4; do export BUILDKITE_JOB_ID=$n; {STARTS}; done; {ENDS}");
            assert_eq!(bad.run(&many).await.len(), 5);
            assert_eq!(stage.status().await.jobs, ["good"]);
        })
        .await;
}

#[tokio::test]
async fn the_agents_user_speaks_only_below_an_agent_and_strangers_never() {
    if !is_root() {
        return;
    }
    LocalSet::new()
        .run_until(async {
            let (stage, mut one, _two) = two_agents().await;
            one.begin(&format!("export BUILDKITE_JOB_ID=good; {STARTS}; sleep 600")).await;
            assert_eq!(one.says().await, "started 0");
            for (user, words) in [
                (AGENTS, "whoever says that is no job of an agent of this instance"),
                (65534, "only the agents' user and root may speak of jobs"),
            ] {
                let script =
                    "\"$PROGRAM\" hook pre-exit; export BUILDKITE_JOB_ID=new; \"$PROGRAM\" hook environment";
                let said = stage.shell(user, script).env("BUILDKITE_JOB_ID", "good").output().await.unwrap();
                let text = String::from_utf8_lossy(&said.stderr).into_owned();
                assert_eq!(said.status.code(), Some(75), "{text}");
                assert_eq!(text.matches(words).count(), 2, "{text}");
                assert_eq!(stage.status().await.jobs, ["good"]);
            }
            // Root may: by hand, and where agents have no user of their own.
            assert_eq!(stage.job_ends("good").await, Answer::done());
            assert_eq!(stage.status().await.jobs, Vec::<String>::new());
        })
        .await;
}
