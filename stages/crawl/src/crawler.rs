//! The loop of a crawl: which address is fetched when, and what follows from the answers.
//!
//! One thread owns all state. Requests run as tasks, of which each host has at most `per_host`, one start at a time and
//! `delay_seconds` apart. Nothing counts before the journal has it, and what a crash loses is fetched again.

use crate::{
    address::origin,
    config::{CanonicalLinks, Crawl},
    exchange::{Answer, Common, Site, backoff},
    frontier::{Found, Frontier, Kind},
    journal::{Event, Journal},
    outcome::{Done, Kept, Outcome},
    process::Page,
    scope::path_and_query,
    sitemap::Sitemap,
    warc::Original,
};
use pipe_stage::{Error, Result, Share};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::task::JoinSet;
use url::Url;

/// How often the journal is written at least while something happens.
const COMMIT_EVERY: Duration = Duration::from_secs(1);

/// After as many events the journal is written, too.
const EVENTS_MAX: u32 = 256;

/// How long requests on their way are waited for when a stop was requested. What takes longer is fetched again later.
const STOP_AFTER: Duration = Duration::from_secs(5);

/// Addresses that are looked at in a row. robots.txt may refuse a million of them, and answers must not wait for that.
const VISITS_MAX: u32 = 256;

/// More addresses are not put into one event, so that a line of the journal has a limited length.
const FOUND_MAX: usize = 1000;

/// How often a stop is looked for.
const STOP_EVERY: Duration = Duration::from_millis(200);

/// A longer wait during which nothing is fetched is reported.
const QUIET_MAX: Duration = Duration::from_secs(60);

/// After as many failures in a row, without any answer in between, a host is given up.
const HOST_FAILURES_MAX: u32 = 20;

/// A crawl in progress.
pub(crate) struct Crawler<'c, 's, 'r> {
    config: &'c Crawl,
    share: &'s Share<'r>,
    common: Arc<Common>,
    frontier: Frontier,
    journal: Journal,
    /// By host, as the frontier numbers them.
    hosts: Vec<HostState>,
    /// By origin.
    sites: HashMap<String, Site>,
    /// For the log, by address.
    robots: BTreeMap<String, Done>,
    /// The first record with a body: its address and date.
    bodies: HashMap<(String, u64), (u32, String)>,
    /// Failed requests by address.
    attempts: HashMap<u32, u32>,
    /// Addresses that wait for their repetition.
    delayed: BTreeSet<(Instant, u32)>,
    running: JoinSet<Finished>,
    /// Requests that may bring a page.
    pages_running: u64,
    committed: Instant,
    /// Events since then.
    events: u32,
}

struct HostState {
    /// When the next request may start.
    ready: Instant,
    delay: Duration,
    running: u32,
    /// Whether a robots.txt is on its way.
    asking: bool,
    failures: u32,
    /// Whether people know that the crawl waits for it.
    noted: bool,
}

enum Finished {
    Site { host: u32, url: Url, site: Site },
    Answer { host: u32, id: u32, answer: Answer },
}

/// What a crawl leaves in memory when it has ended.
pub(crate) struct Ended {
    pub(crate) frontier: Frontier,
    pub(crate) robots: BTreeMap<String, Done>,
    pub(crate) journal: Journal,
}

impl<'c, 's, 'r> Crawler<'c, 's, 'r> {
    pub(crate) fn new(
        config: &'c Crawl,
        share: &'s Share<'r>,
        common: Common,
        frontier: Frontier,
        journal: Journal,
        robots: BTreeMap<String, Done>,
    ) -> Self {
        let mut crawler = Self {
            config,
            share,
            common: Arc::new(common),
            frontier,
            journal,
            hosts: Vec::new(),
            sites: HashMap::new(),
            robots,
            bodies: HashMap::new(),
            attempts: HashMap::new(),
            delayed: BTreeSet::new(),
            running: JoinSet::new(),
            pages_running: 0,
            committed: Instant::now(),
            events: 0,
        };
        for (id, entry) in (0..).zip(crawler.frontier.entries()) {
            let kept = entry.done.as_ref().and_then(|done| done.kept.as_ref());
            if let Some(kept) = kept.filter(|kept| !kept.revisit) {
                crawler.bodies.insert((kept.digest.clone(), kept.bytes), (id, kept.date.clone()));
            }
        }
        crawler
    }

