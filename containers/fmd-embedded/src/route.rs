//! Which path means what, by the rules of Go's `ServeMux`: paths are cleaned
//! by a redirect, every endpoint also answers below its own path, and the whole
//! API stands at `/api/v1` and once more at the root.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

/// The endpoints of API v1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Endpoint {
    Command,
    DeleteLocations,
    DeletePictures,
    Device,
    Key,
    Location,
    LocationDataSize,
    Locations,
    Password,
    Picture,
    PictureSize,
    Pictures,
    PubKey,
    Push,
    RequestAccess,
    Salt,
    TileServerUrl,
    Version,
}

impl Endpoint {
    /// Whether the answer depends on the request's body.
    pub fn reads_body(self) -> bool {
        !matches!(self, Endpoint::TileServerUrl | Endpoint::Version)
    }

    /// The endpoint whose path is these segments or starts with them.
    fn of(segments: &[Cow<str>]) -> Option<Self> {
        Some(match segments.first()?.as_ref() {
            "command" => Endpoint::Command,
            "device" => Endpoint::Device,
            "key" => Endpoint::Key,
            "location" => Endpoint::Location,
            "locationDataSize" => Endpoint::LocationDataSize,
            "locations" if asks_to_delete(segments) => Endpoint::DeleteLocations,
            "locations" => Endpoint::Locations,
            "password" => Endpoint::Password,
            "picture" => Endpoint::Picture,
            "pictureSize" => Endpoint::PictureSize,
            "pictures" if asks_to_delete(segments) => Endpoint::DeletePictures,
            "pictures" => Endpoint::Pictures,
            "pubKey" => Endpoint::PubKey,
            "push" => Endpoint::Push,
            "requestAccess" => Endpoint::RequestAccess,
            "salt" => Endpoint::Salt,
            "tileServerUrl" => Endpoint::TileServerUrl,
            "version" => Endpoint::Version,
            _ => return None,
        })
    }
}

fn asks_to_delete(segments: &[Cow<str>]) -> bool {
    segments.get(1).is_some_and(|segment| segment == "delete")
}

/// What a path leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Route {
    Endpoint(Endpoint),
    /// API v2: the salt of this account.
    SaltV2(String),
    /// The web client's: its path, decoded.
    Page(String),
    /// The same place under its proper path.
    Moved(String),
    NotFound,
    /// Percent signs that encode nothing.
    Malformed,
}

/// The route of a path as it stands in the request line, without the query.
pub fn route(path: &str) -> Route {
    if !is_encoded(path) {
        return Route::Malformed;
    }
    let clean = clean(path);
    let segments: Vec<Cow<str>> = clean
        .split('/')
        .skip(1)
        .map(|segment| percent_decode_str(segment).decode_utf8_lossy())
        .collect();
    let names: Vec<&str> = segments.iter().map(AsRef::as_ref).collect();
    match names[..] {
        // All of API v2, which came with 0.17, that clients need to learn that
        // an account is one of v1. Upstream before 0.17 answers 200 with its
        // web page, which such clients take for an answer.
        ["api", "v2", "account", name, "salt", ..] => Route::SaltV2(name.to_owned()),
        ["api", "v2", ..] => Route::NotFound,
        ["api", "v1"] => Route::Moved("/api/v1/".to_owned()),
        _ if clean != path => Route::Moved(clean),
        // Go strips the prefix from the path as it was sent.
        ["api", "v1", ..] if !path.starts_with("/api/v1/") => Route::NotFound,
        ["api", "v1", ..] => endpoint_or_page(&segments[2..]),
        _ => endpoint_or_page(&segments),
    }
}

fn endpoint_or_page(segments: &[Cow<str>]) -> Route {
    match Endpoint::of(segments) {
        Some(endpoint) => Route::Endpoint(endpoint),
        None => Route::Page(format!("/{}", segments.join("/"))),
    }
}

/// Whether every `%` is followed by two hexadecimal digits.
fn is_encoded(path: &str) -> bool {
    path.split('%').skip(1).all(|rest| {
        let bytes = rest.as_bytes();
        bytes.len() >= 2 && bytes[..2].iter().all(u8::is_ascii_hexdigit)
    })
}

/// Go's `path.Clean`, keeping a trailing slash.
fn clean(path: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    for segment in path.split('/') {
        match segment {
            "" | "." => {}
            ".." => {
                kept.pop();
            }
            other => kept.push(other),
        }
    }
    let mut clean = format!("/{}", kept.join("/"));
    if path.ends_with('/') && !kept.is_empty() {
        clean.push('/');
    }
    clean
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_answer_under_both_prefixes_and_below_their_path() {
        for path in [
            "/api/v1/requestAccess",
            "/api/v1/requestAccess/",
            "/api/v1/requestAccess/more/of/it",
            "/requestAccess",
            "/requestAccess/",
            "/request%41ccess",
        ] {
            assert_eq!(
                route(path),
                Route::Endpoint(Endpoint::RequestAccess),
                "{path}"
            );
        }
    }

    #[test]
    fn deleting_is_more_than_listing() {
        use Endpoint::{DeleteLocations, DeletePictures, Locations, Pictures};
        assert_eq!(
            route("/api/v1/locations/delete"),
            Route::Endpoint(DeleteLocations)
        );
        assert_eq!(route("/pictures/delete/"), Route::Endpoint(DeletePictures));
        assert_eq!(route("/locations/deleted"), Route::Endpoint(Locations));
        assert_eq!(route("/api/v1/pictures/x"), Route::Endpoint(Pictures));
    }

    #[test]
    fn everything_else_is_a_page() {
        for path in ["/", "/index.html", "/RequestAccess", "/api", "/api/v3/salt"] {
            assert_eq!(route(path), Route::Page(path.to_owned()));
        }
        assert_eq!(route("/api/v1/"), Route::Page("/".to_owned()));
        assert_eq!(
            route("/api/v1/nothing-here"),
            Route::Page("/nothing-here".to_owned())
        );
    }

    #[test]
    fn paths_are_cleaned_by_a_redirect() {
        for (path, clean) in [
            ("//salt", "/salt"),
            ("/api//v1/salt", "/api/v1/salt"),
            ("/x/../salt/", "/salt/"),
            ("/./salt", "/salt"),
            ("/api/v1", "/api/v1/"),
            ("/..", "/"),
        ] {
            assert_eq!(route(path), Route::Moved(clean.to_owned()), "{path}");
        }
    }

    #[test]
    fn of_version_2_there_is_the_salt() {
        let salt = route("/api/v2/account/alice/salt");
        assert_eq!(salt, Route::SaltV2("alice".to_owned()));
        for path in ["/api/v2", "/api/v2/", "/api/v2/account/login", "//api/v2/x"] {
            assert_eq!(route(path), Route::NotFound, "{path}");
        }
    }

    #[test]
    fn broken_escapes_are_malformed() {
        for path in ["/%", "/%4", "/%zz", "/salt%"] {
            assert_eq!(route(path), Route::Malformed, "{path}");
        }
    }
}
