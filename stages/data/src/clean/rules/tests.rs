//! Texts in; verdicts, values and cut lines out.

use super::table::Side;
use super::*;

impl Rules {
    fn judge_text(&self, text: &str, language: &str) -> Judgement {
        self.judge_measured(Measured { text, language, ..Measured::default() })
    }

    fn judge_measured(&self, measured: Measured) -> Judgement {
        let values = measured.values(Rule::all());
        self.judge(measured.language, |rule| Some(values[rule as usize]))
    }
}

fn web() -> Rules {
    Rules::new(RuleSet::Web, &[], &BTreeMap::new())
}

fn only(rule: Rule, limit: f64) -> Rules {
    Rules::new(RuleSet::None, &[], &BTreeMap::from([(rule, limit)]))
}

fn figure(rule: Rule, text: &str, language: &str) -> f32 {
    let impossible = if rule.spec().side == Side::AtLeast { f64::MAX } else { -1.0 };
    only(rule, impossible).judge_text(text, language).dropped.unwrap().value as f32
}

const ENGLISH: &str = "Some languages have garbage collection that regularly looks for memory which is no \
    longer used while the program runs. In other languages, the programmer must allocate and free the memory \
    by hand. A third approach is to manage memory through a system of ownership with a set of rules. The \
    compiler checks them. If any of the rules are violated, the program does not compile. None of these \
    features slow it down.\n";

#[test]
fn names_are_those_of_manifests() {
    for (position, rule) in Rule::all().enumerate() {
        assert_eq!(serde_json::to_value(rule).unwrap(), rule.name());
        assert_eq!(rule as usize, position);
    }
}

#[test]
fn marks_of_items_definitions_and_tables_are_no_words() {
    let text = "- one\n  - two\n3. three - four\n\nfive\n: six\n\n| a | 7 |\n| --- | --- |\n| c | \\| |\n";
    assert_eq!(figure(Rule::GopherWordsMin, text, "en"), 11.0);
    assert_eq!(figure(Rule::GopherAlphabeticWords, text, "en"), 8.0 / 11.0);
    assert_eq!(figure(Rule::GopherWordLengthMin, "| one | two |\n: six", "en"), 3.0);
    assert_eq!(figure(Rule::FinewebLineRatio, "| one | two |\n| --- | --- |\n", "en"), 0.5);
}

#[test]
fn fineweb2_has_a_number_of_words_for_all_languages() {
    let fineweb2 = Rules::new(RuleSet::Fineweb2, &[], &BTreeMap::new());
    let setting = |rule: Rule, language| fineweb2.setting(rule.spec(), language);
    for (language, words) in [
        ("tr", 50.0),
        ("uk", 50.0),
        ("", 50.0),
        ("ko", 25.0),
        ("th", 200.0),
        ("zh", 75.0),
        ("ja", 110.0),
        ("fr", 50.0),
    ] {
        assert_eq!(setting(Rule::GopherWordsMin, language), Setting::On(words), "{language}");
    }
    assert_eq!(setting(Rule::GopherWordsMax, "th"), Setting::On(400_000.0));
    for (language, text) in [
        ("ko", "홈으로 돌아가기입니다. 로그인 하십시오. 감사합니다."),
        ("tr", "Ana sayfaya geri dönmek için giriş yapınız."),
    ] {
        let dropped = fineweb2.judge_text(text, language).dropped;
        assert_eq!(dropped.map(|verdict| verdict.rule), Some(Rule::GopherWordsMin), "{language}");
    }
}

