//! Real git against the lab's git servers.
#![allow(clippy::unwrap_used, reason = "helpers of tests are tests too")]

use std::path::Path;
use std::process::{Command, Output};

use lab::git::GitServers;

fn clone(url: &str, to: &Path, ssh: &str) -> Output {
    let mut command = Command::new("git");
    command.args(["clone", "-q", url]).arg(to).env("GIT_TERMINAL_PROMPT", "0").env("GIT_SSH_COMMAND", ssh);
    command.env("GIT_CONFIG_GLOBAL", "/dev/null").output().unwrap()
}

fn key(folder: &Path, name: &str) -> (String, String) {
    let file = folder.join(name);
    let made =
        Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(&file).status().unwrap();
    assert!(made.success());
    let known = folder.join("known_hosts").display().to_string();
    let ssh = format!(
        "ssh -F none -i {} -o IdentitiesOnly=yes -o BatchMode=yes -o StrictHostKeyChecking=accept-new -o UserKnownHostsFile={known}",
        file.display()
    );
    (std::fs::read_to_string(file.with_extension("pub")).unwrap(), ssh)
}

#[tokio::test(flavor = "multi_thread")]
async fn clone_by_ssh_needs_an_authorized_key_and_gives_no_shell() {
    let folder = tempfile::tempdir().unwrap();
    let servers = GitServers::start(&folder.path().join("git")).await.unwrap();
    servers.create_repo("app", &[("README.md", "hello\n"), ("ci/test.sh", "true\n")]).unwrap();
    let url = servers.ssh_url("app").unwrap();
    let (public, ssh) = key(folder.path(), "id");

    let refused = clone(&url, &folder.path().join("refused"), &ssh);
    assert!(String::from_utf8_lossy(&refused.stderr).contains("Permission denied"), "{refused:?}");

    servers.authorize_key(&public).unwrap();
    let cloned = clone(&url, &folder.path().join("app"), &ssh);
    assert!(cloned.status.success(), "{cloned:?}");
    assert_eq!(std::fs::read_to_string(folder.path().join("app/README.md")).unwrap(), "hello\n");

    let target = url.trim_start_matches("ssh://").split('/').next().unwrap().to_owned();
    let (host, port) = target.split_once(':').unwrap();
    let shell = Command::new("sh").arg("-c").arg(format!("{ssh} -p {port} {host} id")).output().unwrap();
    assert!(!shell.status.success() && shell.stdout.is_empty(), "{shell:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn clone_and_push_by_http_need_the_password() {
    let folder = tempfile::tempdir().unwrap();
    let servers = GitServers::start(&folder.path().join("git")).await.unwrap();
    let first = servers.create_repo("app", &[("a.txt", "1\n")]).unwrap();
    servers.set_password("ci", "s3cret");
    let url = servers.http_url("app").unwrap();
    let with = |user: &str| url.replace("http://", &format!("http://{user}@"));

    for bad in [url.clone(), with("ci:wrong"), with("other:s3cret")] {
        assert!(!clone(&bad, &folder.path().join("bad"), "").status.success(), "{bad}");
    }
    let good = clone(&with("ci:s3cret"), &folder.path().join("good"), "");
    assert!(good.status.success(), "{good:?}");
    let second = servers.create_repo("app", &[("a.txt", "2\n")]).unwrap();
    assert_ne!(first, second);
    let fetched = Command::new("git")
        .args(["fetch", "-q", "origin", &second])
        .current_dir(folder.path().join("good"))
        .output()
        .unwrap();
    assert!(fetched.status.success(), "{fetched:?}");
    let missing = clone(&with("ci:s3cret").replace("app", "none"), &folder.path().join("none"), "");
    assert!(String::from_utf8_lossy(&missing.stderr).contains("not found"), "{missing:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_runs_after_the_servers_and_names_are_checked() {
    let folder = tempfile::tempdir().unwrap();
    let servers = GitServers::start(&folder.path().join("git")).await.unwrap();
    assert!(servers.create_repo("../x", &[]).is_err() && servers.ssh_url("a/b").is_err());
    assert!(servers.authorize_key("a\nb").is_err());
    let stat = format!("/proc/{}/stat", servers.sshd_pid().unwrap());
    drop(servers);
    let gone = || std::fs::read_to_string(&stat).map_or(true, |stat| stat.contains(") Z "));
    while !gone() {
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
}
