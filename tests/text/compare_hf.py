"""Compares the WordPiece tokenizer of text/ with Hugging Face's on random Unicode.

    compare_hf.py --driver build/tests/text/tokenize_lines [--vocab vocab.txt] [--count 100000]

Without a vocabulary it makes one of all characters, each as a word and as the end of one, so that
ids show every character of the words; and of the tokens of vocab.txt beside this script.

References: `tokenizers` (the Rust library behind BertTokenizerFast and, since transformers 5,
BertTokenizer), and, with transformers 4 installed, its BertTokenizer in Python as well. Code points
that a reference's Unicode tables do not know yet are left out of its strings; the counts are
printed. Exit status 1 on the first difference.
"""
import argparse
import os
import random
import subprocess
import sys
import tempfile
import unicodedata

MODES = {  # options of the driver -> options of the references
    "u": dict(do_lower_case=True, strip_accents=None, tokenize_chinese_chars=True),
    "c": dict(do_lower_case=False, strip_accents=False, tokenize_chinese_chars=True),
    "a": dict(do_lower_case=True, strip_accents=False, tokenize_chinese_chars=True),
    "uk": dict(do_lower_case=True, strip_accents=None, tokenize_chinese_chars=False),
}
SPECIAL = ["[SEP]", "[CLS]", "[PAD]", "[MASK]", "[UNK]", "[sep]", "[", "]", "[[SEP]]"]
SPACES = [" ", "  ", "\t", "\n", "\r\n", "\u00a0", "\u1680", "\u2003", "\u2028", "\u2029", "\u202f",
          "\u205f", "\u3000"]
ODD = ["\0", "\x1b", "\x7f", "\x85", "\u00ad", "\u200b", "\u200d", "\u2060", "\ufeff", "\ufffd",
       "\ufe0f", "\ue000", "\U000f0000", "\U0010ffff", "\ufdd0", "\U000e0041"]
CASED = ["\u0130", "I\u0307", "\u1e9e", "\u03a3", "\u03bf\u03a3", "\u039f\u03a3 ", "\u01c5", "\u1fbc",
         "\u212a", "\u212b", "\u2126", "\u10a0", "\u1c90", "\u13a0", "\uab70", "\U00010400"]
MARKS = ["\u0301", "\u0323", "\u0308", "\u0345", "\u034f", "\u0338", "\u05b0", "\u0651", "\u302e",
         "\u3099", "\U0001d165", "\U0001d16e", "\u0f71", "\u0f72", "\u1dce"]


def slow_reference(vocab, options):
    """BertTokenizer of transformers 4, None without it."""
    try:
        import transformers
    except ImportError:
        return None
    if int(transformers.__version__.split(".")[0]) != 4:
        return None
    tokenizer = transformers.BertTokenizer(vocab, **options)
    return lambda text: tokenizer(text)["input_ids"]


def fast_tokenizer(vocab, options):
    from tokenizers import BertWordPieceTokenizer

    return BertWordPieceTokenizer(
        vocab, lowercase=options["do_lower_case"], strip_accents=options["strip_accents"],
        handle_chinese_chars=options["tokenize_chinese_chars"])


def python_class(c):
    """How BERT's rules treat a character, by Python's own tables: words of 'a' + c + 'b'."""
    category = unicodedata.category(c)
    if c in "\t\n\r" or category[0] == "Z":
        return ["a", "b"]
    if category[0] == "C" or c == "\ufffd":
        return ["ab"]
    cp = ord(c)
    cjk = (0x4E00 <= cp <= 0x9FFF or 0x3400 <= cp <= 0x4DBF or 0x20000 <= cp <= 0x2A6DF
           or 0x2A700 <= cp <= 0x2B81F or 0x2B820 <= cp <= 0x2CEAF or 0xF900 <= cp <= 0xFAFF
           or 0x2F800 <= cp <= 0x2FA1F)
    if cjk:
        return ["a", unicodedata.normalize("NFD", c), "b"]
    text = unicodedata.normalize("NFD", c.lower())
    words = [""]
    for x in "a" + "".join(x for x in text if unicodedata.category(x) != "Mn") + "b":
        if unicodedata.category(x)[0] == "P" or (33 <= ord(x) < 127 and not x.isalnum()):
            words += [x, ""]
        else:
            words[-1] += x
    return [w for w in words if w]


