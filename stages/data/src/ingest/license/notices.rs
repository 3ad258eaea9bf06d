//! Notices at the head of files → SPDX expressions. It finds all licences that a notice names, with their versions, and
//! combines them. It does not read `SPDX-License-Identifier`, and knows nothing of files.

use std::collections::{BTreeMap, BTreeSet};

/// What the head of a file says about its licence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in super::super) enum License {
    /// It names none.
    Unnamed,
    /// It names one, but not which exactly: a licence without its version, or one that is not known here.
    Unclear,
    /// An SPDX expression.
    Expression(String),
}

/// What a phrase says.
#[derive(Clone, Copy)]
enum Says {
    Id(&'static str),
    /// The family; the version is near the phrase.
    Family,
    /// Which licence it is remains open.
    Open,
}
use Says::{Family, Id, Open};

/// Phrases with the family that they name, in lower case with single spaces. Expressions have the order of this table.
const PHRASES: [(&str, &str, Says); 66] = [
    ("MIT", "permission is hereby granted, free of charge, to any person obtaining a copy", Id("MIT")),
    ("MIT", "mit license", Id("MIT")),
    ("MIT", "mit licence", Id("MIT")),
    ("MIT", "or mit", Id("MIT")),
    ("MIT", "under mit", Id("MIT")),
    ("MIT", "mit or apache", Id("MIT")),
    ("MIT", "license: mit", Id("MIT")),
    ("MIT", "@license mit", Id("MIT")),
    ("MIT", "mit-style license", Open),
    ("MIT", "mit style license", Open),
    ("ISC", "permission to use, copy, modify, and/or distribute this software for any purpose", Id("ISC")),
    ("ISC", "permission to use, copy, modify, and distribute this software for any purpose", Id("ISC")),
    ("ISC", "isc license", Id("ISC")),
    ("BSD", "bsd-2-clause", Id("BSD-2-Clause")),
    ("BSD", "2-clause bsd", Id("BSD-2-Clause")),
    ("BSD", "simplified bsd", Id("BSD-2-Clause")),
    ("BSD", "bsd-3-clause", Id("BSD-3-Clause")),
    ("BSD", "bsd 3-clause", Id("BSD-3-Clause")),
    ("BSD", "3-clause bsd", Id("BSD-3-Clause")),
    ("BSD", "new bsd", Id("BSD-3-Clause")),
    ("BSD", "modified bsd", Id("BSD-3-Clause")),
    ("BSD", "bsd license", Open),
    ("BSD", "bsd licence", Open),
    ("BSD", "bsd-style", Open),
    ("BSD", "bsd style", Open),
    ("Zlib", "altered source versions must be plainly marked as such", Id("Zlib")),
    ("Zlib", "zlib license", Id("Zlib")),
    ("Boost", "boost software license", Id("BSL-1.0")),
    ("Unlicense", "this is free and unencumbered software released into the public domain", Id("Unlicense")),
    ("CC0", "cc0 1.0", Id("CC0-1.0")),
    ("CC0", "cc0-1.0", Id("CC0-1.0")),
    ("Public domain", "in the public domain", Open),
    ("Creative Commons", "creative commons", Open),
    ("Apache", "apache license", Family),
    ("Apache", "apache licence", Family),
    ("Apache", "apache software license", Family),
    ("Apache", "apache-2.0", Id("Apache-2.0")),
    ("Apache", "apache 2.0", Id("Apache-2.0")),
    ("MPL", "mozilla public license", Family),
    ("MPL", "mpl-2.0", Id("MPL-2.0")),
    ("MPL", "mpl 2.0", Id("MPL-2.0")),
    ("MPL", "the mpl", Family),
    ("EPL", "eclipse public license", Family),
    ("EUPL", "european union public licence", Family),
    ("EUPL", "eupl", Family),
    ("CDDL", "common development and distribution license", Family),
    ("CDDL", "cddl", Family),
    ("Artistic", "artistic license", Family),
    ("LGPL", "lesser general public license", Family),
    ("LGPL", "library general public license", Family),
    ("LGPL", "lesser gpl", Family),
    ("LGPL", "lgpl", Family),
    ("AGPL", "affero general public license", Family),
    ("AGPL", "agpl", Family),
    ("GPL", "gnu general public license", Family),
    ("GPL", "gnu general public licence", Family),
    ("GPL", "the general public license", Family),
    ("GPL", "gpl", Family),
    ("GFDL", "gnu free documentation license", Open),
    ("Business Source", "business source license", Open),
    ("SSPL", "server side public license", Open),
    ("Elastic", "elastic license", Open),
    ("Perl", "under the same terms as perl", Open),
    ("Proprietary", "proprietary and confidential", Open),
    ("Proprietary", "confidential and proprietary", Open),
    ("Proprietary", "license terms", Open),
];

/// Versions of families. Those of the GNU licences get `-only` or `-or-later`.
const VERSIONS: [(&str, &[(&str, &str)]); 9] = [
    ("Apache", &[("1.1", "Apache-1.1"), ("2.0", "Apache-2.0")]),
    ("MPL", &[("1.0", "MPL-1.0"), ("1.1", "MPL-1.1"), ("2.0", "MPL-2.0")]),
    ("EPL", &[("1.0", "EPL-1.0"), ("2.0", "EPL-2.0")]),
    ("EUPL", &[("1.0", "EUPL-1.0"), ("1.1", "EUPL-1.1"), ("1.2", "EUPL-1.2")]),
    ("CDDL", &[("1.0", "CDDL-1.0"), ("1.1", "CDDL-1.1")]),
    ("Artistic", &[("1.0", "Artistic-1.0"), ("2.0", "Artistic-2.0")]),
    ("LGPL", &[("2.0", "LGPL-2.0"), ("2.1", "LGPL-2.1"), ("3.0", "LGPL-3.0")]),
    ("AGPL", &[("1.0", "AGPL-1.0"), ("3.0", "AGPL-3.0")]),
    ("GPL", &[("1.0", "GPL-1.0"), ("2.0", "GPL-2.0"), ("3.0", "GPL-3.0")]),
];

/// Words that, near the word licence, say that there is one, whichever it is.
const GENERAL: [&str; 9] = [
    "licensed under",
    "licenced under",
    "under the terms of",
    "subject to the terms",
    "governed by a",
    "governed by the",
    "distributed under",
    "released under",
    "not licensed",
];

/// A phrase in a text.
struct Mention {
    at: usize,
    end: usize,
    family: &'static str,
    says: Says,
}

/// The licence that a text in lower case with single spaces names.
pub(super) fn license_of_notice(plain: &str) -> License {
    let text = without_references(plain);
    let found = mentions(&text);
    let mut families: Vec<&str> = Vec::new();
    let mut ids: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    for (position, mention) in found.iter().enumerate() {
        if !families.contains(&mention.family) {
            families.push(mention.family);
        }
        let others = |other: &&Mention| other.family != mention.family;
        let next = found[position..].iter().find(others).map_or(text.len(), |next| next.at);
        let id = match mention.says {
            Id(id) => Some(id.to_owned()),
            Family => version_of(&text, mention, next.max(mention.end)),
            Open => None,
        };
        ids.entry(mention.family).or_default().extend(id);
    }
    if let Some(id) = bsd_of_text(&text) {
        ids.entry("BSD").or_default().insert(id.to_owned());
    }
    if ids.is_empty() {
        let is_named = !mentions(plain).is_empty() || is_licensed(plain);
        return if is_named { License::Unclear } else { License::Unnamed };
    }
    // Without a version, or with several: which one holds is open.
    if ids.values().any(|ids| ids.len() != 1) || text.contains("not licensed under") {
        return License::Unclear;
    }
    let order = |family: &str| PHRASES.iter().position(|(name, ..)| *name == family);
    let mut named: Vec<(Option<usize>, String)> = ids
        .into_iter()
        .flat_map(|(family, ids)| ids.into_iter().map(move |id| (order(family), id)))
        .collect();
    named.sort();
    let names: Vec<String> = named.into_iter().map(|(_, id)| id).collect();
    match (names.len(), has_alternatives(&text)) {
        (1, _) => License::Expression(names.concat()),
        (2, true) => License::Expression(names.join(" OR ")),
        // Of three or more, some may hold in addition to a choice.
        (_, true) => License::Unclear,
        (_, false) => License::Expression(names.join(" AND ")),
    }
}

fn is_licensed(text: &str) -> bool {
    const NEAR_BYTES: usize = 100;
    let is_near = |at: usize| {
        let from = text.floor_char_boundary(at.saturating_sub(NEAR_BYTES));
        text[from..text.floor_char_boundary(at + NEAR_BYTES)].contains("licen")
    };
    GENERAL.iter().any(|words| text.match_indices(words).any(|(at, _)| is_near(at)))
}

/// The text without the sentences of a notice that refer to its licence once more, without a version.
fn without_references(plain: &str) -> String {
    const REFERENCES: [(&str, &str); 3] = [
        ("you should have received a copy of", "license"),
        ("see the gnu", "for more details"),
        ("see the license", "license."),
    ];
    const BYTES_MAX: usize = 200;
    let mut text = plain.to_owned();
    for (start, end) in REFERENCES {
        let mut kept = String::with_capacity(text.len());
        let mut rest = text.as_str();
        while let Some(at) = rest.find(start) {
            let (before, behind) = rest.split_at(at);
            kept += before;
            let near = &behind[..behind.floor_char_boundary(BYTES_MAX)];
            // The last of the licences in the sentence, since some name two.
            let sentence = near.find(". ").map_or(near, |dot| &near[..dot]);
            let length = sentence.rfind(end).map_or(start.len(), |found| found + end.len());
            rest = &behind[length..];
        }
        kept += rest;
        text = kept;
    }
    text
}

fn mentions(text: &str) -> Vec<Mention> {
    let mut found = Vec::new();
    for (family, phrase, says) in PHRASES {
        for (at, _) in text.match_indices(phrase) {
            let end = at + phrase.len();
            if is_whole(&text[..at], &text[end..]) && !(family == "GPL" && is_other_gpl(&text[..at])) {
                found.push(Mention { at, end, family, says });
            }
        }
    }
    found.sort_by_key(|mention| (mention.at, mention.end));
    found
}

/// Whether a phrase is not part of a longer word; a version such as `v2` may follow.
fn is_whole(before: &str, behind: &str) -> bool {
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    let mut next = behind.chars();
    let goes_on = match (next.next(), next.next()) {
        (Some('v'), Some(c)) => !(c.is_ascii_digit() || ".- ".contains(c)),
        (Some(c), _) => c.is_alphabetic() || c == '_',
        (None, _) => false,
    };
    !goes_on && !before.chars().next_back().is_some_and(is_part)
}

fn is_other_gpl(before: &str) -> bool {
    ["lesser ", "library ", "affero "].iter().any(|word| before.ends_with(word))
}

/// The licence of a family whose version is in the same sentence, before `next`.
fn version_of(text: &str, mention: &Mention, next: usize) -> Option<String> {
    const BYTES_MAX: usize = 200;
    let behind = &text[mention.end..next];
    let behind = &behind[..behind.floor_char_boundary(BYTES_MAX)];
    let behind =
        behind.find(". ").filter(|at| !behind[..*at].ends_with(" v")).map_or(behind, |at| &behind[..at]);
    let sentence = text[..mention.at].rsplit(". ").next().unwrap_or_default().trim_end();
    let is_of = ["of", "of the", "of the gnu"].iter().any(|words| sentence.ends_with(words));
    let before = if is_of { sentence } else { "" };
    let is_behind = !versions(behind, true).is_empty();
    let near = if is_behind { behind } else { last_version(before) };
    let found = versions(near, is_behind);
    let [version] = &found.iter().collect::<BTreeSet<_>>().into_iter().collect::<Vec<_>>()[..] else {
        return None;
    };
    let (_, known) = VERSIONS.iter().find(|(family, _)| *family == mention.family)?;
    let (_, id) = known.iter().find(|(number, _)| number == version)?;
    if !mention.family.ends_with("GPL") {
        return Some((*id).to_owned());
    }
    let says_later = |text: &str| {
        ["later", "newer", "or higher"].iter().any(|word| text.contains(word))
            || text.split(' ').any(|word| word.trim_end_matches([',', ';', ')', '.', '"']).ends_with('+'))
    };
    let is_later = says_later(near) || says_later(behind);
    Some(format!("{id}-{}", if is_later { "or-later" } else { "only" }))
}

/// The end of a text from its last `version` on.
fn last_version(text: &str) -> &str {
    text.rfind("version").map_or("", |at| &text[at..])
}

/// The versions that a text names, such as `2.0` for `version 2`, `v. 2.0`, `v2`; `-2` only at its beginning if it is
/// `adjacent` to the name.
fn versions(text: &str, adjacent: bool) -> Vec<String> {
    let mut found = Vec::new();
    let mut is_next = false;
    for (position, word) in text.split_whitespace().enumerate() {
        let word = word.trim_matches(|c: char| !c.is_alphanumeric());
        let number = |word: &str| {
            let length = word.bytes().take_while(|byte| byte.is_ascii_digit() || *byte == b'.').count();
            let number = word[..length].trim_end_matches('.');
            let is_short = (1..=3).contains(&number.len());
            is_short.then(|| if number.contains('.') { number.to_owned() } else { format!("{number}.0") })
        };
        let behind_v = word.strip_prefix('v').and_then(number);
        let plain = number(word).filter(|_| is_next || (adjacent && position == 0));
        found.extend(behind_v.or(plain));
        is_next = ["version", "versions", "v", "ver"].contains(&word);
    }
    found
}

/// The licence whose text begins with `Redistribution and use`.
fn bsd_of_text(text: &str) -> Option<&'static str> {
    let at = text.find("redistribution and use in source and binary forms")?;
    let text = &text[at..];
    let contains = |texts: &[&str]| texts.iter().any(|part| text.contains(part));
    Some(if contains(&["all advertising materials mentioning"]) {
        "BSD-4-Clause"
    } else if contains(&["neither the name", "may not be used to endorse", "not be used to endorse"]) {
        "BSD-3-Clause"
    } else {
        "BSD-2-Clause"
    })
}

/// Whether a text gives the choice between its licences.
fn has_alternatives(text: &str) -> bool {
    const WORDS: [&str; 13] = [
        "at your choice",
        "your choice of",
        "dual licen",
        "dual-licen",
        "dually licen",
        "either license",
        "under either of",
        "you may choose",
        "or the mit",
        "or mit",
        "mit or apache",
        "or the apache",
        "or apache",
    ];
    const NEAR_BYTES: usize = 120;
    let is_option = |(at, words): (usize, &str)| {
        let behind = text[at + words.len()..].trim_start_matches([')', ',', ' ']);
        !behind.starts_with("any later") && !behind.starts_with("any newer")
    };
    let is_offer = |(at, _): (usize, &str)| {
        let near = &text[at..text.floor_char_boundary(at + NEAR_BYTES)];
        ["licen", "gpl", "terms"].iter().any(|word| near.contains(word))
    };
    WORDS.iter().any(|words| text.contains(words))
        || text.match_indices("at your option").any(is_option)
        || text.match_indices("alternatively").any(is_offer)
}
