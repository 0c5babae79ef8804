//! Docker's credential helper protocol: a verb, a line or JSON on stdin, JSON or one of the protocol's own sentences
//! on stdout (docker-credential-helpers, `credentials/credentials.go` and `error.go` say which).

use std::collections::BTreeMap;

use aws::Fault;
use futures::future::join_all;
use jiff::Timestamp;
use secrecy::ExposeSecret;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::logins::{Login, Logins};
use super::server::{Ecr, Server};
use super::settings::EcrSettings;
use super::tokens::{TokenSource, Tokens, USER};

/// Answers for one job, or for the instance when there is none.
#[derive(Debug)]
pub struct Helper<S> {
    /// The job's own logins.
    pub logins: Option<Logins>,
    /// Which hosts are ECR.
    pub settings: EcrSettings,
    /// ECR hosts that `list` names.
    pub known: Vec<Server>,
    /// Tokens kept on this instance or for this job.
    pub tokens: Option<Tokens>,
    /// Where new tokens come from.
    pub source: S,
}

/// No answer: what the client is told on stdout, and what people are told beside it.
#[derive(Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The protocol's sentence.
    pub said: String,
    /// For stderr; empty when nothing is wrong.
    pub explained: String,
    /// Exit code.
    pub code: u8,
}

impl Refusal {
    /// The protocol's word for "ask somebody else": clients then go on without a login.
    fn not_found() -> Self {
        Self::protocol("credentials not found in native keychain")
    }

    fn protocol(said: &str) -> Self {
        Self { said: said.to_owned(), explained: String::new(), code: 1 }
    }

    /// Clients show either stdout or stderr, so both say it.
    pub fn trouble(code: u8, message: impl Into<String>) -> Self {
        let message = message.into();
        Self { said: message.clone(), explained: message, code }
    }
}

/// A login as the protocol writes it.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Credentials {
    #[serde(rename = "ServerURL", default)]
    server_url: String,
    #[serde(default)]
    username: String,
    #[serde(default)]
    secret: Zeroizing<String>,
}

impl<S: TokenSource> Helper<S> {
    /// Answers one request with what goes to stdout.
    ///
    /// # Errors
    /// A [`Refusal`] with the protocol's sentence.
    pub async fn answer(
        &self,
        operation: &str,
        input: &[u8],
        now: Timestamp,
    ) -> Result<Zeroizing<String>, Refusal> {
        match operation {
            "get" => self.get(asked(input)?, now).await,
            "store" => self.store(input).map(|()| Zeroizing::default()),
            "erase" => self.erase(asked(input)?).map(|()| Zeroizing::default()),
            "list" => self.list(now).await,
            other => Err(Refusal::trouble(
                2,
                format!("`{}` is none of get, store, erase and list", other.escape_debug()),
            )),
        }
    }

    /// A login of the job's own first: who logs in to an ECR registry under another role means that role.
    async fn get(&self, url: &str, now: Timestamp) -> Result<Zeroizing<String>, Refusal> {
        // What is no registry's name here cannot have a login here.
        let Ok(server) = Server::parse(url) else { return Err(Refusal::not_found()) };
        if let Some(logins) = &self.logins
            && let Some(login) = logins.get(&server).map_err(unreadable)?
        {
            return credentials(url, &login);
        }
        let registry = self.settings.registry(&server).ok_or_else(Refusal::not_found)?;
        match self.token(&server, &registry, now).await {
            Ok(login) => credentials(url, &login),
            // Pulling from the public registry works without a login, only slower.
            Err(error) if registry == Ecr::Public => Err(Refusal {
                explained: format!("{server} without a login: {error}"),
                ..Refusal::not_found()
            }),
            Err(error) => Err(explained(&server, &error)),
        }
    }

    async fn token(&self, server: &Server, registry: &Ecr, now: Timestamp) -> Result<Login, aws::CallError> {
        let token = match &self.tokens {
            Some(tokens) => tokens.get(server, registry, now, &self.source).await?,
            None => self.source.fetch(registry).await?,
        };
        Ok(Login { user: USER.to_owned(), secret: token.password })
    }

