//! All addresses of a crawl, and what is known of each. Applying the same changes in the same order gives the same state,
//! which is how a crawl continues after a crash.
//!
//! It does not know robots.txt, time, or how pages are fetched.

use crate::{
    outcome::{Done, Outcome},
    scope::Bounds,
};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};
use url::Url;

/// What an address leads to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Kind {
    #[default]
    Page,
    Sitemap,
}

/// An address that was found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Found {
    /// Canonical.
    pub(crate) url: String,
    #[serde(default, skip_serializing_if = "is_page")]
    pub(crate) kind: Kind,
    /// Links between a seed and it; for a sitemap, the number of sitemaps above it.
    #[serde(default, skip_serializing_if = "is_none")]
    pub(crate) depth: u32,
    /// Redirects and canonical addresses in a row that led to it.
    #[serde(default, skip_serializing_if = "is_none")]
    pub(crate) redirects: u32,
    /// Whether it must not be followed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) nofollow: bool,
    /// Whether the settings name it, or an address that redirects to it, so that patterns do not apply.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) start: bool,
    /// Where it was found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) from: Option<Arc<str>>,
}

fn is_page(kind: &Kind) -> bool {
    *kind == Kind::Page
}

fn is_none(number: &u32) -> bool {
    *number == 0
}

/// An address.
pub(crate) struct Entry {
    pub(crate) url: Arc<str>,
    pub(crate) kind: Kind,
    pub(crate) depth: u32,
    pub(crate) redirects: u32,
    pub(crate) from: Option<Arc<str>>,
    /// `None` while it waits.
    pub(crate) done: Option<Box<Done>>,
    /// Whether it is kept even if it names another address as its own, because that could not be kept.
    pub(crate) as_it_is: bool,
    pub(crate) start: bool,
    host: u32,
}

impl Entry {
    /// Number of its host, if it may be fetched.
    pub(crate) fn host(&self) -> u32 {
        self.host
    }
}

/// No host: the address is not to be fetched.
const NOWHERE: u32 = u32::MAX;

/// Mean length of addresses beyond which no more are remembered, so that long ones do not use more memory.
const URL_BYTES_MEAN_MAX: u64 = 500;

/// Maximum number of sitemaps above one.
const SITEMAP_DEPTH_MAX: u32 = 3;

/// Maximum number of sitemaps of a crawl.
const SITEMAPS_MAX: u32 = 10_000;

/// Limits of a crawl as a whole.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) depth_max: u32,
    pub(crate) urls_max: u64,
    pub(crate) hosts_max: u32,
}

struct Host {
    /// Depth and number of the addresses that wait.
    waiting: BTreeSet<(u32, u32)>,
}

/// All addresses of a crawl.
pub(crate) struct Frontier {
    bounds: Bounds,
    limits: Limits,
    entries: Vec<Entry>,
    by_url: HashMap<Arc<str>, u32>,
    hosts: Vec<Host>,
    host_ids: HashMap<String, u32>,
    /// Number of addresses by the digest of what is in front of their query.
    queries: HashMap<u64, u32>,
    /// By canonical address: pages that were left out for it. It stays while the address itself is left out for another
    /// one, so that these are chains.
    left_out: HashMap<u32, Vec<u32>>,
    waiting: u64,
    /// Length of all addresses together.
    text_bytes: u64,
    sitemaps: u32,
    /// Pages that were kept, and their bytes.
    pub(crate) pages: u64,
    pub(crate) bytes: u64,
    /// Bytes of pages that were fetched in full and not kept.
    pub(crate) unkept_bytes: u64,
    /// Links that were not followed up because of a limit on their number.
    pub(crate) unlisted: u64,
}

impl Frontier {
    pub(crate) fn new(bounds: Bounds, limits: Limits) -> Self {
        Self {
            bounds,
            limits,
            entries: Vec::new(),
            by_url: HashMap::new(),
            hosts: Vec::new(),
            host_ids: HashMap::new(),
            queries: HashMap::new(),
            left_out: HashMap::new(),
            waiting: 0,
            text_bytes: 0,
            sitemaps: 0,
            pages: 0,
            bytes: 0,
            unkept_bytes: 0,
            unlisted: 0,
        }
    }

