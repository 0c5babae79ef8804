use super::*;
use crate::hint::secret::SecretSource;
use crate::hint::signature::sign;
use secrecy::SecretString;

fn ears(queues: &[&str]) -> Vec<Ear> {
    let ear = |queue: &&str| Ear { queue: (*queue).to_owned(), heard: Arc::default(), look: Arc::default() };
    queues.iter().map(ear).collect()
}

async fn desk() -> (Desk, SecretString) {
    let secret: SecretString = "webhook-secret".to_owned().into();
    let session = aws::Session::at("http://127.0.0.1:1", "us-east-1", "k", &secret, None).await;
    let source = SecretSource::Given(secret.clone());
    (Desk::new(HintSecret::new(source, &session), ears(&["linux"])), secret)
}

#[tokio::test]
async fn each_hint_has_its_answer() {
    let (desk, secret) = desk().await;
    let now = Timestamp::from_second(1_700_000_000).unwrap();
    let build = r#"{"event":"build.scheduled","build":{"id":"1"},"pipeline":{"slug":"app"},"jobs":7}"#;
    let large = format!(r#"{{"event":"job.scheduled","x":"{}"}}"#, "x".repeat(LONGEST_BODY));
    let cases = [
        (build, Taken::Look { announced: 7 }, 202),
        (build, Taken::Look { announced: 0 }, 202),
        (r#"{"event":"job.scheduled","queue":"linux"}"#, Taken::Look { announced: 0 }, 202),
        (r#"{"event":"job.scheduled","queue":"windows"}"#, Taken::Nothing, 200),
        (r#"{"event":"build.finished","build":{"id":"1"}}"#, Taken::Nothing, 200),
        (r#"{"event":"ping"}"#, Taken::Nothing, 200),
        ("{}", Taken::Unreadable, 400),
        (large.as_str(), Taken::TooLarge, 413),
    ];
    for (body, expected, status) in cases {
        let header = sign(&secret, body.as_bytes(), now);
        let taken = desk.take(Some(&header), body.as_bytes(), now).await;
        let start: String = body.chars().take(80).collect();
        assert_eq!((taken, taken.answer().0), (expected, status), "{start}");
        if expected != Taken::TooLarge {
            assert_eq!(desk.take(None, body.as_bytes(), now).await, Taken::Refused, "{start}");
        }
    }
}

#[tokio::test]
async fn a_refused_hint_announces_nothing() {
    let (desk, secret) = desk().await;
    let now = Timestamp::from_second(1_700_000_000).unwrap();
    let body = br#"{"event":"build.scheduled","build":{"id":"1"},"jobs":7}"#;
    let header = sign(&"other".to_owned().into(), body, now);
    assert_eq!(desk.take(Some(&header), body, now).await, Taken::Refused);
    let genuine = sign(&secret, body, now);
    assert_eq!(desk.take(Some(&genuine), body, now).await, Taken::Look { announced: 7 }, "not heard before");
}

#[tokio::test]
async fn a_secret_that_cannot_be_read_is_no_refusal() {
    let key: SecretString = "k".to_owned().into();
    let session = aws::Session::at("http://127.0.0.1:1", "us-east-1", "k", &key, None).await;
    let source = SecretSource::Stored(aws::StoredToken::SecretsManager("hints".into()));
    let desk = Desk::new(HintSecret::new(source, &session), ears(&["linux"]));
    let now = Timestamp::UNIX_EPOCH;
    let signed = sign(&"any".to_owned().into(), b"{}", now);
    let taken = desk.take(Some(&signed), b"{}", now).await;
    assert_eq!((taken, taken.answer().0), (Taken::Unavailable, 503));
    assert_eq!(desk.take(Some("any"), b"{}", now).await, Taken::Refused, "for that nobody reads a secret");
}

#[tokio::test]
async fn each_queue_hears_of_its_own() {
    let secret: SecretString = "webhook-secret".to_owned().into();
    let session = aws::Session::at("http://127.0.0.1:1", "us-east-1", "k", &secret, None).await;
    let ears = ears(&["linux", "mac"]);
    let desk = Desk::new(HintSecret::new(SecretSource::Given(secret.clone()), &session), ears.clone());
    let now = Timestamp::from_second(1_700_000_000).unwrap();
    for (body, taken, news) in [
        (r#"{"event":"job.scheduled","queue":"mac"}"#, Taken::Look { announced: 0 }, [false, true]),
        (r#"{"event":"job.scheduled","queue":"windows"}"#, Taken::Nothing, [false, false]),
        (
            r#"{"event":"build.scheduled","build":{"id":"1"},"jobs":3}"#,
            Taken::Look { announced: 6 },
            [true, true],
        ),
    ] {
        let header = sign(&secret, body.as_bytes(), now);
        assert_eq!(desk.take(Some(&header), body.as_bytes(), now).await, taken, "{body}");
        assert_eq!([ears[0].heard.is_news(), ears[1].heard.is_news()], news, "{body}");
    }
}
