//! What may be played: the protocols, networks and directories that the config allows, and which source an
//! address belongs to.

use std::collections::HashSet;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use ipnet::IpNet;
use tokio::net::lookup_host;
use tokio::time::timeout;
use url::{Host, Url};

use super::{Address, AddressError, Place, networks};
use crate::config::{Input, Source};

/// A resolver that says nothing keeps a thread of the pool busy; nobody waits longer for it than this.
const LOOKUP_LIMIT: Duration = Duration::from_secs(5);

/// The rules for addresses.
#[derive(Debug)]
pub struct Rules {
    schemes: Vec<&'static str>,
    files: Vec<PathBuf>,
    allow_networks: Vec<IpNet>,
    /// Hosts and ports that the config itself names: they are allowed as written, whatever their network.
    named: HashSet<(String, u16)>,
    sources: Vec<Source>,
}

impl Rules {
    /// The rules of a config.
    pub fn new(input: &Input, sources: &[Source]) -> Self {
        let named = sources.iter().flat_map(|source| &source.matches).filter_map(host_and_port).collect();
        Self {
            schemes: input.protocols.iter().map(|protocol| protocol.scheme()).collect(),
            files: input.files.clone(),
            allow_networks: input.allow_networks.clone(),
            named,
            sources: sources.to_vec(),
        }
    }

    /// Whether `ip` may be asked: a public address, or one of `input.allow_networks`.
    pub fn allows_ip(&self, ip: IpAddr) -> Result<(), AddressError> {
        self.allows_ip_of(ip, &ip.to_string())
    }

    /// Whether `url` may be asked as far as its text tells: its scheme, and its host if that is an IP
    /// address. A name is classified when it is resolved.
    pub fn admit(&self, url: &Url) -> Result<(), AddressError> {
        if !self.schemes.contains(&url.scheme()) {
            return Err(AddressError::Protocol { scheme: url.scheme().to_owned() });
        }
        if url.port() == Some(0) {
            return Err(AddressError::Malformed { why: "port 0 can't be reached" });
        }
        match url.host() {
            _ if self.is_named(url) => Ok(()),
            Some(Host::Ipv4(ip)) => self.allows_ip(ip.into()),
            Some(Host::Ipv6(ip)) => self.allows_ip(ip.into()),
            Some(Host::Domain(name)) if !name.is_empty() => Ok(()),
            _ => Err(AddressError::Malformed { why: "it has no host" }),
        }
    }

    /// Where the host of `address` is. Every answer of the resolver is classified, and one that is not
    /// allowed refuses them all: ffmpeg asks again and takes whichever comes first. Nothing for a file.
    pub async fn resolve(&self, address: &Address) -> Result<Vec<SocketAddr>, AddressError> {
        match address.place() {
            Place::Http(url) => self.resolve_url(url).await,
            Place::File(_) => Ok(Vec::new()),
        }
    }

    /// The source that `address` belongs to: the one with the longest beginning that fits, else the one
    /// that the caller named.
    pub fn source_for(&self, address: &Address, source_id: Option<&str>) -> Option<&Source> {
        let fitting = match address.place() {
            Place::Http(url) => self.fitting_source(url),
            Place::File(_) => None,
        };
        fitting.or_else(|| self.sources.iter().find(|source| Some(source.id.as_str()) == source_id))
    }

    /// As [`Rules::resolve`], for a hop of a redirect: admits `url` and resolves its host.
    pub async fn resolve_url(&self, url: &Url) -> Result<Vec<SocketAddr>, AddressError> {
        self.admit(url)?;
        let port = url.port_or_known_default().ok_or(AddressError::Malformed { why: "it has no port" })?;
        match url.host() {
            Some(Host::Ipv4(ip)) => Ok(vec![(ip, port).into()]),
            Some(Host::Ipv6(ip)) => Ok(vec![(ip, port).into()]),
            Some(Host::Domain(name)) => self.look_up(name, port, self.is_named(url)).await,
            None => Err(AddressError::Malformed { why: "it has no host" }),
        }
    }

