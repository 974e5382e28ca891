"""Adapts the encoder to all labels of a recipe at once: low-rank adaptation with heads, masked losses, checkpoints.

What is random in a step goes by the seed and the step alone, and what a checkpoint holds is all that training has
learnt, so a training that was killed goes on from its last checkpoint to the same result. Needs the `train` extra.
"""

import hashlib
import json
import math
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from peft import LoraConfig, get_peft_model
from safetensors import safe_open
from safetensors.torch import save_file

from classify.augment import altered
from classify.base import HIDDEN, LAYERS
from classify.datasets import Example
from classify.errors import ModelError
from classify.recipe import AdapterPart

TARGETS = ("query", "key", "value", "attention.output.dense", "intermediate.dense", "output.dense")
MASK = 250_001
"""The tokenizer's `<mask>`."""
SCALE = 2
WARM = 0.1
DROPPED = 0.1
"""Dropout of the mean vector."""

Ids = Sequence[tuple[int, ...]]
Tokenise = Callable[[Sequence[str]], Ids]
"""Token ids of each text's first window, with what stands before and after."""


@dataclass(frozen=True)
class Trained:
    """What training gives: peft's tensors by name, and the heads `[labels, width]`, `[labels]`."""

    adapter: dict[str, NDArray[np.float32]]
    weight: NDArray[np.float32]
    bias: NDArray[np.float32]
    step: int
    score: float


class Network(torch.nn.Module):
    """The adapted encoder with a linear head per label on its mean vector."""

    def __init__(self, encoder: Any, labels: int, part: AdapterPart) -> None:
        super().__init__()
        for parameter in encoder.parameters():
            parameter.requires_grad_(False)
        config = LoraConfig(
            r=part.rank,
            lora_alpha=SCALE * part.rank,
            target_modules=list(TARGETS),
            layers_to_transform=list(range(LAYERS - part.layers, LAYERS)),
            layers_pattern="layer",
        )
        with warnings.catch_warnings():  # of peft about transformers, which a user can do nothing about
            warnings.simplefilter("ignore", FutureWarning)
            self.encoder = get_peft_model(encoder, config)
        self.encoder.eval()  # no dropout inside: hidden tokens and altered texts do its work at a fraction of the time
        self.head = torch.nn.Linear(HIDDEN, labels)
        torch.nn.init.zeros_(self.head.weight)
        torch.nn.init.zeros_(self.head.bias)

    def forward(self, ids: torch.Tensor, mask: torch.Tensor, dropped: float = 0.0) -> torch.Tensor:
        """Logits `[rows, labels]`."""
        hidden = self.encoder(input_ids=ids, attention_mask=mask).last_hidden_state.float()
        seen = mask[..., None].float()
        mean = (hidden * seen).sum(dim=1) / seen.sum(dim=1)
        found: torch.Tensor = self.head(torch.nn.functional.dropout(mean, dropped))
        return found

    def trained(self) -> dict[str, torch.nn.Parameter]:
        """What training changes, by name."""
        return {name: each for name, each in self.named_parameters() if each.requires_grad}


