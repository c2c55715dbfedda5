//! No input makes the server panic: random requests, random settings.
//!
//! The settings and the pieces of requests are drawn near what is valid, where
//! mistakes live. `PROPTEST_CASES` sets how many are tried.

#![allow(clippy::unwrap_used)]

mod support;

use std::ffi::OsString;
use std::io::Write;
use std::sync::LazyLock;

use fmd_embedded::config::{self, Environment, Flags};
use proptest::collection::{hash_map, vec};
use proptest::prelude::*;
use proptest::sample::select;
use support::{Request, Response, TestServer};

/// A server all cases share, with an account and a token for it.
static SERVER: LazyLock<(TestServer, String)> = LazyLock::new(|| {
    let server = TestServer::start("RemoteIpHeader: X-Real-IP\nMaxSavedLoc: 3\nMaxSavedPic: 3\n");
    let token = server.token("alice");
    (server, token)
});

const ENDPOINTS: [&str; 21] = [
    "command",
    "device",
    "key",
    "location",
    "locationDataSize",
    "locations",
    "locations/delete",
    "password",
    "picture",
    "pictures",
    "pictures/delete",
    "pictureSize",
    "pubKey",
    "push",
    "requestAccess",
    "salt",
    "tileServerUrl",
    "version",
    "",
    "index.html",
    "..",
];

const KEYS: [&str; 12] = [
    "IDT",
    "Data",
    "idt",
    "SessionDurationSeconds",
    "UnixTime",
    "CmdSig",
    "Salt",
    "HashedPassword",
    "PubKey",
    "PrivKey",
    "RequestedUsername",
    "RegistrationToken",
];

const SETTINGS: [&str; 16] = [
    "DatabaseDir",
    "WebDir",
    "UnixSocketPath",
    "UnixSocketChmod",
    "PortSecure",
    "PortInsecure",
    "UserIdLength",
    "MaxSavedLoc",
    "MaxSavedPic",
    "RegistrationToken",
    "ServerCrt",
    "ServerKey",
    "RemoteIpHeader",
    "TileServerUrl",
    "MetricsAddrPort",
    "Unknown",
];

fn value() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("\"alice\"".to_owned()),
        Just("\"TOKEN\"".to_owned()),
        select(vec![
            "null",
            "true",
            "0",
            "-1",
            "1e9",
            "18446744073709551615",
            "[]",
            "{\"IDT\":1}"
        ])
        .prop_map(str::to_owned),
        any::<String>().prop_map(|text| serde_json::to_string(&text).unwrap()),
        any::<i64>().prop_map(|number| format!("\"{number}\"")),
        Just("\"\\ud83d\\u0000\"".to_owned()),
    ]
}

fn object() -> impl Strategy<Value = Vec<u8>> {
    vec((select(&KEYS[..]), value()), 0..5).prop_map(|fields| {
        let fields: Vec<_> = fields
            .iter()
            .map(|(key, value)| format!("\"{key}\":{value}"))
            .collect();
        format!("{{{}}}", fields.join(",")).into_bytes()
    })
}

fn body() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        3 => object(),
        // Cut off, or with a byte that doesn't belong there.
        1 => (object(), any::<prop::sample::Index>())
            .prop_map(|(body, at)| body[..at.index(body.len())].to_vec()),
        1 => (object(), any::<prop::sample::Index>(), any::<u8>()).prop_map(|(mut body, at, byte)| {
            let at = at.index(body.len());
            body[at] = byte;
            body
        }),
        1 => vec(any::<u8>(), 0..200),
    ]
}

fn path() -> impl Strategy<Value = String> {
    let prefix = select(vec![
        "/api/v1/",
        "/",
        "/api/v2/",
        "//",
        "/api/v1/../",
        "/%61pi/v1/",
    ]);
    let rest = prop_oneof![
        4 => select(&ENDPOINTS[..]).prop_map(str::to_owned),
        1 => "[!-~]{0,20}".prop_map(|text| text.replace('#', "")),
    ];
    (prefix, rest, select(vec!["", "/", "?q", "/x", "%2f", "%"]))
        .prop_map(|(prefix, rest, tail)| format!("{prefix}{rest}{tail}"))
}

