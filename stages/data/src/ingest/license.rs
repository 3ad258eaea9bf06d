//! The licence that a source file names in its first lines.

mod notices;

pub(super) use notices::License;

use notices::license_of_notice;

/// Bytes of a file in which its licence is looked for.
const HEAD_BYTES: usize = 4096;
const TAG: &str = "SPDX-License-Identifier:";

/// The licence of a file: that of its lines with `SPDX-License-Identifier`
/// (<https://spdx.dev/learn/handling-license-info/>), all of which hold, or of the notice at its head.
pub(super) fn license_of(text: &str) -> License {
    let head = &text[..text.floor_char_boundary(HEAD_BYTES)];
    let mut expressions: Vec<String> = Vec::new();
    for (_, named) in head.lines().filter_map(|line| line.split_once(TAG)) {
        let Some(expression) = expression_of(named) else { return License::Unclear };
        if !expressions.contains(&expression) {
            expressions.push(expression);
        }
    }
    match &mut expressions[..] {
        [] => {}
        [one] => return License::Expression(std::mem::take(one)),
        several => {
            let closed = |expression: &String| match expression.contains(" OR ") {
                true => format!("({expression})"),
                false => expression.clone(),
            };
            return License::Expression(several.iter().map(closed).collect::<Vec<_>>().join(" AND "));
        }
    }
    let words: Vec<String> = head
        .lines()
        .flat_map(|line| {
            line.trim_start_matches([' ', '\t', '/', '*', '#', ';', '-', '%', '!']).split_whitespace()
        })
        .map(str::to_lowercase)
        .collect();
    license_of_notice(&words.join(" "))
}