    /// Adds an address. Returns whether that changed anything.
    pub(crate) fn add(&mut self, found: &Found) -> bool {
        if let Some(&id) = self.by_url.get(found.url.as_str()) {
            return self.again(id, found);
        }
        let text_max = self.limits.urls_max.saturating_mul(URL_BYTES_MEAN_MAX);
        if self.entries.len() as u64 >= self.limits.urls_max || self.text_bytes >= text_max {
            self.unlisted = self.unlisted.saturating_add(1);
            return false;
        }
        let Ok(url) = Url::parse(&found.url) else { return false };
        let id = u32::try_from(self.entries.len()).expect("invariant: `urls_max` fits");
        let text: Arc<str> = found.url.as_str().into();
        self.text_bytes += text.len() as u64;
        self.by_url.insert(text.clone(), id);
        self.entries.push(Entry {
            url: text,
            kind: found.kind,
            depth: found.depth,
            redirects: found.redirects,
            from: found.from.clone(),
            done: None,
            as_it_is: false,
            start: found.start,
            host: NOWHERE,
        });
        match self.judge(&url, found) {
            Ok(host) => {
                self.entries[id as usize].host = host;
                self.put_back(id);
            }
            Err((outcome, note)) => {
                let done = Done { note, ..Done::new(outcome) };
                self.entries[id as usize].done = Some(Box::new(done));
            }
        }
        true
    }

    /// Adds the addresses of an event that is applied again.
    pub(crate) fn add_all(&mut self, found: &[Found]) {
        for found in found {
            self.add(found);
        }
    }

    /// A known address was found again: perhaps on a shorter way, or one that may be followed.
    fn again(&mut self, id: u32, found: &Found) -> bool {
        let entry = &self.entries[id as usize];
        let Some(done) = &entry.done else {
            let key = (entry.depth, id);
            if found.nofollow || found.kind != entry.kind || found.depth >= entry.depth {
                return false;
            }
            // It may be on its way, and is then in no queue.
            let host = entry.host as usize;
            if self.hosts[host].waiting.remove(&key) {
                self.hosts[host].waiting.insert((found.depth, id));
            }
            self.entries[id as usize].depth = found.depth;
            return true;
        };
        if !done.outcome.is_open() || found.nofollow || found.depth > self.limits.depth_max {
            return false;
        }
        let Ok(url) = Url::parse(&found.url) else { return false };
        let judged = self.judge(&url, found);
        let entry = &mut self.entries[id as usize];
        (entry.depth, entry.redirects, entry.from) = (found.depth, found.redirects, found.from.clone());
        match judged {
            Ok(host) => {
                (entry.host, entry.done) = (host, None);
                self.put_back(id);
            }
            Err((outcome, note)) => entry.done = Some(Box::new(Done { note, ..Done::new(outcome) })),
        }
        true
    }

    /// Returns the host of an address that may be fetched, or why it may not.
    fn judge(&mut self, url: &Url, found: &Found) -> Result<u32, (Outcome, Option<String>)> {
        let is_sitemap = found.kind == Kind::Sitemap;
        self.bounds.judge(url, found.start || is_sitemap)?;
        let is_deep = found.depth > if is_sitemap { SITEMAP_DEPTH_MAX } else { self.limits.depth_max };
        if found.nofollow {
            return Err((Outcome::Nofollow, None));
        }
        if is_deep {
            return Err((Outcome::Depth, None));
        }
        if is_sitemap {
            if self.sitemaps >= SITEMAPS_MAX {
                return Err((Outcome::Trap, Some(format!("there are more than {SITEMAPS_MAX} sitemaps"))));
            }
            self.sitemaps += 1;
        } else if url.query().is_some() {
            let front = &url[..url::Position::AfterPath];
            let digest = blake3::hash(front.as_bytes());
            let key = u64::from_le_bytes(*digest.as_bytes().first_chunk().expect("invariant: 32 bytes"));
            let count = self.queries.entry(key).or_default();
            if *count >= self.bounds.queries_max() {
                let note = "more addresses differ in their query only than `queries_max`".to_owned();
                return Err((Outcome::Trap, Some(note)));
            }
            *count += 1;
        }
        let name = url.host_str().unwrap_or_default();
        if let Some(&host) = self.host_ids.get(name) {
            return Ok(host);
        }
        let host = u32::try_from(self.hosts.len()).unwrap_or(u32::MAX);
        if host >= self.limits.hosts_max {
            return Err((Outcome::Hosts, None));
        }
        self.hosts.push(Host { waiting: BTreeSet::new() });
        self.host_ids.insert(name.to_owned(), host);
        Ok(host)
    }

