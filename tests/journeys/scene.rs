//! A stack on a lab of its own, and its user, who uploads secrets, queues builds and waits for what they come to.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use lab::git::GitServers;
use lab::group::model::{Group, Member};
use lab::instances::kind::InstanceKind;
use lab::lab::{Lab, LabOptions};
use lab::stack::Stack;
use serde_json::{Value, json};
use tokio::process::Command;

use crate::lone_cloud::Said;

/// Longer than any step takes on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// Waits until something holds.
pub async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < PATIENCE, "never: {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// What the instances wrote, for whoever reads why a test failed.
struct Consoles(PathBuf);

impl Drop for Consoles {
    fn drop(&mut self) {
        let instances = std::fs::read_dir(&self.0).into_iter().flatten().flatten();
        for instance in instances.filter(|_| std::thread::panicking()) {
            for log in ["console.log", "var/log/tidemark/watch.log"].map(|log| instance.path().join(log)) {
                let text = std::fs::read(&log).unwrap_or_default();
                let text = String::from_utf8_lossy(&text).into_owned();
                let lines: Vec<&str> = text.lines().collect();
                let last = lines[lines.len().saturating_sub(80)..].join("\n");
                eprintln!("--- {}, its end:\n{last}", log.display());
            }
        }
    }
}

/// The lab, its stack and the CI.
pub struct Scene {
    /// First: the lab takes its folder along.
    _consoles: Consoles,
    pub lab: Lab,
    pub stack: Stack,
    http: reqwest::Client,
    repo: String,
    /// Container instances cannot see this machine's files: they clone over HTTP.
    _git: Option<GitServers>,
}

impl Scene {
    /// Deploys the real template. Nothing is scheduled by the clock: a tick of the scaler is [`Scene::tick`].
    pub async fn start(parameters: &[(&str, &str)], function_environment: Vec<(String, String)>) -> Self {
        Self::on(InstanceKind::Processes, parameters, function_environment).await
    }

    /// The same on instances of a kind.
    pub async fn on(
        instances: InstanceKind,
        parameters: &[(&str, &str)],
        function_environment: Vec<(String, String)>,
    ) -> Self {
        Self::of(LabOptions { instances, function_environment, ..LabOptions::default() }, parameters).await
    }

    /// The same in a lab of one's own wishes.
    pub async fn of(options: LabOptions, parameters: &[(&str, &str)]) -> Self {
        let options = LabOptions { hold_schedules: true, ..options };
        let mut lab = Lab::start(options).await.unwrap();
        let (repo, git) = repository(&lab).await;
        let stack = lab.deploy_stack("ci", parameters).await.unwrap();
        let consoles = Consoles(lab.folder().join("instances"));
        Self { _consoles: consoles, lab, stack, http: reqwest::Client::new(), repo, _git: git }
    }

    /// The group as it is now.
    pub fn group(&self) -> Group {
        self.lab.groups().group(self.stack.output("AutoScalingGroupName").unwrap()).unwrap()
    }

    /// Waits until the group is as `wanted`.
    pub async fn group_until(&self, wanted: impl Fn(&Group) -> bool) -> Group {
        let name = self.stack.output("AutoScalingGroupName").unwrap();
        self.lab.groups().until(name, PATIENCE, wanted).await.unwrap()
    }

    /// What an instance's watch wrote down.
    pub fn watch_log(&self, id: &str) -> String {
        let log = self.lab.instances().folder(id).join("var/log/tidemark/watch.log");
        std::fs::read_to_string(log).unwrap_or_default()
    }

    /// Waits until so many instances are in service.
    pub async fn in_service(&self, count: usize) -> Vec<Member> {
        self.group_until(|g| g.in_service() == count).await.members
    }

    /// One invocation of the scaler: its decision, or `None` where it failed.
    pub async fn tick(&self) -> Option<Value> {
        let before = self.lab.schedules().log_lines().len();
        let invocations = self.lab.schedules().invoke_now().await;
        let lines = self.lab.schedules().log_lines();
        let decision = lines[before..].iter().rev().find_map(|line| {
            serde_json::from_str::<Value>(line).ok().filter(|record| record.get("queue").is_some())
        });
        let decision = decision.unwrap_or_else(|| panic!("no decision in {:?}", &lines[before..]));
        assert_eq!(
            invocations[0].outcome.is_ok(),
            decision.get("step").is_some(),
            "{invocations:?} {decision}"
        );
        invocations[0].outcome.is_ok().then_some(decision)
    }

