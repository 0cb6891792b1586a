#!/usr/bin/env python3
"""Writes src/text/unicode_data.c and src/text/unicode_nfc_data.c: the Unicode classes and the NFC tables of the
tokenizers library (0.23.3: Unicode 16 in its regex engine, an older table in its normalizer), so that every machine
cuts text the same way whatever its own Unicode libraries say.

Source: the library itself, asked code point by code point. Its answers are checked against classes.tsv, nfc.tsv and
nfc_pairs.tsv of the conformance fixtures; a difference ends the run. Combining classes, for which the library can
only be asked whether a mark is reordered, take their value from Python's unicodedata.

    python3 tools/unicode.py FIXTURES/public/unicode src/text        (needs: pip install tokenizers==0.23.3)
"""
import pathlib
import sys
import unicodedata

from tokenizers import Regex, normalizers, pre_tokenizers

CATEGORIES = "Lu Ll Lt Lm Lo Mn Mc Me Nd Nl No Pc Pd Ps Pe Pi Pf Po Sm Sc Sk So Zs Zl Zp Cc Cf Co".split()
SCRIPTS = "Arabic Cyrillic Devanagari Greek Han Hangul Hebrew Hiragana Katakana Latin Thai".split()
ALL = [c for c in range(0x110000) if not 0xD800 <= c < 0xE000]
TEXT = "".join(map(chr, ALL))


def runs(code_points):
    """Sorted code points as inclusive ranges."""
    out = []
    for c in code_points:
        if out and out[-1][1] == c - 1:
            out[-1][1] = c
        else:
            out.append([c, c])
    return [tuple(r) for r in out]


def pieces_to_runs(pieces):
    return runs(c for _, (a, b) in pieces for c in ALL[a:b])


def engine(pattern):
    split = pre_tokenizers.Split(Regex(pattern + "+"), "removed", invert=True)
    return pieces_to_runs(split.pre_tokenize_str(TEXT))


def isolated(pre):
    """Code points that a pre-tokenizer with behaviour `isolated` cuts out of a text of letters."""
    found = []
    for c in ALL:
        if len(pre.pre_tokenize_str("a" + chr(c) + "a")) == 3:
            found.append(c)
    return runs(found)


def read_classes(folder):
    classes = {}
    for line in (folder / "classes.tsv").read_text().splitlines():
        if not line.startswith("#"):
            name, first, last = line.split("\t")
            classes.setdefault(name, []).append((int(first, 16), int(last, 16)))
    return classes


def must_equal(what, ours, theirs):
    if ours != theirs:
        sys.exit(f"{what}: the library's answer differs from the fixtures': {len(ours)} and {len(theirs)} entries")


def nfc(text):
    return normalizers.NFC().normalize_str(text)


def nfc_tables(folder):
    singles = {c: nfc(chr(c)) for c in ALL}
    singles = {c: s for c, s in singles.items() if s != chr(c)}
    theirs = {}
    for line in (folder / "nfc.tsv").read_text().splitlines():
        if not line.startswith("#"):
            c, s = line.split("\t")
            theirs[int(c, 16)] = "".join(chr(int(x, 16)) for x in s.split())
    must_equal("nfc.tsv", singles, theirs)
    pairs = {}
    for line in (folder / "nfc_pairs.tsv").read_text().splitlines():
        if not line.startswith("#"):
            ab, c = line.split("\t")
            whole = "".join(chr(int(x, 16)) for x in ab.split())
            a, b = nfc(whole[:-1]), whole[-1]
            pairs[int(c, 16)] = (ord(a), ord(b))
            must_equal("nfc_pairs.tsv", nfc(a + b), chr(int(c, 16)))
    ccc = []
    for c in ALL:
        k = unicodedata.combining(chr(c))
        # The iota subscript has the highest class of all, so any mark the library knows moves before it.
        if k and (c == 0x345 or nfc("x\u0345" + chr(c)) != "x\u0345" + chr(c)):
            ccc.append((c, k))
        elif nfc("x\u0345" + chr(c)).startswith("x" + chr(c)):
            sys.exit(f"U+{c:04X} is reordered but Python's table has no class for it")
    # Canonical decomposition of every code point: of composites one step (the pair), of others the whole.
    decomp = {c: [ord(x) for x in s] for c, s in singles.items()}
    for c, ab in pairs.items():
        decomp[c] = list(ab)
    known = {c for c, _ in ccc}
    joiners = sorted({b for _, b in pairs.values()} - known)
    return pairs, decomp, ccc, joiners


def rows(values, fmt):
    """Values as lines of an initializer, filled to 118 columns with tabs of 8."""
    out, line = "", ""
    for v in values:
        item = fmt % v + ","
        if line and 8 + len(line) + 1 + len(item) > 118:
            out += "\t" + line + "\n"
            line = ""
        line += (" " if line else "") + item
    return out + ("\t" + line + "\n" if line else "")


