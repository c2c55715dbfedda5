//! Push URLs that can't work, said in Go's words, since jails and operators
//! read them in upstream's log.

use std::error::Error as _;
use std::io;

/// Why nothing can be sent to a URL.
#[derive(Debug, PartialEq, Eq)]
pub enum Problem {
    /// It isn't a URL.
    NoUrl(String),
    /// It is one that no push can go to.
    Unusable(String),
}

/// Looks at a URL without touching the network.
///
/// # Errors
/// What is wrong with it.
pub fn check(url: &str) -> Result<(), Problem> {
    let bad = |reason: &str| Problem::NoUrl(format!("parse {url:?}: {reason}"));
    if url.bytes().any(|byte| byte < b' ' || byte == 0x7f) {
        return Err(bad("net/url: invalid control character in URL"));
    }
    if url.starts_with(':') {
        return Err(bad("missing protocol scheme"));
    }
    let Some((scheme, rest)) = scheme(url) else {
        let first = url.split(['/', '?', '#']).next().unwrap_or_default();
        if first.contains(':') {
            return Err(bad("first path segment in URL cannot contain colon"));
        }
        return Err(unusable(url, "unsupported protocol scheme \"\""));
    };
    let scheme = scheme.to_ascii_lowercase();
    if scheme != "http" && scheme != "https" {
        return Err(unusable(
            url,
            &format!("unsupported protocol scheme {scheme:?}"),
        ));
    }
    let host = rest.strip_prefix("//").unwrap_or_default();
    if host
        .split(['/', '?', '#'])
        .next()
        .unwrap_or_default()
        .is_empty()
    {
        return Err(unusable(url, "http: no Host in request URL"));
    }
    match reqwest::Url::parse(url) {
        Ok(_) => Ok(()),
        Err(error) => Err(bad(&error.to_string())),
    }
}

fn unusable(url: &str, reason: &str) -> Problem {
    Problem::Unusable(format!("Post {url:?}: {reason}"))
}

/// Scheme and the rest, if it starts with a scheme.
fn scheme(url: &str) -> Option<(&str, &str)> {
    let (scheme, rest) = url.split_once(':')?;
    let mut bytes = scheme.bytes();
    let starts = bytes.next()?.is_ascii_alphabetic();
    let goes_on = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.');
    (starts && bytes.all(goes_on)).then_some((scheme, rest))
}

/// Why a push failed.
pub fn explain(url: &str, error: &reqwest::Error) -> String {
    let reason = match refused_address(error) {
        Some(address) => format!("dial tcp {address}: connect: connection refused"),
        None if error.is_timeout() => "context deadline exceeded".to_owned(),
        None => deepest(error),
    };
    format!("Post {url:?}: {reason}")
}

/// The address that refused the connection, if that is what happened.
fn refused_address(error: &reqwest::Error) -> Option<String> {
    let mut source = error.source();
    while let Some(cause) = source {
        if let Some(io) = cause.downcast_ref::<io::Error>()
            && io.kind() == io::ErrorKind::ConnectionRefused
        {
            let url = error.url()?;
            let port = url.port_or_known_default()?;
            return Some(format!("{}:{port}", url.host_str()?));
        }
        source = cause.source();
    }
    None
}

fn deepest(error: &reqwest::Error) -> String {
    let mut message = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        message = cause.to_string();
        source = cause.source();
    }
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_that_can_work_pass() {
        for url in [
            "http://127.0.0.1:9/message?token=x",
            "https://ntfy.sh/abc?up=1",
        ] {
            assert_eq!(check(url), Ok(()));
        }
    }

    #[test]
    fn what_is_wrong_is_said_as_go_says_it() {
        let no_url = |text: &str| Err(Problem::NoUrl(text.to_owned()));
        let unusable = |text: &str| Err(Problem::Unusable(text.to_owned()));
        assert_eq!(check(":x"), no_url("parse \":x\": missing protocol scheme"));
        assert_eq!(
            check("1a:b"),
            no_url("parse \"1a:b\": first path segment in URL cannot contain colon")
        );
        assert_eq!(
            check("foo"),
            unusable("Post \"foo\": unsupported protocol scheme \"\"")
        );
        assert_eq!(
            check("ftp://x/"),
            unusable("Post \"ftp://x/\": unsupported protocol scheme \"ftp\"")
        );
        assert_eq!(
            check("http:///x"),
            unusable("Post \"http:///x\": http: no Host in request URL")
        );
        assert!(matches!(check("http://[x/"), Err(Problem::NoUrl(_))));
        assert!(matches!(check("a\nb"), Err(Problem::NoUrl(_))));
    }
}
