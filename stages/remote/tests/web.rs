//! Files of web servers that break off, refuse, move, change and stall.

mod world;

use pipe_remote::{Limits, Servers};
use pipe_stage::{Error, Listing, RemoteRoot, Remotes, Stop};
use std::{
    io::Read,
    time::{Duration, Instant},
};
use world::{Page, Site};

fn servers() -> Servers {
    let pause = Duration::from_millis(2);
    let limits = Limits { pause, stall: Duration::from_secs(5), attempts: 4, ..Limits::default() };
    Servers::new(limits, "http://127.0.0.1:9", None).unwrap()
}

fn body() -> Vec<u8> {
    (0..300_000_u32).flat_map(u32::to_le_bytes).collect()
}

fn page() -> Page {
    Page { body: body(), etag: "\"one\"".into(), ..Page::default() }
}

fn list(servers: &Servers, url: &str) -> Result<Listing, Error> {
    servers.list(&RemoteRoot::Url { url: url.to_owned() }, None)
}

/// Reads a listed file from a byte on.
fn read_at(servers: &Servers, listing: &Listing, at: u64) -> Result<Vec<u8>, String> {
    let file = &listing.files[0];
    let mut bytes = Vec::new();
    let mut reader =
        servers.open(&file.remote, file.size, at, &Stop::default()).map_err(|error| error.to_string())?;
    let read = reader.read_to_end(&mut bytes);
    read.map(|_| bytes).map_err(|error| match error.downcast::<Error>() {
        Ok(Error::Input { message, help }) => format!("{message} (help: {})", help.unwrap_or_default()),
        Ok(error) => error.to_string(),
        Err(error) => panic!("an error without what the engine needs: {error}"),
    })
}

fn read(servers: &Servers, listing: &Listing) -> Result<Vec<u8>, String> {
    read_at(servers, listing, 0)
}

#[test]
fn a_file_is_listed_with_its_version_and_read_whole() {
    let (site, servers) = (Site::new(), servers());
    let url = site.page("/data/a.jsonl.gz?x=1", page());
    let listing = list(&servers, &url).unwrap();
    let file = &listing.files[0];
    assert_eq!((file.name.as_str(), file.size), ("a.jsonl.gz", 1_200_000));
    assert_eq!((file.remote.version.as_str(), listing.revision.as_str()), ("etag:\"one\"", "etag:\"one\""));
    assert_eq!(read(&servers, &listing).unwrap(), body());
    assert_eq!(read_at(&servers, &listing, 1_199_990).unwrap(), body()[1_199_990..]);
    assert_eq!(site.seen().last().unwrap().header("if-match"), Some("\"one\""));
}

#[test]
fn a_download_that_breaks_off_goes_on_where_it_ended() {
    for without_ranges in [false, true] {
        let (site, servers) = (Site::new(), servers());
        let breaks = (500_001, 2);
        let url = site.page("/a", Page { breaks, without_ranges, ..page() });
        let listing = list(&servers, &url).unwrap();
        site.change("/a", |page| page.breaks = if without_ranges { (500_001, 1) } else { breaks });
        assert_eq!(read(&servers, &listing).unwrap(), body());
        let ranges: Vec<_> =
            site.seen().iter().filter_map(|seen| seen.headers.get("range").cloned()).collect();
        let expected: &[&str] =
            if without_ranges { &["bytes=500001-"] } else { &["bytes=500001-", "bytes=1000002-"] };
        assert_eq!(ranges, expected);
    }
}

#[test]
fn a_body_that_is_too_short_is_no_file() {
    let (site, servers) = (Site::new(), servers());
    let url = site.page("/a", page());
    let listing = list(&servers, &url).unwrap();
    // It ends as if it were whole, again and again.
    site.change("/a", |page| {
        page.body.truncate(1000);
        page.without_length = true;
        page.without_ranges = true;
    });
    let error = read(&servers, &listing).unwrap_err();
    assert!(error.contains("the download ended after 1000 of 1200000 bytes"), "{error}");
}