    /// Adds the addresses of the settings.
    pub(crate) fn start(&mut self, starts: Vec<Found>) {
        self.found(starts);
    }

    fn found(&mut self, mut found: Vec<Found>) {
        found.retain(|found| self.frontier.add(found));
        for part in found.chunks(FOUND_MAX) {
            self.push(&Event::Found(part.to_vec()));
        }
    }

    fn push(&mut self, event: &Event) {
        self.journal.push(event);
        self.events += 1;
    }

    /// Crawls until nothing is left or a limit is reached.
    ///
    /// # Errors
    /// [`Error::Interrupted`] if a stop was requested; everything so far is in the journal then.
    pub(crate) async fn run(mut self) -> Result<Ended> {
        let mut stop_at = None;
        loop {
            let stopping = self.share.is_stopping();
            let wake = if stopping { None } else { self.dispatch()? };
            if stopping && *stop_at.get_or_insert_with(|| Instant::now() + STOP_AFTER) <= Instant::now() {
                self.running.abort_all();
                self.running.detach_all();
            }
            if self.running.is_empty() && (stopping || wake.is_none()) {
                self.journal.commit()?;
                if stopping {
                    return Err(Error::Interrupted);
                }
                return Ok(Ended { frontier: self.frontier, robots: self.robots, journal: self.journal });
            }
            if let Some(wake) = wake.filter(|_| self.running.is_empty()) {
                self.note_wait(wake);
            }
            let pause = wake.map_or(STOP_EVERY, |wake| wake.saturating_duration_since(Instant::now()));
            let finished = tokio::select! {
                Some(finished) = self.running.join_next() => Some(finished),
                () = tokio::time::sleep(pause.min(STOP_EVERY)) => None,
            };
            if let Some(finished) = finished {
                let message = |error: tokio::task::JoinError| Error::Panic { message: error.to_string() };
                self.finished(finished.map_err(message)?)?;
            }
            if self.share.check_stop().is_err() {
                // Requests on their way are repeated when the crawl goes on.
                self.journal.commit()?;
                return Err(Error::Interrupted);
            }
            if self.committed.elapsed() >= COMMIT_EVERY || self.events >= EVENTS_MAX {
                self.journal.commit()?;
                (self.committed, self.events) = (Instant::now(), 0);
            }
            let all = self.frontier.entries().len() as u64;
            let open = self.frontier.waiting() + (self.running.len() + self.delayed.len()) as u64;
            self.share.progress("addresses", all.saturating_sub(open), all);
        }
    }

    /// Says what the crawl waits for if that takes long, once per host.
    fn note_wait(&mut self, wake: Instant) {
        let wait = wake.saturating_duration_since(Instant::now());
        if wait <= QUIET_MAX {
            return;
        }
        let hosts = (0..).zip(&self.hosts).filter(|(_, state)| state.ready <= wake);
        let waiting = hosts.filter_map(|(host, _)| self.frontier.first_waiting(host)).next();
        let Some(id) = waiting.or_else(|| self.delayed.first().map(|(_, id)| *id)) else { return };
        let entry = self.frontier.entry(id);
        let state = &mut self.hosts[entry.host() as usize];
        if std::mem::replace(&mut state.noted, true) {
            return;
        }
        let why = if wait > state.delay {
            "requests failed, and the time until they are repeated grows or is that of its `Retry-After`"
        } else if state.delay.as_secs_f64() > self.config.delay_seconds {
            "its robots.txt asks for that with `Crawl-delay`"
        } else {
            "`delay_seconds` is that long"
        };
        let name = Url::parse(&entry.url).ok().and_then(|url| url.host_str().map(str::to_owned));
        let (name, seconds) = (name.unwrap_or_default(), wait.as_secs_f64().ceil());
        self.share
            .note(format!("nothing is fetched for {seconds} s, until the next request to `{name}`: {why}"));
    }

    /// Whether no further page may be kept.
    fn is_full(&self) -> bool {
        let bytes = self.frontier.bytes.saturating_add(self.frontier.unkept_bytes);
        self.frontier.pages >= self.config.pages_max || bytes >= self.config.mib_max.saturating_mul(1 << 20)
    }

