"""Hugging Face's tokenizers library beside hearth on tokenizers that nobody made on purpose: small random tokenizer.json
files (byte-level and char-level BPE, unigram; normalizers, pre-tokenizers, added tokens, decoders of every kind), random
nasty texts, ids and decoded texts compared. A file that hearth refuses by name counts as refused.

usage: with_tokenizers.py HEARTH [MODEL WORK [CASES [SEED]]]"""
import json
import os
import random
import subprocess
import sys
import tempfile

HEARTH = sys.argv[1]
WORK = sys.argv[3] if len(sys.argv) > 3 else tempfile.mkdtemp()
CASES = int(sys.argv[4]) if len(sys.argv) > 4 else 400
SEED = int(sys.argv[5]) if len(sys.argv) > 5 else 1
TEXTS, LISTS = 24, 6  # a tokenizer: texts to encode, random ids to decode

os.environ["RUST_BACKTRACE"] = "0"
try:  # the library may ask for all memory
    import resource
    resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))
except (ImportError, ValueError):
    pass
try:
    from tokenizers import Tokenizer
except ImportError as e:
    print(f"skip random tokenizers, tokenizers beside hearth: {e}")
    sys.exit(0)

SIGN = "\u2581"
LETTERS = ["a", "b", "c", "A", "B", "s", "t", "x", "e", "n"]
MORE = ["1", "2", "9", ".", ",", "!", "'", "-", "_", "\n", "\t", "\r", "<", ">", "|", "\u00e9", "e\u0301", "\u0130", "\u00df",
        "\u00c5", "\u212b", "\ufb01", "\uff21", "\u6771", "\u4eac", "\u3042", "\u304b\u3099", "\uac01", "\u1100\u1161\u11a8",
        "\U0001f600", "\U0001f468\u200d\U0001f469", "\u200b", "\u00a0", "\u3000", "\u0301", "\u0327", "\u0e01\u0e33", "\u0915\u094d\u0937",
        "\u06f5", "\u0661", "\u00bd", "\u2460", "\ufffd", "\u0085", "\u2028", "\ufeff", "\u1e9e", "\u03a3", "\u01c5",
        "'s", "'LL", "\u017f", "\u212a", "\u00ad", "\u1d15e", "\u0344", "\u0958"]


def some(r, items, least, most):
    return [r.choice(items) for _ in range(r.randint(least, most))]


def alphabet(r):
    return r.sample(LETTERS, r.randint(2, 5)) + r.sample(MORE, r.randint(2, 10)) + [" "]


def text_of(r, letters, tokens):
    out = []
    for _ in range(r.choice([0, 1, 2, 4, 8, 16, 40])):
        kind = r.random()
        if kind < 0.62:
            out.append(r.choice(letters) * r.choice([1, 1, 1, 1, 2, 3]))
        elif kind < 0.74:
            out.append(" " * r.choice([1, 1, 2, 3]))
        elif kind < 0.84 and tokens:
            out.append(r.choice(tokens))
        elif kind < 0.9:
            out.append(SIGN)
        else:
            out.append(r.choice(MORE + ["\0"]))
    return "".join(out)


# ---- models ----

def stand_ins():
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    table, n = {b: chr(b) for b in plain}, 256
    for b in range(256):
        if b not in table:
            table[b], n = chr(n), n + 1
    return table


STAND_INS = stand_ins()


def merges_of(r, base, vocab):
    """Random merges of what is there already; each one's result is a token."""
    tokens, merges = list(base), []
    for _ in range(r.randint(0, 24)):
        a, b = r.choice(tokens), r.choice(tokens)
        if len(a + b) > 8 or [a, b] in merges:
            continue
        merges.append([a, b])
        if a + b not in vocab:
            vocab[a + b] = len(vocab)
            tokens.append(a + b)
    if merges and r.random() < 0.2:
        r.shuffle(merges)
    return merges


