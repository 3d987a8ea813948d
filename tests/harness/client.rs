//! The HTTP client of these tests.
//!
//! The engine's own client speaks TLS with a provider that it chooses itself, and a build of the whole workspace
//! gives every client here the same features. So one is chosen here too, though nothing here speaks TLS.

/// A client that asks directly, whatever proxy the environment names.
pub fn builder() -> reqwest::ClientBuilder {
    // Another test of this process may have chosen already.
    let _chosen = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder().no_proxy()
}

/// The same, ready to use.
///
/// # Panics
///
/// Where the system has no room for a client.
pub fn plain() -> reqwest::Client {
    builder().build().expect("a client needs nothing that could be missing")
}
