use super::*;
use crate::decide::Jobs;
use crate::hint::parse;
use crate::ports::Agents;
use crate::reading::Reading;

fn expected(heard: &Heard, scheduled: u64) -> u32 {
    let mut counts = Counts {
        organization: "acme".into(),
        jobs: Jobs { scheduled, ..Jobs::default() },
        unfinished: scheduled,
        agents: Agents::default(),
        expected: 0,
        reading: Reading::at(Timestamp::now()),
        paused: None,
        runnable: None,
        unmatched: 0,
        poll_after: None,
    };
    heard.expect(&mut counts, Timestamp::now());
    counts.expected
}

#[test]
fn what_was_announced_comes_with_the_counts_until_it_is_there() {
    let heard = Heard::default();
    let hint = parse(br#"{"event":"build.scheduled","build":{"id":"1"},"jobs":10}"#).unwrap().unwrap();
    assert_eq!(heard.hear(&hint, "default", Timestamp::now()), 10);
    assert_eq!([heard.is_news(), heard.is_news()], [true, false]);
    assert_eq!(expected(&heard, 0), 11, "with the look-ahead's tenth more");
    assert_eq!(expected(&heard, 4), 7);
    assert_eq!(expected(&heard, 11), 0);
}
