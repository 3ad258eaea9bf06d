//! Files of records through the whole stage: files in; shards, rejections and metrics out.

use super::inflate::tests::{bzip2, gzip};
use super::table::tests::file as parquet;
use super::*;
use crate::documents::{Document, DocumentReader};
use pipe_stage::testing::Bench;
use pipe_stage::{Event, Mode, Outcome};
use proptest::prelude::*;
use std::fmt::Write;

/// A stage with one source named `data`, with the files of one folder.
pub(super) struct Case {
    pub(super) stage: Ingest,
    pub(super) files: Vec<(String, Vec<u8>)>,
}

/// What a stage made.
pub(super) struct Made {
    pub(super) outcome: Outcome,
    pub(super) documents: Vec<Document>,
    pub(super) shards: Vec<String>,
    pub(super) rejected: String,
    pub(super) notes: Vec<String>,
}

impl Case {
    pub(super) fn new(glob: &str, columns: Columns) -> Self {
        let source = Source { glob: glob.into(), name: "data".into(), columns, ..Source::default() };
        Self {
            stage: Ingest { sources: vec![source], shard_documents: Some(8), ..Ingest::default() },
            files: vec![],
        }
    }

    pub(super) fn file(mut self, name: &str, bytes: impl AsRef<[u8]>) -> Self {
        self.files.push((name.to_owned(), bytes.as_ref().to_vec()));
        self
    }

    pub(super) fn stage(mut self, change: impl FnOnce(&mut Ingest)) -> Self {
        change(&mut self.stage);
        self
    }

    pub(super) fn run_with(&self, threads: usize) -> Result<Made> {
        assert_eq!(self.stage.check(), []);
        let (folder, store) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        for (name, bytes) in &self.files {
            std::fs::write(folder.path().join(name), bytes).unwrap();
        }
        let nowhere = |_: &str| None;
        let places = Places { project: folder.path().to_owned(), variable: &nowhere };
        let label = self.stage.sources(&places).unwrap()[0].source.clone();
        let mut bench = Bench::new(store.path()).unwrap();
        bench.threads = threads;
        let sources = Bench::sources(&label, folder.path()).unwrap();
        let outcome = bench.enter(&self.stage, &[], sources, Mode::Here)?;
        let note = |event| if let Event::Note { message } = event { Some(message) } else { None };
        let notes = bench.events.lock().unwrap().drain(..).filter_map(note).collect();
        let entries = bench.output(&outcome, "documents").unwrap();
        let mut documents = Vec::new();
        for entry in bench.open(&entries) {
            let rows = DocumentReader::of_entry(&entry).unwrap().rows().unwrap();
            documents.extend(rows.map(|row| row.unwrap().document));
        }
        let rejected = bench.open(&bench.output(&outcome, "rejected").unwrap());
        let rejected = rejected.iter().flat_map(|file| file.bytes().unwrap()).collect();
        Ok(Made {
            documents,
            shards: entries.entries.into_iter().map(|entry| entry.name).collect(),
            rejected: String::from_utf8(rejected).unwrap(),
            outcome,
            notes,
        })
    }

    pub(super) fn run(&self) -> Made {
        self.run_with(2).unwrap_or_else(|error| panic!("{error}"))
    }

    /// Digest of the documents in shards by id.
    pub(super) fn digest(&self) -> String {
        let stage = Ingest { shard_by: ShardBy::Id, ..self.stage.clone() };
        Self { stage, files: self.files.clone() }.run().outcome.outputs["documents"].to_string()
    }
}

impl Made {
    pub(super) fn ids(&self) -> BTreeSet<String> {
        self.documents.iter().map(|document| document.id.clone()).collect()
    }

    pub(super) fn metric(&self, name: &str) -> f64 {
        self.outcome.metrics.iter().find(|metric| metric.name == name).map_or(0.0, |metric| metric.value)
    }

    pub(super) fn reasons(&self) -> Vec<(String, Option<u64>, String)> {
        let line = |line: &str| {
            let line: serde_json::Value = serde_json::from_str(line).unwrap();
            let text = |name: &str| line[name].as_str().unwrap().to_owned();
            (text("id"), line["row"].as_u64(), text("reason"))
        };
        self.rejected.lines().map(line).collect()
    }
}

pub(super) fn mapped() -> Columns {
    Columns { id: "key".into(), text: Some("body".into()), url: "link".into(), ..Columns::default() }
}

/// Key, body, link; bodies contain line breaks and quotes.
pub(super) fn rows(count: usize) -> Vec<[String; 3]> {
    let row = |n: usize| [format!("k{n}"), format!("Body \"{n}\",\n你好"), format!("https://e.org/{n}")];
    (0..count).map(row).collect()
}

pub(super) fn jsonl(rows: &[[String; 3]]) -> String {
    let line = |[key, body, link]: &[String; 3]| {
        format!("{}\n", serde_json::json!({"body": body, "other": [1], "key": key, "link": link}))
    };
    rows.iter().map(line).collect()
}

