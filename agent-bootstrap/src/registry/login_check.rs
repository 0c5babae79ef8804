//! Does a registry take a login? Asked before the job's command, so that a wrong password is one clear line and not
//! a failed pull in the middle of a build.

use std::time::Duration;

use rand::RngExt;
use reqwest::header::WWW_AUTHENTICATE;
use reqwest::{Client, RequestBuilder, Response, StatusCode, Url};
use secrecy::ExposeSecret;

use super::challenge::{self, Challenge};
use super::settings::DockerLogin;
use crate::failure::Failure;

/// Attempts in all when the network or the registry fails.
const ATTEMPTS: u32 = 4;

/// The first wait between attempts is at most this long, each further one at most twice the last.
const FIRST_WAIT: Duration = Duration::from_millis(500);

/// Asks the registry, again when it fails in a way that passes.
///
/// # Errors
/// Denied (77) when the registry refuses the login, unavailable (69) or try again (75) when it gives no answer.
pub async fn check(login: &DockerLogin) -> Result<(), Failure> {
    let client = client()?;
    let mut wait = FIRST_WAIT;
    for attempt in 1.. {
        match ask(&client, login).await {
            Err(trouble) if trouble.passes() && attempt < ATTEMPTS => {
                // Jitter: the agents of a group that start together do not come back together.
                let pause = wait.mul_f64(rand::rng().random_range(0.5..1.0));
                tokio::time::sleep(pause).await;
                wait *= 2;
            }
            answer => return answer.map_err(|trouble| trouble.explain(login)),
        }
    }
    Ok(())
}

/// Why a login is not known to be good.
#[derive(Debug)]
enum Trouble {
    Refused(StatusCode),
    NoAnswer(String),
    Busy,
    NotARegistry(String),
}

impl Trouble {
    fn passes(&self) -> bool {
        matches!(self, Self::NoAnswer(_) | Self::Busy)
    }

    fn explain(self, login: &DockerLogin) -> Failure {
        let server = &login.server;
        let step = format!("docker login to {server} as {}", login.user.escape_debug());
        match self {
            Self::Refused(status) => Failure::denied(format!(
                "{step}: the registry refused user and password (HTTP {}): \
                 correct DOCKER_LOGIN_USER and DOCKER_LOGIN_PASSWORD",
                status.as_u16()
            )),
            Self::NoAnswer(why) => Failure::unavailable(format!(
                "{step}: no answer in {ATTEMPTS} attempts ({why}): \
                 check DOCKER_LOGIN_SERVER, DNS and the way to the registry"
            )),
            Self::Busy => Failure::try_again(format!(
                "{step}: the registry limits how often it is asked (HTTP 429): retry the job later"
            )),
            Self::NotARegistry(what) => {
                Failure::config(format!("{step}: {what}: is DOCKER_LOGIN_SERVER the address of a registry?"))
            }
        }
    }
}

fn client() -> Result<Client, Failure> {
    // Ignored when this process has one already: which one is the same.
    let _ = rustls::crypto::ring::default_provider().install_default();
    Client::builder()
        .connect_timeout(Duration::from_secs(3))
        .timeout(Duration::from_secs(10))
        .user_agent(concat!("tidemark/", env!("CARGO_PKG_VERSION")))
        .build()
        .map_err(|fault| Failure::failed(format!("HTTP client: {}", causes(&fault))))
}

/// The registry says what it wants before it is told any password.
async fn ask(client: &Client, login: &DockerLogin) -> Result<(), Trouble> {
    let ping = ping_url(login);
    let answer = send(client.get(ping.clone())).await?;
    if answer.status().is_success() {
        return Ok(());
    }
    if answer.status() != StatusCode::UNAUTHORIZED {
        return Err(Trouble::NotARegistry(format!("{ping} answered HTTP {}", answer.status().as_u16())));
    }
    let challenges = answer.headers().get_all(WWW_AUTHENTICATE);
    let challenge = challenges.iter().filter_map(|h| h.to_str().ok()).find_map(challenge::parse);
    let request = match challenge {
        Some(Challenge::Basic) => client.get(ping),
        Some(Challenge::Bearer { realm, service }) => {
            client.get(token_url(&realm, service.as_deref(), &login.user, answer.url())?)
        }
        None => return Err(Trouble::NotARegistry(format!("{ping} asks for no kind of login known here"))),
    };
    let answer = send(request.basic_auth(&login.user, Some(login.password.expose_secret()))).await?;
    match answer.status() {
        status if status.is_success() => Ok(()),
        status @ (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) => Err(Trouble::Refused(status)),
        status => Err(Trouble::NotARegistry(format!("the login was answered by HTTP {}", status.as_u16()))),
    }
}

async fn send(request: RequestBuilder) -> Result<Response, Trouble> {
    let answer = request.send().await.map_err(|fault| Trouble::NoAnswer(causes(&fault.without_url())))?;
    match answer.status() {
        StatusCode::TOO_MANY_REQUESTS => Err(Trouble::Busy),
        status if status.is_server_error() => Err(Trouble::NoAnswer(format!("HTTP {}", status.as_u16()))),
        _ => Ok(answer),
    }
}

fn ping_url(login: &DockerLogin) -> String {
    if login.server.is_docker_hub() {
        return "https://registry-1.docker.io/v2/".to_owned();
    }
    // As every client does: plain HTTP with this machine's own registries only, or where it was asked for.
    let scheme = if login.plain || login.server.is_loopback() { "http" } else { "https" };
    format!("{scheme}://{}/v2/", login.server)
}

/// The password goes to the server that the registry names, so not in the clear when the registry itself is not.
fn token_url(realm: &str, service: Option<&str>, user: &str, registry: &Url) -> Result<Url, Trouble> {
    let no = |what: &str| Trouble::NotARegistry(format!("the registry's token server is {what}"));
    let mut url = Url::parse(realm).map_err(|_| no("no URL"))?;
    let safe = url.scheme() == "https" || (url.scheme() == "http" && registry.scheme() == "http");
    if !safe || url.host_str().is_none() {
        return Err(no("not reached by HTTPS"));
    }
    url.query_pairs_mut().append_pair("account", user).append_pair("client_id", "tidemark");
    if let Some(service) = service {
        url.query_pairs_mut().append_pair("service", service);
    }
    Ok(url)
}

fn causes(fault: &dyn std::error::Error) -> String {
    let chain = std::iter::successors(Some(fault), |e| e.source());
    chain.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

#[cfg(test)]
mod tests;
