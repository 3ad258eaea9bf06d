//! From raw pages to tokens: documents, ingest, clean, dedup, split, tokenizer, tokenize.
//!
//! This room knows text, languages and file formats. It knows nothing of the engine, of terminals, of
//! schedulers or of where the cache is, and nothing of models.

pub mod documents;

pub use documents::{DOCUMENTS, FILES};
pub mod tokens;
