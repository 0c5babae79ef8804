//! What image-builder needs of an account: a queue with its dead-letter queue, an audit bucket, a table, a role; and a
//! repository of templates.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use aws::Session;
use aws::sqs::types::QueueAttributeName;
use lab::git::GitServers;
use lab::lab::{Lab, LabOptions};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::lone_cloud::Said;

pub const BUCKET: &str = "kiln-audit";
pub const TABLE: &str = "kiln-builds";
const ROLE: &str = "image-builder";

/// The lab with all that.
pub struct Kiln {
    pub lab: Lab,
    pub session: Session,
    pub git: GitServers,
    folder: TempDir,
}

/// One worker's world: a queue of its own and settings that name it.
pub struct Desk {
    pub name: String,
    pub queue: String,
    pub dead: String,
    pub config: PathBuf,
    environment: Vec<(String, String)>,
    program: PathBuf,
}

/// A template that Debian's Packer builds on the lab in seconds: no instance is logged in to.
pub fn template(name: &str) -> String {
    json!({
        "variables": {"endpoint": "", "source": "", "aws_access_key": "", "aws_secret_key": ""},
        "builders": [{
            "type": "amazon-ebs", "region": "us-east-1", "custom_endpoint_ec2": "{{user `endpoint`}}",
            "source_ami": "{{user `source`}}", "instance_type": "t3.small", "communicator": "none",
            "ami_name": format!("{name}-{{{{uuid}}}}"),
        }],
    })
    .to_string()
}

impl Kiln {
    pub async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let lab = Lab::start(LabOptions::default()).await.unwrap();
        let session = lab.session().await;
        let git = GitServers::start(&folder.path().join("git")).await.unwrap();
        let kiln = Self { lab, session, git, folder };
        kiln.session.s3().create_bucket().bucket(BUCKET).send().await.unwrap();
        let trust = json!({"Version": "2012-10-17", "Statement": [{
            "Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "sts:AssumeRole",
        }]});
        kiln.aws(&[
            "iam",
            "create-role",
            "--role-name",
            ROLE,
            "--assume-role-policy-document",
            &trust.to_string(),
        ]);
        let policy = policy().to_string();
        let put = [
            "iam",
            "put-role-policy",
            "--role-name",
            ROLE,
            "--policy-name",
            "builds",
            "--policy-document",
            &policy,
        ];
        kiln.aws(&put);
        let key = ["AttributeName=id,KeyType=HASH", "AttributeName=id,AttributeType=S"];
        kiln.aws(&[
            "dynamodb",
            "create-table",
            "--table-name",
            TABLE,
            "--billing-mode",
            "PAY_PER_REQUEST",
            "--key-schema",
            key[0],
            "--attribute-definitions",
            key[1],
        ]);
        kiln
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The CLI, as the account's owner.
    pub fn aws(&self, arguments: &[&str]) -> Value {
        let mut command = Command::new(lab::moto::venv().unwrap().join("bin/aws"));
        // For SQS the CLI has a place of its own in this region, whatever the environment says.
        let endpoint = ["--endpoint-url", self.lab.endpoint().url()];
        command.args(["--output", "json"]).args(endpoint).args(arguments).envs(self.lab.admin_environment());
        let said: Said = command.output().unwrap().into();
        assert!(said.success, "{arguments:?}: {}", said.stderr);
        serde_json::from_str(&said.stdout).unwrap_or(Value::Null)
    }

    /// A repository of templates, and the commit.
    pub fn templates(&self, files: &[(&str, &str)]) -> String {
        self.git.set_password("lab", "lab");
        self.git.create_repo("templates", files).unwrap()
    }

