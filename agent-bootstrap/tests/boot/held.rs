//! A launch whose boot failed like those before it, in a group that would repeat it at once and for ever.

use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStderr};

use crate::stage::{Run, Stage};

const ABANDONED: &str = "CompleteLifecycleAction launching ABANDON";
const HEARTBEAT: &str = "RecordLifecycleActionHeartbeat launching";
const TARGET: &str = "meta-data/autoscaling/target-lifecycle-state";

/// Two boots failed before this one, and one instance has to be there.
const TWO_FAILED: [(&str, &str, u64, Option<u64>); 2] =
    [("i-1", "Cancelled", 90, Some(80)), ("i-2", "Cancelled", 70, Some(60))];
const OWN: (&str, &str, u64, Option<u64>) = ("i-0abc", "MidLifecycleAction", 50, None);

async fn stage() -> Stage {
    let stage = Stage::new().await.settings("idle-perod: 5m\n").under_systemd();
    stage.change(|world| {
        world.min = 1;
        world.launches = [&TWO_FAILED[..], &[OWN]].concat();
    });
    stage
}

/// A boot that failed, and holds its launch.
struct Held {
    child: Child,
    said: Lines<BufReader<ChildStderr>>,
}

impl Held {
    /// Runs until it says that.
    async fn begin(stage: &Stage, pause: &str, words: &str) -> Self {
        let mut child = stage.command(&["boot"]).env("TIDEMARK_PROBE_AFTER", pause).spawn().unwrap();
        let mut said = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut before = String::new();
        loop {
            let line = said.next_line().await.unwrap();
            assert!(line.is_some(), "it ended without {words:?}: {before}");
            let line = line.unwrap();
            if line.contains(words) {
                break;
            }
            before.push_str(&line);
            before.push('\n');
        }
        assert_eq!(stage.calls_of(ABANDONED).len(), 0, "{:?}", stage.calls());
        assert_eq!(stage.systemctl(), Vec::<String>::new(), "neither agents nor the end");
        Self { child, said }
    }

    /// What it said from then on, and its exit code.
    async fn end(mut self, stage: &Stage) -> (i32, String) {
        let mut rest = String::new();
        self.said.get_mut().read_to_string(&mut rest).await.unwrap();
        let code = self.child.wait().await.unwrap().code().unwrap();
        assert_eq!(stage.systemctl(), ["poweroff --no-block"], "{rest}");
        (code, rest)
    }
}

async fn boot(stage: &Stage, pause: &str) -> Run {
    let output = stage.command(&["boot"]).env("TIDEMARK_PROBE_AFTER", pause).output().await.unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Run { code: output.status.code().unwrap(), stdout: text(output.stdout), stderr: text(output.stderr) }
}

#[tokio::test]
async fn the_third_boot_that_fails_is_held_under_heartbeats_and_then_given_up() {
    let stage = stage().await;
    stage.change(|world| world.creating = true);
    let begun = Instant::now();
    // Long enough for two looks, and a heartbeat after each, on a machine that is all load.
    let held = Held::begin(&stage, "6", "i-0abc: 3 boots in a row failed and the group repeats them").await;
    assert_eq!(stage.change(|world| world.state), "Pending:Wait");
    let (code, rest) = held.end(&stage).await;
    assert!(begun.elapsed() >= Duration::from_secs(6), "{:?}", begun.elapsed());
    assert_eq!(code, 78, "{rest}");
    assert!(rest.contains("not held any longer: the next one may be tried"), "{rest}");
    assert!(rest.contains("i-0abc: the launch is abandoned"), "{rest}");
    assert_eq!(stage.change(|world| world.state), "Terminating:Proceed");
    let calls = stage.calls();
    let place =
        |call: &str| calls.iter().position(|c| c == call).unwrap_or_else(|| panic!("{call}: {calls:?}"));
    assert!(stage.calls_of(HEARTBEAT).len() >= 2, "{calls:?}");
    assert!(place(HEARTBEAT) < place(ABANDONED), "{calls:?}");
    assert!(
        place("SignalResource ci/Group FAILURE") < place(ABANDONED),
        "CloudFormation need not wait: {calls:?}"
    );
}

