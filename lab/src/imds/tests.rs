//! The contract: `aws::Imds` and the SDK's credential provider read this server as they read EC2's.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::*;
use crate::endpoint::faults::{Fault, Faults};

#[derive(Default)]
struct Sessions(Faults);

impl RoleSessions for Sessions {
    fn issue(&self, role: &str, session: &str) -> Credentials {
        Credentials {
            access_key_id: format!("ASIA-{role}-{session}"),
            secret_access_key: "s".to_owned().into(),
            session_token: Some("t".to_owned().into()),
            expires: Some(Timestamp::now() + jiff::SignedDuration::from_hours(1)),
        }
    }

    fn fault(&self, action: &str, instance: &str, path: &str) -> Option<Effect> {
        self.0.take(action, instance, Some(path))
    }
}

fn facts() -> Facts {
    Facts {
        instance_id: "i-1".into(),
        account: "123456789012".into(),
        region: "us-east-1".into(),
        zone: "us-east-1b".into(),
        instance_type: "c7a.large".into(),
        image: "ami-1".into(),
        address: Ipv4Addr::new(127, 1, 9, 9),
        tags: BTreeMap::from([
            ("aws:autoscaling:groupName".into(), "g".into()),
            ("Name".into(), "ci".into()),
        ]),
        user_data: b"Content-Type: text/x\n\n\xff".to_vec(),
        role: Some("ci-role".into()),
        launched: Timestamp::UNIX_EPOCH,
        spot: false,
    }
}

async fn started() -> (Imds, reqwest::Client) {
    let _already_installed = rustls::crypto::ring::default_provider().install_default();
    (Imds::start(facts(), Arc::new(Sessions::default())).await.unwrap(), reqwest::Client::new())
}

async fn token(imds: &Imds, client: &reqwest::Client) -> String {
    let request = client.put(format!("{}/latest/api/token", imds.url())).header(SECONDS, "60");
    request.send().await.unwrap().text().await.unwrap()
}

const SECONDS: &str = "x-aws-ec2-metadata-token-ttl-seconds";

