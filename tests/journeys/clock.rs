//! An instance's clock is set while it runs jobs: by a day, back and ahead. What runs there are the real programs; the
//! time of day that the C library tells them is the test's.

use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use jiff::{SignedDuration, Timestamp};
use lab::endpoint::faults::{Effect, Fault};
use lab::imds::SpotNotice;
use lab::lab::LabOptions;

use crate::scene::{Scene, until};

const DAY: i64 = 24 * 60 * 60;
const SETTINGS: &str = "poll-interval: 100ms\nheartbeat-interval: 300ms\nidle-period: never\n";

/// The clock of all instances of a lab.
struct Clock {
    folder: tempfile::TempDir,
}

impl Clock {
    fn new() -> Self {
        let clock = Self { folder: tempfile::tempdir().unwrap() };
        clock.set(0);
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("journeys/clock/set_clock.c");
        let mut cc = Command::new("cc");
        let made =
            cc.args(["-shared", "-fPIC", "-O1", "-o"]).arg(clock.library()).arg(source).status().unwrap();
        assert!(made.success());
        clock
    }

    fn library(&self) -> PathBuf {
        self.folder.path().join("set_clock.so")
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("ahead")
    }

    /// What has it loaded reads the very same file: in one piece, so that nobody sees half of it.
    fn set(&self, ahead: i64) {
        let mut options = std::fs::OpenOptions::new();
        let file = options.write(true).create(true).truncate(false).open(self.file()).unwrap();
        file.write_all_at(&ahead.to_ne_bytes(), 0).unwrap();
    }

    /// What the processes of an instance find in their environment.
    fn environment(&self) -> Vec<(String, String)> {
        let variables = [("LD_PRELOAD", self.library()), ("TIDEMARK_TEST_CLOCK", self.file())];
        variables.map(|(name, path)| (name.to_owned(), path.display().to_string())).into()
    }

    /// The time of day there.
    fn now(&self) -> Timestamp {
        let date = Command::new("date").arg("+%s").envs(self.environment()).output().unwrap();
        Timestamp::from_second(String::from_utf8(date.stdout).unwrap().trim().parse().unwrap()).unwrap()
    }

    /// However long it takes to ask.
    fn is_set_by(&self, seconds: i64) {
        let (before, there, after) = (Timestamp::now(), self.now(), Timestamp::now());
        let ahead = there - SignedDuration::from_secs(seconds);
        assert!(
            (before.as_second()..=after.as_second()).contains(&ahead.as_second()),
            "{ahead} is not {before}"
        );
    }
}

/// A job that runs until `enough` is there, on an instance of which `watch` has loaded the clock.
async fn busy(scene: &Scene, clock: &Clock, enough: &str) -> (String, String) {
    let file = scene.lab.folder().join(enough);
    let script = format!("echo begun; until [ -e '{}' ]; do sleep 0.1; done; echo done well", file.display());
    let job = scene.queue("long", &script).await;
    let running = scene.job_until(&job, &["running"]).await;
    scene.log_until(&job, "\nbegun").await;
    let agent = running["agent_name"].as_str().unwrap();
    let holder = scene.group().members.iter().find(|m| agent.contains(&m.id)).unwrap().id.clone();
    assert!(watch_has(&scene.lab.instances().folder(&holder), &clock.library()));
    (job, holder)
}

/// Has the `watch` of the instance in this folder mapped the file?
fn watch_has(instance: &Path, file: &Path) -> bool {
    let processes = std::fs::read_dir("/proc").unwrap().flatten().map(|entry| entry.path());
    let reads = |path: PathBuf| std::fs::read(path).map(|b| String::from_utf8_lossy(&b).into_owned());
    let mut watches = processes.filter(|process| {
        reads(process.join("cmdline")).is_ok_and(|line| line.ends_with("agent-bootstrap\0watch\0"))
            && reads(process.join("environ"))
                .is_ok_and(|all| all.contains(&format!("TIDEMARK_ROOT={}\0", instance.display())))
    });
    watches
        .any(|process| reads(process.join("maps")).is_ok_and(|maps| maps.contains(&*file.to_string_lossy())))
}

