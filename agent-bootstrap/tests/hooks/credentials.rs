//! SSH keys and git credentials, tried with the real ssh-agent and the real git.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use crate::instance::{Instance, Ran};

fn ssh_key(kind: &[&str], passphrase: &str) -> (Vec<u8>, String) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("key");
    let mut keygen = Command::new("ssh-keygen");
    keygen.args(["-q", "-N", passphrase, "-C", "test"]).args(kind).arg("-f").arg(&path);
    assert!(keygen.status().unwrap().success());
    let public = std::fs::read_to_string(path.with_extension("pub")).unwrap();
    (std::fs::read(&path).unwrap(), public.split(' ').nth(1).unwrap().to_owned())
}

fn in_job(ran: &Ran, program: &str, arguments: &[&str], stdin: &str) -> Output {
    use std::os::unix::ffi::OsStrExt as _;
    let environment: BTreeMap<_, _> =
        ran.environment.iter().map(|(n, v)| (n, std::ffi::OsStr::from_bytes(v))).collect();
    let mut child = Command::new(program)
        .args(arguments)
        .env_clear()
        .envs(environment)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(stdin.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

fn is_alive(pid: &str) -> bool {
    // Without a parent that waits, an ended process stays as a zombie (Z) here and there.
    std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

#[test]
fn all_keys_are_added_pipelines_first_and_the_agent_ends_with_the_job() {
    let instance = Instance::new();
    let (mut own, own_public) = ssh_key(&["-t", "ed25519"], "");
    let (root, root_public) = ssh_key(&["-t", "rsa", "-b", "2048", "-m", "PEM"], "");
    assert_eq!(own.pop(), Some(b'\n'), "the missing final newline is repaired");
    let windows = String::from_utf8(root).unwrap().replace('\n', "\r\n");
    instance.s3.put("app/private_ssh_key", own);
    instance.s3.put("id_rsa_github", windows);
    let ran = instance.hook("environment").passed();
    assert!(ran.stderr.contains("2 ssh keys"), "{}", ran.stderr);
    let listed = String::from_utf8(in_job(&ran, "ssh-add", &["-L"], "").stdout).unwrap();
    let keys: Vec<&str> = listed.lines().filter_map(|line| line.split(' ').nth(1)).collect();
    assert_eq!(keys, [own_public, root_public]);

    let pid = ran.get("SSH_AGENT_PID").unwrap();
    assert!(is_alive(pid));
    instance.hook("pre-exit").passed();
    // The signal was sent; the process ends by itself within moments.
    let begun = Instant::now();
    while is_alive(pid) {
        assert!(begun.elapsed() < Duration::from_secs(60), "the ssh-agent lives on");
        std::thread::sleep(Duration::from_millis(10));
    }
    assert!(!instance.job_folder().exists());
    instance.hook("pre-exit").passed();
}

#[test]
fn an_agent_of_somebody_else_is_neither_used_nor_stopped() {
    let folder = tempfile::tempdir_in("/tmp").unwrap();
    let socket = folder.path().join("s");
    let mut theirs =
        Command::new("ssh-agent").arg("-D").arg("-a").arg(&socket).stdout(Stdio::null()).spawn().unwrap();
    let mut instance = Instance::new();
    instance.s3.put("private_ssh_key", ssh_key(&["-t", "ed25519"], "").0);
    instance.set("SSH_AUTH_SOCK", socket.to_str().unwrap()).set("SSH_AGENT_PID", &theirs.id().to_string());
    let ran = instance.hook("environment").passed();
    assert_ne!(ran.get("SSH_AUTH_SOCK"), socket.to_str());
    instance.hook_in("pre-exit", &instance.environment).passed();
    assert_eq!(theirs.try_wait().unwrap(), None, "still running");
    theirs.kill().unwrap();
    theirs.wait().unwrap();
}

#[test]
fn keys_that_cannot_be_used_are_named_and_never_asked_about() {
    let (encrypted, _) = ssh_key(&["-t", "ed25519"], "secret phrase");
    let (pem, _) = ssh_key(&["-t", "rsa", "-b", "2048", "-m", "PEM"], "secret phrase");
    let (good, public) = ssh_key(&["-t", "ed25519"], "");
    let mut damaged = String::from_utf8(good).unwrap();
    damaged.replace_range(120..124, "AAAA");
    for (bytes, words) in [
        (encrypted, "passphrase"),
        (pem, "passphrase"),
        (damaged.into_bytes(), "damaged"),
        (format!("ssh-ed25519 {public} me").into_bytes(), "public key"),
        (b"".to_vec(), "empty"),
    ] {
        let instance = Instance::new();
        instance.s3.put("app/private_ssh_key", &bytes);
        let ran = instance.hook("environment").failed(78, &["s3://acme-secrets/app/private_ssh_key", words]);
        assert!(!ran.stderr.contains("AAAA"), "{}", ran.stderr);
    }
}

#[test]
fn a_repository_over_ssh_without_a_key_gets_a_hint() {
    let mut instance = Instance::new();
    instance.set("BUILDKITE_REPO", "git@git.example:acme/app.git");
    let ran = instance.hook("environment").passed();
    assert!(ran.stderr.contains("aws s3 cp --sse aws:kms FILE s3://acme-secrets/app/private_ssh_key"));
    assert_eq!(ran.get("SSH_AUTH_SOCK"), None);
}

#[test]
fn git_itself_gets_the_credentials_of_the_place_it_asks_for() {
    let mut instance = Instance::new();
    instance.s3.put(
        "git-credentials",
        "garbage hunter2\nhttps://root:r%40ot@git.example\nhttps://b:2@other.example:8443",
    );
    instance.s3.put("app/git-credentials", "https://own:1@git.example/acme/app.git");
    instance
        .set("GIT_CONFIG_COUNT", "1")
        .set("GIT_CONFIG_KEY_0", "user.name")
        .set("GIT_CONFIG_VALUE_0", "kept");
    let ran = instance.hook("environment").passed();
    assert!(!ran.stderr.contains("hunter2"));
    let fill = |question: &str| {
        let output = in_job(&ran, "git", &["credential", "fill"], question);
        let text = String::from_utf8(output.stdout).unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert!(!stderr.contains("hunter2"), "{stderr}");
        let part =
            |name: &str| text.lines().find_map(|l| l.strip_prefix(name)).unwrap_or_default().to_owned();
        (part("username="), part("password="))
    };
    let pair = |u: &str, p: &str| (u.to_owned(), p.to_owned());
    assert_eq!(fill("protocol=https\nhost=git.example\npath=acme/app.git\n\n"), pair("own", "1"));
    assert_eq!(fill("protocol=https\nhost=git.example\npath=acme/lib.git\n\n"), pair("root", "r@ot"));
    assert_eq!(fill("protocol=https\nhost=OTHER.example:8443\n\n"), pair("b", "2"));
    assert_eq!(fill("url=https://b@other.example:8443/x\n\n"), pair("b", "2"));
    let kept = in_job(&ran, "git", &["config", "user.name"], "");
    assert_eq!(kept.stdout, b"kept\n", "what was configured before stays");

    let approved =
        in_job(&ran, "git", &["credential", "approve"], "protocol=https\nhost=h\nusername=u\npassword=p\n\n");
    assert!(approved.status.success(), "store is a no-op that succeeds");
    instance.hook("pre-exit").passed();
    assert!(!instance.job_folder().exists(), "the files went with the job");
}
