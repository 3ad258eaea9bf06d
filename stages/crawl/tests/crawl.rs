//! Crawls of a real server: what is fetched, what is kept, and what the log says.

mod site;

use flate2::read::MultiGzDecoder;
use pipe_crawl::{Crawl, Traps};
use pipe_stage::{Artifact, Error, Event, Mode, Outcome, testing::Bench};
use serde_json::Value;
use site::State;
use std::{
    collections::{BTreeMap, BTreeSet},
    io::Read,
    sync::{atomic::Ordering, mpsc},
    time::{Duration, Instant},
};

/// A crawl of a site without pauses.
fn crawl(site: &State) -> Crawl {
    Crawl {
        seeds: vec![site.url("/")],
        private_addresses: true,
        delay_seconds: 0.0,
        per_host: 4,
        concurrency: 8,
        timeout_seconds: 2.0,
        retries: 1,
        page_mib_max: 1,
        depth_max: 60,
        ..Crawl::default()
    }
}

/// The log by path, with all its lines.
fn log(bench: &Bench, outcome: &Outcome, site: &State) -> BTreeMap<String, Value> {
    let log = bench.output(outcome, "log").unwrap();
    let text = String::from_utf8(bench.open(&log)[0].bytes().unwrap()).unwrap();
    let mut lines = BTreeMap::new();
    for line in text.lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        let url = line["url"].as_str().unwrap();
        let path = url.strip_prefix(&site.url("")).unwrap_or(url).to_owned();
        assert!(lines.insert(path.clone(), line).is_none(), "{path} has two lines");
    }
    lines
}

fn metric(outcome: &Outcome, name: &str) -> f64 {
    outcome.metrics.iter().find(|metric| metric.name == name).map_or(f64::NAN, |metric| metric.value)
}

/// Records of the archives by type and address, with their blocks.
fn records(bench: &Bench, archives: &Artifact) -> BTreeMap<(String, String), String> {
    let mut records = BTreeMap::new();
    for entry in bench.open(archives) {
        let mut bytes = Vec::new();
        MultiGzDecoder::new(&entry.bytes().unwrap()[..]).read_to_end(&mut bytes).unwrap();
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let end = rest.windows(4).position(|window| window == b"\r\n\r\n").unwrap();
            let head = std::str::from_utf8(&rest[..end]).unwrap();
            let field = |name: &str| {
                let line = head.lines().find(|line| line.starts_with(&format!("{name}: ")));
                line.map(|line| line[name.len() + 2..].to_owned())
            };
            let length: usize = field("Content-Length").unwrap().parse().unwrap();
            let block = String::from_utf8_lossy(&rest[end + 4..end + 4 + length]).into_owned();
            rest = &rest[end + 4 + length + 4..];
            let key = (
                field("WARC-Type").unwrap(),
                field("WARC-Target-URI").unwrap_or_else(|| entry.name().to_owned()),
            );
            let record = format!("{head}\n\n{block}");
            assert!(records.insert(key.clone(), record).is_none(), "{key:?} is there twice");
        }
    }
    records
}

