//! Who may ask on the playback listener: the networks whose requests need no token, the hosts it answers
//! to, and the pages it answers.
//!
//! Session ids are unguessable and are enough for what they name, so the rules for clients are those of a
//! start; the rules for pages are for every route that starts, changes or tells something.

use std::net::{IpAddr, Ipv6Addr};

use http::header::{FORWARDED, HOST, HeaderMap, HeaderName, HeaderValue, ORIGIN, VIA};
use http::uri::Authority;
use url::Url;

use crate::config::{Anonymous, Server};

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Why a request is refused, as a sentence.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// The client would have to say who it is.
    #[error("{0}")]
    Unauthorized(String),
    /// The client is a browser on an errand of a page that is not ours, or came by a name that is not ours.
    #[error("{0}")]
    ForbiddenOrigin(String),
}

/// Whether `peer` may start something without a token, and by this name and from this page.
pub fn admit_start(
    peer: IpAddr,
    headers: &HeaderMap,
    server: &Server,
    machine_name: &str,
) -> Result<(), Denied> {
    admit_page(headers, server, machine_name)?;
    // Behind a proxy everybody has the proxy's address. On this machine that would be loopback.
    if [FORWARDED, X_FORWARDED_FOR, VIA].iter().any(|name| headers.contains_key(name)) {
        let says = "this request came through a proxy, and `server.trusted_proxies`, which would let one speak for \
                    its clients, comes with a later version; ask the engine directly";
        return Err(Denied::Unauthorized(says.into()));
    }
    let (admitted, wider) = match server.anonymous {
        Anonymous::Loopback => (peer.to_canonical().is_loopback(), "\"private\" or \"any\""),
        Anonymous::Private => (is_local(peer), "\"any\""),
        Anonymous::Any => (true, ""),
    };
    if admitted {
        return Ok(());
    }
    Err(Denied::Unauthorized(format!(
        "requests from {peer} need a token; `server.anonymous` = {wider} would let them in"
    )))
}

/// Whether the request came by one of our names and, if a browser sent it, from a page that may.
pub fn admit_page(headers: &HeaderMap, server: &Server, machine_name: &str) -> Result<(), Denied> {
    let host = only(headers, &HOST)
        .and_then(|host| host.parse::<Authority>().ok())
        // A user part is no part of a host, and only confuses those who read it.
        .filter(|host| !host.as_str().contains('@'));
    let Some(host) = host else {
        return Err(Denied::ForbiddenOrigin("the request must have one `Host` header".into()));
    };
    if !is_ours(host.host(), server, machine_name) {
        let says =
            format!("the engine does not answer to the name `{}`; list it in `server.hosts`", host.host());
        return Err(Denied::ForbiddenOrigin(says));
    }
    // Pages of other sites may be the reason for a request that the person in front of them knows nothing of.
    if headers.contains_key(ORIGIN) {
        let origin = only(headers, &ORIGIN).and_then(origin);
        if origin.as_ref().is_some_and(|origin| server.allow_origins.contains(origin)) {
            return Ok(());
        }
        if !origin.as_ref().is_some_and(|origin| is_origin_of(origin, &host)) {
            let shown = origin.unwrap_or_else(|| "null".into());
            let says = format!("pages of `{shown}` may not ask; list it in `server.allow_origins`");
            return Err(Denied::ForbiddenOrigin(says));
        }
    }
    // A request without `Origin`: an image, a video, a link. `none` is what the person typed.
    match only(headers, &SEC_FETCH_SITE) {
        Some("same-origin" | "none") => Ok(()),
        None if !headers.contains_key(SEC_FETCH_SITE) => Ok(()),
        _ => {
            let says = "pages of other sites may not ask this way; list theirs in `server.allow_origins` and ask with `fetch`";
            Err(Denied::ForbiddenOrigin(says.into()))
        }
    }
}

/// The page's origin as the browser wrote it, if it is one of `server.allow_origins`: what
/// `Access-Control-Allow-Origin` must repeat on the routes that [`admit_page`] guards.
pub fn allowed_origin<'a>(headers: &'a HeaderMap, server: &Server) -> Option<&'a HeaderValue> {
    let written = only(headers, &ORIGIN)?;
    server.allow_origins.contains(&origin(written)?).then(|| headers.get(ORIGIN)).flatten()
}