HEAD = """/* Written by tools/unicode.py from the tokenizers library 0.23.3; do not edit.
 * %s */
#include "text/unicode_int.h"

"""


def main():
    folder, out = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
    theirs = read_classes(folder)
    cats = {name: engine(r"\p{%s}" % name) for name in CATEGORIES}
    for group in "L M N P S".split():
        must_equal(group, engine(r"\p{%s}" % group), theirs[group])
        merged = runs(sorted(c for n in CATEGORIES if n[0] == group for a, b in cats[n] for c in range(a, b + 1)))
        must_equal(group + " (sum)", merged, theirs[group])
    for name in "Lu Ll Lt Lm Lo".split():
        must_equal(name, cats[name], theirs[name])
    classes = {"Space": engine(r"\s"), "Word": engine(r"\w"), "Alphabetic": engine(r"\p{Alphabetic}"),
               "tok_numeric": isolated(pre_tokenizers.Digits(individual_digits=True)),
               "Punct": engine(r"[[:punct:]]"),
               "tok_punctuation": isolated(pre_tokenizers.Punctuation("isolated"))}
    must_equal("\\s", classes["Space"], theirs["regex_s"])
    must_equal("Digits", classes["tok_numeric"], theirs["Digits_is_numeric"])
    must_equal("Punctuation", classes["tok_punctuation"], theirs["Punctuation"])
    must_equal("\\d", engine(r"\d"), cats["Nd"])
    for name in SCRIPTS:
        classes[name] = engine(r"\p{%s}" % name)
    must_equal("Han", classes["Han"], theirs["Han"])

    of = {}
    for i, name in enumerate(CATEGORIES):
        for a, b in cats[name]:
            for c in range(a, b + 1):
                of[c] = i
    starts, last = [], None
    for c in range(0x110000):
        v = of.get(c, len(CATEGORIES))
        if v != last:
            starts.append(c << 8 | v)
            last = v
    text = HEAD % "General categories as runs, other classes as ranges."
    text += "const char hth_unicode_categories[][3] = {\n" + rows(CATEGORIES, '"%s"') + "};\n"
    text += "const size_t hth_unicode_n_categories = %d;\n\n" % len(CATEGORIES)
    text += "/* first code point << 8 | category (%d: none, surrogates among them), each to the next one's first */\n" \
        % len(CATEGORIES)
    text += "const uint32_t hth_unicode_runs[] = {\n" + rows(starts, "0x%X") + "};\n"
    text += "const size_t hth_unicode_n_runs = %d;\n\n" % len(starts)
    for name, ranges in classes.items():
        text += "static const uint32_t ranges_%s[][2] = {\n" % name.lower()
        text += rows(ranges, "{0x%X, 0x%X}") + "};\n"
    text += "\nconst struct hth_unicode_class hth_unicode_classes[] = {\n"
    for name, ranges in classes.items():
        text += '\t{"%s", %d, ranges_%s},\n' % (name, len(ranges), name.lower())
    text += "};\nconst size_t hth_unicode_n_classes = %d;\n" % len(classes)
    (out / "unicode_data.c").write_text(text)

    pairs, decomp, ccc, joiners = nfc_tables(folder)
    pool, index = [], []
    for c in sorted(decomp):
        index.append((c, len(pool), len(decomp[c])))
        pool += decomp[c]
    text = HEAD % "NFC: decompositions, compositions, combining classes."
    text += "/* code point << 16 | at << 2 | length - 1: its canonical decomposition in the pool */\n"
    text += "const uint64_t hth_nfc_decomp[] = {\n" + rows([c << 16 | at << 2 | n - 1 for c, at, n in index], "0x%X")
    text += "};\nconst size_t hth_nfc_n_decomp = %d;\n\n" % len(index)
    text += "const uint32_t hth_nfc_pool[] = {\n" + rows(pool, "0x%X") + "};\n\n"
    text += "/* first << 42 | second << 21 | composed, sorted */\n"
    text += "const uint64_t hth_nfc_pairs[] = {\n"
    text += rows(sorted(a << 42 | b << 21 | c for c, (a, b) in pairs.items()), "0x%X")
    text += "};\nconst size_t hth_nfc_n_pairs = %d;\n\n" % len(pairs)
    text += "/* code point << 8 | combining class, sorted; class 0 is left out */\n"
    text += "const uint32_t hth_nfc_ccc[] = {\n" + rows([c << 8 | k for c, k in ccc], "0x%X")
    text += "};\nconst size_t hth_nfc_n_ccc = %d;\n" % len(ccc)
    text += "\n/* class 0, yet they may compose with what is before them; the jamo are left to arithmetic */\n"
    text += "const uint32_t hth_nfc_joiners[] = {\n" + rows(joiners, "0x%X")
    text += "};\nconst size_t hth_nfc_n_joiners = %d;\n" % len(joiners)
    (out / "unicode_nfc_data.c").write_text(text)


if __name__ == "__main__":
    main()