#[test]
fn a_site_with_traps_is_crawled_to_its_end() {
    let site = site::start(5000, true, site::RULES);
    let folder = tempfile::tempdir().unwrap();
    let bench = Bench::new(folder.path()).unwrap();
    let traps = Traps { queries_max: 50, ..Traps::default() };
    let config = Crawl { traps, drop_query: vec!["utm_*".to_owned()], archive_mib: 1, ..crawl(&site) };
    let outcome = bench.run(&config, &[]).unwrap();
    let lines = log(&bench, &outcome, &site);
    let is = |path: &str| lines.get(path).map_or("", |line| line["outcome"].as_str().unwrap());

    for page in 0..5000 {
        assert_eq!(is(&format!("/p/{page}")), "page");
    }
    for (path, expected) in [
        ("/", "page"),
        ("/robots.txt", "robots_txt"),
        ("/sitemap-index.xml", "sitemap"),
        ("/sitemap.xml.gz", "sitemap"),
        ("/calendar?day=0", "page"),
        // `/dup` has a link to `/days/8`.
        ("/days/66", "page"),
        ("/days/67", "depth"),
        ("/loop/a", "redirect"),
        ("/loop/b", "redirect_loop"),
        ("/self", "redirect_loop"),
        ("/chain/4", "redirect"),
        ("/chain/5", "bad_redirect"),
        ("/slow", "timeout"),
        ("/endless", "too_large"),
        ("/huge", "too_large"),
        ("/bomb", "too_large"),
        ("/broken", "incomplete"),
        ("/short", "incomplete"),
        ("/folded", "page"),
        ("/invalid", "page"),
        ("/spaced", "page"),
        ("/appended", "page"),
        ("/flaky", "page"),
        ("/gone", "status"),
        ("/image", "media_type"),
        ("/noindex", "noindex"),
        ("/own", "canonical"),
        ("/followed", "page"),
        ("/missing", "status"),
        ("/hidden", "nofollow"),
        ("/private/x", "robots"),
        ("/private/open", "page"),
        ("http://elsewhere.example/", "scope"),
    ] {
        assert_eq!(is(path), expected, "{path}: {:?}", lines.get(path));
    }
    let calendar = lines.iter().filter(|(path, _)| path.starts_with("/calendar"));
    let (days, beyond): (Vec<_>, Vec<_>) = calendar.partition(|(_, line)| line["outcome"] == "page");
    assert_eq!(days.len(), 50);
    assert!(!beyond.is_empty() && beyond.iter().all(|(_, line)| line["outcome"] == "trap"));
    assert!(!lines.contains_key("/p/0?utm_source=x"));

    let seen = site.seen.lock().unwrap();
    let refused = |path: &&String| path.starts_with("/private/") && *path != "/private/open";
    assert_eq!(seen.iter().map(|seen| &seen.path).find(refused), None, "robots.txt is obeyed");
    assert!(seen.iter().all(|seen| seen.agent.starts_with("pipe-crawler/")));
    let pages: Vec<&String> =
        seen.iter().map(|seen| &seen.path).filter(|path| path.starts_with("/p/")).collect();
    assert_eq!(pages.len(), pages.iter().collect::<BTreeSet<_>>().len(), "no page is fetched twice");
    assert!(site.together_max.load(Ordering::SeqCst) <= 4, "`per_host` holds");

    let archives = bench.output(&outcome, "archives").unwrap();
    assert!(archives.entries.len() > 1, "several archives");
    let records = records(&bench, &archives);
    let kept: BTreeSet<String> =
        records.keys().filter(|(kind, _)| kind != "warcinfo").map(|(_, url)| url.clone()).collect();
    let logged = lines.values().filter(|line| line["outcome"] == "page");
    assert_eq!(kept, logged.map(|line| line["url"].as_str().unwrap().to_owned()).collect());
    assert_eq!(metric(&outcome, "pages"), kept.len() as f64);
    let page = &records[&("response".to_owned(), site.url("/p/1"))];
    assert!(
        page.contains("\n\nHTTP/1.1 200 OK\r\n") && page.contains("WARC-IP-Address: 127.0.0.1"),
        "{page}"
    );
    assert!(page.contains("<h1>Page 1, version 0</h1>"), "{page}");
    let folded = &records[&("response".to_owned(), site.url("/folded"))];
    assert!(folded.contains("\r\nx-long: a, b\r\n"), "{folded}");
    // Two addresses have the same body; the one that came second refers to the other.
    let (first, second) = (site.url("/days/7"), site.url("/dup"));
    let refers = |url: &str, to: &str| {
        let record = records.get(&("revisit".to_owned(), url.to_owned()));
        record.is_some_and(|record| record.contains(&format!("WARC-Refers-To-Target-URI: {to}")))
    };
    assert!(refers(&first, &second) || refers(&second, &first));
}