    /// A desk whose worker calls AWS as `image-builder/NAME`; `settings` come after those that all have.
    pub async fn desk(&self, name: &str, settings: &str) -> Desk {
        let sqs = self.session.sqs();
        let dead = sqs.create_queue().queue_name(format!("{name}-dead")).send().await.unwrap();
        let dead = dead.queue_url().unwrap().to_owned();
        let redrive = json!({
            "deadLetterTargetArn": format!("arn:aws:sqs:us-east-1:{}:{name}-dead", lab::endpoint::ACCOUNT),
            "maxReceiveCount": 100,
        });
        let queue = sqs
            .create_queue()
            .queue_name(name)
            .attributes(QueueAttributeName::RedrivePolicy, redrive.to_string());
        let queue = queue.send().await.unwrap().queue_url().unwrap().to_owned();
        let images = self.aws(&["ec2", "describe-images", "--max-items", "1", "--owners", "amazon"]);
        let source = images["Images"][0]["ImageId"].as_str().unwrap();
        let repository = self.git.http_url("templates").unwrap().replace("http://", "http://lab:lab@");
        let state = self.path(&format!("{name}-state"));
        let config = self.path(&format!("{name}.yml"));
        let text = format!(
            "awsConfig:\n  region: us-east-1\nappConfig:\n  logLevel: info\nsqsConfig:\n  amiBuildRequestQueueUrl: {queue}\n\
             executionDigest:\n  bucketName: {BUCKET}\n\
             templates:\n  templatesRepo: {repository}\n  checkoutPath: {}\n\
             builds:\n  table: {TABLE}\n  heartbeat: 1s\n  variables:\n    endpoint: {}\n    source: {source}\n\
             logs:\n  stream: i-{name}\n{settings}",
            state.display(),
            self.lab.endpoint().url(),
        );
        let text = if settings.contains("packer:") {
            text
        } else {
            format!("{text}packer:\n  executablePath: packer\n")
        };
        std::fs::write(&config, text).unwrap();
        let environment = self.lab.endpoint().mint_session(ROLE, name).environment();
        let mut environment: Vec<_> = environment.into_iter().map(|(k, v)| (k.to_owned(), v)).collect();
        environment.push(("AWS_EC2_METADATA_DISABLED".to_owned(), "true".to_owned()));
        environment.push(("AWS_ENDPOINT_URL".to_owned(), self.lab.endpoint().url().to_owned()));
        let program = self.lab.programs().join("image-builder");
        Desk { name: name.to_owned(), queue, dead, config, environment, program }
    }

    pub async fn send(&self, queue: &str, body: &str) -> String {
        let sent =
            self.session.sqs().send_message().queue_url(queue).message_body(body).send().await.unwrap();
        sent.message_id().unwrap().to_owned()
    }

    /// Messages of a queue, those that are hidden too.
    pub async fn depth(&self, queue: &str) -> u32 {
        let names = [
            QueueAttributeName::ApproximateNumberOfMessages,
            QueueAttributeName::ApproximateNumberOfMessagesNotVisible,
        ];
        let call = self
            .session
            .sqs()
            .get_queue_attributes()
            .queue_url(queue)
            .set_attribute_names(Some(names.to_vec()));
        let answer = call.send().await.unwrap();
        answer.attributes().unwrap().values().map(|count| count.parse::<u32>().unwrap()).sum()
    }

    /// Images that were built here: ids and descriptions.
    pub fn images(&self) -> Vec<Value> {
        let images = self.aws(&["ec2", "describe-images", "--owners", "self"]);
        images["Images"].as_array().unwrap().clone()
    }

    /// Keys of the audit bucket below `prefix`.
    pub async fn audits(&self, prefix: &str) -> Vec<String> {
        let answer = self.session.s3().list_objects_v2().bucket(BUCKET).prefix(prefix).send().await.unwrap();
        answer.contents().iter().map(|object| object.key().unwrap().to_owned()).collect()
    }

    pub async fn object(&self, key: &str) -> String {
        let answer = self.session.s3().get_object().bucket(BUCKET).key(key).send().await.unwrap();
        String::from_utf8(answer.body.collect().await.unwrap().to_vec()).unwrap()
    }

