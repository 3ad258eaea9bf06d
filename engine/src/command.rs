//! Owns: `uses: command`, the stage type for programs in any language.
//!
//! A command finds each input as a folder in `$PIPE_INPUT_<port>` (copies: a program run by root writes
//! through any permission) and leaves what it makes in `$PIPE_OUTPUT_<name>`. Besides these and the
//! variables that `env` names, its environment is fixed. `$PIPE_DURABLE` is a folder for checkpoints that
//! outlives a crash; `$PIPE_EVENTS` takes progress, figures and notes.

mod channel;

use crate::{
    machine::disk_free,
    manifest::stage_type::OwnPorts,
    usage::{self, Until},
};
use channel::Channel;
use pipe_stage::{
    Artifact, Code, Context, Error, InputItem, Inputs, Item, Kind, LocalEntry, Misfit, Name, Places, Port,
    Result, Share, SourceRequest, Stage, WorkInputs,
};
use rustix::process::{Pid, Signal, kill_process};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::{Command as Process, ExitStatus, Stdio},
    sync::OnceLock,
    time::Duration,
};

/// Runs a shell line; what it leaves in its output folders becomes artifacts.
///
/// Project files that the line names are inputs too: a change of one runs it again. What it reads without
/// naming it, such as imported modules, belongs under `files`; undeclared inputs are not noticed.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Command {
    /// The line for `sh -c`, run in the project's root.
    pub run: String,
    /// Globs of further files that it reads, relative to the project's root.
    pub files: Vec<String>,
    /// Outputs by name, each with its kind: `figure: files`.
    pub outputs: BTreeMap<String, String>,
    /// Names of environment variables that it sees; their values decide the result.
    pub env: Vec<String>,
    /// Input whose shards it gets one at a time, as `shard` with their extension, each in a process of its own;
    /// the other inputs stand whole beside each. What it leaves as `shard`, with any extension, keeps the
    /// shard's name, and everything else goes below a folder called like it.
    pub each: Option<String>,
}

/// What stands in the key of a command: the config and the values of its variables.
#[derive(Serialize, JsonSchema)]
struct Line<'a> {
    run: &'a str,
    outputs: &'a BTreeMap<String, String>,
    env: BTreeMap<&'a str, Option<String>>,
}

/// Kinds of artifacts by name, for inputs of commands; set once by `main`.
static KINDS: OnceLock<Vec<&'static Kind>> = OnceLock::new();

/// Lets commands receive artifacts of these kinds as ordinary files.
pub fn know_kinds(kinds: Vec<&'static Kind>) {
    let _ = KINDS.set(kinds);
}

/// Finds a kind by its name.
pub fn kind(name: &str) -> Option<&'static Kind> {
    KINDS.get()?.iter().copied().find(|kind| kind.name == name)
}

impl OwnPorts for Command {
    fn outputs(&self) -> Vec<(String, String)> {
        self.outputs.iter().map(|(name, kind)| (name.clone(), kind.clone())).collect()
    }

    fn inputs_named(&self) -> Vec<(String, String)> {
        self.each.iter().map(|name| ("each".to_owned(), name.clone())).collect()
    }

    fn variables(&self) -> &[String] {
        &self.env
    }
}

impl Stage for Command {
    const NAME: &'static str = "command";
    const REVISION: u32 = 1;
    const CODE: Code = Code::Revision;
    const PORTS: &'static [Port] = &[];

    fn check(&self) -> Vec<Misfit> {
        let is_name = |name: &String| {
            !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        };
        let names = self.outputs.keys().filter(|name| !is_name(name)).map(|name| {
            Misfit::new(format!("outputs.{name}"), "names of outputs are letters, digits and `_`")
        });
        let variables =
            self.env.iter().enumerate().filter(|(_, name)| !is_name(name)).map(|(position, _)| {
                Misfit::new(format!("env[{position}]"), "is no name of an environment variable")
            });
        let empty = Misfit::unless(!self.run.trim().is_empty(), "run", "must hold a shell line");
        empty.into_iter().chain(names).chain(variables).collect()
    }

