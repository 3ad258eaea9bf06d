//! Requests to web servers. One request each: [`repeated`] tries again.

use crate::failure::{Failure, as_named, changed, gone, same_version};
use crate::limits::{Limits, Speed};
use crate::version;
use pipe_stage::{Error, Result, shown};
use reqwest::header::{self, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Client, ClientBuilder, Method, RequestBuilder, Response, StatusCode, redirect};
use std::{
    error::Error as _,
    net::IpAddr,
    time::{Duration, Instant},
};
use tokio::time::{sleep, timeout};
use url::{Host, Url};

/// As many redirects as browsers follow.
const REDIRECTS_MAX: usize = 20;

/// Where a secret is sent.
struct Token {
    /// Beginning of the addresses that get it.
    endpoint: String,
    secret: String,
}

/// Makes requests to web servers.
pub(crate) struct Http {
    /// Uses the proxies that the environment names.
    usual: Client,
    /// For this machine, which no proxy can reach.
    direct: Client,
    limits: Limits,
    token: Option<Token>,
}

/// What a server says about a file.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) size: u64,
    pub(crate) version: String,
}

/// A body of which some bytes are to be skipped.
pub(crate) struct Body {
    /// None where the server says that nothing is left.
    response: Option<Response>,
    skip: u64,
    /// How much of it arrived since it was last asked for.
    skipped: u64,
}

/// An answer that was read whole.
pub(crate) struct Page {
    pub(crate) bytes: Vec<u8>,
    /// The address of the following page.
    pub(crate) next: Option<String>,
}

impl Http {
    pub(crate) fn new(limits: &Limits) -> Result<Self> {
        // The provider of the process; another part of the program may have set it.
        rustls::crypto::ring::default_provider().install_default().ok();
        let builder = || -> ClientBuilder {
            Client::builder()
                .user_agent(concat!("pipe/", env!("CARGO_PKG_VERSION")))
                .redirect(redirect::Policy::limited(REDIRECTS_MAX))
                .referer(false)
                .default_headers(HeaderMap::from_iter([(
                    header::ACCEPT_ENCODING,
                    HeaderValue::from_static("identity"),
                )]))
                // Versions and sizes are those of the bytes as they are stored.
                .no_gzip()
                .no_brotli()
                .no_deflate()
                .no_zstd()
                .connect_timeout(limits.stall)
                .read_timeout(limits.stall)
        };
        let failed = |error: reqwest::Error| Error::Machine {
            action: "prepare HTTPS".to_owned(),
            message: told(error),
        };
        let usual = builder().build().map_err(failed)?;
        let direct = builder().no_proxy().build().map_err(failed)?;
        Ok(Self { usual, direct, limits: limits.clone(), token: None })
    }

    /// Sends a secret with requests to this server, and to none that it redirects to.
    pub(crate) fn with_token(self, endpoint: &str, secret: Option<String>) -> Self {
        let token = secret.map(|secret| Token { endpoint: format!("{endpoint}/"), secret });
        Self { token, ..self }
    }

    fn request(&self, method: Method, url: &str) -> Result<RequestBuilder, Failure> {
        let parsed = Url::parse(url).map_err(|error| {
            Failure::Lasting(Error::input(format!("`{}` is no address: {error}", shown(url))))
        })?;
        let is_here = match parsed.host() {
            Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
            Some(Host::Ipv4(address)) => IpAddr::from(address).is_loopback(),
            Some(Host::Ipv6(address)) => IpAddr::from(address).is_loopback(),
            None => false,
        };
        let client = if is_here { &self.direct } else { &self.usual };
        let request = client.request(method, parsed);
        Ok(match &self.token {
            Some(Token { endpoint, secret }) if url.starts_with(endpoint.as_str()) => {
                request.bearer_auth(secret)
            }
            _ => request,
        })
    }

    async fn send(&self, request: RequestBuilder) -> Result<Response, Failure> {
        match timeout(self.limits.stall.saturating_mul(2), request.send()).await {
            Err(_) => Err(Failure::passing("the server does not answer")),
            // A wrong address or a header that cannot be sent.
            Ok(Err(error)) if error.is_builder() || error.is_redirect() => {
                Err(Failure::Lasting(Error::input(told(error))))
            }
            Ok(Err(error)) => Err(Failure::passing(told(error))),
            Ok(Ok(response)) => Ok(response),
        }
    }

