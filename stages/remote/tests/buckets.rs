//! Objects of a small S3 on loopback, and the variables that say where it is.

mod world;

use pipe_remote::{Limits, Servers};
use pipe_stage::{Error, Listing, RemoteRoot, Remotes, Stop};
use std::{io::Read, time::Duration};
use world::{Page, Site};

fn servers(variables: &[(&str, &str)]) -> Servers {
    let pause = Duration::from_millis(2);
    let limits = Limits { pause, stall: Duration::from_secs(5), attempts: 2, ..Limits::default() };
    Servers::with_variables(limits, "http://127.0.0.1:9", None, variables).unwrap()
}

fn list(servers: &Servers, url: &str) -> Result<Listing, Error> {
    servers.list(&RemoteRoot::Url { url: url.to_owned() }, None)
}

fn told(error: &Error) -> String {
    match error {
        Error::Input { message, help } => format!("{message} (help: {})", help.clone().unwrap_or_default()),
        error => panic!("{error}"),
    }
}

/// Adds a listing of keys with their sizes at this path and query.
fn listing(site: &Site, path: &str, keys: &[(&str, usize)]) {
    let object = |(key, size): &(&str, usize)| {
        format!(
            "<Contents><Key>{key}</Key><LastModified>2025-01-01T00:00:00.000Z</LastModified>\
             <ETag>&quot;e&quot;</ETag><Size>{size}</Size></Contents>"
        )
    };
    let objects: String = keys.iter().map(object).collect();
    let body = format!("<ListBucketResult><IsTruncated>false</IsTruncated>{objects}</ListBucketResult>");
    site.page(path, Page { body: body.into_bytes(), ..Page::default() });
}

#[test]
fn objects_are_listed_and_read_and_empty_variables_are_not_set() {
    let site = Site::new();
    let servers = servers(&[
        ("AWS_ENDPOINT_URL", ""),
        ("AWS_ENDPOINT_URL_S3", &site.address),
        ("AWS_SESSION_TOKEN", " "),
        ("AWS_SKIP_SIGNATURE", "true"),
    ]);
    listing(&site, "/b?list-type=2&prefix=d%2F", &[("d/b.jsonl", 2), ("d/a.jsonl", 1), ("d/x.csv", 1)]);
    let modified = ("Last-Modified".to_owned(), "Wed, 01 Jan 2025 00:00:00 GMT".to_owned());
    let page = Page { body: b"1".to_vec(), etag: "\"e\"".into(), headers: vec![modified], ..Page::default() };
    site.page("/b/d/a.jsonl", page);
    let listing = list(&servers, "s3://b/d/*.jsonl").unwrap();
    let names: Vec<&str> = listing.files.iter().map(|file| file.name.as_str()).collect();
    assert_eq!(names, ["a.jsonl", "b.jsonl"], "{:?}", site.seen());
    let file = &listing.files[0];
    let mut bytes = Vec::new();
    let mut reader = servers.open(&file.remote, file.size, 0, &Stop::default()).unwrap();
    reader.read_to_end(&mut bytes).unwrap();
    assert_eq!(bytes, b"1");
    // Nothing is asked about what is behind the last byte.
    let before = site.seen().len();
    let mut reader = servers.open(&file.remote, file.size, 1, &Stop::default()).unwrap();
    assert_eq!(reader.read(&mut [0]).unwrap(), 0);
    assert_eq!(site.seen().len(), before);
}

#[test]
fn variables_that_no_request_can_have_are_named() {
    let endpoints = ["localhost:9010", "127.0.0.1:9010", "http://", "http://h h", "ftp://h", "here"];
    let endpoints = endpoints.into_iter().flat_map(|value| {
        ["AWS_ENDPOINT_URL", "AWS_ENDPOINT", "AWS_ENDPOINT_URL_S3"].map(|name| (name, value, "s3://b/*"))
    });
    let others = [
        ("AWS_SESSION_TOKEN", "verysecret\nb", "s3://b/*"),
        ("AWS_REGION", "eu\r\nx", "s3://b/*"),
        ("AZURE_STORAGE_ENDPOINT", "localhost", "az://b/*"),
        ("GOOGLE_SERVICE_ACCOUNT", "a\nb", "gs://b/*"),
    ];
    for (name, value, url) in endpoints.chain(others) {
        let keys = [("AWS_ACCESS_KEY_ID", "k"), ("AWS_SECRET_ACCESS_KEY", "s"), (name, value)];
        let error = told(&list(&servers(&keys), url).unwrap_err());
        assert!(error.contains(&format!("the variable `{name}`")), "{name}={value:?}: {error}");
        assert!(!error.contains("verysecret"), "{error}");
    }
}

#[test]
fn keys_that_cannot_be_read_matter_only_where_they_match() {
    let site = Site::new();
    let variables = [("AWS_ENDPOINT_URL", &*site.address), ("AWS_SKIP_SIGNATURE", "true")];
    let keys =
        [("a.jsonl", 1), ("x//b.csv", 1), ("./x.csv", 1), ("/lead.csv", 1), ("c&#x1;.csv", 1), ("dir/", 0)];
    listing(&site, "/b?list-type=2", &keys);
    let found = list(&servers(&variables), "s3://b/**/*.jsonl").unwrap();
    assert_eq!(found.files.iter().map(|file| file.name.as_str()).collect::<Vec<_>>(), ["a.jsonl"]);
    let error = told(&list(&servers(&variables), "s3://b/**/c*.csv").unwrap_err());
    assert!(error.contains("`s3://b/**/c*.csv` matches \"c\\u{1}.csv\", which is no path"), "{error}");
    assert!(error.contains("narrow the pattern"), "{error}");
    let error = told(&list(&servers(&variables), "s3://b/**/lead.csv").unwrap_err());
    assert!(error.contains("\"/lead.csv\""), "{error}");
    // The marker of a folder is no file.
    listing(&site, "/b?list-type=2", &[("dir/", 0), ("dir/a", 1)]);
    assert_eq!(list(&servers(&variables), "s3://b/").unwrap().files.len(), 1);
}

#[test]
fn buckets_that_are_not_there_and_refusals_say_what_to_do() {
    let site = Site::new();
    let variables = [("AWS_ENDPOINT_URL", &*site.address), ("AWS_SKIP_SIGNATURE", "true")];
    let error = |code: &str, status| {
        let body = format!("<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>m</Message></Error>");
        site.page("/b?list-type=2", Page { body: body.into_bytes(), ..Page::default() });
        site.change("/b?list-type=2", |page| page.status = Some(status));
        list(&servers(&variables), "s3://b/*").unwrap_err()
    };
    let missing = error("NoSuchBucket", 404);
    assert!(told(&missing).starts_with("there is no bucket of `s3://b/`"), "{missing}");
    assert!(told(&error("AccessDenied", 403)).contains("AWS_ACCESS_KEY_ID"));
    let other = error("Teapot", 418).to_string();
    assert!(!other.contains('<') && other.contains(": m"), "{other}");
}
