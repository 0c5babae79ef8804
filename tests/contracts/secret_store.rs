//! Where secrets lie: `FolderSecretStore` and `S3SecretStore`.

use agent_bootstrap::secrets::encryption::Encryption;
use agent_bootstrap::secrets::folder::FolderSecretStore;
use agent_bootstrap::secrets::s3::S3SecretStore;
use agent_bootstrap::secrets::store::{LARGEST_OBJECT, Object, SecretStore};
use aws::{CallError, Fault};
use futures::StreamExt as _;
use lab::endpoint::Endpoint;
use lab::moto::Moto;
use serde_json::json;
use tempfile::TempDir;

/// Places for objects.
trait Stage {
    type Store: SecretStore;

    /// Goes on with an empty place.
    async fn empty(&mut self);
    fn store(&self) -> Self::Store;
    /// A store whose bucket or folder does not exist.
    fn without_bucket(&self) -> Self::Store;
    async fn put(&self, key: &str, bytes: &[u8]);
    /// Nobody may read this object any more.
    async fn forbid(&self, key: &str);
}

struct Folder(TempDir);

impl Stage for Folder {
    type Store = FolderSecretStore;

    async fn empty(&mut self) {
        self.0 = tempfile::tempdir().unwrap();
    }

    fn store(&self) -> FolderSecretStore {
        FolderSecretStore::new(self.0.path())
    }

    fn without_bucket(&self) -> FolderSecretStore {
        FolderSecretStore::new(self.0.path().join("absent"))
    }

    async fn put(&self, key: &str, bytes: &[u8]) {
        let path = self.0.path().join(key);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }

    /// Modes do not hold root back; a link to itself holds everybody back.
    async fn forbid(&self, key: &str) {
        let path = self.0.path().join(key);
        std::fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink(&path, &path).unwrap();
    }
}

struct Bucket {
    number: usize,
    session: aws::Session,
    endpoint: Endpoint,
    moto: Moto,
    _folder: TempDir,
}

impl Bucket {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let moto = Moto::start(folder.path()).await.unwrap();
        let endpoint = Endpoint::start(moto.url()).await.unwrap();
        let admin = endpoint.admin();
        let (key, secret) = (&admin.access_key_id, &admin.secret_access_key);
        let session = aws::Session::at(endpoint.url(), "us-east-1", key, secret, None).await;
        Self { number: 0, session, endpoint, moto, _folder: folder }
    }

    fn name(&self) -> String {
        format!("secrets-{}", self.number)
    }
}

impl Stage for Bucket {
    type Store = S3SecretStore;

    async fn empty(&mut self) {
        self.number += 1;
        self.session.s3().create_bucket().bucket(self.name()).send().await.unwrap();
    }

    fn store(&self) -> S3SecretStore {
        S3SecretStore::new(&self.session, self.name())
    }

    fn without_bucket(&self) -> S3SecretStore {
        S3SecretStore::new(&self.session, "no-such-bucket")
    }

    async fn put(&self, key: &str, bytes: &[u8]) {
        let call = self.session.s3().put_object().bucket(self.name()).key(key).body(bytes.to_vec().into());
        call.send().await.unwrap();
    }

    async fn forbid(&self, key: &str) {
        let statement = json!({ "Effect": "Deny", "Principal": "*", "Action": "s3:GetObject",
            "Resource": format!("arn:aws:s3:::{}/{key}", self.name()) });
        let policy = json!({ "Version": "2012-10-17", "Statement": [statement] });
        let call = self.session.s3().put_bucket_policy().bucket(self.name()).policy(policy.to_string());
        call.send().await.unwrap();
    }
}

async fn found(store: &impl SecretStore, key: &str) -> Object {
    store.get(key).await.unwrap().unwrap()
}

fn error<T>(answer: Result<T, CallError>) -> CallError {
    answer.err().expect("the call fails")
}

async fn bytes_come_back_as_they_were_put(stage: &mut impl Stage) {
    stage.empty().await;
    let cases: [(&str, &[u8]); 4] =
        [("env", b"A=1\n"), ("app/env", b""), ("app/private_ssh_key", &[0, 255, 13, 10]), ("a b/c+d", b"x")];
    for (key, bytes) in cases {
        stage.put(key, bytes).await;
        assert_eq!(*found(&stage.store(), key).await.bytes, bytes, "{key}");
    }
}

async fn what_is_not_there_is_absent(stage: &mut impl Stage) {
    stage.empty().await;
    stage.put("app/env", b"x").await;
    for key in ["env", "app", "app/environment", "app/env/deeper"] {
        assert!(stage.store().get(key).await.unwrap().is_none(), "{key}");
    }
    assert!(stage.store().list("secret-files/").await.unwrap().is_empty());
}

