//! Where a document comes from, told by its id and by the names of shards.

use super::borders::Place;
use super::source::name_of;
use pipe_stage::SourceFile;

/// Positions of the shards, by their names, that a document is likely in: that of the branch of the trie that its name
/// belongs to, and those of its file. It may be in another one, and there may be none.
pub fn likely_shards(names: &[&str], id: &str) -> Vec<usize> {
    let mut likely = Vec::new();
    for (slash, _) in id.match_indices('/') {
        let (source, own) = (&id[..slash], &id[slash + 1..]);
        // A page, or a record by its id; and the file of a record.
        let file = own.rsplit_once(':').map_or(own, |(file, _)| file);
        let (position, of_file) = (Place::of(own).position, format!("{:016x}/", Place::of(file).position));
        let mut branch: Option<(u64, usize)> = None;
        for (at, name) in names.iter().enumerate() {
            let Some(rest) = name.strip_prefix(source).and_then(|rest| rest.strip_prefix('/')) else {
                continue;
            };
            if rest.starts_with(&of_file) {
                likely.push(at);
            }
            let border = rest.strip_suffix(".parquet").filter(|border| border.len() == 16);
            let border = border.and_then(|border| u64::from_str_radix(border, 16).ok());
            if let Some(border) = border.filter(|border| *border <= position)
                && branch.is_none_or(|(best, _)| best <= border)
            {
                branch = Some((border, at));
            }
        }
        likely.extend(branch.map(|(_, at)| at));
    }
    likely.sort_unstable();
    likely.dedup();
    likely
}

/// The file that a document comes from, and the number of its record, if it is named after them.
pub fn origin<'s>(sources: &'s [SourceFile], id: &str) -> Option<(&'s SourceFile, Option<u64>)> {
    let of_file = |file: &'s SourceFile| {
        let rest =
            id.strip_prefix(name_of(&file.source))?.strip_prefix('/')?.strip_prefix(file.name.as_str())?;
        match rest.strip_prefix(':') {
            Some(row) => Some((file, Some(row.parse().ok()?))),
            None => rest.is_empty().then_some((file, None)),
        }
    };
    sources.iter().filter_map(of_file).max_by_key(|(file, _)| file.name.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use pipe_stage::Digest;

    #[test]
    fn shards_are_those_of_the_branch_and_of_the_file() {
        let position = Place::of("a.html").position;
        let below = format!("s/{:016x}.parquet", position & (u64::MAX << 60));
        let (first, last) = ("s/0000000000000000.parquet", "s/ffffffffffffffff.parquet");
        assert_eq!(likely_shards(&[first, &below, last, "t/0000000000000000.parquet"], "s/a.html"), [1]);
        let of_file = format!("s/{:016x}/00001.parquet", Place::of("x/r.jsonl").position);
        assert_eq!(likely_shards(&["s/00000000000000aa/00000.parquet", &of_file], "s/x/r.jsonl:12"), [1]);
        assert_eq!(likely_shards(&[first], "no-source"), [0; 0]);
    }

    #[test]
    fn origins_are_files_and_rows() {
        let file = |source: &str, name: &str| SourceFile {
            source: source.into(),
            name: name.into(),
            digest: Digest::of(b""),
            size: 0,
            at: pipe_stage::Location::Path("p".into()),
        };
        let files = [file("s:jsonl", "a/r.jsonl"), file("t", "p.html")];
        let found = |id: &str| origin(&files, id).map(|(file, row)| (file.name.clone(), row));
        assert_eq!(found("s/a/r.jsonl:3"), Some(("a/r.jsonl".into(), Some(3))));
        assert_eq!(found("t/p.html"), Some(("p.html".into(), None)));
        assert_eq!((found("s/a/r.jsonl:x"), found("s/key"), found("t/p.html2")), (None, None, None));
    }
}