#[tokio::test]
async fn every_path_has_its_text_and_notices_are_absent_until_set() {
    let (imds, client) = started().await;
    assert!(imds.url().starts_with("http://127.1.9.9:"));
    let token = token(&imds, &client).await;
    let get = async |path: &str| {
        let request =
            client.get(format!("{}/latest/{path}", imds.url())).header("x-aws-ec2-metadata-token", &token);
        let answer = request.send().await.unwrap();
        (answer.status().as_u16(), answer.bytes().await.unwrap().to_vec())
    };
    let texts = [
        ("meta-data/instance-id", "i-1"),
        ("meta-data/placement/availability-zone", "us-east-1b"),
        ("meta-data/placement/region", "us-east-1"),
        ("meta-data/instance-type", "c7a.large"),
        ("meta-data/local-ipv4", "127.1.9.9"),
        ("meta-data/ami-id", "ami-1"),
        ("meta-data/tags/instance/", "Name\naws:autoscaling:groupName"),
        ("meta-data/tags/instance/aws:autoscaling:groupName", "g"),
        ("meta-data/iam/security-credentials/", "ci-role"),
    ];
    for (path, text) in texts {
        assert_eq!(get(path).await, (200, text.as_bytes().to_vec()), "{path}");
    }
    assert_eq!(get("user-data").await.1, facts().user_data, "byte for byte");
    let notices = [
        "meta-data/spot/instance-action",
        "meta-data/events/recommendations/rebalance",
        "meta-data/events/maintenance/scheduled",
        "meta-data/autoscaling/target-lifecycle-state",
        "meta-data/iam/security-credentials/other-role",
        "meta-data/no/such",
    ];
    for path in notices {
        assert_eq!(get(path).await.0, 404, "{path}");
    }
    imds.notify(|n| {
        n.spot = Some(SpotNotice { action: "terminate".into(), time: Timestamp::UNIX_EPOCH });
        n.rebalance = Some(Timestamp::UNIX_EPOCH);
        n.target_state = Some("Terminated");
    });
    let (_, spot) = get(notices[0]).await;
    assert_eq!(spot, br#"{"action":"terminate","time":"1970-01-01T00:00:00Z"}"#);
    assert_eq!(get(notices[1]).await.1, br#"{"noticeTime":"1970-01-01T00:00:00Z"}"#);
    assert_eq!(get(notices[3]).await.1, b"Terminated");
    let launched = async || {
        let document: serde_json::Value =
            serde_json::from_slice(&get("dynamic/instance-identity/document").await.1).unwrap();
        document["pendingTime"].as_str().unwrap().parse::<Timestamp>().unwrap()
    };
    assert_eq!(launched().await, Timestamp::UNIX_EPOCH);
    let restarted = Timestamp::from_second(1_000_000).unwrap();
    imds.notify(|n| n.restarted = Some(restarted));
    assert_eq!(launched().await, restarted, "each start of the machine is told anew");
}

#[tokio::test]
async fn without_a_token_there_is_nothing() {
    let (imds, client) = started().await;
    let path = format!("{}/latest/meta-data/instance-id", imds.url());
    assert_eq!(client.get(&path).send().await.unwrap().status(), 401);
    let wrong = client.get(&path).header("x-aws-ec2-metadata-token", "guess").send().await.unwrap();
    assert_eq!(wrong.status(), 401);
    for ttl in ["0", "21601", "soon"] {
        let refused =
            client.put(format!("{}/latest/api/token", imds.url())).header(SECONDS, ttl).send().await;
        assert_eq!(refused.unwrap().status(), 400, "{ttl}");
    }
}

/// The process's own environment may not be changed here, so the client is given the endpoint by hand.
#[tokio::test]
async fn our_client_reads_what_is_there_and_tells_absent_from_unreachable() {
    let (server, _) = started().await;
    let imds = aws::Imds::at(&server.url()).unwrap();
    assert_eq!(imds.require("meta-data/instance-id").await.unwrap(), "i-1");
    assert_eq!(imds.get("meta-data/spot/instance-action").await.unwrap(), None);
    let absent = imds.require("meta-data/spot/instance-action").await.unwrap_err();
    assert_eq!(absent.fault, aws::Fault::Absent);
    let credentials = imds.require("meta-data/iam/security-credentials/ci-role").await.unwrap();
    let credentials: serde_json::Value = serde_json::from_str(&credentials).unwrap();
    assert_eq!(credentials["AccessKeyId"], "ASIA-ci-role-i-1");
    drop(server);
    let gone = imds.get("meta-data/placement/region").await;
    assert!(matches!(gone, Err(e) if e.fault == aws::Fault::Unreachable));
}

#[tokio::test]
async fn a_service_that_fails_for_a_moment_is_asked_again() {
    let sessions = Arc::new(Sessions::default());
    let server = Imds::start(facts(), Arc::clone(&sessions) as Arc<dyn RoleSessions>).await.unwrap();
    let imds = aws::Imds::at(&server.url()).unwrap();
    let on = |path: &str, effect| Fault { resource: path.into(), ..Fault::on("imds:*", effect) }.of("i-1");
    for effect in [Effect::Throttle, Effect::Fail, Effect::Expire, Effect::Delay(50)] {
        sessions.0.add(on("meta-data/instance-id", effect).times(1));
        sessions.0.add(on("api/token", Effect::Fail).times(1));
        let told = imds.require("meta-data/instance-id").await;
        assert_eq!(told.unwrap_or_else(|error| panic!("{effect:?}: {error}")), "i-1");
    }
    sessions.0.clear();
    // A connection that closes is not tried again by the client itself.
    sessions.0.add(on("meta-data/instance-id", Effect::Drop).times(1));
    assert_eq!(imds.get("meta-data/instance-id").await.unwrap_err().fault, aws::Fault::Unreachable);
    assert_eq!(imds.require("meta-data/instance-id").await.unwrap(), "i-1");
    sessions.0.add(on("user-data", Effect::Deny));
    assert_eq!(imds.get("user-data").await.unwrap_err().fault, aws::Fault::Denied);
    assert_eq!(imds.require("meta-data/placement/region").await.unwrap(), "us-east-1", "nothing else");
}
