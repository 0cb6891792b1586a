#!/usr/bin/env python3
"""Writes src/text/unicode_forms_data.c: what the normalizers of the tokenizers library make of single code points, asked
of the library itself. Usage: unicode_forms.py OUT.c

compat: NFKD where it differs from NFD. lower: Lowercase. nmt: Nmt. marks: what StripAccents drops."""
import pathlib
import sys

from tokenizers import normalizers as n

ALL = [c for c in range(0x110000) if not 0xD800 <= c < 0xE000]


def changed(norm, base=lambda s: s):
    f = norm.normalize_str
    return {c: f(chr(c)) for c in ALL if f(chr(c)) != base(chr(c))}


def rows(values):
    out, line = "", ""
    for item in values:
        if len(line) + len(item) + 10 > 118:
            out += "\t" + line + "\n"
            line = ""
        line += (" " if line else "") + item + ","
    return out + "\t" + line + "\n"


def main():
    nfd = n.NFD().normalize_str
    tables = {"compat": changed(n.NFKD(), nfd), "lower": changed(n.Lowercase()), "nmt": changed(n.Nmt())}
    strip = n.StripAccents().normalize_str
    marks = [c for c in ALL if strip("a" + chr(c)) == "a"]
    pool, places, text = [], {}, ""
    for name, table in tables.items():
        entries = []
        for c, s in table.items():
            s = tuple(map(ord, s))
            if s not in places:
                places[s] = len(pool)
                pool += s
            entries.append("0x%X" % (c << 32 | places[s] << 8 | len(s)))
        text += "const uint64_t hth_form_%s[] = {\n%s};\nconst size_t hth_form_n_%s = %d;\n\n" % (
            name, rows(entries), name, len(entries))
    runs, last = [], None
    for c in marks:
        if last is not None and c == last + 1:
            runs[-1][1] = c
        else:
            runs.append([c, c])
        last = c
    text += "const uint32_t hth_form_marks[][2] = {\n%s};\nconst size_t hth_form_n_marks = %d;\n\n" % (
        rows("{0x%X, 0x%X}" % tuple(r) for r in runs), len(runs))
    text += "const uint32_t hth_form_pool[] = {\n%s};\n" % rows("0x%X" % c for c in pool)
    pathlib.Path(sys.argv[1]).write_text(
        "/* Written by tools/unicode_forms.py from the tokenizers library; do not edit.\n"
        " * Entries: code point << 32 | where in the pool << 8 | how many code points stand for it. */\n"
        '#include "text/unicode_int.h"\n\n' + text)


main()
