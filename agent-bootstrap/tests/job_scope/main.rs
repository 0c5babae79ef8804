//! `agent-bootstrap job-scope` with real processes: what a job leaves behind, how it is told to end, who is ended when
//! memory runs out.

#![expect(clippy::unwrap_used, reason = "a test's failure is its message")]

use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use agent_bootstrap::units::process::Process;
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, Uid};

const PATIENCE: Duration = Duration::from_secs(60);

const PROGRAM: &str = env!("CARGO_BIN_EXE_agent-bootstrap");

/// A daemon as a job starts it: a session of its own, its parent gone, nothing open. It says its id in `$0`.
const DAEMON: &str = "setsid sh -c 'echo $$ > \"$0\"; exec sleep 600 > /dev/null 2>&1 < /dev/null' \"$0\" & \
    until [ -s \"$0\" ]; do sleep 0.01; done";

fn scope(options: &[&str], script: &str, argument: &Path) -> Command {
    let mut command = Command::new(PROGRAM);
    command.arg("job-scope").args(options).args(["--", "sh", "-c", script]).arg(argument);
    command.stdin(Stdio::null());
    command
}

/// The process whose id is in a file.
fn told(file: &Path) -> Option<Process> {
    Process::running(std::fs::read_to_string(file).ok()?.trim().parse().ok()?)
}

fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(begun.elapsed() < PATIENCE, "{what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn ended(mut child: Child) -> ExitStatus {
    until("it does not end", || child.try_wait().unwrap())
}

#[test]
fn the_exit_status_is_the_commands() {
    for (script, code) in [("exit 0", 0), ("exit 7", 7), ("exit 255", 255), ("kill -KILL $$", 137)] {
        let output = scope(&[], script, Path::new("x")).output().unwrap();
        assert_eq!(output.status.code(), Some(code), "{script}");
        assert_eq!(String::from_utf8_lossy(&output.stderr), "", "{script}: it writes to the job's log");
    }
    let output = Command::new(PROGRAM).args(["job-scope", "--", "/no/such/program"]).output().unwrap();
    assert_eq!(output.status.code(), Some(69));
    assert!(String::from_utf8_lossy(&output.stderr).contains("start of /no/such/program"));
}

#[test]
fn a_daemon_of_the_job_ends_with_it_unless_it_may_stay() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("daemon");
    // The daemon must have been there, else nothing is shown.
    let script = format!("{DAEMON}; kill -0 \"$(cat \"$0\")\" && exit 3");
    assert_eq!(scope(&[], &script, &file).status().unwrap().code(), Some(3));
    assert_eq!(told(&file), None);

    let kept = folder.path().join("kept");
    assert_eq!(scope(&["--keep-processes"], &script, &kept).status().unwrap().code(), Some(3));
    told(&kept).expect("the daemon may stay").terminate().unwrap();
}

#[test]
fn processes_that_fork_while_they_are_ended_are_all_found() {
    let folder = tempfile::tempdir().unwrap();
    let marker = folder.path().join("a-marker-of-this-test");
    // Each generation starts the next one and leaves.
    let script = "cat > \"$0\" <<'S'\nsetsid sh \"$0\" & sleep 0.02\nS\nfor i in 1 2 3 4; do setsid sh \"$0\" & done; sleep 0.3";
    assert!(scope(&[], script, &marker).status().unwrap().success());
    let name = marker.to_str().unwrap();
    let living: Vec<String> = std::fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .filter_map(|entry| std::fs::read_to_string(entry.path().join("cmdline")).ok())
        .filter(|line| line.contains(name))
        .collect();
    assert_eq!(living, Vec::<String>::new());
}

#[test]
fn a_signal_reaches_the_job_which_ends_as_it_likes() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("ready");
    let script = "trap 'exit 9' TERM; echo $$ > \"$0\"; while :; do sleep 0.02; done";
    let child = scope(&[], script, &file).spawn().unwrap();
    until("the job does not start", || told(&file));
    kill(Pid::from_raw(child.id().cast_signed()), Signal::SIGTERM).unwrap();
    assert_eq!(ended(child).code(), Some(9));
}

/// Whether this test's own cgroup takes sub-cgroups: as root on most machines.
fn makes_cgroups() -> bool {
    let made = agent_bootstrap::job_scope::cgroup::Cgroup::make();
    let could = made.is_some();
    if let Some(cgroup) = made {
        cgroup.end(false);
    }
    if !could {
        eprintln!("SKIPPED: this user may make no cgroup here");
    }
    could
}

