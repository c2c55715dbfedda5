//! Registration, login, password and deletion.

use anyhow::{Result, bail};
use http::StatusCode;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::bodies::{self, Login, NewPassword, Package, Registration};
use super::{Api, password};
use crate::answer::Answer;
use crate::json;
use crate::log::Event;
use crate::random;
use crate::store::{Account, Command, Credentials};

/// The command a locked account's phone is told, instead of one of its owner's.
const LOCKED_COMMAND: &str = "423";
/// Letters a name may have at most.
const MAX_NAME: usize = 64;

enum LoginOutcome {
    In(String),
    Wrong,
    Locked,
}

impl Api {
    pub(super) fn salt(&self, body: &[u8]) -> Result<Answer> {
        let Ok(package) = json::decode::<Package>(body) else {
            return Ok(Answer::invalid_json());
        };
        let name = package.token;
        if !is_name(&name) {
            return Ok(invalid_name());
        }
        let salt = self.store.by_name(&name)?.map(|account| account.salt);
        let answer = bodies::package(&name, &salt.unwrap_or_default());
        Ok(Answer::json(answer))
    }

    pub(super) fn salt_of(&self, name: &str) -> Result<Answer> {
        Ok(match self.store.by_name(name)? {
            Some(account) => Answer::json(bodies::salt_v2(&account.salt)),
            None => account_not_found(),
        })
    }

    pub(super) fn log_in(&self, body: &[u8], remote: &[u8]) -> Result<Answer> {
        let Ok(login) = json::decode::<Login>(body) else {
            return Ok(Answer::invalid_json());
        };
        if !is_name(&login.name) {
            return Ok(invalid_name());
        }
        let Some(account) = self.store.by_name(&login.name)? else {
            return Ok(account_not_found());
        };
        match self.try_login(&account, &login)? {
            LoginOutcome::In(token) => {
                self.pusher.push_later(&account);
                Ok(Answer::json(bodies::package(&login.name, &token)))
            }
            LoginOutcome::Wrong => {
                self.log_attempt("failed login attempt", &account, remote);
                Ok(Answer::error(StatusCode::FORBIDDEN, "Access denied"))
            }
            LoginOutcome::Locked => {
                self.log_attempt("blocked login attempt", &account, remote);
                self.tell_phone_of_lock(&account)?;
                Ok(Answer::error(StatusCode::LOCKED, "Account is locked"))
            }
        }
    }

    /// Checks and counts in one go: guesses sent at once count like guesses
    /// sent one after the other.
    fn try_login(&self, account: &Account, login: &Login) -> Result<LoginOutcome> {
        let right = password::matches(&login.password, &account.password_hash);
        let now = self.now();
        let mut access = self.access();
        if access.locks.is_locked(account.id, now) {
            return Ok(LoginOutcome::Locked);
        }
        if !right {
            access.locks.count_failure(account.id, now);
            return Ok(LoginOutcome::Wrong);
        }
        access.locks.reset(account.id);
        let token = access.sessions.open(account.id, login.seconds, now)?;
        Ok(LoginOutcome::In(token))
    }

    fn log_attempt(&self, message: &'static str, account: &Account, remote: &[u8]) {
        let event = Event::warn(message).text("userid", &account.name);
        self.log.write(&event.text("remoteIp", remote));
    }

    fn tell_phone_of_lock(&self, account: &Account) -> Result<()> {
        let command = Command {
            text: LOCKED_COMMAND.to_owned(),
            ..Command::default()
        };
        // An attacker's every guess comes here: write only what changes.
        if account.command != command {
            self.store.set_command(account.id, &command)?;
        }
        self.pusher.push(&account.name, &account.push_url);
        Ok(())
    }

    pub(super) fn change_password(&self, body: &[u8]) -> Result<Answer> {
        self.authorised(body, |account, new: NewPassword| {
            let event = Event::info("changing password for user");
            self.log.write(&event.text("userid", &account.name));
            let credentials = credentials(new.salt, &new.password, new.private_key);
            self.store.set_credentials(account.id, &credentials)?;
            self.access().sessions.revoke(account.id);
            Ok(Answer::json(bodies::package(&new.token, "true")))
        })
    }