#[test]
fn short_lines_of_a_structure_are_kept() {
    let text = "# One word\n\nA line of some more text.\n\n| Name | Price |\n| --- | --- |\n| Pear | 2 |\n\n\
        -a\n--all\n: shows all\n\n`-b`\n: both\n";
    for set in [RuleSet::Web, RuleSet::Fineweb, RuleSet::Dclm] {
        let rules = Rules::new(set, &[], &BTreeMap::new());
        assert_eq!(rules.cut_lines(text, "en"), None, "{set:?}");
    }
    let cut = web().cut_lines(&format!("Home\n- Menu\n\n{text}\nNo text\n"), "en").unwrap();
    assert_eq!((cut.text.as_str(), cut.lines[&Rule::C4LineWords]), (text, 3));
    // The row under the head of a table has its fate.
    let table = "| Get JavaScript | Name |\n| --- | --- |\n| a | b |\n";
    assert_eq!(web().cut_lines(table, "en").unwrap().text, "| a | b |\n");
    let c4 = Rules::new(RuleSet::C4, &[], &BTreeMap::new());
    assert_eq!(c4.cut_lines("| a | b |\n| --- | --- |\n", "en").unwrap().text, "");
}

#[test]
fn good_prose_passes_the_web_rules() {
    assert_eq!(web().judge_text(ENGLISH, "en"), Judgement::default());
}

#[test]
fn a_verdict_says_rule_value_and_threshold() {
    let verdict = only(Rule::CharactersMin, 10.0).judge_text("short", "en").dropped;
    assert_eq!(verdict, Some(Verdict { rule: Rule::CharactersMin, value: 5.0, threshold: 10.0 }));
}

#[test]
fn letters_are_counted_in_words_and_not_in_punctuation() {
    // If split into tokens, the quotes, commas and brackets would be words without a letter.
    assert_eq!(figure(Rule::GopherAlphabeticWords, "\"So,\" he (or she) said, \"it's done!\"", "en"), 1.0);
    assert_eq!(figure(Rule::GopherAlphabeticWords, "one 2 - four", "en"), 0.5);
}

#[test]
fn code_in_fences_is_not_judged() {
    let text = format!("{ENGLISH}```rust\nfn main() {{ let x = [1, 2, 3]; {{}} }}\n```\n");
    assert_eq!(web().judge_text(&text, "en").dropped, None);
    assert_eq!(
        web().judge_text(&format!("{ENGLISH}Write `${{HOME}}` for your folder.\n"), "en").dropped,
        None
    );
    let bare = format!("{ENGLISH}fn main() {{ }}\n");
    assert_eq!(web().judge_text(&bare, "en").dropped.map(|verdict| verdict.rule), Some(Rule::C4Braces));
}

#[test]
fn english_values_are_not_applied_to_chinese() {
    let chinese = "内存由所有权系统管理。编译器会检查一组规则。程序运行时不会变慢。一些语言有垃圾回收机制。\
        在另一些语言中，程序员必须自己分配和释放内存。如果违反了任何规则，程序就不能编译。这是第三种方法。\
        我们在这一章里用几个例子来说明所有权的概念，它们都和字符串有关。\n";
    let judgement = web().judge_text(chinese, "zh");
    assert_eq!(judgement.dropped, None);
    assert!(judgement.skipped.contains(&Rule::GopherWordLengthMin));
    assert!(judgement.skipped.contains(&Rule::GopherDuplicate10Grams));
}

#[test]
fn a_language_without_values_skips_and_says_so() {
    let judgement = web().judge_text(ENGLISH, "xx");
    assert_eq!(judgement.dropped, None);
    assert!(judgement.skipped.contains(&Rule::GopherStopWords));
    assert!(!judgement.skipped.contains(&Rule::GopherDuplicateLines));
}

#[test]
fn every_rule_can_be_switched_off() {
    for rule in Rule::all() {
        let rules = Rules::new(RuleSet::Web, &[rule], &BTreeMap::new());
        assert_eq!(rules.setting(rule.spec(), "en"), Setting::Off);
    }
}