fn csv(rows: &[[String; 3]], delimiter: char) -> String {
    let mut text = ["link", "key", "other", "body\r\n"].join(&delimiter.to_string());
    for [key, body, link] in rows {
        let body = body.replace('"', "\"\"");
        write!(text, "{link}{delimiter}{key}{delimiter}{delimiter}\"{body}\"\r\n").unwrap();
    }
    text
}

fn table(rows: &[[String; 3]]) -> Vec<u8> {
    let column = |at: usize| rows.iter().map(|row| Some(row[at].as_str())).collect();
    parquet(&[("key", column(0)), ("link", column(2)), ("body", column(1))])
}

#[test]
fn the_same_rows_make_the_same_shards_whatever_their_format() {
    let rows = rows(100);
    let digest = Case::new("*.jsonl", mapped()).file("a.jsonl", jsonl(&rows)).digest();
    assert_eq!(&digest[..16], "0e6d9b5bebb3f28e");
    let other = [
        Case::new("*.csv", mapped()).file("a.csv", csv(&rows, ',')),
        Case::new("*.parquet", mapped()).file("a.parquet", table(&rows)),
        Case::new("*.jsonl.gz", mapped()).file("x.jsonl.gz", gzip(jsonl(&rows).as_bytes())),
        Case::new("*.csv.bz2", mapped()).file("x.csv.bz2", bzip2(csv(&rows, ',').as_bytes())),
        Case::new("*.jsonl*", mapped())
            .file("1.jsonl.zst", zstd::encode_all(jsonl(&rows[70..]).as_bytes(), 3).unwrap())
            .file("2.jsonl", jsonl(&rows[..70])),
        Case::new("*.tsv", mapped()).file("a.tsv", csv(&rows, '\t')),
    ];
    for case in other {
        let name = case.files[0].0.clone();
        assert_eq!(case.digest(), digest, "{name}");
    }
}

#[test]
fn threads_do_not_matter_and_all_rows_are_there() {
    let rows = rows(300);
    let case = Case::new("*.jsonl", mapped())
        .file("a.jsonl", jsonl(&rows[..200]))
        .file("b.jsonl", jsonl(&rows[200..]));
    let (one, four) = (case.run_with(1).unwrap(), case.run_with(4).unwrap());
    assert_eq!(one.outcome.outputs["documents"], four.outcome.outputs["documents"]);
    let expected = rows.iter().map(|[key, ..]| format!("data/{key}")).collect();
    assert_eq!(one.ids(), expected);
    assert!(one.shards.len() > 300 / 8, "{:?}", one.shards);
    assert_eq!(
        (one.metric("documents"), one.metric("rows"), one.metric("shards")),
        (300.0, 300.0, one.shards.len() as f64)
    );
    assert_eq!(one.outcome.metrics[0].name, "documents");
    assert_eq!(&one.outcome.outputs["documents"].to_string()[..16], "773622ceeeff82d1");
}

#[test]
fn a_changed_row_changes_one_shard() {
    let mut rows = rows(100);
    let run = |rows: &[[String; 3]]| Case::new("*.jsonl", mapped()).file("a.jsonl", jsonl(rows)).run();
    let before = run(&rows);
    rows[40][1] = "Another text".into();
    let after = run(&rows);
    assert_eq!(before.shards, after.shards);
    let changed = before.documents.iter().zip(&after.documents).filter(|(a, b)| a != b).count();
    assert_eq!(changed, 1);
}

#[test]
fn without_a_mapped_id_file_and_row_are_the_id() {
    let made = Case::new("*.jsonl", Columns::default())
        .file("a.jsonl", "{\"text\": \"A\"}\n\n{\"text\": \"B\"}\n")
        .file("b.jsonl", "{\"text\": \"C\"}\n")
        .run();
    assert_eq!(made.ids(), ["data/a.jsonl:1", "data/a.jsonl:3", "data/b.jsonl:1"].map(str::to_owned).into());
    assert!(made.documents.iter().all(|document| document.source == "data" && document.url.is_empty()));
}

#[test]
fn broken_input_is_told_with_file_row_and_reason() {
    let good = "{\"text\": \"A\"}\n";
    let lines = [good.as_bytes(), b"{\"text\": \n{\"body\": \"B\"}\n{\"text\": \"\xFF\"}\n{\"text\": [1]}\n"]
        .concat();
    let long = gzip(
        (0..5000).map(|n| format!("{{\"text\": \"{n} {}\"}}\n", n * 7919)).collect::<String>().as_bytes(),
    );
    let case = Case::new("*.jsonl*", Columns::default())
        .file("a.jsonl", lines)
        .file("b.jsonl.gz", &long[..long.len() / 2])
        .file("c.jsonl.gz", good);
    let error = case.run_with(2).map(drop).unwrap_err().to_string();
    assert!(
        error.starts_with("2 of 3 files could not be read to the end, but `files_lost_max` is 0:"),
        "{error}"
    );
    assert!(error.contains("\n4 of "), "{error}");
    assert!(error.contains("`data/a.jsonl, row 2`: it is not a JSON object: expected a value"), "{error}");
    let case = case.stage(|stage| stage.errors_max = 6);
    let error = case.run_with(2).map(drop).unwrap_err().to_string();
    assert!(
        error.contains("`data/b.jsonl.gz`: the rest of the file after row")
            && error.contains("is lost: it ends in the middle of its gzip data")
            && !error.contains("errors_max"),
        "{error}"
    );
    let made = case.stage(|stage| stage.files_lost_max = 2).run();
    let reasons = made.reasons();
    let of_a = |row, reason: &str| ("data/a.jsonl".to_owned(), Some(row), reason.to_owned());
    assert_eq!(reasons[..4], [of_a(2, "json"), of_a(3, "no_text"), of_a(4, "not_utf8"), of_a(5, "not_text")]);
    assert_eq!((reasons[4].0.as_str(), reasons[4].2.as_str()), ("data/b.jsonl.gz", "truncated"));
    let whole = reasons[4].1.unwrap();
    assert!(whole > 1000, "what comes before the damage is kept: {whole}");
    assert_eq!(reasons[5], ("data/c.jsonl.gz".to_owned(), Some(0), "damaged".to_owned()));
    assert_eq!(made.documents.len() as u64, whole + 1);
    assert_eq!(made.metric("rejected"), 6.0);
}