/// The value of a header that must not come twice: proxies and servers differ in which one they take.
fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?.to_str().ok()?;
    values.next().is_none().then_some(value)
}

/// A name that a page of a stranger can't be made to have: such a page would be of our own origin.
fn is_ours(host: &str, server: &Server, machine_name: &str) -> bool {
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    if bare.unwrap_or(host).parse::<IpAddr>().is_ok() {
        return true;
    }
    let host = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
    let machine = machine_name.trim_end_matches('.').to_ascii_lowercase();
    let short = machine.split('.').next().unwrap_or_default();
    let is_machine =
        !short.is_empty() && (host == machine || host == short || host == format!("{short}.local"));
    host == "localhost" || is_machine || server.hosts.contains(&host)
}

fn origin(written: &str) -> Option<String> {
    let url = Url::parse(written).ok().filter(|url| matches!(url.scheme(), "http" | "https"))?;
    Some(url.origin().ascii_serialization())
}

/// A page reached by `https` through a proxy has our host, and another scheme than we see.
fn is_origin_of(origin: &str, host: &Authority) -> bool {
    let scheme = origin.split("://").next().unwrap_or_default();
    Url::parse(&format!("{scheme}://{host}")).is_ok_and(|own| own.origin().ascii_serialization() == origin)
}

