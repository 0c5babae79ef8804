//! Real clients (awscli, boto3, the AWS SDK for Rust) through the endpoint, in front of a real moto.

#[cfg(test)]
mod faults;
#[cfg(test)]
mod hooks;
#[cfg(test)]
mod permissions;
#[cfg(test)]
mod stage;
#[cfg(test)]
mod template;

use stage::Stage;

#[tokio::test]
async fn clients_are_known_and_counted() {
    let stage = Stage::up().await;
    let me = stage.aws(stage.endpoint.admin(), &["sts", "get-caller-identity", "--query", "Arn"]).await;
    assert_eq!(me.ok(), "arn:aws:iam::123456789012:user/lab\n");

    let role = stage.endpoint.mint_session("arn:aws:iam::123456789012:role/ci/agent", "i-1");
    let me = stage.aws(&role, &["sts", "get-caller-identity", "--query", "Arn"]).await;
    assert_eq!(me.ok(), "arn:aws:sts::123456789012:assumed-role/agent/i-1\n");

    let mut stranger = role.clone();
    stranger.access_key_id = "ASIASTRANGER".into();
    let refused = stage.aws(&stranger, &["s3", "ls"]).await;
    assert!(refused.err().contains("InvalidAccessKeyId"), "{}", refused.err());

    let counts = stage.endpoint.calls();
    let of = |caller: &str| {
        counts
            .iter()
            .find(|count| count.caller == caller && count.action == "sts:GetCallerIdentity")
            .map(|count| count.count)
    };
    assert_eq!((of("lab"), of("agent/i-1")), (Some(1), Some(1)));
    stage.down().await;
}

#[tokio::test]
async fn the_rust_sdk_reaches_cloudwatch_over_cbor() {
    let stage = Stage::up().await;
    let cloudwatch = stage.session(stage.endpoint.admin()).await.cloudwatch();
    let datum =
        aws::cloudwatch::types::MetricDatum::builder().metric_name("ScheduledJobsCount").value(3.0).build();
    cloudwatch.put_metric_data().namespace("Buildkite").metric_data(datum).send().await.unwrap();
    let listed = cloudwatch.list_metrics().namespace("Buildkite").send().await.unwrap();
    assert_eq!(listed.metrics()[0].metric_name(), Some("ScheduledJobsCount"));
    let now = std::time::SystemTime::now();
    let hour = std::time::Duration::from_secs(3600);
    let read = cloudwatch
        .get_metric_statistics()
        .namespace("Buildkite")
        .metric_name("ScheduledJobsCount")
        .start_time((now - hour).into())
        .end_time((now + hour).into())
        .period(3600)
        .statistics(aws::cloudwatch::types::Statistic::Sum)
        .send()
        .await
        .unwrap();
    assert_eq!(read.datapoints()[0].sum(), Some(3.0));
    assert!(read.datapoints()[0].timestamp().is_some());
    stage.down().await;
}

#[tokio::test]
async fn a_token_of_ecr_is_good_for_twelve_hours() {
    let stage = Stage::up().await;
    let begun = jiff::Timestamp::now().as_second();
    let ecr = stage.session(stage.endpoint.admin()).await.ecr();
    let answer = ecr.get_authorization_token().send().await.unwrap();
    let token = &answer.authorization_data()[0];
    let hours = (token.expires_at().unwrap().secs() - begun) / 3600;
    assert_eq!((hours, token.authorization_token().is_some()), (12, true));
    stage.down().await;
}