    fn store(&self, input: &[u8]) -> Result<(), Refusal> {
        let given: Credentials = serde_json::from_slice(input).map_err(|_| {
            Refusal::trouble(1, "store: stdin holds no JSON with ServerURL, Username and Secret")
        })?;
        if given.server_url.trim().is_empty() {
            return Err(Refusal::protocol("no credentials server URL"));
        }
        if given.username.is_empty() {
            return Err(Refusal::protocol("no credentials username"));
        }
        let server = Server::parse(&given.server_url).map_err(|e| Refusal::trouble(1, e.to_string()))?;
        let logins = self.logins.as_ref().ok_or_else(|| {
            Refusal::trouble(
                1,
                "docker login: logins are kept with the job that makes them, and no job was found here: \
                 run it inside a job, or give it its own DOCKER_CONFIG",
            )
        })?;
        let login = Login { user: given.username, secret: given.secret.as_str().into() };
        logins.store(&server, &login).map_err(unreadable)
    }

    /// Forgets the job's login or, without one, a kept token: `docker logout` helps after a bad one.
    fn erase(&self, url: &str) -> Result<(), Refusal> {
        let Ok(server) = Server::parse(url) else { return Ok(()) };
        let erased = self.logins.as_ref().map_or(Ok(false), |logins| logins.erase(&server));
        if !erased.map_err(unreadable)?
            && let Some(tokens) = &self.tokens
        {
            tokens.forget(&server);
        }
        Ok(())
    }

    /// Clients get every listed login at once and fail when one fails, so ECR hosts are listed only with a token.
    async fn list(&self, now: Timestamp) -> Result<Zeroizing<String>, Refusal> {
        let mut listed = BTreeMap::new();
        let mut known = self.tokens.as_ref().map_or_else(Vec::new, |tokens| tokens.hosts(now));
        known.extend(self.known.iter().cloned());
        known.sort();
        known.dedup();
        let known = known.iter().filter_map(|server| Some((server, self.settings.registry(server)?)));
        let asked = known.map(async |(server, registry)| (server, self.token(server, &registry, now).await));
        for (server, token) in join_all(asked).await {
            match token {
                Ok(login) => _ = listed.insert(server.docker_name().to_owned(), login.user),
                Err(error) => eprintln!("docker-credential-tidemark: {server} not listed: {error}"),
            }
        }
        let logins = self.logins.as_ref().map_or(Ok(Vec::new()), Logins::list).map_err(unreadable)?;
        listed.extend(logins.into_iter().map(|(server, user)| (server.docker_name().to_owned(), user)));
        written(&listed)
    }
}

fn asked(input: &[u8]) -> Result<&str, Refusal> {
    let text = std::str::from_utf8(input).map_err(|_| Refusal::not_found())?.trim();
    if text.is_empty() { Err(Refusal::protocol("no credentials server URL")) } else { Ok(text) }
}

fn credentials(url: &str, login: &Login) -> Result<Zeroizing<String>, Refusal> {
    written(&Credentials {
        server_url: url.to_owned(),
        username: login.user.clone(),
        secret: Zeroizing::new(login.secret.expose_secret().to_owned()),
    })
}

fn written(answer: &impl Serialize) -> Result<Zeroizing<String>, Refusal> {
    let text = serde_json::to_string(answer).map_err(|e| Refusal::trouble(1, format!("answer: {e}")))?;
    Ok(Zeroizing::new(text))
}

fn unreadable(fault: std::io::Error) -> Refusal {
    Refusal::trouble(1, format!("the job's registry logins: {fault}"))
}

fn explained(server: &Server, error: &aws::CallError) -> Refusal {
    let fix = match error.fault {
        Fault::Denied | Fault::DeniedByKey => {
            "let the instance role call ecr:GetAuthorizationToken (stack parameter ECRAccessPolicy)"
        }
        Fault::Throttled | Fault::Unreachable => {
            "try again; in a closed network, ECR's API needs a VPC endpoint"
        }
        Fault::Absent | Fault::Invalid | Fault::Other => "check the image's account and region",
    };
    Refusal::trouble(error.fault.exit_code(), format!("no login for {server}: {error}: {fix}"))
}

#[cfg(test)]
mod tests;
