//! API v1: what each request does and how it is answered.
//!
//! The answers are upstream's to the byte; where they look odd (a 200 for a
//! method nobody serves, an index that isn't a number meaning 0), clients have
//! come to rely on it. `tests/contract` holds the recordings.

mod account;
mod bodies;
mod command;
mod items;
mod password;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use anyhow::Result;
use http::{Method, StatusCode};

use crate::access::{Locks, Sessions};
use crate::answer::Answer;
use crate::config::Settings;
use crate::json::{self, Body};
use crate::log::{Event, Logger};
use crate::push::Pusher;
use crate::route::Endpoint;
use crate::store::{Account, Items, Store};
use bodies::{Package, WithToken};

/// What the version endpoint says: clients choose their protocol by it.
pub const UPSTREAM_VERSION: &str = "0.15.0";

/// The server behind HTTP. Its methods block (on the database and on syslog),
/// so they are called outside the asynchronous runtime's own threads.
pub struct Api {
    settings: Settings,
    store: Arc<Store>,
    log: Arc<Logger>,
    pusher: Pusher,
    access: Mutex<Access>,
    started: Instant,
}

#[derive(Default)]
struct Access {
    locks: Locks,
    sessions: Sessions,
}

/// A request as far as the API looks at it.
pub struct Request {
    pub endpoint: Endpoint,
    pub method: Method,
    /// The client's address as it goes into the log.
    pub remote: Vec<u8>,
    pub body: Vec<u8>,
}

impl Api {
    pub fn new(settings: Settings, store: Arc<Store>, log: Arc<Logger>, pusher: Pusher) -> Self {
        Api {
            settings,
            store,
            log,
            pusher,
            access: Mutex::default(),
            started: Instant::now(),
        }
    }

    /// Answers a request; what goes wrong inside is logged and answered 500.
    pub fn answer(&self, request: &Request) -> Answer {
        self.or_log(self.dispatch(request))
    }

    /// API v2: an account's salt, and that it speaks v1. The fields are those
    /// that the client fmd-api 3 reads.
    pub fn salt_v2(&self, name: &str) -> Answer {
        self.or_log(self.salt_of(name))
    }

    fn or_log(&self, answer: Result<Answer>) -> Answer {
        answer.unwrap_or_else(|error| {
            let event = Event::error("failed to answer a request");
            self.log.write(&event.text("error", format!("{error:#}")));
            Answer::error(StatusCode::INTERNAL_SERVER_ERROR, "Internal Server Error")
        })
    }

    fn dispatch(&self, request: &Request) -> Result<Answer> {
        let body = request.body.as_slice();
        match request.endpoint {
            Endpoint::Version => Ok(Answer::sniffed(UPSTREAM_VERSION)),
            Endpoint::TileServerUrl => Ok(self.tile_server_url()),
            Endpoint::Salt => self.salt(body),
            Endpoint::RequestAccess => self.log_in(body, &request.remote),
            Endpoint::Password => self.change_password(body),
            Endpoint::Key => self.key(body, |account| account.private_key),
            Endpoint::PubKey => self.key(body, |account| account.public_key),
            Endpoint::Locations => self.all(Items::Locations, body),
            Endpoint::Pictures => self.all(Items::Pictures, body),
            Endpoint::DeleteLocations => self.clear(Items::Locations, body),
            Endpoint::DeletePictures => self.clear(Items::Pictures, body),
            Endpoint::LocationDataSize => self.count(Items::Locations, body),
            Endpoint::PictureSize => self.count(Items::Pictures, body),
            Endpoint::Location
            | Endpoint::Picture
            | Endpoint::Command
            | Endpoint::Push
            | Endpoint::Device => self.dispatch_by_method(request),
        }
    }

    /// The endpoints that do one thing for PUT, another for POST, and answer
    /// every other method with an empty 200.
    fn dispatch_by_method(&self, request: &Request) -> Result<Answer> {
        let body = request.body.as_slice();
        match (request.endpoint, &request.method) {
            (Endpoint::Location, &Method::PUT) => self.one(Items::Locations, body),
            (Endpoint::Location, &Method::POST) => self.add(Items::Locations, body),
            (Endpoint::Picture, &Method::PUT) => self.one(Items::Pictures, body),
            (Endpoint::Picture, &Method::POST) => self.add(Items::Pictures, body),
            (Endpoint::Command, &Method::PUT) => self.take_command(body),
            (Endpoint::Command, &Method::POST) => self.post_command(body),
            // The app has always used PUT to set the URL, so POST reads it.
            (Endpoint::Push, &Method::PUT) => self.set_push_url(body),
            (Endpoint::Push, &Method::POST) => self.push_url(body),
            (Endpoint::Device, &Method::PUT) => self.register(body),
            (Endpoint::Device, &Method::POST) => self.delete_account(body),
            _ => Ok(Answer::empty()),
        }
    }

    fn tile_server_url(&self) -> Answer {
        let url = json::quote(&self.settings.tile_server_url);
        Answer::json(format!("{{\"TileServerUrl\":{url}}}"))
    }

    fn key(&self, body: &[u8], key: fn(Account) -> String) -> Result<Answer> {
        self.authorised(body, |account, package: Package| {
            Ok(Answer::json(bodies::package(&package.token, &key(account))))
        })
    }

    /// Decodes the body, finds the account of its token, and goes on with both.
    fn authorised<B: Body + WithToken>(
        &self,
        body: &[u8],
        then: impl FnOnce(Account, B) -> Result<Answer>,
    ) -> Result<Answer> {
        let Ok(body) = json::decode::<B>(body) else {
            return Ok(Answer::invalid_json());
        };
        match self.account_of(body.token())? {
            Some(account) => then(account, body),
            None => Ok(Answer::error(
                StatusCode::UNAUTHORIZED,
                "Access token not valid",
            )),
        }
    }

    fn account_of(&self, token: &str) -> Result<Option<Account>> {
        let id = self.access().sessions.account(token, self.now());
        id.map_or(Ok(None), |id| self.store.by_id(id))
    }

    fn access(&self) -> MutexGuard<'_, Access> {
        self.access.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Seconds of a clock that no change of the system's time moves.
    fn now(&self) -> u64 {
        self.started.elapsed().as_secs()
    }
}