def bpe(r, letters, byte_level):
    if byte_level:
        present = set("".join(letters).encode())
        if r.random() < 0.5:
            present |= set(range(256))
        elif r.random() < 0.5:
            present = {b for b in present if r.random() < 0.8}
        base = [STAND_INS[b] for b in sorted(present)]
    else:
        base = sorted({c for c in "".join(letters) + SIGN if r.random() < 0.8})
    r.shuffle(base)
    vocab, fallback = {}, not byte_level and r.random() < 0.6
    for t in r.choice([[], ["<unk>"], ["<unk>", "<s>", "</s>"]]):
        vocab[t] = len(vocab)
    if fallback:
        rate = r.choice([1, 1, 0.9, 0.5, 0.1])
        for b in range(256):
            if r.random() < rate:
                vocab[f"<0x{b:02X}>"] = len(vocab)
    for c in base:
        vocab.setdefault(c, len(vocab))
    merges = merges_of(r, base, vocab) if base else []
    for _ in range(r.randint(0, 3)):  # tokens that no merge makes
        if base:
            vocab.setdefault("".join(some(r, base, 2, 5)), len(vocab))
    merges = [" ".join(m) for m in merges] if r.random() < 0.3 and not any(" " in x for m in merges for x in m) else merges
    return {"type": "BPE", "dropout": None, "unk_token": "<unk>" if "<unk>" in vocab and r.random() < 0.8 else None,
            "continuing_subword_prefix": None, "end_of_word_suffix": None, "fuse_unk": r.random() < 0.5,
            "byte_fallback": fallback and r.random() < 0.9, "ignore_merges": r.random() < 0.35, "vocab": vocab, "merges": merges}


def unigram(r, letters):
    base = {c for c in "".join(letters) + SIGN if r.random() < 0.8}
    words = {"<unk>": 0.0}
    if r.random() < 0.4:
        rate = r.choice([1, 1, 0.9, 0.3])
        words |= {f"<0x{b:02X}>": 0.0 for b in range(256) if r.random() < rate}
    listed = sorted(base)
    for _ in range(r.randint(2, 30)):
        words["".join(some(r, listed or ["a"], 1, 5))] = 0.0
    for c in listed:
        if r.random() < 0.8:
            words[c] = 0.0
    scores = [round(-r.random() * 12, r.choice([0, 1, 4])) for _ in words]
    return {"type": "Unigram", "unk_id": 0, "vocab": [[w, s] for w, s in zip(words, scores)], "byte_fallback": r.random() < 0.5}


# ---- steps ----

REGEXES = [r"\p{L}+", r"\s+", r"\d", r" ?\p{L}+| ?\p{N}+|\s+(?!\S)|\s+", r"[a-z]+|[^a-z]", r"(?i:'s|'t|'ll)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}",
           r"\s*[\r\n]+", r".", r"[^\S\r\n]", r"\p{M}", r"x*", r" {2,}", r"\P{L}", r"a|ab", r"(?<=a)b", r"\w+|[^\w\s]+", r"^\s", r"\s$",
           r"\p{Lu}\p{Ll}*|\p{Han}", r"[\u4e00-\u9fff]", r"\n"]


def pattern(r, letters, empty=True):
    """empty: may it match nothing? The library has placed what replaces nothing twice."""
    if r.random() < 0.5:
        return {"Regex": r.choice([x for x in REGEXES if empty or x != "x*"])}
    return {"String": r.choice([" ", SIGN, "\n", "  ", r.choice(letters), r.choice(MORE)])}


def normalizer(r, letters, depth=0):
    kind = r.choice(["NFC", "NFKC", "NFD", "NFKD", "Prepend", "Replace", "Replace", "Replace", "Strip", "Lowercase", "StripAccents", "Nmt",
                     "Sequence", "Sequence"])
    if kind == "Sequence":
        return {"type": kind, "normalizers": [normalizer(r, letters, depth + 1) for _ in range(r.randint(0, 3))]} if depth < 2 else None
    if kind == "Prepend":
        return {"type": kind, "prepend": r.choice([SIGN, " ", "a", "\u0301"])}
    if kind == "Replace":
        return {"type": kind, "pattern": pattern(r, letters, False), "content": r.choice([SIGN, "", " ", "ab", r.choice(letters)])}
    if kind == "Strip":
        return {"type": kind, "strip_left": r.random() < 0.6, "strip_right": r.random() < 0.6}
    return {"type": kind}


def metaspace(r):
    return {"type": "Metaspace", "replacement": SIGN, "prepend_scheme": r.choice(["always", "never", "first"]), "split": r.random() < 0.6}