#[test]
fn broken_csv_and_parquet_are_told_too() {
    let made = Case::new("*.csv", Columns::default())
        .file("a.csv", "text,b\nA,1\nB\nC,1,2\nD,1\n")
        .file("b.csv", "body\nA\n")
        .file("c.csv", "")
        .stage(|stage| (stage.errors_max, stage.files_lost_max) = (2, 2))
        .run();
    let line = |file: &str, row, reason: &str| (format!("data/{file}"), row, reason.to_owned());
    let expected = [
        line("a.csv", Some(2), "ragged"),
        line("a.csv", Some(3), "ragged"),
        line("b.csv", None, "no_column"),
        line("c.csv", None, "no_header"),
    ];
    assert_eq!((made.reasons(), made.documents.len()), (expected.to_vec(), 2));
    let made = Case::new("*.parquet", Columns::default())
        .file("a.parquet", "no Parquet")
        .file("b.parquet", parquet(&[("text", vec![Some("A"), None])]))
        .file("c.parquet", parquet(&[("body", vec![Some("A")])]))
        .stage(|stage| (stage.errors_max, stage.files_lost_max) = (1, 2))
        .run();
    let expected = [
        line("a.parquet", None, "not_parquet"),
        line("b.parquet", Some(2), "no_text"),
        line("c.parquet", None, "no_column"),
    ];
    assert_eq!((made.reasons(), made.documents.len()), (expected.to_vec(), 1));
    assert!(!made.rejected.contains("/tmp"), "no path of the machine is in the output: {}", made.rejected);
}

#[test]
fn a_record_or_line_that_is_too_large_is_rejected() {
    let large = format!("{{\"text\": \"{}\"}}\n", "x".repeat((1 << 20) + 1));
    let endless = format!("{{\"text\": \"{}\"}}\n", "x".repeat(5 << 20));
    let made = Case::new("*.jsonl", Columns::default())
        .file("a.jsonl", format!("{large}{endless}{{\"text\": \"A\"}}\n"))
        .stage(|stage| (stage.errors_max, stage.page_mib_max) = (2, 1))
        .run();
    let reasons: Vec<String> = made.reasons().into_iter().map(|(_, _, reason)| reason).collect();
    assert_eq!((reasons, made.documents.len()), (vec!["too_large".to_owned(), "too_long".to_owned()], 1));
    for message in [
        "it has 1048577 bytes of text and metadata, more than 1048576, the limit `page_mib_max`",
        "it is longer than 4194304 bytes, four times the limit `page_mib_max`",
    ] {
        assert!(made.rejected.contains(message), "{}", made.rejected);
    }
}

#[test]
fn texts_that_are_too_large_or_damaged_are_told_as_such() {
    let text: String = (0..4000).map(|n| format!("{n} {}\n", n * 7919)).collect();
    let zipped = gzip(text.as_bytes());
    let mut flipped = zipped.clone();
    let middle = flipped.len() / 2;
    flipped[middle] ^= 0x55;
    let zstd = zstd::encode_all(text.as_bytes(), 3).unwrap();
    let made = Case::new("*.txt*", Columns::default())
        .file("a.txt.gz", &zipped[..zipped.len() / 2])
        .file("b.txt.gz", &flipped)
        .file("c.txt.zst", &zstd[..zstd.len() / 2])
        .file("d.txt.bz2", "plain")
        .file("e.txt", "x".repeat((1 << 20) + 1))
        .file("f.txt.gz", gzip("x".repeat(5 << 20).as_bytes()))
        .file("g.txt", b"\xFF\xFE\xFD")
        .file("h.txt", "")
        .file("i.txt.gz", &zipped)
        .stage(|stage| (stage.errors_max, stage.page_mib_max, stage.shard_documents) = (8, 1, Some(100)))
        .run();
    let mut reasons: Vec<(String, String)> =
        made.reasons().into_iter().map(|(id, _, reason)| (id["data/".len()..].to_owned(), reason)).collect();
    reasons.sort();
    let expected = [
        ("a.txt.gz", "truncated"),
        ("b.txt.gz", "damaged"),
        ("c.txt.zst", "truncated"),
        ("d.txt.bz2", "damaged"),
        ("e.txt", "too_large"),
        ("f.txt.gz", "too_large"),
        ("g.txt", "undecodable"),
        ("h.txt", "empty"),
    ];
    assert_eq!(reasons, expected.map(|(file, reason)| (file.to_owned(), reason.to_owned())));
    for message in [
        "it ends in the middle of its gzip data",
        "its gzip data is damaged: ",
        "it has 1048577 bytes, more than 1048576, the limit `page_mib_max`",
        "it has more than 1048576 bytes when decompressed, the limit `page_mib_max`",
        "it is not UTF-8; if the file has another encoding, set `encoding`",
    ] {
        assert!(made.rejected.contains(message), "{message}: {}", made.rejected);
    }
    assert_eq!(made.documents.len(), 1);
}

