"""A sequence-classification model's folder in the layout of transformers: what it holds and what is refused.

`config.json`, `tokenizer.json` and weights: `model.safetensors` (or shards with their index) for torch, `model.onnx`
or `onnx/model.onnx` for onnxruntime. Everything here is read as data: no code of the folder runs, nothing is unpickled,
and no weight is opened.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from classify.description import Description, EngineKind
from classify.engines import resolve
from classify.errors import ModelError
from classify.files import check_digests, digest_of, refuse_links_out, refuse_pickles
from classify.graph_file import read_graph
from classify.labels import Label
from classify.spec import ModelSpec
from classify.tensors import Stored, read_header

MOST_LABELS = 100
GRAPHS = ("model.onnx", "onnx/model.onnx")
WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
READ = ("config.json", "tokenizer.json", "tokenizer_config.json")
"""Files that are read beside the weights; the last need not be there."""

_SLOW = ("vocab.txt", "spiece.model", "sentencepiece.bpe.model", "vocab.json", "tokenizer.model", "spm.model")
_FURTHER_PAD = frozenset(
    {"roberta", "xlm-roberta", "xlm-roberta-xl", "camembert", "roberta-prelayernorm", "data2vec-text", "ibert", "mpnet"}
    | {"longformer", "xmod", "luke", "lilt"}
)
"""Model types whose positions begin after the id of the padding."""

_NLI = frozenset({"entailment", "contradiction", "not_entailment", "not_equivalent", "not_duplicate", "not_paraphrase"})
_PAIR_TASKS = frozenset({"mnli", "qnli", "qqp", "mrpc", "rte", "wnli", "stsb", "sts-b", "snli", "xnli", "paws"})
_PAIR_PIPELINES = frozenset({"zero-shot-classification", "text-ranking", "sentence-similarity"})
_HEAD = re.compile(r"(classifier|classifier\.out_proj|score|logits_proj|classification_head\.out_proj)\.weight")
_LONGEST_DEFAULT = 512
_LONGEST = 65_536


@dataclass(frozen=True)
class _Weights:
    """The weights that a spec means: the engine that reads them and their files."""

    engine: EngineKind
    files: tuple[str, ...]
    rows: int | None = None
    """How many logits the classifier gives, where its header tells."""
    graph: str | None = None
    exact: bool = False


def is_checkpoint(folder: Path) -> bool:
    """Whether a folder is in this layout."""
    return (folder / "config.json").is_file()


def read_checkpoint(folder: Path, spec: ModelSpec, known: Mapping[str, str] | None = None) -> Description:
    """What the folder says, with everything checked that can be without opening weights.

    `known` are the digests of its files where they were taken before; of those, only what is read here is checked.
    Errors: ModelError, each with the file and what to do.
    """
    refuse_links_out(folder, [name for name in (*READ, *GRAPHS, WEIGHTS, INDEX) if (folder / name).exists()])
    if known is not None:
        check_digests(folder, known, [name for name in (*READ, INDEX) if name in known])
    config = check_config(folder)
    if not (folder / "tokenizer.json").is_file():
        raise no_tokenizer(str(folder), [entry.name for entry in folder.iterdir()])
    weights = _weights(folder, spec)
    refuse_pickles(folder, [name for name in weights.files if name != INDEX], "safetensors")
    names = [*(name for name in READ if (folder / name).is_file()), *weights.files]
    if known is not None and set(known) != set(names):
        raise ModelError(f"{folder}: holds other files than when it was prepared; prepare it again")
    files = dict(known) if known is not None else {name: digest_of(folder / name) for name in names}
    card = _front_matter(folder / "README.md")
    labels = _labels(folder, config, weights.rows, spec)
    _refuse_pairs(folder, config, card, labels)
    window = _window(folder, config)
    return Description(
        files=files,
        digest=hashlib.sha256(json.dumps(files, sort_keys=True).encode()).hexdigest(),
        labels=labels,
        activation=_activation(folder, config, len(labels)),
        engine=weights.engine,
        exactness="exact" if weights.exact else "tolerance",
        window=window,
        overlap=window // 8,
        base=", ".join(config["architectures"]),
        licence=_text(config.get("license")) or card.get("license"),
        pad=_pad(config),
        graph=weights.graph,
    )


def check_config(folder: Path) -> dict[str, Any]:
    """What `config.json` says, of a model that can be run: a classifier without code of its own. Errors: ModelError."""
    path = folder / "config.json"
    config = _read_json(path)
    if "auto_map" in config:
        raise ModelError(f"{path}: auto_map asks for code of its own, which is never run; use a model without")
    if "quantization_config" in config:
        raise ModelError(f"{path}: its weights are quantised for another engine; use the model they were made from")
    if (folder / "adapter_config.json").is_file():
        raise ModelError(f"{folder / 'adapter_config.json'}: not a whole model; merge the adapter into its base")
    found = config.get("architectures")
    names = [str(name) for name in found] if isinstance(found, list) else []
    if names and all(name.endswith("ForSequenceClassification") for name in names):
        return config
    said = ", ".join(names) or "none"
    if any(re.search("ForCausalLM|LMHead|ForConditionalGeneration|Seq2Seq", name) for name in names):
        raise ModelError(f"{path}: a generative model ({said}) and no classifier; use a sequence classifier")
    raise ModelError(
        f"{path}: architectures ({said}) have no head for sequence classification; use a model trained with one"
    )


def no_tokenizer(where: str, names: Iterable[str]) -> ModelError:
    """The error for a model without `tokenizer.json` that holds the files `names`."""
    slow = sorted(set(_SLOW) & set(names))
    if slow:
        return ModelError(
            f"{where}: holds a slow tokenizer's files alone ({', '.join(slow)}); make tokenizer.json with "
            "transformers: AutoTokenizer.from_pretrained(FOLDER).save_pretrained(FOLDER)"
        )
    return ModelError(f"{where}: has no tokenizer.json; put the model's own there")


def _weights(folder: Path, spec: ModelSpec) -> _Weights:
    graph = next((name for name in GRAPHS if (folder / name).is_file()), None)
    tensors: tuple[str, ...] = ()
    if (folder / WEIGHTS).is_file():
        tensors = (WEIGHTS,)
    elif (folder / INDEX).is_file():
        tensors = (INDEX, *sorted(set(_weight_map(folder).values())))
    if graph is None and not tensors:
        refuse_pickles(folder, [entry.name for entry in sorted(folder.iterdir()) if entry.is_file()], "safetensors")
        raise ModelError(f"{folder}: no weights here that this version reads; add model.safetensors or model.onnx")
    engine = resolve(spec, folder, onnx=graph is not None, torch=bool(tensors))
    if engine == "torch" or graph is None:
        return _Weights(engine, tensors, _classifier_rows(folder, tensors))
    opened = read_graph(folder / graph)
    return _Weights(engine, _graph_files(folder, graph, opened.external), graph=graph, exact=opened.exact)


def _weight_map(folder: Path) -> dict[str, str]:
    """Which shard holds which tensor, of an index whose shards are all there."""
    path = folder / INDEX
    found = _read_json(path).get("weight_map")
    if not isinstance(found, dict) or not found or not all(isinstance(each, str) for each in found.values()):
        raise ModelError(f"{path}: names no shards (weight_map); restore it")
    for shard in sorted(set(found.values())):
        if shard != Path(shard).name or "\\" in shard or not shard.endswith(".safetensors"):
            raise ModelError(f"{path}: names {shard!r}, which is no safetensors file beside it; restore it")
        if not (folder / shard).is_file():
            raise ModelError(f"{path}: names the shard {shard}, which is missing; fetch it again")
    refuse_links_out(folder, set(found.values()))
    return found


def _graph_files(folder: Path, graph: str, external: frozenset[str]) -> tuple[str, ...]:
    """The graph and the files beside it that hold its tensors, by their names in the folder."""
    path = folder / graph
    within = graph.rpartition("/")[0]
    beside = []
    for name in sorted(external):
        if name in ("", ".", "..") or name != Path(name).name or "\\" in name:
            raise ModelError(f"{path}: takes tensors from {name!r}; a graph's weights lie in its own folder")
        if not (path.parent / name).is_file():
            raise ModelError(f"{path}: takes tensors from {name}, which is missing; fetch it again")
        beside.append(f"{within}/{name}" if within else name)
    refuse_links_out(folder, beside)
    return (graph, *beside)


def _classifier_rows(folder: Path, used: tuple[str, ...]) -> int | None:
    """How many logits the classifier gives by its weights; None where its name is one that is not known here."""
    held: dict[str, Stored] = {}
    shards = [name for name in used if name != INDEX]
    where: dict[str, str] = {}
    for shard in shards:
        header = read_header(folder / shard)
        where |= dict.fromkeys(header, shard)
        held |= header
    if INDEX in used:
        for name, shard in _weight_map(folder).items():
            if where.get(name) != shard:
                raise ModelError(f"{folder / shard}: does not hold {name}, which {INDEX} finds there; fetch it again")
    heads = [(name, stored) for name, stored in held.items() if _HEAD.fullmatch(name) and len(stored.shape) == 2]
    # Where a head has two layers, its last is `out_proj`.
    heads.sort(key=lambda each: "out_proj" in each[0])
    return heads[-1][1].shape[0] if heads else None


def _labels(folder: Path, config: dict[str, Any], rows: int | None, spec: ModelSpec) -> tuple[Label, ...]:
    path = folder / "config.json"
    named = config.get("id2label")
    if named is None:
        said = config.get("num_labels", rows if rows is not None else 2)
        count = said if isinstance(said, int) else 0
        _check_count(path, count)
        named = {str(place): f"LABEL_{place}" for place in range(count)}
    if not isinstance(named, dict) or set(named) != {str(place) for place in range(len(named))}:
        raise ModelError(f"{path}: id2label does not name the labels 0, 1, 2, ...; mend it")
    names = [str(named[str(place)]) for place in range(len(named))]
    _check_count(path, len(names))
    if rows is not None and rows != len(names):
        raise ModelError(
            f"{path}: id2label names {len(names)} labels, but the classifier's weights have {rows} rows; restore the "
            "config that belongs to these weights"
        )
    if len(set(names)) != len(names):
        raise ModelError(f"{path}: id2label names one label twice; give each its own name")
    called = spec.model if "@" in spec.model else folder.name
    return tuple(Label(name, _definition(name, called)) for name in names)


def _check_count(path: Path, labels: int) -> None:
    if not 1 <= labels <= MOST_LABELS:
        raise ModelError(f"{path}: {labels} labels, not 1 to {MOST_LABELS}; use a model with fewer, or train one")


def _definition(name: str, called: str) -> str:
    if re.fullmatch(r"LABEL_\d+", name):
        return f"{name} of {called}, which does not say what it means: look at its model card."
    return f"What {called} was trained to call {name!r}."


def _activation(folder: Path, config: dict[str, Any], labels: int) -> str:
    problem = config.get("problem_type")
    if problem == "regression":
        raise ModelError(
            f"{folder / 'config.json'}: problem_type is regression, whose values are no probabilities; use a classifier"
        )
    return "sigmoid" if labels == 1 or problem == "multi_label_classification" else "softmax"


def _refuse_pairs(folder: Path, config: dict[str, Any], card: dict[str, str], labels: tuple[Label, ...]) -> None:
    """Models of sentence pairs by what they leave behind: labels, a task, their loader's mark."""
    path = folder / "config.json"
    plain = {re.sub(r"[\s-]+", "_", label.name).casefold() for label in labels}
    task = str(config.get("finetuning_task") or "").casefold()
    why = None
    if plain & _NLI:
        why = f"labels {', '.join(label.name for label in labels)}"
    elif task in _PAIR_TASKS:
        why = f"finetuning_task {task}"
    elif "sentence_transformers" in config or any(key.startswith("sbert_ce") for key in config):
        why = "a cross-encoder's config"
    elif card.get("pipeline_tag") in _PAIR_PIPELINES:
        path, why = folder / "README.md", f"pipeline_tag {card['pipeline_tag']}"
    if why:
        raise ModelError(f"{path}: a model of sentence pairs ({why}), and a post is one text; use one for single texts")


