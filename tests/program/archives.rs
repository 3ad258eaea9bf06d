//! Web archives through `ingest` and `clean`.

use crate::project::Project;
use std::{
    fs,
    io::{BufRead, BufReader, Write},
    net::TcpListener,
};

fn record(kind: &str, address: &str, headers: &str, block: &[u8]) -> Vec<u8> {
    let head = format!(
        "WARC/1.0\r\nWARC-Type: {kind}\r\nWARC-Target-URI: {address}\r\nWARC-Date: 2026-01-02T03:04:05Z\r\n\
         {headers}Content-Length: {}\r\n\r\n",
        block.len()
    );
    [head.as_bytes(), block, b"\r\n\r\n"].concat()
}

fn response(address: &str, head: &str, body: &[u8]) -> Vec<u8> {
    record("response", address, "", &[format!("HTTP/1.1 {head}\r\n\r\n").as_bytes(), body].concat())
}

const SENTENCE: &str =
    "<p>The keeper of the light climbs the stairs each evening, and trims the lamp for the boats.";

/// `灯塔` in GBK.
const GBK: &[u8] = b"\xB5\xC6\xCB\xFE";

fn archive() -> Vec<u8> {
    let html = "200 OK\r\nContent-Type: text/html";
    [
        record("warcinfo", "", "", b"software: test\r\n"),
        response("https://e.org/1", html, format!("<title>One</title>{SENTENCE}").as_bytes()),
        response("https://e.org/gone", "404 Not Found\r\nContent-Type: text/html", b"<p>No"),
        response(
            "https://e.org/2",
            &format!("{html}; charset=gb2312"),
            &[b"<p>".as_slice(), &GBK.repeat(30)].concat(),
        ),
        b"WARC/1.0\r\nWARC-Type: response\r\nContent-Length: 5\r\n\r\ntoo long\r\n\r\n".to_vec(),
        response(
            "https://e.org/3.txt",
            "200 OK\r\nContent-Type: text/plain",
            b"Boats rest in the harbour.\n",
        ),
        record("revisit", "https://e.org/1", "", b"HTTP/1.1 200 OK\r\n\r\n"),
    ]
    .concat()
}

