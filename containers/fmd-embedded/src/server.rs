//! The server: listens, hands requests to the API, and drains at the end.

mod exchange;
mod listener;

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use tokio::runtime::Handle;
use tokio::time::{sleep, timeout};

use crate::api::Api;
use crate::config::Settings;
use crate::log::{Event, Logger};
use crate::push::Pusher;
use crate::store::Store;
use crate::web::Web;
use exchange::Exchange;
use listener::{Listener, Stream};

/// How long open requests may take once the server is asked to stop;
/// upstream's figure.
const DRAIN: Duration = Duration::from_secs(10);
/// How long to wait after a failed accept: it fails when files run out, and
/// they are freed by connections that end.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// A server that listens and is ready to be run.
pub struct Server {
    listener: Listener,
    exchange: Arc<Exchange>,
    log: Arc<Logger>,
}

impl Server {
    /// Opens the database and starts to listen. Must be called on a runtime.
    ///
    /// # Errors
    /// When the database can't be opened or the address can't be listened on.
    pub fn bind(settings: Settings, log: Arc<Logger>) -> Result<Self> {
        log.write(&Event::info("loading database"));
        let store = Arc::new(Store::open(&settings.database_dir)?);
        let pusher = Pusher::new(Handle::current(), Arc::clone(&store), Arc::clone(&log))?;
        let listener = Listener::bind(&settings.listen, &log)?;
        let exchange = Arc::new(Exchange {
            web: Web::new(settings.web_dir.as_deref()),
            remote_ip_header: settings.remote_ip_header.clone(),
            headers: exchange::security_headers(&settings.tile_server_url)?,
            api: Arc::new(Api::new(settings, store, Arc::clone(&log), pusher)),
        });
        Ok(Server {
            listener,
            exchange,
            log,
        })
    }

    /// The address listened on, unless it is a unix socket.
    pub fn address(&self) -> Option<SocketAddr> {
        self.listener.address()
    }

    /// Serves until `stop` is ready, then lets open requests finish.
    pub async fn run(self, stop: impl Future<Output = ()>) {
        let graceful = GracefulShutdown::new();
        let mut stop = std::pin::pin!(stop);
        loop {
            tokio::select! {
                accepted = self.listener.accept() => match accepted {
                    Ok((stream, peer)) => self.serve(stream, peer, &graceful),
                    Err(error) => {
                        let event = Event::error("cannot accept a connection");
                        self.log.write(&event.text("error", error.to_string()));
                        sleep(ACCEPT_PAUSE).await;
                    }
                },
                () = &mut stop => break,
            }
        }
        self.listener.close();
        if timeout(DRAIN, graceful.shutdown()).await.is_err() {
            self.log
                .write(&Event::warn("stopped with requests still open"));
        }
    }

    fn serve(&self, stream: Stream, peer: String, graceful: &GracefulShutdown) {
        let exchange = Arc::clone(&self.exchange);
        let service = service_fn(move |request| {
            let (exchange, peer) = (Arc::clone(&exchange), peer.clone());
            async move { exchange.answer(request, &peer).await }
        });
        let connection = hyper::server::conn::http1::Builder::new()
            .timer(TokioTimer::new())
            // nginx keeps idle connections as long as it likes, as upstream lets it.
            .header_read_timeout(None)
            // A client may close its side once it has sent its request.
            .half_close(true)
            .title_case_headers(true)
            .serve_connection(TokioIo::new(stream), service);
        let connection = graceful.watch(connection);
        // A broken connection is the client's business.
        tokio::spawn(async move { drop(connection.await) });
    }
}
