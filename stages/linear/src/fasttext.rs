//! fastText's files, as version 0.9.2 writes them: reads `.bin` and `.ftz`, writes `.bin`. Files are hostile: every size
//! is compared with what is left of the file before memory is reserved for it.
//!
//! ```text
//! model.bin, little-endian
//! ├── i32 793712314, i32 12              magic number, version (11 has no n-grams of characters)
//! ├── 12 × i32, f64                      dimension, window, epochs, least count, negatives, n-grams of words, loss,
//! │                                      kind, buckets, shortest and longest n-gram of characters, update rate, t
//! ├── 3 × i32, 2 × i64                   entries, words, labels; tokens, pruned buckets (-1: not pruned)
//! ├── entries × (text, 0, i64, i8)       count; 0 for words, 1 for labels, which follow the words
//! ├── pruned × (i32, i32)                bucket, its row after the words
//! ├── u8, matrix                         whether the input is quantized; [words + buckets, dimension]
//! └── u8, matrix                         whether the output is quantized; [labels, dimension]
//!
//! matrix
//! ├── dense: i64 rows, i64 columns, f32…
//! └── quantized: u8 has norms, i64 rows, i64 columns, i32 codes, u8…, quantizer, [u8…, quantizer of norms]
//!     quantizer: i32 columns, parts, width, width of the last; columns × 256 × f32
//! ```

use std::collections::HashMap;
use std::io::{self, Read, Write};

use crate::dictionary::{Dictionary, Ngrams};
use crate::matrix::{CENTROIDS, Dense, Matrix, Quantized, Quantizer};
use crate::model::{Loss, Model};
use crate::tree::Tree;

const MAGIC: i32 = 793_712_314;
const VERSION: i32 = 12;
/// fastText's number of supervised models.
const SUPERVISED: i32 = 3;
/// Longest n-gram, of words or characters, of a model that is read. With it, the time for a text is limited.
pub const NGRAM_MAX: u32 = 32;
/// Maximum size of a label: labels become values of columns.
const LABEL_BYTES_MAX: usize = 1024;
/// Maximum length of vectors.
const DIMENSION_MAX: i32 = 1 << 16;
/// Largest weight. No sum of products of such weights is infinite.
const WEIGHT_MAX: f32 = 1e6;