    /// One invocation of the scaler of a stack with several groups: the decision on each, by its group's name.
    pub async fn tick_of_all(&self) -> std::collections::BTreeMap<String, Value> {
        let before = self.lab.schedules().log_lines().len();
        let invocations = self.lab.schedules().invoke_now().await;
        assert!(invocations[0].outcome.is_ok(), "{invocations:?}");
        let lines = self.lab.schedules().log_lines();
        let records = lines[before..].iter().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        records.filter_map(|record| Some((record["group"].as_str()?.to_owned(), record))).collect()
    }

    /// How often an action was called by whoever has `caller` in the name.
    pub fn calls(&self, action: &str, caller: &str) -> u64 {
        let calls = self.lab.endpoint().calls().into_iter();
        calls.filter(|c| c.action == action && c.caller.contains(caller)).map(|c| c.count).sum()
    }

    /// Queues a job of a pipeline; its id.
    pub async fn queue(&self, pipeline: &str, command: &str) -> String {
        self.queue_as(pipeline, command, json!({})).await
    }

    /// The same with more fields of the build.
    pub async fn queue_as(&self, pipeline: &str, command: &str, more: Value) -> String {
        let mut build = json!({"pipeline": pipeline, "repo": self.repo, "jobs": [{"command": command}]});
        build.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let url = format!("{}/api/builds", self.server());
        let answer = self.http.post(url).bearer_auth(self.token()).json(&build).send().await.unwrap();
        let status = answer.status();
        let build: Value = answer.json().await.unwrap();
        assert!(status.is_success(), "{build}");
        build["jobs"][0]["id"].as_str().unwrap().to_owned()
    }

