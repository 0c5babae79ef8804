//! An instance before `boot`: its metadata, what of AWS it calls, an agent that only stays alive.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use agent_bootstrap::layout::Layout;
use agent_bootstrap::units::process::Process;
use serde_json::json;
use tokio::process::Command;

use crate::world::{self, Shared, World};

pub const INSTANCE: &str = "i-0abc";
pub const TOKEN: &str = "t0ken-of-the-agents";
pub const TOKEN_ARN: &str = "arn:aws:secretsmanager:us-east-1:123456789012:secret:ci-AbCdEf";

/// The unit manager of the stage's instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Manager {
    Processes,
    /// `systemctl` is a script that remembers what it was asked.
    Systemd,
}

pub struct Stage {
    pub layout: Layout,
    root: tempfile::TempDir,
    world: Shared,
    url: String,
    manager: Manager,
    read_only: bool,
}

/// Waits until it is so.
pub async fn until(what: &str, wanted: impl Fn() -> bool) {
    let until = std::time::Instant::now() + Duration::from_secs(60);
    while !wanted() {
        assert!(std::time::Instant::now() < until, "never true: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// How a run of `boot` ended.
pub struct Run {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Stage {
    pub async fn new() -> Self {
        let root = tempfile::Builder::new().prefix("tm").tempdir().unwrap();
        let identity = json!({ "accountId": "123456789012", "region": "us-east-1" }).to_string();
        let metadata = [
            ("meta-data/instance-id", INSTANCE),
            ("meta-data/placement/region", "us-east-1"),
            ("meta-data/placement/availability-zone", "us-east-1a"),
            ("meta-data/instance-type", "t3.small"),
            ("meta-data/tags/instance/aws:autoscaling:groupName", "ci-instances"),
            ("meta-data/autoscaling/target-lifecycle-state", "InService"),
            ("dynamic/instance-identity/document", &identity),
        ];
        let world = World {
            metadata: metadata.into_iter().map(|(path, text)| (path.to_owned(), text.to_owned())).collect(),
            secret: Ok(TOKEN.to_owned()),
            parameters: BTreeMap::new(),
            objects: BTreeMap::new(),
            refusals: BTreeMap::new(),
            silent: BTreeSet::new(),
            unanswered: BTreeMap::new(),
            state: "Pending:Wait",
            min: 0,
            launches: Vec::new(),
            creating: false,
            calls: Vec::new(),
            metrics: Vec::new(),
        };
        let world = Arc::new(Mutex::new(world));
        let url = world::serve(&world).await;
        let layout = Layout::below(root.path());
        let manager = Manager::Processes;
        let stage = Self { layout, root, world, url, manager, read_only: false };
        stage.executable(
            "agent",
            "#!/bin/sh\necho \"$BUILDKITE_AGENT_NAME $*\" >> \"$TIDEMARK_ROOT/started\"\nexec sleep 600\n",
        );
        stage.settings("")
    }

    /// The same instance under systemd, as far as `systemctl` shows it.
    pub fn under_systemd(mut self) -> Self {
        self.manager = Manager::Systemd;
        let log = self.path("systemctl.log");
        let text =
            format!("#!/bin/sh\necho \"$*\" >> {}\n[ \"$1\" != show ] || echo inactive\n", log.display());
        self.executable("bin/systemctl", &text);
        self
    }

    /// From now on boot cannot write below its root: in a mount namespace of its own, that is mounted so.
    pub fn on_a_read_only_disk(mut self) -> Self {
        self.read_only = true;
        self
    }

    pub fn is_read_only(&self) -> bool {
        self.read_only
    }

    /// What `systemctl` was asked so far, but for questions.
    pub fn systemctl(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self.path("systemctl.log")).unwrap_or_default();
        text.lines().filter(|line| !line.starts_with("show ")).map(str::to_owned).collect()
    }

    /// A program below the root; `bin/` is on boot's `PATH`.
    pub fn executable(&self, name: &str, text: &str) {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// The user data: the stack's settings and more.
    pub fn settings(self, more: &str) -> Self {
        let agent = self.root.path().join("agent");
        let text = format!(
            "stack: ci\nqueue: default\nagent-program: {}\nagent-token: '{TOKEN_ARN}'\nlaunching-hook: launching\n\
             terminating-hook: terminating\nsignal-resource: Group\n",
            agent.display()
        );
        // Two parts: a broken second one leaves the first.
        let text = format!(
            "Content-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: application/x-tidemark+yaml\n\n{text}\n\
             --b\nContent-Type: application/x-tidemark+yaml\n\n{more}\n--b--\n"
        );
        self.user_data(&text)
    }

    pub fn user_data(self, text: &str) -> Self {
        self.change(|world| world.metadata.insert("user-data".to_owned(), text.to_owned()));
        self
    }

    /// Changes the world around the instance.
    pub fn change<T>(&self, change: impl FnOnce(&mut World) -> T) -> T {
        change(&mut self.world.lock().unwrap())
    }

    pub fn parameter(self, name: &str, value: &str) -> Self {
        self.change(|world| world.parameters.insert(name.to_owned(), value.to_owned()));
        self
    }

    pub fn secret(&self, answer: Result<&str, (&'static str, &'static str)>) {
        self.change(|world| world.secret = answer.map(str::to_owned));
    }

    /// An action that is refused, so many times.
    pub fn refuse(&self, action: &'static str, times: usize, code: &'static str, message: &'static str) {
        self.change(|world| world.refusals.insert(action, (times, code, message)));
    }

    /// Calls to AWS so far, with what they name.
    pub fn calls(&self) -> Vec<String> {
        self.change(|world| world.calls.clone())
    }

    /// Calls so far whose names begin so.
    pub fn calls_of(&self, action: &str) -> Vec<String> {
        self.calls().into_iter().filter(|call| call.starts_with(action)).collect()
    }

    /// Where everything is served.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The command, ready to be run or spawned.
    pub fn command(&self, arguments: &[&str]) -> Command {
        const READ_ONLY: &str = "mount --bind \"$TIDEMARK_ROOT\" \"$TIDEMARK_ROOT\" && mount -o remount,bind,ro \"$TIDEMARK_ROOT\" && exec \"$@\"";
        let program = env!("CARGO_BIN_EXE_agent-bootstrap");
        let mut command = Command::new(if self.read_only { "unshare" } else { program });
        if self.read_only {
            command.args(["--mount", "sh", "-c", READ_ONLY, "sh", program]);
        }
        let manager = if self.manager == Manager::Processes { "processes" } else { "systemd" };
        command
            .args(arguments)
            .env_clear()
            .env("PATH", format!("{}:/usr/bin:/bin", self.path("bin").display()))
            .env("TIDEMARK_ROOT", self.root.path())
            .env("TIDEMARK_UNIT_MANAGER", manager)
            .env("AWS_ENDPOINT_URL", &self.url)
            .env("AWS_EC2_METADATA_SERVICE_ENDPOINT", &self.url)
            .env("AWS_ACCESS_KEY_ID", "key")
            .env("AWS_SECRET_ACCESS_KEY", "secret")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        command
    }

    pub async fn boot(&self) -> Run {
        self.run(&["boot"]).await
    }

    pub async fn run(&self, arguments: &[&str]) -> Run {
        let output = self.command(arguments).output().await.unwrap();
        Run {
            code: output.status.code().unwrap(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// A file below the root.
    pub fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    pub fn text(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap()
    }

    pub fn mode(&self, name: &str) -> u32 {
        self.path(name).metadata().unwrap().permissions().mode() & 0o7777
    }

    /// The agents' processes, as their pid files name them.
    pub fn agents(&self) -> Vec<Process> {
        let files = std::fs::read_dir(self.path("run/tidemark/agents")).into_iter().flatten();
        let mut agents: Vec<_> = files.map(|file| file.unwrap().path()).collect();
        agents.sort();
        let read = |file: &PathBuf| std::fs::read_to_string(file).ok()?.parse().ok();
        agents.iter().filter(|file| file.extension().is_some()).filter_map(read).collect()
    }

    /// Agents that live.
    pub fn living(&self) -> usize {
        self.agents().iter().filter(|agent| agent.is_alive()).count()
    }

    /// Everything below the root that a boot leaves, with modes; without what differs from one boot to the next.
    pub fn tree(&self) -> BTreeMap<String, String> {
        let mut tree = BTreeMap::new();
        collect(self.root.path(), self.root.path(), &mut tree);
        let differs = ["started", "var/lib/tidemark/boot.json", "run/tidemark/agents", "var/log"];
        tree.retain(|path, _| !differs.iter().any(|d| path.starts_with(d)));
        tree
    }
}

fn collect(root: &Path, folder: &Path, into: &mut BTreeMap<String, String>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.strip_prefix(root).unwrap().to_string_lossy().into_owned();
        let mode = path.symlink_metadata().unwrap().permissions().mode();
        if path.is_dir() {
            into.insert(name, format!("{mode:o}"));
            collect(root, &path, into);
        } else {
            let content = String::from_utf8_lossy(&std::fs::read(&path).unwrap_or_default()).into_owned();
            // The settings name the agent program below this root.
            let own = |line: &&str| !line.contains("\"settings-digest\"");
            let content = content.lines().filter(own).collect::<Vec<_>>().join("\n");
            into.insert(name, format!("{mode:o} {}", content.replace(&*root.to_string_lossy(), "ROOT")));
        }
    }
}

/// Whatever a test started must not outlive it.
impl Drop for Stage {
    fn drop(&mut self) {
        for agent in self.agents() {
            let _ = agent.terminate();
        }
    }
}
