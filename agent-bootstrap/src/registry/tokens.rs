//! ECR tokens: fetched on first use, kept per instance until shortly before they expire.
//!
//! One file a registry host in `run/tidemark/ecr`, written in one step, read and renewed under a lock: agents that ask
//! at the same time cause one call. A token is only ever given to the host it was fetched for.

use std::fs;
use std::io;
use std::path::PathBuf;

use jiff::{SignedDuration, Timestamp};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::private;
use super::server::{Ecr, Server};

/// The user's name of every ECR token.
pub const USER: &str = "AWS";

/// A token is renewed so long before it expires that a pull which begins with it also ends with it.
const MARGIN: SignedDuration = SignedDuration::from_mins(15);

/// ECR's tokens live for twelve hours; an entry that claims more is not believed.
const LONGEST: SignedDuration = SignedDuration::from_hours(12);

/// A password for an ECR registry.
#[derive(Debug, Clone)]
pub struct Token {
    /// Goes with the user [`USER`].
    pub password: SecretString,
    /// When ECR stops taking it.
    pub expires: Timestamp,
}

/// Where tokens come from.
pub trait TokenSource {
    /// Asks for a new token.
    fn fetch(&self, registry: &Ecr) -> impl Future<Output = Result<Token, aws::CallError>>;
}

/// The tokens of one identity on this instance.
#[derive(Debug, Clone)]
pub struct Tokens {
    folder: PathBuf,
}

/// An entry's file.
#[derive(Serialize, Deserialize)]
struct Entry {
    host: String,
    registry: String,
    password: Zeroizing<String>,
    expires: Timestamp,
}

impl Tokens {
    /// Tokens kept in `folder`.
    pub fn in_folder(folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into() }
    }

    /// The kept token for `server`, or a new one. A folder that cannot be used costs a call, never the login.
    ///
    /// # Errors
    /// What `source` answered.
    pub async fn get(
        &self,
        server: &Server,
        registry: &Ecr,
        now: Timestamp,
        source: &impl TokenSource,
    ) -> Result<Token, aws::CallError> {
        let Ok(_lock) = self.lock(server).await else { return source.fetch(registry).await };
        if let Some(token) = self.kept(server, registry, now) {
            return Ok(token);
        }
        let token = source.fetch(registry).await?;
        if usable(token.expires, now)
            && let Err(fault) = self.keep(server, registry, &token)
        {
            eprintln!(
                "docker-credential-tidemark: token of {server} not kept, the next pull asks again: {fault}"
            );
        }
        Ok(token)
    }

    /// Waited for on another thread: else a token asked for at the same time, whose lock this process already holds,
    /// would not arrive while this one waits for another process.
    async fn lock(&self, server: &Server) -> io::Result<fs::File> {
        let (folder, path) = (self.folder.clone(), self.path(server, "lock"));
        let locked = move || private::folder(&folder).and_then(|()| private::lock(&path));
        tokio::task::spawn_blocking(locked).await.map_err(io::Error::other)?
    }

    /// The hosts with a token that can still be handed out.
    #[must_use]
    pub fn hosts(&self, now: Timestamp) -> Vec<Server> {
        let files = fs::read_dir(&self.folder).into_iter().flatten().flatten();
        let entries = files.filter_map(|file| {
            let content = Zeroizing::new(fs::read(file.path()).ok()?);
            serde_json::from_slice::<Entry>(&content).ok()
        });
        entries.filter(|e| usable(e.expires, now)).filter_map(|e| Server::parse(&e.host).ok()).collect()
    }

    /// Forgets the token of `server`; true when there was one.
    pub fn forget(&self, server: &Server) -> bool {
        fs::remove_file(self.path(server, "json")).is_ok()
    }

    fn kept(&self, server: &Server, registry: &Ecr, now: Timestamp) -> Option<Token> {
        let content = Zeroizing::new(fs::read(self.path(server, "json")).ok()?);
        let entry: Entry = serde_json::from_slice(&content).ok()?;
        let same = entry.host == server.as_str() && entry.registry == named(registry);
        (same && usable(entry.expires, now))
            .then(|| Token { password: entry.password.as_str().into(), expires: entry.expires })
    }

    fn keep(&self, server: &Server, registry: &Ecr, token: &Token) -> io::Result<()> {
        let entry = Entry {
            host: server.as_str().to_owned(),
            registry: named(registry),
            password: Zeroizing::new(token.password.expose_secret().to_owned()),
            expires: token.expires,
        };
        let content = Zeroizing::new(serde_json::to_vec(&entry)?);
        private::write(&self.path(server, "json"), &content)
    }

    /// Hosts hold characters that file names should not, so files are named by digest; the content says the host.
    fn path(&self, server: &Server, ending: &str) -> PathBuf {
        let digest = hex::encode(&Sha256::digest(server.as_str())[..12]);
        self.folder.join(format!("{digest}.{ending}"))
    }
}

fn named(registry: &Ecr) -> String {
    match registry {
        Ecr::Private { account, region } => format!("{}.{region}", account.as_str()),
        Ecr::Public => "public".to_owned(),
    }
}