    /// Asks for size and version of a file.
    pub(crate) async fn head(&self, url: &str) -> Result<Head, Failure> {
        let response = self.send(self.request(Method::HEAD, url)?).await?;
        // Some servers, and addresses that are signed for reading, refuse such requests.
        let refuses = matches!(response.status().as_u16(), 400 | 403 | 404 | 405 | 501);
        let response = if refuses || (response.status().is_success() && size(&response).is_none()) {
            let request = self.request(Method::GET, url)?.header(header::RANGE, "bytes=0-0");
            self.send(request).await?
        } else {
            response
        };
        // An empty file has no byte 0.
        let is_empty = response.status() == StatusCode::RANGE_NOT_SATISFIABLE && size(&response) == Some(0);
        if !response.status().is_success() && !is_empty {
            return Err(refused(&response, url));
        }
        let headers = response.headers();
        let unknown = |what: &str| {
            Failure::lasting(
                format!("the server of `{}` does not say {what}", shown(url)),
                "download the file, and name it with its path",
            )
        };
        as_named(url, text(headers, header::CONTENT_ENCODING))?;
        let size = size(&response).ok_or_else(|| unknown("how large it is"))?;
        let (etag, modified) = (text(headers, header::ETAG), text(headers, header::LAST_MODIFIED));
        let version = version::stated(etag, None, modified);
        Ok(Head {
            size,
            version: version.ok_or_else(|| unknown("which version it has (ETag or Last-Modified)"))?,
        })
    }

    /// Asks for a file from byte `at`, in the version that was listed. At its end, the answer shows whether it is longer.
    pub(crate) async fn open(&self, url: &str, size: u64, at: u64, listed: &str) -> Result<Body, Failure> {
        let mut request = self.request(Method::GET, url)?;
        if at > 0 {
            request = request.header(header::RANGE, format!("bytes={at}-"));
        }
        if let Some(tag) = version::strong_etag(listed) {
            request = request.header(header::IF_MATCH, tag);
        }
        let response = self.send(request).await?;
        let shown = shown(url);
        let status = response.status();
        if status == StatusCode::PRECONDITION_FAILED {
            return Err(changed(&shown, "the server has another version"));
        }
        if status == StatusCode::RANGE_NOT_SATISFIABLE {
            if at == size && self::size(&response).is_none_or(|whole| whole == size) {
                return Ok(Body { response: None, skip: 0, skipped: 0 });
            }
            return Err(changed(&shown, &format!("it has less than {at} bytes")));
        }
        if !status.is_success() {
            return Err(refused(&response, url));
        }
        // Servers may ignore conditions.
        let headers = response.headers();
        let (etag, modified) = (text(headers, header::ETAG), text(headers, header::LAST_MODIFIED));
        same_version(&shown, listed, etag, modified)?;
        as_named(url, text(headers, header::CONTENT_ENCODING))?;
        // They may also ignore ranges, and send the file from its beginning.
        let start = if status == StatusCode::PARTIAL_CONTENT { range_start(headers) } else { Some(0) };
        let whole = self::size(&response);
        if let Some(whole) = whole.filter(|whole| *whole != size) {
            return Err(changed(&shown, &format!("it had {size} bytes and has {whole}")));
        }
        let skip = start.and_then(|start| at.checked_sub(start));
        let skip =
            skip.ok_or_else(|| Failure::passing("the server sends another part than was asked for"))?;
        Ok(Body { response: Some(response), skip, skipped: 0 })
    }

    /// Reads a whole answer of at most `bytes_max` bytes.
    pub(crate) async fn page(&self, url: &str, bytes_max: usize) -> Result<Page, Failure> {
        let response = self.send(self.request(Method::GET, url)?).await?;
        if !response.status().is_success() {
            return Err(refused(&response, url));
        }
        let links = response.headers().get_all(header::LINK).iter().filter_map(|value| value.to_str().ok());
        let next = links
            .flat_map(|links| links.split(','))
            .find_map(next_of)
            .and_then(|next| response.url().join(next).ok().map(|next| next.to_string()));
        let mut body = Body { response: Some(response), skip: 0, skipped: 0 };
        let (mut bytes, mut speed) = (Vec::new(), Speed::new(&self.limits));
        loop {
            let asked = Instant::now();
            let Some(chunk) = body.chunk().await? else { break };
            if !speed.suffices(asked.elapsed(), chunk.len() as u64) {
                return Err(Failure::passing(self.limits.too_slow()));
            }
            bytes.extend(chunk);
            if bytes.len() > bytes_max {
                let message = format!("`{}` has more than {} MiB", shown(url), bytes_max >> 20);
                return Err(Failure::Lasting(Error::input(message)));
            }
        }
        Ok(Page { bytes, next })
    }
}

