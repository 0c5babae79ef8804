use std::sync::Mutex;

use super::*;
use crate::record::tests::{busy, inputs, record_of};

/// A log in memory: when each line was written, and what was asked for.
struct Written(Vec<(Timestamp, String)>, Mutex<Vec<(Timestamp, Timestamp)>>);

impl Records for Written {
    async fn between(&self, from: Timestamp, until: Timestamp) -> Result<Vec<String>, Problem> {
        self.1.lock().unwrap().push((from, until));
        let within = self.0.iter().filter(|(at, _)| (from..until).contains(at));
        Ok(within.map(|(_, line)| line.clone()).collect())
    }
}

fn now() -> Timestamp {
    "2026-11-21T12:00:00Z".parse().unwrap()
}

/// A record so many minutes before now, written three seconds after its tick began.
fn minutes_ago(minutes: i64) -> (Timestamp, String) {
    let mut inputs = inputs(Some((u64::try_from(minutes).unwrap(), 9)), busy(3));
    inputs.at = now() - SignedDuration::from_mins(minutes);
    let line = serde_json::to_string(&record_of(&inputs, &[])).unwrap();
    (inputs.at + SignedDuration::from_secs(3), line)
}

async fn gathered(minutes: &[i64], which: Which) -> (Vec<i64>, usize) {
    let written = Written(minutes.iter().map(|m| minutes_ago(*m)).collect(), Mutex::default());
    let log = gather(&written, &which, now()).await.unwrap();
    let told = log.select(&which);
    let ago = |line: &Line| now().duration_since(line.record.inputs.at).as_mins();
    let asked = written.1.lock().unwrap();
    assert!(
        asked.windows(2).all(|pair| pair[0].0 == pair[1].1),
        "without a gap or a line read twice: {asked:?}"
    );
    (told.iter().map(ago).collect(), asked.len())
}

#[tokio::test]
async fn it_reads_back_until_it_has_enough_and_no_further() {
    let day = 24 * 60;
    assert_eq!(gathered(&[2, 10, 50], Which::Last(2)).await, (vec![10, 2], 1), "the last hour had more");
    assert_eq!(gathered(&[2, 10, 50, 300], Which::Last(3)).await, (vec![50, 10, 2], 2), "six hours");
    assert_eq!(gathered(&[2, 10], Which::Last(3)).await, (vec![10, 2], 5), "thirty days");
    assert_eq!(gathered(&[29 * day, 31 * day], Which::Last(3)).await, (vec![29 * day], 5));
    let at = |minutes| Which::At(now() - SignedDuration::from_mins(minutes));
    assert_eq!(gathered(&[2, 10, 50], at(5)).await, (vec![10], 1));
    assert_eq!(gathered(&[2, 10, 50], at(10)).await, (vec![10], 1), "at the very time");
    assert_eq!(gathered(&[2, 3 * day, 4 * day], at(1)).await, (vec![2], 4));
    assert_eq!(gathered(&[2], at(60)).await, (vec![], 5));
}

#[tokio::test]
async fn a_log_that_cannot_be_read_is_no_empty_log() {
    struct Denied;
    impl Records for Denied {
        async fn between(&self, _: Timestamp, _: Timestamp) -> Result<Vec<String>, Problem> {
            Err(Problem::new(77, "denied"))
        }
    }
    assert_eq!(gather(&Denied, &Which::Last(1), now()).await, Err(Problem::new(77, "denied")));
}

#[test]
fn what_cannot_be_read_is_counted_by_its_kind() {
    let unreadable = [Unreadable::Version(2), Unreadable::Garbled, Unreadable::Version(2)];
    insta::assert_snapshot!(remarks(&unreadable).join("\n"));
}
