//! The stage type `crawl`: one task, whose work continues in a durable folder until the crawl has ended.

use crate::{
    address::Canonical,
    config::Crawl,
    crawler::{Crawler, Ended},
    exchange::Common,
    fetch::Fetcher,
    frontier::{Found, Frontier, Kind, Limits},
    journal::{Event, Journal},
    outcome::{Done, Outcome},
    output::{Totals, write_log},
    previous::Previous,
    scope::Bounds,
};
use pipe_stage::{
    Code, Context, Error, FILES, In, InputItem, Inputs, Item, KnownInputs, Metric, Misfit, Name, Out, Port,
    Result, Share, Stage, WorkInputs,
};
use std::{collections::BTreeMap, fs::File, io::BufWriter, path::Path};
use url::Url;

const PREVIOUS: In = In::new(
    "previous",
    &FILES,
    "Archives of an earlier crawl; pages that did not change since are taken from there.",
)
.optional();
const ARCHIVES: Out = Out::main("archives", &FILES, "The pages, as web archives (WARC).");
const LOG: Out = Out::new("log", &FILES, "One line of JSON per address: what became of it, and why.");

/// Bytes of a record around a page.
const RECORD_EXTRA: u64 = 1 << 20;

impl Stage for Crawl {
    const NAME: &'static str = "crawl";
    /// 1: initial version.
    const REVISION: u32 = 1;
    const CODE: Code = Code::Revision;
    const PORTS: &'static [Port] = &[PREVIOUS.port(), ARCHIVES.port(), LOG.port()];

    fn check(&self) -> Vec<Misfit> {
        self.misfits()
    }

    /// Unknown before the sites are.
    fn work(&self, _inputs: &WorkInputs) -> Option<f64> {
        None
    }

    fn metrics(&self, _inputs: &KnownInputs) -> Option<Vec<String>> {
        let names =
            ["pages", "bytes", "fetched", "not_modified", "duplicates", "refused_by_robots", "errors"];
        let names = names.iter().chain(&["urls", "unlisted", "skipped.*"]);
        Some(names.map(|name| (*name).to_owned()).collect())
    }

    fn run(&self, ctx: &Context) -> Result<()> {
        let previous = ctx.optional(PREVIOUS).map(|previous| previous.entries.iter().cloned());
        let items = previous.map(|entries| Item::new(PREVIOUS.name(), entries)).into_iter().collect();
        let step = ctx.once("crawl", self, items, crawl)?;
        ctx.output(ARCHIVES, step.entries(ARCHIVES.name()))?;
        ctx.output(LOG, step.entries(LOG.name()))
    }
}

fn crawl(config: &Crawl, inputs: &Inputs, share: &mut Share<'_>) -> Result<()> {
    let items: Vec<&InputItem> = inputs.items().iter().collect();
    let durable = share.durable("crawl", config, &items)?;
    let folder = durable.workspace()?;
    let Ended { frontier, robots, journal } = walk(config, inputs, share, &folder)?;
    let path = folder.join("crawl.jsonl");
    let totals = {
        let failed = |error| Error::io("write", &path, &error);
        let mut out = BufWriter::new(File::create(&path).map_err(failed)?);
        let totals = write_log(&frontier, &robots, &mut out).map_err(failed)?;
        out.into_inner().map_err(|error| failed(error.into_error()))?;
        totals
    };
    if frontier.pages == 0 {
        let error = no_pages(config, &frontier, &totals);
        // Another attempt begins anew, with the same settings.
        durable.remove()?;
        return Err(error);
    }
    for (name, path) in journal.archives() {
        share.import(ARCHIVES.name(), Name::Own(name), &path)?;
    }
    share.import(LOG.name(), Name::Own("crawl.jsonl".to_owned()), &path)?;
    report(share, &frontier, &totals);
    share.remove_when_recorded(durable);
    Ok(())
}

