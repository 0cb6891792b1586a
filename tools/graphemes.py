#!/usr/bin/env python3
"""Writes src/text/unicode_grapheme_data.c: what Unicode's rules for grapheme clusters (UAX 29) need to know of a code
point. Usage: graphemes.py OUT.c   needs the package `regex`, whose tables are the source."""
import pathlib
import sys

import regex

CLASSES = [  # of equal index in src/text/grapheme.c; the first that matches counts
    ("CR", r"\p{GCB=CR}"), ("LF", r"\p{GCB=LF}"), ("CONTROL", r"\p{GCB=Control}"), ("ZWJ", r"\p{GCB=ZWJ}"),
    ("LINKER", r"\p{InCB=Linker}"), ("INCB_EXTEND", r"[\p{GCB=Extend}&&\p{InCB=Extend}]"), ("EXTEND", r"\p{GCB=Extend}"),
    ("REGIONAL", r"\p{GCB=Regional_Indicator}"), ("PREPEND", r"\p{GCB=Prepend}"), ("SPACING", r"\p{GCB=SpacingMark}"),
    ("L", r"\p{GCB=L}"), ("V", r"\p{GCB=V}"), ("T", r"\p{GCB=T}"), ("PICTOGRAPH", r"\p{Extended_Pictographic}"),
    ("CONSONANT", r"\p{InCB=Consonant}"),
]


def class_of(c, patterns):
    for i, p in enumerate(patterns):
        if p.match(chr(c)):
            return i + 1
    return 0


def main():
    patterns = [regex.compile(p, regex.V1) for _, p in CLASSES]
    runs, last = [], -1
    for c in range(0x110000):
        k = 0 if 0xD800 <= c < 0xE000 else class_of(c, patterns)
        if k != last:
            runs.append(c << 8 | k)
            last = k
    out, line = "", ""
    for v in runs:
        item = "0x%X," % v
        if len(line) + len(item) + 9 > 118:
            out += "\t" + line + "\n"
            line = ""
        line += (" " if line else "") + item
    out += "\t" + line + "\n"
    pathlib.Path(sys.argv[1]).write_text(
        "/* Written by tools/graphemes.py from the tables of the package regex %s; do not edit.\n"
        " * first code point << 8 | class, each to the next one's first. The classes are grapheme.c's. */\n"
        '#include "text/unicode_int.h"\n\nconst uint32_t hth_grapheme_runs[] = {\n%s};\n'
        "const size_t hth_grapheme_n_runs = %d;\n" % (regex.__version__, out, len(runs)))


main()
