//! Keeper and socket together: what hooks are told, what the group is asked, and in which order.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests: a panic is their way to fail")]

mod askers;
mod stage;

use agent_bootstrap::disk::fake_engine::{Kind, Thing};
use agent_bootstrap::watch::fake_group::FakeGroup;
use agent_bootstrap::watch::group::{Group, Size};
use agent_bootstrap::watch::protocol::{Answer, Request};
use jiff::{SignedDuration, Timestamp};
use lifecycle::{AwsState, Notices, Reason, State};
use stage::{HOOK, Stage};
use tokio::task::LocalSet;

/// A process that stands for an agent.
fn agent_process() -> std::process::Child {
    std::process::Command::new("sleep").arg("600").spawn().unwrap()
}

#[tokio::test]
async fn a_job_is_let_in_only_once_protection_is_held_again() {
    LocalSet::new()
        .run_until(async {
            let mut stage = Stage::new(Some(HOOK));
            stage.watch().await;
            stage.until("idle drops protection", |s| s.protected == Some(false)).await;
            assert_eq!(stage.group.calls(), ["unprotect"]);
            // AWS refuses protection outside of service: as long as it does, the job waits.
            stage.group.enter(AwsState::EnteringStandby);
            let refused = async {
                while !stage.group.calls().contains(&"protect".to_owned()) {
                    tokio::task::yield_now().await;
                }
            };
            let job = stage.job_starts("j", None);
            tokio::pin!(job);
            tokio::select! {
                answer = &mut job => assert_eq!(answer, Answer::default(), "answered before protection was held"),
                () = refused => {}
            }
            stage.group.enter(AwsState::InService);
            assert_eq!(job.await, Answer::done());
            assert!(stage.is_protected());
            assert_eq!(stage.status().await.jobs, ["j"]);
        })
        .await;
}

#[tokio::test]
async fn idle_drops_protection_once_and_never_while_a_job_runs() {
    LocalSet::new()
        .run_until(async {
            let mut stage = Stage::new(Some(HOOK));
            stage.watch().await;
            stage.until("the agent runs", |s| s.state == State::Ready).await;
            assert_eq!(stage.job_starts("j", None).await, Answer::done());
            for _ in 0..50 {
                assert_eq!(stage.status().await.state, State::Busy);
                assert!(stage.is_protected());
            }
            let before = stage.group.calls().len();
            stage.job_ends("j").await;
            stage.until("idle drops protection", |s| s.protected == Some(false)).await;
            for _ in 0..50 {
                stage.status().await;
            }
            assert_eq!(stage.group.calls()[before..], ["unprotect"]);
        })
        .await;
}

#[tokio::test]
async fn always_on_instances_stay_protected() {
    LocalSet::new()
        .run_until(async {
            let mut stage = Stage::new(Some(HOOK));
            stage.group =
                FakeGroup::new(Size { min: 1, max: 1, desired: 1, live: 1 }, Some(HOOK), AwsState::InService);
            stage.watch().await;
            stage.until("the agent runs", |s| s.state == State::Ready).await;
            for _ in 0..50 {
                stage.status().await;
            }
            assert!(stage.is_protected() && stage.group.calls().is_empty());
        })
        .await;
}

#[tokio::test]
async fn a_job_is_refused_when_nothing_can_hold_the_instance() {
    LocalSet::new()
        .run_until(async {
            let mut stage = Stage::new(None);
            stage.watch().await;
            stage.group.take_away();
            stage.until("the group takes it", |s| s.target == Some(AwsState::Terminated)).await;
            let answer = stage.job_starts("j", None).await;
            assert!(!answer.ok);
            assert!(answer.reason.as_deref().unwrap().contains("retry the job"), "{answer:?}");
            assert_eq!(stage.status().await.jobs, Vec::<String>::new());
        })
        .await;
}

#[tokio::test]
async fn a_restart_remembers_a_running_job_and_notices_its_end() {
    LocalSet::new()
        .run_until(async {
            let mut stage = Stage::new(Some(HOOK));
            let mut agent = agent_process();
            stage.watch().await;
            let pid = agent.id().try_into().unwrap();
            assert_eq!(stage.job_starts("j", Some(pid)).await, Answer::done());
            let before = stage.group.calls();
            stage.watch().await;
            let status = stage.until("the protection is described", |s| s.protected == Some(true)).await;
            assert_eq!((status.state, status.jobs), (State::Busy, vec!["j".to_owned()]));
            assert_eq!(stage.group.calls(), before, "a restart changes nothing");
            // The agent is gone without a word: the job is over.
            agent.kill().unwrap();
            agent.wait().unwrap();
            stage.until("the job ends with its agent", |s| s.jobs.is_empty()).await;
            stage.until("idle drops protection", |s| s.protected == Some(false)).await;
        })
        .await;
}

