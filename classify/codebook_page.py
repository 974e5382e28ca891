"""Writes the codebook as a page: `python -m classify.codebook_page docs/labels.md`."""

import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from classify.codebook import Codebook, Guide, read_codebook

_HEAD = """# Labels

This page is made from `classify/labels.py` and `classify/codebook.toml` by
`python -m classify.codebook_page docs/labels.md`. It is for people who mark posts by hand, and for readers of a figure
who ask what was counted. How well the embedded model tells these labels is in the
[model card](../classify/default/MODEL_CARD.md); other models bring labels of their own ([models.md](models.md)).

A label is a kind of harm that a post does by what it says. It is never a viewpoint, never a verdict on its author,
and nothing is done to a post for it: a flag is for a person to read. All examples are invented; some hurt to read.

## In which order to ask

A post is read whole: title, warning and text. Labels are marked one by one, each 1, 0 or unsure; several can be 1.
Most posts have none.

1. Whose words are they? What is quoted to report, deny, condemn, warn or ask is not the author's. The mark is of what
   the author does with it.
2. Is it one of the things that are [never a harm](#what-is-never-a-harm)? Then 0 for whatever that covers, and go on
   with the rest of the post.
3. Is money, access or data to be had by deceit? **scam**, and clickbait is 0.
4. Are people attacked for what they are? **hate**.
5. Are people demeaned, harassed or threatened? **abuse**, also beside hate.
6. Is something about the world stated as a fact, unverified or false, that others may act on? **rumor**.
7. Is it a headline that withholds or exaggerates what it announces? **clickbait**.
8. None of these? No label. A post can be wrong, rude, dull, unfair or in bad taste and have none.
"""

_ACCOUNTS = """## Of accounts: impersonation

A kind of account, and no label of posts: no post is scored for it. It is told by the name, the description and what
the platform vouches for, of accounts that were kept because the sweep file says so. Private persons are not looked
at.
"""

_NEVER = """## What is never a harm

A label that flagged what people may well say would measure opinions. So these have no label, however sharp, unfair,
mistaken or unwelcome. A harm beside them is marked all the same: a protester who threatens somebody is marked for the
threat, hate at an official for their origin is marked as hate.
"""

_SUITE = """
`classify/suites/fairness_zh.jsonl` and `fairness_en.jsonl` measure it. Under each group are posts without a harm that
tempt a careless model, and to many of them a matched post (`pair`) of the same subject and surface that has one. A
flag on the first kind is a fault of the model, whoever the post is against: count them by group, so that a fault
against one side shows, and with their interval. The second kind keeps a model from passing by flagging nothing; its
`labels` are those that it was written for, and others may hold it too, such as abuse beside hate. Beside the suites,
`tests/test_viewpoints.py` counts flags among the sample network's plain political posts, which may only fall.
"""

_NOTICES = """## What platforms' notices say

Weibo, WeChat and Douyin publish what they remove in campaigns, many of them after a notice of the Cyberspace
Administration of China. Researchers ask what of it is seen in a sweep. The table says which label may hold a post
that such a notice means, and what a notice means that is no harm by this codebook. That a post falls under a notice
is no evidence for a label, nor a label evidence that the post was removed or should be.
"""

_UNDECIDED = """## What a text alone cannot decide

- **Truth.** A calm falsehood reads like a fact, a true report like a rumor. A coder marks how a claim is made and
  what it names; a looked-up mark is another column, with source and date. The embedded model looks nothing up.
- **The thread.** What a reply answers, who is meant by "you", whether two are friends. Posts are marked alone.
- **Irony.** Where the text shows it, it is read as meant. Where only knowledge of the author would, unsure.
- **Who speaks.** A word of a group used by one of the group, an eyewitness who was not there.
- **Pictures, voices, videos, links.** They are not read.
- **How many do it.** A campaign, a mob or a network of accounts is not seen in one post.
- **Languages but Chinese and English**, for which there are neither examples nor coders' rules here.

What it leaves open per label stands under each.
"""

