"""Makes vocab.txt and golden.txt beside this script, with BertTokenizer of transformers 4.

golden.txt has one string a line: mode, escaped bytes, expected ids, parted by tabs. Modes are those
of tokenize_lines.c; bytes other than printable ASCII, and the backslash, are written as \\xHH.
"""
import os
import random
import string
import unicodedata

import transformers

HERE = os.path.dirname(os.path.abspath(__file__))
MODES = {
    "u": dict(do_lower_case=True, strip_accents=None, tokenize_chinese_chars=True),
    "c": dict(do_lower_case=False, strip_accents=False, tokenize_chinese_chars=True),
    "a": dict(do_lower_case=True, strip_accents=False, tokenize_chinese_chars=True),
    "uk": dict(do_lower_case=True, strip_accents=None, tokenize_chinese_chars=False),
}
WORDS = """the a an and of to in is was it un aff able play playing plays quick brown fox jump lazy
dog New York street strasse cafe café naïve naive Über uber resume résumé istanbul hello world
don t s token sparse matrix transformer embed ##ding ##dings ##s ##ed ##ing ##er ##aff ##able ##able!
##s! ##ly ##ness ##ism ##ist ##tion 19 20 ##84 ##23 ##00 3 ##14 中国 ##国 ελλα ##δα σοφος москва ##ва
한 ##ᆨ ᄒ ##ᅡ ##ᆫ ##ᄀ ##ᅮ ##ᅳ ##ᆯ 中 国 नम ##स ##त ##े ا ##ل ##س ا ש ##ל שלום ##̈ ##́ ¨ ##ø ø ß ##ß ss ##ss ς ##ς
## ##### aaaa ##aaaa ##bb 😀 ##😀 ½ ① ﬁ ##ﬁ fi ™ € £ ¥ § « » “ ” ‘ ’ – — … · • 、 。 「 」 ！ ？ ・ ー カ
##タ ##カ タ ひ ##ら ら""".split()
HAND = [
    "", " ", "\t\n\r", "hello world", "Hello, World!", "unaffable", "unaffableness", "UNAFFABLE",
    "The quick brown fox jumps over the lazy dog.", "playing plays played player", "don't", "it's 3.14",
    "New York", "1984 2023 1900", "café", "cafe\u0301", "CAFÉ", "naïve Über résumé", "İstanbul",
    "I\u0307stanbul", "ı", "Straße STRASSE straße ẞ ß", "ΣΟΦΟΣ", "σοφος σοφός Σ ΑΣ", "Ελλάδα",
    "Москва МОСКВА", "中国", "中國a中b", "中\u0301国", "カタ ひらら ー", "한국 한글", "\u1112\u1161\u11ab",
    "नमस्ते", "السلام", "שלום", "😀😀 a😀", "½ ① ﬁ fi", "™€£¥§", "«a»“b”‘c’–—…·•", "、。「」！？・",
    "a\u00a0b\u3000c\u2003d\u1680e", "a\u2028b\u2029c", "a\u200bb\u200dc\ufeffd\u00ade", "a\x00b",
    "a\x01b\x1fc\x7fd\x85e", "a\ufffdb", "\ufffd", "a\ue000b\U0010ffffc", "\ufdd0a\uffff",
    "[SEP]", "[CLS] a [SEP] b [PAD]", "[MASK]ing the [MASK].", "[UNK][UNK]", "[sep]", "[SEP", "[[SEP]]",
    "a[SEP]b", "[ SEP ]", "##s", "## #", "a##s", "###", "-- ---", "a-b_c/d\\e|f", "$5 <a> ^~`",
    "a" * 99, "a" * 100, "a" * 101, "a\u0301" * 100, "a\u0301" * 101, "中" * 120, "." * 130, "é" * 100,
    "\u0301", "\u0301a", "a\u0323\u0301 a\u0301\u0323", "\u0344 \u0958 \u212b \u2126 \u212a", "\u1fbc \u01c5",
    "≠ ≮ a≠b", "\u037e \u0387 \u1fef", "\u302e\u302f\u302e", "\u034fa\u0315\u0300", "\u0f73\u0f75\u0f81",
    "\U0001d160", "\U00010400\U00010428", "\uab70\u13a0 \u1c90", "\uf900 \U0002f800", "zzz qqq",
    "the\u0308 ø Ø", "resume\u0301s",
]


def vocabulary():
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    single = [c for c in string.printable if c.isprintable() and c != " "]
    single += list("éüïàñçöäåαβγδελοφσбвгмокса")
    pieces = ["##" + c for c in string.ascii_letters + string.digits + "éüïαδλοφσвмокса"]
    # Some letters and pieces are missing, so that some words are unknown.
    missing = {"q", "##q", "Q", "##Q", "Z", "##Z"}
    return [t for t in dict.fromkeys(special + single + pieces + WORDS) if t not in missing]


def random_strings(count):
    r = random.Random(20)
    assigned = [cp for cp in range(0x30000) if unicodedata.category(chr(cp)) not in ("Cn", "Cs")]
    words = [w.removeprefix("##") for w in WORDS]
    for _ in range(count):
        pieces = []
        for _ in range(r.randint(1, 8)):
            pieces.append(r.choice([
                r.choice(words), r.choice(words).upper(), " ", r.choice(string.punctuation),
                chr(r.randint(0x20, 0x24F)), chr(r.choice(assigned)),
                unicodedata.normalize("NFD", r.choice(words))]))
        yield "".join(pieces)


def escape(data):
    return "".join(chr(b) if 32 <= b < 127 and b != 92 else f"\\x{b:02x}" for b in data)


def golden_lines(tokenizers):
    for mode, tokenizer in tokenizers.items():
        strings = HAND + list(random_strings(150 if mode == "u" else 30))
        for text in strings:
            ids = tokenizer(text)["input_ids"]
            yield f"{mode}\t{escape(text.encode('utf-8'))}\t{' '.join(map(str, ids))}\n"
    # Broken UTF-8, and special tokens that cleaning would join: with "c", BertTokenizer in Python
    # takes those for the token, which no other tokenizer does.
    for data in ["[S\u200bEP]".encode(), b"a\xffb", b"\xc3", b"caf\xc3", b"\xe2\x82a", b"\xed\xa0\x80a", b"\xc0\x80", b"a\xf4\x90\x80\x80b",
                 b"\xf0\x9f\x98 a", b"[S\xffEP]"]:
        ids = tokenizers["u"](data.decode("utf-8", "replace"))["input_ids"]
        yield f"u\t{escape(data)}\t{' '.join(map(str, ids))}\n"


def main():
    path = os.path.join(HERE, "vocab.txt")
    with open(path, "w", encoding="utf-8", newline="\n") as f:
        f.write("".join(token + "\n" for token in vocabulary()))
    tokenizers = {m: transformers.BertTokenizer(path, **o) for m, o in MODES.items()}
    with open(os.path.join(HERE, "golden.txt"), "w", encoding="ascii", newline="\n") as f:
        f.writelines(golden_lines(tokenizers))


main()
