//! Sending requests and telling what came of each.

use std::error::Error as _;
use std::io::{ErrorKind, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use reqwest::Client;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, sleep};

use super::plan::{Attempt, Connection, Outcome, Request, Requests};

/// Answers are quoted up to this length.
const BODY_LIMIT: usize = 64 * 1024;

/// What nginx refuses by itself (http.conf, `$fmd_spelling`): knocking in quick succession must not keep
/// an emulated machine busy with pages.
pub const KNOCK: &str = "/%25";

/// Sends the requests of a plan, writing an [`Attempt`] a line to standard output.
pub async fn send(plan: Requests) -> Result<()> {
    let workers = plan.connections.max(1);
    let shared = Arc::new(Shared {
        next: AtomicUsize::new(0),
        cut: AtomicBool::new(false),
        plan,
    });
    let mut tasks: JoinSet<_> = (0..workers).map(|_| work(shared.clone())).collect();
    let done = async {
        while let Some(task) = tasks.join_next().await {
            task.context("a connection's task ended early")??;
        }
        Ok(())
    };
    tokio::select! {
        done = done => done,
        // What is still under way ends with the set.
        cut = cut_off(&shared.plan), if shared.plan.stop_when_cut => cut,
    }
}

/// Returns a second after a new connection was first refused. Packets of connections that were open
/// when their client was banned are dropped: whoever waits for their answers waits for nothing.
async fn cut_off(plan: &Requests) -> Result<()> {
    let knock = Request::new("GET", KNOCK);
    let knocks = Requests {
        // One that is open when the ban comes waits for nothing too.
        timeout_ms: 1000,
        requests: Vec::new(),
        ..plan.clone()
    };
    let client = client(&knocks, 0)?;
    while attempt(&client, &plan.url, 0, &knock).await?.outcome != Outcome::Refused {
        sleep(Duration::from_millis(100)).await;
    }
    sleep(Duration::from_secs(1)).await;
    Ok(())
}

struct Shared {
    plan: Requests,
    next: AtomicUsize,
    cut: AtomicBool,
}

/// Takes requests from the plan until there are none left.
async fn work(shared: Arc<Shared>) -> Result<()> {
    let clients = Clients::new(&shared.plan)?;
    loop {
        let index = shared.next.fetch_add(1, Ordering::SeqCst);
        let Some(request) = shared.plan.requests.get(index) else {
            return Ok(());
        };
        if shared.plan.stop_when_cut && shared.cut.load(Ordering::SeqCst) {
            return Ok(());
        }
        let outcome = series(&clients, &shared.plan, index, request).await?;
        if outcome.is_cut() {
            shared.cut.store(true, Ordering::SeqCst);
        }
        if shared.plan.pause_ms > 0 {
            sleep(Duration::from_millis(shared.plan.pause_ms)).await;
        }
    }
}

/// A client for each kind of connection.
struct Clients {
    fresh: Client,
    kept: Client,
}

impl Clients {
    fn new(plan: &Requests) -> Result<Self> {
        Ok(Self {
            fresh: client(plan, 0)?,
            kept: client(plan, 1)?,
        })
    }

    fn of(&self, connection: Connection) -> &Client {
        match connection {
            Connection::Fresh => &self.fresh,
            Connection::Kept => &self.kept,
        }
    }
}

/// A client that keeps up to `idle` connections open between requests.
pub fn client(plan: &Requests, idle: usize) -> Result<Client> {
    let timeout = Duration::from_millis(plan.timeout_ms);
    let mut builder = Client::builder();
    if let Some(server) = plan.server {
        // Port 0 stands for the URL's own.
        builder = builder.resolve(&host(&plan.url)?, SocketAddr::new(server, 0));
    }
    builder
        .pool_max_idle_per_host(idle)
        .local_address(plan.source)
        .timeout(timeout)
        .connect_timeout(timeout)
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .no_proxy()
        // Test servers have certificates of their own making.
        .tls_danger_accept_invalid_certs(true)
        .build()
        .context("building the HTTP client")
}

fn host(url: &str) -> Result<String> {
    let url: reqwest::Url = url.parse().with_context(|| format!("the URL {url:?}"))?;
    Ok(url.host_str().unwrap_or_default().to_owned())
}