    /// Lines of a stream of kiln's log group.
    pub async fn log(&self, stream: &str) -> Vec<String> {
        let call = self.session.cloudwatchlogs().get_log_events().log_group_name("/kiln/logs/app");
        let answer = call.log_stream_name(stream).start_from_head(true).send().await.unwrap();
        answer.events().iter().map(|event| event.message().unwrap().to_owned()).collect()
    }
}

impl Desk {
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        for (name, _) in std::env::vars_os().filter(|(n, _)| n.to_string_lossy().starts_with("AWS_")) {
            command.env_remove(name);
        }
        command.args(arguments).arg("--config").arg(&self.config);
        command.envs(self.environment.iter().map(|(k, v)| (k, v))).stdin(Stdio::null());
        command
    }

    /// Runs a verb to its end: exit code, stdout, stderr.
    pub async fn run(&self, arguments: &[&str]) -> (i32, String, String) {
        let mut command = tokio::process::Command::from(self.command(arguments));
        let output = tokio::time::timeout(crate::scene::PATIENCE, command.kill_on_drop(true).output()).await;
        let output = output.unwrap_or_else(|_| panic!("{arguments:?} does not end")).unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.code().unwrap_or(-1), text(&output.stdout), text(&output.stderr))
    }

    /// Starts a worker that serves until it is stopped; what it says goes to a file.
    pub fn serve(&self) -> tokio::process::Child {
        let said = std::fs::File::create(self.said()).unwrap();
        let mut command = tokio::process::Command::from(self.command(&["worker"]));
        command.stdout(Stdio::null()).stderr(said).kill_on_drop(true).spawn().unwrap()
    }

    pub fn said(&self) -> PathBuf {
        self.config.with_extension("said")
    }
}

/// Waits until a file has this text.
pub async fn text_in(file: &Path, text: &str) {
    let begun = std::time::Instant::now();
    loop {
        let have = std::fs::read_to_string(file).unwrap_or_default();
        if have.contains(text) {
            return;
        }
        assert!(begun.elapsed() < crate::scene::PATIENCE, "never {text:?} in\n{have}");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
}

/// What a worker's role may do.
fn policy() -> Value {
    let allow = |actions: &[&str], resource: &str| json!({"Effect": "Allow", "Action": actions, "Resource": resource});
    json!({"Version": "2012-10-17", "Statement": [
        allow(&["sqs:ReceiveMessage", "sqs:ChangeMessageVisibility", "sqs:DeleteMessage", "sqs:GetQueueAttributes",
            "sqs:GetQueueUrl", "sqs:SendMessage"], "arn:aws:sqs:us-east-1:*:*"),
        allow(&["s3:PutObject", "s3:GetObject"], &format!("arn:aws:s3:::{BUCKET}/*")),
        allow(&["dynamodb:GetItem", "dynamodb:PutItem", "dynamodb:UpdateItem"],
            &format!("arn:aws:dynamodb:us-east-1:*:table/{TABLE}")),
        allow(&["logs:CreateLogGroup", "logs:CreateLogStream", "logs:PutLogEvents"], "*"),
        allow(&["ssm:PutParameter"], "arn:aws:ssm:*:*:parameter/tidemark/ami/*"),
        allow(&["secretsmanager:GetSecretValue"], "*"),
        allow(&["ec2:Describe*", "ec2:RunInstances", "ec2:CreateTags", "ec2:CreateImage", "ec2:StopInstances",
            "ec2:TerminateInstances", "ec2:CreateSecurityGroup", "ec2:AuthorizeSecurityGroupIngress",
            "ec2:DeleteSecurityGroup", "ec2:CreateKeyPair", "ec2:DeleteKeyPair", "ec2:ModifyImageAttribute",
            "ec2:ModifySnapshotAttribute", "ec2:ModifyInstanceAttribute", "ec2:CreateVolume", "ec2:DeleteVolume",
            "ec2:DeregisterImage", "ec2:DeleteSnapshot"], "*"),
    ]})
}
