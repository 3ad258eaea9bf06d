//! The program `pipe`: its table of stage types, its commands on models, and the content of a new project. Only this
//! file and those commands use the packages for data and models.

use pipe::{
    cli::{FolderCommand, Program},
    command::Command,
    stage_type::StageType,
};
use std::{process::ExitCode, sync::LazyLock};

#[cfg(feature = "model")]
mod init;

#[cfg(feature = "data")]
mod account;

#[cfg(feature = "model")]
mod generate;

#[cfg(feature = "serve")]
mod serve;

/// Access to files on servers.
#[cfg(feature = "remote")]
static SERVERS: pipe_remote::Servers = pipe_remote::Servers::of_environment();

#[cfg(feature = "remote")]
fn ingest() -> StageType {
    StageType::of::<pipe_data::Ingest>().reading(&SERVERS)
}

#[cfg(all(feature = "data", not(feature = "remote")))]
fn ingest() -> StageType {
    StageType::of::<pipe_data::Ingest>()
}

static STAGES: LazyLock<Box<[StageType]>> = LazyLock::new(|| {
    Box::new([
        #[cfg(feature = "crawl")]
        StageType::of::<pipe_crawl::Crawl>(),
        #[cfg(feature = "data")]
        ingest(),
        #[cfg(feature = "data")]
        StageType::of::<pipe_data::IngestTokens>(),
        #[cfg(feature = "data")]
        StageType::of::<pipe_data::Remove>(),
        #[cfg(feature = "data")]
        StageType::of::<pipe_data::Clean>(),
        #[cfg(feature = "data")]
        StageType::of::<pipe_data::Dedup>(),
        #[cfg(feature = "data")]
        StageType::of::<pipe_data::DedupPassages>(),
        #[cfg(feature = "data")]
        StageType::of::<pipe_data::DedupSubstrings>(),
        #[cfg(feature = "data")]
        StageType::of::<pipe_data::Boilerplate>(),
        #[cfg(feature = "data")]
        StageType::of::<pipe_data::Split>(),
        #[cfg(feature = "data")]
        StageType::of::<pipe_data::Decontaminate>(),
        #[cfg(feature = "data")]
        StageType::of::<pipe_data::TokenizerStage>(),
        #[cfg(feature = "data")]
        StageType::of::<pipe_data::Tokenize>(),
        #[cfg(feature = "data")]
        StageType::of::<pipe_data::VocabularyReport>(),
        #[cfg(feature = "data")]
        StageType::of::<pipe_data::Mix>(),
        #[cfg(feature = "data")]
        StageType::of::<pipe_data::ExportData>(),
        #[cfg(feature = "data")]
        StageType::of::<pipe_data::Examples>(),
        #[cfg(feature = "data")]
        StageType::of::<pipe_data::ClassifierStage>(),
        #[cfg(feature = "data")]
        StageType::of::<pipe_data::Classify>(),
        #[cfg(feature = "data")]
        StageType::of::<pipe_data::Filter>(),
        #[cfg(feature = "model")]
        StageType::of::<pipe_model::Pretrain>(),
        #[cfg(feature = "model")]
        StageType::of::<pipe_model::Finetune>(),
        #[cfg(feature = "model")]
        StageType::of::<pipe_model::Eval>(),
        #[cfg(feature = "model")]
        StageType::of::<pipe_model::Export>(),
        StageType::with_own_ports::<Command>(),
    ])
});

const COMMANDS: &[FolderCommand] = &[
    #[cfg(feature = "data")]
    account::stats::COMMAND,
    #[cfg(feature = "data")]
    account::sample::COMMAND,
    #[cfg(feature = "data")]
    account::trace::COMMAND,
    #[cfg(feature = "data")]
    account::batch::COMMAND,
    #[cfg(feature = "data")]
    account::remove::COMMAND,
    #[cfg(feature = "data")]
    account::purge::COMMAND,
    #[cfg(feature = "model")]
    generate::COMMAND,
    #[cfg(feature = "serve")]
    serve::COMMAND,
];

fn main() -> ExitCode {
    pipe::cli::main_with(Program {
        types: &STAGES,
        commands: COMMANDS,
        #[cfg(feature = "model")]
        template: Some(&init::TEMPLATE),
        #[cfg(not(feature = "model"))]
        template: None,
    })
}
