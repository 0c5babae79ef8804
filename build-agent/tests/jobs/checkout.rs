//! The built-in checkout (row 11).

use crate::rig::{Rig, git};

/// Git commands of the checkout, without flags that tell the version.
fn commands(log: &str) -> Vec<String> {
    let prompt = "\x1b[90m$\x1b[0m git ";
    log.lines().filter_map(|line| line.strip_prefix(prompt)).map(|line| line.trim().to_owned()).collect()
}

#[tokio::test]
async fn row_11_sequence_of_a_first_and_a_second_checkout() {
    let rig =
        Rig::new("true; git --no-pager log -1 --format='at %H'; test ! -e left-over && echo clean").await;
    let commit = rig.commit(&[("a.txt", "1")]);
    rig.env("BUILDKITE_COMMIT", &commit);
    let outcome = rig.run().await;
    let repository = rig.path("repository").display().to_string();
    let expected = |first: String| {
        let fetch = format!("fetch -v --prune -- origin {commit}");
        [first, "clean -ffxdq".into(), fetch, format!("checkout -f {commit}"), "clean -ffxdq".into()]
    };
    assert_eq!(commands(&outcome.log), expected(format!("clone -v -- {repository} .")));
    assert_eq!(outcome.lines("at "), [format!("at {commit}")]);
    let reported = rig.server.seen.lock().unwrap().meta_data["buildkite:git:commit"].clone();
    assert!(reported.starts_with(&format!("commit {commit}\nabbrev-commit ")), "{reported}");

    std::fs::write(rig.checkout().join("left-over"), "").unwrap();
    rig.server.seen.lock().unwrap().chunks.clear();
    let before = rig.server.seen.lock().unwrap().calls.len();
    let outcome = rig.run().await;
    assert_eq!(commands(&outcome.log), expected(format!("remote set-url origin {repository}")));
    assert_eq!(outcome.lines("clean").len(), 1);
    let sets = outcome.calls[before..].iter().filter(|call| call.ends_with("data/set")).count();
    assert_eq!(sets, 0, "the commit is reported once");
}

#[tokio::test]
async fn row_11_head_is_the_branch_by_fetch_head() {
    let rig = Rig::new("cat a.txt").await;
    rig.commit(&[("a.txt", "content of main\n")]);
    let outcome = rig.run().await;
    assert!(
        commands(&outcome.log).contains(&"fetch -v --prune -- origin main".to_owned()),
        "{}",
        outcome.log
    );
    assert!(commands(&outcome.log).contains(&"checkout -f FETCH_HEAD".to_owned()));
    assert_eq!(outcome.lines("content of main").len(), 1);
}

#[tokio::test]
async fn row_11_commit_that_is_not_given_out_alone_comes_by_all_branches() {
    let rig = Rig::new("cat a.txt").await;
    rig.commit(&[("a.txt", "first content\n")]);
    rig.run().await;
    let commit = rig.commit(&[("a.txt", "old content\n")]);
    rig.commit(&[("a.txt", "new content\n")]);
    // Protocol 0 gives out tips only.
    rig.env("GIT_CONFIG_COUNT", "1");
    rig.env("GIT_CONFIG_KEY_0", "protocol.version");
    rig.env("GIT_CONFIG_VALUE_0", "0");
    rig.env("BUILDKITE_COMMIT", &commit);
    let outcome = rig.run().await;
    assert!(outcome.log.contains("fetching all branches and tags"), "{}", outcome.log);
    assert_eq!(outcome.lines("old content").len(), 1);
}

#[tokio::test]
async fn row_11_submodules() {
    let rig = Rig::new("cat lib/code.txt").await;
    let module = rig.path("module");
    std::fs::create_dir(&module).unwrap();
    git(&module, &["init", "-q", "-b", "main"]);
    std::fs::write(module.join("code.txt"), "code of the module\n").unwrap();
    git(&module, &["add", "-A"]);
    git(&module, &["commit", "-q", "-m", "module"]);
    git(&rig.path("repository"), &["submodule", "add", "-q", &module.display().to_string(), "lib"]);
    rig.commit(&[]);
    for (name, value) in [("COUNT", "1"), ("KEY_0", "protocol.file.allow"), ("VALUE_0", "always")] {
        rig.env(&format!("GIT_CONFIG_{name}"), value);
    }
    let outcome = rig.run().await;
    assert_eq!(
        (outcome.exit_status(), outcome.lines("code of the module").len()),
        ("0", 1),
        "{}",
        outcome.log
    );
}

#[tokio::test]
async fn row_11_unknown_commit_fails_the_job_and_pre_exit_runs() {
    let rig = Rig::new("echo never").await;
    rig.env("BUILDKITE_COMMIT", "1111111111111111111111111111111111111111");
    rig.hook("pre-exit", "echo hook pre-exit");
    let outcome = rig.run().await;
    assert_ne!(outcome.exit_status(), "0");
    assert_eq!((outcome.lines("never").len(), outcome.lines("hook ").len()), (0, 1));
}

#[tokio::test]
async fn row_11_failed_checkout_is_tried_again_from_an_empty_folder() {
    let mut rig = Rig::new("echo got it").await;
    rig.config.push("checkout-attempts=2".into());
    std::fs::create_dir_all(rig.checkout().join(".git")).unwrap();
    std::fs::write(rig.checkout().join(".git/HEAD"), "garbage").unwrap();
    let outcome = rig.run().await;
    assert!(outcome.log.contains("Attempt 1 of 2 failed"), "{}", outcome.log);
    assert_eq!(outcome.lines("got it").len(), 1);
}
