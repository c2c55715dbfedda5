//! What proves a ban: not the status alone, which lists addresses whose ban action failed, but the
//! firewall's set and packets that stop.

use std::cell::Cell;
use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Result, ensure};

use super::person::login;
use super::{JailStatus, MAXRETRY, PATIENCE, Person, covers};
use crate::client::{Attempt, KNOCK, Outcome, Request};
use crate::scenario::Stage;

/// The web page: no door at which anybody guesses, so no limit slows these requests.
const PAGE: &str = "/";

/// What an attacker saw until he was cut off.
#[derive(Debug, Clone)]
pub struct Cut {
    /// His guesses.
    pub guesses: Vec<Attempt>,
    /// The first request that got no answer.
    pub cut: Attempt,
}

impl Cut {
    /// Sorts what a person saw: guesses up to request number `knock`, that request from there on.
    ///
    /// # Errors
    /// The last knock was still answered: the person was never cut off.
    pub fn from_attempts(person: &Person, knock: usize, attempts: Vec<Attempt>) -> Result<Self> {
        let (guesses, knocks): (Vec<_>, Vec<_>) = attempts
            .into_iter()
            .partition(|attempt| attempt.request < knock);
        let cut = knocks.into_iter().rfind(|knock| knock.outcome.is_cut());
        match cut {
            Some(cut) => Ok(Self { guesses, cut }),
            None => anyhow::bail!(
                "packets of {} still get in {} s after {} wrong guesses (answers: {})",
                person.address(),
                PATIENCE.as_secs(),
                guesses.len(),
                statuses(&guesses)
            ),
        }
    }

    /// From the last answered guess to the first refused connection.
    pub fn delay(&self) -> Duration {
        let answered = self
            .guesses
            .iter()
            .rfind(|guess| guess.outcome.status().is_some());
        let from = answered.map_or(self.cut.at, |guess| guess.at + guess.took_ms / 1000.0);
        let until = self.cut.at + self.cut.took_ms / 1000.0;
        Duration::from_secs_f64((until - from).max(0.0))
    }

    /// How many guesses FMD Server answered.
    pub fn answered(&self) -> usize {
        self.guesses
            .iter()
            .filter(|guess| matches!(guess.outcome.status(), Some(200 | 403 | 404 | 423)))
            .count()
    }
}

/// Guesses `count` wrong passwords, each on the account that `account` names for it, then knocks
/// as [`knock_until_cut`] does.
pub async fn guess_until_cut(
    person: &Person,
    count: usize,
    account: impl Fn(usize) -> String,
) -> Result<Cut> {
    let guesses = (0..count).map(|n| login(&account(n), "wrong")).collect();
    knock_until_cut(person, guesses).await
}

/// Sends guesses one after the other, then knocks every 10 ms until a new connection is refused.
///
/// # Errors
/// Connections are still accepted after [`PATIENCE`].
pub async fn knock_until_cut(person: &Person, guesses: Vec<Request>) -> Result<Cut> {
    let count = guesses.len();
    let mut requests = guesses;
    let knock = Request::new("GET", KNOCK).until_refused(Duration::from_millis(10), PATIENCE);
    requests.push(knock);
    let attempts = person.send(person.requests(requests)).await?;
    Cut::from_attempts(person, count, attempts)
}

/// Makes the same guess four times a second until a connection is refused, however many of them
/// nginx's limit turns away.
///
/// # Errors
/// Connections are still accepted after [`PATIENCE`].
pub async fn guess_on(person: &Person, guess: Request) -> Result<()> {
    let guess = guess.until_refused(Duration::from_millis(250), PATIENCE);
    let attempts = person.send(person.requests(vec![guess])).await?;
    let cut = attempts
        .last()
        .is_some_and(|attempt| attempt.outcome.is_cut());
    ensure!(
        cut,
        "packets of {} still get in after {} s of guessing (answers: {})",
        person.address(),
        PATIENCE.as_secs(),
        statuses(&attempts)
    );
    Ok(())
}

fn statuses(attempts: &[Attempt]) -> String {
    let all: Vec<_> = attempts
        .iter()
        .map(|attempt| attempt.outcome.to_string())
        .collect();
    all.join(" ")
}

/// Waits for something while a person asks for the page all the time; also returns what came of that.
pub async fn while_knocking<T>(
    person: &Person,
    wait: impl Future<Output = T>,
) -> Result<(T, Vec<Attempt>)> {
    let over = Cell::new(false);
    let knock = async {
        let mut seen = Vec::new();
        while !over.get() {
            let mut plan = person
                .requests(vec![Request::new("GET", PAGE); 40])
                .paced(Duration::from_millis(25));
            plan.timeout_ms = 500;
            seen.extend(person.send(plan).await?);
        }
        anyhow::Ok(seen)
    };
    let wait = async {
        let done = wait.await;
        over.set(true);
        done
    };
    let (done, seen) = tokio::join!(wait, knock);
    Ok((done, seen?))
}

/// How many requests got an HTTP answer, whichever.
pub fn answered(attempts: &[Attempt]) -> usize {
    let statuses = attempts.iter().flat_map(|one| one.outcome.status());
    statuses.count()
}

/// Proves that a person is banned by a jail: listed, in the firewall's set, and cut off.
pub async fn prove_banned(stage: &Stage, person: &Person, jail: &str) -> Result<JailStatus> {
    let address = person.address();
    // nft answers soonest; each fail2ban-client is a Python, which an emulated machine starts for a
    // second that fail2ban lacks.
    let in_force = wait_in_force(stage, address, PATIENCE).await;
    let status = stage.fail2ban().status(jail).await?;
    ensure!(
        status.bans(address),
        "{address} is not in the ban list of jail {jail}: {:?}",
        status.banned
    );
    in_force?;
    let knocks = vec![Request::new("GET", PAGE); MAXRETRY];
    for attempt in person.send(person.requests(knocks)).await? {
        ensure!(
            attempt.outcome.is_cut(),
            "{address} is listed as banned, yet it got an answer: {}",
            attempt.outcome
        );
    }
    Ok(status)
}

/// Waits until a set of the firewall has an address.
pub async fn wait_in_force(stage: &Stage, address: IpAddr, within: Duration) -> Result<()> {
    let what = format!("{address} in a set of the firewall");
    super::wait_for(&what, within, async || {
        Ok(stage.firewall().bans(address).await?.then_some(()))
    })
    .await
}

/// Proves that a person is served and stands in no jail's list and no set of the firewall.
pub async fn prove_not_banned(stage: &Stage, person: &Person) -> Result<()> {
    let address = person.address();
    prove_not_listed(stage, &[address]).await?;
    let outcome = person.ask(Request::new("GET", PAGE)).await?;
    ensure!(
        matches!(outcome, Outcome::Answered { status: 200, .. }),
        "{address} is not banned, yet: {outcome}"
    );
    Ok(())
}

/// Proves that addresses stand in no jail's list and no set of the firewall.
pub async fn prove_not_listed(stage: &Stage, addresses: &[IpAddr]) -> Result<()> {
    let jails = stage.fail2ban().banned().await?;
    let sets = stage.firewall().banned().await?;
    for &address in addresses {
        for (jail, entries) in &jails {
            ensure!(
                !entries.iter().any(|entry| covers(entry, address)),
                "{address} stands in the ban list of jail {jail}"
            );
        }
        ensure!(
            !sets.iter().any(|entry| covers(entry, address)),
            "{address} stands in a set of the firewall"
        );
    }
    Ok(())
}
