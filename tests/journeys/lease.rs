//! Two scalers on one group and one table: both raise, one lowers, and the other does once that one is gone.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use jiff::Timestamp;
use lab::endpoint::faults::{Effect, Fault};
use scaler::lease::SILENT;
use serde_json::Value;
use tokio::process::{Child, Command};

use crate::counts::{Answer, Counts};
use crate::scene::{Scene, until};

/// `scaler run` under the template's role.
struct Daemon {
    child: Child,
    log: PathBuf,
}

impl Daemon {
    fn start(scene: &Scene, counts: &Counts, name: &str) -> Self {
        let role = &scene.stack.resources["ScalerRole"];
        let log = scene.lab.folder().join(format!("{name}.log"));
        let mut command = Command::new(scene.lab.programs().join("scaler"));
        command.arg("run").env_clear();
        command.envs(scene.lab.endpoint().mint_session(role, name).environment());
        command.envs([
            ("AWS_ENDPOINT_URL", scene.lab.endpoint().url()),
            ("AWS_REGION", lab::lab::REGION),
            ("ASG_NAME", "ci-instances"),
            ("BUILDKITE_AGENT_TOKEN", "token"),
            ("STATE_TABLE", scene.stack.resources["ScalerState"].as_str()),
            ("LAMBDA_INTERVAL", "300ms"),
        ]);
        let endpoint = counts.environment().into_iter().find(|(name, _)| name == "BUILDKITE_AGENT_ENDPOINT");
        command.envs(endpoint);
        command.stdout(std::fs::File::create(&log).unwrap()).stderr(Stdio::inherit()).kill_on_drop(true);
        Self { child: command.spawn().unwrap(), log }
    }

    fn scale_ins(&self) -> Vec<Value> {
        let log = std::fs::read_to_string(&self.log).unwrap();
        let decisions = log.lines().filter(|line| line.starts_with(r#"{"at":"#));
        let decisions = decisions.filter_map(|line| serde_json::from_str::<Value>(line).ok());
        decisions.filter(|decision| decision["step"] == "scale-in").collect()
    }

    /// When it lowered.
    fn lowered(&self) -> Vec<Timestamp> {
        self.times(|decision| decision.get("left_to").is_none())
    }

    /// When it left that to another.
    fn left(&self) -> Vec<Timestamp> {
        self.times(|decision| decision.get("left_to").is_some())
    }

    fn times(&self, which: impl Fn(&Value) -> bool) -> Vec<Timestamp> {
        let scale_ins = self.scale_ins();
        let times = scale_ins.iter().filter(|decision| which(decision));
        times.map(|decision| decision["at"].as_str().unwrap().parse().unwrap()).collect()
    }
}

/// Two instances come for two jobs, and are idle when those are done.
async fn two_come(scene: &Scene, counts: &Counts) {
    counts.say(Answer::Jobs { scheduled: 2, running: 0 });
    scene.in_service(2).await;
    let free = |g: &lab::group::model::Group| g.members.iter().all(|member| !member.protected);
    scene.group_until(free).await;
    counts.say(Answer::Jobs { scheduled: 0, running: 0 });
}

#[tokio::test]
async fn of_two_scalers_one_lowers_and_the_other_takes_over_when_it_is_killed() {
    let counts = Counts::start().await;
    let parameters = [("MaxSize", "2"), ("Settings", "idle-period: 1s\npoll-interval: 200ms\n")];
    let scene = Scene::start(&parameters, Vec::new()).await;
    let mut one = Daemon::start(&scene, &counts, "one");
    two_come(&scene, &counts).await;
    scene.group_until(|g| g.desired == 0).await;
    until("the lowering is on record", || !one.lowered().is_empty()).await;

    // Both are there: the one that has the lease goes on lowering.
    let other = Daemon::start(&scene, &counts, "other");
    let before = one.lowered().len();
    two_come(&scene, &counts).await;
    scene.group_until(|g| g.desired == 0).await;
    until("it lowered again", || one.lowered().len() > before).await;
    assert_eq!(other.lowered(), [], "it has no lease");
    let writes = "autoscaling:SetDesiredCapacity";
    assert!(scene.calls(writes, "/one") >= 3, "two raises or the other's, and two lowerings");

    // A kill leaves the lease behind. Capacity grows as ever, and shrinks once the lease stood still for long enough.
    let named = format!(":{}#", one.child.id().unwrap());
    one.child.kill().await.unwrap();
    two_come(&scene, &counts).await;
    until("the other wants to lower", || !other.left().is_empty()).await;
    let begun = other.left()[0];
    scene.group_until(|g| g.desired == 0).await;
    until("the lowering is on record", || !other.lowered().is_empty()).await;
    let waited = Duration::try_from(other.lowered()[0].duration_since(begun)).unwrap();
    assert!(waited >= SILENT, "after {waited:?}");
    assert!(waited < SILENT + Duration::from_secs(10), "after {waited:?}");

    let mut explain = Command::new(scene.lab.programs().join("scaler"));
    let told = explain.args(["explain", "--file"]).arg(&other.log).output().await.unwrap();
    let told = String::from_utf8(told.stdout).unwrap();
    let left = told.lines().find(|line| line.contains("not lowered here: that is left to")).unwrap();
    assert!(left.contains(&named), "{named} in {left}");
    assert!(!told.contains("does not replay"), "{told}");
    drop(other);
    scene.lab.stop().await.unwrap();
}

/// The function keeps the lease on the stack's own table, gives it back at each invocation's end, and scales on where the
/// table does not answer.
#[tokio::test]
async fn the_function_lowers_with_the_lease_and_also_without_the_table() {
    let counts = Counts::start().await;
    let parameters = [("MaxSize", "2"), ("Settings", "idle-period: 1s\npoll-interval: 200ms\n")];
    let scene = Scene::start(&parameters, counts.environment()).await;
    let function = scene.stack.resources["Scaler"].as_str();
    let given_back = || scene.calls("dynamodb:DeleteItem", function);
    counts.say(Answer::Jobs { scheduled: 2, running: 0 });
    assert_eq!(scene.tick().await.unwrap()["to"], 2);
    assert_eq!(given_back(), 0, "growth asks nobody");
    scene.in_service(2).await;
    let free = |g: &lab::group::model::Group| g.members.iter().all(|member| !member.protected);
    scene.group_until(free).await;

    counts.say(Answer::Jobs { scheduled: 1, running: 0 });
    assert_eq!(scene.tick().await.unwrap()["to"], 1);
    assert_eq!(scene.group().desired, 1);
    assert_eq!(given_back(), 1, "the lease was taken, and is free for the next invocation");

    // The table is denied: nothing fails, and nothing stays.
    scene.group_until(|g| g.members.len() == 1).await;
    scene.lab.endpoint().faults().add(Fault::on("dynamodb:GetItem", Effect::Deny));
    counts.say(Answer::Jobs { scheduled: 0, running: 0 });
    assert_eq!(scene.tick().await.unwrap()["to"], 0);
    assert_eq!(scene.group().desired, 0);
    let log = scene.lab.schedules().log_lines();
    let told = log.iter().find(|line| line.contains("lowering without a lease")).expect("it is told");
    assert!(told.contains("dynamodb:GetItem on item lease default ci-instances of table"), "{told}");
    scene.lab.stop().await.unwrap();
}