    /// Lets an address wait again.
    pub(crate) fn put_back(&mut self, id: u32) {
        let entry = &self.entries[id as usize];
        if self.hosts[entry.host as usize].waiting.insert((entry.depth, id)) {
            self.waiting += 1;
        }
    }

    /// Takes the first address of a host that waits: of the least depth, and of those the first that was found.
    pub(crate) fn take(&mut self, host: u32) -> Option<u32> {
        let (_, id) = self.hosts[host as usize].waiting.pop_first()?;
        self.waiting -= 1;
        Some(id)
    }

    /// Records what became of an address.
    pub(crate) fn finish(&mut self, id: u32, done: Done) {
        let entry = &self.entries[id as usize];
        if self.hosts.get(entry.host as usize).is_some_and(|host| host.waiting.contains(&(entry.depth, id))) {
            let key = (entry.depth, id);
            self.hosts[entry.host as usize].waiting.remove(&key);
            self.waiting -= 1;
        }
        if let Some(kept) = &done.kept {
            self.pages += 1;
            self.bytes = self.bytes.saturating_add(kept.bytes);
        }
        self.unkept_bytes = self.unkept_bytes.saturating_add(done.unkept_bytes.unwrap_or_default());
        let back = if done.outcome == Outcome::Canonical {
            match done.to.as_deref().and_then(|to| self.find(to)) {
                Some(to) if self.entries[to as usize].done.is_none() => {
                    self.left_out.entry(to).or_default().push(id);
                    Vec::new()
                }
                Some(_) => Vec::new(),
                // It was not added, since the chain is too long.
                None => self.take_firsts(id),
            }
        } else {
            let left_out = self.left_out.remove(&id).unwrap_or_default();
            // The address that these pages named as theirs has nothing.
            if done.outcome.is_kept() { Vec::new() } else { left_out }
        };
        self.entries[id as usize].done = Some(Box::new(done));
        for id in back {
            let entry = &mut self.entries[id as usize];
            (entry.done, entry.as_it_is) = (None, true);
            self.put_back(id);
        }
    }

    /// Removes the chains of canonical addresses that lead to an address, and returns their first pages.
    fn take_firsts(&mut self, id: u32) -> Vec<u32> {
        let mut firsts = Vec::new();
        let mut open = self.left_out.remove(&id).unwrap_or_default();
        while let Some(id) = open.pop() {
            match self.left_out.remove(&id) {
                Some(before) => open.extend(before),
                None => firsts.push(id),
            }
        }
        firsts.sort_unstable();
        firsts
    }

    /// Whether pages were left out in favour of this one.
    pub(crate) fn is_named(&self, id: u32) -> bool {
        self.left_out.contains_key(&id)
    }

    /// Whether redirects from this address lead back to it: through addresses that are known to redirect.
    pub(crate) fn is_loop(&self, id: u32, target: &str) -> bool {
        let mut target = self.find(target);
        let mut seen = BTreeSet::new();
        while let Some(next) = target.filter(|next| seen.insert(*next)) {
            if next == id {
                return true;
            }
            let done = self.entries[next as usize].done.as_deref();
            let done = done.filter(|done| done.outcome == Outcome::Redirect);
            target = done.and_then(|done| done.to.as_deref()).and_then(|to| self.find(to));
        }
        false
    }

