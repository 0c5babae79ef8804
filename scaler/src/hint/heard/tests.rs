use super::*;
use crate::decide::Jobs;
use crate::hint::parse;
use crate::ports::Agents;

struct Fixed(Result<u64, Problem>);

impl JobCounts for Fixed {
    async fn read(&self, _: &str) -> Result<Counts, Problem> {
        let scheduled = self.0.clone()?;
        Ok(Counts {
            organization: "acme".into(),
            jobs: Jobs { scheduled, ..Jobs::default() },
            unfinished: scheduled,
            agents: Agents::default(),
            expected: 0,
            poll_after: None,
        })
    }
}

fn heard() -> Arc<Heard> {
    let heard = Arc::new(Heard::default());
    let hint = parse(br#"{"event":"build.scheduled","build":{"id":"1"},"jobs":10}"#).unwrap().unwrap();
    assert_eq!(heard.hear(&hint, "default", Timestamp::now()), 10);
    heard
}

#[tokio::test]
async fn what_was_announced_comes_with_the_counts_until_it_is_there() {
    let heard = heard();
    let expected = async |scheduled| {
        let counts = WithHints::new(Fixed(Ok(scheduled)), Arc::clone(&heard));
        counts.read("default").await.unwrap().expected
    };
    assert_eq!(expected(0).await, 11, "with the look-ahead's tenth more");
    assert_eq!(expected(4).await, 7);
    assert_eq!(expected(11).await, 0);
}

#[tokio::test]
async fn counts_that_are_not_known_use_nothing_up() {
    let heard = heard();
    let problem = Problem::new(69, "no answer");
    let blind = WithHints::new(Fixed(Err(problem.clone())), Arc::clone(&heard));
    assert_eq!(blind.read("default").await.unwrap_err(), problem);
    let counts = WithHints::new(Fixed(Ok(0)), heard);
    assert_eq!(counts.read("default").await.unwrap().expected, 11);
}