    /// Resolves `name` for a connection whose port is not known: a host that the config names passes.
    pub async fn resolve_name(&self, name: &str) -> Result<Vec<SocketAddr>, AddressError> {
        let named = self.named.iter().any(|(host, _)| host == name);
        self.look_up(name, 0, named).await
    }

    /// Whether the config names the host of `url`, but with another port: [`Rules::resolve_name`] would let
    /// it pass unclassified.
    pub fn is_named_elsewhere(&self, url: &Url) -> bool {
        let host = url.host_str().unwrap_or_default();
        !self.is_named(url) && self.named.iter().any(|(name, _)| name == host)
    }

    /// The regular file at `path`, without symbolic links, if it lies in one of the allowed directories.
    pub(super) fn file(&self, path: &Path) -> Result<PathBuf, AddressError> {
        // They may be mounted later than we start, so they are looked up each time.
        let allowed: Vec<_> =
            self.files.iter().filter_map(|directory| directory.canonicalize().ok()).collect();
        if allowed.is_empty() {
            return Err(AddressError::Directory);
        }
        let is_inside = |path: &Path| allowed.iter().any(|directory| path.starts_with(directory));
        let found = match path.canonicalize() {
            Ok(found) => found,
            // Whether a file outside exists is nobody's business: only what its nearest directory would
            // allow is told to be missing.
            Err(_) => {
                let above = path.ancestors().skip(1).find_map(|above| above.canonicalize().ok());
                return Err(match above {
                    Some(above) if is_inside(&above) => AddressError::NoSuchFile,
                    _ => AddressError::Directory,
                });
            }
        };
        if !is_inside(&found) {
            return Err(AddressError::Directory);
        }
        match found.metadata() {
            Ok(metadata) if metadata.is_file() => Ok(found),
            Ok(_) => Err(AddressError::NotRegular),
            Err(_) => Err(AddressError::NoSuchFile),
        }
    }

    fn fitting_source(&self, url: &Url) -> Option<&Source> {
        // Who asks is no part of where; an address without a user part keeps none.
        let mut url = url.clone();
        let _no_user_part = url.set_password(None).and_then(|()| url.set_username(""));
        let beginnings =
            self.sources.iter().flat_map(|source| source.matches.iter().map(move |prefix| (source, prefix)));
        beginnings
            .filter(|(_, prefix)| url.as_str().starts_with(prefix.as_str()))
            .max_by_key(|(_, prefix)| prefix.as_str().len())
            .map(|(source, _)| source)
    }

    fn is_named(&self, url: &Url) -> bool {
        host_and_port(url).is_some_and(|place| self.named.contains(&place))
    }

    fn allows_ip_of(&self, ip: IpAddr, host: &str) -> Result<(), AddressError> {
        let Some(network) = networks::of(ip) else { return Ok(()) };
        let is_listed = |ip| self.allow_networks.iter().any(|listed| listed.contains(ip));
        if networks::names(ip).iter().any(is_listed) {
            return Ok(());
        }
        Err(AddressError::Network { host: host.to_owned(), network })
    }

    async fn look_up(&self, name: &str, port: u16, named: bool) -> Result<Vec<SocketAddr>, AddressError> {
        let found: Vec<_> = match timeout(LOOKUP_LIMIT, lookup_host((name, port))).await {
            Ok(Ok(found)) => found.collect(),
            Ok(Err(_)) => return Err(AddressError::NoSuchHost { host: name.to_owned() }),
            Err(_) => return Err(AddressError::LookUpTimedOut { host: name.to_owned() }),
        };
        if found.is_empty() {
            return Err(AddressError::NoSuchHost { host: name.to_owned() });
        }
        if !named {
            found.iter().try_for_each(|place| self.allows_ip_of(place.ip(), name))?;
        }
        Ok(found)
    }
}

fn host_and_port(url: &Url) -> Option<(String, u16)> {
    Some((url.host_str()?.to_owned(), url.port_or_known_default()?))
}
