use super::*;

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn period(name: &str, when: &[&str], changes: Changes) -> Period {
    Period { name: name.to_owned(), when: when.iter().map(|text| text.parse().unwrap()).collect(), changes }
}

fn office(zone_name: &str) -> Schedule {
    let day = Changes { idle_instances: Some(3), ..Changes::default() };
    let night = Changes { max_instances: Some(2), scale_in: Some(false), ..Changes::default() };
    Schedule {
        zone: zone(zone_name).unwrap(),
        periods: vec![
            period("office", &["* 8-17 * * mon-fri"], day),
            period("night", &["* 22-23 * * *", "* 0-4 * * *"], night),
        ],
    }
}

#[test]
fn a_period_changes_what_it_names_and_outside_the_base_holds() {
    let base = Policy { instance_buffer: 1, ..Policy::of_need(2) };
    let effective = |time: &str| office("Europe/Berlin").policy_at(&base, 9, at(time));
    let outside = Effective { policy: base, most: 9, period: None };
    // Monday, in winter an hour ahead of UTC.
    for (time, expected) in [
        ("2026-11-23T06:59:59Z", outside.clone()),
        (
            "2026-11-23T07:00:00Z",
            Effective {
                policy: Policy { idle_instances: 3, ..base },
                period: Some("office".into()),
                ..outside.clone()
            },
        ),
        ("2026-11-23T17:00:00Z", outside.clone()),
        (
            "2026-11-23T21:00:00Z",
            Effective { policy: Policy { scale_in: false, ..base }, most: 2, period: Some("night".into()) },
        ),
        ("2026-11-28T09:00:00Z", outside),
    ] {
        assert_eq!(effective(time), expected, "{time}");
    }
}

/// How many minutes of a day (from and to in UTC) the period `name` holds.
fn minutes(schedule: &Schedule, name: &str, from: &str, to: &str) -> usize {
    let mut now = at(from);
    let mut count = 0;
    while now < at(to) {
        count += usize::from(schedule.period_at(now).is_some_and(|period| period.name == name));
        now += jiff::SignedDuration::from_mins(1);
    }
    count
}

#[test]
fn days_on_which_clocks_are_set() {
    let schedule = office("Europe/Berlin");
    // 00:00 to 05:00 and 22:00 to 24:00 by the clock on the wall: an ordinary day, the day of 23 hours, that of 25.
    for (from, to, expected) in [
        ("2026-03-27T23:00:00Z", "2026-03-28T23:00:00Z", 7 * 60),
        ("2026-03-28T23:00:00Z", "2026-03-29T22:00:00Z", 6 * 60),
        ("2026-10-24T22:00:00Z", "2026-10-25T23:00:00Z", 8 * 60),
    ] {
        assert_eq!(minutes(&schedule, "night", from, to), expected, "{from}");
    }
    // The office opens by the clock on the wall, in winter an hour later by UTC than in summer.
    let opens = |time| schedule.period_at(at(time)).is_some();
    assert!(!opens("2026-03-27T06:59:00Z") && opens("2026-03-27T07:00:00Z"));
    assert!(!opens("2026-03-30T05:59:00Z") && opens("2026-03-30T06:00:00Z"));
}

#[test]
fn a_period_within_the_hour_that_is_left_out_does_not_come() {
    let only = |when: &str| Schedule {
        zone: zone("America/New_York").unwrap(),
        periods: vec![period("p", &[when], Changes::default())],
    };
    // 2026-03-08: 02:00 becomes 03:00. 2026-11-01: 02:00 becomes 01:00.
    let schedule = only("* 2 * * *");
    assert_eq!(minutes(&schedule, "p", "2026-03-08T05:00:00Z", "2026-03-09T04:00:00Z"), 0);
    assert_eq!(minutes(&only("* 1 * * *"), "p", "2026-11-01T04:00:00Z", "2026-11-02T05:00:00Z"), 120);
}

#[test]
fn zones_have_their_names_of_the_iana_database() {
    for name in ["Europe/Berlin", "utc", "UTC", "america/new_york", "Asia/Kolkata", "Etc/UTC"] {
        assert!(zone(name).is_some(), "{name}");
    }
    for name in ["", "Berlin", "CEST", "Europe/Berlin "] {
        assert!(zone(name).is_none(), "{name}");
    }
    assert!(zones().all(|name| zone(name).is_some()));
}

#[test]
fn overlapping_periods_tell_the_two_expressions() {
    let office = office("UTC");
    assert_eq!(office.periods[0].overlap(&office.periods[1]), None);
    let lunch = period("lunch", &["* 3 * * sun", "* 12 * * fri"], Changes::default());
    let told = office.periods[0].overlap(&lunch).map(|(one, another)| (one.text(), another.text()));
    assert_eq!(told, Some(("* 8-17 * * mon-fri", "* 12 * * fri")));
}
