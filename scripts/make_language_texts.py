#!/usr/bin/env python3
"""Makes texts with known languages from the translations of programs that are installed on a Linux system.

    scripts/make_language_texts.py OUT [FOLDER…]
    scripts/make_language_texts.py OUT --manuals FOLDER

Reads message catalogues (`<folder>/<language>/LC_MESSAGES/<program>.mo`; by default of /usr/share/locale), and writes
OUT/train.csv and OUT/test.csv with the columns `language`, `program` and `text`, and the same as train.txt and test.txt
in fastText's format. A program is wholly in one of the two files, and a text that is in train.csv is not in test.csv, so
no sentence is tested that was trained on. Texts of test.csv have at most 100 characters.

With --manuals, writes OUT/manuals.csv and OUT/manuals.txt: the beginnings of paragraphs of manual pages
(`<folder>/<language>/man*/*.gz`, such as /usr/share/man), which are texts of another kind than the messages: for a test of
what was trained on these.

Catalogues of more languages: install the packages of a desktop, or unpack some without installing them
(`apt-get download coreutils && dpkg -x coreutils_*.deb tree`, then tree/usr/share/locale).
"""

import csv
import glob
import gzip
import hashlib
import os
import re
import struct
import sys

LETTERS_MIN = 20
LETTERS_MIN_OF_HAN = 6
CHARACTERS_MAX = 100
PER_LANGUAGE_MAX = 20000
TEST_PER_LANGUAGE_MAX = 500
TEXTS_MIN = 200
# Catalogues in variants that are languages or scripts of their own, under the codes that detectors use.
CODES = {"nn": None, "no": "nb", "iw": "he", "in": "id"}
MARKUP = re.compile(r"<[^>]*>|%[-+ #0-9.*$]*(?:l{0,2}|h{0,2}|z|j)[a-zA-Z]|\$\{?\w+\}?|\{[^}]*\}|--?[\w-]+|[\w./~-]*[/@_\\][\w./~-]*|https?:\S+|[A-Z_]{2,}\b")


def messages(path):
    """The pairs of a catalogue: https://www.gnu.org/software/gettext/manual/html_node/MO-Files.html"""
    data = open(path, "rb").read()
    if len(data) < 28:
        return
    order = {b"\xde\x12\x04\x95": "<", b"\x95\x04\x12\xde": ">"}.get(data[:4])
    if order is None:
        return
    count, ids, texts = struct.unpack(order + "3I", data[8:20])
    for n in range(count):
        length, start = struct.unpack_from(order + "2I", data, ids + 8 * n)
        source = data[start : start + length]
        length, start = struct.unpack_from(order + "2I", data, texts + 8 * n)
        try:
            yield source.decode(), data[start : start + length].decode()
        except UnicodeDecodeError:
            continue  # a catalogue in another encoding


def plain(text):
    text = MARKUP.sub(" ", text.split("\0")[0].replace("_", "").replace("&", ""))
    return " ".join(text.split())


def enough(text):
    letters = sum(c.isalpha() for c in text)
    han = any("\u3040" <= c <= "\u9fff" or "\uac00" <= c <= "\ud7af" for c in text)
    return letters >= (LETTERS_MIN_OF_HAN if han else LETTERS_MIN)


def number(text):
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")


def write(out, name, rows):
    with open(os.path.join(out, name + ".csv"), "w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("language", "program", "text"), *rows])
    with open(os.path.join(out, name + ".txt"), "w", encoding="utf-8") as file:
        file.writelines(f"__label__{language} {text}\n" for language, _, text in rows)
    languages = sorted({language for language, _, _ in rows})
    print(f"{name}: {len(rows)} texts in {len(languages)} languages: {' '.join(languages)}")


def paragraphs(path):
    """The paragraphs of a manual page, without roff's requests and fonts."""
    try:
        source = gzip.open(path, "rt", encoding="utf-8").read()
    except (UnicodeDecodeError, OSError):
        return  # a page in another encoding
    lines = []
    for line in [*source.splitlines(), "."]:
        if not line or line[0] in ".'":
            yield " ".join(lines)
            lines = []
        else:
            lines.append(re.sub(r"\\(?:f.|f\[.*?\]|\(..|\[.*?\]|[-&:%/^|~ce])", " ", line))


def manuals(out, folder):
    found = {}
    for path in sorted(glob.glob(os.path.join(folder, "*", "man*", "*.gz"))):
        language = path[len(folder) :].strip("/").split("/")[0].partition("_")[0]
        page = os.path.basename(path)
        for text in paragraphs(path):
            text = plain(text)[:CHARACTERS_MAX]
            if enough(text) and len(text) >= CHARACTERS_MAX // 4:
                found.setdefault(text, {})[language] = page
    by_language = {}
    for text, languages in found.items():
        if len(languages) == 1:  # others were not translated
            [(language, page)] = languages.items()
            by_language.setdefault(language, []).append((language, page, text))
    rows = []
    for _, own in sorted(by_language.items()):
        rows += sorted(own, key=lambda row: number(row[2]))[:TEST_PER_LANGUAGE_MAX]
    os.makedirs(out, exist_ok=True)
    write(out, "manuals", rows)


def main(out, folders):
    found = {}
    for folder in folders:
        for locale in sorted(os.listdir(folder)):
            language, _, variant = locale.partition("_")
            language = CODES.get(language, language)
            # A variant in another script would make one label of two languages.
            if not language or len(language) not in (2, 3) or "@" in locale or locale.startswith("en"):
                continue
            messages_folder = os.path.join(folder, locale, "LC_MESSAGES")
            for file in sorted(os.listdir(messages_folder)) if os.path.isdir(messages_folder) else []:
                if not file.endswith(".mo") or file.startswith("iso_"):
                    continue
                program = file[:-3]
                for source, text in messages(os.path.join(messages_folder, file)):
                    if source and source != text:
                        for label, text in ((language, plain(text)), ("en", plain(source))):
                            if enough(text):
                                found.setdefault(label, {}).setdefault(text, program)
    os.makedirs(out, exist_ok=True)
    train, test = [], []
    for language, texts in sorted(found.items()):
        # A text in two languages is in none: names, and sentences that were not translated.
        own = {t: p for t, p in texts.items() if language == "en" or t not in found["en"]}
        ordered = sorted(own.items(), key=lambda pair: number(pair[0]))
        # About a quarter of the programs.
        held_out = [(t, p) for t, p in ordered if number("program " + p) % 4 == 0]
        rest = [(t, p) for t, p in ordered if number("program " + p) % 4 != 0]
        if len(rest) < TEXTS_MIN:
            continue
        beginnings = {t[:CHARACTERS_MAX] for t, _ in rest}
        train += [(language, p, t) for t, p in rest[:PER_LANGUAGE_MAX]]
        short = ((t[:CHARACTERS_MAX], p) for t, p in held_out)
        short = [(t, p) for t, p in short if t not in beginnings and enough(t)]
        test += [(language, p, t) for t, p in short[:TEST_PER_LANGUAGE_MAX]]
    write(out, "train", train)
    write(out, "test", test)


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    if sys.argv[2:3] == ["--manuals"]:
        manuals(sys.argv[1], sys.argv[3])
    else:
        main(sys.argv[1], sys.argv[2:] or ["/usr/share/locale"])
