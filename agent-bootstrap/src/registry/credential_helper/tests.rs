use super::*;
use crate::registry::tokens::Token;

struct Source(Result<&'static str, Fault>);

impl TokenSource for Source {
    async fn fetch(&self, registry: &Ecr) -> Result<Token, aws::CallError> {
        let expires = now() + jiff::SignedDuration::from_hours(12);
        match self.0 {
            Ok(password) => Ok(Token { password: password.into(), expires }),
            Err(fault) => Err(aws::CallError {
                fault,
                operation: "ecr:GetAuthorizationToken",
                resource: format!("{registry:?}"),
                code: None,
                status: None,
                bucket_region: None,
                detail: "no".into(),
            }),
        }
    }
}

fn now() -> Timestamp {
    "2026-11-21T10:00:00Z".parse().unwrap()
}

const ECR: &str = "123456789012.dkr.ecr.eu-west-1.amazonaws.com";

fn helper(dir: &tempfile::TempDir, source: Source) -> Helper<Source> {
    Helper {
        logins: Some(Logins::of(dir.path())),
        settings: EcrSettings::read(&|_| None).unwrap(),
        known: vec![Server::parse(ECR).unwrap()],
        tokens: Some(Tokens::in_folder(dir.path().join("ecr"))),
        source,
    }
}

async fn ask(helper: &Helper<Source>, operation: &str, input: &str) -> Result<String, Refusal> {
    helper.answer(operation, input.as_bytes(), now()).await.map(|text| text.to_string())
}

#[tokio::test]
async fn get_answers_ecr_by_token_and_others_not_at_all() {
    let dir = tempfile::tempdir().unwrap();
    let helper = helper(&dir, Source(Ok("t0ken")));
    let answer = ask(&helper, "get", &format!("https://{ECR}\n")).await.unwrap();
    assert_eq!(answer, format!(r#"{{"ServerURL":"https://{ECR}","Username":"AWS","Secret":"t0ken"}}"#));
    for other in ["https://index.docker.io/v1/", "ghcr.io", "no host!", "123456789012.dkr.ecr.x.evil.com"] {
        assert_eq!(ask(&helper, "get", other).await.unwrap_err(), Refusal::not_found(), "{other}");
    }
}

#[tokio::test]
async fn a_login_of_the_job_is_stored_comes_first_and_is_erased() {
    let dir = tempfile::tempdir().unwrap();
    let helper = helper(&dir, Source(Ok("t0ken")));
    let login = format!(r#"{{"ServerURL":"{ECR}","Username":"other","Secret":"s\"x"}}"#);
    assert_eq!(ask(&helper, "store", &login).await.unwrap(), "");
    assert!(ask(&helper, "get", ECR).await.unwrap().contains(r#""Username":"other","Secret":"s\"x""#));
    ask(&helper, "erase", ECR).await.unwrap();
    assert!(ask(&helper, "get", ECR).await.unwrap().contains("t0ken"));
    ask(&helper, "erase", "https://never.stored/").await.unwrap();
}

#[tokio::test]
async fn docker_hub_is_one_registry_under_all_its_names() {
    let dir = tempfile::tempdir().unwrap();
    let helper = helper(&dir, Source(Ok("t")));
    let login = r#"{"ServerURL":"https://index.docker.io/v1/","Username":"me","Secret":"p"}"#;
    ask(&helper, "store", login).await.unwrap();
    assert!(ask(&helper, "get", "docker.io").await.unwrap().contains(r#""Username":"me""#));
    assert_eq!(
        ask(&helper, "list", "").await.unwrap(),
        format!(r#"{{"{ECR}":"AWS","https://index.docker.io/v1/":"me"}}"#)
    );
}

#[tokio::test]
async fn the_protocols_sentences_are_exact() {
    let dir = tempfile::tempdir().unwrap();
    let helper = helper(&dir, Source(Ok("t")));
    for (operation, input, said) in [
        ("get", "", "no credentials server URL"),
        ("get", "ghcr.io", "credentials not found in native keychain"),
        ("erase", " \n", "no credentials server URL"),
        ("store", r#"{"Username":"u","Secret":"s"}"#, "no credentials server URL"),
        ("store", r#"{"ServerURL":"h","Secret":"s"}"#, "no credentials username"),
    ] {
        let refusal = ask(&helper, operation, input).await.unwrap_err();
        assert_eq!((refusal.said.as_str(), refusal.code), (said, 1), "{operation} {input}");
    }
    assert_eq!(ask(&helper, "store", "{").await.unwrap_err().code, 1);
    assert_eq!(ask(&helper, "version2", "").await.unwrap_err().code, 2);
}

#[tokio::test]
async fn a_failed_token_is_told_with_its_reason_and_fails_no_listing() {
    let dir = tempfile::tempdir().unwrap();
    for (fault, code) in [(Fault::Denied, 77), (Fault::Throttled, 75), (Fault::Unreachable, 69)] {
        let helper = helper(&dir, Source(Err(fault)));
        let refusal = ask(&helper, "get", ECR).await.unwrap_err();
        assert_eq!(refusal.code, code);
        assert!(refusal.said.contains(ECR) && refusal.said == refusal.explained, "{refusal:?}");
        assert_eq!(ask(&helper, "list", "").await.unwrap(), "{}");
        // The public registry works without.
        let public = ask(&helper, "get", "public.ecr.aws").await.unwrap_err();
        assert_eq!((public.code, public.said), (1, Refusal::not_found().said));
    }
}

#[tokio::test]
async fn without_a_job_ecr_works_and_logins_do_not() {
    let dir = tempfile::tempdir().unwrap();
    let helper = Helper { logins: None, tokens: None, ..helper(&dir, Source(Ok("t"))) };
    assert!(ask(&helper, "get", ECR).await.is_ok());
    let login = r#"{"ServerURL":"h","Username":"u","Secret":"s3cret"}"#;
    let refusal = ask(&helper, "store", login).await.unwrap_err();
    assert!(refusal.said.contains("no job") && !refusal.said.contains("s3cret"));
    assert!(ask(&helper, "erase", "h").await.is_ok());
}
