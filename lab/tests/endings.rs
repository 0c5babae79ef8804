//! However `lab up` and `lab demo` end, nothing runs afterwards, and nothing lies outside of their folder.
#![allow(clippy::unwrap_used, reason = "a test's failure is its message")]

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use lab::bake::bake;
use lab::engine::{Engine, folder_beside};
use lab::instances::programs;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_secs(120);

/// A lab, with all that belongs to it in one folder.
struct Running {
    folder: TempDir,
    lab: Child,
}

impl Running {
    /// Starts `lab VERB` in `folder`, and waits until it has started these programs.
    fn with(verb: &[&str], programs: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for name in ["home", "tmp"] {
            std::fs::create_dir(folder.path().join(name)).unwrap();
        }
        let log = std::fs::File::create(folder.path().join("log")).unwrap();
        let lab = Command::new(env!("CARGO_BIN_EXE_lab"))
            .args(verb)
            .arg(folder.path().join("own"))
            .env("HOME", folder.path().join("home"))
            .env("TMPDIR", folder.path().join("tmp"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        let mut running = Self { folder, lab };
        let begun = Instant::now();
        let started = |program: &str, all: &[String]| all.iter().any(|one| one.contains(program));
        while !programs.iter().all(|program| started(program, &running.processes())) {
            assert!(
                running.lab.try_wait().unwrap().is_none() && begun.elapsed() < PATIENCE,
                "{}",
                running.log()
            );
            std::thread::sleep(Duration::from_millis(50));
        }
        running
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap()
    }

    /// Signals the lab, whose helpers are in process groups of their own and so hear no Ctrl-C; waits for it.
    fn end(&mut self, signal: Signal) -> Option<i32> {
        kill(Pid::from_raw(self.lab.id().try_into().unwrap()), signal).unwrap();
        self.lab.wait().unwrap().code()
    }

    /// Command lines of the processes that have to do with the folder: by argument, variable, working folder, or, in a
    /// container, by what is mounted there.
    fn processes(&self) -> Vec<String> {
        let folder = self.folder.path().display().to_string();
        let entries = std::fs::read_dir("/proc").unwrap().flatten();
        let read = |process: &Path, what| {
            String::from_utf8_lossy(&std::fs::read(process.join(what)).unwrap_or_default()).replace('\0', " ")
        };
        let of_folder = entries.filter_map(|entry| {
            let process = entry.path();
            let command = read(&process, "cmdline");
            let place = std::fs::read_link(process.join("cwd")).unwrap_or_default();
            let found = command.contains(&folder) || place.starts_with(&folder);
            let found =
                found || ["environ", "mountinfo"].iter().any(|what| read(&process, what).contains(&folder));
            found.then_some(command)
        });
        // A process that has ended but is not reaped has none of the three.
        of_folder.collect()
    }

    /// Nothing lies in the temporary folder or at home.
    fn assert_tidy(&self) {
        for name in ["home", "tmp"] {
            let found = std::fs::read_dir(self.folder.path().join(name)).unwrap().flatten();
            assert_eq!(found.map(|entry| entry.path()).collect::<Vec<_>>(), [] as [std::path::PathBuf; 0]);
        }
    }
}

impl Drop for Running {
    /// After a failed test.
    fn drop(&mut self) {
        let _ = self.lab.kill();
    }
}

fn ctrl_c((verb, programs): Started, status: i32) {
    let mut running = Running::with(verb, programs);
    assert_eq!(running.end(Signal::SIGINT), Some(status), "{}", running.log());
    assert_eq!(running.processes(), [] as [String; 0], "{}", running.log());
    running.assert_tidy();
}

fn sigkill((verb, programs): Started) {
    let mut running = Running::with(verb, programs);
    assert_eq!(running.end(Signal::SIGKILL), None);
    let begun = Instant::now();
    while !running.processes().is_empty() {
        assert!(begun.elapsed() < PATIENCE, "still there: {:?}", running.processes());
        std::thread::sleep(Duration::from_millis(50));
    }
    running.assert_tidy();
}

/// A verb with arguments, and programs that it is interrupted with.
type Started = (&'static [&'static str], &'static [&'static str]);

const UP: Started =
    (&["up", "--parameter", "MinSize=1", "--dir"], &["moto_server", "functions/ci-Scaler", "build-agent"]);
/// The demo's own servers; its instances are those of `lab up`.
const DEMO: Started =
    (&["demo", "--instances", "processes", "--folder"], &["moto_server", "sshd", "docker-registry"]);

/// The same with an instance that is a container.
const CONTAINER: Started = (
    &["up", "--instances", "containers", "--parameter", "MinSize=1", "--dir"],
    &["moto_server", "functions/ci-Scaler", "instance-wires", "build-agent"],
);

/// Is there an engine, with the lab's AMI? On CI there must be.
fn has_containers() -> bool {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let programs = programs().unwrap();
    let ready = runtime.block_on(async {
        let engine = Engine::find(&folder_beside(&programs)).await?;
        bake(&engine, &programs, &|what| eprintln!("{what}")).await.map(drop)
    });
    if let Err(reason) = &ready {
        assert!(std::env::var_os("CI").is_none_or(|ci| ci.is_empty()), "{reason:#}");
        eprintln!("SKIPPED, no container instances here: {reason:#}");
    }
    ready.is_ok()
}

#[test]
fn ctrl_c_ends_container_instances() {
    if has_containers() {
        ctrl_c(CONTAINER, 0);
    }
}

#[test]
fn sigkill_of_the_lab_leaves_no_container() {
    if has_containers() {
        sigkill(CONTAINER);
    }
}

#[test]
fn ctrl_c_ends_lab_up() {
    ctrl_c(UP, 0);
}

#[test]
fn ctrl_c_ends_the_demo() {
    ctrl_c(DEMO, 1);
}

#[test]
fn sigkill_of_lab_up_leaves_nothing() {
    sigkill(UP);
}

#[test]
fn sigkill_of_the_demo_leaves_nothing() {
    sigkill(DEMO);
}
