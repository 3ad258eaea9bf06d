//! Owns: `uses: command`, the stage type for programs in any language.
//!
//! A command finds each input as a folder in `$PIPE_INPUT_<port>` (copies, since a program that runs as root can
//! write to read-only files) and leaves its results in `$PIPE_OUTPUT_<name>`. Apart from these and the variables
//! listed under `env`, its environment is fixed. `$PIPE_DURABLE` is a folder for checkpoints that
//! survives a crash; `$PIPE_EVENTS` receives progress, metrics and notes.
//!
//! Revisions:
//! 1. initial version
//! 2. a line that fails ends the command (`sh -eu`); `PATH` and `HOME` are fixed; an output must not be empty

mod channel;

mod quotes;

mod variables;

mod help;

mod words;

pub(crate) mod written;

mod process;

use crate::{
    manifest::{
        nearest,
        stage_type::{OwnPorts, variable},
    },
    secrets::Secrets,
    sources::{Stamp, stamp},
    tree,
};
use channel::Channel;
pub use help::help;
use pipe_stage::{
    Artifact, Code, Context, Error, InputItem, Inputs, Item, Kind, Links, LocalEntry, Misfit, Name, Places,
    Port, Result, Share, SourceRequest, Stage, WorkInputs,
};
pub(crate) use process::left_something;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::Stdio,
    sync::OnceLock,
};

/// Runs a shell command; the files in its output folders become artifacts.
///
/// Files that the command line names are inputs, wherever they are: if one changes, the stage runs again. List other
/// files that the command reads, such as imported modules, under `files`; inputs that are not declared are not
/// detected.
///
/// The command runs as `sh -eu` (with `-o pipefail` if the system's `sh` supports it), so it ends at the first part
/// that fails and at an unset variable. Its environment is fixed: `PATH` contains the system's folders and `HOME` is
/// an empty folder, unless `env` or the command line names them.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Command {
    /// Command line for `sh -eu -c`, run in the project root.
    pub run: String,
    /// Further files that the command reads: globs or folders, relative to the project root. Each must match at least
    /// one file.
    pub files: Vec<String>,
    /// Outputs: name and kind, such as `model: files`.
    pub outputs: BTreeMap<String, String>,
    /// Outputs that may be empty. An empty output is otherwise an error, since it usually means that the command
    /// wrote elsewhere.
    pub may_be_empty: Vec<String>,
    /// Environment variables to pass to the command; their values are part of the cache key. Do not list passwords
    /// and tokens here; pass them as `${secret.NAME}` in the command line.
    pub env: Vec<String>,
    /// Input to process one shard at a time: the command runs once per shard, as a separate process, and finds it as
    /// the file `shard` with its extension; other inputs are complete each time. An output file `shard`, with any
    /// extension, keeps the name of the input shard; other output files are placed in a folder with that name. By
    /// default, the command runs once.
    pub each: Option<String>,
}

/// The part of the config that keys contain: the settings and the values of variables.
#[derive(Serialize, JsonSchema)]
struct CommandLine<'a> {
    run: &'a str,
    outputs: &'a BTreeMap<String, String>,
    env: BTreeMap<&'a str, Value>,
}

/// Kinds of artifacts by name, for inputs of commands; set once, at the start of the program.
static KINDS: OnceLock<Vec<&'static Kind>> = OnceLock::new();

/// Registers kinds of artifacts that commands can receive as ordinary files.
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

    fn patterns(&self) -> Vec<String> {
        words::patterns(&self.run).into_iter().collect()
    }

    fn variables(&self) -> Vec<String> {
        variables::passed(&self.env, &self.run).into_iter().map(str::to_owned).collect()
    }

    /// A command is one process with an unknown number of threads, so it gets one core by default; with `each`,
    /// commands run in parallel.
    fn cpus_default(&self) -> Option<usize> {
        self.each.is_none().then_some(1)
    }
}

