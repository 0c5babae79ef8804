//! Every parameter of the template reaches what it is for: two stacks, one of defaults, one with all else.

use serde_json::{Value, json};

use crate::lone_cloud::LoneCloud;

const KEY: &str = "arn:aws:kms:us-east-1:123456789012:key/11111111-2222-3333-4444-555555555555";
const BOUNDARY: &str = "arn:aws:iam::aws:policy/PowerUserAccess";
const MORE: &str = "arn:aws:iam::aws:policy/AmazonSSMManagedInstanceCore";

/// What the wide stack is given. `VpcId`, `Subnets` and `SecretsBucket` are things of the test's cloud.
fn wide(vpc: &str, subnets: &str) -> Vec<(&'static str, String)> {
    [
        ("BuildkiteQueue", "deploy"),
        ("BuildkiteAgentTags", "docker=true,size=large"),
        ("AgentEndpoint", "http://127.0.0.1:9/v3"),
        ("AgentsPerInstance", "3"),
        ("MinSize", "2"),
        ("MaxSize", "2"),
        ("ScalerSettings", "instance-buffer: 5"),
        ("InstanceTypes", "c7a.large,c7i.large,c6a.large,c6i.large"),
        ("SpotPrice", "0.0125"),
        ("ImageId", "/other/ami"),
        ("RootVolumeSize", "44"),
        ("Settings", "idle-period: 7m"),
        ("SecretsBucket", "given-secrets"),
        ("SecretsKmsKeyArn", KEY),
        ("SecretsRequireKey", "true"),
        ("VpcId", vpc),
        ("Subnets", subnets),
        ("KeyName", "operators"),
        ("ScalingMode", "alarms"),
        ("ECRAccessPolicy", "poweruser"),
        ("ManagedPolicyARNs", MORE),
        ("PermissionsBoundaryARN", BOUNDARY),
        ("LogRetentionDays", "90"),
        ("LogGroupPrefix", "/buildkite"),
    ]
    .map(|(name, value)| (name, value.to_owned()))
    .into()
}

fn has(picture: &Value, pointer: &str, text: &str) -> bool {
    picture.pointer(pointer).and_then(Value::as_str).is_some_and(|all| all.contains(text))
}