#[test]
fn the_job_is_in_a_cgroup_of_its_own_and_its_agent_is_not() {
    if !makes_cgroups() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("seen");
    let script =
        "cat /proc/self/cgroup /proc/self/oom_score_adj > \"$0\"; cat /proc/$PPID/cgroup > \"$0.agent\"";
    assert!(scope(&[], script, &file).status().unwrap().success());
    let seen = std::fs::read_to_string(&file).unwrap();
    assert!(
        seen.lines().any(|line| line.rsplit_once('/').is_some_and(|(_, l)| l.starts_with("job-"))),
        "{seen}"
    );
    assert_eq!(seen.lines().last(), Some("500"));
    let agent = std::fs::read_to_string(file.with_extension("agent")).unwrap();
    assert!(!agent.contains("job-"), "{agent}");
    let cgroup = seen.lines().find_map(|line| line.rsplit_once("/job-")).unwrap().1;
    let left =
        Command::new("find").args(["/sys/fs/cgroup", "-name", &format!("job-{cgroup}")]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&left.stdout), "");
}

#[test]
fn what_a_killed_job_scope_left_ends_when_the_next_job_begins() {
    if !makes_cgroups() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("daemon");
    let mut child = scope(&[], &format!("{DAEMON}; sleep 600"), &file).spawn().unwrap();
    let daemon = until("no daemon", || told(&file));
    child.kill().unwrap();
    assert_eq!(child.wait().unwrap().signal(), Some(9));
    assert!(scope(&[], "exit 0", Path::new("x")).status().unwrap().success());
    until("the daemon lives on", || (!daemon.is_alive()).then_some(()));
}

#[test]
fn version_two_ends_a_whole_cgroup_at_once() {
    if !Uid::effective().is_root() {
        eprintln!("SKIPPED: only root mounts a cgroup hierarchy");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (mount, file) = (folder.path().join("cgroup2"), folder.path().join("daemon"));
    std::fs::create_dir(&mount).unwrap();
    // Only version 2 is there: the others are hidden below an empty folder.
    let set_up = "mount -t tmpfs none /sys/fs/cgroup && mount -t cgroup2 none \"$0\" && exec \"$@\"";
    let script = format!("{DAEMON}; cat /proc/self/cgroup > \"$0.cgroup\"; [ -s \"$0\" ]");
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", set_up]).arg(&mount).args([PROGRAM, "job-scope", "--", "sh", "-c"]);
    let output = command.arg(&script).arg(&file).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    if said.contains("mount:") {
        eprintln!("SKIPPED: this machine mounts no cgroup2: {said}");
        return;
    }
    assert!(output.status.success(), "{said}");
    let cgroup = std::fs::read_to_string(file.with_extension("cgroup")).unwrap();
    assert!(cgroup.lines().any(|l| l.starts_with("0::") && l.contains("/job-")), "{cgroup}");
    assert_eq!(told(&file), None);
}

/// A memory cgroup with a limit, as an instance has one: its memory.
struct SmallMachine(std::path::PathBuf);

impl SmallMachine {
    fn new() -> Option<Self> {
        let folder = Path::new("/sys/fs/cgroup/memory").join(format!("tidemark-test-{}", std::process::id()));
        let made = std::fs::create_dir(&folder)
            .and_then(|()| std::fs::write(folder.join("memory.limit_in_bytes"), "96M"));
        if made.is_err() {
            eprintln!("SKIPPED: this machine lets nobody limit memory (version 1, root)");
            return None;
        }
        Some(Self(folder))
    }
}

impl Drop for SmallMachine {
    fn drop(&mut self) {
        until("the memory cgroup stays", || std::fs::remove_dir(&self.0).ok());
    }
}

#[test]
fn when_memory_runs_out_the_job_ends_and_the_agent_lives() {
    let Some(machine) = SmallMachine::new() else { return };
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("status");
    // The "agent" holds as much as half of the job takes before it is ended, so that size alone does not decide.
    let agent = "echo $$ > \"$1/cgroup.procs\" && echo -500 > /proc/self/oom_score_adj\n\
        held=$(head -c 20000000 /dev/zero | tr '\\0' x)\n\
        \"$2\" job-scope -- sh -c 'tail /dev/zero'; echo \"$? ${#held}\" > \"$0\"";
    let mut command = Command::new("sh");
    command.args(["-c", agent]).arg(&file).arg(&machine.0).arg(PROGRAM).stderr(Stdio::null());
    let status = ended(command.spawn().unwrap());
    assert!(status.success(), "{status}");
    // 137 is SIGKILL: the shell or its tail was ended, nothing else.
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "137 20000000\n");
}
