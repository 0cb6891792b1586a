#!/usr/bin/env python3
"""Makes tests/golden/unigram: small SentencePiece unigram models, as tokenizer.json and as GGUF, and what the originals
make of a few hundred texts. Usage: golden_unigram.py FOLDER   needs sentencepiece, tokenizers and gguf.

Each model is trained on text made here. `small` has a map of characters compiled from rules below, so that the files
stay small; `bytes` falls back to bytes. A tokenizer.json is put together as transformers' converters do for T5, XLM-R
and Llama; its ids and texts are those of tokenizers. The GGUF file's are those of sentencepiece."""
import base64
import json
import pathlib
import random
import sys
import tempfile

import gguf
import numpy
import sentencepiece
from sentencepiece import sentencepiece_model_pb2 as pb
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

SIGN = "\u2581"
# What stands for what. Some pieces begin with others ("A" + ring, and that + acute), which tells longest from shortest.
RULES = {
    "\t": " ", "\n": " ", "\r": " ", "\u00a0": " ", "\u3000": " ", "\u200b": " ", "\u00ad": "", "\u0007": "",
    "\ufb01": "fi", "\uff21": "A", "\uff41": "a", "\uff11": "1", "\u2460": "1", "\u2122": "TM", "\u33ff": "gal",
    "\u337f": "\u682a\u5f0f\u4f1a\u793e", "e\u0301": "\u00e9", "A\u030a": "\u00c5", "A\u030a\u0301": "\u01fa",
    "\uff76": "\u30ab", "\uff76\uff9e": "\u30ac", "\u0958": "\u0915\u093c", "\u2026": "...", "\u01c4": "D\u017d",
    "\u1100\u1161": "\uac00", "\u00bd": "1\u20442", "\u00b5": "\u03bc", "\u212b": "\u00c5", "\u0344": "\u0308\u0301",
}
WORDS = ("the of and water vapor is toxic ammonia chlorine store in a cool dry place away from heat hearth train model text "
         "token score path best first last wear gloves mask 300 ppm 12 0.5 don't can't e-mail x y z don caf\u00e9 na\u00efve "
         "\u00c5ngstr\u00f6m \u6c34 \u706b \u682a\u5f0f\u4f1a\u793e \u30ab\u30bf\u30ab\u30ca \u0928\u092e\u0938\u094d\u0924\u0947 \u043f\u0440\u0438\u0432\u0435\u0442 \u03b1\u03b2\u03b3").split()


def train(folder, name, **options):
    rng = random.Random(7)
    corpus = folder / "corpus.txt"
    lines = [" ".join(rng.choice(WORDS) + rng.choice(["", "", "s", ",", ".", "ing"]) for _ in range(rng.randint(3, 14)))
             for _ in range(3000)]
    corpus.write_text("\n".join(lines) + "\n", encoding="utf-8")
    sentencepiece.SentencePieceTrainer.train(
        input=str(corpus), model_prefix=str(folder / name), model_type="unigram", vocab_size=options.pop("vocab_size", 260),
        character_coverage=0.999, num_threads=1, minloglevel=2, hard_vocab_limit=False, **options)
    model = pb.ModelProto()
    model.ParseFromString((folder / f"{name}.model").read_bytes())
    return model, sentencepiece.SentencePieceProcessor(model_file=str(folder / f"{name}.model"))


def texts():
    rng = random.Random(11)
    fixed = ["", " ", "  ", "\t", "\n\n", "a", " a", "a ", "  a  b  ", SIGN, SIGN + SIGN, "a" + SIGN + "b", "the water", "THE",
             "<unk>", "<s>", "</s>", "a</s>b", "<0x41>", "<0x0A>", "<pad>", "<x>", "ab<x>cd", " <x> ", "<x><x>", "\u0000", "a\u0000b",
             "\U0001f600", "\U0001f468\u200d\U0001f469\u200d\U0001f467", "\U0001f1e9\U0001f1ea\U0001f1eb", "a\u0301\u0302\u0303", "e\u0301", "e\u0301\u0302",
             "A\u030a", "A\u030a\u0301", "A\u030a\u0301\u0302", "\r\n", "\r\na", "\uff76\uff9e", "\uff76", "\u1100\u1161\u11a8", "\u0958\u0301", "\u0915\u094d\u0937",
             "\u00ad", "\u00adabc", "abc\u00ad", "\u00ad\u0301", "\u2122\ufe0f", "\u00b5\u0301", "\u212b\u0301\u0302", "\u0600a", "\u0344", "x\u0344", "ammonia" * 40,
             "q" * 300, "\u6c34" * 200, " " * 100, "a b" * 100, "1\u20442", "\u00bd", "\u2026\u2026", "\u01c4\u01c4", "\u3000\u3000a", "e-mail: don't!"]
    marks = ["\u0301", "\u030a", "\u0302", "\u200d", "\ufe0f", "\u094d", "\u0903", "\u0344"]
    alphabet = list("abcxyzAeq013 .,'-<>") + [" ", "  ", "\t", SIGN, "\u6c34", "\U0001f600", "\u0442", "<x>", "</s>"] + list(RULES) + marks
    words = WORDS + ["".join(rng.choice(alphabet) for _ in range(4)) for _ in range(40)]
    made = ["".join(rng.choice(alphabet) for _ in range(rng.randint(1, 24))) for _ in range(110)]
    made += [rng.choice([" ", "  ", "\n"]).join(rng.choice(words) for _ in range(rng.randint(1, 10))) for _ in range(80)]
    return fixed + made


