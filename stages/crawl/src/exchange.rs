//! What is fetched for one address: a page, a sitemap or a robots.txt, with everything that can be said about it without
//! knowing other addresses. It does not know hosts, delays or the journal.

use crate::{
    address::Canonical,
    config::Crawl,
    fetch::{Body, Failure, Fetcher, Request, Response},
    frontier::Kind,
    outcome::{Done, Outcome},
    previous::Previous,
    process::{self, Fetched, Page},
    robots::{self, Robots},
    sitemap::Sitemap,
    warc::Head,
};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::sync::Semaphore;
use url::Url;

/// Maximum size of a sitemap, as the protocol says.
const SITEMAP_BYTES_MAX: usize = 50 << 20;

/// Redirects in a row that are followed for a robots.txt (RFC 9309, section 2.3.1.2).
const ROBOTS_REDIRECTS_MAX: u32 = 5;

/// Time before the first repetition of a request; it doubles with each.
const BACKOFF: Duration = Duration::from_secs(1);

/// A server that asks for more patience is not asked again for this address.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(600);

/// What all requests share.
pub(crate) struct Common {
    pub(crate) fetcher: Fetcher,
    pub(crate) canonical: Canonical,
    pub(crate) previous: Previous,
    token: String,
    accept: String,
    media_types: Vec<String>,
    page_bytes_max: usize,
    retries: u32,
    /// Limits the threads that work on pages.
    threads: Semaphore,
}

/// What became of a request for a page or a sitemap.
pub(crate) enum Answer {
    Page {
        page: Box<Page>,
        not_modified: bool,
    },
    Sitemap(Sitemap),
    /// The address is canonical.
    Redirect {
        status: u16,
        to: String,
    },
    Done(Done),
    /// Like [`Answer::Done`], but may be repeated.
    Failed {
        done: Done,
        /// Whether the server answered at all.
        answered: bool,
        /// How long the server asks to be left alone.
        retry_after: Option<Duration>,
    },
}

/// What is known of a robots.txt.
pub(crate) struct Site {
    pub(crate) robots: Robots,
    /// Why nothing may be fetched, whatever the rules.
    pub(crate) closed: Option<Outcome>,
    /// For the log.
    pub(crate) done: Done,
    /// When it was read.
    pub(crate) read: Instant,
}

/// How long a robots.txt is used before it is read again (RFC 9309, section 2.4).
const SITE_AGE_MAX: Duration = Duration::from_secs(24 * 60 * 60);

impl Site {
    fn new(robots: Robots, closed: Option<Outcome>, done: Done) -> Self {
        Self { robots, closed, done, read: Instant::now() }
    }

    /// Whether it may be used without being read again.
    pub(crate) fn is_fresh(&self) -> bool {
        self.read.elapsed() < SITE_AGE_MAX
    }
}

/// How long to wait before a request is repeated for the n-th time.
pub(crate) fn backoff(attempt: u32) -> Duration {
    BACKOFF.saturating_mul(2u32.saturating_pow(attempt.min(8)))
}

impl Common {
    pub(crate) fn new(config: &Crawl, fetcher: Fetcher, previous: Previous, threads: usize) -> Self {
        let media_types: Vec<String> =
            config.media_types.iter().map(|name| name.to_ascii_lowercase()).collect();
        Self {
            fetcher,
            canonical: Canonical::new(&config.drop_query),
            previous,
            token: config.token().to_owned(),
            accept: format!("{}, */*;q=0.1", media_types.join(", ")),
            media_types,
            page_bytes_max: (config.page_mib_max as usize).saturating_mul(1 << 20),
            retries: config.retries,
            threads: Semaphore::new(threads.max(1)),
        }
    }

    fn is_wanted(&self, media_type: &str) -> bool {
        self.media_types.iter().any(|wanted| match wanted.strip_suffix('*') {
            Some(start) => media_type.starts_with(start),
            None => media_type == wanted,
        })
    }

