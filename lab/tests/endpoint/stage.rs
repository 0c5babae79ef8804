//! A moto and an endpoint of a test's own, and clients of them.

use std::path::PathBuf;
use std::process::Stdio;

use lab::endpoint::Endpoint;
use lab::endpoint::credentials::Credentials;
use lab::moto::{Moto, venv};
use tempfile::TempDir;

pub const REGION: &str = "eu-west-1";

/// A running moto behind its endpoint.
pub struct Stage {
    pub endpoint: Endpoint,
    pub folder: TempDir,
    moto: Moto,
}

/// What a program printed.
pub struct Output {
    status: i32,
    stdout: String,
    stderr: String,
}

impl Output {
    /// Standard output of a program that ended well.
    #[track_caller]
    pub fn ok(&self) -> &str {
        assert_eq!(self.status, 0, "{}{}", self.stdout, self.stderr);
        &self.stdout
    }

    /// Standard error of a program that failed.
    #[track_caller]
    pub fn err(&self) -> &str {
        assert_ne!(self.status, 0, "it passed: {}", self.stdout);
        &self.stderr
    }
}

impl Stage {
    pub async fn up() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let moto = Moto::start(folder.path()).await.unwrap();
        let endpoint = Endpoint::start(moto.url()).await.unwrap();
        Self { endpoint, folder, moto }
    }

    pub async fn down(self) {
        self.moto.stop().await.unwrap();
    }

    /// Runs awscli as `who`.
    pub async fn aws(&self, who: &Credentials, args: &[&str]) -> Output {
        let mut args = args.to_vec();
        args.extend(["--output", "text"]);
        self.run("aws", who, &args).await
    }

    async fn run(&self, program: &str, who: &Credentials, args: &[&str]) -> Output {
        let program: PathBuf = venv().unwrap().join("bin").join(program);
        let output = tokio::process::Command::new(program)
            .args(args)
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("HOME", self.folder.path())
            .env("AWS_ENDPOINT_URL", self.endpoint.url())
            .env("AWS_DEFAULT_REGION", REGION)
            .env("AWS_MAX_ATTEMPTS", "1")
            .envs(who.environment())
            .stdin(Stdio::null())
            .output()
            .await
            .unwrap();
        Output {
            status: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// An IAM action as the lab's user; the endpoint knows callers by their key, so that no signature is needed.
    pub async fn iam(&self, params: &[(&str, &str)]) -> String {
        let scope = format!("{}/20260101/us-east-1/iam/aws4_request", self.endpoint.admin().access_key_id);
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let response = client
            .post(self.endpoint.url())
            .header(
                "authorization",
                format!("AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host, Signature=0"),
            )
            .form(&[params, &[("Version", "2010-05-08")]].concat())
            .send()
            .await
            .unwrap();
        let status = response.status();
        let text = response.text().await.unwrap();
        assert!(status.is_success(), "{text}");
        text
    }

    /// A session of the AWS SDK for Rust as `who`.
    pub async fn session(&self, who: &Credentials) -> aws::Session {
        aws::Session::at(
            self.endpoint.url(),
            REGION,
            &who.access_key_id,
            &who.secret_access_key,
            who.session_token.as_ref(),
        )
        .await
    }
}