#[test]
fn counts_repeated_lines_and_paragraphs() {
    let text = "aaaa\nb\naaaa\n\ncc\n\ncc\n";
    assert_eq!(figure(Rule::GopherDuplicateLines, text, "en"), 2.0 / 5.0);
    assert_eq!(figure(Rule::GopherDuplicateParagraphs, text, "en"), 1.0 / 3.0);
    assert_eq!(figure(Rule::GopherDuplicateLineCharacters, text, "en"), 6.0 / 13.0);
}

#[test]
fn counts_repeated_runs_of_words() {
    let text = "a b c d e x a b c d e y";
    assert_eq!(figure(Rule::GopherDuplicate5Grams, text, "en"), 5.0 / 12.0);
    assert_eq!(figure(Rule::GopherTop2Gram, "to be or not to be", "en"), 8.0 / 13.0);
}

#[test]
fn counts_bullets_ellipses_and_symbols() {
    let text = "- one\n* two\n3 three...\nfour…\n#### five # six\n";
    assert_eq!(figure(Rule::GopherBulletLines, text, "en"), 2.0 / 5.0);
    assert_eq!(figure(Rule::GopherEllipsisLines, text, "en"), 2.0 / 5.0);
    assert_eq!(figure(Rule::GopherHashRatio, text, "en"), 1.0 / 8.0);
    assert_eq!(figure(Rule::GopherEllipsisRatio, text, "en"), 2.0 / 8.0);
}

#[test]
fn hash_signs_and_ellipses_have_a_ratio_each() {
    let words = "word ".repeat(93);
    let verdict = |text: String| {
        let rules =
            Rules::new(RuleSet::Gopher, &[Rule::GopherStopWords, Rule::GopherTop2Gram], &BTreeMap::new());
        rules.judge_text(&format!("{text} end."), "und").dropped.map(|verdict| verdict.rule)
    };
    assert_eq!(verdict(format!("{words}{}{}", "#a ".repeat(7), "b… ".repeat(7))), None);
    assert_eq!(verdict(format!("{words}{}", "#a ".repeat(14))), Some(Rule::GopherHashRatio));
    assert_eq!(verdict(format!("{words}{}", "b... ".repeat(14))), Some(Rule::GopherEllipsisRatio));
}

#[test]
fn cuts_lines_about_the_site_and_keeps_code() {
    let text =
        "Please enable JavaScript to read this page now.\n\nA line of good text.\n\nHome\n\n```\nx\n```\n";
    let cut = web().cut_lines(text, "en").unwrap();
    assert_eq!(cut.text, "A line of good text.\n\n```\nx\n```\n");
    assert_eq!(cut.lines, BTreeMap::from([(Rule::C4LineJavascript, 1), (Rule::C4LineWords, 1)]));
    assert_eq!(web().cut_lines("只有两字\n", "zh"), None);
    assert_eq!(web().cut_lines("A line of good text.\n\n\n\nAnd another line of text.\n", "en"), None);
}

#[test]
fn sentences_end_in_the_marks_of_their_script() {
    let c4 = Rules::new(RuleSet::C4, &[], &BTreeMap::new());
    let lines = [
        ("am", "ሰላም ለዓለም ሁሉ ይሁን ዛሬ።"),
        ("hy", "Սա մի երկար նախադասություն է այստեղ։"),
        ("km", "នេះគឺជាប្រយោគ៕"),
        ("bo", "བོད་ཡིག་གི་ཚིག་གྲུབ།"),
        ("th", "นี่คือประโยคภาษาไทย"),
        ("lo", "ນີ້ແມ່ນປະໂຫຍກ"),
    ];
    for (language, line) in lines {
        assert_eq!(c4.cut_lines(line, language), None, "{language}");
    }
    assert!(c4.judge_text("นี่คือประโยค", "th").skipped.contains(&Rule::C4LinePunctuation));
    let fineweb = Rules::new(RuleSet::Fineweb, &[], &BTreeMap::new());
    let skipped = fineweb.judge_text("นี่คือประโยค", "th").skipped;
    assert!(skipped.contains(&Rule::FinewebLinePunctuation));
}

