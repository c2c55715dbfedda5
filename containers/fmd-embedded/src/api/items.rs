//! Locations and pictures.

use anyhow::Result;
use http::StatusCode;

use super::Api;
use super::bodies::{self, Package};
use crate::answer::Answer;
use crate::log::Event;
use crate::store::Items;

impl Api {
    pub(super) fn one(&self, items: Items, body: &[u8]) -> Result<Answer> {
        self.authorised(body, |account, package: Package| {
            let count = self.store.count(items, account.id)?;
            let index = match atoi(&package.data) {
                -1 => count - 1,
                index => index,
            };
            let item = match index {
                0.. => self.store.item(items, account.id, index)?,
                _ => None,
            };
            match (item, items) {
                (Some(location), Items::Locations) => Ok(Answer::json(location)),
                (Some(picture), Items::Pictures) => Ok(Answer::plain(picture)),
                (None, _) => Ok(self.refuse_index(items, index, count - 1)),
            }
        })
    }

    fn refuse_index(&self, items: Items, index: i64, max: i64) -> Answer {
        let message = match items {
            Items::Locations => "requested location is out of bounds",
            Items::Pictures => "requested picture is out of bounds",
        };
        let event = Event::warn(message).number("idx", index);
        self.log.write(&event.number("max", max));
        Answer::error(StatusCode::BAD_REQUEST, "requested index is out of bounds")
    }

    pub(super) fn all(&self, items: Items, body: &[u8]) -> Result<Answer> {
        self.authorised(body, |account, _: Package| {
            let all = self.store.all(items, account.id)?;
            Ok(Answer::json(bodies::list(&all)))
        })
    }

    pub(super) fn add(&self, items: Items, body: &[u8]) -> Result<Answer> {
        self.authorised(body, |account, package: Package| {
            let (content, keep) = match items {
                Items::Locations => (bodies::location(&package.data), self.settings.max_saved_loc),
                Items::Pictures => (package.data, self.settings.max_saved_pic),
            };
            self.store.add(items, account.id, &content, keep)?;
            Ok(Answer::empty())
        })
    }

    pub(super) fn count(&self, items: Items, body: &[u8]) -> Result<Answer> {
        self.authorised(body, |account, _: Package| {
            let count = self.store.count(items, account.id)?;
            Ok(Answer::json(bodies::package("", &count.to_string())))
        })
    }

    pub(super) fn clear(&self, items: Items, body: &[u8]) -> Result<Answer> {
        let message = match items {
            Items::Locations => "deleting all locations",
            Items::Pictures => "deleting all pictures",
        };
        self.authorised(body, |account, _: Package| {
            let event = Event::info(message).text("userid", &account.name);
            self.log.write(&event);
            self.store.clear(items, account.id)?;
            Ok(Answer::empty())
        })
    }
}

/// Go's `strconv.Atoi` with its error ignored: 0 for what is no number, the
/// nearest number for what is too large.
fn atoi(text: &str) -> i64 {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return 0;
    }
    match text.parse() {
        Ok(number) => number,
        Err(_) if text.starts_with('-') => i64::MIN,
        Err(_) => i64::MAX,
    }
}

#[cfg(test)]
mod tests {
    use super::atoi;

    #[test]
    fn indexes_are_read_as_go_reads_them() {
        for (text, expected) in [
            ("", 0),
            ("7", 7),
            ("+7", 7),
            ("-1", -1),
            ("007", 7),
            ("-0", 0),
            (" 1", 0),
            ("1_0", 0),
            ("--1", 0),
            ("+", 0),
            ("٣", 0),
            ("99999999999999999999", i64::MAX),
            ("-99999999999999999999", i64::MIN),
        ] {
            assert_eq!(atoi(text), expected, "{text:?}");
        }
    }
}