    /// Works on a page on another thread.
    async fn work<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Self) -> T + Send + 'static,
    ) -> Result<T, Done> {
        let permit = self.threads.acquire().await;
        let common = self.clone();
        let result = tokio::task::spawn_blocking(move || work(&common)).await;
        drop(permit);
        // A panic is an error of this program; the page is listed and the others are not lost with it.
        result.map_err(|error| Done::new(Outcome::Incomplete).note(format!("cannot be read: {error}")))
    }

    /// Fetches a page or a sitemap, once.
    pub(crate) async fn fetch(self: &Arc<Self>, url: &Url, kind: Kind) -> Answer {
        let validators = self.previous.validators(url.as_str()).filter(|_| kind == Kind::Page);
        let wanted = |status: u16, head: &Head| -> Result<Body, Done> {
            match (status, kind) {
                (200, Kind::Sitemap) => Ok(Body::UpTo(SITEMAP_BYTES_MAX)),
                (200, Kind::Page) => match head.media_type() {
                    Some(media_type) if !self.is_wanted(&media_type) => {
                        let note: String = media_type.chars().take(100).collect();
                        Err(Done::new(Outcome::MediaType).note(note))
                    }
                    _ => Ok(Body::UpTo(self.page_bytes_max)),
                },
                _ => Ok(Body::Skip),
            }
        };
        let request = Request { url, accept: &self.accept, validators };
        let mut response = match self.fetcher.get(request, wanted).await {
            Ok(response) => response,
            Err(failure) => return failed(failure),
        };
        if response.status == 304 && validators.is_some() {
            if let Some(answer) = self.carry(url).await {
                return answer;
            }
            // What the earlier crawl had cannot be read, so the page is fetched.
            let request = Request { url, accept: &self.accept, validators: None };
            response = match self.fetcher.get(request, wanted).await {
                Ok(response) => response,
                Err(failure) => return failed(failure),
            };
        }
        self.read(url, kind, response).await
    }

    async fn read(self: &Arc<Self>, url: &Url, kind: Kind, response: Response) -> Answer {
        let Response { status, head, body, date, address } = response;
        match status {
            200 => {
                let fetched = Fetched { url: url.clone(), head, body, date, address };
                match kind {
                    Kind::Page => self.page(fetched, false).await,
                    Kind::Sitemap => {
                        let read = self.work(move |_| process::sitemap(&fetched, SITEMAP_BYTES_MAX)).await;
                        match read.and_then(|result| result) {
                            Ok(sitemap) => Answer::Sitemap(sitemap),
                            Err(done) => Answer::Done(done.status(status)),
                        }
                    }
                }
            }
            301 | 302 | 303 | 307 | 308 => {
                match head.get("location").and_then(|to| self.canonical.join(url, to)) {
                    Some(to) => Answer::Redirect { status, to: to.into() },
                    None => {
                        let note = "the redirect leads to no address of HTTP";
                        Answer::Done(Done::new(Outcome::BadRedirect).status(status).note(note))
                    }
                }
            }
            429 | 500 | 502 | 503 | 504 => {
                let retry_after = head.get("retry-after").and_then(retry_after);
                let done = Done::new(Outcome::Status).status(status);
                if retry_after.is_some_and(|wait| wait > RETRY_AFTER_MAX) {
                    let note =
                        format!("the server asks for more than {} s of patience", RETRY_AFTER_MAX.as_secs());
                    return Answer::Done(done.note(note));
                }
                Answer::Failed { done, answered: true, retry_after }
            }
            _ => Answer::Done(Done::new(Outcome::Status).status(status)),
        }
    }

    async fn page(self: &Arc<Self>, fetched: Fetched, not_modified: bool) -> Answer {
        let work = move |common: &Self| {
            process::page(fetched, &common.canonical, &common.token, common.page_bytes_max)
        };
        match self.work(work).await.and_then(|result| result) {
            Ok(page) => Answer::Page { page: Box::new(page), not_modified },
            Err(done) => Answer::Done(done.status(200)),
        }
    }

    /// Takes a page from the earlier crawl.
    async fn carry(self: &Arc<Self>, url: &Url) -> Option<Answer> {
        let text = url.to_string();
        let carried = self.work(move |common| common.previous.page(&text)).await.ok()?.ok()?;
        let (head, body, date, address) = (carried.head, carried.body, carried.date, carried.address);
        let answer = self.page(Fetched { url: url.clone(), head, body, date, address }, true).await;
        matches!(answer, Answer::Page { .. }).then_some(answer)
    }

    /// Fetches the robots.txt of a server.
    pub(crate) async fn site(self: &Arc<Self>, start: &Url) -> Site {
        let mut attempt = 0;
        loop {
            let site = self.site_once(start).await;
            let (site, may_pass) = match site {
                Ok(site) => return site,
                Err(site) => site,
            };
            if !may_pass || attempt >= self.retries {
                return site;
            }
            tokio::time::sleep(backoff(attempt)).await;
            attempt += 1;
        }
    }

    async fn site_once(self: &Arc<Self>, start: &Url) -> Result<Site, (Site, bool)> {
        let closed = |outcome: Outcome, done: Done| {
            Site::new(Robots::refusing(), Some(outcome), Done { outcome, ..done })
        };
        let mut url = start.clone();
        for hop in 0..=ROBOTS_REDIRECTS_MAX {
            let wanted = |status: u16, _: &Head| -> Result<Body, Done> {
                Ok(if (200..300).contains(&status) { Body::First(robots::BYTES_MAX) } else { Body::Skip })
            };
            let request = Request { url: &url, accept: "text/plain, */*;q=0.1", validators: None };
            let response = match self.fetcher.get(request, wanted).await {
                Ok(response) => response,
                Err(Failure { done, may_pass, .. }) => {
                    let is_private = done.outcome == Outcome::Private && hop == 0;
                    let outcome = if is_private { Outcome::Private } else { Outcome::RobotsUnreachable };
                    return Err((closed(outcome, done), may_pass));
                }
            };
            let done = Done::new(Outcome::RobotsTxt).status(response.status);
            match response.status {
                200..=299 => {
                    // A compressed file is cut by the limit, too; its beginning counts then.
                    let content =
                        crate::coding::decode(&response.body, &response.head.codings(), robots::BYTES_MAX);
                    return match content {
                        Ok(text) => Ok(Site::new(Robots::parse(&text, &self.token), None, done)),
                        Err(_) => {
                            let done = done.note("the file is damaged, or decompresses to too much");
                            Err((closed(Outcome::RobotsUnreachable, done), false))
                        }
                    };
                }
                301 | 302 | 303 | 307 | 308 => {
                    match response.head.get("location").and_then(|to| self.canonical.join(&url, to)) {
                        Some(to) => url = to,
                        None => return Ok(Site::new(Robots::default(), None, done)),
                    }
                }
                // "Too many requests" says nothing about what is allowed.
                429 | 500.. => return Err((closed(Outcome::RobotsUnreachable, done), true)),
                // There is no such file, so everything is allowed (RFC 9309, section 2.3.1.3).
                _ => return Ok(Site::new(Robots::default(), None, done)),
            }
        }
        let done = Done::new(Outcome::RobotsTxt).note("too many redirects; taken as absent");
        Ok(Site::new(Robots::default(), None, done))
    }
}

fn failed(Failure { done, may_pass, answered }: Failure) -> Answer {
    if may_pass { Answer::Failed { done, answered, retry_after: None } } else { Answer::Done(done) }
}

/// The time in `Retry-After`: seconds, or a date.
fn retry_after(value: &str) -> Option<Duration> {
    if let Ok(seconds) = value.trim().parse() {
        return Some(Duration::from_secs(seconds));
    }
    let parser = jiff::fmt::rfc2822::DateTimeParser::new();
    let date = parser.parse_timestamp(value.trim()).ok()?;
    let wait = date.duration_since(jiff::Timestamp::now());
    Some(Duration::try_from(wait).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_a_number_or_a_date() {
        assert_eq!(retry_after(" 120 "), Some(Duration::from_secs(120)));
        assert_eq!(retry_after("Wed, 21 Oct 2015 07:28:00 GMT"), Some(Duration::ZERO));
        assert!(retry_after("Wed, 21 Oct 2099 07:28:00 GMT").is_some_and(|wait| wait > RETRY_AFTER_MAX));
        assert_eq!(retry_after("soon"), None);
    }
}