    pub(super) fn register(&self, body: &[u8]) -> Result<Answer> {
        let Ok(registration) = json::decode::<Registration>(body) else {
            return Ok(Answer::invalid_json());
        };
        if !self.is_invited(&registration.registration_token) {
            self.log.write(&Event::error("invalid RegistrationToken"));
            let status = StatusCode::UNAUTHORIZED;
            return Ok(Answer::error(status, "Registration Token not valid"));
        }
        let wanted = registration.name.clone();
        if !wanted.is_empty() && !is_name(&wanted) {
            return Ok(self.refuse_name(
                &wanted,
                "requested username is not alphanumeric or too long",
                "the requested username must be alphanumeric and <= 64 characters",
            ));
        }
        if !wanted.is_empty() && self.store.by_name(&wanted)?.is_some() {
            return Ok(self.refuse_taken(&wanted));
        }
        let event = Event::info("registering new user");
        self.log.write(&event.text("userid", &wanted));
        match self.create(registration)? {
            Some(name) => Ok(Answer::json(format!(
                "{{\"DeviceId\":{},\"Token\":\"\",\"CreationTime\":0,\"ExpirationTime\":0}}",
                json::quote(&name)
            ))),
            None => Ok(self.refuse_taken(&wanted)),
        }
    }

    fn is_invited(&self, given: &str) -> bool {
        // Of hashes, so that the time tells nothing of the token's length.
        let hash = |token: &str| Sha256::digest(token.as_bytes());
        match &self.settings.registration_token {
            None => true,
            Some(token) => hash(token).ct_eq(&hash(given)).into(),
        }
    }

    fn refuse_taken(&self, name: &str) -> Answer {
        self.refuse_name(
            name,
            "requested username is already taken",
            "the requested username is not available",
        )
    }

    fn refuse_name(&self, name: &str, logged: &'static str, answered: &str) -> Answer {
        self.log.write(&Event::warn(logged).text("userid", name));
        let answer = format!("Failed to create username: {answered}");
        Answer::error(StatusCode::BAD_REQUEST, &answer)
    }

    /// Makes the account under the wanted name, or under a new one where none
    /// is wanted; `None` when someone else has just taken the wanted name.
    fn create(&self, registration: Registration) -> Result<Option<String>> {
        const TRIES: usize = 1_000;
        let credentials = credentials(
            registration.salt,
            &registration.password,
            registration.private_key,
        );
        let public_key = registration.public_key.as_str();
        let create = |name: String| -> Result<Option<String>> {
            let id = self.store.create(&name, &credentials, public_key)?;
            Ok(id.map(|_| name))
        };
        if !registration.name.is_empty() {
            return create(registration.name);
        }
        for _ in 0..TRIES {
            let name = random::letters(self.settings.user_id_length)?;
            if let Some(name) = create(name)? {
                return Ok(Some(name));
            }
        }
        bail!(
            "no account id of {} letters is free: raise UserIdLength",
            self.settings.user_id_length
        )
    }

    pub(super) fn delete_account(&self, body: &[u8]) -> Result<Answer> {
        self.authorised(body, |account, _: Package| {
            let event = Event::info("deleting user").text("userid", &account.name);
            self.log.write(&event);
            self.store.delete(account.id)?;
            let mut access = self.access();
            access.locks.reset(account.id);
            access.sessions.revoke(account.id);
            Ok(Answer::empty())
        })
    }
}

fn credentials(salt: String, password: &str, private_key: String) -> Credentials {
    Credentials {
        salt: password::salt_or_from_hash(salt, password),
        password_hash: password::hash(password),
        private_key,
    }
}

/// Letters and digits of ASCII, `-` and `_`; 1 to 64 of them.
fn is_name(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    (1..=MAX_NAME).contains(&name.len()) && name.bytes().all(allowed)
}

fn account_not_found() -> Answer {
    Answer::error(StatusCode::NOT_FOUND, "Account not found")
}

fn invalid_name() -> Answer {
    Answer::error(StatusCode::BAD_REQUEST, "Invalid FMD ID")
}
