//! What stands where upstream has its web client: a page that is there and no
//! more, or the files of `WebDir`.

use std::io;
use std::path::Path;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, Uri};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use tower_http::services::ServeDir;

use crate::answer::Answer;

/// The page upstream serves when it was built without the web client. Any
/// unknown path is answered with it, so no scanner ever sees a 404.
const PAGE: &str = "<!doctype html><title>fmd stub</title>\n";

/// What a path keeps as it is.
const PATH: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'/')
    .remove(b'.')
    .remove(b'-')
    .remove(b'_');

/// Where pages come from.
pub enum Web {
    /// One page, whatever the path.
    Page,
    /// `WebDir`.
    Files(Files),
}

impl Web {
    pub fn new(dir: Option<&Path>) -> Self {
        match dir {
            None => Web::Page,
            Some(dir) => Web::Files(Files {
                service: ServeDir::new(dir),
            }),
        }
    }
}

/// The built-in page, for any decoded path.
pub fn page(path: &str, query: Option<&str>) -> Answer {
    match path {
        "/index.html" => {
            let query = query.map(|query| format!("?{query}")).unwrap_or_default();
            Answer::moved(format!("./{query}"), false)
        }
        _ => Answer::html(PAGE),
    }
}

/// Static files.
pub struct Files {
    service: ServeDir,
}

impl Files {
    /// The file of a decoded path, if there is one. Upstream serves files for
    /// any method.
    pub async fn response<B>(
        &self,
        path: &str,
        request: &Request<B>,
    ) -> Option<Response<UnsyncBoxBody<Bytes, io::Error>>> {
        let mut asked = Request::new(Empty::<Bytes>::new());
        *asked.uri_mut() = utf8_percent_encode(path, PATH)
            .to_string()
            .parse::<Uri>()
            .ok()?;
        *asked.headers_mut() = request.headers().clone();
        if *request.method() == Method::HEAD {
            *asked.method_mut() = Method::HEAD;
        }
        let response = self.service.clone().try_call(asked).await.ok()?;
        let found = response.status() != StatusCode::NOT_FOUND;
        found.then(|| response.map(BodyExt::boxed_unsync))
    }
}