    /// Waits until a job is in one of these states.
    pub async fn job_until(&self, id: &str, states: &[&str]) -> Value {
        let begun = Instant::now();
        loop {
            let builds: Value = self.get("/api/builds?limit=100").await.json().await.unwrap();
            let jobs =
                builds["builds"].as_array().unwrap().iter().flat_map(|b| b["jobs"].as_array().unwrap());
            let job = jobs.into_iter().find(|job| job["id"] == id).unwrap();
            if states.iter().any(|state| job["state"] == **state) {
                return job.clone();
            }
            assert!(begun.elapsed() < PATIENCE, "not {states:?}: {job}\n{}", self.log(id).await);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Runs a job to its end: exit status and log.
    pub async fn run(&self, pipeline: &str, command: &str) -> (i64, String) {
        let id = self.queue(pipeline, command).await;
        self.ended(&id).await
    }

    /// Waits for the end of a job: exit status and log.
    pub async fn ended(&self, id: &str) -> (i64, String) {
        let job = self.job_until(id, &["passed", "failed", "canceled", "timed_out"]).await;
        (job["exit_status"].as_i64().unwrap_or(-1), self.log(id).await)
    }

    /// A job's log.
    pub async fn log(&self, id: &str) -> String {
        self.get(&format!("/api/jobs/{id}/log")).await.text().await.unwrap()
    }

    /// Waits until a job's log has this text.
    pub async fn log_until(&self, id: &str, text: &str) {
        let begun = Instant::now();
        loop {
            let log = self.log(id).await;
            if log.contains(text) {
                return;
            }
            assert!(begun.elapsed() < PATIENCE, "no {text:?} in the log: {log}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// The AWS CLI as the lab's user.
    pub async fn aws(&self, arguments: &[&str]) -> Said {
        let mut command = Command::new(lab::moto::venv().unwrap().join("bin/aws"));
        command.args(["--output", "json"]).args(arguments).envs(self.lab.admin_environment());
        command.output().await.unwrap().into()
    }

    /// `agent-bootstrap` as somebody on the group's first instance runs it: under its root and its role.
    pub async fn on_instance(&self, arguments: &[&str]) -> Said {
        self.on_instance_with(arguments, "").await
    }

    /// The same with something to read on stdin.
    pub async fn on_instance_with(&self, arguments: &[&str], stdin: &str) -> Said {
        let input = self.lab.folder().join("stdin");
        std::fs::write(&input, stdin).unwrap();
        let id = &self.group().members[0].id;
        let mut command = Command::new(self.lab.programs().join("agent-bootstrap"));
        command
            .args(arguments)
            .stdin(std::fs::File::open(&input).unwrap())
            .env_clear()
            .env("PATH", "/usr/bin:/bin");
        command.env("TIDEMARK_ROOT", self.lab.instances().folder(id));
        command.env("AWS_ENDPOINT_URL", self.lab.endpoint().url()).env("AWS_REGION", lab::lab::REGION);
        command
            .env("AWS_EC2_METADATA_SERVICE_ENDPOINT", self.lab.instances().metadata_url(id).unwrap())
            .output()
            .await
            .unwrap()
            .into()
    }

    /// Uploads an object of the secrets bucket as the README does: the key `aws/s3`.
    pub async fn upload(&self, key: &str, content: &str) {
        self.upload_with(key, content, &[]).await;
    }

    /// The same under the stack's own key.
    pub async fn upload_under_own_key(&self, key: &str, content: &str) {
        let own = self.stack.output("SecretsKeyArn").unwrap();
        self.upload_with(key, content, &["--sse-kms-key-id", own]).await;
    }

    async fn upload_with(&self, key: &str, content: &str, more: &[&str]) {
        let file = self.lab.folder().join("upload");
        std::fs::write(&file, content).unwrap();
        let target = format!("s3://{}/{key}", self.stack.output("SecretsBucket").unwrap());
        let form = ["s3", "cp", "--sse", "aws:kms"];
        let said = self.aws(&[&form[..], more, &[file.to_str().unwrap(), &target]].concat()).await;
        std::fs::remove_file(&file).unwrap();
        assert!(said.success, "{}", said.stderr);
    }

    /// From now on the stack's own key decrypts for nobody. The policy that it had.
    pub async fn deny_decrypt(&self) -> String {
        let key = self.stack.output("SecretsKeyArn").unwrap();
        let said = self.aws(&["kms", "get-key-policy", "--key-id", key, "--policy-name", "default"]).await;
        let original: Value = serde_json::from_str(&said.stdout).unwrap();
        let statement = |effect: &str, action: &str| json!({"Effect": effect, "Principal": {"AWS": "*"}, "Action": action, "Resource": "*"});
        let statements = [statement("Allow", "kms:*"), statement("Deny", "kms:Decrypt")];
        self.put_key_policy(&json!({"Version": "2012-10-17", "Statement": statements}).to_string()).await;
        original["Policy"].as_str().unwrap().to_owned()
    }

    /// Gives the stack's own key a policy.
    pub async fn put_key_policy(&self, policy: &str) {
        let key = self.stack.output("SecretsKeyArn").unwrap();
        let put = ["kms", "put-key-policy", "--key-id", key, "--policy-name", "default", "--policy", policy];
        let said = self.aws(&put).await;
        assert!(said.success, "{}", said.stderr);
    }

    /// The agents' registration token.
    pub async fn agent_token(&self) -> String {
        let secret = self.stack.output("AgentTokenSecret").unwrap();
        let said = self.aws(&["secretsmanager", "get-secret-value", "--secret-id", secret]).await;
        let answer: Value = serde_json::from_str(&said.stdout).unwrap();
        answer["SecretString"].as_str().unwrap().to_owned()
    }

    async fn get(&self, path: &str) -> reqwest::Response {
        let request = self.http.get(format!("{}{path}", self.server())).bearer_auth(self.token());
        request.send().await.unwrap().error_for_status().unwrap()
    }

    fn server(&self) -> &str {
        self.lab.build_server().unwrap().url()
    }

    fn token(&self) -> String {
        let file = self.lab.build_server().unwrap().api_token_file();
        std::fs::read_to_string(file).unwrap().trim().to_owned()
    }
}

/// A repository with one commit: its URL, and who serves it where a path is no way to it.
async fn repository(lab: &Lab) -> (String, Option<GitServers>) {
    if lab.instances().containers().is_none() {
        let folder = lab.folder().join("repo");
        local_repository(&folder).await;
        return (folder.display().to_string(), None);
    }
    let git = GitServers::start(&lab.folder().join("git")).await.unwrap();
    git.create_repo("app", &[]).unwrap();
    git.set_password("ci", "pass");
    for server in git.addresses() {
        lab.let_reach(server);
    }
    let url = git.http_url("app").unwrap().replacen("://", "://ci:pass@", 1);
    (url, Some(git))
}

/// To be cloned by its path.
async fn local_repository(folder: &Path) {
    let git = "git init -q -b main . && git -c user.name=Lab -c user.email=lab@example.com commit -q --allow-empty -m Lab";
    std::fs::create_dir_all(folder).unwrap();
    let output = Command::new("sh").args(["-c", git]).current_dir(folder).output().await.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