def fast_unknown(vocab):
    """Code points that `tokenizers` classes otherwise than Python's newer tables."""
    backend = fast_tokenizer(vocab, MODES["u"])
    unknown = set()
    for cp in code_points():
        text = backend.normalizer.normalize_str("a" + chr(cp) + "b")
        words = [w for w, _ in backend.pre_tokenizer.pre_tokenize_str(text)]
        if words != python_class(chr(cp)):
            unknown.add(cp)
    return unknown


def code_points():
    return (cp for cp in range(0x110000) if not 0xD800 <= cp < 0xE000)


def assigned():
    """Assigned code points by plane and kind, and noncharacters, which no Unicode will assign."""
    for cp in code_points():
        if unicodedata.category(chr(cp)) != "Cn" or cp & 0xFFFE == 0xFFFE or 0xFDD0 <= cp <= 0xFDEF:
            yield cp


class Strings:
    """Random strings of words, spaces, marks, odd and special pieces, without some code points."""

    def __init__(self, vocab, left_out, seed):
        self.random = random.Random(seed)
        with open(vocab, encoding="utf-8") as f:
            self.words = [w.removeprefix("##") for w in f.read().split("\n") if w]
        points = [cp for cp in assigned() if cp not in left_out]
        common = [cp for cp in points if cp < 0x2FA20 and unicodedata.category(chr(cp)) != "Co"]
        by_category = {}
        for cp in points:
            by_category.setdefault(unicodedata.category(chr(cp)), []).append(cp)
        self.pools = [range(32, 127), range(0xA0, 0x250), common, points] + list(by_category.values())
        keep = lambda pieces: [p for p in pieces if not any(ord(c) in left_out for c in p)]
        self.odd, self.cased, self.marks = keep(ODD), keep(CASED), keep(MARKS)

    def piece(self):
        r = self.random
        kind = r.random()
        if kind < 0.30:
            word = r.choice(self.words)
            return r.choice([word, word.upper(), word.capitalize(), unicodedata.normalize("NFD", word)])
        if kind < 0.55:
            return chr(r.choice(r.choice(self.pools)))
        if kind < 0.70:
            return r.choice(SPACES)
        if kind < 0.78:
            return r.choice(self.odd)
        if kind < 0.86:
            return r.choice(self.cased)
        if kind < 0.95:
            return "".join(r.choice(self.marks) for _ in range(r.randint(1, 4)))
        if kind < 0.99:
            return r.choice(SPECIAL)
        return r.choice("aE\u00e9\u4e2d.") * r.choice([2, 99, 100, 101, 150])

    def one(self):
        return "".join(self.piece() for _ in range(min(40, int(self.random.expovariate(0.15)) + 1)))


def run_driver(driver, mode, vocab, inputs):
    flags = ["-x"] + ["-" + letter for letter in mode]
    lines = "".join(data.hex() + "\n" for data in inputs)
    result = subprocess.run([driver, *flags, vocab], input=lines, text=True, capture_output=True)
    if result.returncode != 0:
        sys.exit(f"{driver} failed: {result.stderr}")
    return [[int(i) for i in line.split()] for line in result.stdout.splitlines()]


def compare(name, mode, strings, inputs, ours, reference):
    if len(ours) != len(strings):
        sys.exit(f"{name}: {len(ours)} lines for {len(strings)} strings")
    for text, data, ids in zip(strings, inputs, ours):
        expected = reference(text)
        if ids != expected:
            sys.exit(f"{name}, mode {mode}: {ascii(text)} ({data.hex()})\n"
                     f"  expected {expected}\n  got      {ids}")