/// Why a model cannot be read.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say what the fields are")]
pub enum ModelError {
    #[error("cannot read the model")]
    Read(#[source] io::Error),
    #[error("it is not a fastText model: it does not begin with fastText's magic number")]
    Magic,
    #[error("it has version {0} of fastText's format; versions 11 and 12 are supported")]
    Version(i32),
    #[error("it contains word vectors (fastText's `{0}`), and no labels")]
    NotSupervised(&'static str),
    #[error("it is damaged: {0}")]
    Damaged(String),
    #[error("it ends within {0}")]
    Truncated(&'static str),
    #[error("it is not supported: {0}")]
    Unsupported(String),
}

impl Model {
    /// Reads a model from a file of this many bytes. Memory is proportional to the length of the file.
    ///
    /// # Errors
    /// If the file cannot be read, is not a supervised fastText model, or is damaged.
    pub fn read(file: impl Read, bytes: u64) -> Result<Self, ModelError> {
        let mut source = Source { reader: io::BufReader::with_capacity(1 << 16, file), left: bytes };
        if source.left < 4 || source.i32("the header")? != MAGIC {
            return Err(ModelError::Magic);
        }
        let version = source.i32("the header")?;
        if version != 11 && version != VERSION {
            return Err(ModelError::Version(version));
        }
        let header = Header::read(&mut source, version)?;
        let dictionary = read_dictionary(&mut source, header.ngrams)?;
        let input = source.matrix("the input matrix")?;
        if let (Matrix::Dense(_), Some(_)) = (&input, &dictionary.pruned) {
            return Err(damaged("the dictionary is pruned, but the input is not quantized"));
        }
        // Only the output of a model with quantized input can be quantized.
        let output = match (&input, source.flag("the output matrix")?) {
            (Matrix::Quantized(_), true) => source.quantized("the output matrix")?,
            _ => source.dense("the output matrix")?,
        };
        if source.left > 0 {
            return Err(damaged(format!("{} bytes follow its end", source.left)));
        }
        Self::new(header, dictionary, input, output)
    }

    fn new(
        header: Header,
        dictionary: Dictionary,
        input: Matrix,
        output: Matrix,
    ) -> Result<Self, ModelError> {
        let (rows, labels) = (dictionary.rows(), dictionary.labels.len());
        if rows > input.rows() as u64 || rows > u64::from(u32::MAX) {
            return Err(damaged(format!("its dictionary needs {rows} rows of {}", input.rows())));
        }
        if labels == 0 || output.rows() != labels {
            return Err(damaged(format!("{labels} labels have {} rows", output.rows())));
        }
        for matrix in [&input, &output] {
            if matrix.columns() != header.dimension {
                let columns = matrix.columns();
                return Err(damaged(format!("a matrix has {columns} columns, not {}", header.dimension)));
            }
        }
        let counts: Vec<u64> = dictionary.labels.iter().map(|(_, count)| *count).collect();
        let tree = match header.loss {
            Loss::HierarchicalSoftmax => {
                Some(Tree::new(&counts).ok_or_else(|| damaged("the counts of its labels are too large"))?)
            }
            _ => None,
        };
        Ok(Self { dictionary, loss: header.loss, input, output, tree })
    }

    /// Writes the model as fastText's `.bin`.
    ///
    /// # Errors
    /// If `file` fails, or if the matrices are quantized or the dictionary is pruned: such models are only read.
    pub fn write<W: Write>(&self, file: W) -> io::Result<W> {
        let mut file = io::BufWriter::with_capacity(1 << 16, file);
        let refuse = |what: &str| io::Error::new(io::ErrorKind::Unsupported, what.to_owned());
        let (Matrix::Dense(input), Matrix::Dense(output)) = (&self.input, &self.output) else {
            return Err(refuse("a quantized model is only read"));
        };
        let number = |count: usize| i32::try_from(count).map_err(|_| refuse("the model is too large"));
        let Ngrams { words, characters_min, characters_max, buckets } = self.dictionary.ngrams;
        let loss = match self.loss {
            Loss::HierarchicalSoftmax => 1,
            Loss::NegativeSampling => 2,
            Loss::Softmax => 3,
            Loss::OneVsAll => 4,
        };
        let size = |count: u32| number(count as usize);
        // Settings that only training uses have fastText's defaults.
        let header = [
            MAGIC,
            VERSION,
            number(input.columns)?,
            5,
            5,
            1,
            5,
            size(words)?,
            loss,
            SUPERVISED,
            size(buckets)?,
            size(characters_min)?,
            size(characters_max)?,
            100,
        ];
        header.iter().try_for_each(|number| file.write_all(&number.to_le_bytes()))?;
        file.write_all(&1e-4_f64.to_le_bytes())?;
        let Dictionary { words, labels, tokens, .. } = &self.dictionary;
        for count in [words.len() + labels.len(), words.len(), labels.len()] {
            file.write_all(&number(count)?.to_le_bytes())?;
        }
        file.write_all(&(*tokens as i64).to_le_bytes())?;
        file.write_all(&(-1_i64).to_le_bytes())?;
        for (kind, entries) in [(0_u8, words), (1, labels)] {
            for (entry, count) in entries {
                file.write_all(entry)?;
                file.write_all(&[0])?;
                file.write_all(&(*count as i64).to_le_bytes())?;
                file.write_all(&[kind])?;
            }
        }
        for matrix in [input, output] {
            file.write_all(&[0])?;
            file.write_all(&((matrix.values.len() / matrix.columns) as i64).to_le_bytes())?;
            file.write_all(&(matrix.columns as i64).to_le_bytes())?;
            matrix.values.iter().try_for_each(|value| file.write_all(&value.to_le_bytes()))?;
        }
        file.into_inner().map_err(io::IntoInnerError::into_error)
    }
}

/// The settings of a file that predictions need.
struct Header {
    dimension: usize,
    loss: Loss,
    ngrams: Ngrams,
}

impl Header {
    fn read(source: &mut Source<impl Read>, version: i32) -> Result<Self, ModelError> {
        const AT: &str = "the header";
        let mut fields = [0; 12];
        for field in &mut fields {
            *field = source.i32(AT)?;
        }
        source.take::<8>(AT)?;
        let [dimension, _, _, _, _, words, loss, kind, buckets, min, mut max, _] = fields;
        match kind {
            SUPERVISED => {}
            1 => return Err(ModelError::NotSupervised("cbow")),
            2 => return Err(ModelError::NotSupervised("skipgram")),
            other => return Err(damaged(format!("the kind of model {other} is unknown"))),
        }
        if version == 11 {
            max = 0; // supervised models had no n-grams of characters, whatever the setting
        }
        if !(1..=DIMENSION_MAX).contains(&dimension) {
            return Err(damaged(format!("its dimension is {dimension}")));
        }
        let loss = match loss {
            1 => Loss::HierarchicalSoftmax,
            2 => Loss::NegativeSampling,
            3 => Loss::Softmax,
            4 => Loss::OneVsAll,
            other => return Err(damaged(format!("{other} is no loss"))),
        };
        let length = |what: &str, length: i32| match u32::try_from(length) {
            Ok(length) if length <= NGRAM_MAX => Ok(length),
            _ => Err(ModelError::Unsupported(format!("n-grams of {length} {what}, more than {NGRAM_MAX}"))),
        };
        let ngrams = Ngrams {
            words: length("words", words)?,
            characters_min: length("characters", min)?,
            characters_max: length("characters", max)?,
            buckets: u32::try_from(buckets).map_err(|_| damaged(format!("it has {buckets} buckets")))?,
        };
        Ok(Self { dimension: dimension as usize, loss, ngrams })
    }
}

fn read_dictionary(source: &mut Source<impl Read>, ngrams: Ngrams) -> Result<Dictionary, ModelError> {
    const AT: &str = "the dictionary";
    /// An entry without text: its end, count and type.
    const ENTRY_BYTES_MIN: u64 = 10;
    let (entries, words, labels) = (source.i32(AT)?, source.i32(AT)?, source.i32(AT)?);
    let (tokens, pruned) = (source.i64(AT)?, source.i64(AT)?);
    let counts = [entries, words, labels].map(|count| usize::try_from(count).ok());
    let [Some(entries), Some(words), Some(labels)] = counts else {
        return Err(damaged("a number of its dictionary is negative"));
    };
    if words + labels != entries {
        return Err(damaged(format!("{words} words and {labels} labels are not {entries} entries")));
    }
    source.reserve(entries as u64, ENTRY_BYTES_MIN, AT)?;
    let mut lists = [Vec::with_capacity(words), Vec::with_capacity(labels)];
    for entry in 0..entries {
        let text = source.text(AT)?;
        let count = u64::try_from(source.i64(AT)?).map_err(|_| damaged("a count is negative"))?;
        let kind = usize::from(source.take::<1>(AT)?[0]);
        if kind != usize::from(entry >= words) {
            return Err(damaged("its words and labels are mixed"));
        }
        if kind == 1 && text.len() > LABEL_BYTES_MAX {
            let bytes = text.len();
            return Err(ModelError::Unsupported(format!(
                "a label of {bytes} bytes, more than {LABEL_BYTES_MAX}"
            )));
        }
        lists[kind].push((text, count));
    }
    let pruned = match u64::try_from(pruned) {
        Err(_) => None,
        Ok(count) => {
            source.reserve(count, 8, AT)?;
            let mut rows = HashMap::with_capacity(count as usize);
            for _ in 0..count {
                let pair = [source.i32(AT)?, source.i32(AT)?].map(u32::try_from);
                let [Ok(bucket), Ok(row)] = pair else { return Err(damaged("a pruned row is negative")) };
                rows.insert(bucket, row);
            }
            Some(rows)
        }
    };
    let [words, labels] = lists;
    Ok(Dictionary::new(ngrams, words, labels, tokens.max(0).cast_unsigned(), pruned))
}

fn damaged(reason: impl Into<String>) -> ModelError {
    ModelError::Damaged(reason.into())
}

/// A file while it is read.
struct Source<R> {
    reader: io::BufReader<R>,
    /// Bytes that the file still has by its length.
    left: u64,
}

impl<R: Read> Source<R> {
    /// Checks that the file has this many items of at least this size.
    fn reserve(&self, count: u64, bytes: u64, at: &'static str) -> Result<(), ModelError> {
        let fits = count.checked_mul(bytes).is_some_and(|bytes| bytes <= self.left);
        if fits { Ok(()) } else { Err(ModelError::Truncated(at)) }
    }

    fn fill(&mut self, bytes: &mut [u8], at: &'static str) -> Result<(), ModelError> {
        self.reserve(bytes.len() as u64, 1, at)?;
        self.left -= bytes.len() as u64;
        self.reader.read_exact(bytes).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => ModelError::Truncated(at),
            _ => ModelError::Read(error),
        })
    }

    fn take<const N: usize>(&mut self, at: &'static str) -> Result<[u8; N], ModelError> {
        let mut bytes = [0; N];
        self.fill(&mut bytes, at)?;
        Ok(bytes)
    }

    fn i32(&mut self, at: &'static str) -> Result<i32, ModelError> {
        self.take(at).map(i32::from_le_bytes)
    }

    fn i64(&mut self, at: &'static str) -> Result<i64, ModelError> {
        self.take(at).map(i64::from_le_bytes)
    }

    fn flag(&mut self, at: &'static str) -> Result<bool, ModelError> {
        match self.take::<1>(at)? {
            [0] => Ok(false),
            [1] => Ok(true),
            [other] => Err(damaged(format!("{at} begins with {other} instead of 0 or 1"))),
        }
    }

    /// Reads up to the next zero.
    fn text(&mut self, at: &'static str) -> Result<Box<[u8]>, ModelError> {
        let mut text = Vec::new();
        loop {
            match self.take::<1>(at)? {
                [0] => return Ok(text.into()),
                [byte] => text.push(byte),
            }
        }
    }

    fn bytes(&mut self, count: usize, at: &'static str) -> Result<Vec<u8>, ModelError> {
        self.reserve(count as u64, 1, at)?;
        let mut bytes = vec![0; count];
        self.fill(&mut bytes, at)?;
        Ok(bytes)
    }

    fn weights(&mut self, count: usize, at: &'static str) -> Result<Vec<f32>, ModelError> {
        const CHUNK: usize = 4096;
        self.reserve(count as u64, 4, at)?;
        let mut weights = Vec::with_capacity(count);
        let mut buffer = [0; 4 * CHUNK];
        while weights.len() < count {
            let now = CHUNK.min(count - weights.len());
            self.fill(&mut buffer[..4 * now], at)?;
            let (numbers, _) = buffer[..4 * now].as_chunks::<4>();
            weights.extend(numbers.iter().map(|bytes| f32::from_le_bytes(*bytes)));
        }
        match weights.iter().find(|weight| weight.is_nan() || weight.abs() > WEIGHT_MAX) {
            Some(weight) => Err(damaged(format!("{at} contains {weight}"))),
            None => Ok(weights),
        }
    }

    fn size(&mut self, at: &'static str) -> Result<usize, ModelError> {
        let size = self.i64(at)?;
        let known = usize::try_from(size).ok().filter(|size| u32::try_from(*size).is_ok());
        known.ok_or_else(|| damaged(format!("{at} has the size {size}")))
    }

    fn matrix(&mut self, at: &'static str) -> Result<Matrix, ModelError> {
        if self.flag(at)? { self.quantized(at) } else { self.dense(at) }
    }

    fn dense(&mut self, at: &'static str) -> Result<Matrix, ModelError> {
        let (rows, columns) = (self.size(at)?, self.size(at)?);
        if columns == 0 {
            return Err(damaged(format!("{at} has no columns")));
        }
        let count = rows.checked_mul(columns).ok_or(ModelError::Truncated(at))?;
        Ok(Matrix::Dense(Dense { columns, values: self.weights(count, at)? }))
    }

    fn quantized(&mut self, at: &'static str) -> Result<Matrix, ModelError> {
        let has_norms = self.flag(at)?;
        let (rows, columns) = (self.size(at)?, self.size(at)?);
        let count = usize::try_from(self.i32(at)?).map_err(|_| damaged("a size is negative"))?;
        let codes = self.bytes(count, at)?;
        let quantizer = self.quantizer(at)?;
        if quantizer.columns != columns || rows.checked_mul(quantizer.parts()) != Some(count) {
            return Err(damaged(format!("{at} has {count} codes for {rows} rows of {columns} numbers")));
        }
        let norms = if has_norms {
            let codes = self.bytes(rows, at)?;
            let quantizer = self.quantizer(at)?;
            if quantizer.columns != 1 {
                return Err(damaged(format!("{at} has norms of {} numbers", quantizer.columns)));
            }
            Some((quantizer, codes))
        } else {
            None
        };
        Ok(Matrix::Quantized(Quantized { rows, quantizer, codes, norms }))
    }

    fn quantizer(&mut self, at: &'static str) -> Result<Quantizer, ModelError> {
        let fields = [self.i32(at)?, self.i32(at)?, self.i32(at)?, self.i32(at)?];
        let [Ok(columns), Ok(parts), Ok(width), Ok(width_last)] = fields.map(usize::try_from) else {
            return Err(damaged(format!("a size of the quantizer of {at} is negative")));
        };
        let widths = columns >= 1 && width >= 1 && parts == columns.div_ceil(width);
        if !widths || width_last != columns - (parts - 1) * width {
            return Err(damaged(format!("the quantizer of {at} has parts that do not make up a row")));
        }
        let count = columns.checked_mul(CENTROIDS).ok_or(ModelError::Truncated(at))?;
        Ok(Quantizer { columns, width, width_last, centroids: self.weights(count, at)? })
    }
}
