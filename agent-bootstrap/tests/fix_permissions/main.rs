//! `agent-bootstrap fix-permissions` as root on a real tree, and against somebody who changes the tree meanwhile.

#![expect(clippy::unwrap_used, reason = "a test's failure is its message")]

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown, lchown, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use nix::unistd::Uid;

const PROGRAM: &str = env!("CARGO_BIN_EXE_agent-bootstrap");

/// The agents' user and group of this test.
const AGENTS: (u32, u32) = (4321, 4322);

struct Stage {
    root: tempfile::TempDir,
}

impl Stage {
    /// A builds folder of the agents, a pipeline's folder in it. `None` where this does not run as root.
    fn new() -> Option<Self> {
        if !Uid::effective().is_root() {
            eprintln!("SKIPPED: only root gives files away");
            return None;
        }
        let stage = Self { root: tempfile::tempdir().unwrap() };
        std::fs::create_dir_all(stage.pipeline()).unwrap();
        let home = stage.root.path().join("var/lib/buildkite-agent");
        for folder in ["", "builds", "builds/agent", "builds/agent/org", "builds/agent/org/app"] {
            chown(home.join(folder), Some(AGENTS.0), Some(AGENTS.1)).unwrap();
        }
        std::fs::create_dir(stage.outside()).unwrap();
        Some(stage)
    }

    fn pipeline(&self) -> PathBuf {
        self.root.path().join("var/lib/buildkite-agent/builds/agent/org/app")
    }

    /// Where nothing may change.
    fn outside(&self) -> PathBuf {
        self.root.path().join("outside")
    }

