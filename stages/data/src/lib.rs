//! From raw pages to tokens and examples: documents, ingest, clean, classifiers, dedup, dedup-passages, dedup-substrings,
//! boilerplate, split, decontaminate, tokenizer, tokenize, mix, export-data, examples.
//!
//! This crate knows text, languages and file formats. It does not know the engine, terminals, schedulers, the
//! location of the cache, or models.

mod counted;
mod cuts;
mod hashed;
mod json;
mod lines;
mod memo;
mod none_left;
mod parquet;
mod parts;

pub mod address;
pub mod random;
pub mod windows;

pub mod documents;
pub mod segment;
pub mod tokens;

pub mod ingest;

pub mod ingest_tokens;

pub mod classifier;

pub mod clean;

pub mod dedup;

pub mod passages;

pub mod substrings;

pub mod boilerplate;

pub mod split;

pub mod decontaminate;

pub mod tokenizer;

pub mod tokenize;

pub mod vocabulary;

pub mod mix;

pub mod export_data;

pub mod examples;

pub mod classify;

pub mod filter;

pub mod remove;

#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzzing;

#[cfg(test)]
mod testing;

pub use boilerplate::Boilerplate;
pub use classifier::{CLASSIFIER, ClassifierStage};
pub use classify::Classify;
pub use clean::Clean;
pub use decontaminate::Decontaminate;
pub use dedup::{Dedup, Kept};
pub use documents::DOCUMENTS;
pub use examples::Examples;
pub use export_data::{DataFormat, ExportData};
pub use filter::Filter;
pub use ingest::Ingest;
pub use ingest_tokens::IngestTokens;
pub use mix::Mix;
pub use passages::DedupPassages;
pub use remove::Remove;
pub use split::Split;
pub use substrings::DedupSubstrings;
pub use tokenize::Tokenize;
pub use tokenizer::encode::Tokenizer;
pub use tokenizer::json::TOKENIZER;
pub use tokenizer::{TokenizerStage, VOCABULARY_SIZE};
pub use tokens::TOKENS;
pub use vocabulary::VocabularyReport;