_CODERS = """## For coders

**Before.** Two coders a post at least, at home in its language, without each other's marks and without a model's
scores. Posts in random order. First the examples of this page with their marks covered, then some fifty posts of the
sweep together; talk, write down new rules, and code those fifty again.

**While.** 1, 0 or unsure for each label, and a word of reason where a rule was needed. The author is not looked up.
Unsure is for what a text cannot decide, not for what is unpleasant to decide. Breaks are part of the work, and anyone
may skip a post.

**Disagreement.** Both marks are kept as they were made. A third coder, or the two in talk, makes a third mark in a
column of its own, with the rule that settled it. What stays unsure is left out of training and of figures, and its
number is told.

**Agreement.** Krippendorff's alpha, nominal, for each label and language by itself, over the first marks of all
coders; unsure and skipped are missing values, and their share is told beside it. It is told with a 95 % interval, by
resampling posts. The sample is random: on flagged posts alone alpha measures something else, and a sample in which a
label is rare needs many posts before alpha means anything. Krippendorff (Content Analysis: An Introduction to Its
Methodology, Sage, 4th edition 2018) takes 0.8 as enough, and 0.667 as the lowest for tentative conclusions; below
that the label was not coded reliably, and a figure of a model against such marks says little. postsweep has no
command for it; the package `krippendorff` computes it (one row a coder, `nan` where there is no mark), as does
`statsmodels` from 0.15.1 on (one column a coder):

```python
import krippendorff, numpy as np
marks = [[1, 0, 0, 1, 0, np.nan], [1, 0, 0, 1, 1, 0]]
krippendorff.alpha(reliability_data=marks, level_of_measurement="nominal")  # 0.64
```

**Another codebook.** A changed definition is another label. The manifest of a run carries each label's definition,
and `postsweep compare` says so where two runs differ in it. The public sets that the embedded model learned from have
definitions of their own; `classify/datasets.py` says what each is taken for, and the sources above where they differ.
"""


def page() -> str:
    """The whole page, in Markdown."""
    book = read_codebook()
    labels = (line for guide in book.labels for line in (f"## {guide.name}\n", *_guide(guide)))
    accounts = (line for guide in book.accounts for line in _guide(guide))
    return "\n".join(
        [_HEAD, *labels, _ACCOUNTS, *accounts, _NEVER, *_never(book), _NOTICES, *_notices(book), _UNDECIDED, _CODERS]
    )


def _guide(guide: Guide) -> Iterator[str]:
    yield f"> {guide.definition}\n"
    yield from _list("Included", guide.includes)
    yield from _list("Not included", guide.excludes)
    yield "Ask in this order:\n"
    yield from (f"{number}. {question}" for number, question in enumerate(guide.questions, 1))
    yield ""
    yield from _list("At the borders", guide.rules)
    yield from _list("Not decided by the text", guide.undecided)
    yield "| | example | marks | why |\n|---|---|---|---|"
    for example in guide.examples:
        yield _row(example.case, _plain(example.text), _marks(example.marks), _plain(example.why))
    yield ""
    yield from _list("Sources, and what is taken of them", (f"{each.work}: {each.takes}." for each in guide.sources))


def _never(book: Codebook) -> Iterator[str]:
    yield "| never a harm | groups of the fairness suite |\n|---|---|"
    for each in book.never:
        yield _row(each.what, ", ".join(f"`{group}`" for group in each.groups))
    yield _SUITE


def _notices(book: Codebook) -> Iterator[str]:
    yield "| a notice names | may be | which part of it is none, and why |\n|---|---|---|"
    for each in book.notices:
        yield _row(each.says, _marks(each.marks), each.rest)
    yield ""
    yield "Read for it, in reprints and reports of the press:\n\n| who | what | when |\n|---|---|---|"
    for notice in book.announcements:
        yield _row(notice.who, notice.what, notice.when)
    yield ""


def _list(head: str, items: Iterable[str]) -> Iterator[str]:
    yield f"{head}:\n"
    yield from (f"- {item}" for item in items)
    yield ""


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def _marks(marks: Iterable[str]) -> str:
    return ", ".join(marks) or "none"


def _plain(text: str) -> str:
    """A text that Markdown shows as it is written."""
    return re.sub(r"([\\`*_\[\]<>|])", r"\\\1", text)


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(page(), encoding="utf-8")