def train_adapter(
    encoder: Any,
    examples: Sequence[Example],
    part: AdapterPart,
    *,
    labels: Sequence[str],
    tokenise: Tokenise,
    watched: Sequence[Example],
    judge: Callable[[NDArray[np.float32]], float],
    work: Path,
    seed: int,
    device: str,
    dtype: str,
    say: Callable[[str], None],
) -> Trained:
    """Trains on `examples`; `judge` judges the logits `[watched, labels]` of the watched ones, higher is better.

    `work` keeps checkpoints; a second call with the same arguments goes on from the last. Errors: ModelError when the
    checkpoint there is of another training.
    """
    torch.manual_seed(seed)
    network = Network(encoder, len(labels), part).to(device)
    marks = np.array([[each.marks.get(label, -1) for label in labels] for each in examples], np.int8)
    weights = torch.from_numpy(row_weights(examples, marks))
    optimizer = torch.optim.AdamW(
        [
            {"params": [each for name, each in network.trained().items() if "lora" in name], "rate": 1.0},
            {"params": list(network.head.parameters()), "rate": 4.0},
        ],
        lr=part.rate,
        weight_decay=0.01,
    )
    state = _State(work, network, optimizer, _fingerprint(examples, labels, part, seed, dtype))
    watch = tokenise([each.text for each in watched])
    targets = torch.from_numpy(marks.astype(np.float32))
    total = 0
    step = 0
    if state.waited >= part.patience:  # killed after the last look, before what it led to
        return state.best()
    for epoch in range(part.epochs):
        ids = tokenise(epoch_texts(examples, part, seed, epoch))
        plan = epoch_batches([len(each) for each in ids], examples, part.tokens, seed, epoch)
        total = total or len(plan) * part.epochs
        started, seen = time.monotonic(), 0
        for batch in plan:
            step += 1
            if step <= state.step:
                continue
            torch.manual_seed(seed * 1_000_003 + step)
            rate = part.rate * learning_rate(step, total)
            for group in optimizer.param_groups:
                group["lr"] = rate * group["rate"]
            given, mask = padded([ids[row] for row in batch])
            given = torch.where((torch.rand(given.shape) < part.hidden) & (given > 2), MASK, given)
            with torch.autocast(device, getattr(torch, dtype), enabled=dtype != "float32"):
                logits = network(given.to(device), mask.to(device), DROPPED)
            rows = torch.tensor(batch)
            loss = masked_loss(logits.float(), targets[rows].to(device), weights[rows].to(device))
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(network.trained().values(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
            seen += len(batch)
            if step % 25 == 0:
                speed = seen / (time.monotonic() - started)
                say(f"step {step} of {total}, loss {loss.item():.4f}, {speed:.0f} rows a second")
            if step % part.check == 0 or step == total:
                found = judge(_logits(network, watch, device, dtype, 2 * part.tokens))
                better = state.keep(step, found)
                say(f"step {step} of {total}: {found:.4f} on the calibrate part{', the best so far' if better else ''}")
            if state.waited >= part.patience:
                return state.best()
        if state.waited >= part.patience:
            break
    return state.best()


def row_weights(examples: Sequence[Example], marks: NDArray[np.int8]) -> NDArray[np.float32]:
    """The weight of each row in each label's loss: positives up to four times where they are few, languages alike."""
    langs = np.array([each.lang for each in examples])
    weights = np.zeros(marks.shape, np.float32)
    for column in range(marks.shape[1]):
        said = marks[:, column] >= 0
        for lang in np.unique(langs):
            at = said & (langs == lang)
            positive = at & (marks[:, column] == 1)
            if not at.any():
                continue
            few = np.sqrt((at.sum() - positive.sum()) / max(1, positive.sum()))
            weights[at, column] = 1
            weights[positive, column] = np.clip(few, 1, 4)
            weights[at, column] *= math.sqrt(said.sum() / len(np.unique(langs[said])) / at.sum())
        if said.any():
            weights[:, column] /= weights[said, column].mean()
    return weights


def masked_loss(logits: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """The mean cross-entropy over what the rows say: a target of -1 is silent."""
    said = (targets >= 0).float() * weights
    each = torch.nn.functional.binary_cross_entropy_with_logits(logits, targets.clamp(min=0), reduction="none")
    return (each * said).sum() / said.sum().clamp(min=1)


def learning_rate(step: int, total: int) -> float:
    """The share of the highest rate: up in a straight line, down as half a cosine."""
    warm = max(1, int(total * WARM))
    if step <= warm:
        return step / warm
    return 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, total - warm)))


def epoch_texts(examples: Sequence[Example], part: AdapterPart, seed: int, epoch: int) -> list[str]:
    """The texts as an epoch reads them: a share is altered, another one in every epoch."""
    texts = []
    for row, each in enumerate(examples):
        random = Random(f"{seed} {epoch} {row}")
        texts.append(altered(each.text, random) if random.random() < part.altered else each.text)
    return texts


def epoch_batches(
    lengths: Sequence[int], examples: Sequence[Example], tokens: int, seed: int, epoch: int
) -> list[list[int]]:
    """Rows in batches of about one length, in random order; a row stands in an epoch as often as it is repeated."""
    random = Random(f"{seed} {epoch}")
    rows = [row for row, each in enumerate(examples) for _ in range(each.repeat)]
    random.shuffle(rows)
    found: list[list[int]] = []
    for start in range(0, len(rows), 4096):
        batch: list[int] = []
        for row in sorted(rows[start : start + 4096], key=lambda row: lengths[row]):
            if batch and lengths[row] * (len(batch) + 1) > tokens:
                found.append(batch)
                batch = []
            batch.append(row)
        found.append(batch)
    random.shuffle(found)
    return found


