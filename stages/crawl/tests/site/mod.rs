//! A web site on the loopback interface, with pages, rules and traps.

use flate2::{Compression, write::GzEncoder};
use std::{
    collections::{BTreeMap, BTreeSet},
    io::{BufRead, BufReader, Write},
    net::{TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

/// A request as the server saw it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) path: String,
    pub(crate) agent: String,
    pub(crate) status: u16,
}

/// What the server knows, and what was asked of it.
pub(crate) struct State {
    /// Pages `/p/0` to `/p/N-1`.
    pub(crate) pages: usize,
    /// Whether the start page links to the traps.
    pub(crate) traps: bool,
    pub(crate) robots: String,
    /// Pages whose content differs from that at first.
    pub(crate) changed: Mutex<BTreeSet<usize>>,
    pub(crate) seen: Mutex<Vec<Seen>>,
    /// Requests in progress at the same time, at most.
    pub(crate) together_max: AtomicUsize,
    together: AtomicUsize,
    port: u16,
}

pub(crate) const RULES: &str = "User-agent: *\nDisallow: /private/\nAllow: /private/open\nCrawl-delay: 0.001\n\
                         Sitemap: /sitemap-index.xml\n\nUser-agent: otherbot\nDisallow: /\n";

/// Starts a site on a port of its own. It runs until the process ends.
pub(crate) fn start(pages: usize, traps: bool, robots: &str) -> Arc<State> {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let state = Arc::new(State {
        pages,
        traps,
        robots: robots.to_owned(),
        changed: Mutex::default(),
        seen: Mutex::default(),
        together_max: AtomicUsize::new(0),
        together: AtomicUsize::new(0),
        port: listener.local_addr().unwrap().port(),
    });
    let shared = state.clone();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let state = shared.clone();
            thread::spawn(move || drop(state.serve(stream.unwrap())));
        }
    });
    state
}