async fn a_list_holds_every_key_below_its_prefix_in_order(stage: &mut impl Stage) {
    stage.empty().await;
    for key in
        ["secret-files/b/C_TOKEN", "secret-files/A_TOKEN", "app/secret-files/D_TOKEN", "secret-files-not"]
    {
        stage.put(key, b"x").await;
    }
    let store = stage.store();
    assert_eq!(
        store.list("secret-files/").await.unwrap(),
        ["secret-files/A_TOKEN", "secret-files/b/C_TOKEN"]
    );
    assert_eq!(store.list("app/secret-files/").await.unwrap(), ["app/secret-files/D_TOKEN"]);
}

async fn what_may_not_be_read_is_no_absence(stage: &mut impl Stage) -> CallError {
    stage.empty().await;
    stage.put("app/env", b"x").await;
    stage.forbid("app/env").await;
    error(stage.store().get("app/env").await)
}

async fn no_bucket_is_an_error_for_every_call(stage: &mut impl Stage) -> [CallError; 2] {
    stage.empty().await;
    let store = stage.without_bucket();
    [error(store.get("env").await), error(store.list("secret-files/").await)]
}

async fn an_object_too_large_for_a_secret_is_refused(stage: &mut impl Stage) {
    stage.empty().await;
    stage.put("env", &vec![b'x'; LARGEST_OBJECT + 1]).await;
    assert_eq!(error(stage.store().get("env").await).code.as_deref(), Some("TooLarge"));
}

async fn all_laws(stage: &mut impl Stage) {
    bytes_come_back_as_they_were_put(stage).await;
    what_is_not_there_is_absent(stage).await;
    a_list_holds_every_key_below_its_prefix_in_order(stage).await;
    an_object_too_large_for_a_secret_is_refused(stage).await;
}

#[tokio::test]
async fn double() {
    let mut stage = Folder(tempfile::tempdir().unwrap());
    all_laws(&mut stage).await;
    assert_ne!(what_may_not_be_read_is_no_absence(&mut stage).await.fault, Fault::Absent);
    for error in no_bucket_is_an_error_for_every_call(&mut stage).await {
        assert_eq!(error.fault, Fault::Absent);
    }
    stage.put("env", b"x").await;
    assert_eq!(found(&stage.store(), "env").await.encryption, Encryption::NotInS3);
}

/// In one test, since moto takes longer to start than all laws to be tried.
#[tokio::test]
async fn adapter() {
    let mut stage = Bucket::start().await;
    all_laws(&mut stage).await;
    assert_eq!(what_may_not_be_read_is_no_absence(&mut stage).await.fault, Fault::Denied);
    for error in no_bucket_is_an_error_for_every_call(&mut stage).await {
        assert!(error.is_no_such_bucket(), "{error}");
    }
    s3_tells_the_encryption_of_each_object(&mut stage).await;
    s3_goes_on_beyond_a_page(&mut stage).await;
}

async fn s3_tells_the_encryption_of_each_object(stage: &mut Bucket) {
    stage.empty().await;
    let key = stage.session.kms().create_key().send().await.unwrap().key_metadata.unwrap().arn.unwrap();
    let put = stage.session.s3().put_object().bucket(stage.name()).key("kms").body(b"x".to_vec().into());
    put.server_side_encryption("aws:kms".into()).ssekms_key_id(&key).send().await.unwrap();
    stage.put("plain", b"x").await;
    let store = stage.store();
    assert_eq!(found(&store, "kms").await.encryption, Encryption::Kms { key: Some(key) });
    assert_eq!(found(&store, "plain").await.encryption, Encryption::Other("AES256".to_owned()));
}

async fn s3_goes_on_beyond_a_page(stage: &mut Bucket) {
    stage.empty().await;
    // Straight into moto: the endpoint's decisions would only cost time here.
    let (client, bucket) = (reqwest::Client::new(), format!("{}/{}", stage.moto.url(), stage.name()));
    let puts = futures::stream::iter(0..1001)
        .map(|n| client.put(format!("{bucket}/secret-files/{n:04}_TOKEN")).body("x").send());
    let answers: Vec<_> = puts.buffer_unordered(8).collect().await;
    assert!(answers.into_iter().all(|answer| answer.unwrap().status().is_success()));
    let lists = || {
        let calls = stage.endpoint.calls();
        calls.iter().filter(|c| c.action == "s3:ListObjectsV2").map(|c| c.count).sum::<u64>()
    };
    let before = lists();
    let keys = stage.store().list("secret-files/").await.unwrap();
    assert_eq!((keys.len(), keys[1000].as_str()), (1001, "secret-files/1000_TOKEN"));
    assert_eq!(lists() - before, 2);
}
