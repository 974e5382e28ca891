"""An evaluation as tables on a terminal, or in a log."""

from classify.evaluate import ALL, CHOSEN, HALF, STORED, Slice
from classify.measures import Estimate, Share
from pipelines.evaluate import Evaluation
from pipelines.terminal import plain, print_table


def show(found: Evaluation) -> None:
    """Prints an evaluation, table after table."""
    judgement = found.judgement
    _line(f"{judgement.model['name']}, digest {judgement.model['digest'][:12]}: {judgement.rows:,} rows")
    for line in found.told:
        _line(f"  {line}")
    _line("\nAt the model's thresholds, with 95 % intervals, and the macro-F1 of a threshold of 0.5:")
    _labels(judgement.slices)
    _line("\nFlagged of harmless rows, with any label and with each, and found of harmful rows:")
    _harmless(found)
    if judgement.groups:
        _line("\nBy group:")
        _groups(found)
    if judgement.pairs:
        _line("\nPairs whose harmful row has the higher score of its label:")
        rows = [(name, f"{each.hits} of {each.rows}", _share(each)) for name, each in judgement.pairs.items()]
        print_table(("pairs", "higher", "share (95 %)"), rows, (False, True, True))
    if found.chosen:
        _chosen(found)
    if found.compared:
        _compared(found)


def _labels(slices: tuple[Slice, ...]) -> None:
    names = ("label", "rows of", "rows", "positive", "flag from", "precision", "recall", "F1", "macro-F1", "at 0.5")
    rows = []
    for each in slices:
        figures, cut = each.figures, each.figures.cuts[STORED]
        numbers = (f"{figures.rows:,}", f"{figures.positive:,}", f"{cut.threshold:g}")
        measures = (cut.precision, cut.recall, cut.f1, cut.macro_f1)
        half = _value(figures.cuts[HALF].macro_f1)
        others = (_estimate(figures.average_precision), _estimate(figures.calibration_error))
        rows.append((each.label, each.name, *numbers, *map(_estimate, measures), half, *others))
    print_table((*names, "AP", "ECE"), rows, (False, False, *[True] * 10))


def _harmless(found: Evaluation) -> None:
    labels = [label.name for label in found.scored.labels]
    rows = [
        (
            each.file,
            f"{each.flagged.hits} of {each.flagged.rows:,}",
            _share(each.flagged),
            *(_of(each.flagged_by_label[label]) for label in labels),
            _of(each.found),
            _share(each.found),
        )
        for each in found.judgement.files
    ]
    names = ("file", "flagged", "share (95 %)", *labels, "found", "share (95 %)")
    print_table(names, rows, (False, *[True] * (len(names) - 1)))


def _groups(found: Evaluation) -> None:
    labels = [label.name for label in found.scored.labels]
    rows = [
        (
            each.file,
            each.group,
            _of(each.flagged),
            ", ".join(
                f"{label} {each.flagged_by_label[label].hits}" for label in labels if each.flagged_by_label[label].hits
            ),
            _of(each.found),
        )
        for each in found.judgement.groups
    ]
    print_table(("file", "group", "harmless flagged", "with", "harmful found"), rows, (False, False, True, False, True))


def _chosen(found: Evaluation) -> None:
    assert found.target is not None
    value = "" if found.target.value is None else f" {found.target.value:g}"
    _line(f"\nThresholds that the development split gives for {found.target.target}{value}, on these rows:")
    rows = []
    whole = {each.label: each.figures for each in found.judgement.slices if each.by == ALL}
    for label in found.scored.labels:
        if label.name in whole and CHOSEN in whole[label.name].cuts:
            old, new = (whole[label.name].cuts[name] for name in (STORED, CHOSEN))
            share = new.flagged / whole[label.name].rows
            measures = map(_estimate, (new.precision, new.recall, new.macro_f1))
            rows.append((label.name, f"{old.threshold:g}", f"{new.threshold:g}", f"{100 * share:.1f} %", *measures))
    print_table(
        ("label", "model's", "chosen", "flagged", "precision", "recall", "macro-F1"), rows, (False, *[True] * 6)
    )


def _compared(found: Evaluation) -> None:
    assert found.other is not None
    _line(
        f"\nAgainst {found.other.model['name']}, digest {found.other.model['digest'][:12]}, which less the first has:"
    )
    rows = []
    for each in found.compared:
        of = each.difference
        only = (f"{of.first_only:,}", f"{of.second_only:,}", f"{of.adjusted:.3g}")
        rows.append((each.label, each.name, f"{of.rows:,}", _signed(of.macro_f1), _signed(of.average_precision), *only))
    names = (
        "label",
        "rows of",
        "rows",
        "macro-F1",
        "AP",
        "first alone right",
        "second alone right",
        "p (McNemar, Holm)",
    )
    print_table(names, rows, (False, False, *[True] * 6))


def _estimate(of: Estimate) -> str:
    if of.value is None:
        return "-"
    return f"{of.value:.3f}" + ("" if of.low is None else f" ({of.low:.2f}-{of.high:.2f})")


def _value(of: Estimate) -> str:
    return "-" if of.value is None else f"{of.value:.3f}"


def _signed(of: Estimate) -> str:
    if of.value is None:
        return "-"
    return f"{of.value:+.3f}" + ("" if of.low is None else f" ({of.low:+.3f} to {of.high:+.3f})")


def _of(each: Share) -> str:
    return f"{each.hits} of {each.rows:,}" if each.rows else "-"


def _share(each: Share) -> str:
    return "-" if each.value is None else f"{100 * each.value:.1f} % ({100 * each.low:.1f}-{100 * each.high:.1f})"


def _line(text: str) -> None:
    print("\n".join(map(plain, text.split("\n"))))  # noqa: T201
