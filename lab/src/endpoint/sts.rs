//! `sts`, which the endpoint serves itself: it is the one that knows who is behind an access key.

use http::StatusCode;
use jiff::{SignedDuration, Timestamp};
use secrecy::ExposeSecret;

use super::ACCOUNT;
use super::answer::{Answer, Xml};
use super::call::Call;
use super::caller::Caller;
use super::credentials::{Identities, SESSION};
use super::refusal::Refusal;

const NAMESPACE: &str = "https://sts.amazonaws.com/doc/2011-06-15/";

/// `GetCallerIdentity`, truthfully. It needs no permission, as on AWS.
pub fn caller_identity(caller: &Caller) -> Answer {
    Answer::query(
        "GetCallerIdentity",
        NAMESPACE,
        &Xml::Fields(vec![
            ("Arn", Xml::text(caller.arn())),
            ("UserId", Xml::text(caller.unique_id())),
            ("Account", Xml::text(ACCOUNT)),
        ]),
    )
}

/// `AssumeRole`, once it is allowed.
///
/// # Errors
/// When the parameters are not what AWS takes.
pub fn assume_role(call: &Call, identities: &Identities, now: Timestamp) -> Result<Answer, Refusal> {
    let role = call.field("RoleArn").and_then(role_name);
    let session = call.field("RoleSessionName");
    let (Some(role), Some(session)) = (role, session.filter(|name| valid_session(name))) else {
        return Err(invalid("RoleArn and RoleSessionName are required, as role ARN and [\\w+=,.@-]{2,64}"));
    };
    let seconds = match call.field("DurationSeconds").map(str::parse::<i64>) {
        None => SESSION.as_secs(),
        Some(Ok(seconds)) if (900..=43_200).contains(&seconds) => seconds,
        Some(_) => return Err(invalid("DurationSeconds must be 900 to 43200")),
    };
    let caller = Caller::Role { role: role.to_owned(), session: session.to_owned() };
    let end = now + SignedDuration::from_secs(seconds);
    let issued = identities.issue(caller.clone(), Some(end));
    let token = issued.session_token.as_ref().map_or("", ExposeSecret::expose_secret);
    let credentials = Xml::Fields(vec![
        ("AccessKeyId", Xml::text(&issued.access_key_id)),
        ("SecretAccessKey", Xml::text(issued.secret_access_key.expose_secret())),
        ("SessionToken", Xml::text(token)),
        ("Expiration", Xml::text(end.strftime("%Y-%m-%dT%H:%M:%SZ"))),
    ]);
    let user =
        Xml::Fields(vec![("Arn", Xml::text(caller.arn())), ("AssumedRoleId", Xml::text(caller.unique_id()))]);
    let result = Xml::Fields(vec![("Credentials", credentials), ("AssumedRoleUser", user)]);
    Ok(Answer::query("AssumeRole", NAMESPACE, &result))
}

fn invalid(message: &str) -> Refusal {
    Refusal::other("ValidationError", StatusCode::BAD_REQUEST, message)
}

/// STS's rule for session names.
fn valid_session(name: &str) -> bool {
    (2..=64).contains(&name.len()) && name.chars().all(|c| c.is_ascii_alphanumeric() || "_+=,.@-".contains(c))
}

/// The name in a role's ARN (its path left out), or a bare name.
pub fn role_name(role: &str) -> Option<&str> {
    match role.split_once(":role/") {
        Some((_, path)) => path.rsplit('/').next(),
        None => (!role.is_empty() && !role.contains(':')).then_some(role),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_role_is_named_by_arn_with_path_or_by_name() {
        for (role, name) in [
            ("arn:aws:iam::123456789012:role/agent", Some("agent")),
            ("arn:aws:iam::123456789012:role/ci/agents/agent", Some("agent")),
            ("agent", Some("agent")),
            ("arn:aws:iam::123456789012:user/agent", None),
            ("", None),
        ] {
            assert_eq!(role_name(role), name, "{role}");
        }
    }
}
