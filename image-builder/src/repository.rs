//! The repository of templates: a bare mirror, and a folder of files for each build. What is built is exactly the commit
//! that was asked for; there is no branch to fall back to.

use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::fcntl::{Flock, FlockArg};
use secrecy::{ExposeSecret as _, SecretString};
use tokio::process::Command;

use crate::job::{CommitId, TemplatePath};
use crate::problem::Problem;
use crate::process::{Ended, run};

/// The longest that a clone of a large repository may take.
const TRANSFER_PATIENCE: Duration = Duration::from_mins(15);

/// The longest for what needs no network.
const LOCAL_PATIENCE: Duration = Duration::from_mins(3);

/// What the remote asks for before it shows its repository.
#[derive(Debug, Clone)]
pub enum Access {
    /// A deploy key, the private part as OpenSSH writes it.
    DeployKey(SecretString),
    /// A token, taken as the password of an HTTPS remote.
    Token(SecretString),
}

/// A full commit id that the repository has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FullCommit(String);

impl FullCommit {
    /// Its 40 or 64 digits.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A mirror of the remote, shared by all builds of this machine.
#[derive(Debug)]
pub struct Mirror {
    url: String,
    folder: PathBuf,
    access: Option<Access>,
}

/// The files of one commit; they go when this is dropped.
#[derive(Debug)]
pub struct Checkout {
    files: tempfile::TempDir,
}

impl Mirror {
    /// A mirror of `url` in `folder`, which is made by the first [`Mirror::update`].
    #[must_use]
    pub fn new(url: &str, folder: &Path, access: Option<Access>) -> Self {
        Self { url: url.to_owned(), folder: folder.to_owned(), access }
    }

    /// Brings all branches and tags of the remote. One process at a time does so.
    ///
    /// # Errors
    /// The remote is not there, refuses, or takes too long; the folder cannot be written.
    pub async fn update(&self) -> Result<(), Problem> {
        let _alone = self.lock().await?;
        if !self.folder.join("HEAD").exists() {
            let mut init = git();
            init.args(["init", "--quiet", "--bare"]).arg(&self.folder);
            self.done(init, LOCAL_PATIENCE).await?;
        }
        let mut fetch = self.command();
        let keys = tempfile::tempdir().map_err(|error| Problem::new(1, format!("fetch: {error}")))?;
        self.grant(&mut fetch, keys.path())?;
        fetch.args(["fetch", "--quiet", "--force", "--prune", "--no-write-fetch-head", "--no-auto-gc", "--"]);
        fetch.args([self.url.as_str(), "+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*"]);
        self.done(fetch, TRANSFER_PATIENCE).await.map(drop)
    }

    /// The one commit of the repository whose id begins so, whatever branches and tags are called.
    ///
    /// # Errors
    /// There is none, or more than one.
    pub async fn resolve(&self, commit: &CommitId) -> Result<FullCommit, Problem> {
        let mut list = self.command();
        list.arg("rev-parse").arg(format!("--disambiguate={commit}"));
        let ids = self.done(list, LOCAL_PATIENCE).await?.stdout;
        let mut commits = Vec::new();
        for id in ids.lines() {
            let mut kind = self.command();
            kind.args(["cat-file", "-t", id]);
            if self.done(kind, LOCAL_PATIENCE).await?.stdout.trim() == "commit"
                && self.is_reachable(id).await?
            {
                commits.push(id.to_owned());
            }
        }
        match commits.as_slice() {
            [one] => Ok(FullCommit(one.clone())),
            [] => Err(Problem::new(1, format!("{} has no commit {commit} on a branch or tag", self.shown()))),
            several => Err(Problem::new(
                1,
                format!(
                    "{} has {} commits that begin with {commit}: give all digits",
                    self.shown(),
                    several.len()
                ),
            )),
        }
    }