#[test]
fn files_without_records_are_listed_and_are_no_loss() {
    let empty = |file: &str| (format!("data/{file}"), None, "empty".to_owned());
    let lines = Case::new("*.jsonl*", Columns::default())
        .file("a.jsonl", "")
        .file("b.jsonl", " \n\n")
        .file("c.jsonl.gz", gzip(b""))
        .file("d.jsonl", "{\"text\": \"A\"}\n")
        .run();
    assert_eq!(lines.reasons(), ["a.jsonl", "b.jsonl", "c.jsonl.gz"].map(empty));
    assert_eq!((lines.documents.len(), lines.metric("rejected")), (1, 0.0));
    let others = [
        Case::new("*.csv", Columns::default()).file("a.csv", "text,b\n").file("b.csv", "text,b\nA,1\n"),
        Case::new("*.json", Columns::default()).file("a.json", "[]").file("b.json", "[{\"text\": \"A\"}]"),
        Case::new("*.parquet", Columns::default())
            .file("a.parquet", parquet(&[("text", vec![])]))
            .file("b.parquet", parquet(&[("text", vec![Some("A")])])),
    ];
    for case in others {
        let made = case.run();
        assert_eq!((made.reasons(), made.documents.len()), (vec![empty(&case.files[0].0)], 1));
    }
}

#[test]
fn an_object_with_a_key_twice_is_rejected() {
    let made = Case::new("*.jsonl", Columns { metadata: ["messages"].into(), ..Columns::default() })
        .file(
            "a.jsonl",
            "{\"text\": \"A\", \"text\": \"B\"}\n\
             {\"text\": \"C\", \"messages\": [{\"role\": \"user\", \"role\": \"system\"}]}\n\
             {\"text\": \"D\", \"other\": 1, \"other\": 2}\n",
        )
        .stage(|stage| stage.errors_max = 2)
        .run();
    let line = |row| ("data/a.jsonl".to_owned(), Some(row), "duplicate_key".to_owned());
    assert_eq!((made.reasons(), made.documents.len()), (vec![line(1), line(2)], 1));
    assert!(made.rejected.contains("it has the key `role` twice in one object"), "{}", made.rejected);
}

#[test]
fn the_list_of_the_rejected_is_bounded() {
    let made = Case::new("*.jsonl", Columns::default())
        .file("a.jsonl", "{}\n".repeat(3000))
        .stage(|stage| stage.errors_max = 3000)
        .run();
    assert_eq!((made.metric("rejected"), made.rejected.lines().count()), (3000.0, 1001));
    assert!(made.rejected.ends_with("\"reason\":\"more\",\"explanation\":\"2000 more are not listed\"}\n"));
}

#[test]
fn of_records_with_one_id_the_first_counts() {
    let line = |key: &str, body: &str| format!("{{\"key\": \"{key}\", \"body\": \"{body}\"}}\n");
    let made = Case::new("*.jsonl", Columns { url: String::new(), ..mapped() })
        .file("a.jsonl", line("x", "first") + &line("y", "only") + &line("x", "second"))
        .file("b.jsonl", line("x", "third"))
        .run();
    let texts: BTreeSet<(&str, &str)> =
        made.documents.iter().map(|document| (document.id.as_str(), document.text.as_str())).collect();
    assert_eq!(texts, [("data/x", "first"), ("data/y", "only")].into());
    assert_eq!(made.metric("duplicates"), 2.0);
    assert_eq!(made.reasons(), vec![("data/x".to_owned(), None, "duplicate_id".to_owned()); 2]);
    let limited = Case::new("*.jsonl", Columns { url: String::new(), ..mapped() })
        .file("a.jsonl", line("x", "first") + &line("x", "second"))
        .stage(|stage| stage.duplicates_max = Some(0));
    let error = limited.run_with(1).map(drop).unwrap_err().to_string();
    assert!(
        error.starts_with("1 record with a repeated id was left out, but `duplicates_max` is 0"),
        "{error}"
    );
}

