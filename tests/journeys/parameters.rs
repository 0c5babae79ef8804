//! Values that the template does not allow are refused before anything is made, all at once.

use crate::lone_cloud::LoneCloud;

/// What a verb says to people, without make's own lines and the file's path.
fn faults(cloud: &LoneCloud, stderr: &str) -> Vec<String> {
    let path = format!("{}: ", cloud.path("config.json").display());
    stderr
        .lines()
        .filter(|line| !line.starts_with("make:"))
        .map(|line| line.trim_start_matches("stack: ").trim_start_matches(&path).to_owned())
        .collect()
}

fn refuses(cloud: &LoneCloud, verb: &str, given: &[(&str, &str)], expected: &[&str]) {
    cloud.configure(given);
    let refused = cloud.make(verb, &[]);
    assert!(!refused.success, "{given:?}: {}", refused.stdout);
    // make itself ends with 2, and says what its verb ended with.
    assert!(refused.stderr.contains("Error 78"), "{given:?}: {}", refused.stderr);
    assert_eq!(faults(cloud, &refused.stderr), expected, "{given:?}");
}

#[tokio::test]
async fn values_out_of_range_are_refused_before_anything_is_made() {
    let cloud = LoneCloud::start().await;
    for (given, fault) in [
        (("MaxSize", "0"), "MaxSize is '0': less than 1"),
        (("AgentsPerInstance", "0"), "AgentsPerInstance is '0': less than 1"),
        (("AgentsPerInstance", "101"), "AgentsPerInstance is '101': more than 100"),
        (("AgentsPerInstance", "many"), "AgentsPerInstance is 'many': not a number"),
        (("ECRAccessPolicy", "all"), "ECRAccessPolicy is 'all': not one of none, readonly, poweruser, full"),
        (("BuildkiteQueue", "a b"), "BuildkiteQueue is 'a b': does not match ^[A-Za-z0-9_.:-]{1,100}$"),
        (("SpotPrice", "cheap"), "SpotPrice is 'cheap': does not match ^(on-demand|[0-9]+(\\.[0-9]{1,6})?)$"),
        (("MinSize", "11"), "MinSize is '11': more than MaxSize, which is '10'"),
        (("BuildkiteAgentToken", ""), "BuildkiteAgentToken has 0 characters: at least 1"),
    ] {
        refuses(&cloud, "create-stack", &[given], &[fault]);
    }
    // What the values say together: the template's rules, which AWS asserts too.
    let url = ("WebhookUrl", "function");
    refuses(
        &cloud,
        "create-stack",
        &[
            ("ScalingMode", "none"),
            url,
            ("VpcId", "vpc-1"),
            ("SecretsRequireKey", "true"),
            ("SecretsBucket", "ours"),
        ],
        &[
            "VpcId needs Subnets of that VPC",
            "SecretsRequireKey with an existing SecretsBucket needs its SecretsKmsKeyArn",
            "WebhookUrl is for the stack's own scaler, which ScalingMode none leaves out",
        ],
    );
    refuses(&cloud, "create-stack", &[("Subnets", "subnet-1")], &["Subnets need the VpcId they belong to"]);
    let no_queue = r#"[{"ParameterKey": "BuildkiteAgentToken", "ParameterValue": "agent-token-1"}]"#;
    std::fs::write(cloud.path("config.json"), no_queue).unwrap();
    let refused = cloud.make("create-stack", &[]);
    assert!(refused.stderr.contains("BuildkiteQueue is missing: name the queue"), "{}", refused.stderr);
    let long = "x".repeat(4097);
    refuses(
        &cloud,
        "create-stack",
        &[
            ("Settings", &long),
            ("LogRetentionDays", "2"),
            ("MaxSise", "4"),
            ("MinSize", "3"),
            ("MaxSize", "2"),
        ],
        &[
            "MaxSise is no parameter of the template",
            "Settings has 4097 characters: at most 4096",
            "LogRetentionDays is '2': not one of 1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, \
             1827, 3653",
            "MinSize is '3': more than MaxSize, which is '2'",
        ],
    );
    let stacks = cloud.aws(&["cloudformation", "describe-stacks"]);
    assert_eq!(stacks["Stacks"].as_array().unwrap().len(), 0);
    assert_eq!(cloud.aws(&["s3api", "list-buckets"])["Buckets"].as_array().unwrap().len(), 0);
    cloud.stop().await;
}

#[tokio::test]
async fn an_update_is_held_against_what_the_stack_keeps() {
    let cloud = LoneCloud::start().await;
    cloud.configure(&[("MaxSize", "20")]);
    let created = cloud.make("create-stack", &[]);
    assert!(created.success, "{}", created.stderr);
    refuses(
        &cloud,
        "update-stack",
        &[("MinSize", "21")],
        &["MinSize is '21': more than MaxSize, which is '20'"],
    );
    // More than the template's own MaxSize, but not than the stack's. A URL and a scaler go together.
    cloud.configure(&[("MinSize", "15"), ("WebhookUrl", "function")]);
    let updated = cloud.make("update-stack", &[]);
    assert!(updated.success, "{}", updated.stderr);
    refuses(
        &cloud,
        "update-stack",
        &[("ScalingMode", "none")],
        &["WebhookUrl is for the stack's own scaler, which ScalingMode none leaves out"],
    );
    cloud.stop().await;
}
