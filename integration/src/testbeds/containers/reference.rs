//! Image references, such as `host:5000/name:tag@sha256:digest`.

/// What a reference without tag and digest means.
const LATEST: &str = "latest";

/// A reference in two parts that make it whole again with a colon between them, as testcontainers
/// takes one: the last is the tag, or the digest without its `sha256`.
pub fn split(image: &str) -> (&str, &str) {
    let name = image.rsplit('/').next().unwrap_or(image);
    match image.rsplit_once(':') {
        // A colon further left is a registry's port.
        Some(parts) if name.contains(':') => parts,
        _ => (image, LATEST),
    }
}

/// The same with the tag that is meant where none is written: asked for a name alone, an engine
/// would pull every tag there is.
pub fn whole(image: &str) -> String {
    let (name, tag) = split(image);
    format!("{name}:{tag}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_is_what_follows_the_last_colon_of_the_name() {
        assert_eq!(split("debian:trixie-slim"), ("debian", "trixie-slim"));
        assert_eq!(split("localhost/fmd-stack/nginx:0.1.0").1, "0.1.0");
        assert_eq!(split("host:5000/x:1").0, "host:5000/x");
    }

    #[test]
    fn a_port_is_no_tag() {
        assert_eq!(split("host:5000/x"), ("host:5000/x", "latest"));
        assert_eq!(whole("host:5000/x"), "host:5000/x:latest");
        assert_eq!(whole("nginx"), "nginx:latest");
    }

    #[test]
    fn a_digest_stays_whole() {
        for image in ["x:0.15.0@sha256:0f3a", "host:5000/x@sha256:0f3a"] {
            assert_eq!(whole(image), image);
        }
    }
}
