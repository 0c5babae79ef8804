//! Two stacks side by side, one of defaults, one that is given all else: what their instances are, as EC2 and the jobs on
//! them tell. `ScalerSettings` has a stack of its own.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::scene::Scene;

/// The parameters that only the given stack has. What is called `$…` is made in the cloud first.
const GIVEN: [(&str, &str); 12] = [
    ("BuildkiteQueue", "given"),
    ("MinSize", "1"),
    ("MaxSize", "1"),
    ("ImageId", "/other/ami"),
    ("RootVolumeSize", "44"),
    ("VpcId", "$vpc"),
    ("Subnets", "$subnet"),
    ("KeyName", "operators"),
    ("ManagedPolicyARNs", "$policy"),
    ("PermissionsBoundaryARN", "$boundary"),
    ("SecretsBucket", "given-secrets"),
    ("SecretsKmsKeyArn", "$key"),
];

/// Two images that EC2 knows.
const IMAGES: [&str; 2] = ["ami-0123456789abcdef0", "ami-0deb1a00000000013"];

struct Stage {
    scene: Scene,
    /// What was made, by its `$name`.
    made: BTreeMap<&'static str, String>,
}

impl Stage {
    async fn start() -> Self {
        let scene = Scene::start(&[("MinSize", "1"), ("MaxSize", "1")], Vec::new()).await;
        let mut stage = Self { scene, made: BTreeMap::new() };
        stage.prepare().await;
        let mut given: Vec<(&str, &str)> =
            GIVEN.map(|(name, value)| (name, stage.made.get(value).map_or(value, String::as_str))).into();
        given.push(("SecretsRequireKey", "true"));
        stage.scene.lab.deploy_stack("given", &given).await.unwrap();
        stage
    }

    async fn aws(&self, arguments: &[&str]) -> Value {
        let said = self.scene.aws(arguments).await;
        assert!(said.success, "{arguments:?}: {}", said.stderr);
        serde_json::from_str(&said.stdout).unwrap_or_default()
    }

    /// What a user has before the stack.
    async fn prepare(&mut self) {
        let ssm = self.scene.lab.session().await.ssm().clone();
        for (name, value) in
            [("/team/open", "for-the-team"), ("/team/closed", "shut"), ("/other/ami", IMAGES[1])]
        {
            ssm.put_parameter().name(name).value(value).r#type("String".into()).send().await.unwrap();
        }
        let read = |of: &str| json!({"Effect": "Allow", "Action": "ssm:GetParameter", "Resource": format!("arn:aws:ssm:*:*:parameter/team/{of}")});
        let rest = json!({"Effect": "Allow", "NotAction": "ssm:GetParameter", "Resource": "*"});
        for (name, statements) in
            [("$policy", json!([read("*")])), ("$boundary", json!([rest, read("open")]))]
        {
            let document = json!({"Version": "2012-10-17", "Statement": statements}).to_string();
            let create =
                ["iam", "create-policy", "--policy-name", &name[1..], "--policy-document", &document];
            let created = self.aws(&create).await;
            self.made.insert(name, created["Policy"]["Arn"].as_str().unwrap().to_owned());
        }
        for name in ["$key", "$other-key"] {
            let created = self.aws(&["kms", "create-key"]).await;
            self.made.insert(name, created["KeyMetadata"]["Arn"].as_str().unwrap().to_owned());
        }
        self.aws(&["ec2", "create-key-pair", "--key-name", "operators"]).await;
        let defaults = ["ec2", "describe-subnets", "--filters", "Name=default-for-az,Values=true"];
        let subnet = self.aws(&defaults).await["Subnets"][1].clone();
        self.made.insert("$subnet", subnet["SubnetId"].as_str().unwrap().to_owned());
        self.made.insert("$vpc", subnet["VpcId"].as_str().unwrap().to_owned());
        self.aws(&["s3api", "create-bucket", "--bucket", "given-secrets"]).await;
        for (pipeline, key) in [("app", Some("$key")), ("other", Some("$other-key")), ("of-s3", None)] {
            let put = self.scene.lab.session().await.s3().put_object();
            let put = put.bucket("given-secrets").key(format!("{pipeline}/env"));
            let put = put
                .server_side_encryption("aws:kms".into())
                .set_ssekms_key_id(key.map(|key| self.made[key].clone()));
            put.body(format!("OF={pipeline}\n").into_bytes().into()).send().await.unwrap();
        }
    }

