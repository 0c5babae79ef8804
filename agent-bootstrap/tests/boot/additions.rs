//! What a stack adds to its boots: script, environment, keys, sudo, the agent's own options.

use std::os::unix::fs::{MetadataExt as _, symlink};

use agent_bootstrap::units::process::Process;

use crate::faults::fails;
use crate::stage::{Stage, until};

const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGZpcnN0 ada@example.com";

/// An object of a bucket, or a page of a web server.
fn put(stage: &Stage, path: &str, text: &str) {
    stage.change(|world| world.objects.insert(path.to_owned(), text.to_owned()));
}

fn passwd(stage: &Stage) {
    std::fs::create_dir_all(stage.path("etc")).unwrap();
    let text = "root:x:0:0::/root:/bin/bash\nadmin:x:1000:1001::/home/admin:/bin/bash\n";
    std::fs::write(stage.path("etc/passwd"), text).unwrap();
}

#[tokio::test]
async fn the_bootstrap_script_runs_as_root_before_agents_and_once() {
    let stage = Stage::new().await.settings("bootstrap-script: s3://b/boot.sh");
    let script = "#!/bin/sh\necho \"script of $(id -u) in $AWS_REGION\"\necho \"$(cat \"$TIDEMARK_ROOT/started\" \
        2>/dev/null | wc -l)\" >> \"$TIDEMARK_ROOT/ran\"\n";
    put(&stage, "b/boot.sh", script);
    let run = stage.boot().await;
    assert_eq!((run.code, stage.living()), (0, 1), "{}", run.stderr);
    let told = format!("script of {} in us-east-1\n", nix::unistd::Uid::effective());
    assert!(run.stderr.contains(&told) && run.stderr.contains("boot: bootstrap script "), "{}", run.stderr);
    assert_eq!(stage.text("ran"), "0\n", "no agent had started");

    // A reboot: the agents are gone, the marker is not.
    let reboot = || for_agents_to_end(&stage);
    reboot().await;
    let run = stage.boot().await;
    assert!(run.stderr.contains("this instance ran s3://b/boot.sh before"), "{}", run.stderr);
    assert_eq!(stage.text("ran").lines().count(), 1);
    // Another script is another matter, but not beside running agents.
    put(&stage, "b/boot.sh", &format!("{script}# second\n"));
    let run = stage.boot().await;
    assert!(run.stderr.contains("not run: agents run here"), "{}", run.stderr);
    reboot().await;
    assert_eq!(stage.boot().await.code, 0);
    assert_eq!(stage.text("ran").lines().count(), 2);
}

async fn for_agents_to_end(stage: &Stage) {
    for agent in stage.agents() {
        agent.terminate().unwrap();
    }
    until("the agents have ended", || stage.living() == 0).await;
}

#[tokio::test]
async fn a_script_that_fails_or_hangs_fails_the_boot() {
    let script = |text: &'static str| async move {
        Stage::new().await.settings("bootstrap-script: ssm:/ci/script").parameter("/ci/script", text)
    };
    let stage = script("#!/bin/sh\necho halfway\nexit 3\n").await;
    let run = fails(&stage, 1, &["boot: bootstrap script: ssm:/ci/script ended with exit status 3"]).await;
    assert!(run.stderr.contains("halfway\n"), "{}", run.stderr);
    assert_eq!(stage.calls_of("CompleteLifecycleAction launching ABANDON").len(), 1);

    // What it started goes with it.
    let stage = script("#!/bin/sh\nsleep 600 &\necho $! > \"$TIDEMARK_ROOT/pid\"\nwait\n").await;
    fails(&stage, 69, &["boot: bootstrap script: it did not end; given up after"]).await;
    let pid = stage.text("pid").trim().parse().unwrap();
    until("what the script started has ended", || Process::running(pid).is_none()).await;

    let stage = script("echo no script\n").await;
    fails(&stage, 78, &["boot: bootstrap script: ssm:/ci/script is no script: begin it with"]).await;
}

#[tokio::test]
async fn what_cannot_be_fetched_fails_the_boot() {
    let plain = Stage::new().await;
    let web = format!("bootstrap-script: {}/web/none.sh", plain.url());
    let own = format!("{}/web/none.sh", plain.url());
    let stage = plain.settings(&web);
    fails(&stage, 1, &["boot: script fetch:", &own, "404 Not Found"]).await;
    assert_eq!(stage.calls_of("SetInstanceHealth").len(), 1);

    let stage = Stage::new().await.settings("bootstrap-script: http://127.0.0.1:1/x.sh");
    fails(&stage, 69, &["boot: script fetch: http://127.0.0.1:1/x.sh", "given up after"]).await;
    let stage = Stage::new().await.settings("bootstrap-script: s3://b/none.sh");
    fails(&stage, 1, &["boot: script fetch: s3:GetObject on s3://b/none.sh"]).await;
    let stage = Stage::new().await.settings("agent-environment: file:/etc/none");
    fails(&stage, 1, &["boot: agent environment: file:/etc/none"]).await;
    let stage = Stage::new().await.settings("agent-environment: s3://b/env");
    put(&stage, "b/env", &"A=1\n".repeat(40_000));
    fails(&stage, 78, &["boot: agent environment: s3://b/env is larger than 131072 bytes"]).await;
    let stage =
        Stage::new().await.settings("bootstrap-script: http://example.com/x\nauthorized-keys-url: here\n");
    fails(&stage, 78, &["`bootstrap-script` is none of", "`authorized-keys-url` is none of"]).await;
}

