//! The decoder against what Go's was recorded to do (`tests/json/record.go`).

use serde_json::Value;

use super::*;

const RECORDED: &str = include_str!("../../tests/json/recorded-go.json");

#[derive(Default, Debug, PartialEq)]
struct Login {
    idt: String,
    data: String,
    seconds: u64,
}

impl Body for Login {
    fn field(&mut self, key: &str) -> Option<Field<'_>> {
        match key {
            "IDT" => Some(Field::Text(&mut self.idt)),
            "DATA" => Some(Field::Text(&mut self.data)),
            "SESSIONDURATIONSECONDS" => Some(Field::Number(&mut self.seconds)),
            _ => None,
        }
    }
}

fn records() -> Vec<(Vec<u8>, Value)> {
    let records: Vec<Value> = serde_json::from_str(RECORDED).unwrap();
    let body = |record: &Value| {
        let bytes: Vec<u8> = serde_json::from_value(record["Body"].clone()).unwrap();
        (bytes, record.clone())
    };
    records.iter().map(body).collect()
}

#[test]
fn every_recorded_body_is_decoded_as_go_decodes_it() {
    for (body, record) in records() {
        let expected = record["Ok"].as_bool().unwrap().then(|| Login {
            idt: record["IDT"].as_str().unwrap().to_owned(),
            data: record["Data"].as_str().unwrap().to_owned(),
            seconds: record["Seconds"].as_u64().unwrap(),
        });
        let shown = String::from_utf8_lossy(&body[..body.len().min(200)]);
        assert_eq!(decode(&body).ok(), expected, "{shown}");
    }
}

#[test]
fn every_recorded_string_is_quoted_as_go_quotes_it() {
    for (_, record) in records() {
        let Some(encoded) = record["Encoded"].as_str().filter(|text| !text.is_empty()) else {
            continue;
        };
        // Recorded with Go 1.19; from 1.22 on, and so in upstream's builds,
        // these two have a short form.
        let encoded = encoded.replace("\\u0008", "\\b").replace("\\u000c", "\\f");
        assert_eq!(quote(record["IDT"].as_str().unwrap()), encoded);
    }
}

/// Tried with Go by hand: the recording would be of megabytes.
#[test]
fn only_the_first_value_may_nest_and_only_so_deep() {
    let nested = |levels: usize| {
        let (open, close) = ("[".repeat(levels), "]".repeat(levels));
        format!(r#"{{"x":{open}{close},"IDT":"deep"}}"#)
    };
    assert!(decode::<Login>(nested(9_999).as_bytes()).is_ok());
    assert!(decode::<Login>(nested(10_000).as_bytes()).is_err());
    let text = format!(r#"{{"x":"{}"}}"#, "[".repeat(20_000));
    assert!(decode::<Login>(text.as_bytes()).is_ok());
    let after = format!("{{}}{}", "[".repeat(20_000));
    assert!(decode::<Login>(after.as_bytes()).is_ok());
    assert!(decode::<Login>("[".repeat(20_000).as_bytes()).is_err());
}