#[tokio::test]
async fn a_boot_that_fails_before_its_group_waits_for_it_is_held_too() {
    let stage = stage().await;
    stage.change(|world| world.state = "Pending");
    let held = Held::begin(&stage, "6", "its launch is held until").await;
    while stage.calls_of(HEARTBEAT).is_empty() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    stage.change(|world| world.state = "Pending:Wait");
    let (_, rest) = held.end(&stage).await;
    assert!(rest.contains("the launch is abandoned"), "{rest}");
}

#[tokio::test]
async fn sigterm_and_the_group_itself_end_the_hold() {
    let stopped = stage().await;
    let held = Held::begin(&stopped, "600", "its launch is held until").await;
    kill(Pid::from_raw(held.child.id().unwrap().try_into().unwrap()), Signal::SIGTERM).unwrap();
    let (code, rest) = held.end(&stopped).await;
    assert!(code == 78 && rest.contains("not held any longer: SIGTERM"), "{code}: {rest}");
    assert_eq!(stopped.calls_of(ABANDONED).len(), 1, "and it is given up as ever");

    let taken = stage().await;
    let held = Held::begin(&taken, "600", "its launch is held until").await;
    taken.change(|world| {
        world.state = "Terminating:Wait";
        world.metadata.insert(TARGET.to_owned(), "Terminated".to_owned())
    });
    let (_, rest) = held.end(&taken).await;
    assert!(rest.contains("its launch is not held: the group ends it"), "{rest}");
    assert_eq!(taken.change(|world| world.state), "Terminating:Proceed", "no hook waits for a dead instance");
}

#[tokio::test]
async fn who_is_not_the_probe_waits_until_one_gets_ready() {
    let stage = stage().await;
    stage.change(|world| world.launches.push(("i-9", "MidLifecycleAction", 10, None)));
    let held =
        Held::begin(&stage, "4", "i-9 is tried first; the launch of this one is held until one gets ready")
            .await;
    stage.change(|world| *world.launches.last_mut().unwrap() = ("i-9", "Successful", 10, Some(0)));
    let (_, rest) = held.end(&stage).await;
    assert!(rest.contains("not held any longer: nothing speaks for it any more"), "{rest}");
    assert_eq!(stage.calls_of(ABANDONED).len(), 1);
}

#[tokio::test]
async fn a_warm_pool_is_filled_whatever_is_desired() {
    let stage = stage().await;
    stage.change(|world| {
        (world.min, world.state) = (0, "Warmed:Pending:Wait");
        world.metadata.insert(TARGET.to_owned(), "Warmed:Stopped".to_owned())
    });
    let held = Held::begin(&stage, "4", "its launch is held until").await;
    held.end(&stage).await;
    assert!(!stage.calls_of(HEARTBEAT).is_empty() && stage.calls_of("DescribeAutoScalingGroups").is_empty());
}

#[tokio::test]
async fn what_the_scaler_can_stop_and_what_is_not_known_is_given_up_at_once() {
    let scaled = stage().await;
    scaled.change(|world| world.min = 0);
    let seldom = stage().await;
    seldom.change(|world| world.launches.remove(0));
    let denied = stage().await;
    denied.refuse("DescribeScalingActivities", 9, "AccessDenied", "not authorized");
    let slow = stage().await;
    slow.refuse("DescribeAutoScalingGroups", 9, "Throttling", "Rate exceeded");
    let unknown =
        "its launch is not held any longer: how the group's boots ended is not known: autoscaling:Describe";
    for (stage, words) in [(&scaled, ""), (&seldom, ""), (&denied, unknown), (&slow, unknown)] {
        let run = boot(stage, "600").await;
        assert!(run.code == 78 && run.stderr.contains(words), "{words}: {}", run.stderr);
        assert!(!run.stderr.contains("is held until"), "{}", run.stderr);
        assert_eq!(
            (stage.calls_of(HEARTBEAT).len(), stage.calls_of(ABANDONED).len()),
            (0, 1),
            "{}",
            run.stderr
        );
    }
    assert_eq!(seldom.calls_of("DescribeAutoScaling").len(), 0, "one call more than without the brake");
}
