//! Tables of addresses: what is allowed, how it is normalised, how it is shown.

use std::net::IpAddr;
use std::os::unix::fs::symlink;

use super::*;
use crate::config::{Input, Source};

fn rules(networks: &[&str], files: &[&Path], prefixes: &[(&str, &[&str])]) -> Rules {
    let input = Input {
        allow_networks: networks.iter().map(|network| network.parse().unwrap()).collect(),
        files: files.iter().map(|path| path.to_path_buf()).collect(),
        ..Input::default()
    };
    let source = |(id, matches): &(&str, &[&str])| Source {
        id: (*id).into(),
        matches: matches.iter().map(|prefix| prefix.parse().unwrap()).collect(),
        user_agent: None,
        headers: Vec::new(),
    };
    Rules::new(&input, &prefixes.iter().map(source).collect::<Vec<_>>())
}

fn parse(text: &str) -> Result<Address, AddressError> {
    Address::parse(text, &rules(&[], &[], &[]))
}

/// What ffmpeg is given, or the meaning of the refusal and a word of its sentence.
fn check(text: &str, expected: Result<&str, (Meaning, &str)>) {
    match (parse(text), expected) {
        (Ok(address), Ok(normalised)) => assert_eq!(address.as_ffmpeg(), normalised, "{text:?}"),
        (Err(error), Err((meaning, word))) => {
            assert_eq!(error.meaning(), meaning, "{text:?}: {error}");
            assert!(error.to_string().contains(word), "{text:?}: {error}");
        }
        (is, expected) => panic!("{text:?} is {is:?}, expected {expected:?}"),
    }
}

#[test]
fn addresses_are_normalised() {
    for (text, expected) in [
        ("http://tv.example.com/live", "http://tv.example.com/live"),
        ("HTTP://TV.Example.COM:80/Live", "http://tv.example.com/Live"),
        ("https://tv.example.com:443", "https://tv.example.com/"),
        ("http://tv.example.com:8080/a?b=c", "http://tv.example.com:8080/a?b=c"),
        ("  http://tv.example.com/a  ", "http://tv.example.com/a"),
        ("http://tv.example.com/a#t=10", "http://tv.example.com/a"),
        ("http://tv.example.com/a/../../b/./c", "http://tv.example.com/b/c"),
        ("http://tv.example.com/a b|c\"d", "http://tv.example.com/a%20b|c%22d"),
        ("http://tv.example.com/späti", "http://tv.example.com/sp%C3%A4ti"),
        ("http://bücher.example/", "http://xn--bcher-kva.example/"),
        ("http:tv.example.com/a", "http://tv.example.com/a"),
        ("http:///tv.example.com/a", "http://tv.example.com/a"),
        ("http:\\\\tv.example.com\\a", "http://tv.example.com/a"),
        // ffmpeg would go to 127.0.0.1 with what was typed.
        ("http://tv.example.com\\@127.0.0.1/", "http://tv.example.com/@127.0.0.1/"),
        ("http://127.0.0.1@tv.example.com/", "http://127.0.0.1@tv.example.com/"),
        ("http://user:pa%40ss@tv.example.com/", "http://user:pa%40ss@tv.example.com/"),
        ("http://user:p@ss@tv.example.com/", "http://user:p%40ss@tv.example.com/"),
        ("http://8.8.8.8/", "http://8.8.8.8/"),
        ("http://0x08080808/", "http://8.8.8.8/"),
        ("http://[2606:4700::1111]/", "http://[2606:4700::1111]/"),
    ] {
        check(text, Ok(expected));
    }
}

#[test]
fn what_is_no_address_is_refused() {
    for (text, word) in [
        ("", "empty"),
        ("   ", "empty"),
        ("film", "http://"),
        ("tv.example.com/film", "http://"),
        ("tv.example.com:8080/film", "http://"),
        ("-i", "http://"),
        ("http://", "host"),
        ("http:///", "host"),
        ("http://user@/film", "host"),
        ("http://:80/", "host"),
        ("http://tv.example.com:70000/", "port"),
        ("http://tv.example.com:x/", "port"),
        ("http://tv.example.com:0/", "port 0"),
        ("http://1.2.3.4.5/", "host"),
        ("http://256.1.1.1/", "host"),
        ("http://[::1/", "host"),
        ("http://[fe80::1%25eth0]/", "host"),
        ("http://tv example.com/", "host"),
        ("http://tv.example.com/a\r\nHost: evil", "control"),
        ("http://tv.exa\tmple.com/", "control"),
        ("http://tv.example.com/\0", "control"),
        ("http://tv.example.com/\u{7f}", "control"),
        ("http://tv.example.com/\u{9b}31m", "control"),
        ("\u{1}http://tv.example.com/", "control"),
        ("file:film", "file:///"),
        ("file://host/film", "file:///"),
        ("file:///a?b", "%3F"),
        ("file:///a%00b", "control"),
        ("file:///a%0ab", "control"),
    ] {
        check(text, Err((Meaning::Bad, word)));
    }
    check(&format!("http://tv.example.com/{}", "a".repeat(9000)), Err((Meaning::Bad, "8 KiB")));
    // It is short enough only until each character is encoded.
    check(&format!("http://tv.example.com/{}", "ä".repeat(3000)), Err((Meaning::Bad, "8 KiB")));
}

