//! Events for people, as zerolog's console writer shows them.

use jiff::Zoned;

use super::{Event, Level, Value, rfc3339};

const BOLD: u8 = 1;
const RED: u8 = 31;
const GREEN: u8 = 32;
const YELLOW: u8 = 33;
const CYAN: u8 = 36;
const DARK_GREY: u8 = 90;

/// `TIME LVL message name=value …`: the error first, the other fields by name.
pub fn line(event: &Event, now: &Zoned, colour: bool) -> String {
    let paint = |text: &str, code: u8| match colour {
        true => format!("\x1b[{code}m{text}\x1b[0m"),
        false => text.to_owned(),
    };
    let (label, label_colour) = label(event.level);
    let mut parts = vec![
        paint(&rfc3339(now), DARK_GREY),
        paint(label, label_colour),
        paint(event.message, BOLD),
    ];
    let mut fields: Vec<_> = event.fields.iter().collect();
    fields.sort_by_key(|(name, _)| (*name != "error", *name));
    parts.extend(fields.into_iter().map(|(name, value)| {
        let value = show(value);
        let value = match *name {
            "error" => paint(&paint(&value, BOLD), RED),
            _ => value,
        };
        format!("{}{value}", paint(&format!("{name}="), CYAN))
    }));
    parts.join(" ") + "\n"
}

fn label(level: Level) -> (&'static str, u8) {
    match level {
        Level::Fatal => ("FTL", RED),
        Level::Error => ("ERR", RED),
        Level::Warn => ("WRN", YELLOW),
        Level::Info => ("INF", GREEN),
    }
}

fn show(value: &Value) -> String {
    match value {
        Value::Number(number) => number.to_string(),
        Value::Text(bytes) => {
            let text = String::from_utf8_lossy(bytes);
            let plain = |byte: u8| matches!(byte, b'!'..=b'~') && !matches!(byte, b'\\' | b'"');
            if text.bytes().all(plain) {
                text.into_owned()
            } else {
                quote(&text)
            }
        }
    }
}

/// Go's `strconv.Quote`: no control character reaches the terminal.
fn quote(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c.is_control() && c.is_ascii() => out.push_str(&format!("\\x{:02x}", c as u32)),
            // The marks that turn the direction of text are controls to a reader.
            c if c.is_control()
                || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}') =>
            {
                out.push_str(&format!("\\u{:04x}", c as u32));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event() -> Event {
        Event::warn("failed login attempt")
            .text("userid", "alice")
            .text("remoteIp", "203.0.113.7 \x1b[2J")
    }

    fn now() -> Zoned {
        "2026-11-22T23:58:55+00:00[UTC]".parse().unwrap()
    }

    #[test]
    fn plain_lines_show_fields_by_name() {
        assert_eq!(
            line(&event(), &now(), false),
            "2026-11-22T23:58:55Z WRN failed login attempt \
             remoteIp=\"203.0.113.7 \\x1b[2J\" userid=alice\n"
        );
    }

    #[test]
    fn coloured_lines_hide_the_field_names_from_naive_patterns() {
        let line = line(&event(), &now(), true);
        assert!(
            line.starts_with(
                "\x1b[90m2026-11-22T23:58:55Z\x1b[0m \x1b[33mWRN\x1b[0m \x1b[1mfailed"
            )
        );
        assert!(line.contains("\x1b[36muserid=\x1b[0malice"));
    }
}
