use super::*;

/// kiln's own file as it is distributed, filled in.
const KILN: &str = "\
awsConfig:
  # see http://docs.aws.amazon.com/aws-sdk-php/v2/guide/service-sts.html#creating-a-client
  region: us-west-2
  profile:
appConfig:
  logLevel: debug
sqsConfig:
  amiBuildRequestQueueUrl: https://sqs.us-west-2.amazonaws.com/111122223333/q
packer:
  executablePath: /usr/bin/container-packer
  # awsAccessKey: null
  # awsSecretKey: null
templates:
  templatesRepo: 'https://github.com/acme/packer-templates.git'
  checkoutPath: /home/ec2-user/packer-build-templates
executionDigest:
  bucketName: kiln-audit
";

#[test]
fn k2_kilns_file_is_read_unchanged() {
    insta::assert_debug_snapshot!(Config::parse(KILN).unwrap());
}

#[test]
fn k2_the_older_name_of_a_queue_is_read() {
    let older = KILN.replace(
        "amiBuildRequestQueueUrl: https://sqs.us-west-2.amazonaws.com/111122223333/q",
        "amiBuildRequestQueueName: kiln-builds",
    );
    assert_eq!(Config::parse(&older).unwrap().queue, Queue::Name("kiln-builds".to_owned()));
}

#[test]
fn keys_are_taken_both_or_neither_and_never_shown() {
    let with = |lines: &str| KILN.replace("  # awsAccessKey: null\n", lines);
    let config = Config::parse(&with("  awsAccessKey: AKIA1\n  awsSecretKey: s3cret/x\n")).unwrap();
    assert_eq!(config.packer.keys.as_ref().unwrap().secret, "s3cret/x");
    assert!(!format!("{config:?}").contains("s3cret"));
    let problem = Config::parse(&with("  awsAccessKey: AKIA1\n")).unwrap_err();
    assert!(problem.message.contains("packer.awsAccessKey and awsSecretKey"), "{problem}");
}

#[test]
fn our_own_sections_stand_beside_kilns() {
    let ours = format!(
        "{KILN}builds:\n  table: builds\n  parallel: 4\n  timeout: 90m\n  attempts: 2\n  \
         variables:\n    subnet_id: subnet-1\n    size: 8\nlogs:\n  group: none\n  folder: /var/log/kiln\npublish:\n  parameters: /images/\n"
    );
    let config = Config::parse(&ours).unwrap();
    insta::assert_debug_snapshot!((config.builds, config.logs, config.publish));
}

#[test]
fn the_settings_that_hold_are_shown_without_secrets() {
    let text = KILN
        .replace("https://github.com", "https://me:t0ken@github.com")
        .replace("  # awsAccessKey: null\n", "  awsAccessKey: AKIA1\n  awsSecretKey: s3cret\n");
    let shown = shown::shown(&Config::parse(&text).unwrap(), "us-west-2");
    assert!(!shown.contains("t0ken") && !shown.contains("s3cret"), "{shown}");
    insta::assert_snapshot!(shown);
}

#[test]
fn all_faults_are_told_at_once() {
    let wrong = "\
appConfig:
  logLevel: loud
sqsConfig:
  amiBuildRequestQueueUrl: my-queue
packer: [1]
templates:
  templatesRepo: ext::sh -c id
executionDigest:
builds:
  parallel: 0
  timeout: soon
  variables:
    -var: x
publish:
  parameters: images
";
    let problem = Config::parse(wrong).unwrap_err();
    assert_eq!(problem.code, 78);
    insta::assert_snapshot!(problem.message);
    for no_settings in ["", "a", "- 1", "a: [", "\t"] {
        assert_eq!(Config::parse(no_settings).unwrap_err().code, 78, "{no_settings:?}");
    }
}
