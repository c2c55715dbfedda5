//! YAML values, read as leniently as upstream's configuration library does.

use serde_yaml::Value;

/// A scalar's spelling.
pub fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(yes) => Some(yes.to_string()),
        _ => None,
    }
}

/// A whole number, or text that Go's `strconv.ParseInt` reads with base 0.
pub fn integer(value: &Value) -> Option<i64> {
    match value {
        Value::Number(number) => number.as_i64(),
        Value::String(text) => parse(text),
        _ => None,
    }
}

fn parse(text: &str) -> Option<i64> {
    let (sign, digits) = match text.as_bytes().first()? {
        b'-' => (-1, &text[1..]),
        b'+' => (1, &text[1..]),
        _ => (1, text),
    };
    let lower = digits.to_ascii_lowercase();
    let (base, digits) = match lower.as_str() {
        prefixed if prefixed.starts_with("0x") => (16, &prefixed[2..]),
        prefixed if prefixed.starts_with("0o") => (8, &prefixed[2..]),
        prefixed if prefixed.starts_with("0b") => (2, &prefixed[2..]),
        prefixed if prefixed.starts_with('0') && prefixed.len() > 1 => (8, &prefixed[1..]),
        plain => (10, plain),
    };
    if !digits.starts_with(|c: char| c.is_digit(base)) {
        return None;
    }
    i64::from_str_radix(digits, base).ok().map(|n| n * sign)
}

/// What kind of value it is, for messages that must not show it.
pub fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "nothing",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "text",
        Value::Sequence(_) => "a list",
        Value::Mapping(_) => "a map",
        Value::Tagged(_) => "a tagged value",
    }
}

/// The value on one line.
pub fn shown(value: &Value) -> String {
    match serde_json::to_string(value) {
        Ok(json) => json,
        Err(_) => kind(value).to_owned(),
    }
}
