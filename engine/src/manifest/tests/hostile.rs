//! Malicious manifests: refused quickly, in bounded memory, and never by a panic.

use super::{GOOD, codes, load_files, load_one};
use crate::manifest::{FILE_BYTES_MAX, World, load};
use std::time::{Duration, Instant};

#[test]
fn bombs_run_out_of_budget() {
    let doubled = |first: &str, line: &dyn Fn(usize) -> String| {
        format!("pipeline: p\nstages: {{}}\nvars:\n  v0: {first}\n{}", (1..40).map(line).collect::<String>())
    };
    let aliases = doubled("&v0 [x]", &|n| format!("  v{n}: &v{n} [*v{0}, *v{0}]\n", n - 1));
    let lists = doubled("[x]", &|n| format!("  v{n}: [\"${{vars.v{0}}}\", \"${{vars.v{0}}}\"]\n", n - 1));
    let texts = doubled("xxxxxxxx", &|n| format!("  v{n}: ${{vars.v{0}}}${{vars.v{0}}}\n", n - 1));
    for bomb in [aliases, lists, texts] {
        let started = Instant::now();
        assert_eq!(codes(load_one(&bomb, &[])), ["too_large"]);
        assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
    }
}

#[test]
fn anchors_within_anchors_are_paid_for() {
    let wide = format!("[{}]", vec!["x"; 20_000].join(","));
    let nested = (0..60).fold(wide, |inner, level| format!("&a{level} [{inner}]"));
    assert_eq!(
        codes(load_one(&format!("pipeline: p\nstages: {{}}\nvars: {{ v: {nested} }}\n"), &[])),
        ["too_large"]
    );
}

#[test]
fn depth_is_limited_in_files_and_sets() {
    let deep = format!("pipeline: p\nstages: {}{}", "[".repeat(100_000), "]".repeat(100_000));
    let block: String = (0..10_000).map(|depth| format!("{}a:\n", " ".repeat(depth))).collect();
    let deep_set = format!("{}=1", vec!["a"; 100_000].join("."));
    assert_eq!(codes(load_one(&deep, &[])), ["syntax"]);
    assert_eq!(codes(load_one(&block, &[])), ["too_large"]);
    assert_eq!(codes(load_one(GOOD, &[&deep_set])), ["bad_set"]);
    let through_variables = format!(
        "pipeline: p\nstages: {{}}\nvars:\n  v0: [x]\n{}",
        (1..200).map(|n| format!("  v{n}: [\"${{vars.v{}}}\"]\n", n - 1)).collect::<String>()
    );
    assert!(codes(load_one(&through_variables, &[])).contains(&"too_large".to_owned()));
}

#[test]
fn bytes_that_are_no_text_are_refused() {
    let one = |bytes: &[u8]| codes(load_files(&[("main.yaml", bytes)], &[]));
    assert_eq!(one(b"pipeline: \xff\xfe\n"), ["invalid_encoding"]);
    assert_eq!(one(b"\xff\xfep\0i\0"), ["invalid_encoding"]);
    assert_eq!(one(b"pipeline: a\0b\n"), ["syntax"]);
    assert_eq!(one(b"pipeline: \x1b[31mred\n"), ["syntax"]);
    let told = load_files(&[("main.yaml", b"pipeline: \x1b[31mred\n")], &[]).expect_err("it is wrong");
    assert!(!told.rendered().contains('\u{1b}'));
    let escaped = load_one("pipeline: p\n\"\\e[31m\": 1\nstages: {}\n", &[]).expect_err("it is wrong");
    assert!(!escaped.rendered().contains('\u{1b}'));
}

#[test]
fn files_are_read_up_to_a_size() {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let path = folder.path().join("large.yaml");
    let file = std::fs::File::create(&path).expect("a file can be made");
    file.set_len(100 << 20).expect("a file can be sparse");
    let started = Instant::now();
    let name = path.to_string_lossy();
    assert_eq!(codes(load(&name, &[], &World::machine(), &super::types())), ["too_large"]);
    assert!(started.elapsed() < Duration::from_secs(5));
    let device = load("/dev/zero", &[], &World::machine(), &super::types());
    assert_eq!(codes(device), ["unreadable_file"]);
}

#[test]
fn large_texts_end_soon() {
    let bytes = FILE_BYTES_MAX as usize - 64;
    let line = "pipeline: p\nstages: {}\nvars: { v: ".to_owned();
    for text in [
        format!("{line}[{}]", "x,".repeat(bytes / 2 - 100)),
        format!("{line}{}", "[".repeat(bytes - 100)),
        format!("{line}\"{}\" }}", "${".repeat(bytes / 2 - 100)),
        format!("{line}{}", "{a: ".repeat(bytes / 4 - 100)),
        format!("{}\n", "a: b: ".repeat(bytes / 6 - 100)),
        "- \n".repeat(bytes / 3),
        "? ".repeat(bytes / 2),
        "a: 1\n".repeat(bytes / 5),
        format!("pipeline: p\nvars: {{ v: '' }}\nstages: {{}}\nx: {}\n", "${vars.v}".repeat(bytes / 9)),
        format!("pipeline: p\nstages: {{}}\nx: '{}'\n", "$${".repeat(bytes / 3 - 100)),
        format!("pipeline: p\nstages: {{}}\nx: [{}]\n", "${vars.v},".repeat(90_000)),
        format!(
            "pipeline: p\nstages:\n{}",
            (0..20_000)
                .map(|n| format!(
                    "  stage-{n}: {{ uses: dedup, needs: stage_{n}, with: {{ treshold: 1 }} }}\n"
                ))
                .collect::<String>()
        ),
        format!(
            "pipeline: p\nvars: {{ v: [{{ glob: ${{vars.no}} }}] }}\nstages:\n{}",
            (0..20_000)
                .map(|n| format!("  s{n}: {{ uses: ingest, with: {{ sources: ${{vars.v}} }} }}\n"))
                .collect::<String>()
        ),
    ] {
        let started = Instant::now();
        let told = load_one(&text, &[]).expect_err("it is wrong").rendered();
        assert!(started.elapsed() < Duration::from_secs(20), "{:?}: {}", started.elapsed(), &text[..40]);
        assert!(told.len() < 200_000, "{} bytes are told", told.len());
    }
}

#[test]
fn no_cut_of_a_manifest_panics() {
    for cut in (0..=GOOD.len()).filter(|cut| GOOD.is_char_boundary(*cut)) {
        let (before, after) = GOOD.split_at(cut);
        for joined in
            ["", "ä", "${", "*near", "!!int 3", "\u{0}", "]", "? - ", "}", "\u{e000}${vars.a}", "\r"]
        {
            let told = load_one(&[before, joined, after].concat(), &[]).map_err(|report| report.rendered());
            drop(told);
        }
        let _ = load_one(before, &[]).map_err(|report| report.to_json());
    }
}
