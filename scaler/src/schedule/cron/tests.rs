use jiff::civil::datetime;
use proptest::prelude::*;

use super::*;

fn cron(text: &str) -> Cron {
    text.parse().unwrap_or_else(|fault| panic!("{text}: {fault}"))
}

#[test]
fn minutes_are_named_as_cron_names_them() {
    // 2026-11-23 is a Monday, 2026-11-29 a Sunday.
    let monday = |hour, minute| datetime(2026, 11, 23, hour, minute, 59, 0);
    let sunday = datetime(2026, 11, 29, 8, 0, 0, 0);
    for (text, at, expected) in [
        ("* * * * *", monday(8, 0), true),
        ("* 8-17 * * mon-fri", monday(8, 0), true),
        ("* 8-17 * * mon-fri", monday(17, 59), true),
        ("* 8-17 * * mon-fri", monday(18, 0), false),
        ("* 8-17 * * MON-FRI", sunday, false),
        ("* * * * 0", sunday, true),
        ("* * * * 7", sunday, true),
        ("* * * * 5-7", sunday, true),
        ("* * * * 1-6", sunday, false),
        ("30-59 8 * * *", monday(8, 29), false),
        ("30-59 8 * * *", monday(8, 30), true),
        ("*/20 * * * *", monday(9, 40), true),
        ("*/20 * * * *", monday(9, 41), false),
        ("5/20 * * * *", monday(9, 45), true),
        ("0 22-23,0-5 * * *", monday(23, 0), true),
        ("* * 23 nov *", monday(0, 0), true),
        ("* * 24 11 *", monday(0, 0), false),
        // Both days restricted: either is enough.
        ("* * 24 * mon", monday(0, 0), true),
        ("* * 24 * tue", monday(0, 0), false),
        // A star with a step restricts nothing by itself, so both must hold.
        ("* * */2 * mon", monday(0, 0), true),
        ("* * */2 * tue", monday(0, 0), false),
    ] {
        assert_eq!(cron(text).matches(at), expected, "{text} at {at}");
    }
}

#[test]
fn what_is_no_expression_says_why() {
    let told: Vec<String> = [
        "",
        "* * * *",
        "60 * * * *",
        "* 24 * * *",
        "* * 0 * *",
        "* * * 13 *",
        "* * * * 8",
        "* * * * moon",
        "* 18-8 * * *",
        "*/0 * * * *",
        "-1 * * * *",
        "1, * * * *",
        "* * * * * *",
    ]
    .map(|text| format!("{text:12} {}", text.parse::<Cron>().unwrap_err()))
    .into();
    insta::assert_snapshot!(told.join("\n"));
}

#[test]
fn overlaps_are_found_wherever_the_calendar_has_them() {
    for (one, another, expected) in [
        ("* 8-17 * * mon-fri", "* 18-23 * * mon-fri", false),
        ("* 8-17 * * mon-fri", "* 17 * * fri", true),
        ("* 8-17 * * mon-fri", "* 8-17 * * sat,sun", false),
        ("0-29 8 * * *", "30-59 8 * * *", false),
        ("* * 1 * *", "* * 2 * *", false),
        ("* * 29 feb *", "* * * * tue", true),
        ("* * 31 * *", "* * * 4,6,9,11 *", false),
        ("* * 13 * *", "* * * * fri", true),
        // Either of the days, of both.
        ("* * 13 * fri", "* * 14 * sat", true),
        ("* * 30 feb *", "* * * * *", false),
    ] {
        assert_eq!(cron(one).overlaps(&cron(another)), expected, "{one} and {another}");
        assert_eq!(cron(another).overlaps(&cron(one)), expected, "{another} and {one}");
    }
    assert!(!cron("* * 30 feb *").ever_holds() && cron("* * 29 feb *").ever_holds());
}

fn field(least: u32, most: u32) -> impl Strategy<Value = String> {
    prop_oneof![
        Just("*".to_owned()),
        (least..=most).prop_map(|n| n.to_string()),
        (least..=most, least..=most).prop_map(|(a, b)| format!("{}-{}", a.min(b), a.max(b))),
        (1u32..9).prop_map(|n| format!("*/{n}")),
    ]
}

fn any_cron() -> impl Strategy<Value = Cron> {
    (field(0, 59), field(0, 23), field(1, 31), field(1, 12), field(0, 7))
        .prop_map(|(a, b, c, d, e)| cron(&format!("{a} {b} {c} {d} {e}")))
}

proptest! {
    #[test]
    fn law_what_holds_at_once_overlaps(one in any_cron(), another in any_cron(), days in 0i64..9_000, minute in 0i64..1440) {
        let at = date(2004, 2, 29).to_datetime(jiff::civil::Time::midnight());
        let at = at.checked_add(jiff::Span::new().days(days).minutes(minute)).unwrap();
        if one.matches(at) && another.matches(at) {
            prop_assert!(one.overlaps(&another));
        }
    }

    #[test]
    fn law_any_text_is_an_expression_or_a_fault(text in "\\PC{0,30}") {
        let _ = text.parse::<Cron>();
    }
}
