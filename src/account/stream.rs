//! The stream of tokens that a model is trained on: all documents of an artifact of tokens, each ended by the tokenizer's
//! end-of-document token. Knows where in it each shard and each document begins; reads no text.

use super::find::check_there;
use pipe_data::tokens::TokensReader;
use pipe_stage::{LocalEntry, Result};
use std::ops::Range;

/// Where the shards of a stream begin.
pub(crate) struct TokenStream {
    entries: Vec<LocalEntry>,
    /// First token of each shard, and the number of all tokens.
    starts: Vec<u64>,
    eos: Option<u32>,
}

/// A document in a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct InStream {
    pub(crate) id: String,
    /// Position of its shard.
    pub(crate) entry: usize,
    /// Number of the document among the selected ones of the shard.
    pub(crate) number: u64,
    /// Its tokens in the stream, without the end-of-document token.
    pub(crate) tokens: Range<u64>,
    pub(crate) ids: Vec<u32>,
}

/// What is known about the end-of-document tokens of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Known {
    /// The number of all tokens of the stream, which a finished training reported.
    Tokens(u64),
    /// No document has one of its own: `tokenize` adds none.
    NoEos,
    Nothing,
}

impl TokenStream {
    /// Measures the shards. Those that are no views are measured by their metadata, if that is consistent with `known`;
    /// otherwise all are read.
    pub(crate) fn of(entries: Vec<LocalEntry>, eos: Option<u32>, known: Known) -> Result<Self> {
        let mut stream = Self { starts: Vec::new(), entries, eos };
        stream.measure(known != Known::Nothing)?;
        // A document adds at most one end-of-document token: if the sum is right, that of each shard is.
        if let Known::Tokens(tokens) = known
            && stream.tokens() != tokens
        {
            stream.measure(false)?;
        }
        Ok(stream)
    }

    fn measure(&mut self, by_metadata: bool) -> Result<()> {
        let mut starts = vec![0];
        let mut at = 0;
        for entry in &self.entries {
            check_there(entry)?;
            let reader = TokensReader::of_unverified(entry)?;
            if by_metadata && !entry.is_view() {
                let metadata = reader.metadata();
                at += metadata.tokens + if self.eos.is_some() { metadata.documents } else { 0 };
            } else {
                for document in reader {
                    at += self.length(&document?.1);
                }
            }
            starts.push(at);
        }
        self.starts = starts;
        Ok(())
    }

    /// Tokens of a document with the end-of-document token that is added if it has none.
    fn length(&self, ids: &[u32]) -> u64 {
        let is_ended = self.eos.is_none_or(|eos| ids.last() == Some(&eos));
        ids.len() as u64 + u64::from(!is_ended)
    }

    /// Number of tokens.
    pub(crate) fn tokens(&self) -> u64 {
        self.starts.last().copied().unwrap_or(0)
    }

    /// Reads the documents of a shard that have any of these tokens, or the end-of-document token behind them.
    fn documents_of(&self, entry: usize, wanted: &Range<u64>) -> Result<Vec<InStream>> {
        let (mut at, mut found) = (self.starts[entry], Vec::new());
        for (number, document) in (0..).zip(TokensReader::of_unverified(&self.entries[entry])?) {
            if at >= wanted.end {
                break;
            }
            let (id, ids) = document?;
            let length = self.length(&ids);
            if at + length > wanted.start {
                found.push(InStream { id, entry, number, tokens: at..at + ids.len() as u64, ids });
            }
            at += length;
        }
        Ok(found)
    }

    /// The documents that have any of these tokens. Reads only their shards.
    pub(crate) fn documents(&self, wanted: Range<u64>) -> Result<Vec<InStream>> {
        let first = self.starts.partition_point(|start| *start <= wanted.start).saturating_sub(1);
        let mut found = Vec::new();
        for entry in first..self.entries.len() {
            if self.starts[entry] >= wanted.end {
                break;
            }
            found.extend(self.documents_of(entry, &wanted)?);
        }
        Ok(found)
    }

    /// The tokens of the documents with this id in a shard.
    pub(crate) fn of_document(&self, entry: usize, id: &str) -> Result<Vec<InStream>> {
        let all = self.starts[entry]..self.starts[entry + 1];
        let mut documents = Vec::new();
        let (mut at, mut number) = (all.start, 0);
        for document in TokensReader::of_unverified(&self.entries[entry])? {
            let (own, ids) = document?;
            let length = self.length(&ids);
            if own == id {
                documents.push(InStream { id: own, entry, number, tokens: at..at + ids.len() as u64, ids });
            }
            (at, number) = (at + length, number + 1);
        }
        Ok(documents)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pipe_data::tokens::TokensWriter;
    use pipe_stage::testing::Bench;

    const EOS: u32 = 9;

    /// Two shards of three documents; the second document of each ends with the end-of-document token if `own` is set.
    fn entries(bench: &Bench, own: bool) -> Vec<LocalEntry> {
        let shard = |shard: u32| {
            let mut writer = TokensWriter::new(Vec::new(), 10, "t").unwrap();
            for n in 0..3 {
                let ids = if own && n == 1 { vec![shard, EOS] } else { vec![shard; n as usize + 1] };
                writer.push(&format!("{shard}-{n}"), &ids).unwrap();
            }
            writer.finish().unwrap()
        };
        let [a, b] = [shard(0), shard(1)];
        bench.open(&bench.artifact("tokens", &[("a", &a), ("b", &b)]).unwrap())
    }

    #[test]
    fn documents_are_where_training_puts_them() {
        let folder = tempfile::tempdir().unwrap();
        let bench = Bench::new(folder.path()).unwrap();
        for (own, eos, lengths) in
            [(false, None, [1, 2, 3]), (false, Some(EOS), [2, 3, 4]), (true, Some(EOS), [2, 2, 4])]
        {
            let stream = TokenStream::of(entries(&bench, own), eos, Known::Nothing).unwrap();
            let total: u64 = lengths.iter().sum();
            assert_eq!(stream.tokens(), 2 * total);
            let all = stream.documents(0..stream.tokens()).unwrap();
            let starts: Vec<u64> = all.iter().map(|document| document.tokens.start).collect();
            let expected = [0, lengths[0], lengths[0] + lengths[1]];
            assert_eq!(starts[..3], expected);
            assert_eq!(starts[3..], expected.map(|start| start + total));
            // The last token of the second document and the first of the third.
            let between = stream.documents(expected[2] - 1..expected[2] + 1).unwrap();
            assert_eq!(
                between.iter().map(|document| document.id.as_str()).collect::<Vec<_>>(),
                ["0-1", "0-2"]
            );
            assert_eq!(stream.of_document(1, "1-2").unwrap()[0].tokens.start, total + expected[2]);
        }
    }

    #[test]
    fn metadata_is_trusted_only_if_the_sum_is_right() {
        let folder = tempfile::tempdir().unwrap();
        let bench = Bench::new(folder.path()).unwrap();
        let shard = |last: u32| {
            let mut writer = TokensWriter::new(Vec::new(), 10, "t").unwrap();
            writer.push("a", &[1, last]).unwrap();
            writer.finish().unwrap()
        };
        let [a, b] = [shard(EOS), shard(1)];
        let entries = || bench.open(&bench.artifact("tokens", &[("a", &a), ("b", &b)]).unwrap());
        let tokens = |known| TokenStream::of(entries(), Some(EOS), known).unwrap().tokens();
        assert_eq!(tokens(Known::NoEos), 6, "no shard is read");
        assert_eq!(tokens(Known::Tokens(5)), 5);
        assert_eq!(tokens(Known::Nothing), 5);
    }
}
