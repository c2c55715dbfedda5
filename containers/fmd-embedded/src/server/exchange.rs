//! One request and its answer.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;

use anyhow::{Context, Result};
use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_TYPE, HOST, LOCATION};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Version};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use tokio::task::spawn_blocking;

use crate::answer::Answer;
use crate::api::{self, Api};
use crate::route::{Endpoint, Route, route};
use crate::web::{self, Web};

/// Bytes of a body that are read; what lies beyond doesn't exist for the API,
/// as with Go's `MaxBytesHandler`.
const MAX_BODY: usize = 15 << 20;

/// What answering needs.
pub struct Exchange {
    pub api: Arc<Api>,
    pub web: Web,
    pub remote_ip_header: Option<String>,
    /// Sent with every answer.
    pub headers: HeaderMap,
}

impl Exchange {
    /// Answers a request from `peer`.
    pub async fn answer(
        &self,
        request: Request<Incoming>,
        peer: &str,
    ) -> Result<Response<UnsyncBoxBody<Bytes, io::Error>>, Infallible> {
        let mut response = match self.decide(request, peer).await {
            Decision::Answer(answer) => from_answer(answer),
            Decision::File(response) => response,
        };
        response.headers_mut().extend(self.headers.clone());
        Ok(response)
    }

    async fn decide(&self, request: Request<Incoming>, peer: &str) -> Decision {
        if request.version() == Version::HTTP_11 && !request.headers().contains_key(HOST) {
            let text = "400 Bad Request: missing required Host header";
            return Decision::Answer(Answer::bad_request(text));
        }
        if request.uri().path() == "*" {
            return Decision::Answer(match *request.method() {
                Method::OPTIONS => Answer::empty(),
                _ => Answer::bad_request(""),
            });
        }
        Decision::Answer(match route(request.uri().path()) {
            Route::Endpoint(endpoint) => self.call(endpoint, request, peer).await,
            Route::SaltV2(name) => self.ask(move |api| api.salt_v2(&name)).await,
            Route::Page(path) => return self.page(&path, request).await,
            Route::Moved(path) => {
                let location = match request.uri().query() {
                    Some(query) => format!("{path}?{query}"),
                    None => path,
                };
                Answer::moved(location, *request.method() == Method::GET)
            }
            Route::NotFound => Answer::not_found(),
            Route::Malformed => Answer::bad_request("400 Bad Request"),
        })
    }

    async fn page(&self, path: &str, request: Request<Incoming>) -> Decision {
        match &self.web {
            Web::Page => Decision::Answer(web::page(path, request.uri().query())),
            Web::Files(files) => match files.response(path, &request).await {
                Some(response) => Decision::File(response),
                None => Decision::Answer(Answer::not_found()),
            },
        }
    }

    async fn call(&self, endpoint: Endpoint, request: Request<Incoming>, peer: &str) -> Answer {
        let method = request.method().clone();
        let remote = self.remote(request.headers(), peer);
        let body = match endpoint.reads_body() {
            true => read(request.into_body()).await,
            false => Body::default(),
        };
        let cut = body.cut;
        let request = api::Request {
            endpoint,
            method,
            remote,
            body: body.bytes,
        };
        let mut answer = self.ask(move |api| api.answer(&request)).await;
        answer.close |= cut;
        answer
    }

    /// Asks the API, which blocks on the database and on syslog.
    async fn ask(&self, question: impl FnOnce(&Api) -> Answer + Send + 'static) -> Answer {
        let api = Arc::clone(&self.api);
        spawn_blocking(move || question(&api))
            .await
            .unwrap_or_else(|_| {
                Answer::error(StatusCode::INTERNAL_SERVER_ERROR, "Internal Server Error")
            })
    }

    /// The client's address: the header's first value, believed as it is, or
    /// the peer's where there is none or it is empty.
    fn remote(&self, headers: &HeaderMap, peer: &str) -> Vec<u8> {
        let name = self.remote_ip_header.as_deref();
        // Go keeps `Host` out of its headers.
        let name = name.filter(|name| !name.eq_ignore_ascii_case(HOST.as_str()));
        name.and_then(|name| headers.get(name))
            .map(HeaderValue::as_bytes)
            .filter(|value| !value.is_empty())
            .unwrap_or(peer.as_bytes())
            .to_vec()
    }
}

enum Decision {
    Answer(Answer),
    File(Response<UnsyncBoxBody<Bytes, io::Error>>),
}

fn from_answer(answer: Answer) -> Response<UnsyncBoxBody<Bytes, io::Error>> {
    let body = Full::new(Bytes::from(answer.body));
    let mut response = Response::new(body.map_err(|never| match never {}).boxed_unsync());
    *response.status_mut() = answer.status;
    let headers = response.headers_mut();
    if let Some(content_type) = answer.content_type {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    }
    if let Some(location) = answer.location.and_then(|l| HeaderValue::try_from(l).ok()) {
        headers.insert(LOCATION, location);
    }
    if answer.close {
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// As much of a body as counts.
#[derive(Default)]
struct Body {
    bytes: Vec<u8>,
    /// Whether there was more, or it broke off.
    cut: bool,
}

async fn read(mut incoming: Incoming) -> Body {
    let mut body = Body::default();
    while let Some(frame) = incoming.frame().await {
        let Ok(frame) = frame else {
            body.cut = true;
            break;
        };
        let Some(data) = frame.data_ref() else {
            continue;
        };
        let room = MAX_BODY - body.bytes.len();
        body.bytes.extend_from_slice(&data[..data.len().min(room)]);
        if data.len() > room {
            body.cut = true;
            break;
        }
    }
    body
}

/// Upstream's headers for browsers, with the tile server as a source of images.
pub fn security_headers(tile_server_url: &str) -> Result<HeaderMap> {
    let policy = format!(
        "default-src 'self'; script-src 'self'; style-src 'self' 'unsafe-inline'; \
         img-src 'self' data: {}; connect-src 'self'; object-src 'none'; base-uri 'self'; \
         form-action 'self'; frame-ancestors 'none'; upgrade-insecure-requests",
        origin(tile_server_url)
    );
    let pairs = [
        ("x-frame-options", "DENY"),
        ("x-content-type-options", "nosniff"),
        ("x-xss-protection", "1; mode=block"),
        ("content-security-policy", policy.as_str()),
        ("permissions-policy", "camera=(), microphone=()"),
        ("referrer-policy", "strict-origin-when-cross-origin"),
    ];
    let mut headers = HeaderMap::new();
    for (name, value) in pairs {
        let value = HeaderValue::from_str(value)
            .with_context(|| format!("TileServerUrl: {tile_server_url:?} can't go into {name}"))?;
        headers.insert(HeaderName::from_static(name), value);
    }
    Ok(headers)
}

/// Scheme and host, `{s}` standing for any subdomain.
fn origin(url: &str) -> String {
    let url = url.replacen("{s}", "*", 1);
    let (scheme, rest) = url.split_once("://").unwrap_or(("", &url));
    let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
    format!("{scheme}://{host}")
}
