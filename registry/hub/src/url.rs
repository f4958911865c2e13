//! The few things about addresses that decide where a token goes.

use std::fmt::{self, Write};

use ureq::http::Uri;

/// Scheme, host and port: who gets a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Origin {
    scheme: String,
    host: String,
    port: u16,
}

impl Origin {
    /// Of an `http` or `https` address; nothing else is ever asked.
    pub(crate) fn of(url: &str) -> Option<Self> {
        let uri: Uri = url.parse().ok()?;
        let scheme = uri.scheme_str()?.to_ascii_lowercase();
        let port = match scheme.as_str() {
            "https" => 443,
            "http" => 80,
            _ => return None,
        };
        Some(Self { host: uri.host()?.to_ascii_lowercase(), port: uri.port_u16().unwrap_or(port), scheme })
    }

    /// Whether it is this machine.
    pub(crate) fn is_loopback(&self) -> bool {
        matches!(self.host.as_str(), "localhost" | "[::1]" | "::1") || self.host.starts_with("127.")
    }

    pub(crate) fn is_encrypted(&self) -> bool {
        self.scheme == "https"
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme, self.host)?;
        match (self.scheme.as_str(), self.port) {
            ("https", 443) | ("http", 80) => Ok(()),
            (_, port) => write!(f, ":{port}"),
        }
    }
}

/// The address a `Location` header means, seen from `base`.
pub(crate) fn join(base: &str, location: &str) -> Option<String> {
    let location = location.split('#').next().unwrap_or_default();
    let (scheme, rest) = base.split_once("://")?;
    let authority = rest.split(['/', '?']).next()?;
    if location.contains("://") && !location.starts_with('/') {
        return Some(location.to_owned());
    }
    if let Some(other) = location.strip_prefix("//") {
        return Some(format!("{scheme}://{other}"));
    }
    if location.starts_with('/') {
        return Some(format!("{scheme}://{authority}{location}"));
    }
    let path = rest[authority.len()..].split('?').next()?;
    let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
    Some(format!("{scheme}://{authority}{folder}/{location}"))
}

/// Percent-encodes all but letters, digits, `-._~` and what is in `keep`.
pub(crate) fn encode(text: &str, keep: &str) -> String {
    let mut result = String::new();
    for byte in text.bytes() {
        let c = char::from(byte);
        if c.is_ascii_alphanumeric() || "-._~".contains(c) || keep.contains(c) {
            result.push(c);
        } else {
            let _ = write!(result, "%{byte:02X}");
        }
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_scheme_host_and_port() {
        let origin = |url: &str| Origin::of(url);
        assert_eq!(origin("https://huggingface.co/x"), origin("HTTPS://HuggingFace.co:443/y?z"));
        assert_eq!(origin("http://127.0.0.1:8000").unwrap().to_string(), "http://127.0.0.1:8000");
        for other in [
            "http://huggingface.co",
            "https://huggingface.co:8443",
            "https://huggingface.co.evil.org",
            "https://huggingface.co@evil.org",
            "https://cdn.huggingface.co",
        ] {
            assert_ne!(origin(other), origin("https://huggingface.co"));
        }
        for none in ["", "ftp://x", "/path", "file:///etc/passwd", "javascript:x"] {
            assert_eq!(origin(none), None);
        }
    }

    #[test]
    fn locations_are_joined() {
        let base = "http://h:1/a/b?q=1";
        for (location, url) in
            [("https://cdn/x?y#z", "https://cdn/x?y"), ("//cdn/x", "http://cdn/x"), ("/x?u=http://y", "http://h:1/x?u=http://y"), ("c", "http://h:1/a/c")]
        {
            assert_eq!(join(base, location).as_deref(), Some(url));
        }
    }

    #[test]
    fn what_is_not_plain_is_encoded() {
        assert_eq!(encode("refs/pr/5 ä", ""), "refs%2Fpr%2F5%20%C3%A4");
        assert_eq!(encode("a/b.c", "/"), "a/b.c");
    }
}
