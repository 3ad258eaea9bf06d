//! One exchange of HTTP, with limits: a total time, a maximum size, and no private address unless allowed.
//!
//! It does not follow redirects and knows nothing about robots.txt, hosts or repeated requests.

use crate::{
    config::Crawl,
    outcome::{Done, Outcome},
    previous::Validators,
    private::{PrivateAddress, Resolver, is_public},
    warc::Head,
};
use pipe_stage::{Error, Result};
use reqwest::{Client, ClientBuilder, header, redirect};
use std::{
    error::Error as _,
    net::{IpAddr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use url::{Host, Url};

/// Longest time for a connection, with the lookup of the name.
const CONNECT_MAX: Duration = Duration::from_secs(20);

/// How long an idle connection is kept.
const IDLE_MAX: Duration = Duration::from_secs(30);

/// Makes requests.
#[derive(Clone)]
pub(crate) struct Fetcher {
    /// Uses the proxies that the environment names.
    usual: Client,
    /// For this machine, which no proxy can reach.
    direct: Client,
    private: bool,
    proxied: bool,
    timeout: Duration,
}

/// A request.
pub(crate) struct Request<'a> {
    pub(crate) url: &'a Url,
    pub(crate) accept: &'a str,
    pub(crate) validators: Option<&'a Validators>,
}

/// A response whose head arrived; the body was read if it was wanted.
#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) head: Head,
    pub(crate) body: Vec<u8>,
    /// When it was requested.
    pub(crate) date: String,
    /// Of the server; unknown behind a proxy.
    pub(crate) address: Option<IpAddr>,
}

/// What is read of a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Body {
    /// Nothing.
    Skip,
    /// All of it; more bytes than these are an error.
    UpTo(usize),
    /// The first bytes.
    First(usize),
}

/// Why there is no response.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) done: Done,
    /// Whether the same request may succeed later.
    pub(crate) may_pass: bool,
    /// Whether the server answered, even if that was no valid response.
    pub(crate) answered: bool,
}

impl Failure {
    fn passing(outcome: Outcome, note: impl Into<String>) -> Self {
        Self { done: Done::new(outcome).note(note), may_pass: true, answered: false }
    }

    fn lasting(outcome: Outcome, note: impl Into<String>) -> Self {
        Self { done: Done::new(outcome).note(note), may_pass: false, answered: false }
    }
}

