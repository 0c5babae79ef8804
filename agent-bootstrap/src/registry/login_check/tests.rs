use super::*;
use crate::registry::server::Server;
use wiremock::matchers::{basic_auth, header_exists, method, path, query_param};
use wiremock::{Mock, MockServer, ResponseTemplate};

fn login(server: &MockServer, password: &str) -> DockerLogin {
    DockerLogin {
        server: Server::parse(&server.uri()).unwrap(),
        plain: true,
        user: "robot".into(),
        password: password.into(),
    }
}

/// A registry that wants Basic and takes `robot`/`right`.
async fn basic_registry() -> MockServer {
    let server = MockServer::start().await;
    let right = Mock::given(method("GET")).and(path("/v2/")).and(basic_auth("robot", "right"));
    right.respond_with(ResponseTemplate::new(200)).with_priority(1).mount(&server).await;
    let challenge = ResponseTemplate::new(401).insert_header("WWW-Authenticate", r#"Basic realm="r""#);
    Mock::given(path("/v2/")).respond_with(challenge).mount(&server).await;
    server
}

#[tokio::test]
async fn basic_takes_the_right_and_refuses_the_wrong_password_in_one_line() {
    let server = basic_registry().await;
    check(&login(&server, "right")).await.unwrap();
    let failure = check(&login(&server, "wr0ng")).await.unwrap_err();
    assert_eq!(failure.code, 77);
    assert!(!failure.message.contains('\n') && !failure.message.contains("wr0ng"), "{failure}");
    assert!(failure.message.contains("DOCKER_LOGIN_PASSWORD"), "{failure}");
}

#[tokio::test]
async fn bearer_asks_the_token_server_with_service_and_account() {
    let server = MockServer::start().await;
    let challenge = format!(r#"Bearer realm="{}/token",service="my registry""#, server.uri());
    let ping = ResponseTemplate::new(401).insert_header("WWW-Authenticate", challenge);
    Mock::given(path("/v2/")).respond_with(ping).mount(&server).await;
    Mock::given(path("/token"))
        .and(basic_auth("robot", "right"))
        .and(query_param("service", "my registry"))
        .and(query_param("account", "robot"))
        .respond_with(ResponseTemplate::new(200).set_body_string(r#"{"token":"t"}"#))
        .with_priority(1)
        .expect(1)
        .mount(&server)
        .await;
    Mock::given(path("/token")).respond_with(ResponseTemplate::new(401)).mount(&server).await;
    check(&login(&server, "right")).await.unwrap();
    assert_eq!(check(&login(&server, "wrong")).await.unwrap_err().code, 77);
}

#[tokio::test]
async fn a_passing_fault_is_asked_again_and_a_refusal_is_not() {
    let server = MockServer::start().await;
    Mock::given(path("/v2/"))
        .respond_with(ResponseTemplate::new(503))
        .up_to_n_times(2)
        .with_priority(1)
        .mount(&server)
        .await;
    Mock::given(path("/v2/"))
        .and(header_exists("authorization"))
        .respond_with(ResponseTemplate::new(401))
        .expect(1)
        .with_priority(2)
        .mount(&server)
        .await;
    let challenge = ResponseTemplate::new(401).insert_header("WWW-Authenticate", "Basic");
    Mock::given(path("/v2/")).respond_with(challenge).mount(&server).await;
    assert_eq!(check(&login(&server, "x")).await.unwrap_err().code, 77);
    assert_eq!(server.received_requests().await.unwrap().len(), 4);
}

#[tokio::test]
async fn what_is_no_registry_or_is_not_there_is_told_apart() {
    let server = MockServer::start().await;
    assert_eq!(check(&login(&server, "x")).await.unwrap_err().code, 78, "404 everywhere");
    Mock::given(path("/v2/")).respond_with(ResponseTemplate::new(429)).mount(&server).await;
    assert_eq!(check(&login(&server, "x")).await.unwrap_err().code, 75);
    let gone = DockerLogin { server: Server::parse("127.0.0.1:1").unwrap(), ..login(&server, "x") };
    let failure = check(&gone).await.unwrap_err();
    assert_eq!(failure.code, 69, "{failure}");
}

#[test]
fn the_password_never_goes_in_the_clear_where_the_registry_is_encrypted() {
    let https = Url::parse("https://reg.example.com/v2/").unwrap();
    let http = Url::parse("http://127.0.0.1:5000/v2/").unwrap();
    for (realm, registry, allowed) in [
        ("https://auth.example.com/token", &https, true),
        ("http://auth.example.com/token", &https, false),
        ("http://127.0.0.1:5001/token", &http, true),
        ("file:///etc/passwd", &http, false),
        ("not a url", &https, false),
    ] {
        assert_eq!(token_url(realm, Some("s"), "u", registry).is_ok(), allowed, "{realm}");
    }
}

#[test]
fn docker_hub_is_asked_at_its_registry_and_loopback_without_tls() {
    for (name, url) in [
        ("https://index.docker.io/v1/", "https://registry-1.docker.io/v2/"),
        ("reg.example.com:8443", "https://reg.example.com:8443/v2/"),
        ("127.0.0.1:5000", "http://127.0.0.1:5000/v2/"),
        ("localhost:5000", "http://localhost:5000/v2/"),
    ] {
        let login = DockerLogin {
            server: Server::parse(name).unwrap(),
            plain: false,
            user: String::new(),
            password: "".into(),
        };
        assert_eq!(ping_url(&login), url);
    }
}