#[test]
fn protocols_that_are_not_listed_are_forbidden() {
    for scheme in [
        "udp",
        "rtp",
        "rtsp",
        "srt",
        "rtmp",
        "ftp",
        "concat",
        "pipe",
        "fd",
        "subfile",
        "cache",
        "async",
        "tee",
        "data",
        "crypto",
        "unix",
        "javascript",
        "gopher",
        "hls",
        "concatf",
        "lavfi",
        "tcp",
        "httpproxy",
    ] {
        check(&format!("{scheme}://tv.example.com/film"), Err((Meaning::Forbidden, "input.protocols")));
        check(&format!("{scheme}:film"), Err((Meaning::Forbidden, "input.protocols")));
    }
    let https_only = Input { protocols: vec![crate::config::Protocol::Https], ..Input::default() };
    let rules = Rules::new(&https_only, &[]);
    let refused = Address::parse("http://tv.example.com/", &rules).unwrap_err();
    assert_eq!(refused, AddressError::Protocol { scheme: "http".into() });
    Address::parse("https://tv.example.com/", &rules).unwrap();
}

#[test]
fn hosts_in_networks_that_are_not_public_are_forbidden_however_they_are_spelt() {
    for host in [
        "0.0.0.0",
        "0",
        "0.1.2.3",
        "127.0.0.1",
        "127.1",
        "127.255.255.254",
        "127.0.0.1.",
        "2130706433",
        "0x7f000001",
        "0x7f.1",
        "0177.0.0.1",
        "017700000001",
        "%31%32%37.0.0.1",
        "１２７.0.0.1",
        "127。0。0。1",
        "10.0.0.1",
        "172.16.0.1",
        "172.31.255.255",
        "192.168.0.1",
        "169.254.169.254",
        "100.64.0.1",
        "100.127.255.255",
        "192.0.0.1",
        "192.0.2.1",
        "198.51.100.1",
        "203.0.113.1",
        "198.18.0.1",
        "198.19.255.255",
        "192.88.99.1",
        "224.0.0.1",
        "239.255.255.255",
        "240.0.0.1",
        "255.255.255.255",
        "[::]",
        "[::1]",
        "[0:0:0:0:0:0:0:1]",
        "[::127.0.0.1]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[::ffff:10.0.0.1]",
        "[::ffff:0:10.0.0.1]",
        "[64:ff9b::10.0.0.1]",
        "[64:ff9b::7f00:1]",
        "[64:ff9b:1::8.8.8.8]",
        "[2002:7f00:1::]",
        "[2002:a00:1::1]",
        "[2001:0:4136:e378:8000:63bf:3fff:fdd2]",
        "[fe80::1]",
        "[febf::1]",
        "[fec0::1]",
        "[fc00::1]",
        "[fdff::1]",
        "[ff02::1]",
        "[2001:db8::1]",
        "[3fff::1]",
        "[100::1]",
        "[5f00::1]",
        "[4000::1]",
    ] {
        check(&format!("http://{host}/"), Err((Meaning::Forbidden, "input.allow_networks")));
        check(
            &format!("http://tv.example.com@{host}:8080/"),
            Err((Meaning::Forbidden, "input.allow_networks")),
        );
    }
}

