//! `public.ecr.aws` through the credential helper, under the instance's role.

use crate::scene::Scene;

const ASKED: [&str; 2] = ["docker-credential", "get"];

#[tokio::test]
async fn a_stack_that_may_use_ecr_logs_in_to_the_public_registry_too() {
    let scene = ready("readonly").await;
    let said = scene.on_instance_with(&ASKED, "public.ecr.aws").await;
    assert!(said.success, "{}{}", said.stdout, said.stderr);
    let login: serde_json::Value = serde_json::from_str(&said.stdout).unwrap();
    assert_eq!((&login["Username"], &login["ServerURL"]), (&"AWS".into(), &"public.ecr.aws".into()));
    assert!(login["Secret"].as_str().unwrap().starts_with("lab-public-"), "{login}");
    assert_eq!(scene.calls("ecr-public:GetAuthorizationToken", "Instance"), 1);
    scene.lab.stop().await.unwrap();
}

#[tokio::test]
async fn a_stack_without_that_right_uses_it_without_a_login() {
    let scene = ready("none").await;
    let said = scene.on_instance_with(&ASKED, "public.ecr.aws").await;
    assert!(!said.success && said.stdout.contains("credentials not found"), "{}{}", said.stdout, said.stderr);
    scene.lab.stop().await.unwrap();
}

/// After a job the instance has booted for certain.
async fn ready(policy: &str) -> Scene {
    let parameters = [("MinSize", "1"), ("MaxSize", "1"), ("ECRAccessPolicy", policy)];
    let scene = Scene::start(&parameters, Vec::new()).await;
    let (status, log) = scene.run("app", "true").await;
    assert_eq!(status, 0, "{log}");
    scene
}
