//! The endpoint over real sockets, and who does not speak HTTP.

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;
use crate::hint::desk::Ear;
use crate::hint::secret::{HintSecret, SecretSource};
use crate::hint::signature::sign;
use secrecy::SecretString;
use tokio::sync::Notify;

struct Served {
    address: SocketAddr,
    look: Arc<Notify>,
    secret: SecretString,
    _serving: tokio::task::JoinHandle<Infallible>,
}

async fn served() -> Served {
    let secret: SecretString = "webhook-secret".to_owned().into();
    let session = aws::Session::at("http://127.0.0.1:1", "us-east-1", "k", &secret, None).await;
    let hint_secret = HintSecret::new(SecretSource::Given(secret.clone()), &session);
    let look = Arc::new(Notify::new());
    let ear = Ear { queue: "linux".to_owned(), heard: Arc::default(), look: Arc::clone(&look) };
    let desk = Arc::new(Desk::new(hint_secret, vec![ear]));
    let endpoint = HintEndpoint::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let address = endpoint.address;
    let serving = tokio::spawn(endpoint.serve(desk));
    Served { address, look, secret, _serving: serving }
}

impl Served {
    /// The whole answer to these bytes; the other side ends the connection.
    async fn say(&self, bytes: &[u8]) -> String {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        // The other side may have had enough before all is sent.
        let _ = stream.write_all(bytes).await;
        let mut answer = Vec::new();
        let _ = tokio::time::timeout(PATIENCE * 2, stream.read_to_end(&mut answer)).await.expect("it ends");
        String::from_utf8(answer).unwrap()
    }

    async fn post(&self, body: &str, signature: &str) -> String {
        let head = format!(
            "POST /hints HTTP/1.1\r\nHost: x\r\nX-Buildkite-Signature: {signature}\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        self.say(format!("{head}{body}").as_bytes()).await
    }

    /// Was a look asked for since?
    async fn woken(&self) -> bool {
        tokio::time::timeout(Duration::ZERO, self.look.notified()).await.is_ok()
    }
}

#[tokio::test]
async fn a_genuine_hint_wakes_and_others_do_not() {
    let served = served().await;
    let job = r#"{"event":"job.scheduled","queue":"linux"}"#;
    let signature = |body: &str| sign(&served.secret, body.as_bytes(), Timestamp::now());
    let answer = served.post(job, &signature(job)).await;
    assert!(answer.starts_with("HTTP/1.1 202 ") && answer.ends_with("{\"hint\":\"taken\"}\n"), "{answer}");
    assert!(served.woken().await);
    for (body, signed, status) in [
        (job, "webhook-secret".to_owned(), 401),
        (job, signature("{}"), 401),
        ("{\"event\":\"ping\"}", signature("{\"event\":\"ping\"}"), 200),
        ("{}", signature("{}"), 400),
    ] {
        let answer = served.post(body, &signed).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
        assert!(!served.woken().await, "{answer}");
    }
    let refused = served.post(job, "").await;
    assert!(refused.ends_with("\r\n\r\n{\"message\":\"unauthorized\"}\n"), "no detail: {refused}");
}

#[tokio::test]
async fn who_speaks_something_else_is_refused_within_bounds() {
    let served = served().await;
    let large = format!("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n", LONGEST_BODY + 1);
    let chunks = format!(
        "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{}\r\n0\r\n\r\n",
        LONGEST_BODY + 1,
        "x".repeat(LONGEST_BODY + 1)
    );
    let head = format!("POST / HTTP/1.1\r\nHost: x\r\nX-Long: {}\r\n\r\n", "x".repeat(2 * HEAD));
    for (bytes, status) in [
        ("GET / HTTP/1.1\r\nHost: x\r\n\r\n", "405"),
        (&large, "413"),
        (&chunks, "413"),
        (&head, "431"),
        ("\x16\x03\x01 hello\r\n\r\n", "400"),
    ] {
        let answer = served.say(bytes.as_bytes()).await;
        let start: String = bytes.chars().take(60).collect();
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{start}: {answer}");
    }
    assert!(!served.woken().await);
}

#[tokio::test]
async fn a_storm_of_hints_and_idle_connections_leaves_one_look_and_a_living_endpoint() {
    let served = served().await;
    let idle: Vec<TcpStream> =
        futures::future::try_join_all((1..CONNECTIONS).map(|_| TcpStream::connect(served.address)))
            .await
            .unwrap();
    let job = r#"{"event":"job.scheduled","queue":"linux"}"#;
    let signature = sign(&served.secret, job.as_bytes(), Timestamp::now());
    for _ in 0..100 {
        assert!(served.post(job, &signature).await.starts_with("HTTP/1.1 202 "));
    }
    assert!(served.woken().await && !served.woken().await, "they coalesce");
    drop(idle);
}

#[tokio::test]
async fn an_address_that_is_taken_is_said() {
    let served = served().await;
    let problem = HintEndpoint::bind(served.address).await.unwrap_err();
    assert_eq!(problem.code, 78);
    assert!(problem.message.contains("give a free HINT_ADDRESS"), "{problem}");
}
