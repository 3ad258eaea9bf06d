//! The named, typed inputs and outputs of a stage, and the operations on artifacts of each kind.

use crate::{LocalEntry, Result};
use std::path::Path;

/// A kind of artifact: what its entries contain, and how they are shown. Kinds are equal if their names are.
pub struct Kind {
    /// `documents`, `tokens`, `model`.
    pub name: &'static str,
    /// One sentence for `pipe stages`.
    pub about: &'static str,
    /// Writes an entry as an ordinary file at this path; of a view, only the selected rows.
    pub materialize: fn(&LocalEntry, &Path) -> Result<()>,
    /// Describes the entries for `pipe show`, in about this many lines at most.
    pub look: fn(&[LocalEntry], usize) -> Result<String>,
    /// Refuses files that stages which take this kind cannot read: called with the output of a command.
    pub check: fn(&[LocalEntry]) -> Result<()>,
}

impl Kind {
    /// A kind whose entries are ordinary files.
    pub const fn files(name: &'static str, about: &'static str) -> Self {
        Self { name, about, materialize: LocalEntry::copy_to, look: list_files, check: |_| Ok(()) }
    }
}

impl std::fmt::Debug for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

impl PartialEq for Kind {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for Kind {}

/// Files of any kind.
pub static FILES: Kind = Kind::files("files", "Files of any kind.");

/// Lists names and sizes, and shows the first lines of a text file.
fn list_files(entries: &[LocalEntry], lines_max: usize) -> Result<String> {
    const TEXT_MAX: u64 = 64 << 10;
    let mut text = String::new();
    for entry in entries.iter().take(lines_max) {
        text += &format!("{}  {} bytes\n", entry.name(), entry.size());
        if entry.size() <= TEXT_MAX
            && let Ok(body) = String::from_utf8(entry.bytes()?)
        {
            let left = lines_max.saturating_sub(text.lines().count());
            body.lines().take(left).for_each(|line| {
                text.push_str("  ");
                text.extend(line.chars().take(160));
                text.push('\n');
            });
        }
    }
    Ok(text)
}

/// Direction of a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// Read by the stage.
    Input,
    /// Produced by the stage.
    Output,
}

/// A port of a stage type, as the engine sees it.
#[derive(Debug, Clone, Copy)]
pub struct Port {
    /// Name in `needs` and in `stage.port`.
    pub name: &'static str,
    /// Its direction.
    pub direction: Direction,
    /// The kind of its artifacts.
    pub kind: &'static Kind,
    /// For outputs: whether `needs: stage` means this one.
    pub main: bool,
    /// For inputs: whether it takes a list or a map of stages.
    pub many: bool,
    /// For inputs: whether it may be left out.
    pub optional: bool,
    /// One sentence for `pipe stages`.
    pub about: &'static str,
}

/// An input port.
#[derive(Debug, Clone, Copy)]
pub struct In(Port);

/// An output port.
#[derive(Debug, Clone, Copy)]
pub struct Out(Port);

impl In {
    /// An input that takes one artifact.
    pub const fn new(name: &'static str, kind: &'static Kind, about: &'static str) -> Self {
        let direction = Direction::Input;
        Self(Port { name, direction, kind, main: false, many: false, optional: false, about })
    }

    /// Makes the input optional.
    pub const fn optional(mut self) -> Self {
        self.0.optional = true;
        self
    }

    /// Lets the input take any number of artifacts.
    pub const fn many(mut self) -> Self {
        self.0.many = true;
        self
    }

    /// The port as the engine sees it.
    pub const fn port(self) -> Port {
        self.0
    }

    /// Its name.
    pub const fn name(self) -> &'static str {
        self.0.name
    }
}

impl Out {
    /// An output.
    pub const fn new(name: &'static str, kind: &'static Kind, about: &'static str) -> Self {
        let direction = Direction::Output;
        Self(Port { name, direction, kind, main: false, many: false, optional: false, about })
    }

    /// The main output: the one that the name of the stage alone refers to.
    pub const fn main(name: &'static str, kind: &'static Kind, about: &'static str) -> Self {
        let mut port = Self::new(name, kind, about);
        port.0.main = true;
        port
    }

    /// The port as the engine sees it.
    pub const fn port(self) -> Port {
        self.0
    }

    /// Its name; by convention also the slot that shares write to.
    pub const fn name(self) -> &'static str {
        self.0.name
    }
}
