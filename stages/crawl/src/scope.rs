//! Decides on an address alone whether it belongs to a crawl. It does not know robots.txt or what was fetched.

use crate::{
    config::{Crawl, Traps},
    outcome::Outcome,
    pattern::Pattern,
};
use std::collections::{BTreeSet, HashMap};
use url::Url;

/// The scope of a crawl, ready for use.
pub(crate) struct Bounds {
    hosts: BTreeSet<String>,
    subdomains: bool,
    include: Vec<Pattern>,
    exclude: Vec<Pattern>,
    traps: Traps,
}

impl Bounds {
    /// `starts` are the addresses whose hosts count if none are named.
    pub(crate) fn new(config: &Crawl, starts: &[Url]) -> Self {
        let named = config.scope.hosts.iter().map(|host| host.trim_end_matches('.').to_owned());
        let mut hosts: BTreeSet<String> = named.collect();
        if hosts.is_empty() {
            hosts = starts.iter().filter_map(Url::host_str).map(str::to_owned).collect();
        }
        let patterns =
            |texts: &[String]| texts.iter().map(|text| Pattern::new(text.as_bytes())).collect::<Vec<_>>();
        Self {
            hosts,
            subdomains: config.scope.subdomains,
            include: patterns(&config.scope.include),
            exclude: patterns(&config.scope.exclude),
            traps: config.traps.clone(),
        }
    }

    /// Whether a page may be fetched as far as its address says; if not, why, with details.
    pub(crate) fn judge(&self, url: &Url, is_start: bool) -> Result<(), (Outcome, Option<String>)> {
        self.judge_host(url)?;
        let traps = &self.traps;
        let trap = |note: String| Err((Outcome::Trap, Some(note)));
        if exceeds(url.as_str().len(), traps.url_bytes_max) {
            return trap("the address is longer than `url_bytes_max`".to_owned());
        }
        let mut counts: HashMap<&str, usize> = HashMap::new();
        let segments = url.path().split('/').filter(|segment| !segment.is_empty());
        let mut number = 0;
        for segment in segments {
            number += 1;
            let count = counts.entry(segment).or_default();
            *count += 1;
            if exceeds(*count, traps.repeats_max) {
                return trap("a segment of the path occurs more often than `repeats_max`".to_owned());
            }
        }
        if exceeds(number, traps.segments_max) {
            return trap("the path has more segments than `segments_max`".to_owned());
        }
        let parameters = url.query().map_or(0, |query| query.split('&').count());
        if exceeds(parameters, traps.parameters_max) {
            return trap("the query has more parameters than `parameters_max`".to_owned());
        }
        if is_start {
            return Ok(());
        }
        let matching = |pattern: &&Pattern| {
            pattern.matches(url.as_str().as_bytes()) || pattern.matches(path_and_query(url).as_bytes())
        };
        if !self.include.is_empty() && !self.include.iter().any(|pattern| matching(&pattern)) {
            return Err((Outcome::Excluded, None));
        }
        if self.exclude.iter().any(|pattern| matching(&pattern)) {
            return Err((Outcome::Excluded, None));
        }
        Ok(())
    }

    fn judge_host(&self, url: &Url) -> Result<(), (Outcome, Option<String>)> {
        let host = url.host_str().unwrap_or_default();
        let parents = || {
            let dots = host.match_indices('.').map(|(place, _)| &host[place + 1..]);
            dots.filter(|_| self.subdomains && url.domain().is_some())
        };
        let is_inside = self.hosts.contains(host) || parents().any(|parent| self.hosts.contains(parent));
        if is_inside { Ok(()) } else { Err((Outcome::Scope, None)) }
    }

    /// How many addresses may differ in their query only.
    pub(crate) fn queries_max(&self) -> u32 {
        self.traps.queries_max
    }
}

fn exceeds(value: usize, max: u32) -> bool {
    value > usize::try_from(max).unwrap_or(usize::MAX)
}

/// What robots.txt and patterns are compared with.
pub(crate) fn path_and_query(url: &Url) -> &str {
    &url[url::Position::BeforePath..url::Position::AfterQuery]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Scope;

    fn judge(bounds: &Bounds, text: &str) -> Option<Outcome> {
        bounds.judge(&Url::parse(text).unwrap(), false).err().map(|(outcome, _)| outcome)
    }

    #[test]
    fn hosts_and_patterns_bound_a_crawl() {
        let start = Url::parse("http://example.org:8080/start").unwrap();
        let scope = Scope {
            subdomains: true,
            include: vec!["/docs/".to_owned(), "http://b.example.org/".to_owned()],
            exclude: vec!["*.pdf$".to_owned()],
            ..Scope::default()
        };
        let config = Crawl { scope, ..Crawl::default() };
        let bounds = Bounds::new(&config, std::slice::from_ref(&start));
        for (text, expected) in [
            ("http://example.org/docs/a", None),
            ("https://a.example.org/docs/a?b", None),
            ("http://b.example.org/x", None),
            ("http://badexample.org/docs/", Some(Outcome::Scope)),
            ("http://org/docs/", Some(Outcome::Scope)),
            ("http://example.org/a/docs/", Some(Outcome::Excluded)),
            ("http://example.org/docs/a.pdf", Some(Outcome::Excluded)),
        ] {
            assert_eq!(judge(&bounds, text), expected, "{text}");
        }
        assert!(bounds.judge(&start, true).is_ok());
        let narrow = Bounds::new(&Crawl::default(), &[start]);
        assert_eq!(judge(&narrow, "http://a.example.org/"), Some(Outcome::Scope));
    }

    #[test]
    fn endless_addresses_are_traps() {
        let start = Url::parse("http://h/").unwrap();
        let bounds = Bounds::new(&Crawl::default(), &[start]);
        let long = format!("http://h/{}", "x".repeat(2000));
        let deep: String = (0..33).map(|number| format!("/{number}")).collect();
        let wide: String = (0..17).map(|number| format!("{number}&")).collect();
        for text in
            [long, format!("http://h{deep}"), format!("http://h/?{wide}"), "http://h/a/b/a/b/a/b/a".into()]
        {
            assert_eq!(judge(&bounds, &text), Some(Outcome::Trap), "{text}");
        }
        assert_eq!(judge(&bounds, "http://h/a/b/a/b/a?x=1"), None);
    }
}
