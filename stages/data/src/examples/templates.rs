//! Templates before they see a document: how they are compiled, and which of their names stand for nothing.
//!
//! A name that nothing stands for is an error only when a template gets to it, which may be after hours of other
//! stages, so all of them are looked for beforehand: variables in the syntax tree, filters and tests in the tokens.

use super::{FIELDS, METADATA};
use minijinja::machinery::{Token, tokenize};
use minijinja::syntax::SyntaxConfig;
use minijinja::{AutoEscape, Environment, ErrorKind, UndefinedBehavior};
use pipe_stage::Misfit;
use std::collections::BTreeSet;

/// Maximum number of template instructions per document.
const FUEL: u64 = 100_000;

/// Without access to files, the clock or random numbers: the output of a template depends only on the document.
pub(super) fn environment() -> Environment<'static> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_auto_escape_callback(|_| AutoEscape::None);
    environment.set_fuel(Some(FUEL));
    environment
}

/// The error with its line, without the template's name, since the error already names the field.
pub(super) fn told(error: &minijinja::Error) -> String {
    let text = match error.detail() {
        Some(detail) => format!("{}: {detail}", error.kind()),
        None => error.kind().to_string(),
    };
    match error.line() {
        Some(line) => format!("{text} (line {line})"),
        None => text,
    }
}

/// Finds what is wrong with the template of a field, whatever the documents.
pub(super) fn faults(field: &str, source: &str) -> Vec<Misfit> {
    let mut environment = environment();
    if let Err(error) = environment.add_template(field, source) {
        return vec![Misfit::new(field, format!("is not a valid template: {}", told(&error)))];
    }
    let names = Names::of(source);
    let unknown = |what: &str, names: &BTreeSet<&str>, kind: ErrorKind, expression: fn(&str) -> String| {
        let unknown = names.iter().filter(|name| fails_as(&environment, &expression(name), kind));
        let message = |name: &&str| format!("uses an unknown {what}, `{name}`");
        let help = format!("see {what}s at https://docs.rs/minijinja/latest/minijinja/{what}s/");
        unknown.map(|name| Misfit::new(field, message(name)).help(help.clone())).collect::<Vec<_>>()
    };
    let filters = unknown("filter", &names.filters, ErrorKind::UnknownFilter, |name| format!("'' | {name}"));
    let tests = unknown("test", &names.tests, ErrorKind::UnknownTest, |name| format!("'' is {name}"));
    let variables = unknown_variables(&environment, field, &names.assigned);
    variables.into_iter().chain(filters).chain(tests).collect()
}

/// Whether an expression fails for this reason; any other has to do with its values.
fn fails_as(environment: &Environment<'_>, expression: &str, kind: ErrorKind) -> bool {
    let evaluated = environment.compile_expression(expression).and_then(|compiled| compiled.eval(()));
    evaluated.is_err_and(|error| error.kind() == kind)
}

/// Variables that are no field of a document, and attributes of fields that have none.
fn unknown_variables(environment: &Environment<'_>, field: &str, assigned: &BTreeSet<&str>) -> Vec<Misfit> {
    let template = environment.get_template(field).expect("invariant: it was added under this name");
    let used: BTreeSet<String> = template.undeclared_variables(true).into_iter().collect();
    let is_known = |name: &str| {
        FIELDS.contains(&name) || assigned.contains(name) || environment.globals().any(|(own, _)| own == name)
    };
    let mut misfits = Vec::new();
    let mut told = BTreeSet::new();
    for variable in &used {
        let (name, attribute) = variable.split_once('.').unwrap_or((variable, ""));
        if !is_known(name) {
            if told.insert(name) {
                let fields = FIELDS.map(|field| format!("`{field}`")).join(", ");
                let help = format!("fields are {fields}; a field of the metadata is `{METADATA}.{name}`");
                misfits.push(Misfit::new(field, format!("uses an unknown variable, `{name}`")).help(help));
            }
        } else if FIELDS.contains(&name) && name != METADATA && !attribute.is_empty() {
            let message =
                format!("uses `{variable}`, but `{name}` is a text, without attributes and methods");
            misfits.push(Misfit::new(field, message).help(format!("use a filter, as in `{name} | upper`")));
        }
    }
    misfits
}

/// The variables that a template uses, with their attributes.
pub(super) fn variables_of(source: &str) -> BTreeSet<String> {
    let environment = environment();
    let template = environment.template_from_str(source);
    template.map_or_else(
        |_| BTreeSet::new(),
        |template| template.undeclared_variables(true).into_iter().collect(),
    )
}

/// The names in the metadata that a template uses.
pub(super) fn metadata_of(source: &str) -> BTreeSet<String> {
    let name = |variable: String| {
        let name = variable.strip_prefix(METADATA)?.strip_prefix('.')?.split('.').next()?;
        Some(name.to_owned())
    };
    variables_of(source).into_iter().filter_map(name).collect()
}

/// Names in a template, by what they are used as.
#[derive(Default)]
struct Names<'t> {
    filters: BTreeSet<&'t str>,
    tests: BTreeSet<&'t str>,
    /// What `set` assigns; the syntax tree's scopes end earlier than a template's.
    assigned: BTreeSet<&'t str>,
}

impl<'t> Names<'t> {
    fn of(source: &'t str) -> Self {
        let mut names = Self::default();
        let tokens = tokenize(source, false, SyntaxConfig::default());
        let tokens: Vec<Token<'t>> = tokens.map_while(Result::ok).map(|(token, _)| token).collect();
        let mut is_assigning = false;
        for (at, token) in tokens.iter().enumerate() {
            let before = at.checked_sub(1).map(|at| &tokens[at]);
            let after = |by: usize| match tokens.get(at + by) {
                Some(Token::Ident(name)) => Some(*name),
                _ => None,
            };
            match token {
                Token::Pipe => names.filters.extend(after(1)),
                Token::Ident("is") if !matches!(before, Some(Token::Dot)) => {
                    names.tests.extend(if after(1) == Some("not") { after(2) } else { after(1) });
                }
                Token::Ident("filter") if matches!(before, Some(Token::BlockStart)) => {
                    names.filters.extend(after(1));
                }
                Token::Ident("set") if matches!(before, Some(Token::BlockStart)) => is_assigning = true,
                Token::Assign | Token::BlockEnd => is_assigning = false,
                Token::Ident(name) if is_assigning => drop(names.assigned.insert(*name)),
                _ => {}
            }
        }
        names
    }
}
