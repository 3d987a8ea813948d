//! Configs that must be accepted, and a folder of those that must be refused, each with its faults.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use super::keys::{KEYS, Standing};
use super::load::FILE_LIMIT;
use super::written::Written;
use super::*;

/// Every key of the documentation's table of keys, and whether it can be used yet. A key that is in
/// neither column would be ignored or unknown.
const DOCUMENTED: &[(&str, &[&str], &[&str])] = &[
    (
        "server",
        &[
            "listen",
            "anonymous",
            "allow_origins",
            "hosts",
            "max_connections",
            "max_connections_per_address",
            "drain_timeout",
        ],
        &["trusted_proxies"],
    ),
    ("control", &["socket", "group"], &[]),
    ("storage", &["dir", "min_free_bytes", "memory"], &["state_dir", "max_bytes"]),
    (
        "sessions",
        &[
            "idle_timeout",
            "vod_cache",
            "live_cache",
            "ahead",
            "ahead_timeout",
            "runs_per_session",
            "max",
            "history",
            "start_timeout",
            "stall_timeout",
            "probe_timeout",
        ],
        &[],
    ),
    ("ffmpeg", &["path", "ffprobe_path"], &["sandbox"]),
    ("input", &["user_agent", "protocols", "files", "allow_networks", "tls_verify"], &[]),
    (
        "transcode",
        &["hw", "max_resolution", "quality", "container", "segment_duration", "live_dvr"],
        &["probe"],
    ),
    ("source", &["id", "match", "user_agent", "headers"], &["max_streams"]),
    ("user", &[], &["name", "token_sha256", "max_streams", "max_streams_per_source"]),
];

const FIXTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/fixtures/config");

