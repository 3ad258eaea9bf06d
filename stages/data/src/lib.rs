//! From raw pages to tokens and examples: documents, ingest, clean, dedup, split, tokenizer, tokenize, examples.
//!
//! This room knows text, languages and file formats. It knows nothing of the engine, of terminals, of
//! schedulers or of where the cache is, and nothing of models.

pub mod documents;
pub mod html;
pub mod language;
pub mod repair;
pub mod rules;
pub mod segment;

pub mod clean;
pub mod ingest;

pub mod pattern;

pub mod bpe;
pub mod encode;
pub mod spelling;
pub mod tokenizer_json;
pub mod tokens;

pub mod minhash;
pub mod signatures;

pub mod counts;
pub mod dedup;
pub mod split;
pub mod tokenize;
pub mod tokenizer;

pub mod examples;
pub mod ingest_tokens;

#[cfg(test)]
mod testing;

pub use clean::Clean;
pub use dedup::Dedup;
pub use documents::DOCUMENTS;
pub use encode::Tokenizer;
pub use examples::Examples;
pub use ingest::Ingest;
pub use ingest_tokens::IngestTokens;
pub use split::Split;
pub use tokenize::Tokenize;
pub use tokenizer::TokenizerStage;
pub use tokenizer_json::TOKENIZER;
pub use tokens::TOKENS;