#[test]
fn busy_servers_are_asked_again_when_they_want() {
    let (site, servers) = (Site::new(), servers());
    let url = site.page("/a", page());
    let listing = list(&servers, &url).unwrap();
    site.change("/a", |page| page.refusals = vec![(503, None), (429, Some("1".into())), (500, None)]);
    let began = Instant::now();
    assert_eq!(read(&servers, &listing).unwrap(), body());
    assert!(began.elapsed() >= Duration::from_secs(1));
    site.change("/a", |page| page.refusals = vec![(503, None); 9]);
    let error = read(&servers, &listing).unwrap_err();
    assert!(error.contains("503"), "{error}");
    assert_eq!(site.seen().iter().filter(|seen| seen.method == "GET").count(), 4 + 4);
    // A refusal that lasts is not repeated.
    site.change("/a", |page| (page.refusals, page.status) = (vec![], Some(403)));
    let before = site.seen().len();
    assert!(read(&servers, &listing).unwrap_err().contains("refuses access"));
    assert_eq!(site.seen().len(), before + 1);
}

#[test]
fn a_file_that_changes_is_an_error_that_says_what_to_do() {
    for without_conditions in [false, true] {
        let (site, servers) = (Site::new(), servers());
        let url = site.page("/a?sig=secret", Page { without_conditions, ..page() });
        let listing = list(&servers, &url).unwrap();
        let file = &listing.files[0];
        let mut reader = servers.open(&file.remote, file.size, 0, &Stop::default()).unwrap();
        site.change("/a?sig=secret", |page| page.breaks = (600_000, 1));
        let mut half = vec![0; 600_000];
        reader.read_exact(&mut half).unwrap();
        site.change("/a?sig=secret", |page| page.etag = "\"two\"".into());
        let error = reader.read_to_end(&mut half).unwrap_err().downcast::<Error>().unwrap();
        let Error::Input { message, help: Some(help) } = error else { panic!("{error}") };
        assert!(message.contains("changed since it was pinned"), "{message}");
        assert!(!message.contains("secret"), "{message}");
        assert!(help.contains("--update-pins"), "{help}");
    }
    // The same tag with another size.
    let (site, servers) = (Site::new(), servers());
    let url = site.page("/a", page());
    let listing = list(&servers, &url).unwrap();
    site.change("/a", |page| page.body.push(1));
    let error = read(&servers, &listing).unwrap_err();
    assert!(error.contains("it had 1200000 bytes and has 1200001"), "{error}");
    // Gone altogether.
    site.change("/a", |page| page.status = Some(404));
    assert!(read(&servers, &listing).unwrap_err().contains("there is no file"));
}

#[test]
fn a_server_that_stalls_is_left_and_asked_again() {
    let site = Site::new();
    let pause = Duration::from_millis(2);
    let limits = Limits { pause, stall: Duration::from_millis(300), attempts: 2, ..Limits::default() };
    let servers = Servers::new(limits, "http://127.0.0.1:9", None).unwrap();
    let url = site.page("/a", page());
    let listing = list(&servers, &url).unwrap();
    site.change("/a", |page| page.pause = Duration::from_secs(2));
    let began = Instant::now();
    // Each attempt brings half of what is left, which is progress.
    let read = read(&servers, &listing);
    assert!(read.is_err() || read.unwrap() == body());
    assert!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());
    assert!(site.seen().len() > 2, "it was asked again");
}

#[test]
fn files_may_be_elsewhere_and_servers_may_lack_head() {
    let (site, other, servers) = (Site::new(), Site::new(), servers());
    let to = other.page("/real", Page { without_head: true, ..page() });
    let url = site.page("/a.csv", Page { moved_to: Some(to), ..Page::default() });
    let listing = list(&servers, &url).unwrap();
    assert_eq!((listing.files[0].name.as_str(), listing.files[0].size), ("a.csv", 1_200_000));
    assert_eq!(read(&servers, &listing).unwrap(), body());
    // Without a tag, the time of the change is the version; a weak tag is not sent back.
    let modified = ("Last-Modified".to_owned(), "Wed, 21 Oct 2015 07:28:00 GMT".to_owned());
    let url = site.page("/b", Page { etag: String::new(), headers: vec![modified], ..page() });
    let listing = list(&servers, &url).unwrap();
    assert_eq!(listing.files[0].remote.version, "modified:Wed, 21 Oct 2015 07:28:00 GMT");
    assert_eq!(read(&servers, &listing).unwrap(), body());
    let url = site.page("/c", Page { etag: "W/\"weak\"".into(), ..page() });
    let listing = list(&servers, &url).unwrap();
    assert_eq!(read(&servers, &listing).unwrap(), body());
    assert_eq!(site.seen().last().unwrap().header("if-match"), None);
    // Without either, a change would not be seen.
    let url = site.page("/d", Page { etag: String::new(), ..page() });
    assert!(list(&servers, &url).unwrap_err().to_string().contains("which version"));
    let url = site.page("/empty", Page { body: vec![], ..page() });
    let listing = list(&servers, &url).unwrap();
    assert_eq!((listing.files[0].size, read(&servers, &listing).unwrap()), (0, vec![]));
}