    fn sources(&self, places: &Places) -> std::result::Result<Vec<SourceRequest>, Vec<Misfit>> {
        let words = self.run.split(|letter: char| letter.is_whitespace() || "'\"();|&<>=".contains(letter));
        let is_file = |word: &&str| {
            let path = Path::new(word);
            // Variables need no look on the disk: there may be thousands of commands.
            !(word.is_empty() || word.starts_with('$'))
                && path.is_relative()
                && places.project.join(path).is_file()
                && !word.contains("..")
        };
        let plain = |word: &str| word.trim_start_matches("./").to_owned();
        let named: std::collections::BTreeSet<String> = words.filter(is_file).map(plain).collect();
        let mut requests: Vec<SourceRequest> =
            named.into_iter().map(|word| request(places, vec![escape(&word)], "run")).collect();
        if !self.files.is_empty() {
            requests.push(request(places, self.files.clone(), "files"));
        }
        Ok(requests)
    }

    fn work(&self, inputs: &WorkInputs) -> Option<f64> {
        // The files that a command names are mostly its code, whose size says nothing about its time.
        let artifacts = WorkInputs { source_bytes: 0, ..inputs.clone() };
        artifacts.bytes().map(|bytes| bytes as f64)
    }

    fn run(&self, ctx: &Context) -> Result<()> {
        let env = self.env.iter().map(|name| (name.as_str(), std::env::var(name).ok())).collect();
        let line = Line { run: &self.run, outputs: &self.outputs, env };
        let (mut items, mut ports, mut each) = (Vec::new(), Vec::new(), None);
        for (port, inputs) in ctx.inputs() {
            if self.each.as_ref() == Some(port) {
                let [input] = &inputs[..] else {
                    let message =
                        format!("`each: {port}` takes the shards of one stage, and these are several");
                    return Err(Error::input(message));
                };
                let shard = Some(shard_name(&input.artifact));
                each = Some((items.len(), input.artifact.shards()));
                items.push(Item::new("", []));
                ports.push(Place {
                    port: port.clone(),
                    label: String::new(),
                    kind: input.artifact.kind.clone(),
                    shard,
                });
                continue;
            }
            for (position, input) in inputs.iter().enumerate() {
                let label = match (inputs.len(), input.label.as_str()) {
                    (1, "") => String::new(),
                    (_, "") => position.to_string(),
                    (_, label) => label.to_owned(),
                };
                items.push(input.artifact.folder(&format!("{port}/{label}")));
                let kind = input.artifact.kind.clone();
                ports.push(Place { port: port.clone(), label, kind, shard: None });
            }
        }
        items.push(Item::of_sources("files", ctx.sources().iter().cloned()));
        let params = Call { line: &line, ports };
        let step = match each {
            None => ctx.once("command", &params, items, call)?,
            Some((place, shards)) => {
                let share = |shard: Item| {
                    let mut items = items.clone();
                    items[place] = shard;
                    items
                };
                ctx.each_of("command", &params, shards.into_iter().map(share).collect(), call)?
            }
        };
        for (name, kind) in &self.outputs {
            ctx.output_named(name, kind, step.entries(name))?;
        }
        Ok(())
    }
}

#[derive(Serialize, JsonSchema)]
struct Call<'a> {
    line: &'a Line<'a>,
    ports: Vec<Place>,
}

/// Where an input goes.
#[derive(Serialize, JsonSchema)]
struct Place {
    port: String,
    label: String,
    kind: String,
    /// Of the input whose shards come one at a time: the file's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    shard: Option<String>,
}

/// How a shard is called where it is laid out: always the same, since names are in no key.
fn shard_name(artifact: &Artifact) -> String {
    let extension =
        |entry: &pipe_stage::Entry| Some(Path::new(&entry.name).extension()?.to_str()?.to_owned());
    let mut all = artifact.entries.iter().map(extension);
    match all.next().flatten() {
        Some(first) if all.all(|other| other.as_ref() == Some(&first)) => format!("shard.{first}"),
        _ => "shard".to_owned(),
    }
}

fn request(places: &Places, include: Vec<String>, field: &str) -> SourceRequest {
    SourceRequest {
        source: "project".to_owned(),
        root: places.project.clone(),
        include,
        exclude: vec![".pipe/**".to_owned(), "out/**".to_owned(), ".git/**".to_owned()],
        field: field.to_owned(),
        help: Some("names are relative to the project's root".to_owned()),
        pin: None,
    }
}

