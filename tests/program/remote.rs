//! Sources on servers: pins, plans without a server, files that move, lists, data sets, and no secret anywhere.

use crate::project::{Ended, Project};
use serde_json::Value;
use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead, BufReader, Write},
    net::TcpListener,
    sync::{Arc, Mutex},
    thread,
};

type Files = Arc<Mutex<BTreeMap<String, (String, Vec<u8>)>>>;

/// A web server whose files have tags. It notes the paths that it is asked for.
struct Server {
    address: String,
    files: Files,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Server {
    fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let server = Self { address, files: Files::default(), asked: Arc::default() };
        let (files, asked) = (server.files.clone(), server.asked.clone());
        thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let mut lines = BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok);
                let first = lines.next().unwrap_or_default();
                lines.take_while(|line| !line.is_empty()).for_each(drop);
                let mut words = first.split(' ');
                let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
                asked.lock().unwrap().push(path.to_owned());
                let found = files.lock().unwrap().get(path).cloned();
                let (status, tag, body) = match found {
                    Some((tag, body)) => ("200 OK", tag, body),
                    None => ("404 Not Found", String::new(), Vec::new()),
                };
                let tag = if tag.is_empty() { tag } else { format!("ETag: \"{tag}\"\r\n") };
                let head = format!(
                    "HTTP/1.1 {status}\r\nConnection: close\r\n{tag}Content-Length: {}\r\n\r\n",
                    body.len()
                );
                let _ = stream.write_all(head.as_bytes());
                if method != "HEAD" {
                    let _ = stream.write_all(&body);
                }
            }
        });
        server
    }

    fn put(&self, path: &str, tag: &str, body: &[u8]) {
        self.files.lock().unwrap().insert(path.to_owned(), (tag.to_owned(), body.to_vec()));
    }

    /// The number of requests since the last call.
    fn requests(&self) -> usize {
        std::mem::take(&mut *self.asked.lock().unwrap()).len()
    }
}

fn manifest(source: &str) -> String {
    format!("pipeline: p\nstages:\n  pages:\n    uses: ingest\n    with: {{ sources: [{{ {source} }}] }}\n")
}

/// Ids and texts of the documents, and all fields of the first.
fn documents(project: &Project) -> Vec<Value> {
    let told = project.pipe(&["data", "sample", "pipeline.yaml", "pages", "-n", "200", "--json"]).expect(0);
    serde_json::Deserializer::from_str(&told.stdout).into_iter().map(Result::unwrap).collect()
}

fn verdict(project: &Project, more: &[&str]) -> String {
    project.plan(more)["pages"]["plan"].as_str().unwrap_or_default().to_owned()
}

/// Fails where a text is in a file below a folder.
fn has_nowhere(project: &Project, secret: &str) {
    let mut folders = vec![project.root().to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap().flatten() {
            let path = entry.path();
            match entry.file_type().unwrap() {
                kind if kind.is_dir() => folders.push(path),
                kind if kind.is_file() => {
                    let bytes = fs::read(&path).unwrap();
                    let is_in = bytes.windows(secret.len()).any(|window| window == secret.as_bytes());
                    assert!(!is_in, "{} has the secret", path.display());
                }
                _ => {}
            }
        }
    }
}

#[test]
fn a_remote_file_is_pinned_and_read_once() {
    let server = Server::new();
    server.put("/a.jsonl", "one", b"{\"text\": \"first\"}\n{\"text\": \"second\"}\n");
    let project = Project::new(&manifest(&format!("glob: {}/a.jsonl", server.address)));
    project.run(&[]).expect(0);
    assert_eq!(documents(&project).len(), 2);
    let pins = project.lock()["pins"].as_object().unwrap().clone();
    let (name, pin) = pins.iter().next().unwrap();
    assert_eq!((name.as_str(), pins.len()), (&*format!("{}/a.jsonl", server.address), 1));
    assert!(pin.as_str().unwrap().starts_with("etag:\"one\" "), "{pin}");
    server.requests();
    // Nothing is asked of the server any more, although the file is another by now.
    server.put("/a.jsonl", "two", b"{\"text\": \"third\"}\n");
    assert_eq!(verdict(&project, &[]), "cached");
    assert_eq!(project.outcomes(&["--locked"])["pages"], "cached");
    assert_eq!(server.requests(), 0);
    // What an update would do, and why.
    let told = project.pipe(&["plan", "pipeline.yaml", "--update-pins"]).expect(0);
    told.prints(&["1 changed of 1 files"]);
    assert_eq!(verdict(&project, &[]), "cached", "a plan changes nothing");
    project.run(&["--update-pins"]).expect(0);
    assert_eq!(documents(&project).len(), 1);
    assert!(project.lock()["pins"][name].as_str().unwrap().starts_with("etag:\"two\" "));
}