#[test]
fn one_id_for_all_records_keeps_the_first() {
    let text: String = (0..2000).map(|n| format!("{{\"key\": \"x\", \"body\": \"{n}\"}}\n")).collect();
    let made = Case::new("*.jsonl", Columns { url: String::new(), ..mapped() }).file("a.jsonl", text).run();
    assert_eq!((made.documents.len(), made.documents[0].text.as_str()), (1, "0"));
    assert_eq!(made.metric("duplicates"), 1999.0);
}

#[test]
fn json_lists_arrow_and_xz_give_the_same_documents() {
    let rows = rows(40);
    let digest = Case::new("*.jsonl", mapped()).file("a.jsonl", jsonl(&rows)).digest();
    let list = format!("[{}]", jsonl(&rows).trim_end().replace("}\n{", "},\n{"));
    assert_eq!(Case::new("*.json", mapped()).file("a.json", list).digest(), digest);
    assert_eq!(Case::new("*.json", mapped()).file("a.json", jsonl(&rows)).digest(), digest);
    for is_stream in [true, false] {
        let bytes = arrow(&rows, is_stream);
        assert_eq!(Case::new("*.arrow", mapped()).file("a.arrow", bytes).digest(), digest);
    }
    let broken = Case::new("*.arrow", mapped()).file("a.arrow", "no Arrow").run_with(1).map(drop);
    assert!(broken.unwrap_err().to_string().contains("it is not a readable file or stream of Arrow"));
}

/// An Arrow file with types that Parquet lacks.
fn arrow(rows: &[[String; 3]], is_stream: bool) -> Vec<u8> {
    use ::arrow::array::{ArrayRef, DictionaryArray, LargeStringArray, RecordBatch, StringViewArray};
    use ::arrow::datatypes::Int8Type;
    let column = |at: usize| rows.iter().map(move |row| row[at].as_str());
    let columns: [(&str, ArrayRef); 3] = [
        ("key", std::sync::Arc::new(LargeStringArray::from_iter_values(column(0)))),
        ("body", std::sync::Arc::new(StringViewArray::from_iter_values(column(1)))),
        ("link", std::sync::Arc::new(column(2).collect::<DictionaryArray<Int8Type>>())),
    ];
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    if is_stream {
        let mut writer = arrow_ipc::writer::StreamWriter::try_new(Vec::new(), &batch.schema()).unwrap();
        writer.write(&batch).unwrap();
        return writer.into_inner().unwrap();
    }
    let mut writer = arrow_ipc::writer::FileWriter::try_new(Vec::new(), &batch.schema()).unwrap();
    writer.write(&batch).unwrap();
    writer.into_inner().unwrap()
}

#[test]
fn numbers_and_ids_are_as_they_are_written() {
    let columns = || Columns { id: "id".into(), metadata: ["n"].into(), ..Columns::default() };
    let jsonl = "{\"id\": 18446744073709551617, \"text\": \"a\", \"n\": 0.94527069555392230}\n\
                 {\"id\": 18446744073709551618, \"text\": \"b\", \"n\": 1.50}\n";
    let csv = "id,text,n\n18446744073709551617,a,0.94527069555392230\n18446744073709551618,b,1.50\n";
    let made = Case::new("*.jsonl", columns()).file("a.jsonl", jsonl).run();
    assert_eq!(
        made.ids(),
        ["data/18446744073709551617", "data/18446744073709551618"].map(str::to_owned).into()
    );
    let digest = Case::new("*.jsonl", columns()).file("a.jsonl", jsonl).digest();
    assert_eq!(Case::new("*.csv", columns()).file("a.csv", csv).digest(), digest);
}

#[test]
fn text_in_other_encodings_is_read_as_it_is_meant() {
    let encoded = |text: &str, encoding: &'static encoding_rs::Encoding| encoding.encode(text).0.into_owned();
    let with = |encoding: &'static str| move |stage: &mut Ingest| stage.sources[0].encoding = encoding.into();
    let csv = encoded("text,note\nПривет,да\n", encoding_rs::WINDOWS_1251);
    let made = Case::new("*.csv", Columns::default()).file("a.csv", &csv).stage(with("cp1251")).run();
    assert_eq!(made.documents[0].text, "Привет");
    let refused =
        Case::new("*.csv", Columns::default()).file("a.csv", &csv).run_with(1).map(drop).unwrap_err();
    assert!(refused.to_string().contains("set `encoding`"), "{refused}");
    let jsonl = encoded("{\"text\": \"日本語\"}\n", encoding_rs::SHIFT_JIS);
    let made = Case::new("*.jsonl", Columns::default()).file("a.jsonl", jsonl).stage(with("shift_jis")).run();
    assert_eq!(made.documents[0].text, "日本語");
    let text = encoded("中文\n", encoding_rs::GB18030);
    let made = Case::new("*.txt", Columns::default()).file("a.txt", text).stage(with("gb18030")).run();
    assert_eq!(made.documents[0].text, "中文\n");
    let undeclared = Case::new("*.txt", Columns::default()).file("a.txt", b"Gr\xFC\xDFe\n").run_with(1);
    assert!(undeclared.map(drop).unwrap_err().to_string().contains("set `encoding`"));
    let mut marked = vec![0xFF, 0xFE];
    marked.extend("text\nÄ\n".encode_utf16().flat_map(u16::to_le_bytes));
    assert_eq!(Case::new("*.csv", Columns::default()).file("a.csv", &marked).run().documents[0].text, "Ä");
    assert_eq!(
        Case::new("*.txt", Columns::default()).file("a.txt", &marked).run().documents[0].text,
        "text\nÄ\n"
    );
}

