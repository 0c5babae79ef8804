//! Registries with the real programs: docker-registry, skopeo, and this program as the credential helper.

mod stage;

use std::collections::BTreeMap;

use agent_bootstrap::registry;
use stage::{Cloud, Registry, Stage, TOKEN};

#[tokio::test(flavor = "multi_thread")]
async fn skopeo_uses_an_ecr_image_and_the_instance_asks_for_one_token() {
    let cloud = Cloud::start().await;
    let ecr = Registry::start("AWS", TOKEN).await;
    let stage = Stage::new(&cloud, &[&ecr]);
    for job in ["job-1", "job-2"] {
        let variables = stage.job(job, &[]).await;
        let pushed = stage.push(&variables, &ecr, job).await;
        assert!(pushed.status.success(), "{}", String::from_utf8_lossy(&pushed.stderr));
    }
    assert_eq!(cloud.token_calls(), 1, "both jobs share the instance's token");
    // Without the job's variables the same push is refused: it was the helper that made it work.
    let bare = BTreeMap::from([("PATH".to_owned(), std::env::var("PATH").unwrap())]);
    assert!(!stage.push(&bare, &ecr, "bare").await.status.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn switched_off_nothing_is_answered_and_nothing_asked() {
    let cloud = Cloud::start().await;
    let ecr = Registry::start("AWS", TOKEN).await;
    let stage = Stage::new(&cloud, &[&ecr]);
    let off = stage.job("off", &[("AWS_ECR_LOGIN", "false")]).await;
    let answer = stage.helper(&off, "get", ecr.host()).await;
    assert_eq!(answer, (1, "credentials not found in native keychain\n".to_owned()));
    assert_eq!(cloud.token_calls(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_docker_login_is_checked_and_then_serves_every_client() {
    let cloud = Cloud::start().await;
    let private = Registry::start("robot", "pa ss:w$`rd").await;
    let stage = Stage::new(&cloud, &[]);
    let login = |password: &'static str| {
        let server = private.host().to_owned();
        move |name: &str| match name {
            "DOCKER_LOGIN_USER" => Some("robot".to_owned()),
            "DOCKER_LOGIN_PASSWORD" => Some(password.to_owned()),
            "DOCKER_LOGIN_SERVER" => Some(server.clone()),
            _ => None,
        }
    };
    let variables = stage.job("job-1", &[]).await;
    let wrong = registry::pre_command(&stage.layout, "job-1", &login("wrong")).await.unwrap_err();
    assert_eq!(wrong.code, 77, "{wrong}");
    assert!(
        !stage.push(&variables, &private, "1").await.status.success(),
        "nothing is kept of a refused login"
    );
    registry::pre_command(&stage.layout, "job-1", &login("pa ss:w$`rd")).await.unwrap();
    let pushed = stage.push(&variables, &private, "1").await;
    assert!(pushed.status.success(), "{}", String::from_utf8_lossy(&pushed.stderr));
    // The next job on this instance knows nothing of it.
    let next = stage.job("job-2", &[]).await;
    assert_eq!(stage.helper(&next, "get", private.host()).await.0, 1);
    assert_eq!(cloud.token_calls(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stripped_environment_finds_the_job_and_without_a_job_the_instance() {
    let cloud = Cloud::start().await;
    let ecr = Registry::start("AWS", TOKEN).await;
    let stage = Stage::new(&cloud, &[&ecr]);
    let variables = stage.job("job-1", &[]).await;
    let stored = r#"{"ServerURL":"reg.example.com","Username":"me","Secret":"s3cret"}"#;
    assert_eq!(stage.helper(&variables, "store", stored).await, (0, "\n".to_owned()));
    // As `sudo` does: the helper starts with nothing, below a process that has the job's environment.
    let (code, answer) = stage.stripped(&variables, "reg.example.com").await;
    assert!(code == 0 && answer.contains(r#""Username":"me","Secret":"s3cret""#), "{code} {answer}");
    let (code, answer) = stage.stripped(&variables, ecr.host()).await;
    assert!(code == 0 && answer.contains(TOKEN), "{code} {answer}");
    // No job anywhere above: the instance's ECR, and nobody's logins.
    let instance = stage.instance_variables();
    let (code, answer) = stage.helper(&instance, "get", ecr.host()).await;
    assert!(code == 0 && answer.contains(TOKEN), "{code} {answer}");
    assert_eq!(stage.helper(&instance, "get", "reg.example.com").await.0, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_token_is_told_on_both_streams_without_an_answer() {
    let cloud = Cloud::start().await;
    let ecr = Registry::start("AWS", TOKEN).await;
    let stage = Stage::new(&cloud, &[&ecr]);
    let variables = stage.job("job-1", &[]).await;
    cloud.refuse();
    let (code, answer) = stage.helper(&variables, "get", ecr.host()).await;
    assert_eq!(code, 77, "{answer}");
    assert!(answer.contains("ecr:GetAuthorizationToken") && answer.contains("ECRAccessPolicy"), "{answer}");
}
