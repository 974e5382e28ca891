"""The recipe of a training: which sets with what their labels say of ours, how the encoder is adapted, and the seed.

A recipe is a TOML file beside the data or apart from it; with the data it is all that decides the trained model.
"""

import tomllib
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from classify.columns import TAKEN, is_column
from classify.errors import ModelError
from classify.labels import CODEBOOK

Share = Annotated[float, Field(ge=0, lt=1)]
Marks = dict[str, Literal[0, 1]]
"""1 and 0 by label: a positive and a negative example; of a label that is not named, nothing is said (masked)."""


class _Part(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class SetPart(_Part):
    """`[[set]]`: one labelled set.

    `marks` gives what each value of its column `label` says; rows of other values are left out. Without `marks` the
    values are names of labels. Rows that share the value of the column `group` (an event, a source) stay in one part.
    """

    name: str
    file: str | None = None
    text: str = "text"
    label: str = "label"
    group: str | None = None
    rows: int | None = Field(default=None, ge=1)
    """The most rows that are taken; which, goes by a digest of the text."""
    ordinary: bool = False
    """Collected as everyday talk, news or opinion: what a threshold may flag of it is bounded."""
    repeat: int = Field(default=1, ge=1)
    """How often a row of the training part stands in an epoch of the encoder's training."""
    marks: dict[str, Marks] | None = None
    published: str = ""
    paper: str = ""
    licence: str = ""


class SplitPart(_Part):
    """`[split]`: the shares of the groups of near-duplicates that are kept from training."""

    calibrate: Share = 0.15
    test: Share = 0.15

    @model_validator(mode="after")
    def _leaves_texts(self) -> Self:
        if not self.calibrate or self.calibrate + self.test >= 1:
            raise ValueError("calibrate is more than 0, and calibrate and test together less than 1, of all texts")
        return self


class AdapterPart(_Part):
    """`[adapter]`: low-rank adaptation (E. Hu et al., LoRA, 2021) of the encoder's upper layers, all labels at once."""

    layers: int = Field(default=8, ge=1, le=12)
    rank: int = Field(default=32, ge=1, le=32)
    epochs: int = Field(default=3, ge=1)
    rate: float = Field(default=5e-4, gt=0)
    """The learning rate at its highest, after a tenth of the steps; it falls to 0 as a cosine."""
    tokens: int = Field(default=2048, ge=64)
    """Tokens of a batch, padding counted."""
    window: int = Field(default=160, ge=16, le=256)
    hidden: Share = 0.08
    """The share of tokens that are hidden from the encoder, so that no single word decides."""
    altered: Share = 0.4
    """The share of texts whose surface is altered (links, brackets, hashtags, case, length)."""
    check: int = Field(default=400, ge=1)
    """Steps from one look at the calibrate part to the next; each writes a checkpoint."""
    patience: int = Field(default=4, ge=1)
    """Looks without a better one before the training stops."""


class LexicalPart(_Part):
    """`[lexical]`: hashed runs of characters with a weight each, beside the encoder."""

    buckets: int = Field(default=2**18, ge=2**8, le=2**20)
    run: int = Field(default=4, ge=1, le=8)
    """Characters of the longest run."""
    penalty: float = Field(default=5e-7, gt=0)
    steps: int = Field(default=200, ge=1)
    """Steps of the fit, which stops there: what is left of it changes no figure."""

    @model_validator(mode="after")
    def _masks_hashes(self) -> Self:
        if self.buckets.bit_count() != 1:
            raise ValueError(f"{self.buckets} buckets are no power of two")
        return self


class ThresholdPart(_Part):
    """`[thresholds]`: what they are chosen for, on the calibrate part.

    `macro_f1`: the best mean over languages. `precision`: the lowest threshold from which on that share of flags is
    right. `review`: the share of the part's posts that people can look at. In each case at most `ordinary` of the
    ordinary posts of a set are flagged.
    """

    target: Literal["macro_f1", "precision", "review"] = "macro_f1"
    value: float | None = Field(default=None, gt=0, lt=1)
    ordinary: Share = 0.02

    @model_validator(mode="after")
    def _has_its_value(self) -> Self:
        if (self.value is None) != (self.target == "macro_f1"):
            raise ValueError("macro_f1 takes no value; precision and review need one between 0 and 1")
        return self


class Recipe(_Part):
    """A recipe; `labels` are those of the model, in order, with their definitions."""

    seed: int = Field(default=0, ge=0)
    base: Literal["default", "encoder"] = "encoder"
    """What is trained on: the pinned base encoder, or the embedded model's adapted one."""
    languages: list[str] = ["zh", "en"]
    """Of which the sets' rows are taken."""
    licence: str | None = None
    """Under which terms the trained weights stand; it goes into the model."""
    written: dict[str, str] = {}
    """Files of written patterns (`classify.written`) beside the recipe, by language."""
    labels: dict[str, str] = {label.name: label.definition for label in CODEBOOK}
    split: SplitPart = SplitPart()
    adapter: AdapterPart | None = AdapterPart()
    """None: the encoder stays as it is and heads are fitted alone."""
    lexical: LexicalPart = LexicalPart()
    thresholds: ThresholdPart = ThresholdPart()
    set: list[SetPart] = []

    @model_validator(mode="after")
    def _names_fit(self) -> Self:
        for name in self.labels:
            if not is_column(name):
                raise ValueError(
                    f"{name!r} cannot be a label's name (letters, digits, _; not {', '.join(sorted(TAKEN))})"
                )
        names = [each.name for each in self.set]
        if len(set(names)) < len(names):
            raise ValueError(f"two sets are called {next(name for name in names if names.count(name) > 1)!r}")
        for each in self.set:
            for value, marks in (each.marks or {}).items():
                unknown = sorted(set(marks) - set(self.labels))
                if unknown:
                    raise ValueError(f"set {each.name}: {value!r} marks {unknown[0]!r}, which is not under labels")
        return self


def read_recipe(path: Path) -> Recipe:
    """Reads a recipe. Errors: ModelError in one line that names the key."""
    try:
        return Recipe.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ModelError(f"{path}: cannot be read as a recipe ({error})") from None
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "recipe"
        raise ModelError(f"{path}: {place}: {first['msg'].removeprefix('Value error, ')}") from None
