//! The interface of a stage: its config, its ports, the kinds of its artifacts, and the context in which it runs.
//!
//! A stage is a durable function (see [`Context`]): straight-line code whose steps are cached share by share. This
//! crate does not know YAML, terminals, schedulers or language models. It works with digests; no path can become part
//! of a key.
//!
//! Read in this order: [`Stage`], [`Port`], [`Artifact`], [`Context`], [`Share`], then the records.

mod stage;

mod port;

mod facts;

mod artifact;

mod source;

mod remote;

pub mod files;

mod context;

mod inputs;

mod share;

mod step;

mod metric;

mod event;

mod error;

mod device;

pub mod canonical;

mod machine;

pub mod testing;

pub use artifact::{Artifact, Content, Entry, Input, Item, Part};
pub use context::{Context, InputArtifact, Mode, Outcome, Setup, Stop, Work};
pub use device::{Device, Devices, Missing, Probe};
pub use error::{Class, Error, Halt, Result, guarded};
pub use event::{Event, Events, Sink};
pub use facts::{Facts, KnownInput, KnownInputs};
pub use inputs::{InputItem, Inputs, LocalEntry, Stream};
pub use machine::{instruction_set, raise_open_files};
pub use metric::{Better, Merge, Metric, Number, merge};
pub use pipe_cache::{Blob, Digest, Durable, LeaseToken, Scratch, Store};
pub use port::{Direction, FILES, In, Kind, Out, Port};
pub use remote::{Listing, Remote, RemoteFile, RemoteRequest, RemoteRoot, Remotes, shown};
pub use roaring::RoaringBitmap;
pub use share::{PartsFile, Share, ShareFile, Track};
pub use source::{Links, Location, Pin, Places, SourceFile, SourceRequest};
pub use stage::{Code, DynStage, Identity, Misfit, Stage, WorkInputs, covers};
pub use step::{Made, Name, PartRecord, ShareRecord, Step};
