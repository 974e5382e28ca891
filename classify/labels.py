"""The codebook: what each label means. A label is a kind of harm, never a viewpoint.

What a person needs to mark posts by it is in `codebook.toml` and on the page that is made from it, docs/labels.md.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Label:
    """One label with its written definition; a score at or over `threshold` is a flag."""

    name: str
    definition: str
    threshold: float = 0.5


CODEBOOK: tuple[Label, ...] = (
    Label(
        "rumor",
        "States as fact something about the world that is unverified or false and that others may act on, such as an "
        "invented disaster, cure, policy or event. An opinion, a question or a report of what somebody said is not a "
        "rumor.",
    ),
    Label(
        "hate",
        "Attacks, degrades or threatens people for what they are: origin, ethnicity, religion, sex, orientation, "
        "disability or region. Criticism of a state, a party, a belief or its leaders is not hate.",
    ),
    Label(
        "abuse",
        "Insults, harasses or threatens a person or group in demeaning words, whoever they are. Sharp criticism of "
        "what somebody did or decided is not abuse.",
    ),
    Label(
        "scam",
        "Tries to obtain money, credentials or personal data by deceit: false prizes, posing as an office, a bank or "
        "an acquaintance, promised returns, fees for jobs or loans. An honest advertisement is not a scam.",
    ),
    Label(
        "clickbait",
        "A headline made to be opened, which withholds or exaggerates what it announces. A plain headline about a "
        "surprising event is not clickbait.",
    ),
)
"""The labels of the embedded model."""
