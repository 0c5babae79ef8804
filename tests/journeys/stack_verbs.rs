//! The verbs with which users make, change, drop and publish stacks, on moto.

use serde_json::{Value, json};

use crate::lone_cloud::LoneCloud;

/// What each alarm of the cloud watches, by the names of their metrics.
fn alarms(cloud: &LoneCloud) -> Vec<Value> {
    let described = cloud.aws(&["cloudwatch", "describe-alarms"]);
    let watched = |alarm: &Value| {
        let facts = ["Namespace", "MetricName", "Dimensions", "Statistic", "Period", "EvaluationPeriods"];
        let verdict = ["Threshold", "ComparisonOperator", "TreatMissingData"];
        facts.into_iter().chain(verdict).map(|name| (name.to_owned(), alarm[name].clone())).collect()
    };
    let mut alarms: Vec<Value> = described["MetricAlarms"].as_array().unwrap().iter().map(watched).collect();
    alarms.sort_by_key(|alarm| alarm["MetricName"].to_string());
    alarms
}

/// One of the stack's alarms: five minutes in which the scaler failed or did not run.
fn failing(scaler: &str) -> Value {
    json!({
        "Namespace": "AWS/Lambda",
        "MetricName": "Errors",
        "Dimensions": [{ "Name": "FunctionName", "Value": scaler }],
        "Statistic": "Sum",
        "Period": 60,
        "EvaluationPeriods": 5,
        "Threshold": 1.0,
        "ComparisonOperator": "GreaterThanOrEqualToThreshold",
        "TreatMissingData": "breaching",
    })
}

/// One on a metric that the scaler publishes of the queue.
fn of_queue(metric: &str, statistic: &str, minutes: u32, threshold: f64, missing: &str) -> Value {
    json!({
        "Namespace": "Buildkite",
        "MetricName": metric,
        "Dimensions": [{ "Name": "Queue", "Value": "default" }],
        "Statistic": statistic,
        "Period": 60,
        "EvaluationPeriods": minutes,
        "Threshold": threshold,
        "ComparisonOperator": "GreaterThanOrEqualToThreshold",
        "TreatMissingData": missing,
    })
}

/// All of a stack's: instances keep failing to boot; jobs need more than the groups may have, or can get, for a quarter
/// of an hour; the scaler is blind; instances boot for longer than they may.
fn all(scaler: &str) -> [Value; 4] {
    [
        of_queue("BootsFailing", "Maximum", 1, 3.0, "ignore"),
        of_queue("CapacityShort", "Minimum", 15, 1.0, "notBreaching"),
        failing(scaler),
        of_queue("PhantomInstances", "Minimum", 5, 1.0, "ignore"),
    ]
}

#[tokio::test]
async fn a_stack_is_created_updated_and_deleted_and_its_secrets_stay() {
    let cloud = LoneCloud::start().await;
    cloud.configure(&[("MaxSize", "4")]);
    let created = cloud.make("create-stack", &[]);
    assert!(created.success, "{}", created.stderr);
    assert!(created.stderr.contains("CREATE_COMPLETE"), "{}", created.stderr);
    let output =
        |name| created.stdout.lines().find_map(|l| l.strip_prefix(name)).expect("the output").to_owned();
    let bucket = output("SecretsBucket: ");
    let scaler = output("ScalerFunctionName: ");

    assert_eq!(alarms(&cloud), all(&scaler));

    let again = cloud.make("create-stack", &[]);
    assert!(!again.success);
    assert!(again.stderr.contains("stack: ci is there already: run `make update-stack`"), "{}", again.stderr);

    cloud.configure_tagged(&[("MaxSize", "7")], &[("tidemark:weight", "3"), ("team", "web")]);
    let updated = cloud.make("update-stack", &[]);
    assert!(updated.success, "{}", updated.stderr);
    let groups = cloud.aws(&["autoscaling", "describe-auto-scaling-groups"]);
    let tags = groups["AutoScalingGroups"][0]["Tags"].as_array().unwrap();
    for (key, value) in [("tidemark:weight", "3"), ("team", "web"), ("tidemark:max-instances", "7")] {
        let of_key: Vec<&Value> = tags.iter().filter(|t| t["Key"] == key).map(|t| &t["Value"]).collect();
        assert_eq!(of_key, [value], "{tags:?}");
    }
    assert_eq!(groups["AutoScalingGroups"][0]["MaxSize"], 7);
    assert_eq!(groups["AutoScalingGroups"].as_array().unwrap().len(), 1, "the group was replaced");
    assert_eq!(alarms(&cloud), all(&scaler));

    // moto heeds a bucket policy but not its conditions, and so would refuse every upload; the lab's endpoint decides it.
    cloud.aws(&["s3api", "delete-bucket-policy", "--bucket", &bucket]);
    let secret = cloud.path("config.json");
    let target = format!("s3://{bucket}/env");
    cloud.aws(&["s3", "cp", "--only-show-errors", "--sse", "aws:kms", secret.to_str().unwrap(), &target]);
    let deleted = cloud.make("delete-stack", &[]);
    assert!(deleted.success, "{}", deleted.stderr);
    assert!(deleted.stderr.contains(&format!("kept: the secrets bucket {bucket}")), "{}", deleted.stderr);
    cloud.aws(&["s3api", "head-object", "--bucket", &bucket, "--key", "env"]);
    let groups = cloud.aws(&["autoscaling", "describe-auto-scaling-groups"]);
    assert_eq!(groups["AutoScalingGroups"].as_array().unwrap().len(), 0);
    assert_eq!(alarms(&cloud), Vec::<Value>::new());
    let twice = cloud.make("delete-stack", &[]);
    assert!(twice.success && twice.stderr.contains("nothing to delete"), "{}", twice.stderr);
    cloud.stop().await;
}