#[tokio::test]
async fn the_agents_environment_reaches_agents_and_nobody_else() {
    let stage = Stage::new().await.settings("agent-environment: ssm:/ci/env");
    let stage = stage.parameter("/ci/env", "# ours\nexport REGISTRY='a b'\nPRICE=\"5 \\$\"\n");
    let run = stage.boot().await;
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert_eq!(stage.mode("etc/buildkite-agent/environment"), 0o600);
    let environment = std::fs::read_to_string(format!("/proc/{}/environ", stage.agents()[0].pid)).unwrap();
    for variable in ["REGISTRY=a b\0", "PRICE=5 $\0"] {
        assert!(environment.contains(variable), "{environment}");
    }
    assert!(!run.stderr.contains("a b"), "{}", run.stderr);

    let stage = Stage::new().await.settings("agent-environment: ssm:/ci/env");
    let stage = stage.parameter("/ci/env", "A=1\nB=$(id)\n");
    fails(&stage, 78, &["boot: agent environment: ssm:/ci/env: line 2:"]).await;
}

#[tokio::test]
async fn keys_of_people_are_written_and_refreshed() {
    let stage = Stage::new().await;
    let url = format!("authorized-keys-url: {}/web/keys?sig=s3cr3t", stage.url());
    let stage = stage.settings(&url);
    passwd(&stage);
    std::fs::create_dir_all(stage.path("home/admin/.ssh")).unwrap();
    std::fs::write(stage.path("home/admin/.ssh/authorized_keys"), "ssh-rsa AAAAkeypair aws\n").unwrap();
    put(&stage, "web/keys", &format!("# team\n{KEY}\n"));
    let run = stage.boot().await;
    assert_eq!(run.code, 0, "{}", run.stderr);
    let keys = || stage.text("home/admin/.ssh/authorized_keys");
    assert!(keys().starts_with("ssh-rsa AAAAkeypair aws\n") && keys().contains(KEY), "{}", keys());
    assert_eq!(
        (stage.mode("home/admin/.ssh"), stage.mode("home/admin/.ssh/authorized_keys")),
        (0o700, 0o600)
    );
    if nix::unistd::Uid::effective().is_root() {
        let owner = stage.path("home/admin/.ssh/authorized_keys").metadata().unwrap();
        assert_eq!((owner.uid(), owner.gid()), (1000, 1001));
    }

    put(&stage, "web/keys", "ssh-ed25519 AAAAnew grace\n");
    assert_eq!(stage.run(&["refresh", "authorized-keys"]).await.code, 0);
    assert!(
        keys().contains("AAAAnew") && !keys().contains(KEY) && keys().contains("AAAAkeypair"),
        "{}",
        keys()
    );
    // What is no list of keys, or cannot be had, changes nothing.
    for answer in [Some("<html>moved</html>"), None] {
        stage.change(|world| world.objects.remove("web/keys"));
        if let Some(text) = answer {
            put(&stage, "web/keys", text);
        }
        let run = stage.run(&["refresh", "authorized-keys"]).await;
        assert_ne!(run.code, 0);
        assert!(run.stderr.contains("/web/keys") && !run.stderr.contains("s3cr3t"), "{}", run.stderr);
        assert!(keys().contains("AAAAnew"));
    }

    let stage = Stage::new().await;
    let url = format!("authorized-keys-url: {}/web/none", stage.url());
    let stage = stage.settings(&url);
    passwd(&stage);
    fails(&stage, 1, &["boot: authorized keys:", "/web/none: 404"]).await;
    let stage = stage.settings("authorized-keys-url: ssm:/k\nauthorized-keys-user: buildkite-agent\n");
    fails(&stage, 78, &["`authorized-keys-user` is the agents' user"]).await;
    let stage =
        stage.settings("authorized-keys-url: ssm:/k\nauthorized-keys-user: nobody\n").parameter("/k", KEY);
    fails(&stage, 78, &["this image has no user nobody"]).await;
}

