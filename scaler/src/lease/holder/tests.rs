use super::*;
use crate::ledger::fake::FakeLedger;

fn holder(ledger: &FakeLedger, name: &str) -> Holder<FakeLedger> {
    Holder::new(ledger.clone(), "default", name)
}

#[tokio::test]
async fn one_lowers_and_the_other_learns_who() {
    let ledger = FakeLedger::default();
    let (one, other) = (holder(&ledger, "one"), holder(&ledger, "other"));
    assert!(matches!(one.may_lower().await, Verdict::Yes(within) if within > Duration::from_secs(20)));
    assert_eq!(ledger.calls(), 2, "read and taken");
    assert_eq!(other.may_lower().await, Verdict::LeftTo("one".to_owned()));
    assert_eq!(ledger.calls(), 3);
    assert!(matches!(one.may_lower().await, Verdict::Yes(_)));
    assert_eq!(ledger.calls(), 3, "a fresh lease costs no call");
    one.release().await;
    assert!(matches!(other.may_lower().await, Verdict::Yes(_)), "it was left to others");
    assert_eq!(one.may_lower().await, Verdict::LeftTo("other".to_owned()));
    one.release().await;
    assert_eq!(one.may_lower().await, Verdict::LeftTo("other".to_owned()), "nobody releases another's");
}

#[tokio::test]
async fn queues_have_leases_of_their_own() {
    let ledger = FakeLedger::default();
    let (one, other) = (holder(&ledger, "one"), Holder::new(ledger.clone(), "gpu", "other"));
    assert!(matches!(one.may_lower().await, Verdict::Yes(_)));
    assert!(matches!(other.may_lower().await, Verdict::Yes(_)));
}

#[tokio::test]
async fn without_the_table_scaling_goes_on_and_it_is_told_once() {
    let ledger = FakeLedger::default();
    let one = holder(&ledger, "one");
    ledger.be_silent(true);
    assert!(matches!(one.may_lower().await, Verdict::Unguarded(Some(problem)) if problem.code == 69));
    assert_eq!(one.may_lower().await, Verdict::Unguarded(None));
    assert_eq!(ledger.calls(), 1, "and it is left alone for a while");
}

#[tokio::test]
async fn what_is_no_lease_is_told() {
    let ledger = FakeLedger::default();
    let item = Item { version: "garbage".to_owned(), body: String::new() };
    assert!(ledger.put("lease default", &item, None).await.unwrap());
    let verdict = holder(&ledger, "one").may_lower().await;
    assert!(
        matches!(&verdict, Verdict::Unguarded(Some(problem)) if problem.message.contains("garbage")),
        "{verdict:?}"
    );
}

#[test]
fn names_of_processes_differ() {
    assert_ne!(name_of_this_process(), name_of_this_process());
}