#[tokio::test]
async fn a_terminated_instance_finishes_its_job_under_heartbeats_and_lets_go() {
    LocalSet::new()
        .run_until(async {
            let mut stage = Stage::new(Some(HOOK));
            stage.watch().await;
            assert_eq!(stage.job_starts("long", None).await, Answer::done());
            let before = stage.group.calls().len();
            stage.group.take_away();
            stage.until("it drains", |s| matches!(s.state, State::Draining(_))).await;
            stage.until_told().await;
            assert_eq!(stage.group.calls()[before..], ["heartbeat terminating"]);
            // The agent had taken one more job before it was told: a heartbeat of its own holds the instance for it.
            stage.job_ends("long").await;
            let slipped = stage.job_starts("late", None).await;
            assert_eq!(slipped, Answer::done());
            assert_eq!(stage.group.calls()[before..], ["heartbeat terminating", "heartbeat terminating"]);
            stage.job_ends("late").await;
            assert!(stage.group.member().is_some(), "the agent still runs");
            stage.agent.borrow_mut().runs = false;
            stage.until("it lets go", |s| matches!(s.state, State::Retired(_))).await;
            assert_eq!(stage.group.calls().last().unwrap(), "complete terminating");
            assert_eq!(stage.group.member(), None);
        })
        .await;
}

#[tokio::test]
async fn an_instance_that_nobody_scales_in_ends_itself_above_the_minimum() {
    LocalSet::new()
        .run_until(async {
            let mut stage = Stage::new(Some(HOOK));
            stage.orders.policy.fail_safe_after = Some(SignedDuration::ZERO);
            stage.watch().await;
            stage.until("it drains", |s| matches!(s.state, State::Draining(_))).await;
            stage.agent.borrow_mut().runs = false;
            stage.until("it lets go", |s| matches!(s.state, State::Retired(_))).await;
            assert_eq!(stage.group.calls(), ["unprotect", "terminate", "complete terminating"]);
        })
        .await;
}

#[tokio::test]
async fn an_idle_instance_that_a_scaler_keeps_stays_and_so_does_one_that_cannot_find_out() {
    for (told, why) in [(Some(true), "kept"), (None, "unknown")] {
        LocalSet::new()
            .run_until(async {
                let mut stage = Stage::new(Some(HOOK));
                stage.orders.policy.fail_safe_after = Some(SignedDuration::ZERO);
                *stage.scaler_keeps.borrow_mut() = told;
                stage.watch().await;
                stage.until("its protection drops", |_| stage.group.calls() == ["unprotect"]).await;
                // A job that comes and goes takes many looks more.
                assert_eq!(stage.job_starts("j", None).await, Answer::done());
                stage.job_ends("j").await;
                stage.until("it drops again", |_| stage.group.calls().len() == 3).await;
                assert_eq!(stage.group.calls(), ["unprotect", "protect", "unprotect"], "{why}");
                assert!(stage.status().await.state == State::Ready, "{why}");
            })
            .await;
    }
}

#[tokio::test]
async fn an_outdated_instance_finishes_its_job_and_leaves_for_a_successor() {
    LocalSet::new()
        .run_until(async {
            let mut stage = Stage::new(Some(HOOK));
            stage.orders.policy.idle_period = None;
            stage.watch().await;
            assert_eq!(stage.job_starts("long", None).await, Answer::done());
            let before = stage.group.calls().len();
            stage.group.update();
            let update = State::Draining(Reason::Update);
            stage.until("it drains", |s| s.state == update).await;
            stage.until_told().await;
            assert_eq!(stage.group.calls().len(), before, "its job still runs");
            stage.agent.borrow_mut().runs = false;
            stage.job_ends("long").await;
            stage.until("it lets go", |s| matches!(s.state, State::Retired(_))).await;
            assert_eq!(stage.group.calls()[before..], ["replace", "complete terminating"]);
            assert_eq!(stage.group.describe_size().await.unwrap().desired, 1, "a successor comes");
        })
        .await;
}

#[tokio::test]
async fn changed_settings_are_an_update_and_unreadable_ones_are_not() {
    LocalSet::new()
        .run_until(async {
            let mut stage = Stage::new(Some(HOOK));
            stage.orders.policy.idle_period = None;
            *stage.settings_changed.borrow_mut() = None;
            stage.watch().await;
            stage.until("the agent runs", |s| s.state == State::Ready).await;
            for _ in 0..50 {
                assert_eq!(stage.status().await.state, State::Ready);
            }
            *stage.settings_changed.borrow_mut() = Some(true);
            let update = State::Draining(Reason::Update);
            stage.until("it drains", |s| s.state == update).await;
            stage.agent.borrow_mut().runs = false;
            stage.until("it lets go", |s| matches!(s.state, State::Retired(_))).await;
            assert_eq!(stage.group.calls(), ["replace", "complete terminating"]);
        })
        .await;
}