    fn file(&self, path: &Path) -> PathBuf {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, "x").unwrap();
        path.to_owned()
    }

    /// Exit code and stderr.
    fn run(&self, names: [&str; 3]) -> (Option<i32>, String) {
        self.run_with(&[], names)
    }

    fn run_with(&self, environment: &[(&str, &str)], names: [&str; 3]) -> (Option<i32>, String) {
        let mut command = Command::new(PROGRAM);
        command.arg("fix-permissions").args(["--root".as_ref(), self.root.path()]).arg("--").args(names);
        command.env_remove("SUDO_UID").envs(environment.iter().copied());
        let output = command.output().unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

fn owner(path: &Path) -> (u32, u32) {
    let found = path.symlink_metadata().unwrap();
    (found.uid(), found.gid())
}

const APP: [&str; 3] = ["agent", "org", "app"];

#[test]
fn all_in_the_folder_is_given_back_and_nothing_else() {
    let Some(stage) = Stage::new() else { return };
    let (app, outside) = (stage.pipeline(), stage.outside());
    let secret = stage.file(&outside.join("secret"));
    let files = ["a", "deep/er/and/deeper/b", "deep/c"].map(|name| stage.file(&app.join(name)));
    lchown(&files[2], Some(999), Some(999)).unwrap();
    let suid = stage.file(&app.join("suid"));
    std::fs::set_permissions(&suid, std::fs::Permissions::from_mode(0o4755)).unwrap();
    symlink(&outside, app.join("to-folder")).unwrap();
    symlink(&secret, app.join("to-file")).unwrap();
    symlink("nowhere", app.join("to-nothing")).unwrap();
    nix::unistd::mkfifo(&app.join("fifo"), nix::sys::stat::Mode::from_bits_truncate(0o600)).unwrap();
    std::fs::hard_link(&secret, app.join("linked")).unwrap();
    let null = Command::new("mknod").arg(app.join("null")).args(["c", "1", "3"]).status().unwrap().success();

    let (code, said) = stage.run(APP);
    assert_eq!(code, Some(0), "{said}");
    let devices = if null { ", 1 devices left" } else { "" };
    let told =
        format!("12 of {} things given back, 1 left with several names{devices} in", 14 + u32::from(null));
    assert!(said.contains(&told), "{told}: {said}");
    for name in
        ["a", "deep", "deep/er/and/deeper/b", "deep/c", "suid", "to-folder", "to-file", "to-nothing", "fifo"]
    {
        assert_eq!(owner(&app.join(name)), AGENTS, "{name}");
    }
    assert_eq!(
        suid.metadata().unwrap().mode() & 0o6000,
        0,
        "a set-uid file of root is one of the agents now"
    );
    for path in [&outside, &secret, &app.join("linked")] {
        assert_eq!(owner(path), (0, 0), "{}", path.display());
    }
    assert!(!null || owner(&app.join("null")) == (0, 0));

    let (code, said) = stage.run(APP);
    assert_eq!((code, said.contains("0 of")), (Some(0), true), "twice is harmless: {said}");
}

#[test]
fn folders_that_are_no_folders_are_not_followed() {
    let Some(stage) = Stage::new() else { return };
    let secret = stage.file(&stage.outside().join("org/app/secret"));
    let builds = stage.root.path().join("var/lib/buildkite-agent/builds");
    symlink(stage.outside(), builds.join("link")).unwrap();
    symlink(stage.outside().join("org"), builds.join("agent/link")).unwrap();
    symlink(stage.outside().join("org/app"), builds.join("agent/org/link")).unwrap();
    for names in [["link", "org", "app"], ["agent", "link", "app"], ["agent", "org", "link"]] {
        let (code, said) = stage.run(names);
        assert_eq!(code, Some(1), "{names:?}: {said}");
        assert_eq!(owner(&secret), (0, 0), "{names:?}");
    }
    assert_eq!(stage.run(["agent", "org", "none"]), (Some(0), String::new()));
    // The agents own the folder above builds, so even that may have been replaced.
    std::fs::rename(&builds, builds.with_extension("old")).unwrap();
    symlink(stage.outside(), &builds).unwrap();
    chown(stage.outside(), Some(AGENTS.0), Some(AGENTS.1)).unwrap();
    let (code, said) = stage.run(["org", "app", "secret"]);
    assert_eq!(code, Some(1), "{said}");
    assert_eq!(owner(&secret), (0, 0));
}

#[test]
fn names_and_roots_that_a_job_could_choose_are_refused() {
    let Some(stage) = Stage::new() else { return };
    for names in [["..", "org", "app"], ["agent", "a/b", "app"], ["agent", "org", ""], ["agent", "org", "."]]
    {
        let (code, said) = stage.run(names);
        assert_eq!((code, said.contains("is no folder's name")), (Some(2), true), "{names:?}: {said}");
    }
    let (code, said) = stage.run_with(&[("SUDO_UID", "4321")], APP);
    assert_eq!((code, said.contains("not for callers by sudo")), (Some(77), true), "{said}");
}

#[test]
fn other_mounts_are_not_crossed() {
    let Some(stage) = Stage::new() else { return };
    let (app, outside) = (stage.pipeline(), stage.outside());
    let secret = stage.file(&outside.join("secret"));
    for folder in ["bound", "tmpfs"] {
        std::fs::create_dir(app.join(folder)).unwrap();
    }
    stage.file(&app.join("bound-file"));
    stage.file(&app.join("z"));
    let set_up = "mount --bind \"$0\" \"$1/bound\" && mount --bind \"$0/secret\" \"$1/bound-file\" \
        && mount -t tmpfs none \"$1/tmpfs\" && shift && exec \"$@\"";
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", set_up]).arg(&outside).arg(&app).arg(PROGRAM);
    let command = command.arg("fix-permissions").args(["--root".as_ref(), stage.root.path()]).args(APP);
    let output = command.env_remove("SUDO_UID").output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    if said.contains("mount:") {
        eprintln!("SKIPPED: this machine mounts nothing: {said}");
        return;
    }
    assert!(said.contains("1 of 2 things given back, 3 mounts left"), "{said}");
    assert_eq!(owner(&app.join("z")), AGENTS);
    for path in [&outside, &secret] {
        assert_eq!(owner(path), (0, 0), "{}", path.display());
    }
}

#[test]
fn very_deep_folders_end_it_with_a_word() {
    let Some(stage) = Stage::new() else { return };
    let deep = (0..500).fold(stage.pipeline(), |path, _| path.join("d"));
    std::fs::create_dir_all(&deep).unwrap();
    let (code, said) = stage.run(APP);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("folders more than 400 deep are left as they are"), "{said}");
}