#[test]
fn source_code_is_verbatim() {
    let code = "fn main() {\r\n\tlet a  = \"<T>\";\n}\n";
    let made = Case::new("*.{rs,mk}", Columns::default())
        .file("a.rs", code)
        .stage(|stage| stage.sources[0].format = Some(Format::Code))
        .run();
    assert_eq!((made.documents[0].text.as_str(), &made.documents[0].html), (code, &None));
    assert_eq!(made.documents[0].metadata["format"], "code");
}

#[test]
fn a_column_may_be_missing_from_some_files_but_not_from_all() {
    let columns = || Columns { language: "lang".into(), ..Columns::default() };
    let (with, without) = (
        parquet(&[("text", vec![Some("a")]), ("lang", vec![Some("en-GB")])]),
        parquet(&[("text", vec![Some("b")])]),
    );
    let made = Case::new("*.parquet", columns()).file("a.parquet", with).file("b.parquet", &without).run();
    let languages: BTreeSet<&str> =
        made.documents.iter().map(|document| document.language.as_str()).collect();
    assert_eq!((languages, made.rejected.as_str()), (["", "en"].into(), ""));
    let error =
        Case::new("*.parquet", columns()).file("b.parquet", without).run_with(1).map(drop).unwrap_err();
    assert!(error.to_string().contains("no file of source `data` has a column `lang`"), "{error}");
}

#[test]
fn front_matter_is_left_out_and_horizontal_rules_are_not() {
    let read =
        |text: &str| Case::new("*.md", Columns::default()).file("a.md", text).run().documents[0].text.clone();
    assert_eq!(read("---\ntitle: T\ntags:\n- a\n  - b\n# note\n\n---\nText\n"), "Text\n");
    assert_eq!(read("+++\ntitle = \"T\"\n[extra]\nx = 1\n+++\n\nText\n"), "Text\n");
    for text in ["---\nA sentence.\n\n---\nText\n", "---\n\n---\nText\n", "---\ntitle: T\nText without end\n"]
    {
        assert_eq!(read(text), text);
    }
}

#[test]
fn samples_are_nested_and_as_large_as_asked() {
    let rows = rows(400);
    let run = |change: fn(&mut Source)| {
        let case = Case::new("*.jsonl", mapped()).file("a.jsonl", jsonl(&rows[..150]));
        case.file("b.jsonl", jsonl(&rows[150..])).stage(|stage| change(&mut stage.sources[0])).run()
    };
    let (tenth, fifth) = (run(|s| s.fraction = Some(0.1)).ids(), run(|s| s.fraction = Some(0.2)).ids());
    assert!(tenth.is_subset(&fifth) && tenth.len() < fifth.len(), "{} {}", tenth.len(), fifth.len());
    assert!((20..=60).contains(&tenth.len()), "{}", tenth.len());
    let (few, more) = (run(|s| s.limit = Some(7)), run(|s| s.limit = Some(60)));
    assert_eq!((few.ids().len(), more.ids().len()), (7, 60));
    assert!(few.ids().is_subset(&more.ids()));
    assert!(few.ids().is_subset(&tenth), "both go by one hash");
    assert_eq!(run(|s| s.limit = Some(1000)).ids().len(), 400);
    assert_eq!((more.metric("rows"), more.metric("rows_sampled")), (400.0, 60.0));
}

#[test]
fn samples_of_files_are_nested_too() {
    let run = |take| {
        let files = (0..30).fold(Case::new("*.txt", Columns::default()), |case, n| {
            case.file(&format!("{n}.txt"), format!("Text {n}"))
        });
        files.stage(|stage| stage.sources[0].limit = Some(take)).run().ids()
    };
    assert_eq!((run(5).len(), run(30).len()), (5, 30));
    assert!(run(5).is_subset(&run(12)));
}

#[test]
fn text_and_markdown_are_a_document_a_file() {
    let made = Case::new("*.md*", Columns::default())
        .file("a.md", "---\ndate: x\n---\n\n# The title #\n\nText.\n")
        .file("b.md.gz", gzip(b"\xEF\xBB\xBFNo title\n"))
        .file("c.md", b"\xFFbad")
        .file("d.md", " \n")
        .file("e.md", "a\0b")
        .stage(|stage| (stage.errors_max, stage.sources[0].url) = (3, "https://e.org/".into()))
        .run();
    let find = |id: &str| made.documents.iter().find(|document| document.id == id).unwrap();
    assert_eq!(find("data/a.md").text, "# The title #\n\nText.\n");
    assert_eq!(find("data/a.md").metadata, BTreeMap::from([("title".into(), "The title".into())]));
    assert_eq!(find("data/a.md").url, "https://e.org/a.md");
    assert_eq!(find("data/b.md.gz").text, "No title\n");
    let mut reasons: Vec<String> = made.reasons().into_iter().map(|(_, _, reason)| reason).collect();
    reasons.sort();
    assert_eq!(reasons, ["binary", "empty", "undecodable"]);
    let text = Case::new("*.txt", Columns::default()).file("a.txt", "---\nkept\n---\n").run();
    assert_eq!(text.documents[0].text, "---\nkept\n---\n");
}