def step(r, letters):
    kind = r.choice(["Split", "Split", "Digits", "Punctuation", "Whitespace", "WhitespaceSplit", "CharDelimiterSplit", "Metaspace", "Metaspace"])
    behavior = r.choice(["Isolated", "Removed", "Contiguous", "MergedWithPrevious", "MergedWithNext"])
    return {"Split": {"type": kind, "pattern": pattern(r, letters), "behavior": behavior, "invert": r.random() < 0.3},
            "Digits": {"type": kind, "individual_digits": r.random() < 0.5},
            "Punctuation": {"type": kind, "behavior": behavior},
            "CharDelimiterSplit": {"type": kind, "delimiter": r.choice(["a", " ", ".", "\u6771"])},
            "Metaspace": metaspace(r)}.get(kind, {"type": kind})


def pre_tokenizer(r, letters, byte_level):
    steps = [step(r, letters) for _ in range(r.choice([0, 0, 1, 1, 2, 3]))]
    if byte_level:
        steps = [s for s in steps if s["type"] != "Metaspace" or r.random() < 0.2]
        steps.append({"type": "ByteLevel", "add_prefix_space": r.random() < 0.4, "trim_offsets": r.random() < 0.5,
                      "use_regex": r.random() < 0.6})
        if r.random() < 0.1:
            steps.append({"type": "Digits", "individual_digits": True})
    if not steps:
        return None
    return steps[0] if len(steps) == 1 and r.random() < 0.7 else {"type": "Sequence", "pretokenizers": steps}


def decoder(r, byte_level):
    if byte_level and r.random() < 0.8:
        return {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True}
    kind = r.random()
    if kind < 0.15:
        return None
    if kind < 0.4:
        return metaspace(r)
    steps = [{"type": "Replace", "pattern": {"String": r.choice([SIGN, "a", "ab"])}, "content": r.choice([" ", "", "bb"])}
             for _ in range(r.choice([0, 1, 1, 2]))]
    if r.random() < 0.7:
        steps.append({"type": "ByteFallback"})
    if r.random() < 0.7:
        steps.append({"type": "Fuse"})
        if r.random() < 0.7:
            steps.append({"type": "Strip", "content": " ", "start": r.choice([1, 1, 1, 0]), "stop": 0})
    elif r.random() < 0.2:
        steps.append(metaspace(r))
    return {"type": "Sequence", "decoders": steps}


def added_tokens(r, letters, vocab, size):
    out, used = [], set()
    for _ in range(r.choice([0, 1, 2, 3, 6])):
        content = r.choice([r.choice(["<s>", "</s>", "<unk>", "<|x|>", "[A]", " ", "  ", "\n", "\n\n", "a", "ab", "\u00e9", "e\u0301", "\ufb01", SIGN]),
                            "".join(some(r, letters, 1, 3)), "".join(some(r, letters, 1, 3)), r.choice(list(vocab) or ["a"])])
        if content == "" or content in used:
            continue
        used.add(content)
        ident = vocab.get(content)
        if ident is None:
            ident, size = size, size + 1
        special = r.random() < 0.5
        out.append({"id": ident, "content": content, "single_word": r.random() < 0.25, "lstrip": r.random() < 0.3,
                    "rstrip": r.random() < 0.3, "normalized": r.random() < 0.5, "special": special})
    return sorted(out, key=lambda t: t["id"])