#[test]
fn a_later_crawl_fetches_what_changed_and_has_everything() {
    let site = site::start(300, false, site::RULES);
    let folder = tempfile::tempdir().unwrap();
    let bench = Bench::new(folder.path()).unwrap();
    let first = bench.run(&crawl(&site), &[]).unwrap();
    let before = bench.output(&first, "archives").unwrap();
    site.seen.lock().unwrap().clear();
    site.changed.lock().unwrap().extend([3, 77, 200]);

    let later = Crawl { edition: "2".to_owned(), ..crawl(&site) };
    let second = bench.run(&later, &[("previous", &before)]).unwrap();
    let after = bench.output(&second, "archives").unwrap();
    let fetched = |status: u16| -> BTreeSet<String> {
        let seen = site.seen.lock().unwrap();
        let pages = seen.iter().filter(|seen| seen.path.starts_with("/p/") && seen.status == status);
        pages.map(|seen| seen.path.clone()).collect()
    };
    assert_eq!(fetched(200), ["/p/200", "/p/3", "/p/77"].map(str::to_owned).into());
    assert_eq!(fetched(304).len(), 297);
    // The start page has no validator.
    assert_eq!((metric(&second, "fetched"), metric(&second, "not_modified")), (4.0, 297.0));
    assert_eq!(log(&bench, &second, &site)["/p/5"]["outcome"], "not_modified");
    let (before, after) = (records(&bench, &before), records(&bench, &after));
    assert_eq!(before.keys().collect::<Vec<_>>(), after.keys().collect::<Vec<_>>());
    for (key, record) in &after {
        let is_new = [3, 77, 200].iter().any(|page| key.1 == site.url(&format!("/p/{page}")));
        if is_new {
            assert_ne!(before[key], *record, "{key:?}");
        } else if key.1.contains("/p/") {
            assert_eq!(before[key], *record, "{key:?}");
        }
    }

    site.seen.lock().unwrap().clear();
    // Nor with other pauses.
    let slower = Crawl { delay_seconds: 5.0, per_host: 1, concurrency: 1, ..later.clone() };
    for again in [&later, &slower] {
        bench.run(again, &[("previous", &bench.output(&first, "archives").unwrap())]).unwrap();
    }
    assert!(site.seen.lock().unwrap().is_empty(), "a finished crawl is not fetched again");
    bench.enter(&later, &[], Vec::new(), Mode::Afresh).unwrap();
    assert_eq!(fetched(200).len(), 300, "unless that is asked for");
}

#[test]
fn pauses_of_robots_txt_are_kept() {
    let site = site::start(6, false, "User-agent: pipe-crawler\nCrawl-delay: 0.2\n");
    let folder = tempfile::tempdir().unwrap();
    let bench = Bench::new(folder.path()).unwrap();
    let began = Instant::now();
    let outcome = bench.run(&crawl(&site), &[]).unwrap();
    // robots.txt and seven pages.
    assert!(began.elapsed() >= Duration::from_millis(7 * 200));
    assert_eq!(metric(&outcome, "pages"), 7.0);
    let config = Crawl { crawl_delay_max: 0.1, ..crawl(&site) };
    let error = bench.run(&config, &[]).unwrap_err();
    assert!(error.to_string().contains("crawl_delay"), "{error}");
}

/// Stops a crawl that hangs, so that its test fails. Dropping the sender ends it.
fn watchdog(bench: &Bench) -> mpsc::Sender<()> {
    let (sender, receiver) = mpsc::channel();
    let stop = bench.stop.clone();
    std::thread::spawn(move || {
        if receiver.recv_timeout(Duration::from_secs(120)) == Err(mpsc::RecvTimeoutError::Timeout) {
            stop.ask();
        }
    });
    sender
}

#[test]
fn a_refused_pause_of_one_port_does_not_slow_others() {
    let site = site::start(6, false, "");
    let slow = site::start(6, false, "User-agent: *\nCrawl-delay: 86400\n");
    let folder = tempfile::tempdir().unwrap();
    let bench = Bench::new(folder.path()).unwrap();
    let seeds = vec![slow.url("/"), site.url("/")];
    let config = Crawl { seeds, crawl_delay_max: 3600.0, ..crawl(&site) };
    let guard = watchdog(&bench);
    let outcome = bench.run(&config, &[]).unwrap();
    drop(guard);
    assert_eq!(metric(&outcome, "pages"), 7.0);
    assert_eq!(log(&bench, &outcome, &site)[&slow.url("/")]["outcome"], "crawl_delay");
    let seen: Vec<String> = slow.seen.lock().unwrap().iter().map(|seen| seen.path.clone()).collect();
    assert_eq!(seen, ["/robots.txt"]);
}

