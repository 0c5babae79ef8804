use jiff::SignedDuration;

use super::*;
use crate::disk::fake_engine::{FakeEngine, Kind, Thing};

const GIB: u64 = 1 << 30;
const DISK: u64 = 100 * GIB;

/// What one takes that was made so many hours ago.
fn thing(name: &str, kind: Kind, in_use: bool, hours: i64, gib: u64) -> Thing {
    let made = Timestamp::now() - SignedDuration::from_hours(hours);
    Thing { name: name.to_owned(), kind, in_use, made, bytes: gib * GIB }
}

type Space1 = Box<dyn Fn(&PathBuf) -> std::io::Result<Space>>;

/// A guard of a disk of 100 GiB that holds what the engine has, and nothing else.
fn guard(engine: &FakeEngine) -> (KeeperEnd, Guard<FakeEngine, Space1>) {
    let (keeper, end) = ends();
    let used = engine.clone();
    let space: Space1 =
        Box::new(move |_| Ok(Space { total: DISK, free: DISK.saturating_sub(used.used()), inodes: None }));
    let limits = Limits { free: Some(20 * GIB), inodes: None, unused_for: SignedDuration::from_hours(4) };
    (keeper, Guard::new("i-1", Some(engine.clone()), space, PathBuf::from("/builds"), limits, end))
}

fn job_since(hours: i64) -> Activity {
    let eldest_job = Some(Timestamp::now() - SignedDuration::from_hours(hours));
    Activity { eldest_job, quiet_since: None }
}

#[tokio::test]
async fn old_leftovers_go_and_what_runs_or_is_young_stays() {
    let engine = FakeEngine::with(vec![
        thing("old container", Kind::Container, false, 5, 5),
        thing("running container", Kind::Container, true, 9, 1),
        thing("young container", Kind::Container, false, 1, 1),
        thing("old cache", Kind::Cache, false, 99, 1),
        thing("image", Kind::Image, false, 99, 1),
    ]);
    let (keeper, mut guard) = guard(&engine);
    guard.look().await;
    let kept = ["running container", "young container", "old cache", "image"];
    assert_eq!(engine.names(), kept, "cache makes jobs quick while there is room");
    assert_eq!(*keeper.verdict.borrow(), Disk::Fine);
    guard.look().await;
    assert_eq!(engine.calls(), ["old"], "once an hour is enough");
}

#[tokio::test]
async fn short_room_takes_old_cache_at_once() {
    let engine = FakeEngine::with(vec![
        thing("old cache", Kind::Cache, false, 99, 90),
        thing("young cache", Kind::Cache, false, 1, 1),
    ]);
    let (keeper, mut guard) = guard(&engine);
    keeper.activity.send(job_since(2)).unwrap();
    guard.look().await;
    assert_eq!((engine.names(), *keeper.verdict.borrow()), (vec!["young cache".to_owned()], Disk::Fine));
}

#[tokio::test]
async fn a_long_job_keeps_what_was_made_since_it_began() {
    let engine = FakeEngine::with(vec![
        thing("of the job", Kind::Container, false, 5, 1),
        thing("before it", Kind::Container, false, 7, 1),
    ]);
    let (keeper, mut guard) = guard(&engine);
    keeper.activity.send(job_since(6)).unwrap();
    guard.look().await;
    assert_eq!(engine.names(), ["of the job"]);
}

#[tokio::test]
async fn short_room_waits_for_the_jobs_then_images_go_and_it_serves_again() {
    let engine = FakeEngine::with(vec![
        thing("old image", Kind::Image, false, 5, 60),
        thing("young image", Kind::Image, false, 1, 10),
        thing("image in use", Kind::Image, true, 50, 20),
    ]);
    let (keeper, mut guard) = guard(&engine);
    keeper.activity.send(job_since(1)).unwrap();
    guard.look().await;
    assert_eq!((engine.names().len(), *keeper.verdict.borrow()), (3, Disk::Low), "a job may use them");
    keeper.activity.send(Activity::default()).unwrap();
    guard.look().await;
    assert_eq!((engine.names().len(), *keeper.verdict.borrow()), (3, Disk::Low), "a job may come");
    keeper.activity.send(Activity { eldest_job: None, quiet_since: Some(Timestamp::now()) }).unwrap();
    guard.look().await;
    assert_eq!(engine.names(), ["young image", "image in use"]);
    assert_eq!(*keeper.verdict.borrow(), Disk::Fine);
}

#[tokio::test]
async fn what_cannot_be_regained_is_told_and_so_is_an_engine_that_is_dead() {
    for dead in [false, true] {
        let engine = FakeEngine::with(vec![
            thing("image in use", Kind::Image, true, 50, 90),
            thing("old", Kind::Image, false, 50, 1),
        ]);
        let (keeper, mut guard) = guard(&engine);
        if dead {
            engine.die();
        }
        keeper.activity.send(Activity { eldest_job: None, quiet_since: Some(Timestamp::now()) }).unwrap();
        guard.look().await;
        assert_eq!(*keeper.verdict.borrow(), Disk::Full, "dead: {dead}");
        assert_eq!(engine.calls(), ["old", "unused"], "each once");
        assert_eq!(engine.names().len(), if dead { 2 } else { 1 });
    }
}

#[tokio::test]
async fn what_cannot_be_measured_changes_nothing() {
    let engine = FakeEngine::with(vec![thing("image", Kind::Image, false, 50, 99)]);
    let (keeper, mut guard) = guard(&engine);
    guard.space = Box::new(|_| Err(std::io::Error::other("gone")));
    keeper.activity.send(Activity { eldest_job: None, quiet_since: Some(Timestamp::now()) }).unwrap();
    guard.look().await;
    assert_eq!((engine.calls().len(), *keeper.verdict.borrow()), (0, Disk::Fine));
}