def broken(text, r):
    """UTF-8 of the text, sometimes with invalid bytes, and the text that a decoder makes of it."""
    data = bytearray(text.encode("utf-8"))
    if r.random() < 0.2:
        for _ in range(r.randint(1, 3)):
            bad = r.choice([b"\xff", b"\x80", b"\xc3", b"\xe2\x82", b"\xf0\x9f\x98", b"\xed\xa0\x80",
                            b"\xc0\x80", b"\xf4\x90\x80\x80"])
            at = r.randint(0, len(data))
            data[at:at] = bad
    return bytes(data)


def reveals_special(text):
    """Whether cleaning joins pieces to a special token. BertTokenizer in Python takes that for the
    token when it does not lower-case; tokenizers and text/ find tokens in the text as it came."""
    kept = "".join(c for c in text if unicodedata.category(c)[0] != "C" and c != "\ufffd")
    return any(kept.count(token) > text.count(token) for token in SPECIAL[:5])


def check(name, make_reference, left_out, arguments, mode, count):
    reference = make_reference(arguments.vocab, MODES[mode])
    source = Strings(arguments.vocab, left_out, f"{arguments.seed} {name} {mode}")
    inputs = []
    while len(inputs) < count:
        data = broken(source.one(), source.random)
        text = data.decode("utf-8", "replace")
        # Cut characters can join to new ones: leave out what is left out there too.
        if not reveals_special(text) and not any(ord(c) in left_out for c in text):
            inputs.append(data)
    strings = [data.decode("utf-8", "replace") for data in inputs]
    compare(name, mode, strings, inputs, run_driver(arguments.driver, mode, arguments.vocab, inputs),
            reference)
    print(f"{name}, mode {mode}: {count} strings equal", flush=True)


def fast_reference(vocab, options):
    tokenizer = fast_tokenizer(vocab, options)
    return lambda text: tokenizer.encode(text).ids


def write_all_characters(path):
    with open(os.path.join(os.path.dirname(__file__), "vocab.txt"), encoding="utf-8") as f:
        tokens = f.read().split("\n")[:-1]
    characters = [chr(cp) for cp in assigned() if unicodedata.category(chr(cp))[0] not in "CZ"]
    tokens += characters + ["##" + c for c in characters]
    with open(path, "w", encoding="utf-8", newline="\n") as f:
        f.write("".join(token + "\n" for token in dict.fromkeys(tokens)))


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--driver", required=True)
    parser.add_argument("--vocab")
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    print(f"seed={arguments.seed}, Unicode {unicodedata.unidata_version} of Python", flush=True)
    if arguments.vocab:
        check_all(arguments)
        return
    with tempfile.TemporaryDirectory() as folder:
        arguments.vocab = os.path.join(folder, "vocab.txt")
        write_all_characters(arguments.vocab)
        check_all(arguments)


def check_all(arguments):
    every = set(code_points())
    unassigned = every - set(assigned())
    share = {"u": 0.7, "c": 0.1, "a": 0.1, "uk": 0.1}
    unknown = fast_unknown(arguments.vocab) | unassigned
    print(f"tokenizers: {len(unknown - unassigned)} code points left out, its tables are older")
    for mode in MODES:
        if MODES[mode]["strip_accents"] is False:
            continue  # tokenizers does not compose (NFC) there, BertTokenizer in Python does
        check("tokenizers", fast_reference, unknown, arguments, mode,
              int(arguments.count * share[mode]))
    if slow_reference(arguments.vocab, MODES["u"]) is None:
        print("BertTokenizer in Python: skipped, it needs transformers 4")
        return
    for mode in MODES:
        check("BertTokenizer", slow_reference, unassigned, arguments, mode,
              int(arguments.count * share[mode]))


main()