#[test]
fn a_file_that_moved_from_under_its_pin_is_an_error() {
    let server = Server::new();
    server.put("/a.jsonl", "one", b"{\"text\": \"first\"}\n");
    let project = Project::new(&manifest(&format!("glob: {}/a.jsonl", server.address)));
    project.run(&[]).expect(0);
    server.put("/a.jsonl", "two", b"{\"text\": \"other\"}\n");
    // Another cache has neither results nor the listing.
    let told = project.pipe(&["plan", "pipeline.yaml", "--cache", "other"]).expect(2);
    told.says(&["in the lock file", "--update-pins"]);
    // With the listing, the file itself is asked for in its version.
    let told = project.run(&["--force-all"]).expect(1);
    told.says(&["changed since it was pinned", "--update-pins"]);
    // A run that fails keeps the pins of its first attempt.
    let project =
        Project::new(&manifest(&format!("glob: {}/a.jsonl, columns: {{ text: body }}", server.address)));
    project.run(&[]).expect(1);
    assert_eq!(project.lock()["pins"].as_object().unwrap().len(), 1);
}

#[test]
fn secrets_of_addresses_and_tokens_are_stored_nowhere() {
    let server = Server::new();
    let project = Project::new(&manifest("hf: { repo: o/set }"));
    let call = |words: &[&str]| -> Ended {
        let mut command = project.command(words);
        command.env("HF_ENDPOINT", &server.address).env("HF_TOKEN", "hf_verysecret");
        Project::ended_of(command.output().unwrap())
    };
    let missing = call(&["run", "pipeline.yaml"]).expect(2);
    missing.says(&["no data set `o/set`", "HF_TOKEN"]);
    let commit = "a".repeat(40);
    server.put("/api/datasets/o/set/revision/main", "", format!("{{\"sha\": \"{commit}\"}}").as_bytes());
    let node = |path: &str, size: usize| {
        format!(
            "{{\"type\": \"file\", \"path\": \"{path}\", \"size\": {size}, \"oid\": \"0\", \"lfs\": null}}"
        )
    };
    let rows = |from: usize| -> String {
        (from..from + 40).map(|n| format!("{{\"text\": \"row {n}\"}}\n")).collect()
    };
    let card = "---\nlicense: cc-by-4.0\n---\n";
    let mut nodes = vec![node("README.md", card.len())];
    server.put(&format!("/datasets/o/set/resolve/{commit}/README.md"), "", card.as_bytes());
    for shard in 0..3 {
        let path = format!("data/train-0000{shard}-of-00003.jsonl");
        let body = rows(shard * 40);
        let digest = blob_sha1(body.as_bytes());
        nodes.push(node(&path, body.len()).replace("\"oid\": \"0\"", &format!("\"oid\": \"{digest}\"")));
        server.put(&format!("/datasets/o/set/resolve/{commit}/{path}"), "", body.as_bytes());
    }
    let tree = format!("[{}]", nodes.join(","));
    server.put(&format!("/api/datasets/o/set/tree/{commit}?recursive=true"), "", tree.as_bytes());
    call(&["run", "pipeline.yaml"]).expect(0);
    let all = documents(&project);
    assert_eq!(all.len(), 120);
    assert!(
        all.iter().all(|document| document["license"] == "CC-BY-4.0" && document["source"] == "set"),
        "{}",
        all[0]
    );
    assert!(project.lock()["pins"]["hf:o/set split train"].as_str().unwrap().starts_with(&commit));
    has_nowhere(&project, "hf_verysecret");
    // A few documents: of the first file only.
    server.requests();
    project.edit("repo: o/set", "repo: o/set, take: 50");
    call(&["run", "pipeline.yaml"]).expect(0);
    let asked: Vec<String> = server.asked.lock().unwrap().clone();
    assert!(!asked.iter().any(|path| path.contains("train-00002")), "{asked:?}");
    let taken = documents(&project);
    assert_eq!(taken.len(), 50);
    assert!(taken.iter().any(|document| document["text"] == "row 49"), "{taken:?}");
    assert!(!taken.iter().any(|document| document["text"] == "row 50"), "{taken:?}");
}

