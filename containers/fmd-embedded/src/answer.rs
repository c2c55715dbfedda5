//! Answers, before they become HTTP.

use http::StatusCode;

use crate::sniff;

const JSON: &str = "application/json";
const TEXT: &str = "text/plain; charset=utf-8";
const HTML: &str = "text/html; charset=utf-8";

/// Status, type and body of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    pub status: StatusCode,
    pub content_type: Option<&'static str>,
    pub location: Option<String>,
    pub body: Vec<u8>,
    /// Whether the connection ends with this answer.
    pub close: bool,
}

impl Answer {
    fn new(status: StatusCode, content_type: Option<&'static str>, body: Vec<u8>) -> Self {
        Answer {
            status,
            content_type,
            location: None,
            body,
            close: false,
        }
    }

    /// 200 without a body and so without a type.
    pub fn empty() -> Self {
        Answer::new(StatusCode::OK, None, Vec::new())
    }

    pub fn json(body: String) -> Self {
        Answer::new(StatusCode::OK, Some(JSON), body.into_bytes())
    }

    /// A picture: text, without a character set.
    pub fn plain(body: String) -> Self {
        Answer::new(StatusCode::OK, Some("text/plain"), body.into_bytes())
    }

    pub fn html(body: &str) -> Self {
        Answer::new(StatusCode::OK, Some(HTML), body.into())
    }

    /// A body whose type Go's HTTP server guesses.
    pub fn sniffed(body: impl Into<String>) -> Self {
        let body = body.into().into_bytes();
        Answer::new(StatusCode::OK, sniff::content_type(&body), body)
    }

    /// What Go's `http.Error` writes: the text and a newline.
    pub fn error(status: StatusCode, text: &str) -> Self {
        Answer::new(status, Some(TEXT), format!("{text}\n").into_bytes())
    }

    pub fn invalid_json() -> Self {
        Answer::error(StatusCode::BAD_REQUEST, "Invalid JSON")
    }

    pub fn not_found() -> Self {
        Answer::error(StatusCode::NOT_FOUND, "404 page not found")
    }

    /// What Go's server says to a request it can't read, before it hangs up.
    pub fn bad_request(text: &str) -> Self {
        let mut answer = Answer::new(StatusCode::BAD_REQUEST, Some(TEXT), text.into());
        answer.close = true;
        answer
    }

    /// A permanent redirect; upstream adds a page for those who GET it.
    pub fn moved(location: String, with_page: bool) -> Self {
        let (content_type, body) = match with_page {
            false => (None, String::new()),
            true => {
                let link = escape(&location);
                let page = format!("<a href=\"{link}\">Moved Permanently</a>.\n\n");
                (Some(HTML), page)
            }
        };
        let mut answer = Answer::new(StatusCode::MOVED_PERMANENTLY, content_type, body.into());
        answer.location = Some(location);
        answer
    }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&#34;")
        .replace('\'', "&#39;")
}