fn escape(name: &str) -> String {
    name.chars()
        .flat_map(|letter| "*?[]{}\\".contains(letter).then_some('\\').into_iter().chain([letter]))
        .collect()
}

/// Where POSIX systems have it.
const SHELL: &str = "/bin/sh";

fn call(params: &Call<'_>, inputs: &Inputs, share: &mut Share) -> Result<()> {
    let scratch = share.scratch()?;
    // By its path: looked up in a PATH that we set, it would be started by a fork, which copies our page tables.
    let mut process = Process::new(SHELL);
    process.stdin(Stdio::null()).env_clear();
    let inherited = ["PATH", "HOME", "USER", "CUDA_VISIBLE_DEVICES"];
    process.envs(inherited.iter().filter_map(|name| Some((name, std::env::var_os(name)?))));
    let (run, secrets) = without_secrets(params.line.run);
    process.arg("-c").arg(run).envs(secrets.iter().filter_map(|name| Some((name, std::env::var_os(name)?))));
    process.env("LANG", "C.UTF-8").env("TMPDIR", folder(&scratch.path().join("tmp"))?);
    process.envs(params.line.env.iter().filter_map(|(name, value)| Some((name, value.as_ref()?))));
    for (place, item) in params.ports.iter().zip(inputs.items()) {
        let mut path = scratch.path().join("input").join(&place.port);
        if !place.label.is_empty() {
            path = path.join(&place.label);
        }
        match &place.shard {
            None => lay_out(item.entries(), kind(&place.kind), &folder(&path)?)?,
            Some(name) => {
                let path = folder(&path)?.join(name);
                item.entries().iter().try_for_each(|entry| materialize(kind(&place.kind), entry, &path))?;
            }
        }
        let root = scratch.path().join("input").join(&place.port);
        process.env(format!("PIPE_INPUT_{}", place.port), root);
    }
    for file in inputs.named("files").map_or(&[][..], |item| item.entries()) {
        file.bytes()?; // still what the plan saw
    }
    let output = |name: &str| scratch.path().join("output").join(name);
    for name in params.line.outputs.keys() {
        process.env(format!("PIPE_OUTPUT_{name}"), folder(&output(name))?);
    }
    let items: Vec<&InputItem> = inputs.items().iter().collect();
    let durable = share.durable("command", params, &items)?;
    process.env("PIPE_DURABLE", durable.workspace()?);
    let events = scratch.path().join("events");
    let mut channel = Channel::open(&events)?;
    process.env("PIPE_EVENTS", events);
    wait(process, &mut channel, share, scratch.path())?;
    channel.figures().into_iter().for_each(|figure| share.metric(figure));
    share.remove_when_recorded(durable);
    for file in inputs.named("files").map_or(&[][..], |item| item.entries()) {
        file.bytes()?; // and while it ran
    }
    let each = params.ports.iter().position(|place| place.shard.is_some()).map(|place| place as u32);
    for (name, kind) in params.line.outputs {
        take(name, kind, &output(name), each, share)?;
    }
    Ok(())
}

/// Takes in what the command left in a folder, if it is what the output's kind says.
fn take(output: &str, kind_name: &str, folder: &Path, each: Option<u32>, share: &mut Share) -> Result<()> {
    let mut entries = Vec::new();
    for path in files_below(folder)? {
        let own = path.strip_prefix(folder).expect("invariant: below the folder");
        let own = own.to_str().ok_or_else(|| {
            Error::input(format!("the command made a file whose name is not UTF-8: `{}`", path.display()))
        })?;
        let name = match (each, own.strip_prefix("shard")) {
            (None, _) => Name::Own(own.to_owned()),
            (Some(shard), Some("")) => Name::Item(shard),
            (Some(shard), Some(rest)) if rest.starts_with('.') && !rest.contains('/') => {
                Name::Extension(shard, rest[1..].to_owned())
            }
            (Some(shard), _) => Name::Below(shard, own.to_owned()),
        };
        let blob = share.import(output, name, &path)?;
        entries.push(share.local(own, &path, blob));
    }
    const LINES: usize = 4;
    match kind(kind_name).map(|kind| (kind.look)(&entries, LINES)) {
        Some(Err(error)) => {
            let message = format!("what the command left in `{output}` is no `{kind_name}`: {error}");
            Err(Error::input(message).help("docs/formats.md describes the layout of each kind"))
        }
        _ => Ok(()),
    }
}