fn method() -> impl Strategy<Value = &'static str> {
    select(vec!["PUT", "POST", "GET", "DELETE", "OPTIONS", "PATCH"])
}

/// Bytes a header may carry, by HTTP's rules.
fn header_value() -> impl Strategy<Value = Vec<u8>> {
    let allowed = |byte: &u8| (*byte >= b' ' && *byte != 0x7f) || *byte == b'\t';
    vec(
        any::<u8>().prop_filter("not allowed in a header", allowed),
        0..60,
    )
}

proptest! {
    #[test]
    fn every_request_is_answered_and_never_with_500(
        method in method(),
        path in path(),
        body in body(),
        address in header_value(),
    ) {
        let (server, token) = &*SERVER;
        let body = replace(&body, b"TOKEN", token.as_bytes());
        let request = Request::new(method, &path).header("X-Real-IP", address).body(body);
        let response = server.send(&request);
        prop_assert!(
            matches!(response.status, 200 | 301 | 400 | 401 | 403 | 404 | 423),
            "{method} {path}: {response:?}"
        );
        for line in server.syslog.drain() {
            let (_, json) = line.split_once("]: ").unwrap();
            let parsed: serde_json::Value = serde_json::from_str(json).unwrap();
            prop_assert!(parsed["message"].is_string());
        }
    }

    #[test]
    fn bytes_that_are_no_http_leave_the_server_alive(bytes in vec(any::<u8>(), 0..300)) {
        let (server, _) = &*SERVER;
        let mut stream = server.connect();
        // The server may hang up before it has read everything.
        let _ = stream.write_all(&bytes);
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let _ = Response::try_read(&mut stream);
        prop_assert_eq!(server.send(&Request::new("GET", "/version")).text(), "0.15.0");
    }

    #[test]
    fn any_text_is_settings_or_an_error_that_names_the_file(text in any::<String>()) {
        check_settings(&text, &Environment::new());
    }

    #[test]
    fn any_value_of_any_key_is_settings_or_an_error_that_names_it(
        file in hash_map(select(&SETTINGS[..]), setting(), 0..4),
        variables in hash_map(select(&SETTINGS[..]), "[ -~]{0,8}", 0..3),
    ) {
        let lines: Vec<_> = file.iter().map(|(key, value)| format!("{key}: {value}")).collect();
        let environment = variables
            .iter()
            .map(|(key, value)| (format!("FMD_{}", key.to_uppercase()).into(), OsString::from(value)))
            .collect();
        check_settings(&lines.join("\n"), &environment);
    }
}

fn setting() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<i64>().prop_map(|number| number.to_string()),
        select(vec![
            "", "~", "0", "-1", "0660", "0o777", "0x1ff", "1.5", "[]", "{a: b}", "!tag x"
        ])
        .prop_map(str::to_owned),
        any::<String>().prop_map(|text| serde_json::to_string(&text).unwrap()),
    ]
}

fn check_settings(text: &str, environment: &Environment) {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("config.yml");
    std::fs::write(&file, text).unwrap();
    let flags = Flags {
        config: Some(file),
        ..Flags::default()
    };
    if let Err(error) = config::load(&flags, environment) {
        let error = format!("{error:#}");
        let places = ["config.yml", "FMD_", "no address to listen on"];
        assert!(places.iter().any(|place| error.contains(place)), "{error}");
    }
}

fn replace(bytes: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = bytes;
    while let Some(at) = rest.windows(from.len()).position(|part| part == from) {
        out.extend([&rest[..at], to].concat());
        rest = &rest[at + from.len()..];
    }
    out.extend(rest);
    out
}
