//! Files on servers: HTTP and HTTPS, S3, Google Cloud Storage, Azure Blob Storage, and data sets of Hugging Face's hub.
//!
//! Owns: how such files are listed, which version of them was listed, and how their bytes arrive whole: requests are
//! repeated with growing pauses, and a download that breaks off goes on where it ended, in the same version or not at
//! all. It knows neither stages nor documents, and nothing of keys, pins or caches. Credentials come from the variables that
//! everybody uses; they are part of no value that leaves this package.

mod address;

mod failure;

mod limits;

mod http;

mod listing;

mod objects;

mod version;

mod reader;

mod list;

mod yaml;

mod card;

mod splits;

mod hub;

mod servers;

pub use limits::Limits;
pub use servers::Servers;