/// Sends a request once, or until it is refused; returns the last outcome.
///
/// On fresh connections one request does not wait for the one before it: at the moment of a ban a
/// connection may be open whose answer never comes, and the next one is what tells.
async fn series(
    clients: &Clients,
    plan: &Requests,
    index: usize,
    request: &Request,
) -> Result<Outcome> {
    let connection = request.connection.unwrap_or(plan.connection);
    let client = clients.of(connection);
    let Some(every) = request.until_refused_every_ms else {
        return once(client, &plan.url, index, request).await;
    };
    let mut ticks = interval(Duration::from_millis(every.max(1)));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let end = Instant::now() + Duration::from_millis(request.until_refused_within_ms);
    let at_once = match connection {
        Connection::Fresh => usize::MAX,
        Connection::Kept => 1,
    };
    let mut under_way = FuturesUnordered::new();
    loop {
        tokio::select! {
            _ = ticks.tick(), if under_way.len() < at_once => {
                under_way.push(once(client, &plan.url, index, request));
            }
            Some(outcome) = under_way.next() => {
                let outcome = outcome?;
                if is_refusal(connection, &outcome) || Instant::now() >= end {
                    return Ok(outcome);
                }
            }
        }
    }
}

/// Whether an outcome is the refusal that is waited for. A new connection that closes early may have
/// been cut while the ban was being put in place: only the next one tells.
fn is_refusal(connection: Connection, outcome: &Outcome) -> bool {
    match connection {
        Connection::Fresh => outcome.is_cut() && *outcome != Outcome::Closed,
        Connection::Kept => outcome.is_cut(),
    }
}

async fn once(client: &Client, url: &str, index: usize, request: &Request) -> Result<Outcome> {
    let attempt = attempt(client, url, index, request).await?;
    print_line(&attempt)?;
    Ok(attempt.outcome)
}

/// Sends a request once.
pub async fn attempt(
    client: &Client,
    url: &str,
    index: usize,
    request: &Request,
) -> Result<Attempt> {
    let prepared = prepare(client, url, request)?;
    let at = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs_f64();
    let started = Instant::now();
    let outcome = match client.execute(prepared).await {
        Ok(answer) => answered(answer).await,
        Err(error) => refusal(&error),
    };
    let took_ms = started.elapsed().as_secs_f64() * 1000.0;
    Ok(Attempt {
        request: index,
        at,
        took_ms,
        outcome,
    })
}

fn prepare(client: &Client, url: &str, request: &Request) -> Result<reqwest::Request> {
    let method = request
        .method
        .parse()
        .with_context(|| format!("method {:?}", request.method))?;
    let mut headers = HeaderMap::new();
    if request.body.is_some() {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    }
    for (name, value) in &request.headers {
        let name: HeaderName = name.parse().with_context(|| format!("header {name:?}"))?;
        let value = HeaderValue::from_bytes(value.as_bytes()).context("header value")?;
        headers.append(name, value);
    }
    let mut builder = client
        .request(method, format!("{url}{}", request.path))
        .headers(headers);
    if let Some(body) = &request.body {
        builder = builder.body(body.clone());
    }
    builder
        .build()
        .with_context(|| format!("building a request to {url}{}", request.path))
}

async fn answered(answer: reqwest::Response) -> Outcome {
    let status = answer.status().as_u16();
    match answer.bytes().await {
        Ok(body) => {
            let body = &body[..body.len().min(BODY_LIMIT)];
            Outcome::Answered {
                status,
                body: String::from_utf8_lossy(body).into_owned(),
            }
        }
        Err(error) => refusal(&error),
    }
}

/// Tells from an error what kept the answer away.
fn refusal(error: &reqwest::Error) -> Outcome {
    if error.is_timeout() {
        return Outcome::TimedOut;
    }
    let mut cause = error.source();
    while let Some(inner) = cause {
        if let Some(io) = inner.downcast_ref::<std::io::Error>() {
            match io.kind() {
                ErrorKind::ConnectionRefused => return Outcome::Refused,
                ErrorKind::ConnectionReset | ErrorKind::BrokenPipe | ErrorKind::UnexpectedEof => {
                    return Outcome::Closed;
                }
                ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable => {
                    return Outcome::Unreachable;
                }
                _ => {}
            }
        }
        let text = inner.to_string();
        // hyper keeps its own errors for a connection that ends between requests.
        if text.contains("connection closed") || text.contains("IncompleteMessage") {
            return Outcome::Closed;
        }
        cause = inner.source();
    }
    Outcome::Failed(format!("{error:?}"))
}

/// Writes one JSON line and flushes it, so that a killed client loses nothing.
pub fn print_line(what: &impl serde::Serialize) -> Result<()> {
    let mut line = serde_json::to_vec(what).context("encoding a line")?;
    line.push(b'\n');
    let mut stdout = std::io::stdout().lock();
    stdout
        .write_all(&line)
        .and_then(|()| stdout.flush())
        .context("writing to standard output")
}
