//! The licence that a source file names in its first lines.

/// Characters of a file in which its licence is looked for.
const HEAD_BYTES: usize = 4096;

/// What licence texts at the head of files say, in lower case with single spaces, and what they are. The first that fits
/// counts, so that the more specific ones come first.
const NOTICES: [(&[&str], &str); 14] = [
    (&["apache license, version 2.0"], "Apache-2.0"),
    (&["licensed under the apache license version 2.0"], "Apache-2.0"),
    (&["mozilla public license, v. 2.0"], "MPL-2.0"),
    (&["mozilla public license version 2.0"], "MPL-2.0"),
    (&["gnu affero general public license", "version 3"], "AGPL-3.0-or-later"),
    (&["gnu lesser general public license", "version 2.1", "any later version"], "LGPL-2.1-or-later"),
    (&["gnu lesser general public license", "version 3", "any later version"], "LGPL-3.0-or-later"),
    (&["gnu general public license", "version 2", "any later version"], "GPL-2.0-or-later"),
    (&["gnu general public license", "version 3", "any later version"], "GPL-3.0-or-later"),
    (&["permission is hereby granted, free of charge, to any person obtaining a copy"], "MIT"),
    (&["permission to use, copy, modify, and/or distribute this software for any purpose"], "ISC"),
    (&["redistribution and use in source and binary forms", "neither the name"], "BSD-3-Clause"),
    (&["redistribution and use in source and binary forms"], "BSD-2-Clause"),
    (&["this is free and unencumbered software released into the public domain"], "Unlicense"),
];

/// The SPDX expression of a file: that of its `SPDX-License-Identifier`
/// (<https://spdx.dev/learn/handling-license-info/>), or of the notice at its head.
pub(super) fn license_of(text: &str) -> Option<String> {
    let head = &text[..text.floor_char_boundary(HEAD_BYTES)];
    let named = head.lines().find_map(|line| line.split_once("SPDX-License-Identifier:"));
    if let Some((_, expression)) = named {
        return Some(expression_of(expression)).filter(|expression| !expression.is_empty());
    }
    let words: Vec<String> = head
        .lines()
        .flat_map(|line| {
            line.trim_start_matches([' ', '\t', '/', '*', '#', ';', '-', '%', '!']).split_whitespace()
        })
        .map(str::to_lowercase)
        .collect();
    let plain = words.join(" ");
    let fits = |(texts, _): &&(&[&str], &str)| texts.iter().all(|text| plain.contains(text));
    NOTICES.iter().find(fits).map(|(_, name)| (*name).to_owned())
}

/// An expression without the end of the comment around it.
fn expression_of(text: &str) -> String {
    const BYTES_MAX: usize = 200;
    let is_part = |word: &&str| {
        let plain = |c: char| c.is_ascii_alphanumeric() || "-.+():".contains(c);
        !word.is_empty() && word.chars().all(plain) && word.contains(|c: char| c.is_ascii_alphanumeric())
    };
    let words: Vec<&str> = text.split_whitespace().take_while(is_part).collect();
    let expression = words.join(" ");
    if expression.len() <= BYTES_MAX { expression } else { String::new() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_name_their_licence() {
        for (text, expected) in [
            ("// SPDX-License-Identifier: MIT OR Apache-2.0\nfn f() {}", Some("MIT OR Apache-2.0")),
            (
                "/* SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note */",
                Some("GPL-2.0-only WITH Linux-syscall-note"),
            ),
            ("<!-- SPDX-License-Identifier: (MIT) -->", Some("(MIT)")),
            ("# Licensed under the Apache License,\n# Version 2.0 (the \"License\")", Some("Apache-2.0")),
            (
                " * the GNU General Public License as published by the FSF; either version 2\n * of the License, or (at your \
                 option) any later version.",
                Some("GPL-2.0-or-later"),
            ),
            ("// Copyright 2024. All rights reserved.", None),
            ("", None),
        ] {
            assert_eq!(license_of(text).as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn only_the_head_of_a_file_counts() {
        let text = format!("{}ä// SPDX-License-Identifier: MIT", "x".repeat(HEAD_BYTES - 1));
        assert_eq!(license_of(&text), None);
    }
}