impl Stage for Command {
    const NAME: &'static str = "command";
    const REVISION: u32 = 2;
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
                Misfit::new(format!("env[{position}]"), "is not a valid name of an environment variable")
            });
        let secrets = self.env.iter().enumerate().filter(|(_, name)| crate::secrets::looks_secret(name)).map(
            |(position, name)| {
                let message = format!("`{name}` looks like a secret, and values under `env` are recorded");
                let help = format!("write `${{secret.{name}}}` in the line, which passes it as `${name}`");
                Misfit { help: Some(help), ..Misfit::new(format!("env[{position}]"), message) }
            },
        );
        let unknown =
            self.may_be_empty.iter().enumerate().filter(|(_, name)| !self.outputs.contains_key(*name));
        let unknown =
            unknown.map(|(position, _)| Misfit::new(format!("may_be_empty[{position}]"), "is not an output"));
        let literal = quotes::Parts::of(&self.run).literal;
        let literal = crate::secrets::names(&literal).map(|name| {
            let message =
                format!("`${{secret.{name}}}` is within single quotes, where the shell keeps it as text");
            let help = format!("use double quotes: a secret is passed as the variable `${name}`");
            Misfit { help: Some(help), ..Misfit::new("run", message) }
        });
        let literal: Vec<Misfit> = literal.collect();
        let undeclared = undeclared(
            &self.run,
            variables::OUTPUT,
            &self.outputs.keys().map(String::as_str).collect::<Vec<_>>(),
            |name| format!("declare it: `outputs: {{ {name}: files }}`"),
        );
        let empty = Misfit::unless(!self.run.trim().is_empty(), "run", "must be a command line");
        empty
            .into_iter()
            .chain(undeclared)
            .chain(names)
            .chain(variables)
            .chain(secrets)
            .chain(unknown)
            .chain(literal)
            .collect()
    }

    fn check_inputs(&self, connected: &[&str]) -> Vec<Misfit> {
        undeclared(&self.run, variables::INPUT, connected, |name| {
            format!("declare it: `needs: {{ {name}: STAGE }}`")
        })
    }

    fn sources(&self, places: &Places) -> std::result::Result<Vec<SourceRequest>, Vec<Misfit>> {
        // One check per name, since there may be thousands of commands.
        let is_file = |name: &String| places.project.join(name).is_file();
        let is_folder = |name: &str| places.project.join(name).is_dir();
        let named: Vec<String> = words::named_within(&self.run, is_folder)
            .iter()
            .filter(|name| is_file(name))
            .map(|name| crate::sources::escape(name))
            .collect();
        let mut requests = Vec::new();
        if !named.is_empty() {
            // Whatever else is there: a file that the line names is one that it reads.
            let exclude = vec![".pipe/**".to_owned()];
            requests.push(SourceRequest { exclude, ..request(places, named, written::FIELD) });
        }
        for (position, glob) in self.files.iter().enumerate() {
            // What Python writes when it imports a module.
            let exclude = vec!["**/__pycache__/**".to_owned()];
            let found = request(places, vec![files_of(glob, places)], &format!("files[{position}]"));
            requests.push(SourceRequest { exclude, ..found });
        }
        Ok(requests)
    }

    fn work(&self, inputs: &WorkInputs) -> Option<f64> {
        // The files that a command names are mostly its code, whose size does not predict its time.
        inputs.artifact_bytes().map(|bytes| bytes as f64)
    }

    fn run(&self, ctx: &Context) -> Result<()> {
        let env = variables::passed(&self.env, &self.run);
        let env = env.into_iter().map(|name| (name, variable(name))).collect();
        let line = CommandLine { run: &self.run, outputs: &self.outputs, env };
        let (mut items, mut ports, mut each) = (Vec::new(), Vec::new(), None);
        for (port, inputs) in ctx.inputs() {
            if self.each.as_ref() == Some(port) {
                let [input] = &inputs[..] else {
                    let message =
                        format!("`each: {port}` takes the shards of a single stage, but several are given");
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
        let may_be_empty = |name: &String| self.may_be_empty.contains(name);
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
            let entries = step.entries(name);
            if entries.is_empty() && !may_be_empty(name) {
                return Err(empty_output(name));
            }
            ctx.output_named(name, kind, entries)?;
        }
        Ok(())
    }
}

/// Reports ports whose folders a line uses, and that are not among the declared ones.
fn undeclared(line: &str, prefix: &str, declared: &[&str], declare: impl Fn(&str) -> String) -> Vec<Misfit> {
    let port = if prefix == variables::INPUT { "input" } else { "output" };
    let misfit = |name: String| {
        let advice = match nearest(&name, declared) {
            Some(near) => format!("did you mean `${prefix}{near}`?"),
            None => declare(&name),
        };
        let listed = if declared.is_empty() { "none".to_owned() } else { declared.join(", ") };
        let help = format!("{advice} (declared {port}s: {listed})");
        Misfit::new("run", format!("uses `${prefix}{name}`, and there is no {port} `{name}`")).help(help)
    };
    let names = variables::ports(line, prefix).into_iter();
    names.filter(|name| !declared.contains(&name.as_str())).map(misfit).collect()
}

#[derive(Serialize, JsonSchema)]
struct Call<'a> {
    line: &'a CommandLine<'a>,
    ports: Vec<Place>,
}

