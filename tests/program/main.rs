//! Tests of the whole program: a manifest and a call in; files, output and an exit code out.
//!
//! All stages are commands, so everything here holds without the stages of language models too.

mod project;

mod again;

mod looking;

mod ending;

mod killed;

mod sharing;

mod damaged;

mod hostile;
