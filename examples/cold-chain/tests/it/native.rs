//! The handlers against the host in memory.

use std::collections::BTreeMap;

use w3bstream_example_cold_chain::{BAD_READING, Day, Record, reading, unknown};
use w3bstream_sdk::Error;
use w3bstream_sdk::mock::{Host, Outcome};

use super::readings::{Reading, rows};

const DAY_MS: i64 = 24 * 60 * 60 * 1000;

fn send(host: &mut Host, device: &str, time: i64, milli_celsius: i64) -> Outcome {
    let payload = Reading { date: String::new(), time, milli_celsius }.payload(device);
    host.deliver(reading, "reading", &payload)
}

fn record(host: &Host, device: &str, date: &str) -> Record {
    Record::from_json(host.kv(format!("d/{device}/{date}")).unwrap()).unwrap()
}

#[test]
fn a_year_of_two_stations_gives_what_a_plain_loop_over_the_rows_gives() {
    let mut host = Host::new();
    let mut expected: BTreeMap<String, Record> = BTreeMap::new();
    let mut summaries = 0;
    let (seattle, sf) = (rows("seattle"), rows("sf"));
    assert_eq!((seattle.len(), sf.len()), (8759, 8759));
    for (a, b) in seattle.iter().zip(&sf) {
        for (device, row) in [("seattle", a), ("sf", b)] {
            let outcome = host.deliver(reading, "reading", &row.payload(device));
            assert_eq!(outcome.code, 0, "{:?}", outcome.logs);
            summaries += outcome.published.iter().filter(|m| m.topic == format!("daily/{device}")).count();
            expected.entry(format!("d/{device}/{}", row.date)).or_default().add(
                row.milli_celsius,
                false,
                false,
            );
        }
    }
    assert_eq!(expected.len(), 730);
    assert_eq!(summaries, 728, "the last day of each station is still open");
    for (key, record) in &expected {
        assert_eq!(host.kv_text(key), Some(record.to_json().as_str()), "{key}");
    }
    assert_eq!(host.kv_text("open/sf"), Some("2010-12-31"));
    assert_eq!(host.state().len(), 732);
    // The hour that is missing in the data.
    assert_eq!(record(&host, "seattle", "2010-03-14").count, 23);
    // The first row is 39.4 °F.
    assert_eq!(seattle[0].milli_celsius, 4111);
}

#[test]
fn the_first_breach_of_a_day_raises_one_alarm() {
    let mut host = Host::new().env("alarm_above_mc", "8000").env("alarm_below_mc", "2000");
    let alarms = |o: &Outcome| {
        o.published.iter().filter(|m| m.topic == "alarms/t").map(|m| m.text()).collect::<Vec<_>>()
    };
    assert!(alarms(&send(&mut host, "t", 0, 8000)).is_empty(), "the limit itself is allowed");
    assert_eq!(
        alarms(&send(&mut host, "t", 1, 8001)),
        [r#"{"device":"t","t":1,"c":8001,"kind":"above","limit":8000}"#]
    );
    assert!(alarms(&send(&mut host, "t", 2, 1999)).is_empty(), "one alarm a day");
    assert_eq!(record(&host, "t", "1970-01-01").alarms, 2);
    assert_eq!(
        alarms(&send(&mut host, "t", DAY_MS, 1999)),
        [r#"{"device":"t","t":86400000,"c":1999,"kind":"below","limit":2000}"#],
        "the next day has its own"
    );
    assert!(alarms(&send(&mut host, "other", 5, 8001)).is_empty(), "another device has its own topic");
}

#[test]
fn a_day_is_summed_up_when_a_later_one_starts() {
    let mut host = Host::new();
    for (time, c) in [(0, -1000), (1, 2000), (2, -2000)] {
        assert!(send(&mut host, "t", time, c).published.is_empty());
    }
    let outcome = send(&mut host, "t", 3 * DAY_MS, 5);
    let [summary] = outcome.published.as_slice() else { panic!("{:?}", outcome.published) };
    assert_eq!(summary.topic, "daily/t");
    assert_eq!(
        summary.text(),
        r#"{"device":"t","day":"1970-01-01","n":3,"min":-2000,"max":2000,"mean":-334,"alarms":0}"#
    );
    assert_eq!(outcome.logs[0].text, "t: 1970-01-01 closed with 3 readings");

    let late = send(&mut host, "t", 5, -9000);
    assert!(late.published.is_empty());
    assert_eq!(
        record(&host, "t", "1970-01-01"),
        Record { count: 4, min: -9000, max: 2000, sum: -10_000, alarms: 0, late: 1 }
    );
    assert_eq!(host.kv_text("open/t"), Some("1970-01-04"), "a late reading opens no day");
}

#[test]
fn what_is_no_reading_is_refused_and_changes_nothing() {
    let mut host = Host::new();
    for (payload, code) in [
        (r#"{"device":"t","t":1}"#, Error::JSON),
        (r#"{"device":"t","t":1,"c":1.5}"#, Error::JSON),
        (r#"{"device":"t","t":1,"c":1"#, Error::JSON),
        (r#"{"device":"a/b","t":1,"c":1}"#, BAD_READING),
        (r#"{"device":"+","t":1,"c":1}"#, BAD_READING),
        (r#"{"device":"","t":1,"c":1}"#, BAD_READING),
        (r#"{"device":"t","t":-1,"c":1}"#, BAD_READING),
        (r#"{"device":"t","t":253402300800000,"c":1}"#, BAD_READING),
        (r#"{"device":"t","t":1,"c":-273151}"#, BAD_READING),
        (r#"{"device":"t","t":1,"c":1000001}"#, BAD_READING),
    ] {
        let outcome = host.deliver(reading, "reading", payload.as_bytes());
        assert_eq!(outcome.code, code, "{payload}");
        assert_eq!(outcome.logs.len(), 1, "{payload}");
    }
    assert!(host.state().is_empty());
    let mut misset = Host::new().env("alarm_above_mc", "8 degrees");
    let outcome = send(&mut misset, "t", 1, 1);
    assert_eq!(
        (outcome.code, outcome.logs[0].text.as_str()),
        (Error::GENERAL, "the setting alarm_above_mc is no whole number")
    );
    assert!(misset.state().is_empty());
}

#[test]
fn unknown_events_are_counted_by_type() {
    let mut host = Host::new();
    for event_type in ["door", "door", "battery"] {
        assert_eq!(host.deliver(unknown, event_type, b"\xff").code, 0);
    }
    assert_eq!(host.kv_text("unknown/door"), Some("2"));
    assert_eq!(host.kv_text("unknown/battery"), Some("1"));
}

#[test]
fn the_order_of_readings_within_a_day_does_not_matter() {
    let day: Vec<_> = rows("sf").into_iter().filter(|r| r.date == "2010-07-04").collect();
    let run = |rows: &[Reading]| {
        let mut host = Host::new().env("alarm_above_mc", "16000");
        for row in rows {
            host.deliver(reading, "reading", &row.payload("sf"));
        }
        host.state().clone()
    };
    let mut other: Vec<_> = day.iter().rev().cloned().collect();
    other.rotate_left(7);
    assert_eq!(run(&day), run(&other));
    assert_eq!(Day::of(day[0].time).unwrap().to_text(), "2010-07-04");
}
