//! Replays what the real FMD Server was recorded to answer and to log.
//!
//! Every `tests/contract/NAME.json` is a recording, made under the settings of
//! `NAME.yml`: exchanges in order, with times, process ids, ports and generated
//! values normalised to TIME, PID, PORT and $NAME. Lay another recording there
//! and it is replayed.

#![allow(clippy::unwrap_used)]

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use support::{Request, TestServer};

fn recordings() -> Vec<PathBuf> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/contract");
    let files = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let mut recordings: Vec<_> = files
        .filter(|file| {
            file.extension()
                .is_some_and(|extension| extension == "json")
        })
        .collect();
    recordings.sort();
    recordings
}

fn exchanges(recording: &Path) -> Vec<Value> {
    serde_json::from_str(&fs::read_to_string(recording).unwrap()).unwrap()
}

fn settings(recording: &Path) -> String {
    fs::read_to_string(recording.with_extension("yml")).unwrap()
}

#[test]
fn every_recorded_exchange_replays_without_a_difference() {
    let recordings = recordings();
    assert!(!recordings.is_empty());
    for recording in recordings {
        let exchanges = exchanges(&recording);
        let differences = replay(&settings(&recording), &exchanges);
        assert!(
            differences.is_empty(),
            "{}:\n{}",
            recording.display(),
            differences.join("\n")
        );
        println!("{}: {} exchanges", recording.display(), exchanges.len());
    }
}

/// The faults this test must find, each seeded into a copy of the recording.
#[test]
fn a_difference_in_any_part_of_an_exchange_is_found() {
    let recording = &recordings()[0];
    for (part, wrong) in [
        ("status", Value::from(418)),
        ("response", Value::from("{\"IDT\":\"alice\"}")),
        ("content_type", Value::from("text/html")),
        ("syslog", Value::from(vec!["<12>TIME fmd-server[PID]: {}"])),
    ] {
        let mut exchanges = exchanges(recording);
        exchanges.truncate(8);
        exchanges[3][part] = wrong;
        let differences = replay(&settings(recording), &exchanges);
        assert_eq!(differences.len(), 1, "{part}: {differences:?}");
        assert!(differences[0].contains(part), "{differences:?}");
    }
}

/// Values the recording calls by a name, longest name first so that `$TOK`
/// doesn't stand in for the start of `$TOK2`.
#[derive(Default)]
struct Saved(BTreeMap<std::cmp::Reverse<(usize, String)>, String>);

impl Saved {
    fn save(&mut self, name: &str, value: String) {
        let key = std::cmp::Reverse((name.len(), name.to_owned()));
        self.0.insert(key, value);
    }

    fn fill_in(&self, text: &str) -> String {
        self.0.iter().fold(text.to_owned(), |text, (key, value)| {
            text.replace(&format!("${}", key.0.1), value)
        })
    }
}

fn replay(settings: &str, exchanges: &[Value]) -> Vec<String> {
    let server = TestServer::start(settings);
    let mut saved = Saved::default();
    let mut differences = Vec::new();
    for (index, exchange) in exchanges.iter().enumerate() {
        let response = server.send(&request(exchange, &saved));
        for (name, field) in exchange["save"].as_object().into_iter().flatten() {
            saved.save(name, response.field(field.as_str().unwrap()));
        }
        let fill_in = |value: &Value| value.as_str().map(|text| saved.fill_in(text));
        let syslog: Vec<Value> = server.syslog.drain().iter().map(|l| normalise(l)).collect();
        let parts = [
            (
                "status",
                exchange["status"].clone(),
                Value::from(response.status),
            ),
            (
                "response",
                fill_in(&exchange["response"]).into(),
                response.text().into(),
            ),
            (
                "content_type",
                exchange["content_type"].clone(),
                response.header("content-type").into(),
            ),
            ("syslog", exchange["syslog"].clone(), Value::from(syslog)),
        ];
        for (part, expected, found) in parts {
            if expected != found {
                let name = &exchange["name"];
                differences.push(format!("{index} {name}: {part}: {expected} became {found}"));
            }
        }
    }
    differences
}

fn request(exchange: &Value, saved: &Saved) -> Request {
    let text = |key: &str| exchange[key].as_str().unwrap();
    let mut request = Request::new(text("method"), &saved.fill_in(text("path")));
    for header in exchange["headers"].as_array().unwrap() {
        let value = saved.fill_in(header[1].as_str().unwrap());
        // The recorder sent characters as Latin-1.
        let value: Vec<u8> = value.chars().map(|c| u8::try_from(c).unwrap()).collect();
        request = request.header(header[0].as_str().unwrap(), value);
    }
    match &exchange["body"] {
        Value::Null => request,
        body => match body["raw"].as_str() {
            Some(raw) => request.body(saved.fill_in(raw)),
            None => request.body(saved.fill_in(&body.to_string())),
        },
    }
}

/// `<12>Nov 22 23:58:55 fmd-server[21616]: {…}` with its times, process id and
/// port made equal, as long as they have the right form.
fn normalise(line: &str) -> Value {
    let own_pid = format!("fmd-server[{}]: ", std::process::id());
    let (priority, rest) = line.split_once('>').unwrap();
    let (stamp, rest) = rest.split_at("Nov 22 23:58:55 ".len());
    jiff::fmt::strtime::parse("%b %e %H:%M:%S ", stamp).unwrap();
    let json = rest
        .strip_prefix(&own_pid)
        .unwrap()
        .strip_suffix('\n')
        .unwrap();
    let (head, rest) = json.rsplit_once("\"time\":\"").unwrap();
    let (time, tail) = rest.split_once('"').unwrap();
    time.parse::<jiff::Timestamp>().unwrap();
    let head = without_port(head);
    format!("{priority}>TIME fmd-server[PID]: {head}\"time\":\"TIME\"{tail}").into()
}

fn without_port(text: &str) -> String {
    const LOOPBACK: &str = "127.0.0.1:";
    let Some((before, after)) = text.split_once(LOOPBACK) else {
        return text.to_owned();
    };
    let rest = after.trim_start_matches(|c: char| c.is_ascii_digit());
    assert!(rest.len() < after.len());
    format!("{before}{LOOPBACK}PORT{rest}")
}