/// Destination of an input.
#[derive(Serialize, JsonSchema)]
struct Place {
    port: String,
    label: String,
    kind: String,
    /// For the input that is processed one shard at a time: the file name.
    #[serde(skip_serializing_if = "Option::is_none")]
    shard: Option<String>,
}

/// The glob for an item of `files`: a folder includes everything in it.
fn files_of(glob: &str, places: &Places) -> String {
    let glob = glob.trim_start_matches("./");
    let folder = glob.trim_end_matches('/');
    if !folder.is_empty() && places.project.join(folder).is_dir() {
        format!("{}/**", crate::sources::escape(folder))
    } else {
        glob.to_owned()
    }
}

fn empty_output(name: &str) -> Error {
    let help = format!("write files to `$PIPE_OUTPUT_{name}`, or list `{name}` under `may_be_empty`");
    Error::input(format!("the command wrote nothing to its output `{name}`")).help(help)
}

/// The file name of a shard: always the same, since names are not part of keys.
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
        exclude: Vec::new(),
        links: Links::EveryName,
        field: field.to_owned(),
        help: Some("names are relative to the project root".to_owned()),
        pin: None,
    }
}

fn call(params: &Call<'_>, inputs: &Inputs, share: &mut Share) -> Result<()> {
    let scratch = share.scratch()?;
    let (run, secrets) = without_secrets(params.line.run);
    if let Some(folder) = share.adopted() {
        let secrets = Secrets::of_variables(secrets.iter().map(String::as_str));
        return adopt(params, folder, &secrets, share);
    }
    let mut process = process::shell(&run);
    process.stdin(Stdio::null()).env_clear().env("PATH", variables::PATH).env("LANG", "C.UTF-8");
    process.env("HOME", folder(&scratch.path().join("home"))?);
    process.env("TMPDIR", folder(&scratch.path().join("tmp"))?);
    // The raw values, not those of the key, since they may not be UTF-8.
    let passed = params.line.env.keys().copied().chain(secrets.iter().map(String::as_str));
    let passed = passed.chain(["CUDA_VISIBLE_DEVICES", tree::MARK]);
    process.envs(passed.filter_map(|name| Some((name, std::env::var_os(name)?))));
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
        process.env(format!("{}{}", variables::INPUT, place.port), root);
    }
    let files = inputs.named("files").map_or(&[][..], |item| item.entries());
    let before = files.iter().map(still_as_planned).collect::<Result<Vec<Stamp>>>()?;
    let output = |name: &str| scratch.path().join("output").join(name);
    for name in params.line.outputs.keys() {
        process.env(format!("{}{name}", variables::OUTPUT), folder(&output(name))?);
    }
    let items: Vec<&InputItem> = inputs.items().iter().collect();
    let durable = share.durable("command", params, &items)?;
    process.env("PIPE_DURABLE", durable.workspace()?);
    let events = scratch.path().join("events");
    let secrets = Secrets::of_variables(secrets.iter().map(String::as_str));
    let mut channel = Channel::open(&events, &secrets)?;
    process.env("PIPE_EVENTS", events);
    process::run(process, &mut channel, share, scratch.path())?;
    channel.end(share).into_iter().for_each(|figure| share.metric(figure));
    share.remove_when_recorded(durable);
    files.iter().zip(before).try_for_each(|(file, before)| untouched(file, before))?;
    written::unchanged();
    let each = params.ports.iter().position(|place| place.shard.is_some()).map(|place| place as u32);
    for (name, kind) in params.line.outputs {
        take(name, kind, &output(name), each, &secrets, share)?;
    }
    Ok(())
}

