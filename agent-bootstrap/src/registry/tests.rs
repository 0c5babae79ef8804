use super::*;
use std::fs;

fn lookup(pairs: &[(&str, &str)]) -> impl Fn(&str) -> Option<String> {
    let pairs: BTreeMap<String, String> = pairs.iter().map(|(n, v)| ((*n).into(), (*v).into())).collect();
    move |name| pairs.get(name).cloned()
}

async fn prepared(layout: &Layout, pairs: &[(&str, &str)]) -> Result<BTreeMap<String, String>, Failure> {
    prepare(layout, "job-1", &lookup(pairs)).await.map(|exports| exports.0.into_iter().collect())
}

#[tokio::test]
async fn a_job_gets_its_own_configuration_and_keeps_buildx_state_elsewhere() {
    let dir = tempfile::tempdir().unwrap();
    let layout = Layout::below(dir.path());
    let home = dir.path().join("home");
    fs::create_dir_all(home.join(".docker/cli-plugins")).unwrap();
    let exports = prepared(&layout, &[("HOME", home.to_str().unwrap()), ("PATH", "/bin")]).await.unwrap();
    let docker = layout.job("job-1").join("docker");
    assert_eq!(exports["DOCKER_CONFIG"], docker.to_str().unwrap());
    assert!(!Path::new(&exports["BUILDX_CONFIG"]).starts_with(layout.job("job-1")));
    assert_eq!(exports["PATH"], format!("{}/bin:/bin", docker.display()));
    let config = fs::read_to_string(docker.join("config.json")).unwrap();
    assert!(config.contains("home/.docker/cli-plugins"), "{config}");
    let other = prepare(&layout, "job-2", &lookup(&[])).await.unwrap();
    assert!(other.0.iter().all(|(_, value)| !value.contains("job-1")));
}

#[tokio::test]
async fn what_the_user_set_for_buildx_and_skopeo_stays() {
    let dir = tempfile::tempdir().unwrap();
    let set = [("BUILDX_CONFIG", "/b"), ("REGISTRY_AUTH_FILE", "/a")];
    let exports = prepared(&Layout::below(dir.path()), &set).await.unwrap();
    assert!(!exports.contains_key("BUILDX_CONFIG") && !exports.contains_key("REGISTRY_AUTH_FILE"));
}

#[tokio::test]
async fn malformed_settings_stop_the_job_in_one_line() {
    let dir = tempfile::tempdir().unwrap();
    let layout = Layout::below(dir.path());
    let failure = prepared(&layout, &[("AWS_ECR_LOGIN_REGISTRY_IDS", "garbage")]).await.unwrap_err();
    assert_eq!(failure.code, 78);
    assert!(failure.message.starts_with("AWS_ECR_LOGIN_REGISTRY_IDS") && !failure.message.contains('\n'));
    for id in ["", "..", "a/b", "a b"] {
        assert_eq!(prepare(&layout, id, &lookup(&[])).await.unwrap_err().code, 78, "{id}");
    }
}

#[tokio::test]
async fn the_instances_defaults_count_and_the_job_wins_over_them() {
    let dir = tempfile::tempdir().unwrap();
    let layout = Layout::below(dir.path());
    fs::create_dir_all(layout.hook_settings().parent().unwrap()).unwrap();
    fs::write(
        layout.hook_settings(),
        "AWS_ECR_LOGIN=false\nTIDEMARK_ECR_HOSTS=127.0.0.1:9=123456789012.us-east-1\n",
    )
    .unwrap();
    assert!(!ecr_settings(&layout, &lookup(&[])).unwrap().login);
    prepared(&layout, &[("AWS_ECR_LOGIN", "true")]).await.unwrap();
    let auth = fs::read_to_string(layout.job("job-1").join("docker/auth.json")).unwrap();
    assert!(auth.contains("127.0.0.1:9"), "{auth}");
}

#[test]
fn tokens_of_a_jobs_own_credentials_stay_with_the_job() {
    let layout = Layout::below("/r");
    let job = Path::new("/r/run/tidemark/jobs/1/docker");
    let folder = |pairs: &[(&str, &str)], job| format!("{:?}", tokens_of(&layout, job, &lookup(pairs)));
    assert!(folder(&[], Some(job)).contains("/r/run/tidemark/ecr"));
    assert!(folder(&[("AWS_ACCESS_KEY_ID", "AKIA")], Some(job)).contains("jobs/1/docker/ecr"));
    assert_eq!(folder(&[("AWS_PROFILE", "p")], None), "None");
}

#[tokio::test]
async fn without_a_docker_login_the_pre_command_hook_does_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let layout = Layout::below(dir.path());
    assert!(pre_command(&layout, "job-1", &lookup(&[])).await.unwrap().0.is_empty());
    let half = pre_command(&layout, "job-1", &lookup(&[("DOCKER_LOGIN_USER", "u")])).await.unwrap_err();
    assert_eq!(half.code, 78);
}

/// Answers every registry but those of one account.
struct Source;

impl TokenSource for Source {
    async fn fetch(&self, registry: &server::Ecr) -> Result<tokens::Token, aws::CallError> {
        if format!("{registry:?}").contains("999999999999") {
            return Err(aws::CallError {
                fault: aws::Fault::Denied,
                operation: "ecr:GetAuthorizationToken",
                resource: "r".into(),
                code: None,
                status: None,
                bucket_region: None,
                detail: "no".into(),
            });
        }
        let expires = Timestamp::now() + jiff::SignedDuration::from_hours(12);
        Ok(tokens::Token { password: "t".into(), expires })
    }
}

#[tokio::test]
async fn eager_fetches_every_known_registry_and_fails_with_the_first_refusal() {
    let dir = tempfile::tempdir().unwrap();
    let kept = Tokens::in_folder(dir.path());
    let own = server::Account::parse("123456789012");
    for (ids, expected) in [("210987654321", None), ("999999999999", Some(77))] {
        let settings = EcrSettings::read(&lookup(&[("AWS_ECR_LOGIN_REGISTRY_IDS", ids)])).unwrap();
        let known = settings.known(own.as_ref(), Some("eu-west-1"));
        let failure = fetch_all(&settings, &known, &kept, &Source).await.err();
        assert_eq!(failure.as_ref().map(|f| f.code), expected);
        assert!(failure.is_none_or(|f| f.message.contains("999999999999.dkr.ecr.eu-west-1")));
    }
    assert_eq!(kept.hosts(Timestamp::now()).len(), 2);
}