#[test]
fn fields_and_metadata_come_from_columns() {
    let columns = Columns {
        text: Some("data.body".into()),
        license: "terms".into(),
        date: "when".into(),
        language: "lang".into(),
        metadata: ["*"].into(),
        ..Columns::default()
    };
    let made = Case::new("*.jsonl", columns)
        .file(
            "a.jsonl",
            "{\"data\": {\"body\": \"A\", \"x\": 1}, \"when\": \"2024-01-01\", \"lang\": \"en\", \"n\": 1.0, \"l\": [2]}",
        )
        .stage(|stage| stage.sources[0].license = "MIT".into())
        .run();
    let expected = Document {
        id: "data/a.jsonl:1".into(),
        text: "A".into(),
        source: "data".into(),
        license: "MIT".into(),
        date: "2024-01-01".into(),
        language: "en".into(),
        metadata: BTreeMap::from([("n".into(), "1.0".into()), ("l".into(), "[2]".into())]),
        ..Document::default()
    };
    assert_eq!(made.documents, [expected]);
}

#[test]
fn pages_in_records_wait_for_clean() {
    let columns = Columns { html: "page".into(), ..Columns::default() };
    let made = Case::new("*.csv", columns).file("a.csv", "page\n<p>A\n").run();
    assert_eq!(made.documents[0].html.as_deref(), Some(b"<p>A".as_slice()));
}

#[test]
fn a_file_that_changes_while_it_is_read_is_no_broken_file() {
    let (folder, store) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let bench = Bench::new(store.path()).unwrap();
    let stage = Case::new("*.jsonl", Columns::default()).stage;
    let path = folder.path().join("a.jsonl");
    std::fs::write(&path, "{\"text\": \"A\"}\n").unwrap();
    let sources = Bench::sources("data:jsonl", folder.path()).unwrap();
    std::fs::write(&path, "{\"text\": \n").unwrap();
    let error = bench.enter(&stage, &[], sources, Mode::Here).unwrap_err();
    assert!(matches!(error, pipe_stage::Error::SourceChanged { .. }), "{error}");
}

#[test]
fn settings_that_do_not_fit_the_format_are_named() {
    let path = |source: Source| {
        let stage = Ingest { sources: vec![source], ..Ingest::default() };
        stage.check().into_iter().map(|misfit| misfit.path).collect::<Vec<_>>()
    };
    let glob = |glob: &str| Source { glob: glob.into(), ..Source::default() };
    assert_eq!(path(glob("a/*.{csv,jsonl}")), ["sources[0].glob"]);
    assert_eq!(path(glob("a/**/*")), ["sources[0].glob"]);
    assert_eq!(path(glob("a/*.{html,rst}")), ["sources[0].glob"]);
    assert_eq!(path(Source { format: Some(Format::Text), ..glob("a/*.rst") }), [""; 0]);
    assert_eq!(path(Source { encoding: "latin-9000".into(), ..glob("a/*.csv") }), ["sources[0].encoding"]);
    assert_eq!(path(Source { encoding: "utf-8".into(), ..glob("a/*.html") }), ["sources[0].encoding"]);
    assert_eq!(path(Source { quote: Some("''".into()), ..glob("a/*.csv") }), ["sources[0].quote"]);
    assert_eq!(path(Source { escape: "\\".into(), ..glob("a/*.jsonl") }), ["sources[0].escape"]);
    assert_eq!(path(Source { format: Some(Format::Jsonl), ..glob("a/*.{csv,jsonl}") }), [""; 0]);
    assert_eq!(path(Source { columns: mapped(), ..glob("a/*.html") }), ["sources[0].columns"]);
    assert_eq!(path(Source { url: "https://e.org".into(), ..glob("a/*.csv") }), ["sources[0].url"]);
    assert_eq!(path(Source { delimiter: ";;".into(), ..glob("a/*.csv") }), ["sources[0].delimiter"]);
    assert_eq!(path(Source { delimiter: ";".into(), ..glob("a/*.jsonl") }), ["sources[0].delimiter"]);
    assert_eq!(path(Source { fraction: Some(1.5), ..glob("a/*.csv") }), ["sources[0].fraction"]);
    assert_eq!(path(Source { limit: Some(0), ..glob("a/*.csv") }), ["sources[0].limit"]);
    let twice = vec![glob("data/x.csv"), glob("other/x.jsonl")];
    let stage = Ingest { sources: twice, ..Ingest::default() };
    assert_eq!(stage.check()[0].message, "is a second source with the name `x`");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn rows_are_documents_whatever_files_they_come_in(
        keys in prop::collection::btree_set("[a-z]{1,6}", 0..60), cut in any::<prop::sample::Index>(), documents in 1u32..20,
    ) {
        let rows: Vec<[String; 3]> = keys.iter().map(|key| [key.clone(), key.repeat(3), String::new()]).collect();
        let cut = cut.index(rows.len() + 1);
        let columns = || Columns { url: String::new(), ..mapped() };
        let size = |stage: &mut Ingest| (stage.shard_by, stage.shard_documents) = (ShardBy::Id, Some(documents));
        let whole = Case::new("*.jsonl", columns()).file("a.jsonl", jsonl(&rows)).stage(size).run();
        let parts = Case::new("*.csv", columns())
            .file("1.csv", csv(&rows[cut..], ',')).file("2.csv", csv(&rows[..cut], ',')).stage(size).run();
        prop_assert_eq!(&whole.outcome.outputs["documents"], &parts.outcome.outputs["documents"]);
        prop_assert_eq!(whole.documents.len(), keys.len());
    }
}

