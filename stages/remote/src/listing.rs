//! Listings of buckets, of which `object_store` refuses whole pages for one key that it cannot express, such as `a//b`. Such
//! keys are taken out of a page before it is read, and noted.
//!
//! ```text
//! <ListBucketResult> <Contents><Key>…</Key><Size>…</Size>…</Contents> …             S3 and Google Cloud Storage
//! <EnumerationResults> <Blobs><Blob><Name>…</Name><Properties>…</Properties></Blob> … Azure
//! ```

use object_store::{
    ClientOptions,
    client::{
        HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpService,
        ReqwestConnector,
    },
    path::Path,
};
use quick_xml::{Reader, XmlVersion::Implicit1_0, escape::resolve_xml_entity, events::Event};
use std::{
    collections::BTreeSet,
    io,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
};

/// Keys of a bucket that cannot be read.
pub(crate) type OddKeys = Arc<Mutex<BTreeSet<String>>>;

/// More than a bucket may have.
const ODD_MAX: usize = 100_000;

/// Connects as usual, and looks through listings.
#[derive(Debug, Default)]
pub(crate) struct Connector {
    pub(crate) odd: OddKeys,
}

#[derive(Debug)]
struct Filter {
    client: HttpClient,
    odd: OddKeys,
}

impl HttpConnector for Connector {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        let client = ReqwestConnector::default().connect(options)?;
        Ok(HttpClient::new(Filter { client, odd: self.odd.clone() }))
    }
}

impl Filter {
    async fn answer(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let query = request.uri().query().unwrap_or_default();
        let is_list = query.split('&').any(|part| matches!(part, "list-type=2" | "comp=list"));
        let response = self.client.execute(request).await?;
        if !is_list || !response.status().is_success() {
            return Ok(response);
        }
        let (head, body) = response.into_parts();
        let page = body.bytes().await?;
        let (page, odd) =
            without_odd_keys(&page).map_err(|error| HttpError::new(HttpErrorKind::Decode, error))?;
        let mut kept = self.odd.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() + odd.len() > ODD_MAX {
            let error =
                io::Error::other(format!("more than {ODD_MAX} objects have names that cannot be read"));
            return Err(HttpError::new(HttpErrorKind::Decode, error));
        }
        kept.extend(odd);
        Ok(HttpResponse::from_parts(head, page.into()))
    }
}

impl HttpService for Filter {
    // What `async_trait` makes of it.
    fn call<'a, 'b>(
        &'a self,
        request: HttpRequest,
    ) -> Pin<Box<dyn Future<Output = Result<HttpResponse, HttpError>> + Send + 'b>>
    where
        'a: 'b,
        Self: 'b,
    {
        Box::pin(self.answer(request))
    }
}

/// Whether a key is what `object_store` makes of it.
fn is_plain(key: &str) -> bool {
    Path::parse(key).is_ok_and(|path| path.as_ref() == key)
}

/// An object of a page, while it is read.
#[derive(Default)]
struct Entry {
    /// Where it begins.
    at: usize,
    /// Elements that are open within it.
    depth: usize,
    field: Option<Field>,
    key: String,
    size: String,
}

#[derive(Clone, Copy)]
enum Field {
    Key,
    Size,
}

impl Entry {
    fn open(&mut self, name: &str) {
        self.field = match name {
            "Key" | "Name" if self.depth == 0 => Some(Field::Key),
            "Size" | "Content-Length" => Some(Field::Size),
            _ => None,
        };
        self.depth += 1;
    }

    fn push(&mut self, text: &str) {
        match self.field {
            Some(Field::Key) => self.key += text,
            Some(Field::Size) => self.size += text,
            None => {}
        }
    }

    /// Whether it stands for a folder, as consoles make them: that is no file.
    fn is_folder(&self) -> bool {
        self.key.ends_with('/') && self.size.trim() == "0"
    }
}

