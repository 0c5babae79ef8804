//! ECR tokens from AWS.

use std::time::Duration;

use aws::session::{Patience, Session};
use aws::{CallError, Fault};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use zeroize::Zeroizing;

use super::server::Ecr;
use super::tokens::{Token, TokenSource, USER};

/// `ecr:GetAuthorizationToken` in the registry's own region, with whatever credentials this process has.
#[derive(Debug, Clone, Copy)]
pub struct AwsEcr;

/// The public registry's API exists in this region only.
const PUBLIC_REGION: &str = "us-east-1";

impl TokenSource for AwsEcr {
    async fn fetch(&self, registry: &Ecr) -> Result<Token, CallError> {
        match registry {
            Ecr::Private { account, region } => {
                let host = Ecr::host(account, region);
                let ecr = session(region).await?.ecr();
                let answer = ecr.get_authorization_token().send().await;
                let answer = answer.map_err(|e| CallError::new(&e, PRIVATE, &host))?;
                // One token is good for every registry that the caller may use, whoever's it is.
                let data = answer.authorization_data().first();
                decoded(
                    data.and_then(|d| d.authorization_token()),
                    data.and_then(|d| d.expires_at()).map(|t| t.secs()),
                    PRIVATE,
                    &host,
                )
            }
            Ecr::Public => {
                let ecr = session(PUBLIC_REGION).await?.ecrpublic();
                let answer = ecr.get_authorization_token().send().await;
                let answer = answer.map_err(|e| CallError::new(&e, PUBLIC, "public.ecr.aws"))?;
                let data = answer.authorization_data();
                decoded(
                    data.and_then(|d| d.authorization_token()),
                    data.and_then(|d| d.expires_at()).map(|t| t.secs()),
                    PUBLIC,
                    "public.ecr.aws",
                )
            }
        }
    }
}

const PRIVATE: &str = "ecr:GetAuthorizationToken";
const PUBLIC: &str = "ecr-public:GetAuthorizationToken";

async fn session(region: &str) -> Result<Session, CallError> {
    let patience = Patience { operation: Duration::from_secs(20), ..Patience::default() };
    Session::load(Some(region), patience).await.map_err(|e| malformed(PRIVATE, region, &e.to_string()))
}

/// The token is base64 of `AWS:password`; times are seconds since 1970.
fn decoded(
    token: Option<&str>,
    expires: Option<i64>,
    operation: &'static str,
    host: &str,
) -> Result<Token, CallError> {
    let refuse = |what: &str| malformed(operation, host, what);
    let bytes = token.and_then(|t| STANDARD.decode(t).ok()).map(Zeroizing::new);
    let bytes = bytes.ok_or_else(|| refuse("the answer holds no token in base64"))?;
    let text = std::str::from_utf8(&bytes).map_err(|_| refuse("the token is no text"))?;
    let password = text.strip_prefix(USER).and_then(|t| t.strip_prefix(':')).filter(|p| !p.is_empty());
    let password = password.ok_or_else(|| refuse("the token is not of the form AWS:password"))?;
    let expires = expires.and_then(|s| Timestamp::from_second(s).ok());
    // Without a time the token serves once.
    Ok(Token { password: password.into(), expires: expires.unwrap_or(Timestamp::UNIX_EPOCH) })
}

fn malformed(operation: &'static str, host: &str, detail: &str) -> CallError {
    CallError {
        fault: Fault::Other,
        operation,
        resource: host.to_owned(),
        code: None,
        status: None,
        bucket_region: None,
        detail: detail.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use secrecy::ExposeSecret;

    #[test]
    fn tokens_are_decoded_and_garbage_is_told_without_showing_it() {
        let good = STANDARD.encode("AWS:eyJ:secret");
        let token = decoded(Some(&good), Some(1_800_000_000), PRIVATE, "h").unwrap();
        assert_eq!(token.password.expose_secret(), "eyJ:secret");
        assert_eq!(token.expires.as_second(), 1_800_000_000);
        for bad in ["", "%%%", &STANDARD.encode("AWS:"), &STANDARD.encode("root:hidden")] {
            let error = decoded(Some(bad), Some(1), PRIVATE, "h").unwrap_err();
            assert!(!error.to_string().contains("hidden"), "{error}");
        }
        assert!(decoded(None, None, PRIVATE, "h").is_err());
    }
}