    /// What was on a branch that is gone may lie in the mirror still, and is of no repository that anybody reviewed.
    async fn is_reachable(&self, id: &str) -> Result<bool, Problem> {
        let mut refs = self.command();
        refs.args(["for-each-ref", "--count=1", "--contains", id, "--format=%(refname)"]);
        Ok(!self.done(refs, LOCAL_PATIENCE).await?.stdout.trim().is_empty())
    }

    /// Writes the files of a commit into a folder of their own below `folder`.
    ///
    /// # Errors
    /// They cannot be written.
    pub async fn checkout(&self, commit: &FullCommit, folder: &Path) -> Result<Checkout, Problem> {
        let failed =
            |error: std::io::Error| Problem::new(1, format!("checkout into {}: {error}", folder.display()));
        std::fs::create_dir_all(folder).map_err(failed)?;
        let files = tempfile::Builder::new().prefix("checkout-").tempdir_in(folder).map_err(failed)?;
        let mut index = self.command();
        // An index of its own instead of a registered worktree: builds beside each other share nothing, and one that is
        // killed leaves nothing behind in the mirror.
        index.env("GIT_INDEX_FILE", files.path().join(".git-index")).args(["read-tree", commit.as_str()]);
        self.done(index, LOCAL_PATIENCE).await?;
        let mut write = self.command();
        write.env("GIT_INDEX_FILE", files.path().join(".git-index")).arg("--work-tree").arg(files.path());
        write.args(["checkout-index", "--all", "--force", "--quiet"]);
        self.done(write, LOCAL_PATIENCE).await?;
        std::fs::remove_file(files.path().join(".git-index")).map_err(failed)?;
        Ok(Checkout { files })
    }

    /// The id of what lies at `path` in a commit: the same for the same content.
    ///
    /// # Errors
    /// There is nothing.
    pub async fn tree(&self, commit: &FullCommit, path: &str) -> Result<String, Problem> {
        let mut parse = self.command();
        parse.args(["rev-parse", "--verify", "--quiet"]).arg(format!("{}:{path}", commit.as_str()));
        Ok(self.done(parse, LOCAL_PATIENCE).await?.stdout.trim().to_owned())
    }

    fn shown(&self) -> String {
        shown(&self.url)
    }

    fn command(&self) -> Command {
        let mut command = git();
        command.arg("--git-dir").arg(&self.folder);
        command
    }

    async fn done(&self, mut command: Command, patience: Duration) -> Result<Ended, Problem> {
        let verb = verb(&command);
        let what = format!("git {verb} of {}", self.shown());
        let ended = run(&mut command, patience, &what).await?;
        if ended.status.success() {
            return Ok(ended);
        }
        let complaint = ended.complaint();
        Err(Problem::new(code_of(&complaint), format!("{what}: {complaint}")))
    }

    /// Gives git what the remote asks for: in its environment, or in a file that is removed after.
    fn grant(&self, command: &mut Command, keys: &Path) -> Result<(), Problem> {
        match &self.access {
            None => Ok(()),
            Some(Access::Token(token)) => {
                command.env("TIDEMARK_GIT_TOKEN", token.expose_secret());
                // The first empties the list of helpers. The second is a line of shell: the token is in neither.
                let answer = "!f() { test \"$1\" = get && echo username=x-access-token && echo \"password=$TIDEMARK_GIT_TOKEN\"; }; f";
                command.args(["-c", "credential.helper=", "-c"]).arg(format!("credential.helper={answer}"));
                Ok(())
            }
            Some(Access::DeployKey(key)) => {
                let path = keys.join("key");
                private(&path, key).map_err(|error| Problem::new(1, format!("deploy key: {error}")))?;
                let hosts = self.folder.with_extension("known_hosts");
                command.env(
                    "GIT_SSH_COMMAND",
                    format!(
                        "ssh -F none -i {} -o IdentitiesOnly=yes -o BatchMode=yes -o ConnectTimeout=20 \
                         -o StrictHostKeyChecking=accept-new -o UserKnownHostsFile={}",
                        quoted(&path),
                        quoted(&hosts),
                    ),
                );
                Ok(())
            }
        }
    }