#[test]
fn chats_need_no_text() {
    let chats = Columns { id: "key".into(), text: None, metadata: ["messages"].into(), ..Columns::default() };
    let made = Case::new("*.jsonl", chats.clone())
        .file(
            "a.jsonl",
            "{\"key\": \"a\", \"messages\": [{\"role\": \"user\", \"content\": \"Hi\"}]}\n\
             {\"key\": \"b\", \"message\": []}\n\
             {\"key\": \"c\", \"messages\": []}\n",
        )
        .stage(|stage| stage.errors_max = 1)
        .run();
    assert_eq!(made.reasons(), [("data/a.jsonl".to_owned(), Some(2), "no_metadata".to_owned())]);
    let messages = |document: &Document| (document.text.clone(), document.metadata["messages"].clone());
    let mut found: Vec<_> = made.documents.iter().map(messages).collect();
    found.sort_unstable();
    let expected = ["[]", r#"[{"content":"Hi","role":"user"}]"#];
    assert_eq!(found, expected.map(|messages| (String::new(), messages.to_owned())));

    let rows = [("key", vec![Some("a")]), ("messages", vec![Some("[]")])];
    let made = Case::new("*.parquet", chats.clone()).file("a.parquet", parquet(&rows)).run();
    assert_eq!(made.documents[0].metadata["messages"], "[]");

    let empty = Case::new("*.jsonl", Columns { metadata: MetadataColumns::default(), ..chats }).stage.check();
    assert_eq!(empty[0].path, "sources[0].columns.metadata");
}

#[test]
fn stages_that_read_text_refuse_documents_without() {
    let source = |text: Option<&str>| {
        let columns = Columns { text: text.map(str::to_owned), metadata: ["*"].into(), ..Columns::default() };
        Source { glob: "*.jsonl".into(), columns, ..Source::default() }
    };
    let refusal = |sources: Vec<Source>| {
        let facts = Ingest { sources, ..Ingest::default() }.facts("documents", &KnownInputs::default());
        let known = |port: &str, facts: &Facts| {
            let mut known = KnownInputs::default();
            known.connect(port, pipe_stage::KnownInput { facts: facts.clone(), ..Default::default() });
            known
        };
        let documents = known("documents", &facts);
        let refusals = [
            crate::Clean::default().check_known(&documents),
            crate::Dedup::default().check_known(&documents),
            crate::Split::default().check_known(&documents),
            crate::TokenizerStage::default().check_known(&documents),
            crate::Tokenize::default().check_known(&known("train", &facts)),
        ];
        assert!(refusals.iter().all(|refusal| *refusal == refusals[0]), "{refusals:?}");
        let passed_on = crate::Dedup::default().facts("documents", &documents);
        assert_eq!(crate::Clean::default().check_known(&known("documents", &passed_on)), refusals[0]);
        refusals[0].first().map(|misfit| misfit.message.clone())
    };
    let message = |which: &str| {
        Some(format!("{which} in `needs` have no text, since `columns.text` of their `ingest` is null"))
    };
    assert_eq!(refusal(vec![source(None)]), message("the documents"));
    assert_eq!(refusal(vec![source(None), source(Some(""))]), message("some of the documents"));
    assert_eq!(refusal(vec![source(Some(""))]), None);
}

#[test]
fn a_source_of_which_nothing_is_left_is_reported_with_the_main_reason() {
    let case = |text: &str| Case::new("*.jsonl", Columns::default()).file("a.jsonl", text);
    let rejected = case("not JSON\n{}\n{\"text\": \"\"}\n").stage(|stage| stage.errors_max = 3).run();
    let expected = "warning: no documents are left; main reason: rejected as `no_text`, see the output \
        `rejected` (2 of 3)";
    assert_eq!(rejected.notes, [expected]);
    let outside = case("{\"text\": \"T\"}\n").stage(|stage| stage.sources[0].fraction = Some(1e-9)).run();
    let expected =
        "warning: no documents are left; main reason: outside the sample that `fraction` takes (1 of 1)";
    assert_eq!(outside.notes, [expected]);
    assert_eq!(case("{\"text\": \"T\"}\n").run().notes, [""; 0]);
}
