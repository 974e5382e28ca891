"""Makes small sequence classifiers in the layout of transformers, with random fixed weights, and exports them to ONNX.

Their architectures are transformers' own; their scores mean nothing. The tokenizer takes every byte of a text as a
token, so that any language gives ids and no two texts alike.
"""

import json
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers, processors
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    DebertaV2Config,
    DebertaV2ForSequenceClassification,
    RobertaConfig,
    RobertaForSequenceClassification,
    XLMRobertaConfig,
    XLMRobertaForSequenceClassification,
)

PAD, BEGIN, END = 256, 257, 258
TOKENS = 259
LONGEST = 96
LABELS = ("calm", "toxic", "off topic!")


def tokenizer() -> Tokenizer:
    """A token a byte, `<s>` before and `</s>` after a text."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    made = Tokenizer(models.BPE({letter: place for place, letter in enumerate(alphabet)}, []))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.add_special_tokens([AddedToken(name, special=True) for name in ("<pad>", "<s>", "</s>")])
    made.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", BEGIN), ("</s>", END)]
    )
    return made


def _model(kind: str, labels: Sequence[str], problem_type: str | None) -> Any:
    common: dict[str, Any] = {
        "vocab_size": TOKENS, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4,
        "intermediate_size": 64, "pad_token_id": PAD, "bos_token_id": BEGIN, "eos_token_id": END,
        "id2label": dict(enumerate(labels)), "label2id": {label: place for place, label in enumerate(labels)},
        "problem_type": problem_type,
    }  # fmt: skip
    # Positions of these two begin after the id of the padding.
    further = {**common, "max_position_embeddings": LONGEST + PAD + 1, "type_vocab_size": 1}
    if kind == "bert":
        return BertForSequenceClassification(BertConfig(max_position_embeddings=LONGEST, **common))
    if kind == "roberta":
        return RobertaForSequenceClassification(RobertaConfig(**further))
    if kind == "xlm-roberta":
        return XLMRobertaForSequenceClassification(XLMRobertaConfig(**further))
    assert kind == "deberta"
    config = DebertaV2Config(
        max_position_embeddings=LONGEST, relative_attention=True, position_buckets=16, pos_att_type=["p2c", "c2p"],
        norm_rel_ebd="layer_norm", share_att_key=True, type_vocab_size=0, **common,
    )  # fmt: skip
    return DebertaV2ForSequenceClassification(config)


def make(
    folder: Path,
    kind: str = "bert",
    labels: Sequence[str] = LABELS,
    problem_type: str | None = None,
    **changes: object,
) -> Path:
    """Makes a folder with a classifier's safetensors; `changes` stand over what its config says."""
    torch.manual_seed(17)
    module = _model(kind, labels, problem_type).eval()
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if parameter.ndim == 2:  # wide enough that texts get scores of their own
                torch.nn.init.normal_(parameter, std=0.6 if "embeddings" in name else 0.25)
    module.save_pretrained(folder)
    tokenizer().save(str(folder / "tokenizer.json"))
    change(folder, **changes)
    return folder


def change(folder: Path, **changes: object) -> None:
    """Writes over keys of `config.json`; None takes one away."""
    path = folder / "config.json"
    said = {**json.loads(path.read_text()), **changes}
    path.write_text(json.dumps({key: value for key, value in said.items() if value is not None}))


class _Exported(torch.nn.Module):
    def __init__(self, module: Any) -> None:
        super().__init__()
        self.module = module

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
        names = ("input_ids", "attention_mask", "token_type_ids")
        logits: torch.Tensor = self.module(**dict(zip(names, inputs, strict=False))).logits
        return logits


def export(folder: Path, to: str = "model.onnx", types: bool = False) -> Path:
    """Adds the classifier in ONNX to its folder; `types` exports `token_type_ids` as an input too."""
    from transformers import AutoModelForSequenceClassification

    module = AutoModelForSequenceClassification.from_pretrained(folder)
    names = ["input_ids", "attention_mask", *(["token_type_ids"] if types else [])]
    ids = torch.randint(0, PAD, (2, 9))
    inputs = (ids, torch.ones_like(ids), torch.zeros_like(ids))
    path = folder / to
    path.parent.mkdir(exist_ok=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            _Exported(module).eval(), inputs[: len(names)], str(path), dynamo=False, opset_version=18,
            input_names=names, output_names=["logits"],
            dynamic_axes={**{name: {0: "batch", 1: "length"} for name in names}, "logits": {0: "batch"}},
        )  # fmt: skip
    return path