    /// Starts all requests that may start now. Returns when to look again, or `None` if nothing waits.
    fn dispatch(&mut self) -> Result<Option<Instant>> {
        let now = Instant::now();
        while let Some((when, id)) = self.delayed.first().copied().filter(|(when, _)| *when <= now) {
            self.delayed.remove(&(when, id));
            self.frontier.put_back(id);
        }
        while self.hosts.len() < self.frontier.hosts() as usize {
            let delay = Duration::try_from_secs_f64(self.config.delay_seconds).unwrap_or_default();
            self.hosts.push(HostState {
                ready: now,
                delay,
                running: 0,
                asking: false,
                failures: 0,
                noted: false,
            });
        }
        for _ in 0..VISITS_MAX {
            if self.is_full() {
                return Ok(None);
            }
            let mut wake = self.delayed.first().map(|(when, _)| *when);
            let room = (self.running.len() as u64) < u64::from(self.config.concurrency);
            // A page that is on its way may be the last that is kept.
            let room = room && self.frontier.pages.saturating_add(self.pages_running) < self.config.pages_max;
            let mut next: Option<(Instant, u32)> = None;
            for (host, state) in (0..).zip(&self.hosts) {
                if self.frontier.has_waiting(host) && !state.asking && state.running < self.config.per_host {
                    next = Some(next.map_or((state.ready, host), |best| best.min((state.ready, host))));
                }
            }
            let Some((ready, host)) = next else { return Ok(wake) };
            if ready > now || !room {
                let ready = if room { ready } else { now + STOP_EVERY };
                wake = Some(wake.map_or(ready, |wake| wake.min(ready)));
                return Ok(wake);
            }
            if let Some(id) = self.frontier.take(host) {
                self.visit(host, id)?;
            }
        }
        Ok(Some(now))
    }

    /// Decides on an address that is next at its host: it is fetched, or robots.txt is, or it is not.
    fn visit(&mut self, host: u32, id: u32) -> Result<()> {
        let entry = self.frontier.entry(id);
        let kind = entry.kind;
        let Ok(url) = Url::parse(&entry.url) else { return self.done(id, Done::new(Outcome::Connection)) };
        let state = &mut self.hosts[host as usize];
        if state.failures >= HOST_FAILURES_MAX {
            let note = format!("{HOST_FAILURES_MAX} requests to the host failed in a row");
            return self.done(id, Done::new(Outcome::HostFailed).note(note));
        }
        let common = self.common.clone();
        match self.sites.get(&origin(&url)).filter(|site| site.is_fresh()) {
            None => {
                let mut robots = url;
                robots.set_path("/robots.txt");
                robots.set_query(None);
                (state.asking, state.running) = (true, state.running + 1);
                state.ready = Instant::now() + state.delay;
                self.frontier.put_back(id);
                self.running.spawn(async move {
                    let site = common.site(&robots).await;
                    Finished::Site { host, url: robots, site }
                });
                Ok(())
            }
            Some(Site { closed: Some(outcome), done, .. }) => {
                let (status, note) = (done.status, done.note.clone());
                let done = Done { status, note, ..Done::new(*outcome) };
                self.done(id, done)
            }
            Some(site) if !site.robots.allows(path_and_query(&url)) => {
                self.done(id, Done::new(Outcome::Robots))
            }
            Some(_) => {
                state.running += 1;
                state.ready = Instant::now() + state.delay;
                self.pages_running += u64::from(kind == Kind::Page);
                self.running.spawn(async move {
                    let answer = common.fetch(&url, kind).await;
                    Finished::Answer { host, id, answer }
                });
                Ok(())
            }
        }
    }

