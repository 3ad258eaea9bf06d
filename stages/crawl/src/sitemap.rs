//! Sitemaps (sitemaps.org): the addresses in a file of XML or of plain lines.
//!
//! It does not know how the file is fetched or which addresses are of interest. No entity is expanded but the five of XML
//! and references to characters, and a document type is passed over.

use quick_xml::{Reader, events::Event};

/// Maximum number of addresses in a file, as the protocol says.
const ADDRESSES_MAX: usize = 50_000;

/// A longer address is passed over, as the protocol says.
const ADDRESS_BYTES_MAX: usize = 2048;

/// What a sitemap lists.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Sitemap {
    /// Addresses of pages, as written.
    pub(crate) pages: Vec<String>,
    /// Addresses of further sitemaps, as written.
    pub(crate) sitemaps: Vec<String>,
    /// Addresses beyond the limit, or too long.
    pub(crate) cut: u64,
    /// Where the file stops being XML.
    pub(crate) damaged: Option<String>,
}

impl Sitemap {
    /// Reads a sitemap without its codings.
    pub(crate) fn read(bytes: &[u8]) -> Self {
        let bytes = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes);
        let mut sitemap = Self::default();
        if bytes.trim_ascii_start().starts_with(b"<") {
            sitemap.xml(bytes);
        } else {
            for line in String::from_utf8_lossy(bytes).lines() {
                sitemap.add(line, false);
            }
        }
        sitemap
    }

    fn add(&mut self, address: &str, is_sitemap: bool) {
        let address = address.trim();
        if address.is_empty() {
            return;
        }
        if address.len() > ADDRESS_BYTES_MAX || self.pages.len() + self.sitemaps.len() >= ADDRESSES_MAX {
            self.cut += 1;
        } else if is_sitemap {
            self.sitemaps.push(address.to_owned());
        } else {
            self.pages.push(address.to_owned());
        }
    }

    fn xml(&mut self, bytes: &[u8]) {
        let text = String::from_utf8_lossy(bytes);
        let mut reader = Reader::from_str(&text);
        // Mismatched tags do no harm here.
        reader.config_mut().check_end_names = false;
        reader.config_mut().allow_unmatched_ends = true;
        reader.config_mut().allow_dangling_amp = true;
        let (mut in_sitemap, mut address) = (false, None::<String>);
        loop {
            let place = reader.buffer_position();
            match reader.read_event() {
                Err(error) => {
                    self.damaged = Some(format!("byte {place}: {error}"));
                    break;
                }
                Ok(Event::Eof) => break,
                Ok(Event::Start(start)) => match start.local_name().as_ref() {
                    name if is(name, "sitemap") => in_sitemap = true,
                    name if is(name, "url") => in_sitemap = false,
                    name if is(name, "loc") => address = Some(String::new()),
                    _ => {}
                },
                Ok(Event::End(end)) if is(end.local_name().as_ref(), "loc") => {
                    if let Some(address) = address.take() {
                        self.add(&address, in_sitemap);
                    }
                }
                Ok(Event::Text(part)) => push(&mut address, &part.xml10_content()),
                Ok(Event::CData(part)) => push(&mut address, &part.xml10_content()),
                Ok(Event::GeneralRef(reference)) => {
                    let known = match reference.resolve_char_ref() {
                        Ok(Some(letter)) => Some(letter),
                        _ => match &*reference.xml10_content() {
                            "amp" => Some('&'),
                            "lt" => Some('<'),
                            "gt" => Some('>'),
                            "quot" => Some('"'),
                            "apos" => Some('\''),
                            _ => None,
                        },
                    };
                    if let Some(letter) = known {
                        push(&mut address, letter.encode_utf8(&mut [0; 4]));
                    }
                }
                Ok(_) => {}
            }
        }
    }
}

fn is(name: &str, wanted: &str) -> bool {
    name.eq_ignore_ascii_case(wanted)
}

/// Adds to an address that is being read; one that is too long grows no further.
fn push(address: &mut Option<String>, part: &str) {
    if let Some(address) = address
        && address.len() <= ADDRESS_BYTES_MAX
    {
        address.push_str(part);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_and_further_sitemaps_are_listed() {
        let sitemap = Sitemap::read(
            b"\xEF\xBB\xBF<?xml version='1.0'?><!DOCTYPE x [<!ENTITY e 'boom'>]>\n\
              <urlset xmlns='http://www.sitemaps.org/schemas/sitemap/0.9' xmlns:i='x'>\n\
              <url><loc> http://h/a?b=1&amp;c=&#50; </loc><lastmod>2024</lastmod><i:image><i:loc/></i:image></url>\n\
              <url><loc><![CDATA[http://h/c&d]]></loc></url><url><loc>http://h/&e;x</loc></url></urlset>",
        );
        assert_eq!(sitemap.pages, ["http://h/a?b=1&c=2", "http://h/c&d", "http://h/x"]);
        assert_eq!((sitemap.sitemaps.len(), sitemap.damaged), (0, None));
        let index =
            Sitemap::read(b"<sitemapindex><sitemap><loc>http://h/s.xml.gz</loc></sitemap></sitemapindex>");
        assert_eq!((index.sitemaps, index.pages.len()), (vec!["http://h/s.xml.gz".to_owned()], 0));
        let lines = Sitemap::read(b"http://h/1\r\n\nhttp://h/2\n");
        assert_eq!(lines.pages, ["http://h/1", "http://h/2"]);
    }

    #[test]
    fn hostile_files_are_cut() {
        let deep = Sitemap::read("<a>".repeat(100_000).as_bytes());
        assert_eq!(deep.pages.len(), 0);
        let long = format!("<urlset><url><loc>http://h/{}</loc></url></urlset>", "x".repeat(1 << 20));
        assert_eq!(Sitemap::read(long.as_bytes()).cut, 1);
        let many = "<url><loc>http://h/</loc></url>".repeat(ADDRESSES_MAX + 3);
        let many = Sitemap::read(many.as_bytes());
        assert_eq!((many.pages.len(), many.cut), (ADDRESSES_MAX, 3));
        let torn = Sitemap::read(b"<urlset><url><loc>http://h/a</loc></url><url><!-- ");
        assert_eq!(torn.pages, ["http://h/a"]);
        assert!(torn.damaged.is_some());
    }
}