#[test]
fn the_public_internet_is_allowed() {
    for ip in [
        "1.1.1.1",
        "9.255.255.255",
        "11.0.0.1",
        "100.63.255.255",
        "100.128.0.1",
        "126.255.255.255",
        "128.0.0.1",
        "172.15.255.255",
        "172.32.0.1",
        "192.0.1.1",
        "192.167.255.255",
        "192.169.0.1",
        "198.17.255.255",
        "198.20.0.1",
        "223.255.255.255",
        "2606:4700::1111",
        "2a00:1450::1",
        "::ffff:8.8.8.8",
        "64:ff9b::808:808",
        "2002:808:808::1",
        "2001:200::1",
        "2001:4860::8888",
    ] {
        assert_eq!(rules(&[], &[], &[]).allows_ip(ip.parse().unwrap()), Ok(()), "{ip}");
    }
}

#[test]
fn listed_networks_are_allowed_and_only_these() {
    let rules = rules(&["192.168.1.0/24", "127.0.0.1/32", "fd00::/8"], &[], &[]);
    let allows = |ip: &str| rules.allows_ip(ip.parse::<IpAddr>().unwrap()).is_ok();
    for ip in ["192.168.1.7", "127.0.0.1", "fd12::1", "::ffff:192.168.1.7", "8.8.8.8"] {
        assert!(allows(ip), "{ip}");
    }
    for ip in ["192.168.2.7", "127.0.0.2", "fc00::1", "::1", "64:ff9b::192.168.1.7", "2002:c0a8:107::1"] {
        assert!(!allows(ip), "{ip}");
    }
}

#[test]
fn a_host_that_the_config_names_is_allowed_at_the_port_it_names() {
    let rules = rules(&[], &[], &[("lan", &["http://192.168.1.10:8000/tv/", "https://127.0.0.1/"])]);
    for text in ["http://192.168.1.10:8000/other", "https://127.0.0.1:443/", "http://u:p@192.168.1.10:8000/"]
    {
        assert!(Address::parse(text, &rules).is_ok(), "{text}");
    }
    for text in [
        "http://192.168.1.10/",
        "http://192.168.1.10:8001/",
        "http://127.0.0.1/",
        "http://192.168.1.11:8000/",
    ] {
        assert_eq!(Address::parse(text, &rules).unwrap_err().meaning(), Meaning::Forbidden, "{text}");
    }
}

#[tokio::test]
async fn every_answer_of_the_resolver_is_classified() {
    let closed = rules(&[], &[], &[]);
    let address = Address::parse("http://localhost:81/", &closed).unwrap();
    let refused = closed.resolve(&address).await.unwrap_err();
    assert_eq!(refused, AddressError::Network { host: "localhost".into(), network: Network::Loopback });
    let open = rules(&["127.0.0.0/8", "::1/128"], &[], &[]);
    let found = open.resolve(&address).await.unwrap();
    assert!(!found.is_empty() && found.iter().all(|place| place.ip().is_loopback() && place.port() == 81));
    // "As written": the name that the config has may lead anywhere, at its port.
    let named = rules(&[], &[], &[("own", &["http://localhost:81/"])]);
    assert!(named.resolve(&address).await.is_ok());
    let other = Address::parse("http://localhost:82/", &named).unwrap();
    assert!(named.resolve(&other).await.is_err());
    assert!(named.is_named_elsewhere(&"http://localhost:82/".parse().unwrap()));
}

#[test]
fn an_address_belongs_to_the_source_with_the_longest_beginning_that_fits() {
    let prefixes: [(&str, &[&str]); 3] = [
        ("wide", &["http://tv.example.com"]),
        ("narrow", &["http://tv.example.com/vip/", "https://vip.example.com/"]),
        ("none", &[]),
    ];
    let rules = rules(&[], &[], &prefixes);
    for (text, source_id, expected) in [
        ("http://tv.example.com/film", None, Some("wide")),
        ("http://TV.example.com:80/film", None, Some("wide")),
        ("http://user:pass@tv.example.com/film", None, Some("wide")),
        ("http://tv.example.com/vip/film", None, Some("narrow")),
        ("http://tv.example.com/vip/film", Some("wide"), Some("narrow")),
        ("https://vip.example.com/film", None, Some("narrow")),
        ("https://tv.example.com/film", None, None),
        ("http://tv.example.com:8080/film", None, None),
        ("http://tv.example.com.evil.example/film", None, None),
        ("http://tv.example.com@evil.example/film", None, None),
        ("http://other.example/film", Some("none"), Some("none")),
        ("http://other.example/film", Some("unknown"), None),
        ("http://other.example/film", None, None),
    ] {
        let address = Address::parse(text, &rules).unwrap();
        let found = rules.source_for(&address, source_id).map(|source| source.id.as_str());
        assert_eq!(found, expected, "{text} {source_id:?}");
    }
}