#[tokio::test]
async fn every_parameter_reaches_what_it_is_for() {
    let cloud = LoneCloud::start().await;
    cloud.configure(&[]);
    let created = cloud.make("create-stack", &[]);
    assert!(created.success, "{}", created.stderr);
    let plain = cloud.picture("ci");

    let subnets = cloud.aws(&["ec2", "describe-subnets", "--filters", "Name=default-for-az,Values=true"]);
    let vpc = subnets["Subnets"][0]["VpcId"].as_str().unwrap();
    let subnet = subnets["Subnets"][0]["SubnetId"].as_str().unwrap();
    let image = cloud.aws(&["ec2", "describe-images", "--query", "Images[1].ImageId"]);
    let image = image.as_str().unwrap();
    cloud.aws(&["ssm", "put-parameter", "--name", "/other/ami", "--type", "String", "--value", image]);
    let given = wide(vpc, subnet);
    let given: Vec<(&str, &str)> = given.iter().map(|(name, value)| (*name, value.as_str())).collect();
    cloud.configure(&given);
    let created = cloud.make("create-stack", &[("STACK", "wide")]);
    assert!(created.success, "{}", created.stderr);
    let wide = cloud.picture("wide");
    cloud.stop().await;

    assert_eq!(plain["token"], "agent-token-1");
    for (pointer, default, other) in [
        ("/scaler/BUILDKITE_QUEUE", json!("default"), json!("deploy")),
        (
            "/scaler/BUILDKITE_AGENT_ENDPOINT",
            json!("https://agent.buildkite.com/v3"),
            json!("http://127.0.0.1:9/v3"),
        ),
        ("/scaler/AGENTS_PER_INSTANCE", json!("1"), json!("3")),
        ("/scaler/SCALER_SETTINGS", json!(""), json!("instance-buffer: 5")),
        ("/scaler/ASG_NAME", json!("ci-instances"), json!("wide-spot,wide-instances")),
        ("/scaler/MAX_INSTANCES", json!("10"), json!("2")),
        ("/scaler/SCALING_MODE", json!("direct"), json!("alarms")),
        (
            "/spot",
            json!([]),
            json!([{"min": 0, "max": 2, "price": "0.0125", "on_demand": 0, "protected": true}]),
        ),
        ("/min", json!(0), json!(2)),
        ("/max", json!(10), json!(2)),
        ("/types", json!(["t3.large"]), json!(["c7a.large", "c7i.large", "c6a.large", "c6i.large"])),
        ("/disk/VolumeSize", json!(100), json!(44)),
        ("/key", Value::Null, json!("operators")),
        ("/ingress", json!([]), json!(["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"])),
        ("/instance_role/boundary", Value::Null, json!(BOUNDARY)),
        ("/scaler_role/boundary", Value::Null, json!(BOUNDARY)),
        ("/retention", json!([14]), json!([90])),
        ("/metadata/HttpTokens", json!("required"), json!("required")),
        ("/protected", json!(true), json!(true)),
        (
            "/log_groups",
            json!([
                "/tidemark/ci/agent",
                "/tidemark/ci/boot",
                "/tidemark/ci/docker",
                "/tidemark/ci/scaler",
                "/tidemark/ci/system",
                "/tidemark/ci/watch",
            ]),
            json!(["/tidemark/wide/scaler"]),
        ),
    ] {
        assert_eq!(plain.pointer(pointer).unwrap(), &default, "{pointer} of the defaults");
        assert_eq!(wide.pointer(pointer).unwrap(), &other, "{pointer} of the wide stack");
    }
    assert_eq!(wide["vpc"], vpc);
    assert_eq!(wide["subnets"], subnet);
    assert_ne!(plain["vpc"], vpc, "the default stack makes its own network");
    assert_eq!(wide["image"], image);
    assert_ne!(plain["image"], image);
    assert_eq!(wide["outputs"]["SecretsBucket"], "given-secrets");
    assert_eq!(wide["outputs"]["SecretsKeyArn"], KEY);
    let attached = wide["instance_role"]["attached"].to_string();
    assert!(
        attached.contains(MORE) && attached.contains("AmazonEC2ContainerRegistryPowerUser"),
        "{attached}"
    );
    assert_eq!(plain["instance_role"]["attached"], json!([]));

    for (default, other) in [
        ("queue: \"default\"", "queue: \"deploy\""),
        ("agent-endpoint: \"https://agent.buildkite.com/v3\"", "agent-endpoint: \"http://127.0.0.1:9/v3\""),
        ("agents-per-instance: 1", "agents-per-instance: 3"),
        ("agent-tags: \"\"", "agent-tags: \"docker=true,size=large\""),
        ("secrets-bucket: \"ci-", "secrets-bucket: \"given-secrets\""),
        ("secrets-require-key: false", "secrets-require-key: true"),
        ("ecr-login: false", "ecr-login: true"),
        (
            "agent-token: \"arn:aws:secretsmanager:",
            "secrets-kms-key: \"arn:aws:kms:us-east-1:123456789012:key/1111",
        ),
        ("terminating-hook: \"terminating\"", "idle-period: 7m"),
        ("secrets-region: \"us-east-1\"", "idle-period: never"),
        ("launching-hook: \"launching\"", "signal-resource: \"Group\""),
        ("log-group-prefix: \"\"", "log-group-prefix: \"/buildkite\""),
        ("log-retention-days: 14", "log-retention-days: 90"),
    ] {
        assert!(has(&plain, "/user_data", default), "no {default} in {}", plain["user_data"]);
        assert!(has(&wide, "/user_data", other), "no {other} in {}", wide["user_data"]);
    }
    let may_resize = |picture: &Value| picture["scaler_role"].to_string().contains("SetDesiredCapacity");
    assert_eq!((may_resize(&plain), may_resize(&wide)), (true, false), "alarms resize the wide stack");
    assert!(!has(&plain, "/user_data", "idle-period"), "only always-on builders stay for ever");
    assert!(!has(&plain, "/user_data", "agent-token-1"), "the token itself is in the user data");
    assert!(has(&wide, "/instance_role/inline", "arn:aws:s3:::given-secrets/*"));
    assert!(has(&wide, "/instance_role/inline", KEY));
    assert!(has(&wide, "/instance_role/inline", "log-group:/buildkite/*"));
    assert!(
        !has(&plain, "/instance_role/inline", "logs:CreateLogGroup"),
        "the stack makes its groups itself"
    );
    assert!(!plain.to_string().contains("${"), "a hole in what was deployed: {plain}");
}
