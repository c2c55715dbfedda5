//! Waking phones: a POST to the URL their UnifiedPush distributor gave.
//!
//! Nothing here holds up a request. Pushes wait in a bounded queue for a few
//! workers, each push has a deadline, and redirects stay on the host.

mod url;

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use reqwest::redirect::{Attempt, Policy};
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::time::sleep;

use crate::access::AccountId;
use crate::api::UPSTREAM_VERSION;
use crate::log::{Event, Logger};
use crate::store::{Account, Store};
use url::Problem;

/// How long a push may take, from the name lookup to the answer.
const DEADLINE: Duration = Duration::from_secs(10);
/// Pushes under way at once.
const AT_ONCE: usize = 16;
/// Pushes under way and waiting, together.
const QUEUE: usize = 256;
/// Redirects followed, all on the host of the URL.
const REDIRECTS: usize = 5;
/// How long after a login the phone is reminded of a pending command:
/// upstream's figure.
const REMINDER: Duration = Duration::from_secs(15);

/// What the push says; the phone only needs to wake up. ntfy shows `message`
/// and wants `priority`.
const BODY: &str = r#"{"message":"fmd app wakeup","priority":5}"#;

/// Sends pushes.
#[derive(Clone)]
pub struct Pusher {
    shared: Arc<Shared>,
}

struct Shared {
    runtime: Handle,
    client: reqwest::Client,
    log: Arc<Logger>,
    queue: Arc<Semaphore>,
    workers: Semaphore,
    store: Arc<Store>,
    /// Accounts with a reminder to come: at most one each.
    reminders: Mutex<HashSet<AccountId>>,
}

impl Pusher {
    /// A pusher whose work is done on `runtime`.
    ///
    /// # Errors
    /// When the HTTP client can't be set up.
    pub fn new(runtime: Handle, store: Arc<Store>, log: Arc<Logger>) -> Result<Self> {
        Ok(Pusher {
            shared: Arc::new(Shared {
                runtime,
                client: client()?,
                log,
                queue: Arc::new(Semaphore::new(QUEUE)),
                workers: Semaphore::new(AT_ONCE),
                store,
                reminders: Mutex::default(),
            }),
        })
    }

    /// Wakes the account's phone, or logs why that can't be.
    pub fn push(&self, name: &str, url: &str) {
        let shared = &self.shared;
        let url = url.replace("/UP?", "/message?");
        if url.is_empty() {
            let message = "cannot push user, no push URL, \
                           they need to install a UnifiedPush distributor app";
            shared.log.write(&Event::warn(message).text("userid", name));
            return;
        }
        match url::check(&url) {
            Err(Problem::NoUrl(error)) => {
                return shared.fail("failed to build push request", name, &error);
            }
            Err(Problem::Unusable(error)) => return shared.fail(FAILED, name, &error),
            Ok(()) => {}
        }
        let Ok(place) = Arc::clone(&shared.queue).try_acquire_owned() else {
            return shared.fail(FAILED, name, "too many pushes are waiting");
        };
        let (shared, name) = (Arc::clone(shared), name.to_owned());
        self.shared.runtime.spawn(async move {
            if let Err(error) = shared.send(&url).await {
                shared.fail(FAILED, &name, &error);
            }
            drop(place);
        });
    }

    /// Wakes the phone a while after its owner's login, if a command is
    /// pending then: the phone may have missed the first push.
    pub fn push_later(&self, account: &Account) {
        if account.command.text.is_empty() || !self.remind(account.id) {
            return;
        }
        let (pusher, id) = (self.clone(), account.id);
        self.shared.runtime.spawn(async move {
            sleep(REMINDER).await;
            // The database blocks.
            let done = tokio::task::spawn_blocking(move || {
                pusher.forget_reminder(id);
                match pusher.shared.store.by_id(id) {
                    Ok(Some(account)) if !account.command.text.is_empty() => {
                        pusher.push(&account.name, &account.push_url);
                    }
                    _ => {}
                }
            });
            let _ = done.await;
        });
    }

    /// Notes a reminder; false when there is one already.
    fn remind(&self, id: AccountId) -> bool {
        let mut reminders = self
            .shared
            .reminders
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        reminders.len() < QUEUE && reminders.insert(id)
    }

    fn forget_reminder(&self, id: AccountId) {
        let mut reminders = self
            .shared
            .reminders
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        reminders.remove(&id);
    }
}

const FAILED: &str = "failed to send push to user";

impl Shared {
    async fn send(&self, url: &str) -> Result<(), String> {
        let Ok(_turn) = self.workers.acquire().await else {
            return Ok(());
        };
        // Whatever is answered: upstream doesn't look at it either.
        let sent = self
            .client
            .post(url)
            .header("Content-Encoding", "aes128gcm")
            .header("TTL", "86400")
            .header("Urgency", "high")
            .body(BODY)
            .send()
            .await;
        sent.map(drop).map_err(|error| url::explain(url, &error))
    }

    fn fail(&self, message: &'static str, name: &str, error: &str) {
        let event = Event::error(message).text("error", error);
        self.log.write(&event.text("userid", name));
    }
}

fn client() -> Result<reqwest::Client> {
    // An error means that whoever links this library has installed one already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let builder = || {
        reqwest::Client::builder()
            .user_agent(format!(
                "fmd-server/{UPSTREAM_VERSION} (fmd-embedded {})",
                env!("CARGO_PKG_VERSION")
            ))
            .timeout(DEADLINE)
            .redirect(Policy::custom(same_host))
    };
    // A system without CA certificates can still push over plain HTTP.
    builder()
        .build()
        .or_else(|_| builder().tls_certs_only([]).build())
        .context("cannot set up the client for pushes")
}

fn same_host(attempt: Attempt) -> reqwest::redirect::Action {
    let same = attempt.previous().first().is_some_and(|first| {
        first.host_str() == attempt.url().host_str()
            && first.port_or_known_default() == attempt.url().port_or_known_default()
    });
    if same && attempt.previous().len() <= REDIRECTS {
        attempt.follow()
    } else {
        attempt.stop()
    }
}