/// The present time, as archives write it.
pub(crate) fn now() -> String {
    jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

impl Fetcher {
    pub(crate) fn new(config: &Crawl) -> Result<Self> {
        // The provider of the process; another part of the program may have set it.
        rustls::crypto::ring::default_provider().install_default().ok();
        let private = config.private_addresses;
        let timeout = Duration::try_from_secs_f64(config.timeout_seconds).unwrap_or(Duration::MAX);
        let builder = || -> ClientBuilder {
            Client::builder()
                .user_agent(config.agent())
                .redirect(redirect::Policy::none())
                .referer(false)
                // Bodies are kept as they are sent. Other users of the library may turn these codings on.
                .no_gzip()
                .no_brotli()
                .no_deflate()
                .no_zstd()
                // Requests to a host are few and apart, and archives have the format of HTTP/1.1.
                .http1_only()
                // Browsers accept such headers, so sites have them: folded lines become one (RFC 9112, section 5.2), and
                // one invalid header does not make a page unreadable.
                .http1_allow_obsolete_multiline_headers_in_responses(true)
                .http1_allow_spaces_after_header_name_in_responses(true)
                .http1_ignore_invalid_headers_in_responses(true)
                .connect_timeout(CONNECT_MAX)
                .pool_idle_timeout(IDLE_MAX)
                .pool_max_idle_per_host(usize::try_from(config.per_host).unwrap_or(usize::MAX))
                .dns_resolver(Arc::new(Resolver { private }))
        };
        let failed = |error: reqwest::Error| Error::Machine {
            action: "prepare HTTPS".to_owned(),
            message: chain(&error),
        };
        let usual = builder().build().map_err(failed)?;
        let direct = builder().no_proxy().build().map_err(failed)?;
        let proxied = ["http_proxy", "https_proxy", "all_proxy"].iter().any(|name| {
            let is_set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
            is_set(name) || is_set(&name.to_ascii_uppercase())
        });
        Ok(Self { usual, direct, private, proxied, timeout })
    }

    /// Makes a request. `wanted` decides by status and head what is read of the body.
    pub(crate) async fn get(
        &self,
        request: Request<'_>,
        wanted: impl Fn(u16, &Head) -> std::result::Result<Body, Done>,
    ) -> std::result::Result<Response, Failure> {
        let answered = AtomicBool::new(false);
        let exchange = self.exchange(request, wanted, &answered);
        let result = tokio::time::timeout(self.timeout, exchange).await.unwrap_or_else(|_| {
            let note = format!("the response took longer than {} s", self.timeout.as_secs_f64());
            Err(Failure::passing(Outcome::Timeout, note))
        });
        result.map_err(|failure| {
            let answered = failure.answered || answered.load(Ordering::Relaxed);
            Failure { answered, ..failure }
        })
    }

    async fn exchange(
        &self,
        request: Request<'_>,
        wanted: impl Fn(u16, &Head) -> std::result::Result<Body, Done>,
        answered: &AtomicBool,
    ) -> std::result::Result<Response, Failure> {
        let local = is_local(request.url);
        if !self.private {
            self.refuse_private(request.url, local).await?;
        }
        let client = if local { &self.direct } else { &self.usual };
        let mut asked = client
            .get(request.url.clone())
            .header(header::ACCEPT, request.accept)
            // The coding that every reader of archives knows.
            .header(header::ACCEPT_ENCODING, "gzip");
        if let Some(validators) = request.validators {
            for (name, value) in
                [(header::IF_NONE_MATCH, &validators.etag), (header::IF_MODIFIED_SINCE, &validators.modified)]
            {
                if let Some(value) = value {
                    asked = asked.header(name, value);
                }
            }
        }
        let date = now();
        let mut response = asked.send().await.map_err(|error| failure(&error, Outcome::Connection))?;
        answered.store(true, Ordering::Relaxed);
        let address = response.remote_addr().map(|address| address.ip()).filter(|_| local || !self.proxied);
        let status = response.status();
        let fields = response.headers().iter().map(|(name, value)| (name.as_str(), value.as_bytes()));
        let reason = status.canonical_reason().unwrap_or_default();
        let head = Head::new(&format!("{:?}", response.version()), status.as_u16(), reason, fields);
        let mut body = Vec::new();
        let refused =
            |done: Done| Failure { done: done.status(status.as_u16()), may_pass: false, answered: true };
        let wanted = wanted(status.as_u16(), &head).map_err(refused)?;
        if let Body::UpTo(bytes_max) | Body::First(bytes_max) = wanted {
            let too_large = || {
                let note = format!("the body has more than {bytes_max} bytes");
                refused(Done::new(Outcome::TooLarge).note(note))
            };
            let is_whole = matches!(wanted, Body::UpTo(_));
            if is_whole && response.content_length().is_some_and(|length| length > bytes_max as u64) {
                return Err(too_large());
            }
            while let Some(part) =
                response.chunk().await.map_err(|error| failure(&error, Outcome::Incomplete))?
            {
                let left = bytes_max - body.len();
                body.extend_from_slice(part.get(..left).unwrap_or(&part));
                if part.len() > left {
                    if is_whole {
                        return Err(too_large());
                    }
                    break;
                }
            }
        }
        Ok(Response { status: status.as_u16(), head, body, date, address })
    }

    /// What the resolver does not see: addresses in place of names, and names that a proxy resolves.
    async fn refuse_private(&self, url: &Url, local: bool) -> std::result::Result<(), Failure> {
        let refused = || Err(Failure::lasting(Outcome::Private, PrivateAddress.to_string()));
        match url.host() {
            _ if local => refused(),
            Some(Host::Ipv4(address)) if !is_public(address.into()) => refused(),
            Some(Host::Ipv6(address)) if !is_public(address.into()) => refused(),
            Some(Host::Domain(name)) if self.proxied => {
                // Behind a proxy this machine may be unable to resolve names; then the proxy decides.
                let found = tokio::net::lookup_host((name, 0)).await;
                let found: Vec<SocketAddr> = found.map(Iterator::collect).unwrap_or_default();
                let all_private = found.iter().all(|address| !is_public(address.ip()));
                if !found.is_empty() && all_private { refused() } else { Ok(()) }
            }
            _ => Ok(()),
        }
    }
}

/// Whether an address is one of this machine.
fn is_local(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => {
            address.is_loopback() || address.to_ipv4_mapped().is_some_and(|address| address.is_loopback())
        }
        Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        None => false,
    }
}

fn failure(error: &reqwest::Error, outcome: Outcome) -> Failure {
    let mut cause = error.source();
    let mut answered = false;
    while let Some(inner) = cause {
        if inner.is::<PrivateAddress>() {
            return Failure::lasting(Outcome::Private, inner.to_string());
        }
        // Something came that is not HTTP. A connection that closes without a byte is no answer.
        answered |= inner.downcast_ref::<hyper::Error>().is_some_and(hyper::Error::is_parse);
        cause = inner.source();
    }
    let outcome = if error.is_timeout() { Outcome::Timeout } else { outcome };
    Failure { answered, ..Failure::passing(outcome, chain(error)) }
}

/// An error with its causes, without the address, which the log has already.
fn chain(error: &reqwest::Error) -> String {
    const LENGTH_MAX: usize = 300;
    let mut parts: Vec<String> = Vec::new();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let text = inner.to_string();
        if parts.last() != Some(&text) {
            parts.push(text);
        }
        cause = inner.source();
    }
    let text = if parts.is_empty() { error.to_string() } else { parts.join(": ") };
    text.chars().filter(|letter| !letter.is_control()).take(LENGTH_MAX).collect()
}
