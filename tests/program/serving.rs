//! `pipe generate` and `pipe serve` on a model that a pipeline made.

use crate::{project::Project, tiny::Tiny};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    process::{Child, Stdio},
    time::Duration,
};

/// A server on a free port.
struct Server {
    child: Child,
    address: String,
}

impl Server {
    fn start(tiny: &Tiny, more: &[&str]) -> Self {
        let mut command =
            tiny.command(&[&["serve", "pipeline.yaml", "export", "--port", "0"], more].concat());
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stderr.take().unwrap()).read_line(&mut line).unwrap();
        let address = line.split("http://").nth(1).unwrap_or_else(|| panic!("no address in: {line}"));
        let address = address.split(';').next().unwrap().to_owned();
        Self { child, address }
    }

    /// Sends bytes; returns the answer's status and body.
    fn send(&self, bytes: &[u8]) -> (u16, Value) {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        stream.write_all(bytes).unwrap();
        let mut answer = Vec::new();
        // A refused body may end in a reset after the answer.
        let _ = stream.read_to_end(&mut answer);
        let answer = String::from_utf8_lossy(&answer).into_owned();
        let status = answer.split(' ').nth(1).unwrap_or_else(|| panic!("no status in {answer:?}"));
        let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        (status.parse().unwrap(), serde_json::from_str(body).unwrap_or(Value::Null))
    }

    fn post(&self, body: &str) -> (u16, Value) {
        self.send(
            format!(
                "POST /generate HTTP/1.1\r\nhost: here\r\nconnection: close\r\ncontent-type: application/json\r\n\
                 content-length: {}\r\n\r\n{body}",
                body.len()
            )
            .as_bytes(),
        )
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_model_is_served_over_http() {
    let tiny = Tiny::new();
    tiny.run(&[]);
    let words =
        ["generate", "pipeline.yaml", "export", "--text", "A trait", "--max-tokens", "12", "--seed", "3"];
    let said = String::from_utf8(tiny.pipe(&words).stdout).unwrap();

    let mut server = Server::start(&tiny, &[]);
    let prompt = json!({ "text": "A trait", "max_tokens": 12, "seed": 3 }).to_string();
    let (status, answer) = server.post(&prompt);
    assert_eq!(status, 200, "{answer}");
    let generated = answer["generated"].as_str().unwrap();
    assert_eq!(said, format!("A trait{generated}\n"), "the same seed, the same text");
    let get = b"GET /health HTTP/1.1\r\nhost: here\r\nconnection: close\r\n\r\n";
    assert_eq!(server.send(get), (200, json!({ "status": "ok" })));

    // Many at once, each by its own seed.
    let expected = generated.to_owned();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| assert_eq!(server.post(&prompt).1["generated"], expected));
        }
    });

    // What hostile clients send.
    for (body, wanted) in [
        ("{", 400),
        ("{}", 422),
        (r#"{"text": "x", "max_tokens": "many"}"#, 422),
        (r#"{"text": "x", "max_tokens": -1}"#, 422),
        (r#"{"text": "x", "temperature": -1}"#, 400),
        (r#"{"text": "x", "color": "red"}"#, 422),
        (&format!("{{\"text\": \"{}\"}}", "word ".repeat(50_000)), 200),
        (&format!("{{\"text\": \"{}\"}}", "x".repeat(2 << 20)), 413),
    ] {
        let (status, answer) = server.post(body);
        assert_eq!(status, wanted, "{:.80}: {answer}", body);
        assert!(status == 200 || answer["error"].is_string(), "{answer}");
    }
    assert_eq!(server.send(b"GET /nowhere HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").0, 404);
    let (status, answer) = server.send(b"GET /generate HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    assert_eq!((status, answer["error"].as_str()), (405, Some("`/generate` takes POST")));
    let untyped = b"POST /generate HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 2\r\n\r\n{}";
    let (status, answer) = server.send(untyped);
    assert_eq!(status, 415);
    assert!(answer["error"].as_str().unwrap().contains("application/json"), "{answer}");
    assert_eq!(server.send(b"nonsense\r\n\r\n").0, 400);

    // A client that never finishes does not keep the server from ending.
    let mut slow = TcpStream::connect(&server.address).unwrap();
    slow.write_all(b"POST /generate HTTP/1.1\r\n").unwrap();
    kill_process(Pid::from_child(&server.child), Signal::TERM).unwrap();
    assert_eq!(server.child.wait().unwrap().code(), Some(0));
    tiny.project.assert_clean();
}

#[test]
fn more_requests_than_may_wait_are_refused() {
    let tiny = Tiny::new();
    tiny.run(&[]);
    let server = Server::start(&tiny, &["--workers", "1", "--queue", "0"]);
    let prompt = json!({ "text": "A trait", "max_tokens": 100_000, "temperature": 0 }).to_string();
    let statuses: Vec<u16> = std::thread::scope(|scope| {
        let all: Vec<_> = (0..16).map(|_| scope.spawn(|| server.post(&prompt).0)).collect();
        all.into_iter().map(|one| one.join().unwrap()).collect()
    });
    assert!(statuses.contains(&200) && statuses.contains(&503), "{statuses:?}");
}

#[test]
fn what_is_no_model_is_refused() {
    let tiny = Tiny::new();
    tiny.run(&["text"]);
    let call = |words: &[&str]| Project::ended_of(tiny.command(words).output().unwrap());
    call(&["serve", "pipeline.yaml"])
        .expect(2)
        .says(&["name the stage whose model", "base, classifier, export"]);
    call(&["serve", "pipeline.yaml", "text"]).expect(2).says(&["`text.documents` is of kind documents"]);
    call(&["serve", "pipeline.yaml", "export"]).expect(1).says(&["out of date", "pipe run"]);
    fs::create_dir(tiny.project.path("empty")).unwrap();
    call(&["generate", "empty", "--text", "x"]).expect(1).says(&["config.json"]);
    call(&["generate", "empty", "export", "--text", "x"]).expect(2).says(&["is a folder"]);
}

#[test]
fn a_model_of_another_cache_and_other_settings_is_used() {
    let tiny = Tiny::new();
    let cache = tiny.project.path("other cache");
    let other = ["--cache", cache.to_str().unwrap(), "--set", "stages.base.with.steps=20"];
    tiny.run(&[&["export"], &other[..]].concat());
    let call = |words: &[&str]| Project::ended_of(tiny.command(words).output().unwrap());
    let words =
        ["generate", "pipeline.yaml", "export", "--text", "A trait", "--max-tokens", "4", "--seed", "3"];
    call(&words).expect(1).says(&["out of date"]);
    call(&[&words[..], &other[..2]].concat()).expect(1).says(&["out of date"]);
    let said = call(&[&words[..], &other[..]].concat()).expect(0).stdout;
    assert!(said.starts_with("A trait"), "{said}");
    let server = Server::start(&tiny, &other);
    let (status, answer) = server.post(&json!({ "text": "A trait", "max_tokens": 4, "seed": 3 }).to_string());
    assert_eq!(
        (status, format!("A trait{}\n", answer["generated"].as_str().unwrap_or_default())),
        (200, said)
    );
    call(&[&words[..], &other[..], &["--temperature", "-1"]].concat())
        .expect(1)
        .says(&["the temperature is -1"]);
}

#[test]
fn files_of_a_model_that_never_end_are_refused() {
    let tiny = Tiny::new();
    tiny.run(&["export"]);
    let call = |words: &[&str]| Project::ended_of(tiny.command(words).output().unwrap());
    call(&["get", "pipeline.yaml", "export", "model"]).expect(0);
    let path = |name: &str| tiny.project.path("model").join(name);
    let refused = |name: &str, says: &str| {
        for command in [&["generate", "model", "--text", "x"][..], &["serve", "model", "--port", "0"]] {
            call(command).expect(1).says(&[name, says]);
        }
    };
    for name in ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"] {
        let whole = fs::read(path(name)).unwrap();
        fs::remove_file(path(name)).unwrap();
        assert!(std::process::Command::new("mkfifo").arg(path(name)).status().unwrap().success());
        refused(name, "not a regular file");
        fs::remove_file(path(name)).unwrap();
        std::os::unix::fs::symlink("/dev/zero", path(name)).unwrap();
        refused(name, "not a regular file");
        fs::remove_file(path(name)).unwrap();
        fs::File::create(path(name)).unwrap().set_len(1 << 40).unwrap();
        refused(name, "it has more than");
        fs::remove_file(path(name)).unwrap();
        // A link to a regular file, as caches of models have.
        fs::write(path("blob"), whole).unwrap();
        std::os::unix::fs::symlink("blob", path(name)).unwrap();
        call(&["generate", "model", "--text", "x"]).expect(0);
        fs::rename(path("blob"), path(name)).unwrap();
    }
}