/// Takes a folder as the result of a command: all of it if there is one output, otherwise the subfolder with the name
/// of the output.
fn adopt(params: &Call<'_>, folder: &Path, secrets: &Secrets, share: &mut Share) -> Result<()> {
    if params.ports.iter().any(|place| place.shard.is_some()) {
        let message = "a result of a command with `each` cannot be adopted: which file belongs to which shard is unknown";
        return Err(Error::input(message).help("run the stage"));
    }
    let is_only = params.line.outputs.len() == 1;
    for (name, kind) in params.line.outputs {
        let own = if is_only { folder.to_owned() } else { folder.join(name) };
        if !own.is_dir() {
            let message = format!("there is no folder `{}` for the output `{name}`", own.display());
            return Err(Error::input(message).help("a stage with several outputs needs a folder for each"));
        }
        take(name, kind, &own, None, secrets, share)?;
    }
    share.note(format!("adopted from {}", folder.display()));
    Ok(())
}

/// Checks that a file has not changed since the plan.
fn still_as_planned(file: &LocalEntry) -> Result<Stamp> {
    let path = file.path()?;
    stamp(&path).map_err(|_| Error::SourceChanged { name: file.name().to_owned() })
}

/// Checks that nobody wrote to a file while the command ran, even if its content is the same again: the command may
/// have read something else in between.
fn untouched(file: &LocalEntry, before: Stamp) -> Result<()> {
    let changed = || Error::SourceChanged { name: file.name().to_owned() };
    let now = file.path().and_then(|path| stamp(&path).map_err(|_| changed()));
    let is_written = match now {
        Ok(now) if now == before => return Ok(()),
        Ok(now) => !now.is_same_content(&before),
        Err(Error::SourceChanged { .. }) => true,
        Err(error) => return Err(error),
    };
    match written::changed(file.name()) {
        written::Changes::Once => Err(changed()),
        written::Changes::Own => Ok(()),
        // Only its permissions or links: `chmod +x tool.sh && ./tool.sh` does that each time.
        written::Changes::Again if !is_written => Ok(()),
        written::Changes::Again => {
            let name = file.name();
            let message = format!("`{name}` changed while the command ran, for the second time");
            let help = format!(
                "if the command writes `{name}`, write to an output or to `$TMPDIR` instead; if another program \
                 changed it, run again"
            );
            Err(Error::input(message).help(help))
        }
    }
}

/// Imports what the command left in a folder, if it matches the output's kind.
fn take(
    output: &str,
    kind_name: &str,
    folder: &Path,
    each: Option<u32>,
    secrets: &Secrets,
    share: &mut Share,
) -> Result<()> {
    let mut entries = Vec::new();
    for (own, path) in files_below(folder, output)? {
        if secrets.mask(&own) != own {
            let message = format!("the name of a file in the output `{output}` contains a secret");
            return Err(Error::input(message).help("give it a name without the secret"));
        }
        let holds_secret = fs::File::open(&path).and_then(|file| secrets.are_in(file));
        if holds_secret.map_err(|error| Error::io("read", &path, &error))? {
            let message = format!("the file `{own}` of the output `{output}` holds a secret");
            let help = "outputs are kept and passed on as they are; write the file without the secret";
            return Err(Error::input(message).help(help));
        }
        let name = match (each, own.strip_prefix("shard")) {
            (None, _) => Name::Own(own.clone()),
            (Some(shard), Some("")) => Name::Item(shard),
            (Some(shard), Some(rest)) if rest.starts_with('.') && !rest.contains('/') => {
                Name::Extension(shard, rest[1..].to_owned())
            }
            (Some(shard), _) => Name::Below(shard, own.clone()),
        };
        let blob = share.import(output, name, &path)?;
        entries.push(share.local(&own, &path, blob));
    }
    // An output without files is another error, or allowed.
    match kind(kind_name).filter(|_| !entries.is_empty()).map(|kind| (kind.check)(&entries)) {
        Some(Err(error @ Error::Input { .. })) => {
            let message = format!("the output `{output}` of the command is not valid `{kind_name}`: {error}");
            let help = match error {
                Error::Input { help: Some(help), .. } => help,
                _ => "docs/stages.md describes the files of each kind".to_owned(),
            };
            Err(Error::input(message).help(help))
        }
        Some(checked) => checked,
        None => Ok(()),
    }
}