#[test]
fn lines_are_cut_as_by_c4() {
    let c4 = Rules::new(RuleSet::C4, &[], &BTreeMap::new());
    let kept = ["This line ends in a mark.", "\"Does this line end well?\"", "What a line this is!"];
    let cut = [
        "This line ends in no mark".to_owned(),
        "This line ends in an ellipsis...".to_owned(),
        "Only four words here.".to_owned(),
        format!("This line holds a very long {}.", "word".repeat(300)),
        "By reading on you accept our Cookie Policy today.".to_owned(),
    ];
    let text = kept.iter().map(|line| format!("{line}\n")).chain(cut.iter().map(|line| format!("{line}\n")));
    let found = c4.cut_lines(&text.collect::<String>(), "en").unwrap();
    assert_eq!(found.text.lines().collect::<Vec<_>>(), kept);
    assert_eq!(found.lines.values().sum::<u64>(), 5);
    assert_eq!(found.lines[&Rule::C4LinePunctuation], 2);
    // The word of 1,200 characters removes its line, not the text.
    assert_eq!(found.lines[&Rule::C4LineWordCharacters], 1);
    assert_eq!(
        c4.judge_text(&kept[..2].join("\n"), "en").dropped.map(|verdict| verdict.rule),
        Some(Rule::C4Sentences)
    );
    assert_eq!(c4.judge_text(&kept.join("\n"), "en").dropped, None);
}

#[test]
fn words_of_the_users_list_drop_a_text() {
    let rules = Rules::new(RuleSet::Docs, &[], &BTreeMap::new());
    let bad_words = ["darn", "bad phrase", "脏话"].map(str::to_owned);
    let judge = |text: &str| {
        rules.judge_measured(Measured { text, language: "en", bad_words: &bad_words, ..Measured::default() })
    };
    let text = |word: &str| format!("{ENGLISH}Here is a {word}.\n");
    for (word, count) in [
        ("darn", 1.0),
        ("DARN!", 1.0),
        ("bad  phrase", 0.0),
        ("bad phrase", 1.0),
        ("darned", 0.0),
        ("脏话", 1.0),
    ] {
        let dropped = judge(&text(word)).dropped;
        assert_eq!(dropped.map_or(0.0, |verdict| verdict.value), count, "{word}");
    }
    assert_eq!(
        rules.judge_text("这里有脏话。", "zh").dropped.map(|verdict| verdict.rule),
        Some(Rule::CharactersMin)
    );
}

#[test]
fn fineweb_looks_at_lines() {
    assert_eq!(figure(Rule::FinewebLinePunctuation, "One.\nTwo\n\nThree!\nfour\n", "en"), 0.5);
    assert_eq!(figure(Rule::FinewebShortLines, &format!("short\n{}\n", "long ".repeat(9)), "en"), 0.5);
    assert_eq!(figure(Rule::FinewebDuplicateLineCharacters, "aaaa\nb\naaaa\n", "en"), 4.0 / 9.0);
    assert_eq!(figure(Rule::FinewebLineRatio, "one two\nthree\n", "en"), 2.0 / 3.0);
    let fineweb = Rules::new(RuleSet::Fineweb, &[], &BTreeMap::new());
    assert_eq!(fineweb.setting(Rule::C4LinePunctuation.spec(), "en"), Setting::Off);
    assert_eq!(fineweb.setting(Rule::GopherTop2Gram.spec(), "en"), Setting::On(0.2));
}

#[test]
fn thresholds_of_c4_are_those_of_each_source() {
    let setting = |profile, rule: Rule, language| {
        Rules::new(profile, &[], &BTreeMap::new()).setting(rule.spec(), language)
    };
    for profile in [RuleSet::Web, RuleSet::C4] {
        assert_eq!(setting(profile, Rule::C4LineWords, "en"), Setting::On(5.0));
        assert_eq!(setting(profile, Rule::C4Sentences, "en"), Setting::On(3.0));
    }
    assert_eq!(setting(RuleSet::Fineweb, Rule::C4LineWords, "en"), Setting::On(3.0));
    assert_eq!(setting(RuleSet::Fineweb, Rule::C4Sentences, "en"), Setting::On(5.0));
    assert_eq!(setting(RuleSet::Fineweb, Rule::C4Sentences, "xx"), Setting::Unknown);
}