/// The name that Git gives to bytes, by the program.
fn blob_sha1(bytes: &[u8]) -> String {
    let mut child = std::process::Command::new("git")
        .args(["hash-object", "--stdin"])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(bytes).unwrap();
    let told = child.wait_with_output().unwrap();
    String::from_utf8(told.stdout).unwrap().trim().to_owned()
}

#[test]
fn archives_of_a_list_have_a_task_each() {
    let server = Server::new();
    let record = |number: usize| {
        let page =
            format!("HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n<p>Page {number} of the harbour.");
        format!(
            "WARC/1.0\r\nWARC-Type: response\r\nWARC-Target-URI: https://e.org/{number}\r\nContent-Length: {}\r\n\r\n{page}\r\n\r\n",
            page.len()
        )
    };
    let mut list = String::new();
    for number in 0..20 {
        server.put(&format!("/crawl/{number:02}.warc"), "x", record(number).as_bytes());
        list += &format!("crawl/{number:02}.warc\n");
    }
    server.put("/warc.paths", "x", list.as_bytes());
    let paths =
        |more: &str| format!("paths: {{ list: '{0}/warc.paths', base: '{0}/'{more} }}", server.address);
    let project = Project::new(&manifest(&paths("")));
    project.run(&[]).expect(0);
    let all = documents(&project);
    assert_eq!(all.len(), 20);
    assert!(
        all.iter().all(|document| document["id"].as_str().unwrap().starts_with("warc/crawl/")),
        "{}",
        all[0]
    );
    project.write("pipeline.yaml", &manifest(&paths(", sample: 0.4")));
    project.run(&[]).expect(0);
    let some = documents(&project);
    assert!((3..=13).contains(&some.len()), "{}", some.len());
    assert!(some.iter().all(|document| all.iter().any(|other| other["id"] == document["id"])));
    // A list on this machine in another order names the same.
    let reversed: Vec<&str> = list.lines().rev().collect();
    project.write("lists/warc.paths", &reversed.join("\n"));
    let local =
        paths(", sample: 0.4").replacen(&format!("{}/warc.paths", server.address), "lists/warc.paths", 1);
    project.write("pipeline.yaml", &manifest(&local));
    let before = project.outputs();
    project.run(&[]).expect(0);
    assert_eq!(project.outputs(), before);
}

#[test]
fn wrong_addresses_are_found_before_anything_runs() {
    let server = Server::new();
    let check = |source: &str| {
        let project = Project::new(&manifest(source));
        project.pipe(&["check", "pipeline.yaml"]).expect(2)
    };
    check(&format!("glob: '{}/none.jsonl?sig=verysecret'", server.address)).says(&["none.jsonl?…"]);
    check(&format!("glob: '{}/*.jsonl'", server.address)).says(&["wildcards", "paths"]);
    check("glob: 'ftp://h/a.jsonl'").says(&["`ftp://`", "s3://"]);
    check("glob: 'https://me:verysecret@h/a.jsonl'").says(&["password"]);
    check("hf: { repo: o/set, take: 0 }").says(&["at least 1"]);
    check("glob: a.jsonl, hf: { repo: o/set }").says(&["needs one of"]);
}
