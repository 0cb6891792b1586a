"""tests/golden/tokenizers.json: small tokenizer.json files, one for each way in which hearth once differed from the tokenizers
library (found by tests/interop/with_tokenizers.py), with ids and decoded texts as the library gives them.

usage: golden_tokenizers.py (from the root of the tree)"""
import json

from tokenizers import Tokenizer

SIGN = "\u2581"


def doc(vocab, merges=(), added=(), normalizer=None, pre_tokenizer=None, decoder=None, **model):
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": False}
    tokens = [{"id": vocab.get(t, len(vocab) + i), "content": t} | flags | f for i, (t, f) in enumerate(added)]
    return {"version": "1.0", "added_tokens": tokens, "normalizer": normalizer, "pre_tokenizer": pre_tokenizer, "post_processor": None,
            "decoder": decoder, "model": {"type": "BPE", "vocab": vocab, "merges": list(merges), "unk_token": None, "fuse_unk": False,
                                          "byte_fallback": False, "ignore_merges": False} | model}


def vocab(*tokens):
    return {t: i for i, t in enumerate(tokens)}


BYTES = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
FIRST = {"type": "Metaspace", "replacement": SIGN, "prepend_scheme": "first", "split": True}
ALL = vocab("<unk>", *(f"<0x{b:02X}>" for b in range(256)), "a", "b", SIGN)
CASES = [
    ("fused unknown bytes", doc(vocab("<unk>", "a"), unk_token="<unk>", fuse_unk=True, pre_tokenizer=BYTES), ["bca", "abbab"]),
    ("a whole word of bytes without a decoder", doc(vocab("a", "\u0120", "\u0120a"), ignore_merges=True, pre_tokenizer=BYTES), [" a", "a a"]),
    ("some digits of Latin 1 are no words to added tokens", doc(vocab("a", "\u00bd"), added=[("x", {"single_word": True})]),
     ["\u00bdx", "ax", "\u0661x", "a x"]),
    ("Whitespace's words", doc(vocab("a", "\u00bd", "\u00b2", ".", "\u00bd.", "a\u00bd"), ["\u00bd .", "a \u00bd"], pre_tokenizer={"type": "Whitespace"}),
     ["a\u00bd.", "\u00bd. \u00b2"]),
    ("\\w by itself and in a class", doc(vocab("a", "\u00bd", ".", "\u00bd.", "a\u00bd"), ["\u00bd .", "a \u00bd"], pre_tokenizer={
        "type": "Split", "pattern": {"Regex": r"\w+|[^\w\s]+"}, "behavior": "Isolated", "invert": False}), ["a\u00bd.", ".\u00bd.a"]),
    ("\\p{punct} is without symbols", doc(vocab("+", ".", "+.", ".+"), ["+ .", ". +"], pre_tokenizer={
        "type": "Split", "pattern": {"Regex": r"\p{punct}"}, "behavior": "Isolated", "invert": False}), ["+.", ".+", "++.+"]),
    ("empty matches are replaced too", doc(vocab("a", "b", "x", "-"), normalizer={"type": "Replace", "pattern": {"Regex": "x*"}, "content": "-"}),
     ["ab", "xxa", "axb", "bxx"]),
    ("words are not cut where characters are dropped", doc(vocab("e", SIGN, "e" + SIGN), ["e " + SIGN]), ["e\u6771" + SIGN, "e" + SIGN]),
    ("an added token finds nothing behind one that took its place", doc(vocab("a", "\t"), added=[("\t", {"lstrip": True, "rstrip": True})]),
     ["a \t\t\ta", "\t\t"]),
    ("first after a replacement of several characters", doc(vocab("a", "b", SIGN), pre_tokenizer=FIRST, normalizer={
        "type": "Replace", "pattern": {"String": "  "}, "content": "ab"}), ["  a", "a  ", " a", "   "]),
    ("first after a replacement by nothing", doc(vocab("a", "b", SIGN), pre_tokenizer=FIRST, normalizer={
        "type": "Replace", "pattern": {"String": " "}, "content": ""}), [" a", "a"]),
    ("first where another piece begins", doc(vocab("a", "b", SIGN, " "), pre_tokenizer={"type": "Sequence", "pretokenizers": [
        FIRST, {"type": "Split", "pattern": {"String": SIGN}, "behavior": "Removed", "invert": False}, FIRST]}), ["ab", "a b", " b"]),
    ("added tokens decode to what they look for", doc(vocab("a"), added=[("AB", {"normalized": True}), ("C", {})], decoder={"type": "Fuse"},
                                                      normalizer={"type": "Lowercase"}), ["aabC", "ABa"]),
    ("Metaspace behind Replace", doc(vocab("a", SIGN, SIGN + "a"), decoder={"type": "Sequence", "decoders": [
        {"type": "Replace", "pattern": {"String": "a"}, "content": "b" + SIGN}, FIRST]}), [SIGN + "a" + SIGN, "aa"]),
    ("fallback bytes of what a decoder spells", doc(ALL, byte_fallback=True, decoder={"type": "Sequence", "decoders": [
        {"type": "Replace", "pattern": {"String": "a"}, "content": "<0x63>"}, {"type": "ByteFallback"}, {"type": "Fuse"}]}), ["a\u00e9b", "b"]),
]


def main():
    out = []
    for name, tokenizer, texts in CASES:
        library = Tokenizer.from_str(json.dumps(tokenizer))
        ids = [library.encode(t).ids for t in texts]
        out.append({"name": name, "tokenizer": tokenizer, "texts": texts, "ids": ids, "decoded": [library.decode(i) for i in ids]})
    with open("tests/golden/tokenizers.json", "w", encoding="utf-8") as f:
        f.write("[\n" + ",\n".join(json.dumps(c) for c in out) + "\n]\n")


main()
