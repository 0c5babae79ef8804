//! The ledger as the scaler sees it: `FakeLedger` and `DynamoDbLedger`, on a table as the template makes it.

use lab::endpoint::Endpoint;
use lab::moto::{Moto, venv};
use scaler::ledger::dynamodb::DynamoDbLedger;
use scaler::ledger::fake::FakeLedger;
use scaler::ledger::{Item, Ledger};
use tempfile::TempDir;

const TABLE: &str = "state";

/// Makes an empty ledger.
trait Stage: Sized {
    type Ledger: Ledger;

    async fn start() -> Self;

    async fn ledger(&self) -> Self::Ledger;

    async fn stop(self);
}

struct Doubles(FakeLedger);

impl Stage for Doubles {
    type Ledger = FakeLedger;

    async fn start() -> Self {
        Self(FakeLedger::default())
    }

    async fn ledger(&self) -> FakeLedger {
        self.0.clone()
    }

    async fn stop(self) {}
}

struct Lab {
    moto: Moto,
    endpoint: Endpoint,
    _folder: TempDir,
}

impl Lab {
    async fn named(&self, table: &str) -> DynamoDbLedger {
        let admin = self.endpoint.admin();
        let (key, secret) = (&admin.access_key_id, &admin.secret_access_key);
        let session = aws::Session::at(self.endpoint.url(), "us-east-1", key, secret, None).await;
        DynamoDbLedger::new(&session, table)
    }
}

impl Stage for Lab {
    type Ledger = DynamoDbLedger;

    async fn start() -> Self {
        let folder = TempDir::new().unwrap();
        let moto = Moto::start(folder.path()).await.unwrap();
        let endpoint = Endpoint::start(moto.url()).await.unwrap();
        let create = ["dynamodb", "create-table", "--table-name", TABLE, "--billing-mode", "PAY_PER_REQUEST"];
        let keys = ["--attribute-definitions", "AttributeName=id,AttributeType=S"];
        let schema = ["--key-schema", "AttributeName=id,KeyType=HASH"];
        let mut command = tokio::process::Command::new(venv().unwrap().join("bin/aws"));
        command.args(create).args(keys).args(schema).env_clear().envs(endpoint.admin().environment());
        command.env("PATH", "/usr/bin:/bin").env("HOME", folder.path());
        command.env("AWS_ENDPOINT_URL", endpoint.url()).env("AWS_DEFAULT_REGION", "us-east-1");
        let output = command.output().await.unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Self { moto, endpoint, _folder: folder }
    }

    async fn ledger(&self) -> DynamoDbLedger {
        self.named(TABLE).await
    }

    async fn stop(self) {
        self.moto.stop().await.unwrap();
    }
}

fn item(version: &str, body: &str) -> Item {
    Item { version: version.to_owned(), body: body.to_owned() }
}

async fn only_who_knows_the_version_changes_an_item<S: Stage>() {
    let stage = S::start().await;
    let ledger = stage.ledger().await;
    assert_eq!(ledger.read("a").await.unwrap(), None);
    assert!(!ledger.put("a", &item("1", "x"), Some("0")).await.unwrap(), "there is nothing to replace");
    assert!(ledger.put("a", &item("1", "x"), None).await.unwrap());
    assert!(!ledger.put("a", &item("2", "y"), None).await.unwrap(), "there is something");
    assert!(!ledger.put("a", &item("2", "y"), Some("0")).await.unwrap(), "it is another");
    assert_eq!(ledger.read("a").await.unwrap(), Some(item("1", "x")), "a refusal changes nothing");
    let body = "{\"weird\": \"\u{e9} \\ \u{1F600}\"}\n";
    assert!(ledger.put("a", &item("2", body), Some("1")).await.unwrap());
    assert_eq!(stage.ledger().await.read("a").await.unwrap(), Some(item("2", body)), "others see it");
    assert_eq!(ledger.read("b").await.unwrap(), None);
    stage.stop().await;
}

async fn only_who_knows_the_version_removes_an_item<S: Stage>() {
    let stage = S::start().await;
    let ledger = stage.ledger().await;
    assert!(!ledger.remove("a", "1").await.unwrap(), "there is none");
    assert!(ledger.put("a", &item("1", "x"), None).await.unwrap());
    assert!(!ledger.remove("a", "2").await.unwrap());
    assert!(ledger.read("a").await.unwrap().is_some());
    assert!(ledger.remove("a", "1").await.unwrap());
    assert_eq!(ledger.read("a").await.unwrap(), None);
    assert!(ledger.put("a", &item("1", "x"), None).await.unwrap(), "and it may come again");
    stage.stop().await;
}

/// Of two that take the same item at the same time one gets it.
async fn one_of_two_wins<S: Stage>() {
    let stage = S::start().await;
    let (one, other) = (stage.ledger().await, stage.ledger().await);
    assert!(one.put("a", &item("0", ""), None).await.unwrap());
    for turn in 0..5 {
        let over = turn.to_string();
        let next = item(&(turn + 1).to_string(), "");
        let (a, b) = tokio::join!(one.put("a", &next, Some(&over)), other.put("a", &next, Some(&over)));
        assert_eq!([a.unwrap(), b.unwrap()].into_iter().filter(|won| *won).count(), 1);
    }
    stage.stop().await;
}

/// What only the adapter has: a table that is not there, one that does not answer, an item of somebody else.
#[tokio::test]
async fn a_table_that_cannot_be_used_is_named() {
    let stage = Lab::start().await;
    let problem = stage.named("no-such-table").await.read("a").await.unwrap_err();
    assert!(problem.message.contains("item a of table no-such-table"), "{problem}");
    stage.stop().await;
    let secret = secrecy::SecretString::from("s".to_owned());
    let nobody = aws::Session::at("http://127.0.0.1:9", "us-east-1", "k", &secret, None).await;
    let problem = DynamoDbLedger::new(&nobody, TABLE).read("a").await.unwrap_err();
    assert_eq!(problem.code, 69, "{problem}");
}

macro_rules! contract {
    ($($law:ident),* $(,)?) => {
        mod double {$(
            #[tokio::test]
            async fn $law() {
                super::$law::<super::Doubles>().await;
            }
        )*}
        mod adapter {$(
            #[tokio::test]
            async fn $law() {
                super::$law::<super::Lab>().await;
            }
        )*}
    };
}

contract!(
    only_who_knows_the_version_changes_an_item,
    only_who_knows_the_version_removes_an_item,
    one_of_two_wins
);
