//! `pipe init`: the content of a new project. Its pages are twenty fables, retold for this purpose.

use pipe::cli::{Ci, Template};

pub(crate) const TEMPLATE: Template = Template {
    manifest: "pipeline.yaml",
    files,
    ignored: &["/.pipe/", "/out/", "/*.html"],
    ci: &[Ci {
        name: "github",
        path: ".github/workflows/pipeline.yml",
        text: include_str!("init/github.yml"),
    }],
};

fn files(name: &str) -> Vec<(String, String)> {
    let manifest = include_str!("init/pipeline.yaml").replace("NAME", name);
    let pages = include_str!("init/fables.txt").split("# ").filter_map(page);
    std::iter::once(("pipeline.yaml".to_owned(), manifest)).chain(pages).collect()
}

/// A fable as a page: the first line is the title, and each further line is a paragraph.
fn page(fable: &str) -> Option<(String, String)> {
    let mut lines = fable.lines().filter(|line| !line.trim().is_empty());
    let title = lines.next()?;
    let plain = |letter: char| if letter.is_ascii_alphanumeric() { letter.to_ascii_lowercase() } else { '-' };
    let name = title.replace(['\'', ','], "").chars().map(plain).collect::<String>();
    let body: String = lines.map(|line| format!("<p>{line}</p>\n")).collect();
    let html = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head><meta charset=\"utf-8\"><title>{title}</title></head>\n\
         <body>\n<main>\n<h1>{title}</h1>\n{body}</main>\n</body>\n</html>\n"
    );
    Some((format!("pages/{name}.html"), html))
}
