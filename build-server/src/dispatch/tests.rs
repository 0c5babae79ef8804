use proptest::prelude::*;

use super::*;

fn agent(id: &str, priority: i64, tags: &[&str]) -> FreeAgent {
    FreeAgent { id: id.to_owned(), priority, tags: Tags::parse(tags) }
}

fn job(id: &str, rules: &[&str]) -> WaitingJob {
    WaitingJob { id: id.to_owned(), rules: Tags::parse(rules), taken_from: None }
}

fn chosen(asking: &str, agents: &[FreeAgent], jobs: &[WaitingJob]) -> Option<String> {
    job_for(asking, agents, jobs.to_vec()).map(|job| job.id)
}

#[test]
fn tags_match_rules() {
    for (tags, rules, matches) in [
        (vec!["queue=default"], vec!["queue=default"], true),
        (vec![], vec!["queue=default"], true),
        (vec!["os=linux"], vec!["queue=default", "os=linux"], true),
        (vec!["queue=deploy"], vec!["queue=default"], false),
        (vec!["queue=default", "os=linux"], vec!["queue=default", "os=mac"], false),
        (vec!["queue=default", "docker"], vec!["queue=default", "docker=true"], true),
        (vec!["queue=default", "url=a=b"], vec!["url=a=b"], true),
    ] {
        assert_eq!(Tags::parse(&tags).satisfy(&Tags::parse(&rules)), matches, "{tags:?} {rules:?}");
    }
}

#[test]
fn the_first_job_goes_to_the_agent_of_highest_priority() {
    let agents = [agent("low", 1, &[]), agent("high", 5, &[])];
    assert_eq!(chosen("low", &agents, &[job("1", &["queue=default"])]), None);
    assert_eq!(chosen("high", &agents, &[job("1", &["queue=default"])]), Some("1".into()));
    let two = [job("1", &["queue=default"]), job("2", &["queue=default"])];
    assert_eq!(chosen("low", &agents, &two), Some("2".into()));
}

#[test]
fn a_job_taken_back_goes_to_another_agent_first() {
    let mut given_back = job("1", &["queue=default"]);
    given_back.taken_from = Some("a".into());
    let jobs = [given_back];
    assert_eq!(chosen("a", &[agent("a", 9, &[]), agent("b", 0, &[])], &jobs), None);
    assert_eq!(chosen("b", &[agent("a", 9, &[]), agent("b", 0, &[])], &jobs), Some("1".into()));
    assert_eq!(chosen("a", &[agent("a", 9, &[])], &jobs), Some("1".into()), "if there is another");
}

fn any_agents() -> impl Strategy<Value = Vec<FreeAgent>> {
    prop::collection::vec((0..3i64, 0..2u8, 0..3u8), 0..6).prop_map(|all| {
        let one = |(n, (priority, queue, os)): (usize, (i64, u8, u8))| {
            agent(&format!("a{n}"), priority, &[&format!("queue=q{queue}"), &format!("os={os}")])
        };
        all.into_iter().enumerate().map(one).collect()
    })
}

fn any_jobs() -> impl Strategy<Value = Vec<WaitingJob>> {
    prop::collection::vec((0..2u8, prop::option::of(0..3u8), prop::option::of(0..6u8)), 0..10).prop_map(
        |all| {
            let one = |(n, (queue, os, from)): (usize, (u8, Option<u8>, Option<u8>))| {
                let mut rules = vec![format!("queue=q{queue}")];
                rules.extend(os.map(|os| format!("os={os}")));
                let taken_from = from.map(|n| format!("a{n}"));
                WaitingJob { id: format!("j{n}"), rules: Tags::parse(&rules), taken_from }
            };
            all.into_iter().enumerate().map(one).collect()
        },
    )
}

proptest! {
    #[test]
    fn no_job_is_given_to_two_agents(agents in any_agents(), jobs in any_jobs()) {
        let mut given: Vec<_> = agents.iter().filter_map(|a| chosen(&a.id, &agents, &jobs)).collect();
        let all = given.len();
        given.sort();
        given.dedup();
        prop_assert_eq!(given.len(), all);
    }

    #[test]
    fn no_job_overtakes_an_earlier_one(agents in any_agents(), jobs in any_jobs()) {
        let given: Vec<_> = agents.iter().map(|a| (a, chosen(&a.id, &agents, &jobs))).collect();
        for (at, earlier) in jobs.iter().enumerate() {
            if given.iter().any(|(_, job)| job.as_ref() == Some(&earlier.id)) {
                continue;
            }
            // Nobody took it: every agent that could has an even earlier job.
            for (agent, job) in given.iter().filter(|(a, _)| a.tags.satisfy(&earlier.rules)) {
                let place = jobs.iter().position(|j| Some(&j.id) == job.as_ref());
                prop_assert!(place.is_some_and(|p| p < at), "{} left {} for {job:?}", agent.id, earlier.id);
            }
        }
    }

    #[test]
    fn no_job_starves(agents in any_agents(), mut jobs in any_jobs()) {
        // Agents ask in turn and finish at once: what remains matches no agent.
        for _ in 0..=jobs.len() {
            for agent in &agents {
                if let Some(id) = chosen(&agent.id, &agents, &jobs) {
                    jobs.retain(|job| job.id != id);
                }
            }
        }
        for job in &jobs {
            prop_assert!(!agents.iter().any(|a| a.tags.satisfy(&job.rules)), "{} starved", job.id);
        }
    }
}
