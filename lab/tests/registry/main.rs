//! The registries with the real programs: docker-registry and skopeo.
#![allow(clippy::unwrap_used, reason = "helpers of tests are tests too")]

use lab::registry::{ECR_USER, EcrLikeRegistry, OciRegistry, image, moto_token};
use tokio::process::Command;

async fn skopeo(arguments: &[&str]) -> std::process::Output {
    Command::new("skopeo").args(arguments).env_remove("REGISTRY_AUTH_FILE").output().await.unwrap()
}

#[tokio::test]
async fn takes_its_user_and_refuses_others() {
    let dir = tempfile::tempdir().unwrap();
    let registry = OciRegistry::start(dir.path(), "robot", "pa ss:w$rd").await.unwrap();
    image::push(dir.path(), registry.addr, "team/app", "1", "robot", "pa ss:w$rd").await.unwrap();
    let refused =
        image::push(dir.path(), registry.addr, "team/app", "2", "robot", "wrong").await.unwrap_err();
    assert!(refused.to_string().contains("authentication required"), "{refused}");
    let image = format!("docker://{}/team/app:1", registry.addr);
    let answer = skopeo(&["inspect", "--tls-verify=false", "--creds", "robot:pa ss:w$rd", &image]).await;
    let said = String::from_utf8_lossy(&answer.stdout).into_owned();
    assert!(said.contains(r#""Os": "linux""#), "{said} {}", String::from_utf8_lossy(&answer.stderr));
    assert!(!skopeo(&["inspect", "--tls-verify=false", "--no-creds", &image]).await.status.success());
}

#[tokio::test]
async fn an_ecr_like_registry_takes_the_token_only() {
    let dir = tempfile::tempdir().unwrap();
    let token = moto_token("123456789012");
    let registry = EcrLikeRegistry::start(dir.path(), "123456789012", "eu-west-1", &token).await.unwrap();
    assert_eq!(registry.mapping(), format!("{}=123456789012.eu-west-1", registry.addr));
    image::push(dir.path(), registry.addr, "app", "1", ECR_USER, &token).await.unwrap();
    assert!(image::push(dir.path(), registry.addr, "app", "1", ECR_USER, "another").await.is_err());
    assert!(image::push(dir.path(), registry.addr, "app", "1", "robot", &token).await.is_err());
}

#[tokio::test]
async fn two_registries_run_side_by_side_and_end_when_stopped() {
    let dir = tempfile::tempdir().unwrap();
    let one = OciRegistry::start(&dir.path().join("1"), "a", "b").await.unwrap();
    let two = OciRegistry::start(&dir.path().join("2"), "a", "b").await.unwrap();
    assert_ne!(one.addr, two.addr);
    let addr = one.addr;
    one.child.stop().await.unwrap();
    assert!(tokio::net::TcpStream::connect(addr).await.is_err());
    assert!(tokio::net::TcpStream::connect(two.addr).await.is_ok());
}

#[test]
fn the_same_files_make_the_same_image() {
    let dir = tempfile::tempdir().unwrap();
    let layouts = ["a", "b"].map(|name| dir.path().join(name));
    for layout in &layouts {
        image::write_layout(layout, &[("f", b"content")]).unwrap();
    }
    let index = |layout: &std::path::Path| std::fs::read(layout.join("index.json")).unwrap();
    assert_eq!(index(&layouts[0]), index(&layouts[1]));
}
