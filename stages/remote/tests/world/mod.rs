//! A web server on loopback that misbehaves as it is told. It speaks just enough HTTP/1.1: one request a connection.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Write},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

/// What a path answers with.
#[derive(Clone, Default)]
pub(crate) struct Page {
    pub(crate) body: Vec<u8>,
    pub(crate) etag: String,
    pub(crate) headers: Vec<(String, String)>,
    /// A status other than 200.
    pub(crate) status: Option<u16>,
    /// Statuses of the first requests, and the `Retry-After` that they have.
    pub(crate) refusals: Vec<(u16, Option<String>)>,
    /// After this many bytes of a body, the connection breaks; so many times.
    pub(crate) breaks: (usize, usize),
    /// Whether ranges are ignored.
    pub(crate) without_ranges: bool,
    /// Whether conditions are ignored.
    pub(crate) without_conditions: bool,
    /// Whether the body has no length, and its end is that of the connection.
    pub(crate) without_length: bool,
    /// Whether requests with HEAD are refused.
    pub(crate) without_head: bool,
    /// Pause before the second half of the body.
    pub(crate) pause: Duration,
    /// Pause before each byte of the body.
    pub(crate) drip: Duration,
    /// Where it is.
    pub(crate) moved_to: Option<String>,
    /// Secret that is needed.
    pub(crate) token: Option<String>,
}

/// A request, as the server saw it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) headers: BTreeMap<String, String>,
}

type Pages = Arc<Mutex<BTreeMap<String, Page>>>;

/// The server. Its thread ends with the test process.
pub(crate) struct Site {
    pub(crate) address: String,
    pages: Pages,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Site {
    pub(crate) fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let site = Self { address, pages: Pages::default(), seen: Arc::default() };
        let (pages, seen) = (site.pages.clone(), site.seen.clone());
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (pages, seen) = (pages.clone(), seen.clone());
                thread::spawn(move || drop(answer(stream, &pages, &seen)));
            }
        });
        site
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}{path}", self.address)
    }

    pub(crate) fn page(&self, path: &str, page: Page) -> String {
        self.pages.lock().unwrap().insert(path.to_owned(), page);
        self.url(path)
    }

    pub(crate) fn change(&self, path: &str, change: impl FnOnce(&mut Page)) {
        change(self.pages.lock().unwrap().get_mut(path).unwrap());
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }
}

impl Seen {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }
}

fn answer(stream: TcpStream, pages: &Pages, seen: &Mutex<Vec<Seen>>) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let mut parts = line.split_whitespace();
    let (method, path) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let (method, path) = (method.to_owned(), path.to_owned());
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        match line.trim().split_once(':') {
            Some((name, value)) => drop(headers.insert(name.to_ascii_lowercase(), value.trim().to_owned())),
            None => break,
        }
    }
    let request = Seen { method, path, headers };
    seen.lock().unwrap().push(request.clone());
    respond(stream, pages, &request)
}

fn respond(mut stream: TcpStream, pages: &Pages, request: &Seen) -> std::io::Result<()> {
    let page = {
        let mut pages = pages.lock().unwrap();
        let Some(page) = pages.get_mut(&request.path) else {
            return write!(
                stream,
                "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
            );
        };
        let answered = page.clone();
        if !page.refusals.is_empty() {
            page.refusals.remove(0);
        } else if request.method == "GET" && page.breaks.1 > 0 {
            page.breaks.1 -= 1;
        }
        answered
    };
    let is_head = request.method == "HEAD";
    let mut status = page.status.unwrap_or(200);
    let mut headers = page.headers.clone();
    let mut body = page.body.clone();
    let needs = page.token.map(|token| format!("Bearer {token}"));
    if let Some((refused, after)) = page.refusals.first() {
        (status, body) = (*refused, Vec::new());
        headers.extend(after.clone().map(|after| ("Retry-After".to_owned(), after)));
    } else if needs.is_some_and(|needs| request.header("authorization") != Some(&needs)) {
        (status, body) = (401, Vec::new());
    } else if let Some(to) = page.moved_to {
        (status, body) = (302, Vec::new());
        headers.push(("Location".to_owned(), to));
    } else if page.without_head && is_head {
        (status, body) = (405, Vec::new());
    } else {
        if !page.etag.is_empty() {
            headers.push(("ETag".to_owned(), page.etag.clone()));
        }
        let condition = request.header("if-match").filter(|_| !page.without_conditions);
        let range = request.header("range").filter(|_| !page.without_ranges);
        if condition.is_some_and(|tag| tag != page.etag) {
            (status, body) = (412, Vec::new());
        } else if let Some(range) = range.and_then(|range| range.strip_prefix("bytes=")) {
            let (start, end) = range.split_once('-').unwrap();
            let (start, whole) = (start.parse::<usize>().unwrap(), body.len());
            let end = end.parse::<usize>().map_or(whole, |end| (end + 1).min(whole));
            if start >= whole {
                headers.push(("Content-Range".to_owned(), format!("bytes */{whole}")));
                (status, body) = (416, Vec::new());
            } else {
                headers.push(("Content-Range".to_owned(), format!("bytes {start}-{}/{whole}", end - 1)));
                (status, body) = (206, body[start..end].to_vec());
            }
        }
    }
    let mut head = format!("HTTP/1.1 {status} Status\r\nConnection: close\r\n");
    if !page.without_length {
        head += &format!("Content-Length: {}\r\n", body.len());
    }
    headers.iter().for_each(|(name, value)| head += &format!("{name}: {value}\r\n"));
    stream.write_all(format!("{head}\r\n").as_bytes())?;
    if is_head {
        return Ok(());
    }
    let (after, times) = page.breaks;
    if times > 0 && body.len() > after {
        return stream.write_all(&body[..after]);
    }
    if !page.drip.is_zero() {
        return body.iter().try_for_each(|byte| {
            thread::sleep(page.drip);
            stream.write_all(&[*byte])
        });
    }
    let (first, second) = body.split_at(body.len() / 2);
    stream.write_all(first)?;
    stream.flush()?;
    thread::sleep(page.pause);
    stream.write_all(second)
}