/// The expression in the rest of a line, without the end of the comment around it; `None` if it is none.
fn expression_of(text: &str) -> Option<String> {
    const BYTES_MAX: usize = 200;
    let text = ["*/", "-->"].iter().fold(text, |text, end| text.split(end).next().unwrap_or_default());
    let text = text.trim();
    if text.is_empty() || text.len() > BYTES_MAX {
        return None;
    }
    let spaced = text.replace('(', " ( ").replace(')', " ) ");
    let (mut depth, mut is_complete) = (0_u32, false);
    for word in spaced.split_whitespace() {
        let is_operator = ["AND", "OR", "WITH"].contains(&word);
        let is_name = !is_operator && word.chars().all(|c| c.is_ascii_alphanumeric() || "-.+:".contains(c));
        match (word, is_complete) {
            ("(", false) => depth += 1,
            (")", true) => depth = depth.checked_sub(1)?,
            (_, true) if is_operator => is_complete = false,
            (_, false) if is_name => is_complete = true,
            _ => return None,
        }
    }
    (is_complete && depth == 0).then(|| text.split_whitespace().collect::<Vec<_>>().join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(text: &str) -> Option<String> {
        match license_of(text) {
            License::Expression(expression) => Some(expression),
            License::Unclear => Some("?".to_owned()),
            License::Unnamed => None,
        }
    }

    #[test]
    fn files_name_their_licence() {
        for (text, expected) in [
            ("// SPDX-License-Identifier: MIT OR Apache-2.0\nfn f() {}", Some("MIT OR Apache-2.0")),
            (
                "/* SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note */",
                Some("GPL-2.0-only WITH Linux-syscall-note"),
            ),
            ("<!-- SPDX-License-Identifier: (MIT) -->", Some("(MIT)")),
            (
                "// SPDX-License-Identifier: MIT\n// SPDX-License-Identifier: GPL-2.0-only",
                Some("MIT AND GPL-2.0-only"),
            ),
            (
                "# SPDX-License-Identifier: MIT OR ISC\n# SPDX-License-Identifier: Zlib",
                Some("(MIT OR ISC) AND Zlib"),
            ),
            ("# SPDX-License-Identifier: <script>; rm -rf", Some("?")),
            ("# SPDX-License-Identifier: MIT see the folder", Some("?")),
            ("# Licensed under the Apache License,\n# Version 2.0 (the \"License\")", Some("Apache-2.0")),
            (" * License, v. 2.0. If a copy of the MPL was not distributed", Some("?")),
            ("import matplotlib as mpl  # distributed under a normal distribution", None),
            (
                "/* This Source Code Form is subject to the terms of the Mozilla Public\n * License, v. 2.0. If a copy of the \
                 MPL was not distributed with this */",
                Some("MPL-2.0"),
            ),
            ("// Copyright 2024. All rights reserved.", None),
            ("fn f() {}\n// Alternatively, call g, at your option.", None),
            ("", None),
        ] {
            assert_eq!(named(text).as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn notices_of_the_gnu_licences_name_their_version() {
        let public = "GNU General Public License";
        for (text, expected) in [
            (
                format!(
                    " * the {public} as published by the FSF; either version 2\n * of the License, or (at your option) any \
                     later version.\n * See the {public} for more details.\n * You should have received a copy of the {public}"
                ),
                "GPL-2.0-or-later",
            ),
            (
                format!(" * under the terms of the {public} version 2 as\n * published by the Free Software Foundation."),
                "GPL-2.0-only",
            ),
            (format!("# version 3 of the {public}, or any later version"), "GPL-3.0-or-later"),
            (
                format!(" * This file is subject to the terms and conditions of the {public}. See the file COPYING"),
                "?",
            ),
            ("/* Licensed under the GPL-2. */".to_owned(), "GPL-2.0-only"),
            ("# License: GPLv3+".to_owned(), "GPL-3.0-or-later"),
            ("# License: GPL".to_owned(), "?"),
            (
                "/* the GNU Lesser General Public\n License as published by the FSF; either\n version 2.1 of the License, or \
                 (at your option) any later version. */"
                    .to_owned(),
                "LGPL-2.1-or-later",
            ),
            ("# GNU Affero General Public License as published by the FSF, version 3.".to_owned(), "AGPL-3.0-only"),
            (format!("// You should have received a copy of the {public} along with this program."), "?"),
        ] {
            assert_eq!(named(&text).as_deref(), Some(expected), "{text}");
        }
    }

    #[test]
    fn choices_between_licences_are_kept() {
        let mit =
            "Permission is hereby granted, free of charge, to any person obtaining a copy of this software";
        let bsd = "Redistribution and use in source and binary forms, with or without modification. Neither the name of X";
        for (text, expected) in [
            (
                "// Licensed under the Apache License, Version 2.0 <LICENSE-APACHE or\n// \
                 http://www.apache.org/licenses/LICENSE-2.0> or the MIT license\n// <LICENSE-MIT or \
                 http://opensource.org/licenses/MIT>, at your option."
                    .to_owned(),
                "MIT OR Apache-2.0",
            ),
            ("// Apache-2.0 or MIT".to_owned(), "MIT OR Apache-2.0"),
            (
                format!(
                    "/* {mit}\n Alternatively, this software may be distributed under the terms of the GNU General Public \
                     License as published by the FSF, either version 2 of the License, or (at your option) any later version. */"
                ),
                "MIT OR GPL-2.0-or-later",
            ),
            (
                format!("/* {bsd}\n Alternatively, the terms of the GPL version 2 apply. */"),
                "BSD-3-Clause OR GPL-2.0-only",
            ),
            (format!("/* {mit}\n Alternatively, the terms of the GPL apply. */"), "?"),
            (format!("/* {mit} */\n/* {bsd} */"), "MIT AND BSD-3-Clause"),
        ] {
            assert_eq!(named(&text).as_deref(), Some(expected), "{text}");
        }
    }

    #[test]
    fn licences_that_remain_open_are_unclear() {
        for text in [
            "/* subject to the terms of the\n * Common Development and Distribution License (the \"License\"). */",
            "// Use of this source code is governed by a BSD-style license that can be found in the LICENSE file.",
            "# This is not licensed under the MIT License.",
            "# Licensed under the Foo Public License.",
            "# Proprietary and confidential",
            "// Released into the world; placed in the public domain.",
        ] {
            assert_eq!(license_of(text), License::Unclear, "{text}");
        }
        let cddl = "/* the Common Development and Distribution License, Version 1.0 only */";
        assert_eq!(named(cddl).as_deref(), Some("CDDL-1.0"));
    }

    #[test]
    fn only_the_head_of_a_file_counts() {
        let text = format!("{}ä// SPDX-License-Identifier: MIT", "x".repeat(HEAD_BYTES - 1));
        assert_eq!(license_of(&text), License::Unnamed);
    }
}
