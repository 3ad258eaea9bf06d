//! The settings of a crawl, as they are written in a manifest, and their errors. It does not know how a crawl runs.

use crate::{address::Canonical, private::is_public, robots::product};
use pipe_stage::Misfit;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use url::{Host, Url};

/// Crawls web sites politely and writes web archives (WARC).
///
/// A crawl begins with `seeds` and `sitemaps`, follows links within its scope, obeys robots.txt (RFC 9309), and ends when
/// nothing is left or a limit is reached. The output `archives` has the pages, `log` one line per address with what
/// became of it. A crawl that was stopped or killed goes on where it was. A finished crawl is cached like any other
/// stage, so it does not change until its settings do; change `edition` to crawl again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Crawl {
    /// Addresses to begin with.
    pub seeds: Vec<String>,
    /// Addresses of sitemaps (XML, also compressed, or one address per line) whose pages are crawled like seeds.
    pub sitemaps: Vec<String>,
    /// Whether to read the sitemaps that robots.txt names, too.
    pub use_sitemaps: bool,
    /// What may be crawled.
    pub scope: Scope,
    /// Maximum number of links between a seed and a page. Seeds and pages of sitemaps have depth 0.
    pub depth_max: u32,
    /// Maximum number of pages to keep.
    pub pages_max: u64,
    /// Maximum size of all pages in MiB as they were sent. Pages that are fetched and not kept, since they name another
    /// address as canonical or ask not to be indexed, count too. Pages that are on their way when it is reached are kept.
    pub mib_max: u64,
    /// Maximum number of addresses to remember, fetched or not. Further ones are counted, but neither fetched nor
    /// listed. An address takes about 300 bytes of memory, and a long one more: 500 characters on average also end the list.
    pub urls_max: u64,
    /// Maximum number of hosts.
    pub hosts_max: u32,
    /// Maximum size of a page in MiB, both as it is sent and after decompression.
    pub page_mib_max: u32,
    /// Least time in seconds between two requests to a host.
    #[schemars(extend("x-runtime" = true))]
    pub delay_seconds: f64,
    /// Longest `crawl-delay` of a robots.txt in seconds that is obeyed. A host that asks for more is not crawled.
    pub crawl_delay_max: f64,
    /// Maximum number of requests to a host at the same time.
    #[schemars(extend("x-runtime" = true))]
    pub per_host: u32,
    /// Maximum number of requests at the same time. Each may need several times `page_mib_max` of memory.
    #[schemars(extend("x-runtime" = true))]
    pub concurrency: u32,
    /// Time limit in seconds for a whole response, from the request to the last byte.
    pub timeout_seconds: f64,
    /// Maximum number of redirects and canonical addresses in a row. If canonical addresses go beyond it, the first page is
    /// kept.
    pub redirects_max: u32,
    /// How often a request is repeated after an error that may pass: no connection, an incomplete response, a timeout, or
    /// the statuses 429, 500, 502, 503 and 504. The time in between doubles each time; `Retry-After` is obeyed.
    pub retries: u32,
    /// How the crawler names itself. The product token in front of the first `/` is the name that robots.txt is searched
    /// for.
    pub user_agent: String,
    /// An address of a page or a mailbox for owners of sites, added to `user_agent`.
    pub contact: String,
    /// Media types to keep; `text/*` matches all text types. The body of other responses is not read. Responses without a
    /// media type are kept.
    pub media_types: Vec<String>,
    /// Query parameters to remove from addresses, such as `utm_*`.
    pub drop_query: Vec<String>,
    /// What to do with a page that names another address as its canonical one.
    pub canonical: CanonicalLinks,
    /// Limits against endless sites.
    pub traps: Traps,
    /// Whether to connect to private addresses, such as those of the local machine and network. Otherwise a page, a
    /// redirect or a name in the DNS cannot make the crawler fetch from them.
    pub private_addresses: bool,
    /// Maximum size of an archive in MiB; a new one is begun with the record behind it.
    pub archive_mib: u32,
    /// Any text. Another one makes another crawl with the same settings.
    pub edition: String,
}

/// What may be crawled. Seeds only need the right host.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Scope {
    /// Names of hosts, without ports. By default those of `seeds` and `sitemaps`.
    pub hosts: Vec<String>,
    /// Whether hosts below these belong to the scope, too: `docs.example.org` below `example.org`.
    pub subdomains: bool,
    /// Patterns of addresses to crawl; by default all. A pattern is compared with the whole address, or with path and query
    /// if it begins with `/`, from the start on; `*` matches anything, and a final `$` is the end.
    pub include: Vec<String>,
    /// Patterns of addresses to leave out, even if they are included.
    pub exclude: Vec<String>,
}

