use super::*;

fn at(seconds: u64) -> Moment {
    let wall = Timestamp::from_second(i64::try_from(seconds).unwrap()).unwrap();
    Moment { steady: Duration::from_secs(seconds), wall }
}

fn held(owner: &str, turn: u64) -> Held {
    Held { owner: owner.to_owned(), turn }
}

/// A lease that was taken at a time.
fn taken(at: Moment) -> Lease {
    let mut lease = Lease::new("me");
    let Next::Take { to_be, .. } = lease.read(None, &at) else { unreachable!("nothing lies there") };
    lease.asks(&to_be);
    lease.took(&to_be, true, at);
    lease
}

#[test]
fn a_taken_lease_lasts_a_while_and_is_then_taken_anew() {
    let lease = taken(at(100));
    let s = Duration::from_secs;
    assert_eq!(lease.wish(&at(100)), Next::Lower(s(24)));
    assert_eq!(lease.wish(&at(111)), Next::Lower(s(13)));
    let anew = Next::Take { over: Some(held("me", 1)), to_be: held("me", 2) };
    for later in [112, 124, 9000] {
        assert_eq!(lease.wish(&at(later)), anew, "as long as nobody else has taken it");
    }
}

#[test]
fn either_clock_ends_a_hold_and_neither_prolongs_it() {
    let lease = taken(at(100));
    let frozen = Moment { steady: Duration::from_secs(101), ..at(700) };
    assert!(matches!(lease.wish(&frozen), Next::Take { .. }), "the steady clock stood still");
    let set_back = Moment { steady: Duration::from_secs(113), ..at(10) };
    assert!(matches!(lease.wish(&set_back), Next::Take { .. }), "the wall clock was set back");
}

#[test]
fn somebody_elses_is_taken_once_its_version_stood_still() {
    let mut lease = Lease::new("me");
    let leave = Next::Leave("she".to_owned());
    assert_eq!(lease.wish(&at(0)), Next::Read);
    assert_eq!(lease.read(Some(held("she", 4)), &at(0)), leave);
    assert_eq!(lease.read(Some(held("she", 4)), &at(29)), leave);
    assert_eq!(lease.read(Some(held("she", 5)), &at(29)), leave, "she is there");
    assert_eq!(lease.read(Some(held("she", 5)), &at(58)), leave);
    let set = Moment { wall: at(9000).wall, ..at(58) };
    assert_eq!(lease.read(Some(held("she", 5)), &set), leave, "a wall clock says nothing of others");
    let take = Next::Take { over: Some(held("she", 5)), to_be: held("me", 1) };
    assert_eq!(lease.read(Some(held("she", 5)), &at(59)), take);
}

#[test]
fn whoever_was_slower_waits_and_uses_no_turn_twice() {
    let mut lease = Lease::new("me");
    let Next::Take { over: None, to_be } = lease.read(None, &at(0)) else {
        unreachable!("nothing lies there")
    };
    lease.asks(&to_be);
    lease.took(&to_be, false, at(0));
    assert_eq!(lease.wish(&at(0)), Next::Read);
    assert_eq!(lease.read(Some(held("she", 1)), &at(0)), Next::Leave("she".to_owned()));
    let Next::Take { to_be, .. } = lease.read(None, &at(1)) else { unreachable!("she has left") };
    assert_eq!(to_be, held("me", 2));
}

#[test]
fn a_put_whose_answer_was_lost_is_known_again() {
    let mut lease = taken(at(0));
    let Next::Take { to_be, .. } = lease.wish(&at(50)) else { unreachable!("it is old") };
    lease.asks(&to_be);
    // It is there; nobody knows.
    assert!(matches!(lease.wish(&at(51)), Next::Take { over: Some(held), .. } if held.turn == 1));
    lease.took(&to_be, false, at(51));
    let take = Next::Take { over: Some(held("me", 2)), to_be: held("me", 3) };
    assert_eq!(lease.read(Some(held("me", 2)), &at(51)), take);
}

#[test]
fn what_is_given_up_is_not_held() {
    let mut lease = taken(at(0));
    assert_eq!(lease.give_up(), Some(held("me", 1)));
    assert_eq!((lease.give_up(), lease.wish(&at(1))), (None, Next::Read));
}