    /// The one instance of a stack.
    async fn instance(&self, stack: &str) -> String {
        let group = format!("{stack}-instances");
        let one = |g: &lab::group::model::Group| g.in_service() == 1;
        let group = self.scene.lab.groups().until(&group, crate::scene::PATIENCE, one).await.unwrap();
        group.members[0].id.clone()
    }

    /// A job's exit status and log.
    async fn job(&self, queue: &str, pipeline: &str, command: &str) -> (i64, String) {
        let build = json!({"jobs": [{"command": command, "queue": queue}]});
        let id = self.scene.queue_as(pipeline, "", build).await;
        self.scene.ended(&id).await
    }
}

#[tokio::test]
async fn what_a_stack_is_given_shows_on_its_instance() {
    let stage = Stage::start().await;
    let (plain, given) = (stage.instance("ci").await, stage.instance("given").await);
    let (plain, given) = (Described::read(&stage, &plain).await, Described::read(&stage, &given).await);
    disks_and_network(&stage, &plain, &given);
    permissions_of_jobs(&stage).await;
    secrets_under_their_key(&stage).await;
    // Gone for EC2 too.
    stage.scene.lab.stacks().delete("given").await.unwrap();
    let id = given.instance["InstanceId"].as_str().unwrap();
    assert_eq!(described(&stage, id).await["State"]["Name"], "terminated");
    stage.scene.lab.stop().await.unwrap();
}

/// An instance as EC2 describes it.
struct Described {
    instance: Value,
    volumes: Value,
    ingress: Value,
}

impl Described {
    async fn read(stage: &Stage, id: &str) -> Self {
        let instance = described(stage, id).await;
        let of = format!("Name=attachment.instance-id,Values={id}");
        let volumes = stage.aws(&["ec2", "describe-volumes", "--filters", &of]).await["Volumes"].clone();
        let group = instance["SecurityGroups"][0]["GroupId"].as_str().unwrap();
        let groups = stage.aws(&["ec2", "describe-security-groups", "--group-ids", group]).await;
        let ingress = groups["SecurityGroups"][0]["IpPermissions"].clone();
        Self { instance, volumes, ingress }
    }
}

async fn described(stage: &Stage, id: &str) -> Value {
    let instances = stage.aws(&["ec2", "describe-instances", "--instance-ids", id]).await;
    instances["Reservations"][0]["Instances"][0].clone()
}