const PIPELINE: &str = "\
pipeline: p
stages:
  pages:
    uses: ingest
    with: { sources: [{ glob: crawl/*.warc, columns: { metadata: [http.status] } }], errors_max: 1 }
  text:
    uses: clean
    needs: pages
    with: { profile: none }
";

fn project(pipeline: &str, bytes: &[u8]) -> Project {
    let project = Project::new(pipeline);
    fs::create_dir(project.path("crawl")).unwrap();
    fs::write(project.path("crawl/a.warc"), bytes).unwrap();
    project
}

#[test]
fn pages_of_an_archive_become_texts_and_others_have_a_reason() {
    let project = project(PIPELINE, &archive());
    project.pipe(&["check", "pipeline.yaml"]).expect(0);
    project.run(&[]).expect(0);
    let shown = project.pipe(&["data", "sample", "pipeline.yaml", "text", "-n", "9"]).expect(0);
    for text in [
        "crawl/a.warc:2",
        "trims the lamp",
        "crawl/a.warc:4",
        "灯塔灯塔",
        "Boats rest",
        "https://e.org/3.txt",
    ] {
        assert!(shown.stdout.contains(text), "{text}: {}", shown.stdout);
    }
    project.pipe(&["show", "pipeline.yaml", "pages"]).expect(0).prints(&["no_page", "rejected"]);
    project.pipe(&["get", "pipeline.yaml", "pages.rejected", "got"]).expect(0);
    let lines: String = crate::project::below(&project.path("got"))
        .iter()
        .filter_map(|path| fs::read_to_string(path).ok())
        .collect();
    for (row, reason) in [(3, "status"), (5, "damaged"), (7, "revisit")] {
        assert!(lines.contains(&format!("\"row\":{row},\"reason\":\"{reason}\"")), "{lines}");
    }
    let offset = archive().windows(8).rposition(|bytes| bytes == b"too long").unwrap() - 52;
    assert!(lines.contains(&format!("the record at byte {offset} is damaged")), "{offset}: {lines}");

    // Losses count against the limits.
    project.edit("errors_max: 1", "errors_max: 0, no_page_max: 1");
    project.run(&[]).expect(1).says(&[
        "1 of 6 rows could not be read, but `errors_max` is 0",
        "2 records without a page were left out, but `no_page_max` is 1",
        "its HTTP status is 404",
    ]);
}

#[test]
fn archives_of_pages_need_clean_and_those_of_texts_do_not() {
    let pipeline = "pipeline: p\nstages:\n  pages: { uses: ingest, with: { sources: [{ glob: crawl/*.warc }] } }\n  \
                    words: { uses: tokenizer, needs: pages, with: { vocabulary_size: 300 } }\n";
    let project = project(pipeline, &archive());
    project
        .pipe(&["check", "pipeline.yaml"])
        .expect(2)
        .says(&["are HTML pages", "put a stage `clean` between"]);
    let text = record(
        "conversion",
        "https://e.org/1",
        "Content-Type: text/plain\r\n",
        b"Boats rest in the harbour.\n",
    );
    fs::write(project.path("crawl/a.warc.wet"), text).unwrap();
    project.edit("*.warc", "*.wet");
    project.run(&[]).expect(0);
}

#[test]
fn a_file_that_is_no_archive_is_found_before_anything_runs() {
    let project = project(PIPELINE, b"no archive\n");
    project.pipe(&["check", "pipeline.yaml"]).expect(2).says(&["no WARC or ARC record begins in it"]);
}

/// Serves pages `/0` to `/4`, each with a link to the next, and a robots.txt; returns its address.
fn site() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let mut lines = BufReader::new(&stream).lines().map_while(Result::ok);
            let request = lines.next().unwrap_or_default();
            lines.by_ref().take_while(|line| !line.is_empty()).for_each(drop);
            let path = request.split(' ').nth(1).unwrap_or_default().to_owned();
            let (status, kind, body) = match path
                .strip_prefix('/')
                .and_then(|page| page.parse::<usize>().ok())
            {
                Some(page) if page < 5 => {
                    let next = page + 1;
                    (
                        "200 OK",
                        "text/html",
                        format!("<title>{page}</title><p>Page {page}. {SENTENCE}<a href=/{next}>next</a>"),
                    )
                }
                _ if path == "/robots.txt" => {
                    ("200 OK", "text/plain", "User-agent: *\nDisallow: /3\n".to_owned())
                }
                _ => ("404 Not Found", "text/html", String::new()),
            };
            let head =
                format!("HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n", body.len());
            // A client that has gone away is no fault of this server.
            let _ = write!(&stream, "{head}Connection: close\r\n\r\n{body}");
        }
    });
    address
}

#[test]
fn a_crawl_is_read_by_ingest_and_not_repeated() {
    let site = site();
    let project = Project::new(&format!(
        "pipeline: p\nstages:\n  site:\n    uses: crawl\n    with: {{ seeds: ['{site}/0', '{site}/4'], private_addresses: true, \
         delay_seconds: 0 }}\n  pages:\n    uses: ingest\n    needs: {{ files: site }}\n    \
         with: {{ files: {{ name: site, columns: {{ id: WARC-Target-URI }} }} }}\n  \
         text: {{ uses: clean, needs: pages, with: {{ profile: none }} }}\n"
    ));
    let first = project.outcomes(&[]);
    assert!(first.values().all(|outcome| outcome == "ran"), "{first:?}");
    let shown = project.pipe(&["show", "pipeline.yaml", "text", "--json"]).expect(0).json();
    let documents = |shown: &serde_json::Value| {
        let metrics = shown["record"]["metrics"].as_array().unwrap().clone();
        metrics.iter().find(|metric| metric["name"] == "documents").unwrap()["value"].as_f64()
    };
    // Page 3 is disallowed, and page 4 is a seed.
    assert_eq!(documents(&shown), Some(4.0));
    let sample = project.pipe(&["data", "sample", "pipeline.yaml", "text"]).expect(0);
    assert!(sample.stdout.contains(&format!("site/{site}/2")), "{}", sample.stdout);
    let second = project.outcomes(&[]);
    assert!(second.values().all(|outcome| outcome == "cached"), "{second:?}");
}
