//! Faults, as the AWS SDK for Rust meets them.

use aws::s3::error::ProvideErrorMetadata;
use lab::endpoint::faults::{Effect, Fault};
use secrecy::ExposeSecret;

use crate::stage::Stage;

#[tokio::test]
async fn calls_are_throttled_failed_and_dropped_so_often_as_asked() {
    let stage = Stage::up().await;
    let s3 = stage.session(stage.endpoint.admin()).await.s3();
    s3.list_buckets().send().await.unwrap();
    let no_retry =
        || aws::s3::config::Builder::new().retry_config(aws::s3::config::retry::RetryConfig::disabled());
    for (effect, code) in [
        (Effect::Throttle, Some("SlowDown")),
        (Effect::Deny, Some("AccessDenied")),
        (Effect::Fail, Some("InternalError")),
        (Effect::Expire, Some("ExpiredToken")),
        (Effect::Drop, None),
    ] {
        stage.endpoint.faults().add(Fault::on("s3:ListBuckets", effect).times(1));
        let failed = s3.list_buckets().customize().config_override(no_retry()).send().await.unwrap_err();
        assert_eq!(failed.code(), code, "{effect:?} {failed:?}");
        s3.list_buckets().send().await.unwrap();
    }
    // The SDK's own retries get over a short throttling.
    stage.endpoint.faults().add(Fault::on("s3:*", Effect::Throttle).of("lab").times(2));
    s3.list_buckets().send().await.unwrap();
    stage.down().await;
}

#[tokio::test]
async fn faults_are_managed_over_http_with_the_token_only() {
    let stage = Stage::up().await;
    let url = format!("{}/_lab/faults", stage.endpoint.url());
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let refused = client.get(&url).send().await.unwrap();
    assert_eq!(refused.status(), 401);
    let token = stage.endpoint.token().expose_secret();
    let body = serde_json::json!({"action": "kms:*", "effect": {"delay": 5}});
    client.post(&url).bearer_auth(token).json(&body).send().await.unwrap().error_for_status().unwrap();
    let listed: serde_json::Value =
        client.get(&url).bearer_auth(token).send().await.unwrap().json().await.unwrap();
    assert_eq!(listed[0]["fault"]["action"], "kms:*");
    client.delete(&url).bearer_auth(token).send().await.unwrap();
    assert_eq!(stage.endpoint.faults().list(), []);
    stage.down().await;
}

#[tokio::test]
async fn calls_are_late_or_hang_until_the_client_gives_up() {
    let stage = Stage::up().await;
    let s3 = stage.session(stage.endpoint.admin()).await.s3();
    let patience = aws::s3::config::timeout::TimeoutConfig::builder()
        .operation_timeout(std::time::Duration::from_millis(500))
        .build();
    let impatient = || aws::s3::config::Builder::new().timeout_config(patience.clone());
    stage.endpoint.faults().add(Fault::on("s3:ListBuckets", Effect::Hang).times(1));
    let hung = s3.list_buckets().customize().config_override(impatient()).send().await.unwrap_err();
    assert!(matches!(hung, aws::s3::error::SdkError::TimeoutError(_)), "{hung:?}");
    stage.endpoint.faults().add(Fault::on("s3:ListBuckets", Effect::Delay(150)).times(1));
    s3.list_buckets().send().await.unwrap();
    let calls = stage.endpoint.latest_calls();
    let last = calls.last().unwrap();
    assert!((last.status, last.took_ms >= 150) == (200, true), "{last:?}");
    stage.down().await;
}

#[tokio::test]
async fn a_session_that_is_over_is_refused_in_each_protocol() {
    let stage = Stage::up().await;
    let role = stage.endpoint.mint_session("agent", "i-1");
    let session = stage.session(&role).await;
    stage.endpoint.faults().add(Fault::on("*", Effect::Expire).of("agent/*"));
    let listed = session.s3().list_buckets().send().await.unwrap_err();
    assert_eq!(listed.code(), Some("ExpiredToken"));
    let groups = session.autoscaling().describe_auto_scaling_groups().send().await.unwrap_err();
    assert_eq!(groups.code(), Some("ExpiredToken"));
    let secret = session.secretsmanager().get_secret_value().secret_id("token").send().await.unwrap_err();
    assert_eq!(secret.code(), Some("ExpiredTokenException"));
    let shown = stage.aws(&role, &["s3", "ls"]).await;
    assert!(shown.err().contains("ExpiredToken"), "{}", shown.err());
    stage.down().await;
}
