//! Who asks. Each extractor stands before the body in a handler, so that nothing is read for a stranger.

use std::sync::Arc;

use axum::{
    extract::FromRequestParts,
    http::{header::AUTHORIZATION, request::Parts},
};

use super::Server;
use crate::{
    presence::Sign,
    refusal::Refusal,
    store::agents::{self, Agent},
    token::Digest,
};

/// The request carries a registration token.
pub struct Registration;

/// The request carries a token of the build API.
pub struct User;

/// The request carries this agent's access token.
pub struct Session(pub Agent);

fn token(parts: &Parts, scheme: &str) -> Result<Digest, Refusal> {
    let refuse = || Refusal::Unauthorized(format!("send `Authorization: {scheme} <token>`"));
    let header = parts.headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok()).ok_or_else(refuse)?;
    let (word, token) = header.split_once(' ').ok_or_else(refuse)?;
    let token = token.trim();
    if word.eq_ignore_ascii_case(scheme) && !token.is_empty() { Ok(Digest::of(token)) } else { Err(refuse()) }
}

impl FromRequestParts<Arc<Server>> for Registration {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, server: &Arc<Server>) -> Result<Self, Refusal> {
        if server.registration_tokens.contain(&token(parts, "Token")?) {
            Ok(Self)
        } else {
            Err(Refusal::Unauthorized("this is not a registration token of this server".into()))
        }
    }
}

impl FromRequestParts<Arc<Server>> for User {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, server: &Arc<Server>) -> Result<Self, Refusal> {
        if server.api_tokens.contain(&token(parts, "Bearer")?) {
            Ok(Self)
        } else {
            Err(Refusal::Unauthorized("this is not an API token of this server".into()))
        }
    }
}

impl FromRequestParts<Arc<Server>> for Session {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, server: &Arc<Server>) -> Result<Self, Refusal> {
        let digest = token(parts, "Token")?;
        let agent = server.store.run(move |db| agents::by_token(db, &digest)).await?;
        let agent = agent
            .ok_or_else(|| Refusal::Unauthorized("this is not an access token of this server".into()))?;
        let path = parts.uri.path();
        let leaving = path.ends_with("/disconnect");
        if agent.state == "disconnected" && !leaving {
            return Err(Refusal::Unauthorized("this agent has disconnected; register again".into()));
        }
        let sign = match path {
            _ if leaving => return Ok(Self(agent)),
            _ if path.ends_with("/ping") => Sign::Ping,
            _ if path.contains("/jobs/") => Sign::Job,
            _ => Sign::Life,
        };
        server.presence.note(&agent.id, sign, server.now());
        Ok(Self(agent))
    }
}
