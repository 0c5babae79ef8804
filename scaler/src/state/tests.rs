use proptest::prelude::*;

use super::*;
use crate::decide::Capacity;
use crate::hint::heard::Heard;
use crate::hint::parse;
use crate::shortage::Patience;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn hear(heard: &Heard, body: &str, second: i64) {
    heard.hear(&parse(body.as_bytes()).unwrap().unwrap(), "default", at(second));
}

/// Builds that each brought a job, of pipelines of their own; and a group that owes launches.
fn learned(builds: u32) -> State {
    let heard = Heard::default();
    for build in 0..builds {
        let second = 1000 + i64::from(build);
        let told = |event: &str| {
            format!(
                r#"{{"event":"{event}","build":{{"id":"b{build}"}},"pipeline":{{"slug":"p{build}"}},"job":{{"id":"j"}}}}"#
            )
        };
        for event in ["build.running", "job.scheduled", "build.finished"] {
            hear(&heard, &told(event), second);
        }
    }
    let mut group = OfGroup::default();
    let patience =
        Patience { launch: SignedDuration::from_secs(60), retry_after: SignedDuration::from_secs(600) };
    group.shortage.note(&Capacity { desired: 2, ..Capacity::default() }, patience, at(1000));
    State {
        heard: heard.learned(),
        groups: [("ci-spot".to_owned(), group)].into(),
        others: [("b".to_owned(), crate::sharing::Remembered::default())].into(),
    }
}

#[test]
fn the_form() {
    insta::assert_snapshot!(learned(1).write(at(1010)).unwrap());
}

#[test]
fn what_was_written_is_read_and_old_looks_are_left_away() {
    let state = learned(3);
    let text = state.write(at(1010)).unwrap();
    assert_eq!(State::read(&text, at(1011)).unwrap(), state);
    assert_eq!(State::read(&text, at(900)).unwrap(), state, "by a clock that is behind");
    let later = State::read(&text, at(1010 + 601)).unwrap();
    assert_eq!(
        later,
        State { heard: state.heard, ..State::default() },
        "what builds bring is known for longer"
    );
}

#[test]
fn what_cannot_be_read_is_told() {
    let text = learned(1).write(at(1010)).unwrap();
    let of_later = text.replacen(r#""v":1"#, r#""v":2"#, 1);
    let cut = &text[..text.len() - 9];
    let strange = r#"{"v":1,"at":"1970-01-01T00:16:50Z","state":{"heard":7}}"#;
    let told = [&of_later, cut, "", "null", strange]
        .map(|text| State::read(text, at(1011)).unwrap_err().to_string());
    insta::assert_snapshot!(told.join("\n"));
}

#[test]
fn it_is_cut_to_what_fits_and_the_last_pipelines_stay() {
    let text = learned(1000).write(at(3000)).unwrap();
    assert!(text.len() <= LONGEST && text.len() > LONGEST / 4, "{}", text.len());
    assert!(text.contains(r#""p999""#) && text.contains("ci-spot"), "{text}");
    assert_eq!(State::read(&text, at(3001)).unwrap().groups, learned(0).groups);
}

proptest! {
    #[test]
    fn no_text_is_too_much(text in ".*", builds in 0u32..20, cut in 0usize..4000) {
        let _ = State::read(&text, at(0));
        let whole = learned(builds).write(at(1010)).unwrap();
        let end = cut.min(whole.len());
        if end < whole.len() {
            prop_assert!(State::read(&whole[..end], at(1011)).is_err());
        }
        let again = State::read(&whole, at(1011)).unwrap();
        prop_assert_eq!(again, learned(builds));
    }
}