/// Replaces `${secret.NAME}` by the shell's `${NAME}`: secrets are only passed as variables, so they appear neither
/// in specs nor in the list of processes. Also returns the names.
fn without_secrets(line: &str) -> (String, BTreeSet<String>) {
    let names = crate::secrets::names(line).map(str::to_owned).collect();
    (line.replace("${secret.", "${"), names)
}

/// Writes entries as ordinary files; of views, only the selected rows.
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

/// Lists the files in an output folder, sorted by name. What cannot be stored is an error: empty folders, links to
/// folders, names that are not UTF-8.
fn files_below(root: &Path, output: &str) -> Result<Vec<(String, PathBuf)>> {
    const FILES_MAX: usize = 1_000_000;
    const NAME_BYTES_MAX: usize = 1024;
    let refused = |path: &Path, why: &str, help: &str| {
        let own = path.strip_prefix(root).unwrap_or(path).display();
        Err(Error::input(format!("cannot store `{own}` of the output `{output}`: {why}")).help(help))
    };
    if !fs::symlink_metadata(root).is_ok_and(|root| root.is_dir()) {
        let message = format!("the command removed or replaced the folder of its output `{output}`");
        let help = format!("leave the folder `$PIPE_OUTPUT_{output}` in place, and write files to it");
        return Err(Error::input(message).help(help));
    }
    let (mut files, mut folders) = (Vec::new(), vec![root.to_owned()]);
    while let Some(folder) = folders.pop() {
        let mut is_empty = true;
        for entry in fs::read_dir(&folder).map_err(|error| Error::io("list", &folder, &error))? {
            let path = entry.map_err(|error| Error::io("list", &folder, &error))?.path();
            is_empty = false;
            let examined = |error| Error::io("examine", &path, &error);
            let kind = fs::symlink_metadata(&path).map_err(examined)?.file_type();
            if kind.is_dir() {
                folders.push(path);
                continue;
            }
            match fs::metadata(&path) {
                Ok(target) if target.is_file() => {}
                Ok(target) if target.is_dir() => {
                    return refused(&path, "it is a link to a folder", "copy the folder into the output");
                }
                Ok(_) => {
                    return refused(
                        &path,
                        "it is not a regular file",
                        "outputs can contain only files and folders",
                    );
                }
                Err(_) if kind.is_symlink() => {
                    return refused(&path, "it is a broken link", "remove it");
                }
                Err(error) => return Err(examined(error)),
            }
            let own = path.strip_prefix(root).expect("invariant: below the folder").to_str();
            match own {
                None => return refused(&path, "its name is not UTF-8", "rename it"),
                Some(own) if own.contains('\\') => {
                    return refused(&path, "its name contains a backslash", "rename it");
                }
                Some(own) if own.len() > NAME_BYTES_MAX => {
                    return refused(&path, "its path is longer than 1024 bytes", "shorten it");
                }
                Some(own) => files.push((own.to_owned(), path)),
            }
            if files.len() > FILES_MAX {
                return Err(Error::input(format!("the command created more than {FILES_MAX} files")));
            }
        }
        if is_empty && folder != root {
            return refused(&folder, "it is an empty folder", "remove it, or put a file there");
        }
    }
    files.sort();
    Ok(files)
}