fn with<T>(variables: &[(&str, &str)], is_root: bool, body: impl FnOnce(&Surroundings<'_>) -> T) -> T {
    let variables: HashMap<_, _> =
        variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let env = move |name: &str| variables.get(name).cloned();
    body(&Surroundings { env: &env, is_root, system_file: "/nowhere/sluice.toml".into() })
}

fn parse(text: &str) -> Result<Config, Vec<String>> {
    with(&[], true, |around| {
        let written = Written::parse(text).map_err(|syntax| vec![syntax.message])?;
        Config::from_written(written, &Overrides::default(), around)
            .map_err(|faults| faults.iter().map(ToString::to_string).collect())
    })
}

fn faults(text: &str) -> Vec<String> {
    parse(text).expect_err(text)
}

#[test]
fn every_documented_key_is_in_force_or_refused_by_name() {
    let mut documented = Vec::new();
    for (table, now, later) in DOCUMENTED {
        documented.extend(now.iter().map(|key| (format!("{table}.{key}"), true)));
        documented.extend(later.iter().map(|key| (format!("{table}.{key}"), false)));
    }
    let mut known: Vec<_> =
        KEYS.iter().map(|(key, standing)| ((*key).to_owned(), *standing == Standing::Now)).collect();
    documented.sort();
    known.sort();
    assert_eq!(documented, known);

    for (key, _) in documented.iter().filter(|(_, now)| !now) {
        let (table, name) = key.split_once('.').unwrap();
        let brackets =
            if ["source", "user"].contains(&table) { format!("[[{table}]]") } else { format!("[{table}]") };
        let said = faults(&format!("{brackets}\n{name} = 1\n"));
        let named = said.iter().any(|says| says.contains("is not supported yet") && says.contains(table));
        assert!(named, "{key}: {said:?}");
    }
}

#[test]
fn the_defaults_are_those_of_the_documentation() {
    let config = parse("").unwrap();
    let second = Duration::from_secs;
    let vlc = UserAgent::Text("VLC/3.0.20 LibVLC/3.0.20".into());
    let expected = Config {
        server: Server {
            listen: "127.0.0.1:8088".parse().unwrap(),
            anonymous: Anonymous::Loopback,
            allow_origins: Vec::new(),
            hosts: Vec::new(),
            max_connections: 2048,
            max_connections_per_address: 256,
            drain_timeout: second(5),
        },
        control: Control { socket: "/run/sluice/control.sock".into(), group: None },
        storage: Storage {
            dir: "/var/cache/sluice".into(),
            max_bytes: 20 << 30,
            min_free_bytes: 1 << 30,
            memory: 256 << 20,
        },
        sessions: Sessions {
            idle_timeout: second(30),
            vod_cache: second(3600),
            live_cache: second(0),
            ahead: second(60),
            ahead_timeout: second(30),
            runs_per_session: 2,
            max: 64,
            history: 200,
            start_timeout: second(30),
            stall_timeout: second(20),
            probe_timeout: second(10),
        },
        ffmpeg: Ffmpeg { path: "ffmpeg".into(), ffprobe_path: "ffprobe".into() },
        input: Input {
            user_agent: vlc,
            protocols: vec![Protocol::Http, Protocol::Https],
            files: Vec::new(),
            allow_networks: Vec::new(),
            tls_verify: true,
        },
        transcode: Transcode {
            max_resolution: Resolution::P1080,
            quality: Quality::High,
            container: Container::Fmp4,
            segment_duration: second(2),
            live_dvr: second(30),
        },
        sources: Vec::new(),
    };
    assert_eq!(config, expected);
    assert_eq!(Server::default(), config.server);
    assert_eq!(Sessions::default(), config.sessions);
    assert_eq!(Ffmpeg::default(), config.ffmpeg);
    assert_eq!(Input::default(), config.input);
    assert_eq!(Transcode::default(), config.transcode);
}

#[test]
fn a_config_with_every_key_that_is_in_force_is_accepted() {
    let config = parse(&fs::read_to_string(format!("{FIXTURES}/full.toml")).unwrap()).unwrap();
    assert_eq!(config.server.listen, "0.0.0.0:9000".parse().unwrap());
    assert_eq!(config.server.anonymous, Anonymous::Private);
    assert_eq!(config.server.allow_origins, ["https://tv.example.com", "http://10.0.0.5:3000"]);
    assert_eq!(config.server.hosts, ["tv.example.com"]);
    assert_eq!(config.server.drain_timeout, Duration::from_millis(500));
    assert_eq!(config.control.socket, Path::new("/run/other.sock"));
    assert_eq!(config.control.group.as_deref(), Some("media"));
    assert_eq!(config.storage.memory, 1 << 20);
    assert_eq!(config.storage.min_free_bytes, 1000);
    assert_eq!(config.sessions.vod_cache, Duration::from_secs(5400));
    assert_eq!(config.ffmpeg.path, Path::new("/opt/ffmpeg/bin/ffmpeg"));
    assert_eq!(config.input.user_agent, UserAgent::Default);
    assert_eq!(
        config.input.allow_networks,
        ["192.168.0.0/16".parse().unwrap(), "127.0.0.1/32".parse().unwrap()]
    );
    assert_eq!(config.transcode.max_resolution.height(), Some(2160));
    let [first, second] = &config.sources[..] else { panic!("two sources") };
    assert_eq!((first.id.as_str(), first.matches[0].as_str()), ("provider-a", "http://tv.example.com/"));
    assert_eq!(first.user_agent, Some(UserAgent::Text("TiviMate/5.1.6".into())));
    assert_eq!(first.headers, [("Referer".to_owned(), "http://tv.example.com/".to_owned())]);
    assert_eq!((second.id.as_str(), second.matches.len(), second.user_agent.is_some()), ("plain", 0, false));
}

/// Each file begins with the faults it must be refused with: `#! ` and the whole sentence.
#[test]
fn every_config_in_the_folder_is_refused_with_all_its_faults() {
    let mut seen = 0;
    for entry in fs::read_dir(format!("{FIXTURES}/refused")).unwrap() {
        let path = entry.unwrap().path();
        let text = fs::read_to_string(&path).unwrap();
        let expected: Vec<_> = text.lines().filter_map(|line| line.strip_prefix("#! ")).collect();
        assert_eq!(faults(&text), expected, "{}", path.display());
        assert!(!expected.is_empty(), "{}", path.display());
        seen += 1;
    }
    assert!(seen >= 8, "{seen}");
}

#[test]
fn an_unknown_key_names_the_nearest_right_one() {
    for (text, key, nearest) in [
        ("[sesions]\nidle_timeout = \"1s\"", "sesions.idle_timeout", "sessions.idle_timeout"),
        ("[sessions]\nidle-timeout = \"1s\"", "sessions.idle-timeout", "sessions.idle_timeout"),
        ("[sessions]\nidle_timout = \"1s\"", "sessions.idle_timout", "sessions.idle_timeout"),
        ("[server]\nlisten_addr = \"x\"", "server.listen_addr", "server.listen"),
        ("[server]\nsegment_duration = \"x\"", "server.segment_duration", "transcode.segment_duration"),
        ("listen = \"127.0.0.1:1\"", "listen", "server.listen"),
        ("[source.x]\nid = \"a\"", "", ""),
        ("[[source]]\nid = \"a\"\nmatches = []", "source.matches", "source.match"),
        ("[[sources]]\nid = \"a\"", "", ""),
        ("[zzz]", "zzz", ""),
        ("[server]\nqqqqqq = 1", "server.qqqqqq", ""),
    ] {
        let said = faults(text);
        let expected = match (key, nearest) {
            ("", _) => {
                assert!(
                    said[0].contains("[[source]]") || said[0].contains("`source.id`"),
                    "{text}: {said:?}"
                );
                continue;
            }
            (key, "") => format!("unknown key `{key}`"),
            (key, nearest) => format!("unknown key `{key}`: did you mean `{nearest}`?"),
        };
        assert_eq!(said, [expected], "{text}");
    }
}

#[test]
fn listening_beyond_loopback_needs_somebody_who_could_get_in() {
    for (listen, anonymous, accepted) in [
        ("127.0.0.1:0", "loopback", true),
        ("[::1]:8088", "loopback", true),
        ("[::ffff:127.0.0.1]:8088", "loopback", true),
        ("0.0.0.0:8088", "loopback", false),
        ("[::]:8088", "loopback", false),
        ("192.168.1.5:8088", "loopback", false),
        ("0.0.0.0:8088", "private", true),
        ("[::]:8088", "any", true),
    ] {
        let text = format!("[server]\nlisten = \"{listen}\"\nanonymous = \"{anonymous}\"");
        match parse(&text) {
            Ok(_) => assert!(accepted, "{text}"),
            Err(said) => {
                assert!(!accepted && said.len() == 1, "{text}: {said:?}");
                assert!(said[0].contains("`server.anonymous`") && said[0].contains("`[[user]]`"), "{said:?}");
            }
        }
    }
}

#[test]
fn header_values_are_never_repeated() {
    let said = faults("[[source]]\nid = \"a\"\nheaders = { X-Key = \"secret\\r\\nHost: evil\" }").join("\n");
    assert!(said.contains("X-Key") && !said.contains("secret"), "{said}");
}

#[test]
fn places_follow_the_service_manager_then_root_then_the_desktop() {
    type Row<'a> = (&'a [(&'a str, &'a str)], bool, [&'a str; 2]);
    let service = [("CACHE_DIRECTORY", "/c:/d"), ("RUNTIME_DIRECTORY", "/r"), ("HOME", "/home/a")];
    let desktop = [("XDG_CACHE_HOME", "/xc"), ("XDG_RUNTIME_DIR", "/xr"), ("HOME", "/h")];
    let bare = [("HOME", "/h"), ("XDG_CACHE_HOME", "relative"), ("XDG_RUNTIME_DIR", "/xr")];
    let rows: [Row<'_>; 5] = [
        (&service, false, ["/c", "/r/control.sock"]),
        (&service, true, ["/c", "/r/control.sock"]),
        (&desktop, true, ["/var/cache/sluice", "/run/sluice/control.sock"]),
        (&desktop, false, ["/xc/sluice", "/xr/sluice/control.sock"]),
        (&bare, false, ["/h/.cache/sluice", "/xr/sluice/control.sock"]),
    ];
    for (variables, is_root, [dir, socket]) in rows {
        let (config, from) =
            with(variables, is_root, |around| Config::load(None, &Overrides::default(), around)).unwrap();
        assert_eq!(from, Where::Defaults);
        assert_eq!(config.storage.dir, Path::new(dir), "{variables:?}");
        assert_eq!(config.control.socket, Path::new(socket), "{variables:?}");
    }
    let lost =
        with(&[], false, |around| Config::load(None, &Overrides::default(), around)).unwrap_err().to_string();
    for key in ["control.socket", "storage.dir"] {
        assert!(lost.contains(&format!("`{key}` is not set")), "{lost}");
    }
}

#[test]
fn the_file_comes_from_the_command_line_then_the_environment_then_the_system() {
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str, max: usize| {
        let path = directory.path().join(name);
        fs::write(&path, format!("[sessions]\nmax = {max}")).unwrap();
        path
    };
    let (argument, environment, system) = (file("argument", 1), file("environment", 2), file("system", 3));
    let load = |path: Option<&Path>, variable: Option<&Path>, system_file: &Path| {
        let variable = variable.map(|path| path.to_str().unwrap().to_owned());
        let env = move |name: &str| (name == "SLUICE_CONFIG").then(|| variable.clone()).flatten();
        let around = Surroundings { env: &env, is_root: true, system_file: system_file.to_path_buf() };
        Config::load(path, &Overrides::default(), &around).map(|(config, from)| (config.sessions.max, from))
    };
    let nowhere = directory.path().join("nowhere");
    assert_eq!(
        load(Some(&argument), Some(&environment), &system).unwrap(),
        (1, Where::Argument(argument.clone()))
    );
    assert_eq!(
        load(None, Some(&environment), &system).unwrap(),
        (2, Where::Environment(environment.clone()))
    );
    assert_eq!(load(None, None, &system).unwrap(), (3, Where::System(system.clone())));
    assert_eq!(load(None, None, &nowhere).unwrap(), (64, Where::Defaults));
    // A file that was asked for by name must be there.
    for refused in [load(Some(&nowhere), None, &system), load(None, Some(&nowhere), &system)] {
        let says = refused.unwrap_err().to_string();
        assert!(says.contains("nowhere"), "{says}");
    }
    assert!(matches!(load(Some(directory.path()), None, &system), Err(ConfigError::Read { .. })));
}

#[test]
fn the_command_line_is_in_force_before_anything_is_checked() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("sluice.toml");
    fs::write(&path, "[server]\nlisten = \"0.0.0.0:1\"\n[control]\nsocket = \"relative\"").unwrap();
    let load = |listen: &str, socket: &str| {
        let overrides = Overrides { listen: Some(listen.into()), socket: Some(socket.into()) };
        with(&[], true, |around| Config::load(Some(&path), &overrides, around))
    };
    let (config, _) = load("127.0.0.1:2", "here.sock").unwrap();
    assert_eq!(config.server.listen, "127.0.0.1:2".parse().unwrap());
    assert_eq!(config.control.socket, std::env::current_dir().unwrap().join("here.sock"));

    let says = load("nonsense", &"x".repeat(200)).unwrap_err().to_string();
    assert!(says.contains("has 2 faults:") && says.contains("`--listen` is \"nonsense\""), "{says}");
    assert!(says.contains("`--socket` is longer"), "{says}");
}

#[test]
fn what_is_no_toml_is_told_with_its_place() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("sluice.toml");
    let load = |text: &[u8]| {
        fs::write(&path, text).unwrap();
        with(&[], true, |around| Config::load(Some(&path), &Overrides::default(), around)).unwrap_err()
    };
    let says = load(b"[server]\nlisten = \n").to_string();
    assert!(says.contains("line 2, column ") && !says.contains('\n'), "{says}");
    assert!(matches!(load(b"[server]\nlisten = \"\xff\""), ConfigError::Read { .. }));
    assert!(matches!(load(&vec![b'#'; (FILE_LIMIT + 1) as usize]), ConfigError::TooLong { .. }));
    let says = load(b"[server]\nlisten = 1").to_string();
    assert!(says.ends_with("sluice.toml`: `server.listen` is 1; it must be text in quotes"), "{says}");
}

#[test]
fn every_key_in_force_is_documented_and_no_other() {
    let text = include_str!("../../../docs/configuration.md");
    let documented: Vec<_> = text
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once('`'))
        .map(|(key, _)| key)
        .collect();
    let in_force: Vec<_> =
        super::keys::KEYS.iter().filter(|(_, standing)| *standing == super::keys::Standing::Now).collect();
    for (key, _) in &in_force {
        assert!(documented.contains(key), "docs/configuration.md does not have `{key}`");
    }
    assert_eq!(documented.len(), in_force.len(), "docs/configuration.md has keys that are not in force");
}