/// Somebody swaps folders with symlinks, files with hard links, and moves folders in and out, as fast as they can.
fn swap_for_ever(app: &Path, outside: &Path, stop: &AtomicBool, swaps: &AtomicU64) {
    let exchange = |a: &Path, b: &Path| {
        let flags = nix::fcntl::RenameFlags::RENAME_EXCHANGE;
        let here = nix::fcntl::AT_FDCWD;
        if nix::fcntl::renameat2(here, a, here, b, flags).is_ok() {
            swaps.fetch_add(1, Ordering::Relaxed);
        }
    };
    let (folder, link) = (app.join("folder"), app.join("link"));
    let (file, shared) = (app.join("folder-2/file"), app.join("folder-2/shared"));
    let out = outside.with_extension("moved");
    while !stop.load(Ordering::Relaxed) {
        exchange(&folder, &link);
        exchange(&file, &shared);
        exchange(&app.join("folder-2"), &app.join("link-2"));
        exchange(&app.join("folder-2"), &app.join("link-2"));
        let _ = std::fs::rename(app.join("deep/er"), &out);
        let _ = std::fs::rename(&out, app.join("deep/er"));
    }
}

#[test]
fn somebody_who_swaps_folders_and_links_meanwhile_leads_it_nowhere() {
    let Some(stage) = Stage::new() else { return };
    let (app, outside) = (stage.pipeline(), stage.outside());
    let secrets: Vec<PathBuf> = (0..20).map(|n| stage.file(&outside.join(format!("secret-{n}")))).collect();
    for n in 0..20 {
        // The same names inside and outside, so that a path that was checked names the other one.
        for folder in ["folder", "folder-2", "deep/er/folder"] {
            stage.file(&app.join(folder).join(format!("secret-{n}")));
        }
    }
    stage.file(&app.join("folder-2/file"));
    std::fs::hard_link(&secrets[0], app.join("folder-2/shared")).unwrap();
    symlink(&outside, app.join("link")).unwrap();
    symlink(&outside, app.join("link-2")).unwrap();
    let (stop, swaps) = (AtomicBool::new(false), AtomicU64::new(0));
    let mut runs = 0;
    std::thread::scope(|scope| {
        scope.spawn(|| swap_for_ever(&app, &outside, &stop, &swaps));
        let begun = Instant::now();
        let tried = |runs| runs >= 5 && swaps.load(Ordering::Relaxed) > 1000;
        while begun.elapsed() < Duration::from_secs(5)
            || (!tried(runs) && begun.elapsed() < Duration::from_secs(60))
        {
            let (code, said) = stage.run(APP);
            assert_eq!(code, Some(0), "{said}");
            runs += 1;
            // Root's again, so that the next run has something to give.
            let _ = Command::new("chown").args(["-hR", "0:0"]).arg(&app).output().unwrap();
        }
        stop.store(true, Ordering::Relaxed);
    });
    for path in secrets.iter().chain([&outside]) {
        assert_eq!(owner(path), (0, 0), "{} after {runs} runs", path.display());
    }
    let swaps = swaps.load(Ordering::Relaxed);
    assert!(runs >= 5 && swaps > 1000, "{runs} runs, {swaps} swaps: no race was tried");
    stage.run(APP);
    assert_eq!(owner(&app.join("deep/er/folder/secret-7")), AGENTS);
}