#[tokio::test]
async fn a_sudo_rule_counts_once_visudo_has_seen_it() {
    let rule = "sudo-rule: 'ALL=(root) NOPASSWD: /usr/bin/apt-get update'";
    let stage = Stage::new().await.settings(rule);
    fails(&stage, 78, &["boot: files: sudo-rule: this image has no visudo"]).await;
    assert!(!stage.path("etc/sudoers.d/tidemark").exists());

    let with_visudo = |stage: Stage| {
        std::fs::create_dir_all(stage.path("bin")).unwrap();
        assert!(std::path::Path::new("/usr/sbin/visudo").exists(), "scripts/setup installs sudo");
        symlink("/usr/sbin/visudo", stage.path("bin/visudo")).unwrap();
        stage
    };
    let stage = with_visudo(Stage::new().await.settings(rule));
    let run = stage.boot().await;
    assert_eq!(run.code, 0, "{}", run.stderr);
    let text = stage.text("etc/sudoers.d/tidemark");
    assert!(text.ends_with("buildkite-agent ALL=(root) NOPASSWD: /usr/bin/apt-get update\n"), "{text}");
    assert_eq!(stage.mode("etc/sudoers.d/tidemark"), 0o440);
    let stage = stage.settings("");
    assert_eq!(stage.boot().await.code, 0);
    assert!(!stage.path("etc/sudoers.d/tidemark").exists(), "a rule that is gone is taken away");

    let stage = with_visudo(Stage::new().await.settings("sudo-rule: 'ALL=(root NOPASSWD /bin/x'"));
    fails(&stage, 78, &["boot: files: sudo-rule: visudo refuses it:"]).await;
    assert!(!stage.path("etc/sudoers.d/tidemark").exists());
}

#[tokio::test]
async fn the_channel_is_the_image_s_program_for_agents_and_jobs() {
    let open_source = "agent-program: buildkite-agent\nagent-release: beta\nagent-timestamp-lines: true\n\
        agent-tracing-backend: datadog\ngit-mirrors-path: /srv/mirrors\ndisconnect-after-idle: 5m\n\
        disconnect-after-uptime: 1h\n";
    let stage = Stage::new().await.settings(open_source);
    let agent = stage.text("agent").replace("$BUILDKITE_AGENT_NAME", "beta $BUILDKITE_AGENT_NAME");
    stage.executable("bin/buildkite-agent-beta", &agent);
    stage.executable("bin/buildkite-agent-stable", "#!/bin/sh\nexit 1\n");
    symlink("buildkite-agent-stable", stage.path("bin/buildkite-agent")).unwrap();
    let run = stage.boot().await;
    assert_eq!((run.code, stage.living()), (0, 1), "{}", run.stderr);
    until("the agent says its first words", || stage.path("started").exists()).await;
    assert!(stage.text("started").starts_with("beta "), "{}", stage.text("started"));
    let link = std::fs::read_link(stage.path("bin/buildkite-agent")).unwrap();
    assert_eq!(link.to_str(), Some("buildkite-agent-beta"));
    let mirrors = stage.path("srv/mirrors");
    assert!(mirrors.is_dir());
    let config = stage.text("etc/buildkite-agent/buildkite-agent.cfg");
    for line in [
        "timestamp-lines=\"true\"",
        "tracing-backend=\"datadog\"",
        &format!("git-mirrors-path=\"{}\"", mirrors.display()),
        "disconnect-after-idle-timeout=\"300\"",
        "disconnect-after-uptime=\"3600\"",
    ] {
        assert!(config.lines().any(|l| l == line), "no {line} in {config}");
    }

    let stage = Stage::new().await.settings("agent-program: buildkite-agent\nagent-release: edge\n");
    fails(&stage, 78, &["boot: files: agent-release: this image has no program `buildkite-agent-edge`"])
        .await;
    let stage = Stage::new().await.settings("agent-program: build-agent\nagent-tracing-backend: datadog\n");
    fails(&stage, 78, &["`agent-tracing-backend` is unknown to build-agent"]).await;
}

#[tokio::test]
async fn a_refused_agent_gets_the_token_that_is_stored_now() {
    let stage = Stage::new().await;
    assert_eq!(stage.run(&["refresh", "token"]).await.code, 1, "before the boot there is nothing to refresh");
    assert_eq!(stage.boot().await.code, 0);
    let config = || stage.text("etc/buildkite-agent/buildkite-agent.cfg");
    let before = config();
    stage.secret(Ok("r0tated"));
    assert_eq!(stage.run(&["refresh", "token", "--after", "success"]).await.code, 0);
    assert_eq!(config(), before, "an agent that left in order needs nothing");
    let run = stage.run(&["refresh", "token", "--after", "exit-code"]).await;
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert_eq!(config(), before.replace(crate::stage::TOKEN, "r0tated"));
    assert_eq!(stage.mode("etc/buildkite-agent/buildkite-agent.cfg"), 0o640);
    stage.secret(Err(("AccessDeniedException", "not authorized")));
    assert_eq!(stage.run(&["refresh", "token"]).await.code, 77);
    assert!(config().contains("r0tated"), "what was there stays");
}