#[test]
fn a_long_wait_is_reported() {
    let site = site::start(6, false, "User-agent: *\nCrawl-delay: 1000\n");
    let folder = tempfile::tempdir().unwrap();
    let bench = Bench::new(folder.path()).unwrap();
    let is_noted = |events: &[Event]| {
        let expected = "until the next request to `127.0.0.1`: its robots.txt asks for that";
        events.iter().any(|event| matches!(event, Event::Note { message } if message.contains(expected)))
    };
    let (stop, events) = (bench.stop.clone(), bench.events.clone());
    let stopper = std::thread::spawn(move || {
        // A crawl without the note is stopped, too.
        for _ in 0..12_000 {
            if is_noted(&events.lock().unwrap()) {
                break;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        stop.ask();
    });
    let config = Crawl { crawl_delay_max: 2000.0, ..crawl(&site) };
    assert!(matches!(bench.run(&config, &[]), Err(Error::Interrupted)));
    stopper.join().unwrap();
    assert!(is_noted(&bench.events.lock().unwrap()));
}

#[test]
fn a_chain_of_canonical_addresses_ends_and_its_first_page_is_kept() {
    let site = site::start(0, false, "");
    let folder = tempfile::tempdir().unwrap();
    let bench = Bench::new(folder.path()).unwrap();
    let seeds = vec![site.url("/canonical/0")];
    let outcome = bench.run(&Crawl { seeds, pages_max: 100, urls_max: 1000, ..crawl(&site) }, &[]).unwrap();
    let lines = log(&bench, &outcome, &site);
    let outcomes: Vec<&str> =
        (0..6).map(|number| lines[&format!("/canonical/{number}")]["outcome"].as_str().unwrap()).collect();
    assert_eq!(outcomes, ["page", "canonical", "canonical", "canonical", "canonical", "canonical"]);
    assert!(lines["/canonical/5"]["note"].as_str().unwrap().contains("redirects_max"));
    assert_eq!(lines.len(), 7, "six pages and robots.txt");
    // A limit of none keeps each page.
    let seeds = vec![site.url("/canonical/0")];
    let outcome = bench.run(&Crawl { seeds, redirects_max: 0, ..crawl(&site) }, &[]).unwrap();
    assert_eq!((metric(&outcome, "pages"), metric(&outcome, "urls")), (1.0, 1.0));
}

#[test]
fn pages_that_are_not_kept_count_towards_the_limit_on_bytes() {
    let site = site::start(20, false, "");
    let folder = tempfile::tempdir().unwrap();
    let bench = Bench::new(folder.path()).unwrap();
    let mut seeds = vec![site.url("/private/open")];
    seeds.extend((0..20).map(|number| site.url(&format!("/heavy/{number}"))));
    let config = Crawl { seeds, mib_max: 1, per_host: 1, ..crawl(&site) };
    let outcome = bench.run(&config, &[]).unwrap();
    let seen = site.seen.lock().unwrap();
    assert_eq!(seen.iter().filter(|seen| seen.path.starts_with("/heavy/")).count(), 4);
    assert_eq!(log(&bench, &outcome, &site)["/heavy/4"]["outcome"], "limit");
}

#[test]
fn a_host_with_broken_answers_is_not_given_up_and_a_silent_one_is() {
    for (kind, expected) in [("garbage", "page"), ("silent", "host_failed")] {
        let site = site::start(1, false, "");
        let folder = tempfile::tempdir().unwrap();
        let bench = Bench::new(folder.path()).unwrap();
        let mut seeds = vec![site.url("/dup")];
        seeds.extend((0..25).map(|number| site.url(&format!("/{kind}/{number}"))));
        seeds.push(site.url("/p/0"));
        let config = Crawl { seeds, per_host: 1, retries: 0, ..crawl(&site) };
        let outcome = bench.run(&config, &[]).unwrap();
        let lines = log(&bench, &outcome, &site);
        assert_eq!(lines["/p/0"]["outcome"], expected, "{kind}");
        assert_eq!(lines[&format!("/{kind}/0")]["outcome"], "connection", "{kind}");
    }
}

#[test]
fn limits_end_a_crawl() {
    let site = site::start(500, false, site::RULES);
    let folder = tempfile::tempdir().unwrap();
    let bench = Bench::new(folder.path()).unwrap();
    let outcome = bench.run(&Crawl { pages_max: 20, ..crawl(&site) }, &[]).unwrap();
    assert_eq!(metric(&outcome, "pages"), 20.0);
    let lines = log(&bench, &outcome, &site);
    assert!(lines.values().any(|line| line["outcome"] == "limit"));
    let config = Crawl { urls_max: 30, use_sitemaps: false, ..crawl(&site) };
    let outcome = bench.run(&config, &[]).unwrap();
    assert_eq!((metric(&outcome, "pages"), metric(&outcome, "urls")), (30.0, 30.0));
    assert!(metric(&outcome, "unlisted") > 0.0);
    let config = Crawl { depth_max: 1, use_sitemaps: false, ..crawl(&site) };
    assert_eq!(metric(&bench.run(&config, &[]).unwrap(), "pages"), 2.0);
}

#[test]
fn private_addresses_are_not_fetched_from() {
    let site = site::start(3, false, site::RULES);
    let folder = tempfile::tempdir().unwrap();
    let bench = Bench::new(folder.path()).unwrap();
    for seed in [
        site.url("/"),
        site.url("/").replace("127.0.0.1", "localhost"),
        site.url("/").replace("127.0.0.1", "[::1]"),
    ] {
        let config = Crawl { seeds: vec![seed], private_addresses: false, ..crawl(&site) };
        let error = bench.run(&config, &[]).unwrap_err();
        assert!(matches!(&error, Error::Input { message, .. } if message.contains("private")), "{error}");
    }
    assert!(site.seen.lock().unwrap().is_empty());
}

#[test]
fn nothing_is_fetched_where_robots_txt_cannot_be_read() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let folder = tempfile::tempdir().unwrap();
    let bench = Bench::new(folder.path()).unwrap();
    let config = Crawl {
        seeds: vec![format!("http://127.0.0.1:{port}/")],
        private_addresses: true,
        retries: 0,
        ..Crawl::default()
    };
    let error = bench.run(&config, &[]).unwrap_err();
    assert!(
        matches!(&error, Error::Machine { message, .. } if message.contains("robots_unreachable")),
        "{error}"
    );
}

#[test]
fn a_stopped_crawl_goes_on() {
    let site = site::start(400, false, site::RULES);
    let folder = tempfile::tempdir().unwrap();
    let bench = Bench::new(folder.path()).unwrap();
    let config = crawl(&site);
    let stop = bench.stop.clone();
    let watched = site.clone();
    let stopper = std::thread::spawn(move || {
        while watched.seen.lock().unwrap().len() < 100 {
            std::thread::sleep(Duration::from_millis(1));
        }
        stop.ask();
    });
    assert!(matches!(bench.run(&config, &[]), Err(Error::Interrupted)));
    stopper.join().unwrap();
    let so_far = site.seen.lock().unwrap().len();
    assert!(so_far < 400, "stopped in the middle");
    let bench = Bench::new(folder.path()).unwrap();
    let outcome = bench.run(&config, &[]).unwrap();
    assert_eq!(metric(&outcome, "pages"), 401.0);
    let seen = site.seen.lock().unwrap();
    let pages: Vec<&String> =
        seen.iter().map(|seen| &seen.path).filter(|path| path.starts_with("/p/")).collect();
    assert_eq!(pages.len(), 400, "no page is fetched twice");
}