    /// Waits until no other process updates this mirror.
    async fn lock(&self) -> Result<Flock<std::fs::File>, Problem> {
        let path = self.folder.with_extension("lock");
        let failed = |error: std::io::Error| Problem::new(1, format!("lock {}: {error}", path.display()));
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent).map_err(failed)?;
        }
        let file = std::fs::File::create(&path).map_err(failed)?;
        let taken = tokio::task::spawn_blocking(move || Flock::lock(file, FlockArg::LockExclusive)).await;
        match taken {
            Ok(Ok(lock)) => Ok(lock),
            Ok(Err((_, errno))) => Err(failed(errno.into())),
            Err(error) => Err(Problem::new(1, format!("lock {}: {error}", path.display()))),
        }
    }
}

impl Checkout {
    /// Where the files are.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.files.path()
    }

    /// The template's file: a plain one, and below the folder also after following links.
    ///
    /// # Errors
    /// There is none, or it lies elsewhere.
    pub fn template(&self, path: &TemplatePath) -> Result<PathBuf, Problem> {
        let absent = |why: String| Problem::new(1, format!("template {path}: {why}"));
        let root = self.folder().canonicalize().map_err(|error| absent(error.to_string()))?;
        let file = root.join(path.as_str()).canonicalize();
        let file = file.map_err(|_| absent("the commit has no such file".to_owned()))?;
        if !file.starts_with(&root) {
            return Err(absent("it is a link that leads out of the repository".to_owned()));
        }
        if !file.is_file() {
            return Err(absent("it is no file".to_owned()));
        }
        Ok(file)
    }
}

/// A remote's URL without a password.
#[must_use]
pub fn shown(url: &str) -> String {
    match url.split_once("://").and_then(|(scheme, rest)| Some((scheme, rest.split_once('@')?))) {
        Some((scheme, (user, host))) if !user.contains('/') => format!("{scheme}://{host}"),
        _ => url.to_owned(),
    }
}

fn git() -> Command {
    let mut command = Command::new("git");
    // No question is ever answered here, and no transport that runs a command of the URL's choice.
    command.env("GIT_TERMINAL_PROMPT", "0").env("GIT_ALLOW_PROTOCOL", "https:http:ssh:git:file");
    command.env("LC_ALL", "C").env("GIT_HTTP_LOW_SPEED_LIMIT", "100").env("GIT_HTTP_LOW_SPEED_TIME", "60");
    command.args(["-c", "core.hooksPath=/dev/null", "-c", "advice.detachedHead=false"]);
    command
}

/// The verb in git's arguments: the first that is neither an option nor an option's value.
fn verb(command: &Command) -> String {
    let arguments: Vec<_> = command.as_std().get_args().map(|a| a.to_string_lossy().into_owned()).collect();
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        match argument.as_str() {
            "-c" | "--git-dir" | "--work-tree" => drop(rest.next()),
            verb => return verb.to_owned(),
        }
    }
    String::new()
}

/// Pure: is what git complains of a matter of rights, of the network, or neither?
fn code_of(complaint: &str) -> u8 {
    const DENIED: [&str; 5] =
        ["Permission denied", "Authentication failed", "could not read Username", "403", "access denied"];
    const AWAY: [&str; 6] = [
        "Could not resolve host",
        "Connection refused",
        "Connection timed out",
        "unable to access",
        "early EOF",
        "Connection reset",
    ];
    let has = |words: &[&str]| words.iter().any(|word| complaint.contains(word));
    match () {
        () if has(&DENIED) => 77,
        () if has(&AWAY) => 69,
        () => 1,
    }
}

fn private(path: &Path, text: &SecretString) -> std::io::Result<()> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(text.expose_secret().trim_end().as_bytes())?;
    file.write_all(b"\n")?;
    nix::unistd::fsync(file.as_fd()).map_err(Into::into)
}

fn quoted(path: &Path) -> String {
    format!("'{}'", path.display().to_string().replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests;