/// Waits until `watch` has looked around so often, since now.
async fn looks(scene: &Scene, holder: &str) {
    let faults = scene.lab.endpoint().faults();
    let on = Fault {
        resource: "meta-data/spot/instance-action".into(),
        ..Fault::on("imds:Get", Effect::Delay(1))
    };
    let number = faults.add(on.of(holder).times(6));
    until("looks", || faults.list().iter().all(|(other, _)| *other != number)).await;
}

/// EC2 takes the instance back when its own clock shows so much later than now.
fn notice(scene: &Scene, clock: &Clock, holder: &str, left: SignedDuration) {
    let notice = SpotNotice { action: "terminate".into(), time: clock.now() + left };
    assert!(scene.lab.instances().notify(holder, |n| n.spot = Some(notice)));
}

#[tokio::test]
async fn a_clock_that_is_set_by_a_day_ends_no_job_and_puts_nothing_off() {
    let clock = Clock::new();
    let options = LabOptions { instance_environment: clock.environment(), ..LabOptions::default() };
    let scene = Scene::of(options, &[("MinSize", "1"), ("MaxSize", "1"), ("Settings", SETTINGS)]).await;
    let (job, holder) = busy(&scene, &clock, "enough").await;
    // Back by a day: the job runs on, under protection and then under heartbeats, though the last of these seems to lie a
    // day ahead, and then two days back.
    clock.set(-DAY);
    clock.is_set_by(-DAY);
    looks(&scene, &holder).await;
    assert!(scene.group().member(&holder).unwrap().protected);
    let end =
        ["autoscaling", "terminate-instance-in-auto-scaling-group", "--no-should-decrement-desired-capacity"];
    let said = scene.aws(&[&end[..], &["--instance-id", &holder]].concat()).await;
    assert!(said.success, "{}", said.stderr);
    for ahead in [-DAY, DAY, -DAY, 0] {
        let heartbeats = || scene.calls("autoscaling:RecordLifecycleActionHeartbeat", &holder);
        clock.set(ahead);
        let before = heartbeats();
        until("heartbeats", || heartbeats() > before + 2).await;
        assert_eq!(scene.job_until(&job, &["running"]).await["state"], "running");
    }
    std::fs::write(scene.lab.folder().join("enough"), "").unwrap();
    let (status, log) = scene.ended(&job).await;
    assert!(status == 0 && log.contains("done well"), "{log}");
    scene.group_until(|g| g.member(&holder).is_none() && g.in_service() == 1).await;

    // A spot notice counts by the time of day of then: two minutes are left to the job, though the instance counts from
    // another day.
    let (job, holder) = busy(&scene, &clock, "never").await;
    clock.set(-DAY);
    notice(&scene, &clock, &holder, SignedDuration::from_secs(120));
    until("drain", || scene.watch_log(&holder).contains(r#""step":{"drain":"spot-notice"}"#)).await;
    looks(&scene, &holder).await;
    assert_eq!(scene.job_until(&job, &["running"]).await["state"], "running");
    // Less than the last minute is left, as soon as the clock is a day ahead.
    notice(&scene, &clock, &holder, SignedDuration::from_secs(2 * DAY + 55));
    looks(&scene, &holder).await;
    assert_eq!(scene.job_until(&job, &["running"]).await["state"], "running");
    clock.set(DAY);
    clock.is_set_by(DAY);
    let (status, log) = scene.ended(&job).await;
    assert!(
        status != 0 && log.contains("the job was cancelled: EC2 takes this spot instance back at"),
        "{log}"
    );
    let group = scene.group_until(|g| g.member(&holder).is_none() && g.in_service() == 1).await;
    // The instance that a wrong clock boots with serves as well.
    assert_eq!(scene.run("app", "true").await.0, 0);
    assert_eq!(group.desired, 1);
    scene.lab.stop().await.unwrap();
}
