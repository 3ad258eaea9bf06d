//! Archives as crawlers write them, and damaged ones.

use super::*;
use crate::ingest::Columns as Mapped;
use crate::ingest::inflate::tests::gzip;
use proptest::prelude::*;
use std::io::Write;

fn record(kind: &str, address: &str, headers: &str, block: &[u8]) -> Vec<u8> {
    let head = format!(
        "WARC/1.0\r\nWARC-Type: {kind}\r\nWARC-Target-URI: {address}\r\nWARC-Date: 2026-01-02T03:04:05Z\r\n\
         {headers}Content-Length: {}\r\n\r\n",
        block.len()
    );
    [head.as_bytes(), block, b"\r\n\r\n"].concat()
}

fn response(address: &str, head: &str, body: &[u8]) -> Vec<u8> {
    let block = [format!("HTTP/1.1 {head}\r\n\r\n").as_bytes(), body].concat();
    record("response", address, "Content-Type: application/http; msgtype=response\r\n", &block)
}

fn page(number: usize) -> Vec<u8> {
    let body =
        format!("<html><p>Page {number} of the harbour, where boats rest. {}", "Tide. ".repeat(number % 50));
    response(&format!("https://e.org/{number}"), "200 OK\r\nContent-Type: text/html", body.as_bytes())
}

fn mapped() -> Mapped {
    Mapped {
        html: HTML.into(),
        text: Some(TEXT.into()),
        url: URL.into(),
        date: DATE.into(),
        ..Mapped::default()
    }
}

type Outcome = (u64, Result<Vec<Option<String>>, Fault>);

