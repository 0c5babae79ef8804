use super::*;
use crate::hint::heard::Heard;
use crate::hint::parse;
use crate::ledger::fake::FakeLedger;

const ID: &str = "state default";

fn store(ledger: &FakeLedger) -> Store<FakeLedger> {
    Store::new(ledger.clone(), "default")
}

/// What a scaler knows that heard of a build of this pipeline.
fn knows(pipeline: &str) -> State {
    let heard = Heard::default();
    for event in ["build.running", "build.finished"] {
        let body = format!(
            r#"{{"event":"{event}","build":{{"id":"{pipeline}"}},"pipeline":{{"slug":"{pipeline}"}}}}"#
        );
        heard.hear(&parse(body.as_bytes()).unwrap().unwrap(), "default", Timestamp::UNIX_EPOCH);
    }
    State { heard: heard.learned(), ..State::default() }
}

const NOW: Timestamp = Timestamp::UNIX_EPOCH;

#[tokio::test]
async fn what_one_process_writes_the_next_one_reads() {
    let ledger = FakeLedger::default();
    let mut one = store(&ledger);
    assert_eq!(one.load(NOW).await, Ok(None));
    assert!(!one.is_news(&State::default()), "nothing is worth an item");
    assert!(one.is_news(&knows("a")) && one.is_time(false));
    assert_eq!(one.save(&knows("a"), NOW).await, Ok(None));
    assert!(!one.is_news(&knows("a")) && !one.is_time(false) && one.is_time(true));
    assert_eq!(one.save(&knows("b"), NOW).await, Ok(None), "over its own");
    assert_eq!(store(&ledger).load(NOW).await, Ok(Some(knows("b"))));
}

#[tokio::test]
async fn nobody_writes_over_what_he_does_not_know() {
    let ledger = FakeLedger::default();
    let (mut one, mut other) = (store(&ledger), store(&ledger));
    for store in [&mut one, &mut other] {
        store.load(NOW).await.unwrap();
    }
    one.save(&knows("a"), NOW).await.unwrap();
    assert_eq!(other.save(&knows("b"), NOW).await, Ok(Some(knows("a"))), "it is told, and not replaced");
    assert_eq!(store(&ledger).load(NOW).await, Ok(Some(knows("a"))));
    assert_eq!(other.save(&knows("b"), NOW).await, Ok(None), "now it is known");
    // A process that could not read at its start reads before it writes.
    let mut late = store(&ledger);
    assert_eq!(late.save(&knows("c"), NOW).await, Ok(Some(knows("b"))));
}

#[tokio::test]
async fn what_cannot_be_read_is_replaced_and_a_silent_table_is_not_asked_in_each_tick() {
    let ledger = FakeLedger::default();
    let garbage = Item { version: "1".to_owned(), body: "{".to_owned() };
    assert!(ledger.put(ID, &garbage, None).await.unwrap());
    let mut one = store(&ledger);
    assert_eq!(one.load(NOW).await, Ok(None));
    assert_eq!(one.save(&knows("a"), NOW).await, Ok(None));
    assert_eq!(store(&ledger).load(NOW).await, Ok(Some(knows("a"))));
    ledger.be_silent(true);
    assert!(one.save(&knows("b"), NOW).await.is_err());
    assert!(!one.is_time(false));
}
