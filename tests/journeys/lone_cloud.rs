//! moto alone, with an image and a scaler's zip: what the stack verbs need, and nothing of the lab besides.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use lab::moto::Moto;
use serde_json::{Value, json};
use tempfile::TempDir;

/// The region of every verb that is not told another.
pub const REGION: &str = "us-east-1";

/// The SSM parameter in which instances' images are looked up.
const IMAGE: &str = "/tidemark/ami/debian13/amd64";

/// A cloud of one test.
pub struct LoneCloud {
    moto: Moto,
    folder: TempDir,
}

/// What a verb said and how it ended.
#[derive(Debug)]
pub struct Said {
    /// Did it end well?
    pub success: bool,
    /// For the machine.
    pub stdout: String,
    /// For people.
    pub stderr: String,
}

impl From<Output> for Said {
    fn from(output: Output) -> Self {
        Self {
            success: output.status.success(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

fn project() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

impl LoneCloud {
    /// Starts moto and records one of its images, in [`REGION`] only.
    pub async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let moto = Moto::start(folder.path()).await.unwrap();
        let cloud = Self { moto, folder };
        std::fs::write(cloud.path("scaler.zip"), b"PK\x05\x06\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0").unwrap();
        let images = cloud.aws(&["ec2", "describe-images", "--max-items", "1"]);
        let image = images["Images"][0]["ImageId"].as_str().unwrap();
        cloud.aws(&["ssm", "put-parameter", "--name", IMAGE, "--type", "String", "--value", image]);
        cloud
    }

    /// A path in the cloud's own folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes `config.json` in CloudFormation's form, with a token, a queue and these parameters.
    pub fn configure(&self, parameters: &[(&str, &str)]) {
        self.configure_tagged(parameters, &[]);
    }

    /// The same with tags of the stack.
    pub fn configure_tagged(&self, parameters: &[(&str, &str)], tags: &[(&str, &str)]) {
        let own = [("BuildkiteAgentToken", "agent-token-1"), ("BuildkiteQueue", "default")];
        // Of a name that stands there twice the last one counts.
        let rows: Vec<Value> = own
            .iter()
            .chain(parameters)
            .map(|(key, value)| json!({ "ParameterKey": key, "ParameterValue": value }))
            .chain(tags.iter().map(|(key, value)| json!({ "Key": key, "Value": value })))
            .collect();
        std::fs::write(self.path("config.json"), Value::from(rows).to_string()).unwrap();
    }

    fn environment(&self, command: &mut Command) {
        // A developer's own profile must not lead a test astray.
        for (name, _) in std::env::vars_os().filter(|(n, _)| n.to_string_lossy().starts_with("AWS_")) {
            command.env_remove(name);
        }
        command
            .current_dir(project())
            .env("AWS_ENDPOINT_URL", self.moto.url())
            .env("AWS_ACCESS_KEY_ID", "test")
            .env("AWS_SECRET_ACCESS_KEY", "test")
            .env("AWS_REGION", REGION)
            .env("AWS_DEFAULT_REGION", REGION)
            .env("STACK", "ci")
            .env("CONFIG", self.path("config.json"))
            .env("SCALER_ZIP", self.path("scaler.zip"));
    }

    /// Runs `make <verb>` as a user does, with more environment.
    pub fn make(&self, verb: &str, environment: &[(&str, &str)]) -> Said {
        let mut command = Command::new("make");
        self.environment(&mut command);
        // Not as a part of the `make test` that runs this test.
        command.env_remove("MAKEFLAGS").env_remove("MAKELEVEL").env_remove("MFLAGS");
        command.args(["-s", verb]).envs(environment.iter().copied());
        command.output().unwrap().into()
    }

    /// Asks the AWS CLI, which must succeed.
    pub fn aws(&self, arguments: &[&str]) -> Value {
        let mut command = Command::new(lab::moto::venv().unwrap().join("bin/aws"));
        self.environment(&mut command);
        let output = command.args(["--output", "json"]).args(arguments).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap_or(Value::Null)
    }

    /// What a stack really made (`picture.py`).
    pub fn picture(&self, stack: &str) -> Value {
        let mut command = Command::new(lab::moto::venv().unwrap().join("bin/python"));
        self.environment(&mut command);
        let said: Said = command.args(["tests/journeys/picture.py", stack]).output().unwrap().into();
        assert!(said.success, "{}", said.stderr);
        serde_json::from_str(&said.stdout).unwrap()
    }

    /// Ends moto.
    pub async fn stop(self) {
        self.moto.stop().await.unwrap();
    }
}