#[test]
fn what_cannot_be_listed_says_why() {
    let (site, servers) = (Site::new(), servers());
    let of = |url: &str| list(&servers, url).unwrap_err().to_string();
    assert!(of(&site.url("/none?sig=secret")).contains("/none?…"));
    assert!(of(&site.url("/*.jsonl")).contains("wildcards"));
    assert!(of(&site.url("/")).contains("names no file"));
    assert!(of("ftp://h/a").contains("no address of a known kind"));
    // Nobody listens there: a retry may help.
    let error = list(&servers, "http://127.0.0.1:9/a").unwrap_err();
    assert!(matches!(error, Error::Machine { .. }), "{error}");
}

#[test]
fn lists_name_files_relative_to_their_base() {
    let (site, servers) = (Site::new(), servers());
    for name in ["a", "b", "c"] {
        site.page(&format!("/crawl/{name}.warc.gz"), page());
    }
    let text = "crawl/b.warc.gz\ncrawl/a.warc.gz\n";
    let url = site.page("/warc.paths", Page { body: text.into(), ..page() });
    let root = |list: &str, hash_max| RemoteRoot::List {
        list: list.to_owned(),
        base: format!("{}/", site.address),
        hash_max,
    };
    let listing = servers.list(&root(&url, None), None).unwrap();
    let names: Vec<&str> = listing.files.iter().map(|file| file.name.as_str()).collect();
    assert_eq!((names, listing.revision.as_str()), (vec!["crawl/a.warc.gz", "crawl/b.warc.gz"], "2 files"));
    assert_eq!(read(&servers, &listing).unwrap(), body());
    // The same as a file on this machine, with the name of its content.
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("warc.paths");
    std::fs::write(&path, text).unwrap();
    let local = root(path.to_str().unwrap(), None);
    assert_eq!(servers.list(&local, None).unwrap(), listing);
    let before = servers.pin_name(&local).unwrap();
    std::fs::write(&path, "crawl/c.warc.gz\n").unwrap();
    assert_ne!(servers.pin_name(&local).unwrap(), before);
    std::fs::write(&path, "crawl/none.warc.gz\n").unwrap();
    assert!(servers.list(&local, None).unwrap_err().to_string().contains("crawl/none.warc.gz"));
}

#[test]
fn names_of_pins_have_no_secrets_but_tell_addresses_apart() {
    let servers = servers();
    let name = |url: &str| servers.pin_name(&RemoteRoot::Url { url: url.to_owned() }).unwrap();
    assert_eq!(name("https://h/a"), "https://h/a");
    assert!(!name("https://h/a?sig=secret").contains("secret"));
    assert_ne!(name("https://h/a?id=1"), name("https://h/a?id=2"));
}

#[test]
fn connections_are_limited() {
    let site = Site::new();
    let limits = Limits { concurrency: 1, ..Limits::default() };
    let servers = Servers::new(limits, "http://127.0.0.1:9", None).unwrap();
    let url = site.page("/a", Page { pause: Duration::from_millis(150), ..page() });
    let listing = list(&servers, &url).unwrap();
    let began = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| assert_eq!(read(&servers, &listing).unwrap(), body()));
        }
    });
    assert!(began.elapsed() >= Duration::from_millis(450), "{:?}", began.elapsed());
}