def fast(model, kind):
    """The tokenizer.json of a model, as transformers' converters put it together."""
    vocab = [(p.piece, p.score) for p in model.pieces]
    special = [p.piece for p in model.pieces if p.type in (2, 3)]
    t = Tokenizer(models.Unigram(vocab, unk_id=model.trainer_spec.unk_id, byte_fallback=kind == "llama"))
    charsmap = model.normalizer_spec.precompiled_charsmap
    if kind == "t5":
        t.normalizer = normalizers.Sequence([normalizers.Precompiled(charsmap), normalizers.Strip(left=False, right=True),
                                             normalizers.Replace(Regex(" {2,}"), SIGN)])
        t.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
        t.decoder = decoders.Metaspace(prepend_scheme="always")
    elif kind == "xlmr":
        t.normalizer = normalizers.Sequence([normalizers.Precompiled(charsmap), normalizers.Replace(Regex(" {2,}"), " ")])
        t.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(),
                                                   pre_tokenizers.Metaspace(prepend_scheme="always")])
        t.decoder = decoders.Metaspace(prepend_scheme="always")
    elif kind == "albert":
        t.normalizer = normalizers.Sequence([normalizers.Replace("``", '"'), normalizers.NFKD(), normalizers.StripAccents(),
                                             normalizers.Lowercase(), normalizers.Precompiled(charsmap),
                                             normalizers.Replace(Regex(" {2,}"), " ")])
        t.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
        t.decoder = decoders.Metaspace(prepend_scheme="always")
    elif kind == "nmt":
        t.normalizer = normalizers.Sequence([normalizers.Nmt(), normalizers.NFKC(), normalizers.Replace(Regex(" {2,}"), " ")])
        t.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
        t.decoder = decoders.Metaspace(prepend_scheme="first")
    elif kind == "first":
        t.normalizer = normalizers.Precompiled(charsmap)
        t.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
        t.decoder = decoders.Metaspace(prepend_scheme="first", split=False)
    else:
        t.normalizer = normalizers.Sequence([normalizers.Prepend(SIGN), normalizers.Replace(" ", SIGN)])
        t.decoder = decoders.Sequence([decoders.Replace(SIGN, " "), decoders.ByteFallback(), decoders.Fuse(),
                                       decoders.Strip(" ", 1, 0)])
    t.add_special_tokens(special)
    t.add_tokens([AddedToken("<x>", normalized=False)])
    eos = t.token_to_id("</s>")
    t.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", eos)])
    return t


def write_gguf(path, model):
    w = gguf.GGUFWriter(path, "t5")
    w.add_tokenizer_model("t5")
    w.add_tokenizer_pre("default")
    w.add_token_list([p.piece.encode() for p in model.pieces])
    w.add_token_scores([p.score for p in model.pieces])
    w.add_token_types([p.type for p in model.pieces])
    w.add_add_space_prefix(model.normalizer_spec.add_dummy_prefix)
    w.add_remove_extra_whitespaces(model.normalizer_spec.remove_extra_whitespaces)
    if model.normalizer_spec.precompiled_charsmap:
        w.add_precompiled_charsmap(model.normalizer_spec.precompiled_charsmap)
    w.add_unk_token_id(model.trainer_spec.unk_id)
    w.add_eos_token_id(model.trainer_spec.eos_id)
    w.add_add_bos_token(False)
    w.add_add_eos_token(True)
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.close()


def main():
    out = pathlib.Path(sys.argv[1])
    out.mkdir(parents=True, exist_ok=True)
    all_texts = texts()
    with tempfile.TemporaryDirectory() as tmp:
        tmp = pathlib.Path(tmp)
        rules = tmp / "rules.tsv"
        rules.write_text("".join("%s\t%s\n" % (" ".join("%X" % ord(c) for c in a), " ".join("%X" % ord(c) for c in b))
                                 for a, b in RULES.items()))
        trained = {
            "small": train(tmp, "small", normalization_rule_tsv=str(rules), pad_id=3),
            "bytes": train(tmp, "bytes", normalization_rule_name="identity", byte_fallback=True, vocab_size=520,
                           remove_extra_whitespaces=False),
            "plain": train(tmp, "plain", normalization_rule_tsv=str(rules), add_dummy_prefix=False,
                           user_defined_symbols=["<x>"], vocab_size=240),
        }
    cases = {"texts": all_texts, "json": {}, "gguf": {}}
    for name, kind, source in [("t5", "t5", "small"), ("xlmr", "xlmr", "small"), ("first", "first", "plain"),
                               ("llama", "llama", "bytes"), ("albert", "albert", "small"), ("nmt", "nmt", "small")]:
        t = fast(trained[source][0], kind)
        t.save(str(out / f"{name}.json"), pretty=False)
        ids = [t.encode(x).ids for x in all_texts]
        cases["json"][name] = {"ids": ids, "decoded": [t.decode(x, skip_special_tokens=False) for x in ids]}
    for name, (model, spm) in trained.items():
        write_gguf(str(out / f"{name}.gguf"), model)
        # Control tokens in a text are text to sentencepiece, and an end is not added.
        ids = [spm.encode(x) for x in all_texts]
        decoded = [None if spm.unk_id() in i else spm.decode(i) for i in ids]
        cases["gguf"][name] = {"ids": ids, "decoded": decoded}
    (out / "cases.json").write_text(json.dumps(cases, ensure_ascii=True, separators=(",", ":")) + "\n")


main()