    fn finished(&mut self, finished: Finished) -> Result<()> {
        match finished {
            Finished::Site { host, url, site } => {
                let state = &mut self.hosts[host as usize];
                (state.asking, state.running) = (false, state.running - 1);
                self.site(host, url, site);
                Ok(())
            }
            Finished::Answer { host, id, answer } => {
                let state = &mut self.hosts[host as usize];
                state.running -= 1;
                let is_silent = matches!(answer, Answer::Failed { answered: false, .. });
                state.failures = if is_silent { state.failures + 1 } else { 0 };
                let entry = self.frontier.entry(id);
                self.pages_running -= u64::from(entry.kind == Kind::Page);
                match answer {
                    Answer::Page { page, not_modified } => self.page(id, *page, not_modified),
                    Answer::Sitemap(sitemap) => {
                        self.sitemap(id, sitemap);
                        Ok(())
                    }
                    Answer::Redirect { status, to } => {
                        self.redirect(id, status, to);
                        Ok(())
                    }
                    Answer::Done(done) => self.done(id, done),
                    Answer::Failed { done, retry_after, .. } => self.failed(host, id, done, retry_after),
                }
            }
        }
    }

    fn site(&mut self, host: u32, url: Url, mut site: Site) {
        let mut asked = site.robots.delay.unwrap_or_default();
        let longest = Duration::try_from_secs_f64(self.config.crawl_delay_max).unwrap_or_default();
        if asked > longest {
            if site.closed.is_none() {
                site.closed = Some(Outcome::CrawlDelay);
                site.done.note = Some(format!("asks for {} s between requests", asked.as_secs_f64()));
            }
            // Nothing of this server is fetched, so the other ports and schemes of the host must not wait for it.
            asked = Duration::ZERO;
        }
        let state = &mut self.hosts[host as usize];
        state.delay = state.delay.max(asked);
        state.ready = Instant::now() + state.delay;
        let place: Arc<str> = url.as_str().into();
        self.push(&Event::Site { url: place.to_string(), done: site.done.clone() });
        self.robots.insert(place.to_string(), site.done.clone());
        if self.config.use_sitemaps && site.closed.is_none() {
            let canonical = &self.common.canonical;
            let sitemap = |text: &String| {
                let url = canonical.join(&url, text)?.into();
                Some(Found { url, kind: Kind::Sitemap, from: Some(place.clone()), ..Found::default() })
            };
            let sitemaps = site.robots.sitemaps.iter().filter_map(sitemap).collect();
            self.found(sitemaps);
        }
        self.sites.insert(origin(&url), site);
    }

    /// Records what became of an address that brings nothing.
    fn done(&mut self, id: u32, done: Done) -> Result<()> {
        self.apply(id, done, Vec::new(), 0);
        Ok(())
    }

    fn apply(&mut self, id: u32, done: Done, mut found: Vec<Found>, cut: u64) {
        let before = self.frontier.unlisted;
        self.frontier.unlisted = before.saturating_add(cut);
        found.retain(|found| self.frontier.add(found));
        let unlisted = self.frontier.unlisted.saturating_sub(before);
        // If a crash comes in between, the address is fetched again, and finds these known.
        while found.len() > FOUND_MAX {
            let rest = found.split_off(FOUND_MAX);
            self.push(&Event::Found(std::mem::replace(&mut found, rest)));
        }
        let url = self.frontier.entry(id).url.to_string();
        self.push(&Event::Done { url, done: done.clone(), found, unlisted });
        self.frontier.finish(id, done);
    }

    fn failed(&mut self, host: u32, id: u32, done: Done, retry_after: Option<Duration>) -> Result<()> {
        let attempt = self.attempts.entry(id).or_default();
        *attempt += 1;
        if *attempt > self.config.retries {
            self.attempts.remove(&id);
            return self.done(id, done);
        }
        let wait = backoff(*attempt - 1).max(retry_after.unwrap_or_default());
        let when = Instant::now() + wait;
        if retry_after.is_some() {
            let state = &mut self.hosts[host as usize];
            state.ready = state.ready.max(when);
        }
        self.delayed.insert((when, id));
        Ok(())
    }

    fn redirect(&mut self, id: u32, status: u16, to: String) {
        let entry = self.frontier.entry(id);
        let redirects = entry.redirects + 1;
        if self.frontier.is_loop(id, &to) {
            return self.apply(id, Done::new(Outcome::RedirectLoop).status(status).to(to), Vec::new(), 0);
        }
        if redirects > self.config.redirects_max {
            let done = Done::new(Outcome::BadRedirect).status(status).to(to);
            return self.apply(
                id,
                done.note("more redirects and canonical addresses in a row than `redirects_max`"),
                Vec::new(),
                0,
            );
        }
        let found = Found {
            url: to.clone(),
            kind: entry.kind,
            depth: entry.depth,
            redirects,
            start: entry.start,
            from: Some(entry.url.clone()),
            ..Found::default()
        };
        self.apply(id, Done::new(Outcome::Redirect).status(status).to(to), vec![found], 0);
    }