/// Limits against sites with endless addresses, such as calendars.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Traps {
    /// Maximum length of an address in bytes.
    pub url_bytes_max: u32,
    /// Maximum number of segments of a path.
    pub segments_max: u32,
    /// How often the same segment may occur in a path.
    pub repeats_max: u32,
    /// Maximum number of parameters of a query.
    pub parameters_max: u32,
    /// Maximum number of addresses that only differ in their query.
    pub queries_max: u32,
}

/// What to do with a page that names another address as its canonical one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CanonicalLinks {
    /// Fetches the canonical address instead, and keeps the page only if that is out of scope or cannot be kept.
    #[default]
    Follow,
    /// Keeps the page.
    Ignore,
}

impl Default for Traps {
    fn default() -> Self {
        Self { url_bytes_max: 2000, segments_max: 32, repeats_max: 3, parameters_max: 16, queries_max: 1000 }
    }
}

impl Default for Crawl {
    fn default() -> Self {
        Self {
            seeds: Vec::new(),
            sitemaps: Vec::new(),
            use_sitemaps: true,
            scope: Scope::default(),
            depth_max: 20,
            pages_max: 100_000,
            mib_max: 16 << 10,
            urls_max: 1_000_000,
            hosts_max: 1000,
            page_mib_max: 8,
            delay_seconds: 1.0,
            crawl_delay_max: 60.0,
            per_host: 1,
            concurrency: 16,
            timeout_seconds: 60.0,
            redirects_max: 5,
            retries: 2,
            user_agent: concat!("pipe-crawler/", env!("CARGO_PKG_VERSION")).to_owned(),
            contact: String::new(),
            media_types: ["text/html", "application/xhtml+xml", "text/plain"].map(str::to_owned).into(),
            drop_query: Vec::new(),
            canonical: CanonicalLinks::default(),
            traps: Traps::default(),
            private_addresses: false,
            archive_mib: 256,
            edition: String::new(),
        }
    }
}

impl Crawl {
    /// The name that robots.txt is searched for.
    pub(crate) fn token(&self) -> &str {
        std::str::from_utf8(product(self.user_agent.as_bytes())).unwrap_or_default()
    }

    /// The header `User-Agent`.
    pub(crate) fn agent(&self) -> String {
        match self.contact.trim() {
            "" => self.user_agent.clone(),
            contact => format!("{} (+{contact})", self.user_agent),
        }
    }