impl State {
    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    /// Answers requests on a connection until it is closed.
    fn serve(&self, stream: TcpStream) -> std::io::Result<()> {
        stream.set_nodelay(true)?;
        let mut reader = BufReader::new(stream.try_clone()?);
        let mut stream = stream;
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line)? == 0 {
                return Ok(());
            }
            let path = line.split(' ').nth(1).unwrap_or_default().to_owned();
            let mut headers = BTreeMap::new();
            loop {
                let mut line = String::new();
                reader.read_line(&mut line)?;
                let Some((name, value)) = line.trim_end().split_once(": ") else { break };
                headers.insert(name.to_ascii_lowercase(), value.to_owned());
            }
            let together = self.together.fetch_add(1, Ordering::SeqCst) + 1;
            self.together_max.fetch_max(together, Ordering::SeqCst);
            let place = {
                let mut seen = self.seen.lock().unwrap();
                let agent = headers.get("user-agent").cloned().unwrap_or_default();
                seen.push(Seen { path: path.clone(), agent, status: 0 });
                seen.len() - 1
            };
            let sent = self.answer(&mut stream, &path, &headers, place);
            self.together.fetch_sub(1, Ordering::SeqCst);
            if !sent? {
                return Ok(());
            }
        }
    }

    /// Sends a response; returns whether the connection is kept.
    fn answer(
        &self,
        out: &mut TcpStream,
        path: &str,
        headers: &BTreeMap<String, String>,
        place: usize,
    ) -> std::io::Result<bool> {
        let earlier = self.seen.lock().unwrap()[..place].iter().filter(|seen| seen.path == path).count();
        let mut send = |status: u16, fields: &str, body: &[u8]| -> std::io::Result<bool> {
            self.seen.lock().unwrap()[place].status = status;
            let head = format!("HTTP/1.1 {status} X\r\n{fields}content-length: {}\r\n\r\n", body.len());
            out.write_all(&[head.as_bytes(), body].concat())?;
            Ok(true)
        };
        const HTML: &str = "content-type: text/html\r\n";
        let html = |body: String| format!("<!doctype html><html><body>{body}</body></html>").into_bytes();
        let (front, query) = path.split_once('?').unwrap_or((path, ""));
        let parts: Vec<&str> = front.split('/').skip(1).collect();
        match parts[..] {
            ["robots.txt"] => send(200, "content-type: text/plain\r\n", self.robots.as_bytes()),
            ["sitemap-index.xml"] => {
                let body = format!(
                    "<sitemapindex><sitemap><loc>{}</loc></sitemap></sitemapindex>",
                    self.url("/sitemap.xml.gz")
                );
                send(200, "content-type: text/xml\r\n", body.as_bytes())
            }
            ["sitemap.xml.gz"] => {
                let pages = (0..self.pages).step_by(10).map(|page| self.url(&format!("/p/{page}")));
                let pages: String = pages.map(|url| format!("<url><loc>{url}</loc></url>")).collect();
                send(
                    200,
                    "content-type: application/gzip\r\n",
                    &gzip(format!("<urlset>{pages}</urlset>").as_bytes()),
                )
            }
            [""] => {
                let mut body = "<a href=/p/0>pages</a>".to_owned();
                if self.traps {
                    let traps = "calendar?day=0 days/0 loop/a chain/0 slow endless bomb short flaky gone image dup noindex own \
                                 followed private/x private/open broken huge self folded invalid spaced appended";
                    traps.split_whitespace().for_each(|trap| body += &format!("<a href=/{trap}>{trap}</a>"));
                    body += "<a href=/hidden rel=nofollow></a><a href=http://elsewhere.example/></a><a href=/p/0?utm_source=x#y></a>";
                }
                send(200, HTML, &html(body))
            }
            ["p", number] => {
                let number: usize = number.parse().unwrap();
                if number >= self.pages {
                    return send(404, HTML, b"");
                }
                let version = usize::from(self.changed.lock().unwrap().contains(&number));
                let etag = format!("\"{number}.{version}\"");
                if headers.get("if-none-match") == Some(&etag) {
                    return send(304, &format!("etag: {etag}\r\n"), b"");
                }
                let links = (number * 10 + 1..number * 10 + 11).chain([number + 1]);
                let links = links
                    .filter(|page| *page < self.pages)
                    .map(|page| format!("<a href='/p/{page}'>{page}</a> "));
                let body =
                    html(format!("<h1>Page {number}, version {version}</h1>{}", links.collect::<String>()));
                let fields = format!("{HTML}etag: {etag}\r\n");
                if number.is_multiple_of(3) {
                    return send(200, &format!("{fields}content-encoding: gzip\r\n"), &gzip(&body));
                }
                send(200, &fields, &body)
            }
            ["calendar"] => {
                let day: usize = query.strip_prefix("day=").unwrap().parse().unwrap();
                let next = |days: usize| format!("<a href='/calendar?day={}'>next</a>", day + days);
                send(200, HTML, &html(format!("day {day} {}{}", next(1), next(30))))
            }
            ["days", day] => {
                let next = day.parse::<usize>().unwrap() + 1;
                send(200, HTML, &html(format!("day {day} <a href='/days/{next}'>next</a>")))
            }
            ["loop", name] => {
                send(302, &format!("location: /loop/{}\r\n", if name == "a" { "b" } else { "a" }), b"")
            }
            ["self"] => send(301, "location: /self#again\r\n", b""),
            ["chain", number] => {
                let next = number.parse::<usize>().unwrap() + 1;
                send(307, &format!("location: /chain/{next}\r\n"), b"")
            }
            ["slow"] => {
                write!(out, "HTTP/1.1 200 OK\r\n{HTML}content-length: 1000\r\n\r\n")?;
                for _ in 0..1000 {
                    out.write_all(b"x")?;
                    thread::sleep(Duration::from_secs(1));
                }
                Ok(false)
            }
            ["endless"] => {
                write!(out, "HTTP/1.1 200 OK\r\n{HTML}transfer-encoding: chunked\r\n\r\n")?;
                loop {
                    write!(out, "400\r\n{}\r\n", "x".repeat(1024))?;
                }
            }
            ["huge"] => send(200, HTML, &vec![b'x'; 2 << 20]),
            ["bomb"] => send(200, &format!("{HTML}content-encoding: gzip\r\n"), &gzip(&vec![0; 50 << 20])),
            ["broken"] => send(200, &format!("{HTML}content-encoding: gzip\r\n"), b"no gzip"),
            ["folded"] => send(200, &format!("x-long: a,\r\n\t b\r\n{HTML}"), &html("folded".to_owned())),
            ["invalid"] => send(
                200,
                &format!("x-odd: a\x01b\r\nno header\r\nx y: z\r\n{HTML}"),
                &html("invalid".to_owned()),
            ),
            ["spaced"] => send(200, "content-type : text/html\r\n", &html("spaced".to_owned())),
            ["appended"] => {
                let body = [gzip(&html("appended".to_owned())), b"\r\n<!-- cached -->".to_vec()].concat();
                send(200, &format!("{HTML}content-encoding: gzip\r\n"), &body)
            }
            ["garbage", _] => {
                out.write_all(b"SSH-2.0-server\r\n\r\n")?;
                Ok(false)
            }
            ["silent", _] => Ok(false),
            // Each names the next one as its canonical address.
            ["canonical", number] => {
                let next = number.parse::<usize>().unwrap() + 1;
                send(200, HTML, &html(format!("<link rel=canonical href=/canonical/{next}>{number}")))
            }
            ["heavy", number] => {
                let text = "x".repeat(300 << 10);
                send(200, HTML, &html(format!("<link rel=canonical href=/p/{number}>{text}")))
            }
            ["short"] => {
                write!(out, "HTTP/1.1 200 OK\r\n{HTML}content-length: 1000\r\n\r\nshort")?;
                Ok(false)
            }
            ["flaky"] if earlier == 0 => send(503, "retry-after: 0\r\n", b""),
            ["flaky"] => send(200, HTML, &html("at last".to_owned())),
            ["image"] => send(200, "content-type: image/png\r\n", b"png"),
            ["dup"] => send(200, HTML, &html("day 7 <a href='/days/8'>next</a>".to_owned())),
            ["noindex"] => send(
                200,
                &format!("{HTML}x-robots-tag: noindex\r\n"),
                &html("<a href=/followed>x</a>".to_owned()),
            ),
            ["own"] => send(200, HTML, &html("<link rel=canonical href=/p/1>own".to_owned())),
            ["followed"] => {
                send(200, HTML, &html("<link rel=canonical href=/missing>kept after all".to_owned()))
            }
            ["private", "open"] => send(200, HTML, &html("open".to_owned())),
            _ => send(404, HTML, &html("nothing".to_owned())),
        }
    }
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}
