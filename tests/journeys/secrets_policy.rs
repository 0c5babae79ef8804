//! The table of uploads in docs/stack.md: what the template's bucket policy does with each form, and what a job's
//! hook, under the instance's role, then does with the object.

use serde_json::Value;
use tokio::process::Command;

use crate::lone_cloud::Said;
use crate::scene::Scene;

/// Stands for a key's ARN in the rows below.
const OWN: &str = "THE-STACK'S";
const OTHER: &str = "ANOTHER";
const AWS_S3: &str = "THE-KEY-AWS/S3";

/// Name, arguments of `aws s3 cp`, and whether they pass with `SecretsRequireKey` false and true.
type Row = (&'static str, &'static [&'static str], bool, bool);

/// The forms of docs/stack.md.
const UPLOADS: [Row; 8] = [
    ("bare", &[], true, true),
    ("own-key", &["--sse", "aws:kms", "--sse-kms-key-id", OWN], true, true),
    ("own-key-acl", &["--acl", "private", "--sse", "aws:kms", "--sse-kms-key-id", OWN], true, true),
    ("kms", &["--sse", "aws:kms"], true, false),
    ("old-line", &["--acl", "private", "--sse", "aws:kms"], true, false),
    ("other-key", &["--sse", "aws:kms", "--sse-kms-key-id", OTHER], false, false),
    ("sse", &["--sse"], false, false),
    ("aes", &["--sse", "AES256"], false, false),
];

/// Name, arguments, and the hook's exit status with `SecretsRequireKey` false and true. The role cannot even read what
/// lies under another key (77); anything else wrong is seen when it is read (78).
type Earlier = (&'static str, &'static [&'static str], i32, i32);

/// Objects from before the policy.
const EARLIER: [Earlier; 3] = [
    ("earlier-aes", &["--sse", "AES256"], 78, 78),
    ("earlier-other-key", &["--sse", "aws:kms", "--sse-kms-key-id", OTHER], 77, 77),
    ("earlier-kms", &["--sse", "aws:kms", "--sse-kms-key-id", AWS_S3], 0, 78),
];

#[tokio::test]
async fn uploads_under_the_stacks_key_or_the_key_of_s3() {
    let scene = scene("false").await;
    uploads(&scene, |(.., passes, _)| *passes).await;
    earlier(&scene, |(.., status, _)| *status).await;
    scene.lab.stop().await.unwrap();
}

#[tokio::test]
async fn uploads_under_the_stacks_key_only() {
    let scene = scene("true").await;
    uploads(&scene, |(.., passes)| *passes).await;
    earlier(&scene, |(.., status)| *status).await;
    scene.lab.stop().await.unwrap();
}

async fn scene(require_key: &str) -> Scene {
    let parameters = [("MinSize", "1"), ("MaxSize", "1"), ("SecretsRequireKey", require_key)];
    let scene = Scene::start(&parameters, Vec::new()).await;
    scene.in_service(1).await;
    scene
}

async fn uploads(scene: &Scene, passes: impl Fn(&Row) -> bool) {
    let keys = Keys::of(scene).await;
    for row in &UPLOADS {
        let (name, arguments, ..) = row;
        let said = upload(scene, name, &keys.named(arguments), &[]).await;
        assert_eq!(said.success, passes(row), "{name}: {}", said.stderr);
        if said.success {
            taken(scene, name).await;
        } else {
            assert!(said.stderr.contains("AccessDenied"), "{name}: {}", said.stderr);
        }
    }
    assert_eq!(plain_http(scene).await, 403);
}

async fn earlier(scene: &Scene, expected: impl Fn(&Earlier) -> i32) {
    let keys = Keys::of(scene).await;
    let past_the_policy = ["--endpoint-url", scene.lab.moto_url()];
    for row in &EARLIER {
        let (name, arguments, ..) = row;
        let said = upload(scene, name, &keys.named(arguments), &past_the_policy).await;
        assert!(said.success, "{name}: {}", said.stderr);
        match expected(row) {
            0 => taken(scene, name).await,
            status => refused_and_repaired(scene, name, status).await,
        }
    }
}

/// ARNs for the words in the rows.
struct Keys([(&'static str, String); 3]);

impl Keys {
    async fn of(scene: &Scene) -> Self {
        let arn = async |verb: &[&str]| {
            let said = scene.aws(&[&["kms"], verb].concat()).await;
            let key: Value = serde_json::from_str(&said.stdout).unwrap_or_else(|_| panic!("{}", said.stderr));
            key["KeyMetadata"]["Arn"].as_str().unwrap().to_owned()
        };
        let own = scene.stack.output("SecretsKeyArn").unwrap().to_owned();
        let s3 = arn(&["describe-key", "--key-id", "alias/aws/s3"]).await;
        Self([(OWN, own), (OTHER, arn(&["create-key"]).await), (AWS_S3, s3)])
    }

    fn named(&self, arguments: &[&str]) -> Vec<String> {
        let named = |word: &&str| self.0.iter().find(|(name, _)| name == word).map(|(_, arn)| arn.clone());
        arguments.iter().map(|word| named(word).unwrap_or_else(|| (*word).to_owned())).collect()
    }
}

fn bucket(scene: &Scene) -> &str {
    scene.stack.output("SecretsBucket").unwrap()
}

async fn upload(scene: &Scene, pipeline: &str, form: &[String], more: &[&str]) -> Said {
    let file = scene.lab.folder().join("upload");
    std::fs::write(&file, format!("FORM='{pipeline}'\n")).unwrap();
    let target = format!("s3://{}/{pipeline}/env", bucket(scene));
    // First the files: `--sse` alone would take the next word for its value.
    let mut arguments = vec!["s3", "cp", file.to_str().unwrap(), &target];
    arguments.extend(more.iter().copied().chain(form.iter().map(String::as_str)));
    scene.aws(&arguments).await
}

/// What the hook of a job of this pipeline does: its folder is empty but for the settings that boot wrote, its
/// credentials are the instance's own.
async fn hook(scene: &Scene, pipeline: &str) -> (Option<i32>, String, String) {
    let root = scene.lab.folder().join("hook");
    let id = &scene.group().members[0].id;
    std::fs::create_dir_all(root.join("etc/tidemark")).unwrap();
    let settings = "etc/tidemark/hooks.env";
    std::fs::copy(scene.lab.instances().folder(id).join(settings), root.join(settings)).unwrap();
    let mut hook = Command::new(scene.lab.programs().join("agent-bootstrap"));
    hook.args(["hook", "environment"]).env_clear().env("PATH", "/usr/bin:/bin").env("TIDEMARK_ROOT", &root);
    hook.env("AWS_ENDPOINT_URL", scene.lab.endpoint().url()).env("AWS_REGION", lab::lab::REGION);
    hook.env("AWS_EC2_METADATA_SERVICE_ENDPOINT", scene.lab.instances().metadata_url(id).unwrap());
    hook.env("BUILDKITE_JOB_ID", "one-job").env("BUILDKITE_PIPELINE_SLUG", pipeline);
    let output = hook.output().await.unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

async fn taken(scene: &Scene, name: &str) {
    let (status, exports, told) = hook(scene, name).await;
    assert_eq!(status, Some(0), "{name}: {told}");
    assert!(exports.contains("export FORM="), "{name}: {exports}");
}

/// The job stops, and the line that its log shows makes the object good.
async fn refused_and_repaired(scene: &Scene, name: &str, expected: i32) {
    let (status, exports, told) = hook(scene, name).await;
    assert_eq!((status, exports.as_str()), (Some(expected), ""), "{name}: {told}");
    let repair = told.lines().find_map(|line| line.find("aws s3 cp ").map(|at| &line[at..])).expect(&told);
    let path = format!("{}:/usr/bin:/bin", lab::moto::venv().unwrap().join("bin").display());
    let mut shell = Command::new("sh");
    shell.args(["-c", repair]).envs(scene.lab.admin_environment()).env("PATH", path);
    let said: Said = shell.output().await.unwrap().into();
    assert!(said.success, "{name}: {repair}: {}", said.stderr);
    taken(scene, name).await;
}

/// The status of an upload that did not come over TLS.
async fn plain_http(scene: &Scene) -> u16 {
    let key = &scene.lab.endpoint().admin().access_key_id;
    let scope = format!("{key}/20260101/us-east-1/s3/aws4_request");
    let url = format!("{}/{}/plain/env", scene.lab.endpoint().url(), bucket(scene));
    let signed = format!("AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host, Signature=0");
    let put = reqwest::Client::new().put(url).header("authorization", signed).body("FORM=plain\n");
    let over_tls = put.try_clone().unwrap().send().await.unwrap();
    assert!(over_tls.status().is_success(), "only the missing TLS may be what is refused: {over_tls:?}");
    put.header("x-lab-plain-http", "1").send().await.unwrap().status().as_u16()
}