    /// Whether a page may be left out in favour of this address: it is kept, or may still be.
    pub(crate) fn is_promising(&self, url: &str) -> bool {
        let done = self.find(url).map(|id| self.entries[id as usize].done.as_deref());
        done.is_none_or(|done| done.is_none_or(|done| done.outcome.is_kept()))
    }

    pub(crate) fn find(&self, url: &str) -> Option<u32> {
        self.by_url.get(url).copied()
    }

    pub(crate) fn entry(&self, id: u32) -> &Entry {
        &self.entries[id as usize]
    }

    pub(crate) fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Number of hosts; they are numbered from 0.
    pub(crate) fn hosts(&self) -> u32 {
        u32::try_from(self.hosts.len()).unwrap_or(u32::MAX)
    }

    /// The first address of a host that waits.
    pub(crate) fn first_waiting(&self, host: u32) -> Option<u32> {
        self.hosts[host as usize].waiting.first().map(|(_, id)| *id)
    }

    /// Whether an address of the host waits.
    pub(crate) fn has_waiting(&self, host: u32) -> bool {
        !self.hosts[host as usize].waiting.is_empty()
    }

    /// Number of addresses that wait.
    pub(crate) fn waiting(&self) -> u64 {
        self.waiting
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Crawl;
    use crate::outcome::{Kept, Place};

    fn frontier(limits: Limits) -> Frontier {
        let start = Url::parse("http://h/").unwrap();
        Frontier::new(Bounds::new(&Crawl::default(), &[start]), limits)
    }

    const LIMITS: Limits = Limits { depth_max: 2, urls_max: 100, hosts_max: 1 };

    fn link(url: &str, depth: u32) -> Found {
        Found { url: url.to_owned(), depth, ..Found::default() }
    }

    fn outcome(frontier: &Frontier, url: &str) -> Option<Outcome> {
        let id = frontier.find(url).unwrap();
        frontier.entry(id).done.as_ref().map(|done| done.outcome)
    }

    fn kept() -> Done {
        let place = Place { archive: 0, offset: 0, length: 1 };
        let kept = Kept {
            place,
            bytes: 7,
            date: String::new(),
            digest: String::new(),
            media_type: None,
            revisit: false,
        };
        Done { kept: Some(Box::new(kept)), ..Done::new(Outcome::Page) }
    }

    #[test]
    fn a_shorter_way_brings_an_address_back() {
        let mut frontier = frontier(LIMITS);
        assert!(frontier.add(&link("http://h/a", 3)));
        assert!(frontier.add(&Found { nofollow: true, ..link("http://h/b", 1) }));
        assert_eq!(outcome(&frontier, "http://h/a"), Some(Outcome::Depth));
        assert_eq!(outcome(&frontier, "http://h/b"), Some(Outcome::Nofollow));
        assert!(!frontier.add(&link("http://h/a", 4)));
        assert!(frontier.add(&link("http://h/a", 2)) && frontier.add(&link("http://h/b", 1)));
        assert!(!frontier.add(&link("http://h/b", 2)) && frontier.add(&link("http://h/a", 0)));
        assert_eq!((outcome(&frontier, "http://h/a"), frontier.waiting()), (None, 2));
        let (first, second) = (frontier.take(0), frontier.take(0));
        assert_eq!(
            (first, second, frontier.waiting()),
            (frontier.find("http://h/a"), frontier.find("http://h/b"), 0)
        );
    }

    #[test]
    fn limits_on_queries_hosts_and_addresses_hold() {
        let mut frontier = frontier(Limits { urls_max: 1003, ..LIMITS });
        frontier
            .add_all(&(0..1001).map(|number| link(&format!("http://h/c?{number}"), 1)).collect::<Vec<_>>());
        assert_eq!(outcome(&frontier, "http://h/c?999"), None);
        assert_eq!(outcome(&frontier, "http://h/c?1000"), Some(Outcome::Trap));
        frontier.add(&link("http://other/", 1));
        frontier.add(&link("http://h/last", 1));
        assert!(!frontier.add(&link("http://h/beyond", 1)));
        assert_eq!((frontier.unlisted, frontier.hosts()), (1, 1));
        assert_eq!(outcome(&frontier, "http://other/"), Some(Outcome::Scope));
    }

    #[test]
    fn a_page_comes_back_if_its_canonical_address_has_nothing() {
        let mut frontier = frontier(LIMITS);
        for url in ["http://h/a", "http://h/b", "http://h/c"] {
            frontier.add(&link(url, 0));
        }
        let ids = [0, 1, 2].map(|_| frontier.take(0).unwrap());
        frontier.finish(ids[0], Done::new(Outcome::Canonical).to("http://h/c"));
        frontier.finish(ids[1], Done::new(Outcome::Canonical).to("http://h/d"));
        assert!(frontier.is_promising("http://h/c") && frontier.is_promising("http://h/new"));
        frontier.finish(ids[2], Done::new(Outcome::Status).status(404));
        assert!(!frontier.is_promising("http://h/c"));
        assert_eq!(frontier.take(0), Some(ids[0]));
        assert!(frontier.entry(ids[0]).as_it_is);
        frontier.finish(ids[0], kept());
        assert_eq!((frontier.pages, frontier.bytes, frontier.waiting()), (1, 7, 0));
    }

    #[test]
    fn a_chain_of_canonical_addresses_comes_back_one_by_one() {
        let mut frontier = frontier(LIMITS);
        for url in ["http://h/a", "http://h/b", "http://h/c"] {
            frontier.add(&link(url, 0));
        }
        let ids = [0, 1, 2].map(|_| frontier.take(0).unwrap());
        frontier.finish(ids[0], Done::new(Outcome::Canonical).to("http://h/b"));
        frontier.finish(ids[1], Done::new(Outcome::Canonical).to("http://h/c"));
        for back in [ids[1], ids[0]] {
            let failed = if back == ids[1] { ids[2] } else { ids[1] };
            frontier.finish(failed, Done::new(Outcome::Status).status(404));
            assert_eq!((frontier.take(0), frontier.take(0)), (Some(back), None));
            assert!(frontier.entry(back).as_it_is);
        }
    }

    #[test]
    fn the_first_pages_of_a_chain_that_is_too_long_come_back() {
        let mut frontier = frontier(LIMITS);
        for url in ["http://h/a", "http://h/b", "http://h/c", "http://h/d"] {
            frontier.add(&link(url, 0));
        }
        let ids = [0, 1, 2, 3].map(|_| frontier.take(0).unwrap());
        let canonical = |to: &str| Done { unkept_bytes: Some(5), ..Done::new(Outcome::Canonical).to(to) };
        frontier.finish(ids[0], canonical("http://h/c"));
        frontier.finish(ids[1], canonical("http://h/c"));
        frontier.finish(ids[2], canonical("http://h/d"));
        assert!(frontier.is_named(ids[2]) && frontier.is_named(ids[3]) && !frontier.is_named(ids[0]));
        frontier.finish(ids[3], canonical("http://h/beyond"));
        assert_eq!([0, 1, 2].map(|_| frontier.take(0)), [Some(ids[0]), Some(ids[1]), None]);
        assert_eq!((frontier.unkept_bytes, outcome(&frontier, "http://h/c")), (20, Some(Outcome::Canonical)));
    }

    #[test]
    fn loops_of_redirects_are_seen() {
        let mut frontier = frontier(LIMITS);
        for url in ["http://h/a", "http://h/b", "http://h/c"] {
            frontier.add(&link(url, 0));
        }
        let ids = [0, 1, 2].map(|_| frontier.take(0).unwrap());
        assert!(frontier.is_loop(ids[0], "http://h/a"));
        frontier.finish(ids[0], Done::new(Outcome::Redirect).to("http://h/b"));
        frontier.finish(ids[1], Done::new(Outcome::Redirect).to("http://h/c"));
        assert!(frontier.is_loop(ids[2], "http://h/a") && !frontier.is_loop(ids[2], "http://h/x"));
    }
}