#[test]
fn files_are_played_from_the_listed_directories_and_from_nowhere_else() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().canonicalize().unwrap();
    let (media, secret) = (root.join("media"), root.join("secret"));
    std::fs::create_dir_all(media.join("a folder")).unwrap();
    std::fs::create_dir(&secret).unwrap();
    std::fs::create_dir(root.join("media2")).unwrap();
    for file in ["media/a folder/film.mkv", "media/100%.mkv", "secret/key", "media2/film.mkv"] {
        std::fs::write(root.join(file), b"film").unwrap();
    }
    symlink(media.join("100%.mkv"), media.join("inner")).unwrap();
    symlink(secret.join("key"), media.join("outer")).unwrap();
    symlink(&secret, media.join("outside")).unwrap();
    symlink(&media, root.join("alias")).unwrap();
    symlink("loop", media.join("loop")).unwrap();
    symlink("/dev/zero", media.join("zero")).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, media.join("fifo"), 0o600.into()).unwrap();

    let alias = root.join("alias");
    let rules = rules(&[], &[&alias, Path::new("/nowhere/at/all")], &[]);
    let root = root.to_str().unwrap();
    let read = |text: String| Address::parse(&text, &rules);
    for (text, expected) in [
        (format!("{root}/media/a folder/film.mkv"), "media/a folder/film.mkv"),
        (format!("file://{root}/media/a%20folder/film.mkv"), "media/a folder/film.mkv"),
        (format!("FILE://{root}/media/100%25.mkv"), "media/100%.mkv"),
        (format!("{root}/media/100%.mkv"), "media/100%.mkv"),
        (format!("{root}/media/inner"), "media/100%.mkv"),
        (format!("{root}/alias/100%.mkv"), "media/100%.mkv"),
        (format!("{root}//media/./a folder/../100%.mkv"), "media/100%.mkv"),
    ] {
        let address = read(text.clone()).unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(address.as_ffmpeg(), format!("file:{root}/{expected}"), "{text}");
        assert_eq!(address.path(), Some(Path::new(&format!("{root}/{expected}"))));
        assert!(address.is_file());
    }
    for (text, expected) in [
        (format!("{root}/secret/key"), AddressError::Directory),
        (format!("{root}/secret/missing"), AddressError::Directory),
        (format!("{root}/media2/film.mkv"), AddressError::Directory),
        (format!("{root}/media/../secret/key"), AddressError::Directory),
        (format!("{root}/media/../secret/missing"), AddressError::Directory),
        (format!("file://{root}/media/%2e%2e/secret/key"), AddressError::Directory),
        (format!("{root}/media/outer"), AddressError::Directory),
        (format!("{root}/media/outside/key"), AddressError::Directory),
        (format!("{root}/media/outside/missing"), AddressError::Directory),
        (format!("{root}/media/zero"), AddressError::Directory),
        ("/etc/passwd".into(), AddressError::Directory),
        ("/proc/self/environ".into(), AddressError::Directory),
        ("//tv.example.com/film".into(), AddressError::Directory),
        (format!("{root}/media/fifo"), AddressError::NotRegular),
        (format!("{root}/media"), AddressError::NotRegular),
        (format!("{root}/media/missing"), AddressError::NoSuchFile),
        (format!("{root}/media/a folder/missing/film"), AddressError::NoSuchFile),
        (format!("{root}/media/loop"), AddressError::NoSuchFile),
    ] {
        assert_eq!(read(text.clone()).unwrap_err(), expected, "{text}");
    }
    let says = read(format!("{root}/secret/key")).unwrap_err().to_string();
    assert!(says.contains("input.files") && !says.contains(root), "{says}");
}

