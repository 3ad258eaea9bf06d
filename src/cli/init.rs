//! `pipe init`: a new project with a working pipeline. The program provides its content.

use super::{Command, Failure, Outcome, Program, pretty};
use crate::ui;
use clap::Parser;
use pipe_stage::{Error, Store};
use serde_json::json;
use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// The content of a new project, defined in `main.rs`.
pub struct Template {
    /// The manifest's path, for messages.
    pub manifest: &'static str,
    /// Makes the files of a project with this name, as path and text.
    pub files: fn(&str) -> Vec<(String, String)>,
    /// Lines of `.gitignore`.
    pub ignored: &'static [&'static str],
    /// Workflows, one per service.
    pub ci: &'static [Ci],
}

/// A workflow of a service that runs pipelines.
pub struct Ci {
    /// Its name for `--ci`.
    pub name: &'static str,
    /// Its path.
    pub path: &'static str,
    /// Its content.
    pub text: &'static str,
}

/// Create a new project with a working example pipeline.
#[derive(Parser)]
#[command(
    name = "init",
    after_help = "Example: pipe init fables --ci github && cd fables && pipe run pipeline.yaml"
)]
pub(super) struct Init {
    /// Project folder, created if missing.
    #[arg(default_value = ".", value_name = "DIR")]
    folder: PathBuf,
    /// Add a workflow that runs the pipeline on each push: `github`.
    #[arg(long, value_name = "SERVICE")]
    ci: Option<String>,
    /// Print JSON.
    #[arg(long)]
    pub(super) json: bool,
}

impl Command for Init {
    fn run(self, program: &Program<'_>) -> Outcome {
        let template = program.template.ok_or_else(|| {
            let help = "write a manifest by hand; `pipe stages` lists the stage types".to_owned();
            Failure::Usage("this program has no example project".to_owned(), Some(help))
        })?;
        let mut files = (template.files)(&self.name());
        files.extend(self.workflow(template)?);
        let taken: Vec<&str> = files
            .iter()
            .map(|(path, _)| path.as_str())
            .filter(|path| self.folder.join(path).exists())
            .collect();
        if let [first, ..] = taken[..] {
            return Err(Failure::Usage(
                format!("`{}` already exists; nothing was written", self.folder.join(first).display()),
                Some("choose a new folder: pipe init DIR".to_owned()),
            ));
        }
        for (path, text) in &files {
            let path = self.folder.join(path);
            write(&path, text).map_err(|error| Error::io("write", &path, &error))?;
        }
        let ignore = self.folder.join(".gitignore");
        add_lines(&ignore, template.ignored).map_err(|error| Error::io("write", &ignore, &error))?;
        // The cache makes the folder a project root, even within another repository.
        Store::open(self.folder.join(".pipe"))?;
        if self.json {
            let paths: Vec<&String> = files.iter().map(|(path, _)| path).collect();
            ui::print(&pretty(&json!({ "version": 1, "folder": self.folder, "files": paths })));
        } else {
            files.iter().for_each(|(path, _)| ui::print(&self.folder.join(path).display().to_string()));
        }
        let manifest = self.folder.join(template.manifest);
        let manifest = quoted(manifest.strip_prefix(".").unwrap_or(&manifest));
        // `-x` would be an option.
        let manifest = if manifest.starts_with('-') { format!("./{manifest}") } else { manifest };
        ui::say(&format!("now run it: pipe run {manifest}"));
        if self.ci.is_some() {
            ui::say(
                "then commit the lock file that the run writes: the workflow compares its results with it",
            );
            if !self.folder.join(".git").exists() {
                ui::say(&format!(
                    "the workflow only runs from the root of a repository: git init {}",
                    quoted(&self.folder)
                ));
            }
        }
        Ok(())
    }
}

impl Init {
    fn workflow(&self, template: &Template) -> Result<Option<(String, String)>, Failure> {
        let Some(wanted) = &self.ci else { return Ok(None) };
        let known = || template.ci.iter().map(|ci| ci.name).collect::<Vec<_>>().join(", ");
        let ci = template.ci.iter().find(|ci| ci.name == wanted).ok_or_else(|| {
            Failure::Usage(
                format!("no workflow for `{wanted}`"),
                Some(format!("known services: {}", known())),
            )
        })?;
        Ok(Some((ci.path.to_owned(), ci.text.to_owned())))
    }

    /// The folder's name, reduced to what is valid as the name of a pipeline.
    fn name(&self) -> String {
        let whole = std::path::absolute(&self.folder).unwrap_or_default();
        let name = whole.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let fits = |letter: &char| letter.is_ascii_alphanumeric() || "_-.".contains(*letter);
        let name: String = name.chars().filter(fits).take(64).collect();
        let name = name.trim_start_matches(['.', '-']).trim_end_matches('.').to_owned();
        if name.is_empty() { "first".to_owned() } else { name }
    }
}

/// A path, quoted for a shell if necessary.
pub(super) fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let is_plain = |letter: char| letter.is_ascii_alphanumeric() || "/._-+:@%,".contains(letter);
    match !text.is_empty() && text.chars().all(is_plain) {
        true => text,
        false => format!("'{}'", text.replace('\'', "'\\''")),
    }
}

fn write(path: &Path, text: &str) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    fs::write(path, text)
}

/// Adds lines that a file does not contain yet.
fn add_lines(path: &Path, lines: &[&str]) -> io::Result<()> {
    let mut text = match fs::read_to_string(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
        text => text?,
    };
    if !text.is_empty() && !text.ends_with('\n') {
        text.push('\n');
    }
    for line in lines {
        if !text.lines().any(|there| there == *line) {
            text += &format!("{line}\n");
        }
    }
    fs::write(path, text)
}
