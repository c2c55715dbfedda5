//! The type Go's HTTP server gives a body that has none: the part of its
//! `DetectContentType` (<https://mimesniff.spec.whatwg.org/>) that a body of
//! UTF-8 text, and all bodies here are that, can reach.

const HTML_TAGS: [&[u8]; 17] = [
    b"<!DOCTYPE HTML",
    b"<HTML",
    b"<HEAD",
    b"<SCRIPT",
    b"<IFRAME",
    b"<H1",
    b"<DIV",
    b"<FONT",
    b"<TABLE",
    b"<A",
    b"<STYLE",
    b"<TITLE",
    b"<B",
    b"<BODY",
    b"<BR",
    b"<P",
    b"<!--",
];

const PREFIXES: [(&[u8], &str); 13] = [
    (b"%PDF-", "application/pdf"),
    (b"%!PS-Adobe-", "application/postscript"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
    (b"BM", "image/bmp"),
    (b"ID3", "audio/mpeg"),
    (b"OggS\0", "application/ogg"),
    (b"MThd\0\0\0\x06", "audio/midi"),
    (b"OTTO", "font/otf"),
    (b"ttcf", "font/collection"),
    (b"wOFF", "font/woff"),
    (b"wOF2", "font/woff2"),
    (b"PK\x03\x04", "application/zip"),
];

/// The guessed type; none for an empty body.
pub fn content_type(body: &[u8]) -> Option<&'static str> {
    const LOOKED_AT: usize = 512;
    let body = &body[..body.len().min(LOOKED_AT)];
    if body.is_empty() {
        return None;
    }
    let start = body.trim_ascii_start();
    if HTML_TAGS.iter().any(|tag| starts_with_tag(start, tag)) {
        return Some("text/html; charset=utf-8");
    }
    if start.starts_with(b"<?xml") {
        return Some("text/xml; charset=utf-8");
    }
    if let Some((_, found)) = PREFIXES.iter().find(|(prefix, _)| body.starts_with(prefix)) {
        return Some(found);
    }
    match start.iter().any(|byte| is_binary(*byte)) {
        true => Some("application/octet-stream"),
        false => Some("text/plain; charset=utf-8"),
    }
}

fn starts_with_tag(text: &[u8], tag: &[u8]) -> bool {
    let Some((start, rest)) = text.split_at_checked(tag.len()) else {
        return false;
    };
    start.eq_ignore_ascii_case(tag) && matches!(rest.first(), Some(b' ' | b'>'))
}

fn is_binary(byte: u8) -> bool {
    matches!(byte, 0..=8 | 0x0b | 0x0e..=0x1a | 0x1c..=0x1f)
}

#[cfg(test)]
mod tests {
    use super::content_type;

    #[test]
    fn types_are_guessed_as_go_guesses_them() {
        for (body, expected) in [
            ("http://127.0.0.1:9/UP?token=x", "text/plain; charset=utf-8"),
            ("ünicode", "text/plain; charset=utf-8"),
            (" \n<html>", "text/html; charset=utf-8"),
            ("<a href=x>", "text/html; charset=utf-8"),
            ("<abbr>", "text/plain; charset=utf-8"),
            ("<!-- x", "text/html; charset=utf-8"),
            ("<?xml ", "text/xml; charset=utf-8"),
            ("%PDF-1", "application/pdf"),
            ("BMW", "image/bmp"),
            ("a\u{1}b", "application/octet-stream"),
        ] {
            assert_eq!(content_type(body.as_bytes()), Some(expected), "{body:?}");
        }
        assert_eq!(content_type(b""), None);
    }
}