def padded(ids: Sequence[Sequence[int]]) -> tuple[torch.Tensor, torch.Tensor]:
    """Ids and mask `[rows, longest]`."""
    longest = max(map(len, ids))
    given = torch.zeros((len(ids), longest), dtype=torch.long)
    mask = torch.zeros((len(ids), longest), dtype=torch.long)
    for row, each in enumerate(ids):
        given[row, : len(each)] = torch.tensor(each)
        mask[row, : len(each)] = 1
    return given, mask


def _logits(network: Network, ids: Ids, device: str, dtype: str, tokens: int) -> NDArray[np.float32]:
    found = np.zeros((len(ids), network.head.out_features), np.float32)
    order = sorted(range(len(ids)), key=lambda row: len(ids[row]))
    start = 0
    with torch.inference_mode(), torch.autocast(device, getattr(torch, dtype), enabled=dtype != "float32"):
        while start < len(order):
            end = start + 1
            while end < len(order) and len(ids[order[end]]) * (end + 1 - start) <= tokens:
                end += 1
            given, mask = padded([ids[row] for row in order[start:end]])
            found[order[start:end]] = network(given.to(device), mask.to(device)).float().cpu().numpy()
            start = end
    return found


def _fingerprint(examples: Sequence[Example], labels: Sequence[str], part: AdapterPart, seed: int, dtype: str) -> str:
    said = [labels, part.model_dump(), seed, dtype, [[e.text, dict(e.marks), e.repeat] for e in examples]]
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()


class _State:
    """What training has learnt, in memory and in `work`: the last checkpoint and the best one."""

    def __init__(self, work: Path, network: Network, optimizer: torch.optim.Optimizer, fingerprint: str) -> None:
        self._last, self._best = work / "last.safetensors", work / "best.safetensors"
        self._network, self._optimizer, self._fingerprint = network, optimizer, fingerprint
        self.step, self.waited, self.highest, self.highest_step = 0, 0, -math.inf, 0
        if self._last.exists():
            self._resume()

    def keep(self, step: int, score: float) -> bool:
        """Writes a checkpoint; whether it is the best so far."""
        better = score > self.highest
        self.step, self.waited = step, 0 if better else self.waited + 1
        if better:
            self.highest, self.highest_step = score, step
            self._write(self._best, self._learnt())
        self._write(self._last, self._learnt() | self._moments())
        return better

    def best(self) -> Trained:
        """The checkpoint with the highest score."""
        with safe_open(self._best, "numpy") as held:
            tensors = {name: held.get_tensor(name) for name in held.keys()}  # noqa: SIM118
        adapter = {name.removeprefix("encoder."): each for name, each in tensors.items() if "lora" in name}
        weight, bias = tensors["head.weight"], tensors["head.bias"]
        return Trained(adapter, weight, bias, self.highest_step, self.highest)

    def _learnt(self) -> dict[str, torch.Tensor]:
        return {name: each.detach().cpu().contiguous() for name, each in self._network.trained().items()}

    def _moments(self) -> dict[str, torch.Tensor]:
        found = {}
        for name, each in self._network.trained().items():
            for key, value in self._optimizer.state[each].items():
                found[f"{key}/{name}"] = value.detach().cpu().clone().contiguous()
        return found

    def _write(self, path: Path, tensors: dict[str, torch.Tensor]) -> None:
        progress = [self.step, self.waited, self.highest, self.highest_step]
        temporary = path.with_suffix(".tmp")
        save_file(tensors, temporary, {"of": self._fingerprint, "progress": json.dumps(progress)})
        temporary.rename(path)

    def _resume(self) -> None:
        with safe_open(self._last, "pt") as held:
            said = held.metadata()
            if said.get("of") != self._fingerprint:
                raise ModelError(
                    f"{self._last}: the checkpoint of another training (other texts, recipe or seed); name another "
                    "work folder, or remove it"
                )
            self.step, self.waited, self.highest, self.highest_step = json.loads(said["progress"])
            with torch.no_grad():
                for name, each in self._network.trained().items():
                    each.copy_(held.get_tensor(name))
                    self._optimizer.state[each] = {
                        key: held.get_tensor(f"{key}/{name}").to("cpu" if key == "step" else each.device)
                        for key in ("step", "exp_avg", "exp_avg_sq")
                    }