    fn sitemap(&mut self, id: u32, sitemap: Sitemap) {
        let entry = self.frontier.entry(id);
        let canonical = &self.common.canonical;
        let base = Url::parse(&entry.url).ok();
        let found = |kind: Kind, depth: u32, texts: Vec<String>| -> Vec<Found> {
            let resolve = |text: String| match &base {
                Some(base) => canonical.join(base, &text),
                None => canonical.parse(&text),
            };
            let from = Some(entry.url.clone());
            let urls = texts.into_iter().filter_map(resolve);
            urls.map(|url| Found { url: url.into(), kind, depth, from: from.clone(), ..Found::default() })
                .collect()
        };
        let mut all = found(Kind::Sitemap, entry.depth + 1, sitemap.sitemaps);
        all.extend(found(Kind::Page, 0, sitemap.pages));
        let note = sitemap.damaged.map(|why| format!("damaged: {why}"));
        self.apply(id, Done { note, ..Done::new(Outcome::Sitemap).status(200) }, all, sitemap.cut);
    }

    fn page(&mut self, id: u32, page: Page, not_modified: bool) -> Result<()> {
        let entry = self.frontier.entry(id);
        let status = if not_modified { 304 } else { 200 };
        let link = |(url, nofollow): (String, bool)| Found {
            url,
            nofollow,
            depth: entry.depth + 1,
            from: Some(entry.url.clone()),
            ..Found::default()
        };
        let found: Vec<Found> = page.links.into_iter().map(link).collect();
        let unkept_bytes = (!not_modified).then_some(page.record.bytes);
        let unkept = |outcome: Outcome| Done { unkept_bytes, ..Done::new(outcome).status(status) };
        if page.noindex {
            self.apply(id, unkept(Outcome::Noindex), found, page.links_cut);
            return Ok(());
        }
        let follows = self.config.canonical == CanonicalLinks::Follow && !entry.as_it_is;
        if let Some(own) = page.canonical.filter(|_| follows)
            && self.frontier.is_promising(&own)
        {
            let canonical = Found {
                url: own.clone(),
                depth: entry.depth,
                redirects: entry.redirects.saturating_add(1),
                from: Some(entry.url.clone()),
                ..Found::default()
            };
            // Pages that each name the next one never end.
            let is_too_long =
                canonical.redirects > self.config.redirects_max && self.frontier.find(&own).is_none();
            if is_too_long && self.frontier.is_named(id) {
                let note = "more redirects and canonical addresses in a row than `redirects_max`, so the first page is kept";
                self.apply(id, unkept(Outcome::Canonical).to(own).note(note), Vec::new(), page.links_cut);
                return Ok(());
            }
            if !is_too_long && self.frontier.add(&canonical) {
                self.push(&Event::Found(vec![canonical]));
            }
            // The scope may refuse it, and then this page is the only one.
            if self.frontier.find(&own).is_some() && self.frontier.is_promising(&own) {
                self.apply(id, unkept(Outcome::Canonical).to(own), Vec::new(), page.links_cut);
                return Ok(());
            }
        }
        let record = page.record;
        let body = (record.digest.clone(), record.bytes);
        let original = self.bodies.get(&body).filter(|(original, _)| *original != id);
        let (member, revisit) = match original {
            Some((original, date)) => {
                let url = &self.frontier.entry(*original).url;
                (&record.revisit(&Original { url, date }), true)
            }
            None => (&record.response, false),
        };
        let place = self.journal.record(member)?;
        if !revisit {
            self.bodies.insert(body, (id, record.date.clone()));
        }
        let kept = Kept {
            place,
            bytes: record.bytes,
            date: record.date,
            digest: record.digest,
            media_type: record.media_type,
            revisit,
        };
        let outcome = if not_modified { Outcome::NotModified } else { Outcome::Page };
        let done = Done { kept: Some(Box::new(kept)), ..Done::new(outcome).status(status) };
        self.apply(id, done, found, page.links_cut);
        Ok(())
    }
}
