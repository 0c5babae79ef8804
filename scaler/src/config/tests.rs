use super::*;

fn read(pairs: &[(&str, &str)]) -> Result<Config, Faults> {
    read_with(pairs, None)
}

fn read_with(pairs: &[(&str, &str)], document: Option<&str>) -> Result<Config, Faults> {
    let lookup = |name: &str| pairs.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).to_owned());
    Config::read(&lookup, document)
}

fn only(config: Config) -> QueueConfig {
    assert_eq!(config.queues.len(), 1);
    config.queues.into_iter().next().unwrap()
}

#[test]
fn a_minimal_environment_has_safe_defaults() {
    let process = read(&[("ASG_NAME", "g"), ("BUILDKITE_AGENT_TOKEN", "t")]).unwrap();
    let [config] = process.queues.as_slice() else { panic!("one queue") };
    assert_eq!(config.endpoint, "https://agent.buildkite.com/v3");
    assert_eq!((config.queue.as_str(), config.policy.agents_per_instance), ("default", 1));
    assert!(config.policy.scale_in && config.policy.scale_out && process.publish);
    assert_eq!((config.groups.as_slice(), config.most), (&["g".to_owned()][..], u32::MAX));
    assert_eq!((config.patience.launch.as_secs(), config.patience.retry_after.as_secs()), (60, 600));
    assert_eq!((config.probe_after.as_secs(), process.publish_every.as_secs()), (60, 60));
    assert_eq!(process.mode, ScalingMode::Direct);
    assert_eq!((process.interval.as_secs(), process.invocation.as_secs()), (10, 50));
}

#[test]
fn groups_are_named_in_order_and_once() {
    let of = |names| {
        read(&[("ASG_NAME", names), ("BUILDKITE_AGENT_TOKEN", "t")]).map(only).map(|config| config.groups)
    };
    assert_eq!(of("ci-spot, ci-instances,").unwrap(), ["ci-spot", "ci-instances"]);
    assert!(of("ci,ci").unwrap_err().to_string().contains("ASG_NAME is `ci,ci`: a group stands there twice"));
}

#[test]
fn all_faults_are_reported_at_once_with_their_names() {
    let faults = read(&[
        ("AGENTS_PER_INSTANCE", "0"),
        ("INCLUDE_WAITING", "maybe"),
        ("LAMBDA_INTERVAL", "soon"),
        ("SCALING_MODE", "alarm"),
        ("JOB_SOURCE", "stack"),
        ("BUILDKITE_AGENT_ENDPOINT", "ci.example"),
    ])
    .unwrap_err();
    insta::assert_snapshot!(faults.to_string());
}

#[test]
fn tags_are_of_no_use_to_a_source_that_only_counts() {
    let least = [("ASG_NAME", "g"), ("BUILDKITE_AGENT_TOKEN", "t")];
    let of = |document| read_with(&least, Some(document));
    let config = of("job-source: stacks\nagent-tags: [a=1, 'b=2,c=3']").unwrap().queues.remove(0);
    assert_eq!(config.job_source, JobSource::Stacks);
    assert_eq!(config.agent_tags.unwrap(), ["a=1", "b=2", "c=3"]);
    let fault = of("agent-tags: a=1").unwrap_err().to_string();
    assert!(fault.starts_with("settings: agent-tags is set, but the metrics do not tell"), "{fault}");
    let both = [&least[..], &[("JOB_SOURCE", "metrics")]].concat();
    let fault = read_with(&both, Some("job-source: stacks")).unwrap_err().to_string();
    assert_eq!(fault, "JOB_SOURCE is `metrics`, but settings: job-source says otherwise: give one of them");
}

#[test]
fn alarms_without_metrics_would_do_nothing() {
    let of = |publish| {
        let rest = [("ASG_NAME", "g"), ("BUILDKITE_AGENT_TOKEN", "t"), ("SCALING_MODE", "alarms")];
        read(&[rest.as_slice(), &[("CLOUDWATCH_METRICS", publish)]].concat())
    };
    assert_eq!(of("true").unwrap().mode, ScalingMode::Alarms);
    let fault = of("false").unwrap_err().to_string();
    assert!(fault.starts_with("SCALING_MODE is `alarms` and CLOUDWATCH_METRICS is false"), "{fault}");
}

#[test]
fn the_token_never_shows_in_debug() {
    let config = read(&[("ASG_NAME", "g"), ("BUILDKITE_AGENT_TOKEN", "very-secret")]).unwrap();
    assert!(!format!("{config:?}").contains("very-secret"));
}

#[test]
fn durations_have_units() {
    for (text, seconds) in
        [("10", Some(10)), ("10s", Some(10)), ("2m", Some(120)), ("0s", None), ("x", None), ("5h", None)]
    {
        assert_eq!(duration(text).map(|d| d.as_secs()), seconds, "{text}");
    }
    assert_eq!(duration("250ms"), Some(Duration::from_millis(250)));
}

const MINIMAL: [(&str, &str); 2] = [("ASG_NAME", "g"), ("BUILDKITE_AGENT_TOKEN", "t")];