/// Crawls, from where an earlier process left off.
fn walk(config: &Crawl, inputs: &Inputs, share: &Share<'_>, folder: &Path) -> Result<Ended> {
    let canonical = Canonical::new(&config.drop_query);
    let found = |kind: Kind, texts: &[String]| -> Vec<Found> {
        let urls = texts.iter().filter_map(|text| canonical.parse(text));
        urls.map(|url| Found { url: url.into(), kind, start: true, ..Found::default() }).collect()
    };
    let mut starts = found(Kind::Sitemap, &config.sitemaps);
    starts.extend(found(Kind::Page, &config.seeds));
    let urls: Vec<Url> = starts.iter().filter_map(|found| Url::parse(&found.url).ok()).collect();
    let limits =
        Limits { depth_max: config.depth_max, urls_max: config.urls_max, hosts_max: config.hosts_max };
    let mut frontier = Frontier::new(Bounds::new(config, &urls), limits);
    let mut robots = BTreeMap::new();
    let info = vec![
        ("software", format!("pipe {}", env!("CARGO_PKG_VERSION"))),
        ("format", "WARC File Format 1.1".to_owned()),
        ("robots", "obey (RFC 9309)".to_owned()),
        ("http-header-user-agent", config.agent()),
    ];
    let archive_bytes_max = u64::from(config.archive_mib) << 20;
    let journal = Journal::open(folder, archive_bytes_max, info, |event| {
        match event {
            Event::Found(found) => frontier.add_all(&found),
            Event::Site { url, done } => drop(robots.insert(url, done)),
            Event::Done { url, done, found, unlisted } => {
                frontier.add_all(&found);
                frontier.unlisted = frontier.unlisted.saturating_add(unlisted);
                let id = frontier.find(&url).ok_or_else(|| Error::Cache {
                    message: format!("the journal in `{}` knows nothing of `{url}`", folder.display()),
                })?;
                frontier.finish(id, done);
            }
        }
        Ok(())
    })?;
    if frontier.pages > 0 {
        share.note(format!("continues a crawl with {} pages", frontier.pages));
    }
    let bytes_max = (u64::from(config.page_mib_max) << 20).saturating_add(RECORD_EXTRA);
    let previous = match inputs.items().first() {
        Some(item) => Previous::read(item, config.urls_max, bytes_max)?,
        None => Previous::default(),
    };
    for damage in &previous.damaged {
        share.note(format!("of the previous crawl, {damage}; pages that are not read are fetched"));
    }
    let common = Common::new(config, Fetcher::new(config)?, previous, share.threads());
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build().map_err(|error| {
            Error::Machine { action: "start the network".into(), message: error.to_string() }
        })?;
    let mut crawler = Crawler::new(config, share, common, frontier, journal, robots);
    crawler.start(starts);
    let ended = runtime.block_on(crawler.run());
    // A lookup of a name that takes long must not hold up the end.
    runtime.shutdown_background();
    ended
}

fn report(share: &mut Share<'_>, frontier: &Frontier, totals: &Totals) {
    let count = |outcome: Outcome| totals.of(outcome);
    share.counts(
        ["pages", "fetched", "not_modified", "duplicates", "refused_by_robots", "urls", "unlisted"],
        [
            frontier.pages,
            count(Outcome::Page),
            count(Outcome::NotModified),
            totals.revisits,
            count(Outcome::Robots),
            frontier.entries().len() as u64,
            frontier.unlisted,
        ],
    );
    share.metric(Metric::new("bytes", frontier.bytes as f64, "bytes"));
    let errors: Vec<_> = totals.outcomes.iter().filter(|(outcome, _)| outcome.is_error()).collect();
    let number: u64 = errors.iter().map(|(_, count)| **count).sum();
    share.metric(Metric::count("errors", number).lower_is_better());
    if number > 0 {
        let kinds: Vec<String> =
            errors.iter().map(|(outcome, count)| format!("{} {count}", outcome.name())).collect();
        let addresses = if number == 1 { "1 address" } else { &format!("{number} addresses") };
        share.note(format!(
            "{addresses} could not be fetched ({}); the output `log` lists them",
            kinds.join(", ")
        ));
    }
    if frontier.unlisted > 0 {
        share.note(format!("{} links are not listed, since there were too many", frontier.unlisted));
    }
    for (outcome, number) in &totals.outcomes {
        if !outcome.is_kept() && !matches!(outcome, Outcome::Sitemap | Outcome::RobotsTxt) {
            share.count(format!("skipped.{}", outcome.name()), *number);
        }
    }
}

/// The error of a crawl without pages, which would be a useless input.
fn no_pages(config: &Crawl, frontier: &Frontier, totals: &Totals) -> Error {
    let describe = |done: &Done| {
        let status = done.status.map(|status| format!(" {status}")).unwrap_or_default();
        let note = done.note.as_ref().map(|note| format!(" ({note})")).unwrap_or_default();
        format!("{}{status}{note}", done.outcome.name())
    };
    let first = frontier.entries().first();
    let why = first.and_then(|entry| Some(format!("`{}`: {}", entry.url, describe(entry.done.as_deref()?))));
    let message =
        format!("the crawl found no page; {}", why.unwrap_or_else(|| "nothing was fetched".to_owned()));
    let may_pass = [Outcome::Connection, Outcome::Timeout, Outcome::RobotsUnreachable, Outcome::HostFailed];
    if may_pass.iter().any(|outcome| totals.of(*outcome) > 0) {
        return Error::Machine { action: "crawl".to_owned(), message };
    }
    let help = match (totals.of(Outcome::Scope) > 0, config.private_addresses) {
        (true, _) => "a seed that redirects to another host needs that host in `scope.hosts`",
        _ if totals.of(Outcome::Private) > 0 => "`private_addresses: true` allows private addresses",
        _ => "the reasons are those of robots.txt, of the server, or of `scope` and `media_types`",
    };
    Error::input(message).help(help)
}