#[test]
fn files_with_the_same_version_count_as_one_only_where_it_is_a_digest() {
    let (site, servers) = (Site::new(), servers());
    let modified = ("Last-Modified".to_owned(), "Wed, 21 Oct 2015 07:28:00 GMT".to_owned());
    let dated =
        |body: &[u8]| Page { body: body.to_vec(), headers: vec![modified.clone()], ..Page::default() };
    let identity = |url: &str| {
        let file = list(&servers, url).unwrap().files.remove(0);
        file.remote.identity(file.size)
    };
    let here = identity(&site.page("/a/data.jsonl", dated(b"1")));
    assert_ne!(here, identity(&site.page("/b/data.jsonl", dated(b"2"))));
    assert_eq!(here, identity(&site.url("/a/data.jsonl")));
    // It grew within the second that its version names.
    assert_ne!(here, identity(&site.page("/a/data.jsonl", dated(b"123"))));
}

#[test]
fn more_bytes_than_were_listed_are_an_error() {
    for chunk in [0, 700] {
        let (site, servers) = (Site::new(), servers());
        let url = site.page("/a", Page { body: vec![7; 1000 * chunk], ..page() });
        let listing = list(&servers, &url).unwrap();
        // The rest comes later, and no length announces it.
        site.change("/a", |page| {
            page.body = vec![7; 2000 * chunk.max(1)];
            page.without_length = true;
            page.pause = Duration::from_millis(50);
        });
        let error = read(&servers, &listing).unwrap_err();
        assert!(error.contains(&format!("it has more than {} bytes", 1000 * chunk)), "{error}");
        assert!(error.contains("--update-pins"), "{error}");
    }
    // As many as were listed, without a length, are the file.
    let (site, servers) = (Site::new(), servers());
    let url = site.page("/a", page());
    let listing = list(&servers, &url).unwrap();
    site.change("/a", |page| page.without_length = true);
    assert_eq!(read(&servers, &listing).unwrap(), body());
    // From behind the last byte on, there is nothing.
    assert!(read_at(&servers, &listing, 1_200_000).unwrap().is_empty());
    assert_eq!(site.seen().last().unwrap().header("range"), Some("bytes=1200000-"));
}

#[test]
fn bytes_without_a_version_are_not_taken_for_those_of_the_pin() {
    let modified = ("Last-Modified".to_owned(), "Wed, 21 Oct 2015 07:28:00 GMT".to_owned());
    let dated = Page { etag: String::new(), headers: vec![modified], ..page() };
    for before in [page(), dated] {
        let (site, servers) = (Site::new(), servers());
        let url = site.page("/a", before);
        let listing = list(&servers, &url).unwrap();
        let bare = |page: &mut Page| {
            (page.etag, page.headers, page.without_conditions) = (String::new(), Vec::new(), true);
            page.body.fill(1);
        };
        // After a download broke off.
        site.change("/a", |page| page.breaks = (600_000, 1));
        let file = &listing.files[0];
        let mut reader = servers.open(&file.remote, file.size, 0, &Stop::default()).unwrap();
        reader.read_exact(&mut vec![0; 600_000]).unwrap();
        site.change("/a", bare);
        let error = reader.read_to_end(&mut Vec::new()).unwrap_err();
        assert!(error.to_string().contains("without its version"), "{error}");
        // And from the beginning.
        let error = read(&servers, &listing).unwrap_err();
        assert!(error.contains("without its version") && error.contains("download the file"), "{error}");
    }
}

/// Reads a file whose server takes its time, and asks for a stop meanwhile. Returns the error and the time after that.
fn stopped(change: impl FnOnce(&mut Page)) -> (Error, Duration) {
    let (site, servers) = (Site::new(), servers());
    let url = site.page("/a", page());
    let listing = list(&servers, &url).unwrap();
    site.change("/a", change);
    let (file, stop) = (&listing.files[0], Stop::default());
    let mut reader = servers.open(&file.remote, file.size, 0, &stop).unwrap();
    std::thread::scope(|scope| {
        let reading = scope.spawn(move || reader.read_to_end(&mut Vec::new()).unwrap_err());
        std::thread::sleep(Duration::from_millis(300));
        let asked = Instant::now();
        stop.ask();
        (reading.join().unwrap().downcast::<Error>().unwrap(), asked.elapsed())
    })
}

