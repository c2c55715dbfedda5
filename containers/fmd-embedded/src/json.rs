//! Request bodies, read the way Go's `encoding/json` reads them.
//!
//! The phone app and every API library were written against those rules, so
//! they are part of the API: keys match in any letter case, `null` leaves a
//! field alone, the last of two equal keys wins, unknown keys are skipped, a
//! wrong type is an error, and what follows the first value is never looked at.
//! Source: <https://pkg.go.dev/encoding/json#Unmarshal> and `Decoder.Decode`.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, Visitor};

const REPLACEMENT: char = char::REPLACEMENT_CHARACTER;

/// A request body: a Go struct of strings and unsigned numbers.
pub trait Body: Default {
    /// The place for a key, or nothing for a key this body doesn't have.
    fn field(&mut self, key: &str) -> Option<Field<'_>>;
}

/// Where the value of a key goes.
pub enum Field<'a> {
    Text(&'a mut String),
    Number(&'a mut u64),
}

/// The body was not what Go would have decoded; upstream says no more than that.
#[derive(Debug, PartialEq, Eq)]
pub struct InvalidJson;

/// Decodes the first JSON value in `bytes`.
///
/// # Errors
/// [`InvalidJson`] where Go's `Decoder.Decode` returns an error.
pub fn decode<T: Body>(bytes: &[u8]) -> Result<T, InvalidJson> {
    if is_refused(bytes) {
        return Err(InvalidJson);
    }
    // Before decoding, so that a surrogate found afterwards came from an escape.
    let bytes = replace_invalid(bytes);
    let mut decoder = serde_json::Deserializer::from_slice(&bytes);
    // No `decoder.end()`: Go stops reading after the first value, too.
    decoder
        .deserialize_option(BodyVisitor(PhantomData))
        .map_err(|_| InvalidJson)
}

struct BodyVisitor<T>(PhantomData<T>);

impl<'de, T: Body> Visitor<'de> for BodyVisitor<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_none<E: Error>(self) -> Result<T, E> {
        Ok(T::default())
    }

    fn visit_some<D: Deserializer<'de>>(self, decoder: D) -> Result<T, D::Error> {
        decoder.deserialize_map(self)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<T, A::Error> {
        let mut body = T::default();
        while let Some(key) = map.next_key::<Text>()? {
            match body.field(&fold(&key.0)) {
                Some(Field::Text(text)) => {
                    if let Some(value) = map.next_value::<Option<Text>>()? {
                        *text = value.0;
                    }
                }
                Some(Field::Number(number)) => {
                    if let Some(value) = map.next_value_seed(Number)? {
                        *number = value;
                    }
                }
                None => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(body)
    }
}

/// Folds a key as Go does before it compares: ASCII letters to upper case, and
/// the two letters outside ASCII that Unicode folds into it.
fn fold(key: &str) -> String {
    key.chars()
        .map(|c| match c {
            '\u{17f}' => 'S',
            '\u{212a}' => 'K',
            other => other.to_ascii_uppercase(),
        })
        .collect()
}

/// A string. Bytes, because Go accepts what a Rust `String` can't hold: lone
/// surrogates and bytes that aren't UTF-8, each of which it replaces by U+FFFD.
struct Text(String);

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(decoder: D) -> Result<Self, D::Error> {
        decoder.deserialize_bytes(TextVisitor)
    }
}

struct TextVisitor;

impl<'de> Visitor<'de> for TextVisitor {
    type Value = Text;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Text, E> {
        Ok(Text(text.to_owned()))
    }

    fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Text, E> {
        Ok(Text(replace_surrogates(bytes)))
    }
}

/// A `uint64`: digits only, as `strconv.ParseUint` takes them.
struct Number;

impl<'de> DeserializeSeed<'de> for Number {
    type Value = Option<u64>;

    fn deserialize<D: Deserializer<'de>>(self, decoder: D) -> Result<Self::Value, D::Error> {
        // serde's u64 refuses negative numbers, fractions, exponents and overflow.
        Option::<u64>::deserialize(decoder)
    }
}

/// `bytes` with U+FFFD in place of every byte that is not part of a character.
///
/// (`String::from_utf8_lossy` replaces a whole cut-off sequence by one U+FFFD;
/// Go replaces each of its bytes.)
fn replace_invalid(bytes: &[u8]) -> Cow<'_, [u8]> {
    if std::str::from_utf8(bytes).is_ok() {
        return Cow::Borrowed(bytes);
    }
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        text.extend(std::iter::repeat_n(REPLACEMENT, chunk.invalid().len()));
    }
    Cow::Owned(text.into_bytes())
}

/// Text in which an escaped surrogate without its partner, which serde_json
/// hands on as three bytes, has become the one U+FFFD that Go makes of it.
fn replace_surrogates(bytes: &[u8]) -> String {
    const SURROGATE_LEAD: u8 = 0xed;
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        if chunk.invalid().first() == Some(&SURROGATE_LEAD) {
            text.push(REPLACEMENT);
        }
    }
    text
}

/// Whether the first value holds what serde_json lets pass and Go doesn't:
/// control characters inside strings, and more than 10,000 levels.
fn is_refused(bytes: &[u8]) -> bool {
    const MAX_DEPTH: usize = 10_000;
    let (mut depth, mut in_string, mut escaped) = (0_usize, false, false);
    for byte in bytes {
        match (in_string, byte) {
            (true, 0..b' ') => return true,
            (true, _) if escaped => escaped = false,
            (true, b'\\') => escaped = true,
            (true, b'"') => in_string = false,
            (true, _) => {}
            (false, b'"') => in_string = true,
            (false, b'[' | b'{') => depth += 1,
            (false, b']' | b'}') if depth <= 1 => return false,
            (false, b']' | b'}') => depth -= 1,
            (false, _) => {}
        }
        if depth > MAX_DEPTH {
            return true;
        }
    }
    false
}

/// Go's `json.Marshal` of a string, quotes included.
pub fn quote(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            // Go escapes these for pages that paste JSON into HTML or script.
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' | '\0'..='\u{1f}' => {
                out.push_str(&format!("\\u{:04x}", c as u32));
            }
            other => out.push(other),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests;