/// Makes `${secret.NAME}` the shell's own `${NAME}`: a secret reaches a process as a variable only, so that
/// neither a spec nor the list of processes shows it. Returns the names too.
fn without_secrets(line: &str) -> (String, Vec<String>) {
    const OPEN: &str = "${secret.";
    let (mut shell, mut names, mut rest) = (String::new(), Vec::new(), line);
    while let Some((before, after)) = rest.split_once(OPEN) {
        shell += before;
        shell += "${";
        rest = after;
        if let Some((name, _)) = after.split_once('}') {
            names.push(name.split(":-").next().unwrap_or_default().to_owned());
        }
    }
    (shell + rest, names)
}

/// Runs the process to its end, in our process group, so that it ends when we do.
fn wait(mut process: Process, channel: &mut Channel, share: &Share, scratch: &Path) -> Result<()> {
    // Short at first, so that a short command costs no more than itself.
    const LOOKED_FIRST: Duration = Duration::from_micros(250);
    const LOOKED_EVERY: Duration = Duration::from_millis(20);
    let failed = |error: std::io::Error| Error::io("run", Path::new(SHELL), &error);
    let child = process.spawn().map_err(failed)?;
    let pid = Pid::from_raw(child.id() as i32).expect("invariant: a child has an id");
    let (mut asked, mut pause) = (false, LOOKED_FIRST);
    loop {
        let ended = usage::wait(pid, Until::Now).map_err(failed)?;
        channel.look(share);
        if let Some((status, _)) = ended {
            return match (status.success(), asked) {
                (true, _) => Ok(()),
                (false, true) => Err(Error::Interrupted),
                (false, false) => Err(failure(status, scratch)),
            };
        }
        if share.is_stopping() && !asked {
            asked = true;
            let _ = kill_process(pid, Signal::TERM);
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(LOOKED_EVERY);
    }
}

/// Explains a command that failed. Programs meet a full disk in ways of their own, so look whether it is full.
fn failure(status: ExitStatus, scratch: &Path) -> Error {
    const ROOM_MIN: u64 = 64 << 10;
    match disk_free(scratch) {
        Some(free) if free < ROOM_MIN => Error::DiskFull { path: scratch.display().to_string() },
        _ => Error::Command { status: status.to_string() },
    }
}

/// Writes entries as ordinary files, views with their rows selected.
pub fn lay_out(entries: &[LocalEntry], kind: Option<&'static Kind>, folder: &Path) -> Result<()> {
    for entry in entries {
        let path = folder.join(entry.name());
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).map_err(|error| Error::io("create", parent, &error))?;
        }
        materialize(kind, entry, &path)?;
    }
    Ok(())
}

fn materialize(kind: Option<&'static Kind>, entry: &LocalEntry, path: &Path) -> Result<()> {
    kind.map_or(LocalEntry::copy_to as fn(&LocalEntry, &Path) -> Result<()>, |kind| kind.materialize)(
        entry, path,
    )
}

fn folder(path: &Path) -> Result<PathBuf> {
    fs::create_dir_all(path).map_err(|error| Error::io("create", path, &error))?;
    Ok(path.to_owned())
}

/// Lists plain files, in name order. Links are followed only to files, so a loop ends.
fn files_below(folder: &Path) -> Result<Vec<PathBuf>> {
    const FILES_MAX: usize = 1_000_000;
    let (mut files, mut folders) = (Vec::new(), vec![folder.to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).map_err(|error| Error::io("list", &folder, &error))? {
            let entry = entry.map_err(|error| Error::io("list", &folder, &error))?;
            let kind = entry.file_type().map_err(|error| Error::io("examine", &entry.path(), &error))?;
            if kind.is_dir() {
                folders.push(entry.path());
            } else if entry.path().is_file() {
                files.push(entry.path());
            }
            if files.len() > FILES_MAX {
                return Err(Error::input(format!("the command made more than {FILES_MAX} files")));
            }
        }
    }
    files.sort();
    Ok(files)
}