#[tokio::test]
async fn a_spot_notice_cancels_what_runs_with_its_reason_and_asks_for_a_successor() {
    LocalSet::new()
        .run_until(async {
            let mut stage = Stage::new(Some(HOOK));
            stage.agent.borrow_mut().logs_run = true;
            stage.orders.policy.idle_period = None;
            stage.watch().await;
            assert_eq!(stage.job_starts("long", None).await, Answer::done());
            let before = stage.group.calls().len();
            let taken = Timestamp::now() + SignedDuration::from_secs(30);
            stage.group.announce(Notices { spot: Some(taken), ..Notices::default() });
            stage.until("it drains", |s| s.state == State::Draining(Reason::SpotNotice)).await;
            stage.until_agent(|agent| agent.told && agent.cancelled).await;
            let late = stage.job_starts("late", None).await;
            assert!(late.reason.unwrap().contains("spot-notice"), "no job is let in any more");
            // A restarted watch still knows why.
            stage.watch().await;
            let over = stage.job_ends("long").await;
            let reason = over.reason.unwrap();
            assert!(over.ok && reason.contains("EC2 takes this spot instance back at"), "{reason}");
            assert_eq!(stage.job_ends("unknown").await, Answer::done());
            stage.agent.borrow_mut().runs = false;
            stage.until("it lets go", |s| matches!(s.state, State::Retired(_))).await;
            assert_eq!(stage.group.calls()[before..], ["replace", "complete terminating"]);
            assert!(!stage.agent.borrow().logs_run, "the logs were sent first");
        })
        .await;
}

#[tokio::test]
async fn a_clock_that_is_set_harms_no_job() {
    let hour = SignedDuration::from_hours(1);
    for ahead in [hour, -hour] {
        LocalSet::new()
            .run_until(async {
                let mut stage = Stage::new(Some(HOOK));
                stage.orders.policy.heartbeat_interval = SignedDuration::from_millis(20);
                stage.orders.policy.idle_period = Some(SignedDuration::from_mins(30));
                stage.watch().await;
                stage.until("the agent runs", |s| s.state == State::Ready).await;
                stage.clock.ahead.set(ahead);
                for _ in 0..50 {
                    stage.status().await;
                }
                assert!(stage.is_protected(), "{ahead}: half an hour has not passed");
                assert_eq!(stage.job_starts("j", None).await, Answer::done());

                // The notice has the new time of day; two minutes are left, whatever was before.
                let taken = Timestamp::now() + ahead + SignedDuration::from_secs(120);
                stage.group.announce(Notices { spot: Some(taken), ..Notices::default() });
                stage.until("it drains", |s| s.state == State::Draining(Reason::SpotNotice)).await;
                for _ in 0..50 {
                    stage.status().await;
                }
                assert!(!stage.agent.borrow().cancelled, "{ahead}: a minute is left to the job");

                // Heartbeats go on, though the last one seems to lie in the future.
                stage.group.take_away();
                let heartbeats =
                    || stage.group.calls().iter().filter(|call| call.starts_with("heartbeat")).count();
                stage.until("a heartbeat", |_| heartbeats() > 0).await;
                stage.clock.ahead.set(-ahead);
                let before = heartbeats();
                stage.until("more heartbeats", |_| heartbeats() > before + 2).await;
                stage.agent.borrow_mut().runs = false;
                stage.job_ends("j").await;
                stage.until("the end", |s| s.state == State::Retired(Reason::SpotNotice)).await;
            })
            .await;
    }
}

#[tokio::test]
async fn logs_go_on_while_the_end_is_refused() {
    LocalSet::new()
        .run_until(async {
            let mut stage = Stage::new(Some(HOOK));
            stage.agent.borrow_mut().logs_run = true;
            stage.watch().await;
            stage.group.hold(true);
            stage.group.take_away();
            stage.until_told().await;
            stage.agent.borrow_mut().runs = false;
            stage.until_agent(|agent| !agent.logs_run).await;
            // A restarted watch knows that it was itself who had stopped them.
            stage.watch().await;
            stage.until_agent(|agent| agent.logs_run).await;
            stage.group.hold(false);
            stage.until("it lets go", |s| matches!(s.state, State::Retired(_))).await;
            assert!(!stage.agent.borrow().logs_run, "the last ones were sent");
        })
        .await;
}

