//! Commands to the phone, and the URL that wakes it.

use anyhow::Result;

use super::Api;
use super::bodies::{NewCommand, Package};
use crate::answer::Answer;
use crate::json::{self, quote};
use crate::store::Command;

impl Api {
    pub(super) fn post_command(&self, body: &[u8]) -> Result<Answer> {
        self.authorised(body, |account, new: NewCommand| {
            let command = Command {
                text: new.text,
                time: new.time,
                signature: new.signature,
            };
            self.store.set_command(account.id, &command)?;
            if !command.text.is_empty() {
                self.pusher.push(&account.name, &account.push_url);
            }
            Ok(Answer::empty())
        })
    }

    pub(super) fn take_command(&self, body: &[u8]) -> Result<Answer> {
        self.authorised(body, |account, package: Package| {
            let command = self.store.take_command(account.id)?;
            Ok(Answer::json(format!(
                "{{\"IDT\":{},\"Data\":{},\"UnixTime\":{},\"CmdSig\":{}}}",
                quote(&package.token),
                quote(&command.text),
                command.time,
                quote(&command.signature)
            )))
        })
    }

    pub(super) fn set_push_url(&self, body: &[u8]) -> Result<Answer> {
        self.authorised(body, |account, package: Package| {
            self.store.set_push_url(account.id, &package.data)?;
            Ok(Answer::empty())
        })
    }

    pub(super) fn push_url(&self, body: &[u8]) -> Result<Answer> {
        if json::decode::<Package>(body).is_err() {
            // Upstream's own words, kept since clients might compare them.
            let text = "Meeep!, Error - getIsPushRegistered 1";
            return Ok(Answer::error(http::StatusCode::BAD_REQUEST, text));
        }
        self.authorised(body, |account, _: Package| {
            Ok(Answer::sniffed(account.push_url))
        })
    }
}