impl Body {
    /// The next bytes; `None` at the end.
    pub(crate) async fn chunk(&mut self) -> Result<Option<Vec<u8>>, Failure> {
        loop {
            // A body that ends before its declared length is an error here.
            let Some(response) = &mut self.response else { return Ok(None) };
            let chunk = response.chunk().await.map_err(|error| Failure::passing(told(error)))?;
            let Some(chunk) = chunk else { return Ok(None) };
            let skipped = usize::try_from(self.skip).unwrap_or(usize::MAX).min(chunk.len());
            self.skip -= skipped as u64;
            self.skipped += skipped as u64;
            if skipped < chunk.len() {
                return Ok(Some(chunk[skipped..].to_vec()));
            }
        }
    }

    /// Number of bytes that arrived and were skipped since the last call.
    pub(crate) fn take_skipped(&mut self) -> u64 {
        std::mem::take(&mut self.skipped)
    }
}

/// Repeats a request until it succeeds, or no longer may.
pub(crate) async fn repeated<T>(
    limits: &Limits,
    shown: &str,
    mut request: impl AsyncFnMut() -> Result<T, Failure>,
) -> Result<T> {
    let mut failed = 0;
    loop {
        match request().await {
            Ok(answer) => return Ok(answer),
            Err(Failure::Passing { pause, .. }) if failed + 1 < limits.attempts => {
                failed += 1;
                sleep(limits.pause_after(failed, pause)).await;
            }
            Err(failure) => return Err(failure.into_error(shown)),
        }
    }
}

/// Why a status is no success.
fn refused(response: &Response, url: &str) -> Failure {
    let (status, shown) = (response.status(), shown(url));
    match status.as_u16() {
        408 | 425 | 429 | 500.. => {
            let asked = text(response.headers(), header::RETRY_AFTER).and_then(pause_of);
            Failure::Passing { message: format!("the server answers with {status}"), pause: asked }
        }
        404 | 410 => gone(&shown),
        401 | 403 => Failure::lasting(
            format!("the server refuses access to `{shown}` ({status})"),
            "for data sets of Hugging Face, set `HF_TOKEN` and accept their terms; web servers with passwords are not supported",
        ),
        _ => Failure::Lasting(Error::input(format!("the server answers `{shown}` with {status}"))),
    }
}

fn text(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    headers.get(name)?.to_str().ok()
}

/// Size of the whole file.
fn size(response: &Response) -> Option<u64> {
    match response.status() {
        StatusCode::PARTIAL_CONTENT | StatusCode::RANGE_NOT_SATISFIABLE => {
            let range = text(response.headers(), header::CONTENT_RANGE)?;
            range.rsplit_once('/')?.1.trim().parse().ok()
        }
        _ => text(response.headers(), header::CONTENT_LENGTH)?.trim().parse().ok(),
    }
}

/// Where a part begins.
fn range_start(headers: &HeaderMap) -> Option<u64> {
    let range = text(headers, header::CONTENT_RANGE)?.trim().strip_prefix("bytes")?;
    range.trim().split('-').next()?.trim().parse().ok()
}

/// The target of a link with the relation `next` (RFC 8288).
fn next_of(link: &str) -> Option<&str> {
    let (target, parameters) = link.trim().strip_prefix('<')?.split_once('>')?;
    let is_next = parameters.split(';').any(|parameter| {
        let (name, value) = parameter.split_once('=').unwrap_or_default();
        name.trim().eq_ignore_ascii_case("rel") && value.trim().trim_matches('"') == "next"
    });
    is_next.then_some(target)
}

/// The pause that a server asks for: seconds, or a date (RFC 9110, section 10.2.3).
fn pause_of(text: &str) -> Option<Duration> {
    let text = text.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = jiff::fmt::rfc2822::parse(text).ok()?.timestamp();
    date.duration_since(jiff::Timestamp::now()).try_into().ok()
}

/// An error with its causes and without its address.
fn told(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    crate::address::masked(&text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_ask_for_pauses_in_seconds_or_by_date() {
        assert_eq!(pause_of(" 7 "), Some(Duration::from_secs(7)));
        assert_eq!(pause_of("Wed, 21 Oct 2015 07:28:00 GMT"), None);
        assert!(pause_of("Thu, 21 Oct 2100 07:28:00 GMT").unwrap() > Duration::from_secs(1_000_000));
        assert_eq!(pause_of("soon"), None);
    }

    #[test]
    fn pages_name_the_next_one() {
        assert_eq!(next_of("<https://h/x?cursor=1>; rel=\"next\""), Some("https://h/x?cursor=1"));
        assert_eq!(next_of(" </x>; title=a; rel=next"), Some("/x"));
        assert_eq!(next_of("<https://h/x>; rel=\"prev\""), None);
        assert_eq!(next_of("nothing"), None);
    }
}