#[tokio::test]
async fn without_an_image_or_a_sound_configuration_one_line_is_said_and_nothing_made() {
    let cloud = LoneCloud::start().await;
    cloud.configure(&[]);
    let refused = cloud.make("create-stack", &[("AWS_REGION", "eu-west-1")]);
    assert!(!refused.success);
    let said: Vec<&str> = refused.stderr.lines().filter(|l| !l.starts_with("make:")).collect();
    assert_eq!(
        said,
        ["stack: no AMI yet in eu-west-1: run `make build-ami` there (it writes the SSM parameter \
          /tidemark/ami/debian13/amd64)"]
    );
    assert_eq!(cloud.aws(&["s3api", "list-buckets"])["Buckets"].as_array().unwrap().len(), 0);
    let stacks = cloud.aws(&["cloudformation", "describe-stacks", "--region", "eu-west-1"]);
    assert_eq!(stacks["Stacks"].as_array().unwrap().len(), 0);

    cloud.configure(&[("MaxSise", "4"), ("MinSise", "0")]);
    let refused = cloud.make("create-stack", &[]);
    assert!(refused.stderr.contains("MaxSise is no parameter of the template"), "{}", refused.stderr);
    assert!(refused.stderr.contains("MinSise is no parameter of the template"), "{}", refused.stderr);
    cloud.configure_tagged(
        &[],
        &[
            ("tidemark:weight", "0"),
            ("tidemark:priority", "high"),
            ("tidemark:queue", "other"),
            ("team", "web"),
        ],
    );
    let refused = cloud.make("create-stack", &[]);
    for fault in [
        "tag tidemark:weight is `0`: give a whole number from 1 to 1000",
        "tag tidemark:priority is `high`: give a whole number",
        "tag tidemark:queue: the template gives it",
    ] {
        assert!(refused.stderr.contains(fault), "{}", refused.stderr);
    }
    std::fs::write(cloud.path("config.json"), "{").unwrap();
    let refused = cloud.make("create-stack", &[]);
    assert!(refused.stderr.contains("config.json: not a list of"), "{}", refused.stderr);
    assert!(!refused.stderr.contains("Traceback"), "{}", refused.stderr);
    std::fs::remove_file(cloud.path("config.json")).unwrap();
    let refused = cloud.make("create-stack", &[]);
    assert!(refused.stderr.contains("copy config.json.example"), "{}", refused.stderr);
    let unreachable = cloud.make("delete-stack", &[("AWS_ENDPOINT_URL", "http://127.0.0.1:1")]);
    assert!(unreachable.stderr.contains("stack: Could not connect"), "{}", unreachable.stderr);
    cloud.stop().await;
}

#[tokio::test]
async fn publish_gives_each_region_its_files_and_a_button() {
    let cloud = LoneCloud::start().await;
    let published = cloud.make("publish", &[("BUCKET", "our-templates"), ("REGIONS", "us-east-1 eu-west-1")]);
    assert!(published.success, "{}", published.stderr);
    let buttons: Vec<&str> = published.stdout.lines().collect();
    assert_eq!(buttons.len(), 2, "{}", published.stdout);
    assert!(
        buttons[0].contains("region=us-east-1")
            && buttons[0].contains("param_ScalerCodeBucket=our-templates&")
            && buttons[0].contains("param_ScalerCodeKey=")
    );
    assert!(buttons[1].contains("region=eu-west-1"));
    assert!(buttons[1].contains("param_ScalerCodeBucket=our-templates-eu-west-1&"), "Lambda's own region");
    assert!(published.stderr.contains("no AMI yet in eu-west-1"), "{}", published.stderr);
    for bucket in ["our-templates", "our-templates-eu-west-1"] {
        let listing = cloud.aws(&["s3api", "list-objects-v2", "--bucket", bucket]);
        let keys: Vec<&str> =
            listing["Contents"].as_array().unwrap().iter().filter_map(|o| o["Key"].as_str()).collect();
        assert_eq!(keys.len(), 6, "{keys:?}");
        for folder in [env!("CARGO_PKG_VERSION"), "latest"] {
            assert!(keys.contains(&format!("{folder}/ci-stack.yml").as_str()), "{keys:?}");
            assert!(keys.contains(&format!("{folder}/scaler.zip").as_str()), "{keys:?}");
        }
    }
    let nameless = cloud.make("publish", &[]);
    assert!(nameless.stderr.contains("publish: BUCKET is ''"), "{}", nameless.stderr);
    cloud.stop().await;
}