/// The local networks, as far as an address tells.
fn is_local(peer: IpAddr) -> bool {
    match peer.to_canonical() {
        IpAddr::V4(ip) => ip.is_loopback() || ip.is_private() || ip.is_link_local(),
        IpAddr::V6(ip) => ip == Ipv6Addr::LOCALHOST || ip.is_unique_local() || ip.is_unicast_link_local(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MACHINE: &str = "box.example.net";

    fn server(anonymous: Anonymous) -> Server {
        Server {
            anonymous,
            hosts: vec!["tv.example.com".into()],
            allow_origins: vec!["https://pages.example.com".into(), "http://10.0.0.5:3000".into()],
            ..Server::default()
        }
    }

    fn headers(written: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in written {
            headers.append(*name, value.parse().unwrap());
        }
        headers
    }

    /// `""`, or the kind of refusal and a word of its sentence.
    fn check(anonymous: Anonymous, peer: &str, written: &[(&'static str, &str)], expected: &str) {
        let result = admit_start(peer.parse().unwrap(), &headers(written), &server(anonymous), MACHINE);
        let said = match &result {
            Ok(()) => String::new(),
            Err(Denied::Unauthorized(says)) => format!("401 {says}"),
            Err(Denied::ForbiddenOrigin(says)) => format!("403 {says}"),
        };
        let (kind, word) = expected.split_once(' ').unwrap_or((expected, ""));
        let fits =
            if expected.is_empty() { said.is_empty() } else { said.starts_with(kind) && said.contains(word) };
        assert!(fits, "{anonymous:?} {peer} {written:?}: expected {expected:?}, got {said:?}");
    }

    #[test]
    fn anonymous_says_whose_requests_need_no_token() {
        use Anonymous::{Any, Loopback, Private};
        let host = [("host", "127.0.0.1:8088")];
        for (anonymous, peer, expected) in [
            (Loopback, "127.0.0.1", ""),
            (Loopback, "127.8.8.8", ""),
            (Loopback, "::1", ""),
            (Loopback, "::ffff:127.0.0.1", ""),
            (Loopback, "192.168.1.7", "401 server.anonymous"),
            (Loopback, "8.8.8.8", "401 server.anonymous"),
            (Private, "127.0.0.1", ""),
            (Private, "10.1.2.3", ""),
            (Private, "172.31.0.1", ""),
            (Private, "172.32.0.1", "401 \"any\""),
            (Private, "192.168.1.7", ""),
            (Private, "169.254.7.7", ""),
            (Private, "::ffff:192.168.1.7", ""),
            (Private, "fd12::1", ""),
            (Private, "fe80::1", ""),
            (Private, "100.64.0.1", "401 \"any\""),
            (Private, "2a00::1", "401 \"any\""),
            (Any, "8.8.8.8", ""),
            (Any, "2a00::1", ""),
        ] {
            check(anonymous, peer, &host, expected);
        }
    }

    #[test]
    fn what_came_through_a_proxy_is_never_anonymous() {
        for name in ["forwarded", "x-forwarded-for", "via"] {
            let written = [("host", "localhost"), (name, "1.2.3.4")];
            for anonymous in [Anonymous::Loopback, Anonymous::Private, Anonymous::Any] {
                check(anonymous, "127.0.0.1", &written, "401 server.trusted_proxies");
            }
        }
    }

    #[test]
    fn only_our_own_names_are_answered() {
        for (host, expected) in [
            ("127.0.0.1:8088", ""),
            ("192.168.1.2", ""),
            ("[::1]:8088", ""),
            ("[fd00::2]", ""),
            ("localhost", ""),
            ("LOCALHOST:8088", ""),
            ("localhost.", ""),
            ("box.example.net:8088", ""),
            ("Box", ""),
            ("box.local", ""),
            ("tv.example.com", ""),
            ("tv.example.com:443", ""),
            ("evil.example", "403 server.hosts"),
            ("tv.example.com.evil.example", "403 server.hosts"),
            ("localhost.evil.example", "403 server.hosts"),
            ("127.0.0.1.evil.example", "403 server.hosts"),
            ("localhost@evil.example", "403 Host"),
            ("evil.example@localhost", "403 Host"),
            ("", "403 Host"),
        ] {
            check(Anonymous::Loopback, "127.0.0.1", &[("host", host)], expected);
        }
        check(Anonymous::Loopback, "127.0.0.1", &[], "403 Host");
        check(
            Anonymous::Loopback,
            "127.0.0.1",
            &[("host", "localhost"), ("host", "evil.example")],
            "403 Host",
        );
    }

    #[test]
    fn pages_of_other_sites_are_refused() {
        for (host, origin, site, expected) in [
            ("localhost:8088", "", "", ""),
            ("localhost:8088", "http://localhost:8088", "same-origin", ""),
            ("localhost:8088", "http://localhost:8088", "", ""),
            ("tv.example.com", "https://tv.example.com", "same-origin", ""),
            ("tv.example.com", "http://tv.example.com:80", "", ""),
            ("localhost:8088", "http://localhost:3000", "same-site", "403 server.allow_origins"),
            ("localhost:8088", "https://localhost", "", "403 server.allow_origins"),
            ("localhost:8088", "null", "cross-site", "403 null"),
            ("localhost:8088", "file://", "", "403 null"),
            ("localhost:8088", "https://evil.example", "cross-site", "403 evil.example"),
            ("localhost:8088", "https://pages.example.com", "cross-site", ""),
            ("localhost:8088", "https://PAGES.example.com", "cross-site", ""),
            ("localhost:8088", "http://pages.example.com", "cross-site", "403 server.allow_origins"),
            ("localhost:8088", "https://pages.example.com.evil.example", "cross-site", "403 evil.example"),
            ("localhost:8088", "http://10.0.0.5:3000", "cross-site", ""),
            ("localhost:8088", "http://10.0.0.5:3001", "cross-site", "403 server.allow_origins"),
            ("localhost:8088", "", "none", ""),
            ("localhost:8088", "", "same-origin", ""),
            ("localhost:8088", "", "same-site", "403 server.allow_origins"),
            ("localhost:8088", "", "cross-site", "403 server.allow_origins"),
            ("localhost:8088", "http://localhost:8088", "cross-site", "403 server.allow_origins"),
            ("localhost:8088", "", "nonsense", "403 server.allow_origins"),
        ] {
            let mut written = vec![("host", host)];
            written.extend(
                [("origin", origin), ("sec-fetch-site", site)].into_iter().filter(|(_, v)| !v.is_empty()),
            );
            check(Anonymous::Loopback, "127.0.0.1", &written, expected);
        }
        let twice = [
            ("host", "localhost"),
            ("origin", "https://pages.example.com"),
            ("origin", "https://evil.example"),
        ];
        check(Anonymous::Loopback, "127.0.0.1", &twice, "403 server.allow_origins");
    }

    #[test]
    fn an_allowed_origin_is_repeated_and_no_other() {
        let server = server(Anonymous::Loopback);
        for (origin, expected) in [
            ("https://pages.example.com", Some("https://pages.example.com")),
            ("https://evil.example", None),
            ("null", None),
        ] {
            let headers = headers(&[("origin", origin)]);
            assert_eq!(allowed_origin(&headers, &server).map(|value| value.to_str().unwrap()), expected);
        }
        assert_eq!(allowed_origin(&HeaderMap::new(), &server), None);
    }
}