    /// Lists the errors of the settings.
    pub(crate) fn misfits(&self) -> Vec<Misfit> {
        let mut misfits = Vec::new();
        let mut refuse = |path: &str, message: String| misfits.push(Misfit::new(path, message));
        if self.seeds.is_empty() && self.sitemaps.is_empty() {
            refuse("seeds", "a crawl needs at least one seed or sitemap".to_owned());
        }
        for (list, urls) in [("seeds", &self.seeds), ("sitemaps", &self.sitemaps)] {
            for (place, text) in urls.iter().enumerate() {
                if let Err(message) = self.start(text) {
                    refuse(&format!("{list}[{place}]"), message);
                }
            }
        }
        for (place, host) in self.scope.hosts.iter().enumerate() {
            let parsed = Host::parse(host);
            if !parsed.is_ok_and(|parsed| parsed.to_string() == host.trim_end_matches('.')) {
                let message =
                    format!("`{host}` must be the name of a host in lower case, such as `example.org`");
                refuse(&format!("scope.hosts[{place}]"), message);
            }
        }
        for (list, patterns) in [("include", &self.scope.include), ("exclude", &self.scope.exclude)] {
            for (place, pattern) in patterns.iter().enumerate() {
                if !["/", "*", "http"].iter().any(|start| pattern.starts_with(start)) {
                    let message =
                        format!("`{pattern}` must begin with `/`, `*` or `http`, or it matches nothing");
                    refuse(&format!("scope.{list}[{place}]"), message);
                }
            }
        }
        let positive = [
            ("pages_max", self.pages_max),
            ("mib_max", self.mib_max),
            ("urls_max", self.urls_max),
            ("hosts_max", self.hosts_max.into()),
            ("page_mib_max", self.page_mib_max.into()),
            ("per_host", self.per_host.into()),
            ("concurrency", self.concurrency.into()),
            ("archive_mib", self.archive_mib.into()),
            ("traps.url_bytes_max", self.traps.url_bytes_max.into()),
            ("traps.segments_max", self.traps.segments_max.into()),
            ("traps.repeats_max", self.traps.repeats_max.into()),
        ];
        for (path, _) in positive.iter().filter(|(_, value)| *value == 0) {
            refuse(path, "must be at least 1".to_owned());
        }
        for (path, value, max) in [
            ("page_mib_max", u64::from(self.page_mib_max), 1024),
            ("concurrency", self.concurrency.into(), 1000),
            ("urls_max", self.urls_max, 100_000_000),
            ("retries", self.retries.into(), 10),
            ("redirects_max", self.redirects_max.into(), 50),
        ] {
            if value > max {
                refuse(path, format!("must be at most {max}"));
            }
        }
        for (path, value, least) in [
            ("delay_seconds", self.delay_seconds, 0.0),
            ("crawl_delay_max", self.crawl_delay_max, 0.0),
            ("timeout_seconds", self.timeout_seconds, 0.1),
        ] {
            if !(least..=86_400.0).contains(&value) {
                refuse(path, format!("must be at least {least} and at most 86400 seconds"));
            }
        }
        if self.token().is_empty() {
            refuse(
                "user_agent",
                "must begin with a product token of letters, `_` or `-`, as in `name/1.0`".to_owned(),
            );
        }
        let is_header = |text: &str| text.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic());
        for (path, text) in [("user_agent", &self.user_agent), ("contact", &self.contact)] {
            if !is_header(text) {
                refuse(path, "must be plain ASCII on one line".to_owned());
            }
        }
        if self.media_types.is_empty() {
            refuse("media_types", "must name at least one media type".to_owned());
        }
        for (place, media_type) in self.media_types.iter().enumerate() {
            let is_type =
                media_type.split_once('/').is_some_and(|(kind, rest)| !kind.is_empty() && !rest.is_empty());
            if !is_type || !is_header(media_type) || media_type.contains([' ', ';', ',']) {
                let message = format!("`{media_type}` must be a media type such as `text/html` or `text/*`");
                refuse(&format!("media_types[{place}]"), message);
            }
        }
        misfits
    }

    /// Parses a seed or the address of a sitemap.
    fn start(&self, text: &str) -> Result<Url, String> {
        let url = Url::parse(text.trim()).map_err(|error| format!("`{text}` is not an address: {error}"))?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err("an address must not contain a password".to_owned());
        }
        let Some(url) = Canonical::new(&self.drop_query).of(&url) else {
            return Err(format!("`{text}` must begin with `http://` or `https://`"));
        };
        let address = match url.host() {
            Some(Host::Ipv4(address)) => Some(address.into()),
            Some(Host::Ipv6(address)) => Some(address.into()),
            _ => None,
        };
        if !self.private_addresses && address.is_some_and(|address| !is_public(address)) {
            return Err(format!("`{text}` has a private address; `private_addresses: true` allows it"));
        }
        Ok(url)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(crawl: &Crawl) -> Vec<String> {
        crawl.misfits().into_iter().map(|misfit| misfit.path).collect()
    }

    #[test]
    fn settings_without_errors_pass() {
        let seeds = vec!["https://example.org/".to_owned()];
        let scope = Scope { hosts: vec!["example.org".to_owned()], ..Scope::default() };
        assert_eq!(Crawl { seeds, scope, ..Crawl::default() }.misfits(), []);
    }

    #[test]
    fn all_errors_are_found_at_their_place() {
        let seeds = ["example.org", "http://10.0.0.1/", "http://u:p@example.org/", "ftp://example.org/"];
        let crawl = Crawl {
            seeds: seeds.map(str::to_owned).into(),
            scope: Scope {
                hosts: vec!["Example.org:80".to_owned()],
                exclude: vec!["docs/".to_owned()],
                ..Scope::default()
            },
            delay_seconds: f64::NAN,
            timeout_seconds: 0.0,
            pages_max: 0,
            user_agent: "1/x".to_owned(),
            contact: "a\nb".to_owned(),
            media_types: vec!["html".to_owned()],
            ..Crawl::default()
        };
        let expected = "seeds[0] seeds[1] seeds[2] seeds[3] scope.hosts[0] scope.exclude[0] pages_max delay_seconds \
                        timeout_seconds user_agent contact media_types[0]";
        assert_eq!(paths(&crawl), expected.split_whitespace().collect::<Vec<_>>());
        assert_eq!(paths(&Crawl::default()), ["seeds"]);
    }

    #[test]
    fn the_crawler_says_who_it_is() {
        let crawl = Crawl { contact: "https://example.org/bot".to_owned(), ..Crawl::default() };
        assert_eq!(crawl.token(), "pipe-crawler");
        assert_eq!(crawl.agent(), format!("{} (+https://example.org/bot)", crawl.user_agent));
    }
}