#[test]
fn inline_code_with_backticks_has_no_braces() {
    let text = "Write `` `{x}` `` or `{y}` here.\n";
    assert_eq!(only(Rule::C4Braces, 0.0).judge_text(text, "en").dropped, None);
    assert_eq!(figure(Rule::C4Braces, "Write `` `{x} or {y} here.\n", "en"), 2.0);
}

#[test]
fn code_is_judged_by_its_lines() {
    let rules = web().for_code();
    let verdict = |text: &str| rules.judge_text(text, "").dropped.map(|verdict| verdict.rule);
    assert_eq!(verdict("fn main() {\n    println!(\"{}\", 1);\n}\n"), None);
    assert_eq!(verdict("// This file is Auto-Generated.\nfn f() {}\n"), Some(Rule::CodeGenerated));
    assert_eq!(verdict(&format!("var a = [{}];\n", "1,".repeat(600))), Some(Rule::CodeLineLengthMean));
    assert_eq!(verdict(&"{}()[];;==\n".repeat(10)), Some(Rule::CodeAlphanumeric));
    assert!(
        Rules::new(RuleSet::None, &[], &BTreeMap::new()).for_code().judge_text("{}", "").dropped.is_none()
    );
}

#[test]
fn a_fence_around_everything_hides_nothing() {
    let spam = "Buy cheap pills online now from our store.\n".repeat(60);
    for text in
        [spam.clone(), format!("```\n{spam}"), format!("```\n{spam}```\n"), format!("~~~\n{spam}~~~\n")]
    {
        let verdict = web().judge_text(&text, "").dropped.map(|verdict| verdict.rule);
        assert_eq!(verdict, Some(Rule::GopherDuplicateLines), "{}", &text[..10]);
    }
}

#[test]
fn code_is_judged_by_its_path_and_by_what_it_hides() {
    let rules = Rules::new(RuleSet::Code, &[], &BTreeMap::new());
    let code = "fn add(a: i32, b: i32) -> i32 {\n    a + b\n}\n";
    let dropped = |path: &str, text: &str| {
        let measured = Measured { path, text, ..Measured::default() };
        rules.judge_measured(measured).dropped.map(|verdict| verdict.rule)
    };
    assert_eq!(dropped("repo/src/add.rs", code), None);
    assert_eq!(dropped("repo/web/node_modules/add/add.rs", code), Some(Rule::CodeVendored));
    assert_eq!(
        dropped("repo/a.go", &format!("// Code generated by x. DO NOT EDIT.\n{code}")),
        Some(Rule::CodeGenerated)
    );
    let key = format!("{code}const KEY: &str = \"AKIA{}\";\n", "QWERTYUIOPASDFGH");
    assert_eq!(dropped("repo/a.rs", &key), Some(Rule::CodeSecrets));
    let data = format!("{code}const DATA: [u8; 80] = [\n{}];\n", "    0x1f, 0x2e, 0x3d, 0x4c,\n".repeat(20));
    assert_eq!(dropped("repo/a.rs", &data), Some(Rule::CodeData));
}