#[test]
fn credentials_are_never_shown() {
    for (text, expected) in [
        ("http://tv.example.com/film.mkv", "http://tv.example.com/film.mkv"),
        ("http://user:secret@tv.example.com/a", "http://***@tv.example.com/a"),
        ("http://user@tv.example.com/a", "http://***@tv.example.com/a"),
        ("http://:secret@tv.example.com/a", "http://***@tv.example.com/a"),
        ("http://tv.example.com/a?token=secret&x=&y", "http://tv.example.com/a?token=***&x=&***"),
        ("http://tv.example.com/a?secret", "http://tv.example.com/a?***"),
        ("http://tv.example.com/live/user/secret/1.ts", "http://tv.example.com/live/***/***/1.ts"),
        ("http://tv.example.com/MOVIE/user/secret/1.mkv", "http://tv.example.com/MOVIE/***/***/1.mkv"),
        ("http://tv.example.com/x/series/user/secret/1.mkv", "http://tv.example.com/x/series/***/***/1.mkv"),
        ("http://tv.example.com/timeshift/user/secret/60/1", "http://tv.example.com/timeshift/***/***/60/1"),
        ("http://tv.example.com/user/secret/1234", "http://tv.example.com/***/***/1234"),
        ("http://tv.example.com/user/secret/1234.ts", "http://tv.example.com/***/***/1234.ts"),
        ("http://tv.example.com/live/news.m3u8", "http://tv.example.com/live/news.m3u8"),
        ("http://tv.example.com/shows/first/one.mkv", "http://tv.example.com/shows/first/one.mkv"),
    ] {
        let address = parse(text).unwrap();
        assert_eq!(address.masked(), expected, "{text}");
        assert_eq!(address.to_string(), expected);
        assert_eq!(format!("{address:?}"), format!("Address({expected})"));
        assert_eq!(parse(expected).unwrap().masked(), expected, "masking twice changes nothing");
    }
}

#[test]
fn what_is_known_of_an_address_is_hidden_in_other_text() {
    let address =
        parse("http://tv.example.com/live/some-user/p%40ssword/1.ts?token=0123456789&output=ts").unwrap();
    let mask = address.mask();
    for (text, expected) in [
        ("Input #0, mpegts", "Input #0, mpegts"),
        (address.as_ffmpeg(), "http://tv.example.com/live/***/***/1.ts?token=***&output=***"),
        (
            "GET /live/some-user/p%40ssword/1.ts?token=0123456789&output=ts",
            "GET /live/***/***/1.ts?token=***&output=***",
        ),
        ("password p@ssword of some-user is wrong", "password *** of *** is wrong"),
        (
            "Opening 'https://cdn.example.com/a?sig=zzz' for reading",
            "Opening 'https://cdn.example.com/a?sig=***' for reading",
        ),
        ("Opening 'http://u:p@cdn.example.com/a'", "Opening 'http://***@cdn.example.com/a'"),
        ("redirect to http://bad host/x", "redirect to http://bad host/x"),
        ("redirect to http://u:p@[bad/x", "redirect to http://***"),
        ("token 0123456789", "token ***"),
    ] {
        assert_eq!(mask.apply(text), expected, "{text}");
    }
    assert_eq!(
        Mask::blind().apply("http://tv.example.com/live/a/b/1"),
        "http://tv.example.com/live/***/***/1"
    );
    for secret in ["some-user", "p%40ssword", "p@ssword", "0123456789"] {
        assert!(address.secrets().iter().any(|piece| piece == secret), "{secret}");
    }
    assert!(address.secrets().iter().all(|piece| piece.len() >= 4), "short words would hide half of a log");
}

proptest::proptest! {
    /// The oracle of all tables: what is accepted reads the same again, and its host is public.
    #[test]
    fn an_accepted_address_is_a_fixed_point_with_a_public_host(text in "(http|https|HTTP|file|udp)?:?[/\\\\]{0,3}[ -~äß１。@:%\\[\\]0-9a-fx.]{0,40}") {
        if let Ok(address) = parse(&text) {
            let again = parse(address.as_ffmpeg()).unwrap();
            proptest::prop_assert_eq!(again.as_ffmpeg(), address.as_ffmpeg());
            let Place::Http(url) = address.place() else { panic!("no file is allowed here") };
            let ip = match url.host().unwrap() {
                url::Host::Ipv4(ip) => Some(ip.into()),
                url::Host::Ipv6(ip) => Some(ip.into()),
                url::Host::Domain(name) => name.parse().ok(),
            };
            proptest::prop_assert!(ip.is_none_or(|ip| networks::of(ip).is_none()), "{}", address.as_ffmpeg());
        }
    }

    #[test]
    fn no_secret_survives_its_mask(user in "[a-zA-Z0-9]{6,20}", password in "[a-zA-Z0-9]{6,20}", before in "[ -~]{0,20}") {
        for text in [
            format!("http://{user}:{password}@tv.example.com/a"),
            format!("http://tv.example.com/live/{user}/{password}/1.ts"),
        ] {
            let address = parse(&text).unwrap();
            let said = format!("{before} {text} {password}");
            let shown = address.mask().apply(&said).into_owned();
            proptest::prop_assert!(!shown.contains(&password) && !shown.contains(&user), "{}", shown);
        }
    }
}
