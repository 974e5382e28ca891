"""Builds the tokenizer of the base encoder (XLM-R, unigram) from the pieces in its weights file."""

import re
import unicodedata

from tokenizers import AddedToken, Regex, Tokenizer, models, normalizers, pre_tokenizers, processors

from classify.base import BaseFile

# NFKC would change these two, which the official normaliser leaves alone; they sit it out in the private use area.
_KEPT = {"\uff5e": "\ue001", "\U0001f23b": "\ue002"}
_UNKNOWN = 3


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


def _any_of(chars: list[str]) -> str:
    return "[" + "".join(f"\\x{{{ord(char):x}}}" if not re.match(r"\w", char) else char for char in chars) + "]"
