"""Tokenizers: that of the base encoder (XLM-R, unigram) is built from the pieces in its weights file, any is read.

Texts are untrusted: what a post writes is read as letters, also where it spells a special token.
"""

import re
import unicodedata
from pathlib import Path

from tokenizers import AddedToken, Regex, Tokenizer, models, normalizers, pre_tokenizers, processors

from classify.base import BaseFile
from classify.errors import ModelError

# NFKC would change these two, which the official normaliser leaves alone; they sit it out in the private use area.
_KEPT = {"\uff5e": "\ue001", "\U0001f23b": "\ue002"}
_UNKNOWN = 3
_MASK = "<mask>"
"""Special in XLM-R, though the base encoder's file has it among the ordinary pieces."""


def build(base: BaseFile) -> Tokenizer:
    """A tokenizer that gives the official ids: `<s> pieces </s>`, spaces as `▁`, no byte fallback."""
    tokenizer = Tokenizer(models.Unigram(base.pieces, unk_id=_UNKNOWN, byte_fallback=False))
    gone = [chr(code) for code, out in base.mapping.items() if not out]
    spaces = [
        chr(code)
        for code, out in base.mapping.items()
        if out == (0x20,) and unicodedata.normalize("NFKC", chr(code)) != " "
    ]
    tokenizer.normalizer = normalizers.Sequence(
        [
            normalizers.Replace(Regex(_any_of(gone)), ""),
            normalizers.Replace(Regex(_any_of(spaces)), " "),
            *(normalizers.Replace(char, stand_in) for char, stand_in in _KEPT.items()),
            normalizers.NFKC(),
            *(normalizers.Replace(stand_in, char) for char, stand_in in _KEPT.items()),
            normalizers.Replace(Regex(" {2,}"), " "),
        ]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always", split=True)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    tokenizer.add_special_tokens([AddedToken(name, special=True) for name in ("<s>", "<pad>", "</s>", "<unk>")])
    return tokenizer


def read(path: Path) -> Tokenizer:
    """A tokenizer that never pads or cuts and for which a text holds no special tokens. Errors: ModelError."""
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:
        # tokenizers raises the bare class, whatever is wrong.
        told = (str(error).splitlines() or ["no reason given"])[0][:200]
        raise ModelError(f"{path}: not a tokenizer ({told}); restore it") from None
    tokenizer.no_padding()
    tokenizer.no_truncation()
    tokenizer.encode_special_tokens = True
    # A unigram vocabulary holds its special tokens as pieces, so their spelling is broken up as well.
    added = [token.content for token in tokenizer.get_added_tokens_decoder().values() if token.special]
    apart = [normalizers.Replace(name, f"{name[0]} {name[1:]}") for name in sorted({*added, _MASK}) if len(name) > 1]
    tokenizer.normalizer = normalizers.Sequence([*filter(None, [tokenizer.normalizer]), *apart])
    return tokenizer


def specials(tokenizer: Tokenizer) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The token ids that a tokenizer puts before and after a single text."""
    encoding = tokenizer.encode("a", add_special_tokens=True)
    ids, marks = list(encoding.ids), list(encoding.special_tokens_mask)
    inside = [place for place, mark in enumerate(marks) if not mark]
    if not inside:
        return (), ()
    return tuple(ids[: inside[0]]), tuple(ids[inside[-1] + 1 :])


def _any_of(chars: list[str]) -> str:
    return "[" + "".join(f"\\x{{{ord(char):x}}}" if not re.match(r"\w", char) else char for char in chars) + "]"