/// `ImageId`, `RootVolumeSize`, `VpcId`, `Subnets`, `KeyName`.
fn disks_and_network(stage: &Stage, plain: &Described, given: &Described) {
    let made = |name: &str| json!(stage.made[name]);
    for (described, image, size) in [(plain, IMAGES[0], 100), (given, IMAGES[1], 44)] {
        assert_eq!(described.instance["ImageId"], image);
        let volumes = described.volumes.as_array().unwrap();
        assert_eq!(volumes.len(), 1, "{volumes:?}");
        let volume = &volumes[0];
        assert_eq!((&volume["Size"], &volume["VolumeType"]), (&json!(size), &json!("gp3")));
        assert_eq!(volume["Encrypted"], true, "{volume}");
        let disk = &described.instance["BlockDeviceMappings"][0]["Ebs"];
        assert_eq!((&disk["VolumeId"], &disk["DeleteOnTermination"]), (&volume["VolumeId"], &json!(true)));
        // Jobs fetch from the Internet, in a network of the stack's own as in a given one.
        assert!(described.instance["PublicIpAddress"].is_string(), "{}", described.instance);
        let metadata = &described.instance["MetadataOptions"];
        assert_eq!(
            (&metadata["HttpTokens"], &metadata["HttpPutResponseHopLimit"]),
            (&json!("required"), &json!(2))
        );
    }
    assert_eq!((&given.instance["VpcId"], &given.instance["SubnetId"]), (&made("$vpc"), &made("$subnet")));
    assert_ne!(plain.instance["VpcId"], made("$vpc"), "a network of its own");
    assert_eq!((&plain.instance["KeyName"], &given.instance["KeyName"]), (&Value::Null, &json!("operators")));
    assert_eq!(plain.ingress, json!([]), "no port is open");
    let ports = given.ingress.as_array().unwrap();
    assert_eq!(ports.len(), 1, "{ports:?}");
    assert_eq!((&ports[0]["FromPort"], &ports[0]["ToPort"]), (&json!(22), &json!(22)));
    let ranges = ports[0]["IpRanges"].as_array().unwrap().iter();
    let mut ranges: Vec<&str> = ranges.map(|range| range["CidrIp"].as_str().unwrap()).collect();
    ranges.sort_unstable();
    assert_eq!(ranges, ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"], "private addresses only");
}

/// `ManagedPolicyARNs` lets the jobs do more, `PermissionsBoundaryARN` less than that; and the image as jobs see it.
async fn permissions_of_jobs(stage: &Stage) {
    let aws = lab::moto::venv().unwrap().join("bin/aws");
    let script = format!(
        "export AWS_DEFAULT_REGION=us-east-1; for name in open closed; do echo \"$name: $('{}' ssm get-parameter --name /team/$name \
         --query Parameter.Value --output text 2>&1 | tail -n 1)\"; done; echo \"image: $BUILDKITE_AGENT_META_DATA_IMAGE\"",
        aws.display()
    );
    for (queue, image, open, closed) in [
        ("default", IMAGES[0], "AccessDenied", "because no identity-based policy allows"),
        ("given", IMAGES[1], "for-the-team", "because no permissions boundary allows"),
    ] {
        let (status, log) = stage.job(queue, "none", &script).await;
        assert_eq!(status, 0, "{log}");
        let line =
            |name: &str| log.lines().find(|line| line.starts_with(&format!("{name}: "))).unwrap_or_default();
        assert!(line("image").contains(image), "{queue}: {log}");
        assert!(line("open").contains(open), "{queue}: {log}");
        assert!(line("closed").contains("AccessDenied") && line("closed").contains(closed), "{queue}: {log}");
    }
}

/// `SecretsBucket`, `SecretsKmsKeyArn`, `SecretsRequireKey`: what lies under that key is a job's secret, and nothing else is.
async fn secrets_under_their_key(stage: &Stage) {
    let (status, log) = stage.job("given", "app", "[ \"$OF\" = app ] && echo it has its own").await;
    assert!(status == 0 && log.contains("it has its own"), "{log}");
    let repair = format!("--sse-kms-key-id {}", stage.made["$key"]);
    for (pipeline, ends, words) in
        [("other", 77, "not use its KMS key: allow kms:Decrypt"), ("of-s3", 78, &repair)]
    {
        let (status, log) = stage.job("given", pipeline, "echo it ran").await;
        assert_eq!(status, ends, "{pipeline}: {log}");
        assert!(log.contains(words) && !log.contains("it ran"), "{pipeline}: {log}");
    }
}

#[tokio::test]
async fn an_instance_of_the_buffer_takes_the_next_job_at_once() {
    let parameters = [("ScalerSettings", "instance-buffer: 1"), ("MaxSize", "3")];
    let scene = Scene::start(&parameters, vec![("LAMBDA_TIMEOUT".to_owned(), "1s".to_owned())]).await;
    let enough = scene.lab.folder().join("enough");
    let first = scene.queue("app", &format!("until [ -e '{}' ]; do sleep 0.1; done", enough.display())).await;
    assert_eq!(scene.tick().await.unwrap()["to"], 2, "one for the job, one more");
    let members = scene.in_service(2).await;
    let busy = scene.job_until(&first, &["running"]).await;
    // Nobody scales for it.
    let second = scene.queue("app", "true").await;
    let done = scene.job_until(&second, &["passed"]).await;
    assert_ne!(busy["agent_name"], done["agent_name"]);
    let group = scene.group();
    assert_eq!((group.desired, group.activities.len()), (2, 2), "{:?}", group.activities);
    for job in [&busy, &done] {
        let agent = job["agent_name"].as_str().unwrap();
        assert!(members.iter().any(|member| agent.contains(&member.id)), "{agent}: {members:?}");
    }
    std::fs::write(&enough, "").unwrap();
    assert_eq!(scene.ended(&first).await.0, 0);
    scene.lab.stop().await.unwrap();
}