#[test]
fn presets_have_the_thresholds_of_their_publications() {
    let setting =
        |set, rule: Rule, language| Rules::new(set, &[], &BTreeMap::new()).setting(rule.spec(), language);
    for (rule, language, expected) in [
        (Rule::GopherTop2Gram, "de", Setting::On(0.169)),
        (Rule::GopherDuplicate10Grams, "ru", Setting::On(0.109)),
        (Rule::GopherAlphabeticWords, "ar", Setting::On(0.787)),
        (Rule::GopherWordLengthMax, "hi", Setting::On(21.0)),
        (Rule::GopherDuplicateLines, "ko", Setting::On(0.374)),
        (Rule::GopherTop2Gram, "ko", Setting::Unknown),
        (Rule::FinewebLinePunctuation, "zh", Setting::On(0.106)),
        (Rule::FinewebLineRatio, "ja", Setting::Unknown),
        (Rule::FinewebDuplicateLineCharacters, "fr", Setting::On(0.1)),
        (Rule::FinewebDuplicateLineCharacters, "en", Setting::On(0.01)),
        (Rule::FinewebShortLines, "fr", Setting::Off),
        (Rule::C4Sentences, "fr", Setting::Off),
        (Rule::GopherTop2Gram, "xx", Setting::Unknown),
        (Rule::GopherHashRatio, "xx", Setting::On(0.1)),
    ] {
        assert_eq!(setting(RuleSet::Fineweb2, rule, language), expected, "{} {language}", rule.name());
    }
    assert_eq!(setting(RuleSet::Web, Rule::GopherTop2Gram, "de"), Setting::On(0.2));
    // Where Gopher's thresholds are not valid.
    assert_eq!(setting(RuleSet::Web, Rule::GopherTop2Gram, "hi"), Setting::On(0.208));
    assert_eq!(setting(RuleSet::Dclm, Rule::C4LineWords, "en"), Setting::Off);
    assert_eq!(setting(RuleSet::Dclm, Rule::DclmWordsRemoved, "en"), Setting::On(0.05));
}

#[test]
fn lines_of_pages_are_cut_as_in_dclm() {
    let dclm = Rules::new(RuleSet::Dclm, &[], &BTreeMap::new());
    let cut = [
        "MAIN MENU AND MORE",
        "2024",
        "3 likes",
        "\"1.2K Views!\"",
        "Home",
        "There are 3 items in cart now",
        "The light was lit. Read more...",
        "Sign-in to write",
    ];
    let kept = ["The keeper lit it. (3 likes)", "3 likes and more", "In 2024 it rained", "a1", "He likes it"];
    for line in cut {
        assert!(dclm.cut_lines(&format!("{ENGLISH}{line}\n"), "en").is_some(), "{line}");
    }
    for line in kept.into_iter().filter(|line| line.contains(' ')) {
        assert_eq!(dclm.cut_lines(&format!("{ENGLISH}{line}\n"), "en"), None, "{line}");
    }
    let found = dclm.cut_lines("one two three four\nMENU\n", "en").unwrap();
    assert_eq!((found.text.as_str(), found.words_removed), ("one two three four\n", 0.2));
    let judged = Measured { text: &found.text, words_removed: found.words_removed, ..Measured::default() };
    let only = only(Rule::DclmWordsRemoved, 0.05);
    assert_eq!(only.judge_measured(judged).dropped.map(|verdict| verdict.rule), Some(Rule::DclmWordsRemoved));
}

#[test]
fn rules_for_lines_are_equal_if_they_cut_the_same_lines() {
    let rules = |set, disabled: &[Rule], threshold: Option<(Rule, f64)>| {
        Rules::new(set, disabled, &threshold.into_iter().collect()).for_lines()
    };
    let web = rules(RuleSet::Web, &[], None);
    assert_eq!(web, rules(RuleSet::Web, &[Rule::GopherWordsMin], Some((Rule::GopherTop2Gram, 0.1))));
    assert_ne!(web, rules(RuleSet::Web, &[Rule::C4LineWords], None));
    assert_ne!(web, rules(RuleSet::Web, &[], Some((Rule::C4LineWords, 3.0))));
    assert_eq!(rules(RuleSet::Gopher, &[], None), rules(RuleSet::None, &[Rule::C4LineWords], None));
}
