//! What the recorded contract doesn't reach: other settings, odd paths and
//! bodies, limits, deletion. Expectations are those of Go's HTTP server and
//! upstream's documented behaviour.

#![allow(clippy::unwrap_used)]

mod support;

use support::{Request, Response, TestServer};

const HEADER: &str = "RemoteIpHeader: X-Real-IP\n";

fn is_error(response: &Response, status: u16, text: &str) {
    assert_eq!(response.status, status, "{response:?}");
    assert_eq!(response.text(), format!("{text}\n"));
    let content_type = response.header("content-type");
    assert_eq!(content_type, Some("text/plain; charset=utf-8"));
}

/// The JSON part of the one line that is there.
fn logged(server: &TestServer) -> serde_json::Value {
    let lines = server.syslog.drain();
    assert_eq!(lines.len(), 1, "{lines:?}");
    let (_, json) = lines[0].split_once("]: ").unwrap();
    serde_json::from_str(json).unwrap()
}

#[test]
fn registration_asks_for_the_token_and_logs_a_wrong_one() {
    let server = TestServer::start("RegistrationToken: \"12345\"\n");
    for body in [
        r#"{"RequestedUsername":"a"}"#,
        r#"{"RequestedUsername":"a","RegistrationToken":"1234"}"#,
        r#"{"RequestedUsername":"bad name","RegistrationToken":"123456"}"#,
        r#"{"RegistrationToken":null}"#,
    ] {
        is_error(
            &server.put("device", body),
            401,
            "Registration Token not valid",
        );
        let line = server.syslog.drain().remove(0);
        assert!(line.starts_with("<11>"), "{line}");
        assert!(line.contains(r#"]: {"level":"error","time":""#), "{line}");
        assert!(
            line.ends_with("\"message\":\"invalid RegistrationToken\"}\n"),
            "{line}"
        );
    }
    is_error(
        &server.put("device", r#"{"RegistrationToken":5}"#),
        400,
        "Invalid JSON",
    );
    let right = r#"{"RequestedUsername":"a","registrationtoken":"12345"}"#;
    assert_eq!(server.put("device", right).status, 200);
}

#[test]
fn small_limits_are_kept() {
    let server = TestServer::start("MaxSavedLoc: 2\nMaxSavedPic: 1\nUserIdLength: 12\n");
    let token = server.token("alice");
    for n in 0..5 {
        let body = format!(r#"{{"IDT":"{token}","Data":"{n}"}}"#);
        assert_eq!(server.post("location", body.as_str()).status, 200);
        assert_eq!(server.post("picture", body).status, 200);
    }
    let ask = format!(r#"{{"IDT":"{token}","Data":"0"}}"#);
    let pictures = server.put("pictures", ask.as_str()).text();
    assert_eq!(pictures, r#"["4"]"#);
    let location = server.put("location", ask.as_str()).text();
    assert_eq!(location, "{\n \"IDT\": \"\",\n \"Data\": \"3\"\n}");
    assert_eq!(
        server.put("locationDataSize", ask.as_str()).field("Data"),
        "2"
    );
    let generated = server.put("device", "{}").field("DeviceId");
    assert_eq!(generated.len(), 12);
}

#[test]
fn a_limit_of_zero_keeps_nothing() {
    let server = TestServer::start("MaxSavedLoc: 0\n");
    let token = server.token("alice");
    let body = format!(r#"{{"IDT":"{token}","Data":"x"}}"#);
    assert_eq!(server.post("location", body.as_str()).status, 200);
    assert_eq!(server.put("locations", body).text(), "[]");
}

#[test]
fn ids_of_one_letter_run_out_with_an_error_and_not_with_a_hang() {
    let server = TestServer::start("UserIdLength: 1\n");
    let statuses: Vec<u16> = (0..58).map(|_| server.put("device", "{}").status).collect();
    assert_eq!(statuses.iter().filter(|status| **status == 200).count(), 57);
    assert_eq!(statuses[57], 500);
}

#[test]
fn unicode_goes_through_unharmed() {
    let server = TestServer::start(HEADER);
    let token = server.token("alice");
    let text = "é€😀\u{2028}<&>\u{7f}\\\"";
    let body = serde_json::json!({"IDT": token, "Data": text}).to_string();
    server.post("picture", body.as_str());
    let latest = format!(r#"{{"IDT":"{token}","Data":"-1"}}"#);
    assert_eq!(server.put("picture", latest.as_str()).text(), text);
    let all = server.put("pictures", latest.as_str()).text();
    let escaped = "[\"é€😀\\u2028\\u003c\\u0026\\u003e\u{7f}\\\\\\\"\"]";
    assert_eq!(all, escaped);
    server.post("location", body.as_str());
    let location: serde_json::Value =
        serde_json::from_slice(&server.put("location", latest).body).unwrap();
    assert_eq!(location["Data"], text);
}

#[test]
fn names_beyond_ascii_are_refused_and_logged_readably() {
    let server = TestServer::start(HEADER);
    let body = r#"{"RequestedUsername":"ä\u0001\ud800<"}"#;
    is_error(
        &server.put("device", body),
        400,
        "Failed to create username: the requested username must be alphanumeric and <= 64 characters",
    );
    let line = server.syslog.drain().remove(0);
    assert!(line.contains("\"userid\":\"ä\\u0001\u{fffd}<\""), "{line}");
}

#[test]
fn odd_bodies_are_what_go_makes_of_them() {
    let server = TestServer::start(HEADER);
    server.register("alice");
    for (body, status) in [
        ("null", 400),
        (r#"{"IDT":"alice","Data":"wrong"} trailing"#, 403),
        (r#"{"IDT":"nobody","IDT":"alice","Data":"wrong"}"#, 403),
        (r#"{"IDT":"alice","idt":null,"DATA":"wrong"}"#, 403),
        (r#"{"IDT":"alice","SessionDurationSeconds":1.0}"#, 400),
        (
            r#"{"IDT":"alice","SessionDurationSeconds":18446744073709551616}"#,
            400,
        ),
        (r#"{"IDT":["alice"]}"#, 400),
        (r#"[{"IDT":"alice"}]"#, 400),
        ("\u{feff}{}", 400),
        ("{}", 400),
    ] {
        let response = server.put("requestAccess", body);
        assert_eq!(response.status, status, "{body}");
        let text = match (status, body) {
            (403, _) => "Access denied\n",
            (_, "null" | "{}") => "Invalid FMD ID\n",
            _ => "Invalid JSON\n",
        };
        assert_eq!(response.text(), text, "{body}");
    }
    is_error(
        &server.post("push", "nope"),
        400,
        "Meeep!, Error - getIsPushRegistered 1",
    );
    is_error(&server.put("push", "nope"), 400, "Invalid JSON");
}

#[test]
fn the_longest_session_can_be_asked_for() {
    let server = TestServer::start(HEADER);
    server.register("alice");
    let body = r#"{"IDT":"alice","Data":"right","SessionDurationSeconds":18446744073709551615}"#;
    let token = server.put("requestAccess", body).field("Data");
    assert_eq!(token.len(), 32);
    let ask = format!(r#"{{"IDT":"{token}"}}"#);
    assert_eq!(server.put("pictureSize", ask).status, 200);
}

#[test]
fn indexes_out_of_bounds_are_logged_as_they_were_read() {
    let server = TestServer::start(HEADER);
    let token = server.token("alice");
    server.syslog.drain();
    for (index, logged_as) in [
        ("0", 0),
        ("x", 0),
        ("-2", -2),
        ("99999999999999999999", i64::MAX),
    ] {
        let body = format!(r#"{{"IDT":"{token}","Data":"{index}"}}"#);
        is_error(
            &server.put("picture", body),
            400,
            "requested index is out of bounds",
        );
        let line = logged(&server);
        assert_eq!(line["idx"], logged_as);
        assert_eq!(line["max"], -1);
        assert_eq!(line["message"], "requested picture is out of bounds");
    }
}

#[test]
fn the_largest_time_of_a_command_survives() {
    let server = TestServer::start(HEADER);
    let token = server.token("alice");
    let command = format!(
        r#"{{"IDT":"{token}","Data":"ring","UnixTime":18446744073709551615,"CmdSig":"s"}}"#
    );
    assert_eq!(server.post("command", command).status, 200);
    let taken = server
        .put("command", format!(r#"{{"IDT":"{token}"}}"#))
        .text();
    let expected = format!(
        r#"{{"IDT":"{token}","Data":"ring","UnixTime":18446744073709551615,"CmdSig":"s"}}"#
    );
    assert_eq!(taken, expected);
}

#[test]
fn a_lock_puts_its_own_command_in_place_of_the_owners() {
    let server = TestServer::start(HEADER);
    let token = server.token("alice");
    let command = format!(r#"{{"IDT":"{token}","Data":"ring","UnixTime":7,"CmdSig":"s"}}"#);
    server.post("command", command);
    let statuses: Vec<u16> = (0..7)
        .map(|_| server.log_in("alice", "no").status)
        .collect();
    assert_eq!(statuses, [403, 403, 403, 403, 403, 403, 423]);
    let ask = format!(r#"{{"IDT":"{token}"}}"#);
    let taken = server.put("command", ask).text();
    assert_eq!(
        taken,
        format!(r#"{{"IDT":"{token}","Data":"423","UnixTime":0,"CmdSig":""}}"#)
    );
}

#[test]
fn deletion_leaves_nothing_on_disk() {
    let server = TestServer::start(HEADER);
    let token = server.token("alice");
    let secret = "Zm9yZ2V0LXRoaXMtbG9jYXRpb24";
    for endpoint in ["location", "picture"] {
        server.post(
            endpoint,
            format!(r#"{{"IDT":"{token}","Data":"{secret}"}}"#),
        );
    }
    let on_disk = || {
        let files = std::fs::read_dir(server.dir.path().join("db")).unwrap();
        files
            .map(|file| std::fs::read(file.unwrap().path()).unwrap())
            .any(|bytes| {
                bytes
                    .windows(secret.len())
                    .any(|part| part == secret.as_bytes())
            })
    };
    assert!(on_disk());
    assert_eq!(
        server
            .post("device", format!(r#"{{"IDT":"{token}"}}"#))
            .status,
        200
    );
    assert!(!on_disk());
    is_error(&server.log_in("alice", "right"), 404, "Account not found");
    // The name is free again, and nothing comes back with it.
    let token = server.token("alice");
    assert_eq!(
        server
            .put("locations", format!(r#"{{"IDT":"{token}"}}"#))
            .text(),
        "[]"
    );
}

#[test]
fn other_users_of_the_machine_cannot_read_the_database() {
    use std::os::unix::fs::PermissionsExt;
    let server = TestServer::start(HEADER);
    server.register("alice");
    let mut files = 0;
    for file in std::fs::read_dir(server.dir.path().join("db")).unwrap() {
        let mode = file.unwrap().metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!(mode & !0o640, 0, "{mode:o}");
        files += 1;
    }
    assert_eq!(files, 3);
}

#[test]
fn bodies_end_at_15_megabytes() {
    const LIMIT: usize = 15 << 20;
    let server = TestServer::start(HEADER);
    let token = server.token("alice");
    let start = format!(r#"{{"IDT":"{token}","Data":""#);
    let body = |length: usize| format!("{start}{}\"}}", "x".repeat(length - start.len() - 2));
    assert_eq!(server.post("picture", body(LIMIT)).status, 200);
    is_error(
        &server.post("picture", body(LIMIT + 1)),
        400,
        "Invalid JSON",
    );
    // What is complete before the limit is not refused for what follows it.
    let padded = format!("{}{}", body(100), " ".repeat(LIMIT));
    assert_eq!(server.post("picture", padded).status, 200);
    let count = server.put("pictureSize", format!(r#"{{"IDT":"{token}"}}"#));
    assert_eq!(count.field("Data"), "2");
}

#[test]
fn version_2_is_not_found_and_other_unknown_paths_are_a_page() {
    let server = TestServer::start(HEADER);
    for path in ["/api/v2/", "/api/v2/account/login", "/api/v2"] {
        is_error(
            &server.send(&Request::new("POST", path)),
            404,
            "404 page not found",
        );
    }
    for path in [
        "/",
        "/wp-login.php",
        "/api/v1/nothing",
        "/api/v3/x",
        "/.env",
    ] {
        let response = server.send(&Request::new("DELETE", path));
        assert_eq!(response.status, 200);
        assert_eq!(
            response.header("content-type"),
            Some("text/html; charset=utf-8")
        );
    }
}

#[test]
fn paths_are_cleaned_by_a_redirect_that_keeps_the_query() {
    let server = TestServer::start(HEADER);
    let response = server.send(&Request::new("GET", "//api/v1/./version?a=%3Cb%3E&c=d"));
    assert_eq!(response.status, 301);
    assert_eq!(
        response.header("location"),
        Some("/api/v1/version?a=%3Cb%3E&c=d")
    );
    let page = "<a href=\"/api/v1/version?a=%3Cb%3E&amp;c=d\">Moved Permanently</a>.\n\n";
    assert_eq!(response.text(), page);
    let response = server.send(&Request::new("PUT", "/api/v1"));
    assert_eq!((response.status, response.text().as_str()), (301, ""));
    assert_eq!(response.header("location"), Some("/api/v1/"));
}

#[test]
fn every_answer_carries_the_security_headers() {
    let server = TestServer::start("TileServerUrl: https://tiles.example:8443/{z}.png\n");
    for path in ["/version", "/", "/api/v2/x", "/api/v1/salt"] {
        let response = server.send(&Request::new("GET", path));
        assert_eq!(response.header("x-frame-options"), Some("DENY"));
        let policy = response.header("content-security-policy").unwrap();
        assert!(policy.contains("img-src 'self' data: https://tiles.example:8443;"));
    }
    let url = server
        .send(&Request::new("POST", "/tileServerUrl"))
        .field("TileServerUrl");
    assert_eq!(url, "https://tiles.example:8443/{z}.png");
}

#[test]
fn without_a_header_setting_the_peer_is_logged() {
    let server = TestServer::start("");
    server.register("alice");
    server.syslog.drain();
    let request = Request::new("PUT", "/requestAccess")
        .header("X-Real-IP", "203.0.113.7")
        .body(r#"{"IDT":"alice","Data":"no"}"#);
    assert_eq!(server.send(&request).status, 403);
    let remote = logged(&server)["remoteIp"].as_str().unwrap().to_owned();
    assert!(remote.starts_with("127.0.0.1:"), "{remote}");
}

#[test]
fn a_header_too_long_for_syslog_does_not_hide_the_attempt() {
    let server = TestServer::start(HEADER);
    server.register("alice");
    server.syslog.drain();
    let request = Request::new("PUT", "/requestAccess")
        .header("X-Real-IP", "9".repeat(300_000))
        .body(r#"{"IDT":"alice","Data":"no"}"#);
    assert_eq!(server.send(&request).status, 403);
    let line = logged(&server);
    assert_eq!(line["message"], "failed login attempt");
    assert_eq!(line["remoteIp"].as_str().unwrap().len(), 1024);
}