#[test]
fn a_document_says_what_the_environment_does_not() {
    let document = "
queue: linux
instance-buffer: 2
idle-instances: 3
max-instances: 9
scale-in: false
launch-patience: 2m
interval: 5s
metrics: false
periods:
  - name: night
    when: '* 0-5 * * *'
    idle-instances: 0
";
    let process = read_with(&MINIMAL, Some(document)).unwrap();
    assert_eq!((process.publish, process.interval.as_secs()), (false, 5));
    let config = only(process);
    assert_eq!((config.queue.as_str(), config.most), ("linux", 9));
    assert_eq!(config.patience.launch.as_secs(), 120);
    let Policy { instance_buffer, idle_instances, scale_in, scale_out, .. } = config.policy;
    assert_eq!((instance_buffer, idle_instances, scale_in, scale_out), (2, 3, false, true));
    let night = config.effective_at("2026-11-23T03:00:00Z".parse().unwrap());
    assert_eq!((night.policy.idle_instances, night.period.as_deref()), (0, Some("night")));
    let own = "groups: [a, b]\ntoken: {parameter: /ci/token}\nendpoint: https://ci.example/v3/";
    let config = only(read_with(&[], Some(own)).unwrap());
    assert_eq!((config.groups.len(), config.endpoint.as_str()), (2, "https://ci.example/v3"));
    assert!(matches!(config.token, TokenSource::Stored(StoredToken::Parameter(name)) if name == "/ci/token"));
}

#[test]
fn a_variable_and_a_key_may_say_the_same_and_not_otherwise() {
    let variables = [
        ("ASG_NAME", "a,b"),
        ("BUILDKITE_AGENT_TOKEN", "t"),
        ("BUILDKITE_QUEUE", "linux"),
        ("BUILDKITE_AGENT_ENDPOINT", "https://ci.example/v3/"),
        ("AGENTS_PER_INSTANCE", "2"),
        ("INSTANCE_BUFFER", "1"),
        ("INCLUDE_WAITING", "false"),
        ("DISABLE_SCALE_IN", "true"),
        ("LAUNCH_PATIENCE", "60"),
        ("LAMBDA_INTERVAL", "10s"),
        ("CLOUDWATCH_METRICS", "1"),
        ("MAX_INSTANCES", "10"),
    ];
    let same = "
queue: linux
groups: [a, b]
endpoint: https://ci.example/v3
agents-per-instance: 2
instance-buffer: 1
include-waiting: false
scale-in: false
launch-patience: 1m
interval: 10
metrics: true
max-instances: 8
";
    assert_eq!(only(read_with(&variables, Some(same)).unwrap()).most, 8, "less than the stack allows");
    let otherwise = "
queue: mac
groups: [b, a]
token: {secret: other}
endpoint: https://other.example/v3
agents-per-instance: 1
instance-buffer: 0
include-waiting: true
scale-in: true
launch-patience: 2m
interval: 1
metrics: false
max-instances: 11
periods:
  - when: '* 8 * * *'
    max-instances: 12
";
    insta::assert_snapshot!(read_with(&variables, Some(otherwise)).unwrap_err().to_string());
}

#[test]
fn no_policy_asks_for_more_than_it_allows() {
    let document = "
min-instances: 3
max-instances: 2
periods:
  - name: night
    when: '* 0-5 * * *'
    max-instances: 1
  - name: day
    when: '* 8-17 * * *'
    min-instances: 4
    max-instances: 4
  - name: evening
    when: '* 18 * * *'
    idle-instances: 4
";
    let told = read_with(&MINIMAL, Some(document)).unwrap_err().to_string();
    insta::assert_snapshot!(told);
}

#[test]
fn prices_are_one_for_all_groups_or_one_for_each() {
    let of = |price: &str| {
        let document = format!("groups: [a, b]\ntoken: {{parameter: t}}\nhourly-price: {price}");
        let config = read_with(&[], Some(&document)).map(only);
        config.map(|config| config.prices.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "))
    };
    assert_eq!(of("0.0912").unwrap(), "0.0912 0.0912");
    assert_eq!(of("[0.03, 0.0912]").unwrap(), "0.03 0.0912");
    let fault = |price| of(price).unwrap_err().to_string();
    assert_eq!(fault("[1, 2, 3]"), "settings: hourly-price has 3 prices, and there are 2 groups");
    for price in ["-1", "[]", "much", "[1, x]"] {
        assert!(fault(price).starts_with("settings: hourly-price is no price: give"), "{}", fault(price));
    }
}

const SEVERAL: &str = "
interval: 2s
queues:
  - queue: linux
    groups: [a, b]
    idle-instances: 1
  - queue: mac
    groups: [c]
    token: {parameter: /other/token}
  - queue: linux
    groups: [d]
    endpoint: https://ci.example/v3
  - queue: small
    groups: [e]
    max-instances: 3
";

#[test]
fn several_queues_take_endpoint_and_token_from_the_environment_or_have_their_own() {
    let config = read_with(&[("BUILDKITE_AGENT_TOKEN", "t")], Some(SEVERAL)).unwrap();
    assert_eq!(config.interval.as_secs(), 2);
    let sources = config.by_source();
    let named = sources.iter().map(|source| {
        let queues: Vec<String> = source.queues.iter().map(|queue| queue.groups.join("+")).collect();
        (source.endpoint, queues.join(" "))
    });
    let buildkite = "https://agent.buildkite.com/v3";
    let expected = [(buildkite, "a+b e"), (buildkite, "c"), ("https://ci.example/v3", "d")];
    assert_eq!(named.collect::<Vec<_>>(), expected.map(|(endpoint, queues)| (endpoint, queues.to_owned())));
    assert_eq!((config.queues[0].policy.idle_instances, config.queues[1].policy.idle_instances), (1, 0));
    assert_eq!((config.queues[2].most, config.queues[3].most), (u32::MAX, 3));
}

#[test]
fn with_several_queues_variables_of_one_are_faults() {
    let variables = [
        ("ASG_NAME", "g"),
        ("AGENTS_PER_INSTANCE", "2"),
        ("KEEPS_PARAMETER", "/tidemark/ci/scaler-keeps"),
        ("BUILDKITE_AGENT_ENDPOINT", "ci.example"),
    ];
    let document = "queues: [{queue: a, groups: [a]}, {queue: b}]";
    insta::assert_snapshot!(read_with(&variables, Some(document)).unwrap_err().to_string());
}
