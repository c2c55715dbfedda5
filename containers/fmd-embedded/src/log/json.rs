//! Events as zerolog, upstream's log library, writes them in JSON.

use jiff::Zoned;

use super::{Event, Value, rfc3339};

/// The event as one JSON object and a newline: level, fields, time, message.
pub fn line(event: &Event, now: &Zoned) -> String {
    let mut out = String::from("{\"level\":\"");
    out.push_str(event.level.name());
    out.push('"');
    for (name, value) in &event.fields {
        out.push_str(",\"");
        out.push_str(name);
        out.push_str("\":");
        match value {
            Value::Text(text) => quote(text, &mut out),
            Value::Number(number) => out.push_str(&number.to_string()),
        }
    }
    out.push_str(",\"time\":\"");
    out.push_str(&rfc3339(now));
    out.push_str("\",\"message\":");
    quote(event.message.as_bytes(), &mut out);
    out.push_str("}\n");
    out
}

/// Unlike `encoding/json`, zerolog leaves `<`, `>` and `&` as they are and
/// writes every byte that isn't UTF-8 as an escape.
fn quote(bytes: &[u8], out: &mut String) {
    out.push('"');
    for chunk in bytes.utf8_chunks() {
        chunk.valid().chars().for_each(|c| escape(c, out));
        for _ in chunk.invalid() {
            out.push_str("\\ufffd");
        }
    }
    out.push('"');
}

fn escape(c: char, out: &mut String) {
    match c {
        '"' => out.push_str("\\\""),
        '\\' => out.push_str("\\\\"),
        '\u{8}' => out.push_str("\\b"),
        '\u{c}' => out.push_str("\\f"),
        '\n' => out.push_str("\\n"),
        '\r' => out.push_str("\\r"),
        '\t' => out.push_str("\\t"),
        '\0'..='\u{1f}' | '\u{7f}' => out.push_str(&format!("\\u{:04x}", c as u32)),
        other => out.push(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quoted(bytes: &[u8]) -> String {
        let mut out = String::new();
        quote(bytes, &mut out);
        out
    }

    #[test]
    fn values_are_escaped_as_zerolog_does() {
        assert_eq!(quoted(b"a\"b\\c"), r#""a\"b\\c""#);
        assert_eq!(quoted(b"\n\x01\x7f\x08"), r#""\n\u0001\u007f\b""#);
        assert_eq!(quoted("<b>&é\u{2028}".as_bytes()), "\"<b>&é\u{2028}\"");
        assert_eq!(quoted(b"203.0.113.7\xe9"), r#""203.0.113.7\ufffd""#);
        assert_eq!(quoted(b"\xe2\x82"), r#""\ufffd\ufffd""#);
    }

    #[test]
    fn a_line_has_level_fields_time_and_message_in_this_order() {
        let now: Zoned = "2026-11-22T23:58:55+01:00[Europe/Berlin]".parse().unwrap();
        let event = Event::warn("failed login attempt")
            .text("userid", "alice")
            .text("remoteIp", "203.0.113.7")
            .number("idx", -1);
        assert_eq!(
            line(&event, &now),
            "{\"level\":\"warn\",\"userid\":\"alice\",\"remoteIp\":\"203.0.113.7\",\"idx\":-1,\
             \"time\":\"2026-11-22T23:58:55+01:00\",\"message\":\"failed login attempt\"}\n"
        );
        let utc: Zoned = "2026-11-22T23:58:55+00:00[UTC]".parse().unwrap();
        assert!(line(&event, &utc).contains("\"2026-11-22T23:58:55Z\""));
    }
}