def post_processor(r, vocab):
    names = [t for t in ("<s>", "</s>") if t in vocab]
    if len(names) < 2 or r.random() < 0.5:
        return None
    token = lambda t: {"SpecialToken": {"id": t, "type_id": 0}}
    single = [token("<s>"), {"Sequence": {"id": "A", "type_id": 0}}] + ([token("</s>")] if r.random() < 0.5 else [])
    return {"type": "TemplateProcessing", "single": single, "pair": single + [{"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": {t: {"id": t, "ids": [vocab[t]], "tokens": [t]} for t in names}}


def make(r):
    letters = alphabet(r)
    kind = r.choice(["bytes", "chars", "chars", "unigram"])
    byte_level = kind == "bytes"
    model = unigram(r, letters) if kind == "unigram" else bpe(r, letters, byte_level)
    vocab = {w: i for i, (w, _) in enumerate(model["vocab"])} if kind == "unigram" else model["vocab"]
    added = added_tokens(r, letters, vocab, len(vocab))
    return letters, {"version": "1.0", "truncation": None, "padding": None, "added_tokens": added,
                     "normalizer": normalizer(r, letters) if r.random() < 0.65 else None,
                     "pre_tokenizer": pre_tokenizer(r, letters, byte_level), "post_processor": post_processor(r, vocab),
                     "decoder": decoder(r, byte_level), "model": model}


# ---- both beside each other ----

def hearth(args, rows):
    done = subprocess.run([HEARTH, "tokenize", *args], input="".join(json.dumps(x) + "\n" for x in rows).encode(), capture_output=True)
    return done.returncode, [json.loads(x) for x in done.stdout.split(b"\n") if x], done.stderr.decode().strip()


def disordered(row, bytes_):
    starts, ends = row["starts"], row["ends"]
    return any(a > b for a, b in zip(starts, starts[1:])) or any(s > e or e > bytes_ for s, e in zip(starts, ends))


def compare(theirs, path, r, letters, doc):
    """None, or what differs first."""
    tokens = [t["content"] for t in doc["added_tokens"]]
    size = theirs.get_vocab_size(True)
    rows = [{"text": text_of(r, letters, tokens), "add_special": r.random() < 0.5, "parse_special": r.random() < 0.85} for _ in range(TEXTS)]
    code, ours, error = hearth([path, "--offsets"], rows)
    if code != 0:
        return "error", error
    lists = [[r.randrange(size) for _ in range(r.randint(0, 12))] for _ in range(LISTS)]
    for row, got in zip(rows, ours):
        theirs.encode_special_tokens = not row["parse_special"]
        try:
            want = theirs.encode(row["text"], add_special_tokens=row["add_special"]).ids
        except BaseException:  # the library gives up, or panics
            continue
        if want != got["ids"]:
            return "ids", json.dumps(row) + f": {got['ids']}, expected {want}"
        if disordered(got, len(row["text"].encode())):
            return "offsets", json.dumps(row) + f": {got}"
        lists.append(want)
    # The library no longer knows a special token whose normalized text is another one when it is to be left out.
    lost = doc["normalizer"] is not None and any(t["special"] and t["normalized"] for t in doc["added_tokens"])
    rows = [{"ids": x, "skip_special": not lost and r.random() < 0.5} for x in lists]
    code, ours, error = hearth([path, "--decode"], rows)
    if code != 0:
        return "error", error
    for row, got in zip(rows, ours):
        want = theirs.decode(row["ids"], skip_special_tokens=row["skip_special"])
        if want != got["text"]:
            return "text", json.dumps(row) + f": {json.dumps(got['text'])}, expected {json.dumps(want)}"
    return None


def main():
    folder = os.path.join(WORK, "tokenizers")
    os.makedirs(folder, exist_ok=True)
    counts, bad, reasons = {"equal": 0, "refused": 0, "invalid": 0}, [], {}
    for seed in range(SEED, SEED + CASES):
        r = random.Random(seed)
        letters, doc = make(r)
        text = json.dumps(doc)
        try:
            theirs = Tokenizer.from_str(text)
            norm = theirs.normalizer
            searched = [(t["normalized"], norm.normalize_str(t["content"]) if t["normalized"] and norm else t["content"])
                        for t in doc["added_tokens"]]
            if len(set(searched)) < len(searched):
                raise ValueError  # one text for two tokens: chance decides
            if (True, "") in searched:
                raise ValueError  # the library looks for nothing, for ever
        except BaseException:  # the library panics on some
            counts["invalid"] += 1
            continue
        path = os.path.join(folder, f"case-{seed}.json")
        with open(path, "w", encoding="utf-8") as f:
            f.write(text)
        found = compare(theirs, path, r, letters, doc)
        if found is None:
            counts["equal"] += 1
        elif found[0] == "error" and ("not supported" in found[1] or "at most" in found[1]):
            counts["refused"] += 1
            why = found[1].split(": ", 2)[-1]
            reasons[why] = reasons.get(why, 0) + 1
        else:
            bad.append((path, *found))
            continue
        os.remove(path)
    for path, kind, what in bad[:20]:
        print(f"{path}: {kind}: {what}", file=sys.stderr)
    for why, n in sorted(reasons.items(), key=lambda x: -x[1]):
        print(f"refused {n}: {why}", file=sys.stderr)
    print(f"{'FAIL' if bad else 'ok'} random tokenizers, tokenizers beside hearth: {counts['equal']} of {counts['equal'] + len(bad)} equal "
          f"(from seed {SEED}, {TEXTS} texts each), {counts['refused']} refused by name, {counts['invalid']} no tokenizers", flush=True)


main()