/// The rows of an archive, and how it ended.
fn rows_of(
    columns: &Mapped,
    bytes: &[u8],
    compression: Compression,
) -> (Vec<Outcome>, Result<(), Unreadable>) {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    let mut rows = Vec::new();
    let shown = |value: Option<Value>| {
        value.map(|value| match value {
            Value::Bytes(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
            Value::Text(text) | Value::Nested(text) => text,
        })
    };
    let ended = read(file, bytes.len() as u64, compression, &columns.wanted(), 1 << 20, |number, row| {
        rows.push((number, row.map(|row| row.slots.into_iter().map(shown).collect())));
        Ok::<_, io::Error>(())
    });
    (rows, ended.unwrap())
}

/// Compresses each record by itself.
fn members(records: &[Vec<u8>], compression: Compression) -> Vec<u8> {
    let one = |record: &Vec<u8>| match compression {
        Compression::Gzip => gzip(record),
        Compression::Zstd => zstd::encode_all(&record[..], 1).unwrap(),
        _ => record.clone(),
    };
    records.iter().flat_map(one).collect()
}

const ALL: [Compression; 3] = [Compression::Plain, Compression::Gzip, Compression::Zstd];

fn site() -> Vec<Vec<u8>> {
    let info = record("warcinfo", "", "", b"software: test\r\n");
    let request = record("request", "https://e.org/0", "", b"GET / HTTP/1.1\r\n\r\n");
    std::iter::once(info).chain((0..40).flat_map(|n| [request.clone(), page(n)])).collect()
}

#[test]
fn pages_are_read_from_archives_of_every_compression() {
    let text: Vec<u8> = site().concat();
    let mut archives = ALL.map(|compression| (members(&site(), compression), compression)).to_vec();
    // All records in one member, and members that end anywhere.
    archives.push((gzip(&text), Compression::Gzip));
    archives.push((text.chunks(1000).flat_map(gzip).collect(), Compression::Gzip));
    archives.push(([members(&site(), Compression::Gzip), vec![0; 100_000]].concat(), Compression::Gzip));
    for (bytes, compression) in archives {
        let (rows, ended) = rows_of(&mapped(), &bytes, compression);
        assert_eq!((rows.len(), ended), (40, Ok(())), "{compression:?}");
        let (number, row) = &rows[7];
        let row = row.as_ref().unwrap();
        assert_eq!(*number, 17);
        assert!(row[1].as_ref().unwrap().starts_with("<html><p>Page 7 "), "{row:?}");
        assert_eq!(row[2..], [Some("https://e.org/7".to_owned()), Some("2026-01-02T03:04:05Z".to_owned())]);
    }
}

#[test]
fn a_dictionary_of_zstd_is_used() {
    let samples: Vec<Vec<u8>> = (0..400).map(page).collect();
    let dictionary = samples[300..].concat();
    for packed in [false, true] {
        let stored = if packed { zstd::encode_all(&dictionary[..], 1).unwrap() } else { dictionary.clone() };
        let mut bytes = 0x184D_2A5D_u32.to_le_bytes().to_vec();
        bytes.extend((stored.len() as u32).to_le_bytes());
        bytes.extend(stored);
        for record in &samples[..50] {
            let mut encoder =
                zstd::stream::write::Encoder::with_dictionary(Vec::new(), 3, &dictionary).unwrap();
            encoder.write_all(record).unwrap();
            bytes.extend(encoder.finish().unwrap());
        }
        let (rows, ended) = rows_of(&mapped(), &bytes, Compression::Zstd);
        assert_eq!((rows.len(), ended), (50, Ok(())));
        assert!(rows.iter().all(|(_, row)| row.is_ok()));
    }
}

#[test]
fn a_flipped_byte_costs_one_record() {
    for compression in ALL {
        let records: Vec<Vec<u8>> = (0..60).map(page).collect();
        let whole = members(&records, compression);
        let mut lost = 0;
        for flip in 0..60 {
            let mut bytes = whole.clone();
            let at = (flip * bytes.len() / 60 + flip) % bytes.len();
            bytes[at] ^= 0x55;
            let (rows, ended) = rows_of(&mapped(), &bytes, compression);
            let good = rows.iter().filter(|(_, row)| row.is_ok()).count();
            let told = rows.len() - good + usize::from(ended.is_err());
            // What cannot be read is reported. In a file without checksums a changed letter cannot be seen.
            assert!(
                good + told >= 60 || compression == Compression::Plain,
                "{compression:?} {at}: {good} {told} {ended:?}"
            );
            assert!(good >= 58, "{compression:?} {at}: {good}");
            lost += 60 - good;
        }
        assert!(lost <= 66, "{compression:?}: {lost}");
    }
}

#[test]
fn lengths_that_are_wrong_cost_one_record() {
    let wrong = |old: &str, new: &str| {
        let text = String::from_utf8(page(3)).unwrap();
        assert!(text.contains(old));
        text.replace(old, new).into_bytes()
    };
    let length = page(3).len() - String::from_utf8(page(3)).unwrap().find("\r\n\r\n").unwrap() - 8;
    let right = format!("Content-Length: {length}");
    for new in
        ["Content-Length: 10", "Content-Length: 900000", "Content-Length: -1", "Content-Length: x", "X: 1"]
    {
        for compression in ALL {
            let records = [page(1), page(2), wrong(&right, new), page(4), page(5)];
            let (rows, ended) = rows_of(&mapped(), &members(&records, compression), compression);
            let outcome: Vec<bool> = rows.iter().map(|(_, row)| row.is_ok()).collect();
            assert_eq!(
                (outcome, ended),
                (vec![true, true, false, true, true], Ok(())),
                "{new} {compression:?}"
            );
            let Err(fault @ Fault::Damaged { offset, .. }) = &rows[2].1 else { panic!("{:?}", rows[2]) };
            assert_eq!(*offset, members(&records[..2], compression).len() as u64, "{fault}");
        }
    }
}

#[test]
fn a_file_that_is_cut_is_lost_from_there_on() {
    for compression in ALL {
        let bytes = members(&(0..10).map(page).collect::<Vec<_>>(), compression);
        let (rows, ended) = rows_of(&mapped(), &bytes[..bytes.len() - 40], compression);
        assert_eq!(rows.len(), 9, "{compression:?}");
        let Err(unreadable) = ended else { panic!("{compression:?}") };
        assert_eq!((unreadable.code(), unreadable.row()), ("damaged", Some(9)), "{unreadable}");
    }
    for text in ["", "no archive\n", "WARC", "http://e.org/ 1.2.3.4 20260102030405 text/html"] {
        let ended = rows_of(&mapped(), text.as_bytes(), Compression::Plain).1;
        let ended = ended.map_err(|ended| match ended {
            Unreadable::NotWarc(_) => Unreadable::NotWarc(String::new()),
            other => other,
        });
        assert_eq!(
            ended,
            if text.is_empty() { Ok(()) } else { Err(Unreadable::NotWarc(String::new())) },
            "{text}"
        );
    }
}

#[test]
fn records_without_a_page_have_a_reason() {
    let reason = |record: Vec<u8>| {
        let (rows, ended) =
            rows_of(&mapped(), &members(&[record, page(1)], Compression::Gzip), Compression::Gzip);
        assert_eq!((rows.len(), ended), (2, Ok(())));
        rows[0].1.as_ref().map_err(Fault::code).map(drop)
    };
    let address = "http://e.org/a";
    let html = "200 OK\r\nContent-Type: text/html";
    for (record, expected) in [
        (response(address, "404 Not Found\r\nContent-Type: text/html", b"<p>No"), Err("status")),
        (response(address, "301 Moved\r\nLocation: /b", b""), Err("status")),
        (response(address, "200 OK\r\nContent-Type: image/png", b"\x89PNG"), Err("media_type")),
        (response(address, html, b" \r\n"), Err("no_content")),
        (response(address, "200 OK\r\nContent-Type: text/plain", b"a\0\xFF\xFE\x01b"), Err("undecodable")),
        (
            response(address, &format!("{html}\r\nContent-Encoding: gzip"), b"\x1F\x8B\x08\0damaged"),
            Err("coding"),
        ),
        (record("response", address, "", b"no HTTP"), Err("http")),
        (record("revisit", address, "", b"HTTP/1.1 200 OK\r\n\r\n"), Err("revisit")),
        (record("continuation", address, "WARC-Segment-Number: 2\r\n", b"rest"), Err("segment")),
        (
            record("response", "dns:e.org", "Content-Type: text/dns\r\n", b"e.org. 1 IN A 1.2.3.4"),
            Err("address"),
        ),
        (response(address, html, &vec![b'x'; 2 << 20]), Err("too_long")),
        (response(address, "200 OK", b"a,b\n1,2\n"), Ok(())),
        (record("resource", "file:///a.html", "Content-Type: text/html\r\n", b"<p>A"), Ok(())),
    ] {
        let start = String::from_utf8_lossy(&record[..record.len().min(300)]).into_owned();
        assert_eq!(reason(record), expected, "{start}");
    }
}

#[test]
fn texts_of_wet_files_and_columns_of_both_heads_are_read() {
    let wet = record(
        "conversion",
        "https://e.org/",
        "Content-Type: text/plain\r\nWARC-Identified-Content-Language: zho,eng\r\n",
        "灯塔 and boats\n".as_bytes(),
    );
    let gbk = response(
        "<https://e.org/b>",
        "200 OK\r\nContent-Type: text/plain; charset=gbk\r\nLast-Modified: today",
        &encoding_rs::GBK.encode("所有权是程序管理内存的一组规则，所有程序都必须管理内存。").0,
    );
    let columns = Mapped {
        media_type: MEDIA_TYPE.into(),
        language: "WARC-Identified-Content-Language".into(),
        metadata: ["http.status", "http.last-modified", "offset", "warc-date"].into(),
        ..mapped()
    };
    let bytes = members(&[wet.clone(), gbk], Compression::Gzip);
    let (rows, _) = rows_of(&columns, &bytes, Compression::Gzip);
    let names: Vec<String> = columns.wanted().names().map(str::to_owned).collect();
    let of = |row: usize, name: &str| {
        let at = names.iter().position(|own| own == name).unwrap();
        rows[row].1.as_ref().unwrap()[at].clone().unwrap_or_default()
    };
    assert_eq!(of(0, TEXT), "灯塔 and boats\n");
    assert_eq!((of(0, MEDIA_TYPE), of(0, "http.status")), ("text/plain".to_owned(), String::new()));
    assert_eq!(of(0, "WARC-Identified-Content-Language"), "zho,eng");
    assert!(of(1, TEXT).starts_with("所有权"));
    assert_eq!(of(1, MEDIA_TYPE), "text/plain; charset=gbk");
    assert_eq!((of(1, "http.status"), of(1, "http.last-modified")), ("200".to_owned(), "today".to_owned()));
    assert_eq!(of(1, "offset"), gzip(&wet).len().to_string());
    assert_eq!(of(1, "warc-date"), "2026-01-02T03:04:05Z");
}

#[test]
fn archives_of_the_format_before_are_read() {
    let version = "filedesc://a.arc 0.0.0.0 19970102030405 text/plain 76\n\
         1 0 Alexa Internet\nURL IP-address Archive-date Content-type Archive-length\n\n";
    let of = |address: &str, body: &str| {
        let block = format!("HTTP/1.0 200 OK\r\nContent-Type: text/html\r\n\r\n{body}");
        format!("{address} 1.2.3.4 19970102030405 text/html {}\n{block}\n", block.len()).into_bytes()
    };
    let records =
        [version.as_bytes().to_vec(), of("http://e.org/a b", "<p>One"), of("http://e.org/c", "<p>Two")];
    for compression in ALL {
        let (rows, ended) = rows_of(&mapped(), &members(&records, compression), compression);
        assert_eq!((rows.len(), ended), (2, Ok(())), "{compression:?} {rows:?}");
        let row = rows[0].1.as_ref().unwrap();
        assert_eq!(
            row[1..],
            ["<p>One", "http://e.org/a b", "1997-01-02T03:04:05Z"].map(|text| Some(text.to_owned()))
        );
    }
}

#[test]
fn all_headers_can_be_metadata() {
    let columns = Mapped { metadata: ["*"].into(), ..mapped() };
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(&page(1)).unwrap();
    let mut names = Vec::new();
    let ended = read(file, page(1).len() as u64, Compression::Plain, &columns.wanted(), 1 << 20, |_, row| {
        names.extend(row.unwrap().rest.into_keys());
        Ok::<_, io::Error>(())
    });
    ended.unwrap().unwrap();
    assert_eq!(names, ["Content-Length", "Content-Type", "WARC-Type", "http.content-type"]);
}

#[test]
fn damage_takes_time_in_proportion_to_the_file() {
    // Each record is damaged, and each line of the plain file could begin one.
    let time = |count: usize| {
        let one = b"WARC/1.0\r\nWARC-Type: response\r\nContent-Length: 3\r\n\r\nshort\n\n\n".repeat(count);
        let began = std::time::Instant::now();
        let (rows, _) = rows_of(&mapped(), &one, Compression::Plain);
        assert!(rows.len() >= count / 2, "{}", rows.len());
        began.elapsed().as_secs()
    };
    assert!(time(20_000) < 20);
    for piece in ["WARC/1.0\n", "WARC/1.0\na: b\n", "WARC/1.0\r\nContent-Length: 99999999\r\n\r\n"] {
        for compression in [Compression::Plain, Compression::Gzip] {
            let text = [piece.as_bytes().repeat(1_500_000 / piece.len()), page(0)].concat();
            let bytes = if compression == Compression::Gzip { gzip(&text) } else { text };
            let began = std::time::Instant::now();
            rows_of(&mapped(), &bytes, compression).1.ok();
            assert!(began.elapsed().as_secs() < 20, "{piece} {compression:?} took {:?}", began.elapsed());
        }
    }
}

/// The addresses of the pages of an archive by their last part, and the reasons of what is rejected.
fn told(bytes: &[u8], compression: Compression) -> (Vec<String>, Vec<&'static str>, Result<(), Unreadable>) {
    let (rows, ended) = rows_of(&mapped(), bytes, compression);
    let name = |row: &Vec<Option<String>>| row[2].as_ref().unwrap().rsplit('/').next().unwrap().to_owned();
    let pages = rows.iter().filter_map(|(_, row)| row.as_ref().ok()).map(name).collect();
    (pages, rows.iter().filter_map(|(_, row)| row.as_ref().err()).map(Fault::code).collect(), ended)
}

fn numbers(numbers: impl IntoIterator<Item = usize>) -> Vec<String> {
    numbers.into_iter().map(|number| number.to_string()).collect()
}

#[test]
fn a_wrong_length_hides_no_other_record_of_its_member() {
    let wrong = |length: &str| {
        let text = String::from_utf8(page(3)).unwrap();
        let at = text.find("Content-Length: ").unwrap() + 16;
        let end = at + text[at..].find('\r').unwrap();
        format!("{}{length}{}", &text[..at], &text[end..]).into_bytes()
    };
    for length in ["10", "2503", "1000000000"] {
        let records: Vec<Vec<u8>> = (0..12).map(|n| if n == 3 { wrong(length) } else { page(n) }).collect();
        let whole = gzip(&records.concat());
        let by_three: Vec<u8> = records.chunks(3).flat_map(|records| gzip(&records.concat())).collect();
        let bytes: Vec<u8> = records.concat().chunks(700).flat_map(gzip).collect();
        let expected = (numbers((0..12).filter(|n| *n != 3)), vec!["damaged"], Ok(()));
        for (bytes, compression) in [
            (whole, Compression::Gzip),
            (by_three, Compression::Gzip),
            (bytes, Compression::Gzip),
            (records.concat(), Compression::Plain),
        ] {
            assert_eq!(told(&bytes, compression), expected, "{length} {compression:?}");
        }
    }
}

#[test]
fn damage_of_one_member_leaves_those_that_begin_within_records() {
    let text: Vec<u8> = (0..12).flat_map(page).collect();
    let mut members: Vec<Vec<u8>> = text.chunks(500).map(gzip).collect();
    let middle = members.len() / 2;
    members[middle][20] ^= 0x55;
    let (pages, reasons, ended) = told(&members.concat(), Compression::Gzip);
    assert!(
        pages.len() >= 8
            && !reasons.is_empty()
            && reasons.iter().all(|reason| *reason == "damaged")
            && ended == Ok(()),
        "{pages:?} {reasons:?} {ended:?}"
    );
}

#[test]
fn records_of_unknown_types_are_told() {
    let other = String::from_utf8(page(0))
        .unwrap()
        .replace("WARC-Type: response", "WARC-Type: respTnse")
        .into_bytes();
    let none = String::from_utf8(page(1)).unwrap().replace("WARC-Type: response\r\n", "").into_bytes();
    let expected = (numbers([2]), vec!["record_type"; 2], Ok(()));
    assert_eq!(told(&members(&[other, none, page(2)], Compression::Gzip), Compression::Gzip), expected);
}

#[test]
fn large_records_that_are_no_pages_count_as_such() {
    let large = |head: &str| response("http://e.org/v", head, &vec![b'x'; 3 << 20]);
    let png = "200 OK\r\nContent-Type: image/png\r\nContent-Encoding: br";
    let records = [
        large("200 OK\r\nContent-Type: video/mp4"),
        large("404 Not Found\r\nContent-Type: text/html"),
        response("http://e.org/p", png, b"\x89PNG\0"),
        large("200 OK\r\nContent-Type: text/html"),
    ];
    let reasons = told(&members(&records, Compression::Gzip), Compression::Gzip).1;
    assert_eq!(reasons, ["media_type", "status", "media_type", "too_long"]);
}

#[test]
fn media_types_and_heads_that_are_almost_right_are_read() {
    for head in [
        "200 OK\r\nContent-Type: text/html charset=utf-8",
        "200 OK\r\nContent-Type: text/html, text/html",
        "200 OK\r\nContent-Type: charset=utf-8",
        "103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Type: text/html",
    ] {
        let (rows, _) =
            rows_of(&mapped(), &response("<http://e.org/a>", head, b"<p>One two"), Compression::Plain);
        let row = rows[0].1.as_ref().unwrap_or_else(|fault| panic!("{head}: {fault}"));
        assert_eq!(
            (row[1].as_deref(), row[2].as_deref()),
            (Some("<p>One two"), Some("http://e.org/a")),
            "{head}"
        );
    }
    let text = record(
        "conversion",
        "http://e.org/t",
        "Content-Type: text/plain\r\n",
        b"<div> is an element of HTML.",
    );
    let (rows, _) = rows_of(&mapped(), &text, Compression::Plain);
    assert_eq!(rows[0].1.as_ref().unwrap()[0].as_deref(), Some("<div> is an element of HTML."));
    let block = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n<p>One";
    let resource =
        record("resource", "http://e.org/r", "Content-Type: application/http; msgtype=response\r\n", block);
    assert_eq!(told(&resource, Compression::Plain).0, ["r"]);
}

#[test]
fn a_damaged_arc_record_costs_itself() {
    let of = |address: &[u8], date: &str| {
        let block = b"HTTP/1.0 200 OK\r\nContent-Type: text/html\r\n\r\n<p>One";
        let head = format!(" 1.2.3.4 {date} text/html {}\n", block.len());
        [address, head.as_bytes(), block, b"\n"].concat()
    };
    let good = |n: usize| of(format!("http://e.org/{n}").as_bytes(), "19970102030405");
    for compression in ALL {
        let records = [
            good(0),
            of(b"http://e.org/\xE9", "19970102030405"),
            of(b"http://e.org/x", "199701020304"),
            good(3),
        ];
        let (pages, reasons, ended) = told(&members(&records, compression), compression);
        assert_eq!(
            (pages, reasons, ended),
            (vec!["0".into(), "\u{e9}".into(), "3".into()], vec!["damaged"], Ok(()))
        );
    }
}

#[test]
fn damage_costs_no_budget_of_other_records() {
    let wrong = b"WARC/1.0\r\nWARC-Type: response\r\nContent-Length: 1000000000000\r\n\r\nx\r\n\r\n";
    let large =
        response("http://e.org/l", "200 OK\r\nContent-Type: text/html", &b"<p>Boats rest. ".repeat(20_000));
    let bytes = [large.clone(), wrong.repeat(5000), large].concat();
    let (pages, reasons, ended) = told(&bytes, Compression::Plain);
    assert_eq!((pages, reasons.len(), ended), (vec!["l".to_owned(); 2], 5000, Ok(())));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]
    #[test]
    fn damaged_archives_give_rows_or_reasons_and_never_panic(
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..20),
        cut in any::<Option<prop::sample::Index>>(),
        compression in prop::sample::select(ALL.to_vec()),
    ) {
        let mut bytes = members(&(0..8).map(page).collect::<Vec<_>>(), compression);
        for (at, byte) in flips {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        let (rows, ended) = rows_of(&mapped(), &bytes, compression);
        prop_assert!(!rows.is_empty() || ended.is_err());
    }
}