#[test]
fn a_stop_ends_downloads_and_the_wait_for_servers() {
    let busy = |page: &mut Page| page.refusals = vec![(503, Some("100".into())); 9];
    let drip = |page: &mut Page| page.drip = Duration::from_millis(50);
    let silent = |page: &mut Page| page.pause = Duration::from_secs(4);
    for (error, took) in [stopped(busy), stopped(drip), stopped(silent)] {
        assert!(matches!(error, Error::Interrupted), "{error}");
        assert!(took < Duration::from_secs(2), "{took:?}");
    }
}

#[test]
fn a_server_that_drips_is_left() {
    let site = Site::new();
    let limits = Limits {
        pause: Duration::from_millis(2),
        attempts: 2,
        speed_min: 1000,
        speed_time: Duration::from_millis(300),
        ..Limits::default()
    };
    let servers = Servers::new(limits, "http://127.0.0.1:9", None).unwrap();
    let url = site.page("/a", page());
    let listing = list(&servers, &url).unwrap();
    site.change("/a", |page| page.drip = Duration::from_millis(20));
    let error = read(&servers, &listing).unwrap_err();
    assert!(error.contains("less than 1000 bytes a second for 0.3 seconds"), "{error}");
    let gets = site.seen().iter().filter(|seen| seen.method == "GET").count();
    assert_eq!(gets, 2, "another request may have reached another server");
    // So are lists.
    let list = RemoteRoot::List { list: url, base: site.address.clone(), hash_max: None };
    let error = servers.list(&list, None).unwrap_err().to_string();
    assert!(error.contains("less than 1000 bytes a second"), "{error}");
}

#[test]
fn listed_paths_may_have_any_characters() {
    let (site, servers) = (Site::new(), servers());
    for (path, body) in [("/d/a%231.jsonl?sig=x", "one"), ("/d/a%232.jsonl?sig=x", "two")] {
        site.page(path, Page { body: body.into(), ..page() });
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("list");
    std::fs::write(&path, "a#1.jsonl\na#2.jsonl\n").unwrap();
    let (list, base) = (path.to_str().unwrap().to_owned(), format!("{}/d?sig=x", site.address));
    let mut listing = servers.list(&RemoteRoot::List { list, base, hash_max: None }, None).unwrap();
    assert_eq!(listing.files[1].name, "a#2.jsonl");
    assert_eq!(read(&servers, &listing).unwrap(), b"one");
    listing.files.remove(0);
    assert_eq!(read(&servers, &listing).unwrap(), b"two");
}

#[test]
fn pins_tell_no_configuration_from_the_one_with_the_name_default() {
    let servers = servers();
    let name = |config: &str, split: &str| {
        let [repo, config, split, revision] = ["o/set", config, split, ""].map(str::to_owned);
        servers.pin_name(&RemoteRoot::Dataset { repo, config, split, revision }).unwrap()
    };
    assert_eq!(name("", "train"), "hf:o/set split train");
    assert_eq!(name("default", "train"), "hf:o/set config default, split train");
    assert_ne!(name("a, split b", "c"), name("a", "b, split c"));
}

#[test]
fn files_that_are_compressed_against_their_names_are_errors() {
    let (site, servers) = (Site::new(), servers());
    let encoded = |encoding: &str| Page {
        headers: vec![("Content-Encoding".to_owned(), encoding.to_owned())],
        ..page()
    };
    let error = list(&servers, &site.page("/a.jsonl?sig=secret", encoded("gzip"))).unwrap_err().to_string();
    assert!(error.contains("/a.jsonl?…` compressed (`Content-Encoding: gzip`)"), "{error}");
    for (path, encoding) in [("/a.jsonl.gz", "gzip"), ("/a.jsonl.zst", "zstd"), ("/a.jsonl", "identity")] {
        let listing = list(&servers, &site.page(path, encoded(encoding))).unwrap();
        assert_eq!(read(&servers, &listing).unwrap(), body());
    }
    assert!(list(&servers, &site.page("/b.jsonl.gz", encoded("br"))).is_err());
    // Nobody asks for it.
    assert!(site.seen().iter().all(|seen| seen.header("accept-encoding") == Some("identity")));
    // Only with the bytes.
    let listing = list(&servers, &site.page("/c.jsonl", page())).unwrap();
    site.change("/c.jsonl", |page| page.headers = encoded("gzip").headers);
    assert!(read(&servers, &listing).unwrap_err().contains("Content-Encoding"));
}