/// Pure: may a token that expires then still be handed out now?
fn usable(expires: Timestamp, now: Timestamp) -> bool {
    let left = expires.duration_since(now);
    left > MARGIN && left <= LONGEST + SignedDuration::from_mins(5)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    struct Counted {
        calls: Cell<u32>,
        lives: SignedDuration,
    }

    impl TokenSource for Counted {
        async fn fetch(&self, _: &Ecr) -> Result<Token, aws::CallError> {
            self.calls.set(self.calls.get() + 1);
            let password = format!("token-{}", self.calls.get()).into();
            Ok(Token { password, expires: start() + self.lives })
        }
    }

    fn start() -> Timestamp {
        "2026-11-21T10:00:00Z".parse().unwrap()
    }

    fn host(text: &str) -> (Server, Ecr) {
        let server = Server::parse(text).unwrap();
        let ecr = Ecr::at(&server).unwrap();
        (server, ecr)
    }

    const OWN: &str = "123456789012.dkr.ecr.eu-west-1.amazonaws.com";

    #[tokio::test]
    async fn one_call_serves_until_shortly_before_expiry() {
        let dir = tempfile::tempdir().unwrap();
        let tokens = Tokens::in_folder(dir.path().join("ecr"));
        let source = Counted { calls: Cell::new(0), lives: SignedDuration::from_hours(12) };
        let (server, ecr) = host(OWN);
        for (hours, calls) in [(0, 1), (6, 1), (11, 1), (12, 2)] {
            let now = start() + SignedDuration::from_hours(hours);
            tokens.get(&server, &ecr, now, &source).await.unwrap();
            assert_eq!(source.calls.get(), calls, "after {hours} h");
        }
        assert_eq!(tokens.hosts(start()), std::slice::from_ref(&server));
        assert!(tokens.hosts(start() + SignedDuration::from_hours(12)).is_empty());
        assert!(tokens.forget(&server) && !tokens.forget(&server));
    }

    #[tokio::test]
    async fn another_host_never_gets_the_kept_token() {
        let dir = tempfile::tempdir().unwrap();
        let tokens = Tokens::in_folder(dir.path());
        let source = Counted { calls: Cell::new(0), lives: SignedDuration::from_hours(12) };
        let (server, ecr) = host(OWN);
        tokens.get(&server, &ecr, start(), &source).await.unwrap();
        let (other, other_ecr) = host("123456789012.dkr.ecr.eu-west-2.amazonaws.com");
        // Even a file put in the other host's place is not believed.
        fs::copy(tokens.path(&server, "json"), tokens.path(&other, "json")).unwrap();
        let token = tokens.get(&other, &other_ecr, start(), &source).await.unwrap();
        assert_eq!(token.password.expose_secret(), "token-2");
        // Nor the host's own file when the host now stands for another account.
        let moved = Ecr::Private {
            account: super::super::server::Account::parse("210987654321").unwrap(),
            region: "eu-west-1".into(),
        };
        tokens.get(&server, &moved, start(), &source).await.unwrap();
        assert_eq!(source.calls.get(), 3);
    }

    #[tokio::test]
    async fn waiting_for_one_hosts_lock_holds_up_no_other_host() {
        let dir = tempfile::tempdir().unwrap();
        let tokens = Tokens::in_folder(dir.path());
        let source = Counted { calls: Cell::new(0), lives: SignedDuration::from_hours(12) };
        let (held, held_ecr) = host(OWN);
        let (free, free_ecr) = host("123456789012.dkr.ecr.eu-west-2.amazonaws.com");
        let other_process = private::lock(&tokens.path(&held, "lock")).unwrap();
        let waits = tokens.get(&held, &held_ecr, start(), &source);
        let arrives = async {
            let token = tokens.get(&free, &free_ecr, start(), &source).await;
            drop(other_process);
            token
        };
        let (waited, arrived) = tokio::join!(waits, arrives);
        assert_eq!(arrived.unwrap().password.expose_secret(), "token-1");
        assert_eq!(waited.unwrap().password.expose_secret(), "token-2");
    }

    #[tokio::test]
    async fn a_token_that_is_old_on_arrival_is_used_and_not_kept() {
        let dir = tempfile::tempdir().unwrap();
        let tokens = Tokens::in_folder(dir.path());
        let source = Counted { calls: Cell::new(0), lives: SignedDuration::from_hours(-9) };
        let (server, ecr) = host(OWN);
        for calls in 1..=2 {
            tokens.get(&server, &ecr, start(), &source).await.unwrap();
            assert_eq!(source.calls.get(), calls);
        }
    }

    #[tokio::test]
    async fn garbage_and_unusable_folders_cost_a_call_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let source = Counted { calls: Cell::new(0), lives: SignedDuration::from_hours(12) };
        let (server, ecr) = host(OWN);
        let tokens = Tokens::in_folder(dir.path());
        fs::write(tokens.path(&server, "json"), b"{\"host\":").unwrap();
        tokens.get(&server, &ecr, start(), &source).await.unwrap();
        let file = dir.path().join("file");
        fs::write(&file, b"").unwrap();
        Tokens::in_folder(file.join("below")).get(&server, &ecr, start(), &source).await.unwrap();
        assert_eq!(source.calls.get(), 2);
    }

    #[test]
    fn what_claims_to_live_too_long_is_not_believed() {
        let now = start();
        for (minutes, expected) in [(-60, false), (14, false), (16, true), (720, true), (100_000, false)] {
            assert_eq!(usable(now + SignedDuration::from_mins(minutes), now), expected, "{minutes} min");
        }
    }
}