/// A page of a listing without the keys that cannot be read, and these.
fn without_odd_keys(page: &[u8]) -> Result<(Vec<u8>, Vec<String>), quick_xml::Error> {
    let mut reader = Reader::from_reader(page);
    let (mut kept, mut odd) = (Vec::with_capacity(page.len()), Vec::new());
    let mut entry: Option<Entry> = None;
    let (mut copied, mut before) = (0, 0);
    loop {
        let event = reader.read_event()?;
        let after = usize::try_from(reader.buffer_position()).unwrap_or(page.len());
        match (event, &mut entry) {
            (Event::Eof, _) => break,
            (Event::Start(start), None) if matches!(start.local_name().as_ref(), "Contents" | "Blob") => {
                entry = Some(Entry { at: before, ..Entry::default() });
            }
            (Event::Start(start), Some(entry)) => entry.open(start.local_name().as_ref()),
            (Event::End(_), Some(entry)) if entry.depth > 0 => {
                (entry.field, entry.depth) = (None, entry.depth - 1);
            }
            (Event::End(_), Some(_)) => {
                if let Some(entry) = entry.take().filter(|entry| !is_plain(&entry.key)) {
                    kept.extend_from_slice(&page[copied..entry.at]);
                    copied = after;
                    if !entry.is_folder() {
                        odd.push(entry.key);
                    }
                }
            }
            (Event::Text(text), Some(entry)) => entry.push(&text.xml_content(Implicit1_0)),
            (Event::CData(text), Some(entry)) => entry.push(&text.xml_content(Implicit1_0)),
            (Event::GeneralRef(reference), Some(entry)) => {
                let known = match reference.resolve_char_ref() {
                    Ok(Some(character)) => Some(character.to_string()),
                    _ => resolve_xml_entity(&reference).map(str::to_owned),
                };
                // No key has the character that stands for one that is unknown.
                entry.push(known.as_deref().unwrap_or("\u{0}"));
            }
            _ => {}
        }
        before = after;
    }
    kept.extend_from_slice(&page[copied..]);
    Ok((kept, odd))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_keys_that_cannot_be_read_are_taken_out() {
        let object = |key: &str, size: &str| {
            format!("<Contents><Key>{key}</Key><Owner><ID>a//b</ID></Owner><Size>{size}</Size></Contents>")
        };
        let plain = [object("d/a.jsonl", "3"), object("d/a &amp; b.jsonl", "3"), object("x/", "0")];
        let odd = ["a//b", "./x", "/lead.jsonl", "trail.jsonl/", "a&#x1;b", "x/../y", "a&#10;b&amp;"];
        let objects: Vec<String> = odd.iter().map(|key| object(key, "1")).collect();
        let page = format!(
            "<?xml version=\"1.0\"?><List><Prefix>//</Prefix>{}{}{}{}{}</List>",
            plain[0],
            objects[..3].concat(),
            plain[1],
            objects[3..].concat(),
            plain[2]
        );
        let (kept, found) = without_odd_keys(page.as_bytes()).unwrap();
        let expected =
            format!("<?xml version=\"1.0\"?><List><Prefix>//</Prefix>{}{}</List>", plain[0], plain[1]);
        assert_eq!(String::from_utf8(kept).unwrap(), expected);
        assert_eq!(found, ["a//b", "./x", "/lead.jsonl", "trail.jsonl/", "a\u{1}b", "x/../y", "a\nb&"]);
        let azure = "<E><Blobs><Blob><Name>a//b</Name><Properties><Content-Length>0</Content-Length></Properties></Blob><Blob><Name>a</Name></Blob></Blobs></E>";
        let (kept, found) = without_odd_keys(azure.as_bytes()).unwrap();
        assert_eq!(kept, b"<E><Blobs><Blob><Name>a</Name></Blob></Blobs></E>");
        assert_eq!(found, ["a//b"]);
        assert!(without_odd_keys(b"<a><b></a>").is_err());
    }
}
