use std::process::Command as Plain;

use super::*;

/// A repository with a branch `main`, a second commit, a tag, a branch named like an id, and links.
struct Remote {
    folder: tempfile::TempDir,
    first: String,
    second: String,
}

fn git_in(folder: &Path, arguments: &[&str]) -> String {
    let output = Plain::new("git")
        .args(["-c", "user.name=t", "-c", "user.email=t@example.com", "-c", "init.defaultBranch=main"])
        .args(arguments)
        .current_dir(folder)
        .output()
        .unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

fn remote() -> Remote {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    git_in(at, &["init", "--quiet"]);
    std::fs::create_dir(at.join("web")).unwrap();
    std::fs::write(at.join("web/base.json"), "first").unwrap();
    std::os::unix::fs::symlink("/etc/passwd", at.join("out.json")).unwrap();
    std::os::unix::fs::symlink("web/base.json", at.join("in.json")).unwrap();
    std::os::unix::fs::symlink("..", at.join("up")).unwrap();
    git_in(at, &["add", "."]);
    git_in(at, &["commit", "--quiet", "-m", "one"]);
    let first = git_in(at, &["rev-parse", "HEAD"]);
    std::fs::write(at.join("web/base.json"), "second").unwrap();
    git_in(at, &["commit", "--quiet", "-am", "two"]);
    let second = git_in(at, &["rev-parse", "HEAD"]);
    Remote { folder, first, second }
}

fn mirror(remote: &Remote, state: &Path) -> Mirror {
    Mirror::new(&format!("file://{}", remote.folder.path().display()), &state.join("mirror.git"), None)
}

fn id(text: &str) -> CommitId {
    CommitId::parse(text).unwrap()
}

fn path(text: &str) -> TemplatePath {
    TemplatePath::parse(text).unwrap()
}

#[tokio::test]
async fn k5_the_files_are_those_of_exactly_that_commit() {
    let (remote, state) = (remote(), tempfile::tempdir().unwrap());
    let mirror = mirror(&remote, state.path());
    mirror.update().await.unwrap();
    mirror.update().await.unwrap();
    for (commit, content) in [(&remote.first, "first"), (&remote.second, "second")] {
        let full = mirror.resolve(&id(&commit[..9])).await.unwrap();
        assert_eq!(full.as_str(), commit);
        let checkout = mirror.checkout(&full, &state.path().join("builds")).await.unwrap();
        let template = checkout.template(&path("web/base.json")).unwrap();
        assert_eq!(std::fs::read_to_string(template).unwrap(), content);
        let folder = checkout.folder().to_owned();
        assert!(!folder.join(".git-index").exists());
        drop(checkout);
        assert!(!folder.exists());
    }
}

#[tokio::test]
async fn k5_an_unknown_commit_is_a_failure_and_never_a_branch() {
    let (remote, state) = (remote(), tempfile::tempdir().unwrap());
    let unknown = "0123456789abcdef0123456789abcdef01234567";
    git_in(remote.folder.path(), &["branch", "abcdef0123"]);
    git_in(remote.folder.path(), &["tag", "deadbee"]);
    let mirror = mirror(&remote, state.path());
    mirror.update().await.unwrap();
    for missing in [unknown, "abcdef0123", "deadbee"] {
        let problem = mirror.resolve(&id(missing)).await.unwrap_err();
        assert!(
            problem.message.ends_with(&format!("has no commit {missing} on a branch or tag")),
            "{problem}"
        );
    }
    // The tree of a commit is an object of the repository, too, and no commit.
    let tree = git_in(remote.folder.path(), &["rev-parse", &format!("{}^{{tree}}", remote.first)]);
    mirror.resolve(&id(&tree)).await.unwrap_err();
}

#[tokio::test]
async fn a_commit_that_no_branch_has_any_more_is_not_built() {
    let (remote, state) = (remote(), tempfile::tempdir().unwrap());
    let mirror = mirror(&remote, state.path());
    mirror.update().await.unwrap();
    git_in(remote.folder.path(), &["reset", "--quiet", "--hard", &remote.first]);
    mirror.update().await.unwrap();
    mirror.resolve(&id(&remote.second)).await.unwrap_err();
    git_in(remote.folder.path(), &["tag", "kept", &remote.second]);
    mirror.update().await.unwrap();
    mirror.resolve(&id(&remote.second)).await.unwrap();
}

#[tokio::test]
async fn an_ambiguous_commit_is_refused() {
    let (remote, state) = (remote(), tempfile::tempdir().unwrap());
    let at = remote.folder.path();
    // Commits until two begin alike: 7 digits would take long, so the shortest id that is asked for here is read by hand.
    let mirror = mirror(&remote, state.path());
    let mut seen = std::collections::BTreeMap::new();
    let tree = git_in(at, &["rev-parse", "HEAD^{tree}"]);
    let twins = (0..).find_map(|n: u32| {
        let commit = git_in(at, &["commit-tree", &tree, "-m", &n.to_string()]);
        seen.insert(commit[..3].to_owned(), commit.clone()).map(|other| [commit, other])
    });
    let [one, other] = twins.unwrap();
    git_in(at, &["tag", "one", &one]);
    git_in(at, &["tag", "other", &other]);
    mirror.update().await.unwrap();
    // Three digits are too few for a CommitId; git itself asks for four.
    let common = one.bytes().zip(other.bytes()).take_while(|(a, b)| a == b).count();
    assert!(common >= 3, "{one} {other}");
    let full = mirror.resolve(&id(&one)).await.unwrap();
    assert_eq!(full.as_str(), one);
}

#[tokio::test]
async fn a_template_is_a_file_of_the_repository() {
    let (remote, state) = (remote(), tempfile::tempdir().unwrap());
    let mirror = mirror(&remote, state.path());
    mirror.update().await.unwrap();
    let full = mirror.resolve(&id(&remote.first)).await.unwrap();
    let checkout = mirror.checkout(&full, state.path()).await.unwrap();
    checkout.template(&path("in.json")).unwrap();
    for (template, word) in [
        ("absent.json", "no such file"),
        ("web", "no file"),
        ("out.json", "out of the repository"),
        ("up/mirror.git/HEAD", "out of the repository"),
    ] {
        let problem = checkout.template(&path(template)).unwrap_err();
        assert!(problem.message.contains(word), "{problem}");
    }
}

#[tokio::test]
async fn a_remote_that_is_not_there_or_is_none_is_told_with_its_name() {
    let state = tempfile::tempdir().unwrap();
    for (url, word) in [
        ("http://127.0.0.1:9/templates.git", "git fetch of http://127.0.0.1:9/templates.git: "),
        ("http://user:secret@127.0.0.1:9/templates.git", "git fetch of http://127.0.0.1:9/templates.git: "),
        ("file:///nonexistent", "git fetch of file:///nonexistent: "),
        ("ext::sh -c touch% /tmp/never", "not allowed"),
        ("--upload-pack=touch /tmp/never", "git fetch of --upload-pack"),
    ] {
        let problem = Mirror::new(url, &state.path().join("m.git"), None).update().await.unwrap_err();
        assert!(problem.message.contains(word) && !problem.message.contains("secret@"), "{problem}");
    }
    assert!(!Path::new("/tmp/never").exists());
}

#[tokio::test]
async fn two_workers_of_one_machine_do_not_disturb_each_other() {
    let (remote, state) = (remote(), tempfile::tempdir().unwrap());
    let (one, other) = (mirror(&remote, state.path()), mirror(&remote, state.path()));
    let (first, second) = tokio::join!(one.update(), other.update());
    first.unwrap();
    second.unwrap();
    let full = one.resolve(&id(&remote.second)).await.unwrap();
    let builds = state.path().join("builds");
    let (a, b) = tokio::join!(one.checkout(&full, &builds), other.checkout(&full, &builds));
    let (a, b) = (a.unwrap(), b.unwrap());
    assert_ne!(a.folder(), b.folder());
    a.template(&path("web/base.json")).unwrap();
    b.template(&path("web/base.json")).unwrap();
}

#[test]
fn a_password_of_a_remote_is_not_shown() {
    for (url, expected) in [
        ("https://user:token@github.com/acme/t.git", "https://github.com/acme/t.git"),
        ("git@github.com:acme/t.git", "git@github.com:acme/t.git"),
        ("file:///srv/t@x.git", "file:///srv/t@x.git"),
    ] {
        assert_eq!(shown(url), expected);
    }
}