#[tokio::test]
async fn an_operator_cordons_uncordons_and_drains() {
    LocalSet::new()
        .run_until(async {
            let mut stage = Stage::new(Some(HOOK));
            stage.watch().await;
            stage.until("idle drops protection", |s| s.protected == Some(false)).await;
            assert!(stage.ask(&Request::Cordon).await.ok);
            stage
                .until("it is cordoned and kept", |s| s.state == State::Cordoned && s.protected == Some(true))
                .await;
            stage.until_agent(|agent| agent.told).await;
            stage.agent.borrow_mut().runs = false;
            // Neither idleness nor a restart changes that.
            stage.watch().await;
            for _ in 0..50 {
                assert_eq!(stage.status().await.state, State::Cordoned);
            }
            assert!(stage.is_protected());
            assert!(stage.ask(&Request::Uncordon).await.ok);
            stage.until("it serves", |s| s.state == State::Ready).await;
            assert!(stage.agent.borrow().runs, "its agent was started again");

            assert_eq!(stage.job_starts("long", None).await, Answer::done());
            assert!(stage.ask(&Request::Drain { cancel_jobs: false }).await.ok);
            stage.until("it drains", |s| s.state == State::Draining(Reason::Operator)).await;
            let late = stage.ask(&Request::Uncordon).await;
            assert!(late.reason.unwrap().contains("draining (operator) already"));
            assert!(!stage.agent.borrow().cancelled, "jobs are waited for");
            assert!(stage.ask(&Request::Drain { cancel_jobs: true }).await.ok);
            stage.until_agent(|agent| agent.cancelled).await;
            assert!(stage.job_ends("long").await.reason.unwrap().contains("an operator drains it"));
        })
        .await;
}

#[tokio::test]
async fn a_job_may_not_speak_for_an_operator() {
    if !nix::unistd::Uid::effective().is_root() {
        eprintln!("skipped: only root can ask as somebody else");
        return;
    }
    LocalSet::new()
        .run_until(async {
            let mut stage = Stage::new(Some(HOOK));
            stage.watch().await;
            let before = stage.until("the agent runs", |s| s.state == State::Ready).await;
            for (user, verb, code) in
                [(65534, "drain", 77), (65534, "cordon", 77), (65534, "status", 0), (0, "status", 0)]
            {
                let said = stage.program(user, verb).await;
                assert_eq!(said.status.code(), Some(code), "{verb}: {said:?}");
                let text = String::from_utf8_lossy(&said.stderr).into_owned();
                assert_eq!(text.contains("only root may say that"), code == 77, "{text}");
                if code == 0 {
                    let status: serde_json::Value = serde_json::from_slice(&said.stdout).unwrap();
                    assert_eq!(status["state"], "ready");
                }
            }
            assert_eq!(stage.status().await.state, before.state);
            let said = stage.program(0, "cordon").await;
            assert!(
                String::from_utf8_lossy(&said.stderr).contains("takes no more jobs and stays; no job runs"),
                "{said:?}"
            );
            stage.until("it is cordoned", |s| s.state == State::Cordoned).await;
        })
        .await;
}

/// An image of an hour ago that takes most of the disk.
fn image(in_use: bool) -> Thing {
    let made = Timestamp::now() - SignedDuration::from_hours(1);
    Thing { name: "image".to_owned(), kind: Kind::Image, in_use, made, bytes: 90 }
}

#[tokio::test]
async fn a_full_disk_waits_for_the_job_is_cleaned_and_serves_again() {
    LocalSet::new()
        .run_until(async {
            let mut stage = Stage::new(Some(HOOK));
            stage.orders.policy.idle_period = None;
            stage.watch().await;
            assert_eq!(stage.job_starts("long", None).await, Answer::done());
            let before = stage.group.calls().len();
            stage.engine.add(image(false));
            stage.until("it takes no more jobs", |s| s.state == State::Cordoned).await;
            stage.until_agent(|agent| agent.told).await;
            for _ in 0..50 {
                stage.status().await;
            }
            assert_eq!(stage.engine.names(), ["image"], "its job may use it");
            stage.agent.borrow_mut().runs = false;
            stage.job_ends("long").await;
            stage.until("it serves", |s| s.state == State::Ready).await;
            assert!(stage.engine.names().is_empty() && stage.agent.borrow().runs);
            assert_eq!(stage.group.calls().len(), before, "the group heard nothing of it");
        })
        .await;
}

#[tokio::test]
async fn a_disk_that_stays_full_retires_the_instance_for_a_successor() {
    LocalSet::new()
        .run_until(async {
            let mut stage = Stage::new(Some(HOOK));
            stage.orders.policy.idle_period = None;
            stage.engine.add(image(true));
            stage.watch().await;
            stage.until_agent(|agent| agent.told).await;
            stage.agent.borrow_mut().runs = false;
            stage.until("it drains", |s| s.state.reason() == Some(Reason::DiskFull)).await;
            stage.until("it lets go", |s| matches!(s.state, State::Retired(_))).await;
            assert_eq!(stage.group.calls(), ["replace", "complete terminating"]);
        })
        .await;
}