def _window(folder: Path, config: dict[str, Any]) -> int:
    limits = []
    positions = config.get("max_position_embeddings")
    if isinstance(positions, int) and positions > 0:
        limits.append(positions - _pad(config) - 1 if config.get("model_type") in _FURTHER_PAD else positions)
    path = folder / "tokenizer_config.json"
    if path.is_file():
        longest = _read_json(path).get("model_max_length")
        # Where a tokenizer has no limit of its own, a number beyond all texts stands here.
        if isinstance(longest, int) and 0 < longest <= _LONGEST:
            limits.append(longest)
    window = min([*limits, _LONGEST]) if limits else _LONGEST_DEFAULT
    if window < 8:
        raise ModelError(f"{folder / 'config.json'}: reads {window} tokens at once, too few for a text; restore it")
    return window


def _pad(config: dict[str, Any]) -> int:
    found = config.get("pad_token_id")
    if isinstance(found, int) and found >= 0:
        return found
    return 1 if config.get("model_type") in _FURTHER_PAD else 0


def _read_json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ModelError(f"{path}: cannot be read ({error.strerror}); restore it") from None
    except (ValueError, RecursionError):
        raise ModelError(f"{path}: not JSON; restore it") from None
    if not isinstance(found, dict):
        raise ModelError(f"{path}: not an object of keys and values; restore it")
    return found


def _front_matter(path: Path) -> dict[str, str]:
    """The plain `key: value` lines at the head of a model card."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError):
        return {}
    if lines[:1] != ["---"] or "---" not in lines[1:]:
        return {}
    head = lines[1 : lines.index("---", 1)]
    pairs = [found.groups() for line in head if (found := re.fullmatch(r"([a-z_]+):\s*(\S.*?)\s*", line))]
    return {key: value.strip("\"'") for key, value in pairs}


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None
