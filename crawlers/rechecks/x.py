"""X: posts by 100 ids (docs.x.com/x-api/posts/get-posts-by-ids), which tells of each that is not shown that it is not
found or not to be seen. Why, X does not say of a post, so the accounts are asked for: suspended, gone, protected, or
there.
"""

from collections.abc import AsyncIterator, Iterable
from typing import Any

from crawlers.fetching import Answer, SourceGapError
from crawlers.platforms.x import LEFT_OUT_WHEN_EMPTY, joined, parse_tweet
from crawlers.post import ParseError
from crawlers.sighting import Evidence, Known, Sighting, Visit, alive, gone, unknown
from crawlers.spiders.x import FIELDS, Api

BATCH = 100
HOME = "https://api.x.com"

STRANGE = "not the answer of X's API"
NOT_TOLD = "not to be seen, and its account is there and open"
_NOT_FOUND, _NOT_SEEN = "resource-not-found", "not-authorized-for-resource"
_SUSPENDED = "User has been suspended"
_NO_ACCOUNT = "Could not find user"


async def check(visit: Visit) -> AsyncIterator[Sighting]:
    """One request for all, one for the newest versions of those that were edited, and one for the authors of what is
    not shown. Errors: SourceGapError."""
    api = Api(visit.source, visit.fetcher, visit.settings.environment)
    numbers = {str(known.global_id): known for known in visit.posts if (known.global_id or "").isdecimal()}
    for known in visit.posts:
        if known.global_id not in numbers:
            yield unknown(known, "the post has no number")
    if not numbers:
        return
    answer, page = await _posts(api, numbers)
    shown = _shown(page)
    # An id shows the version that it names; what became of the post, its newest one.
    own = {str(_object(item).get("id")) for item in shown.values()}
    if later := {max(_versions(item), key=int) for item in shown.values() if _versions(item)} - own:
        shown |= _shown((await _posts(api, sorted(later)))[1])
    problems = _problems(page)
    hidden = [known for native, known in numbers.items() if native not in shown and native in problems]
    accounts = await _accounts(api, hidden)
    for native, known in numbers.items():
        if native in shown:
            try:
                yield alive(known, parse_tweet(shown[native], visit.source.authority, answer.fetched_at))
            except ParseError:
                yield unknown(known, STRANGE, answer.status)
        elif native in problems:
            yield _hidden(known, problems[native][0], accounts.get(str(known.author_id)))
        else:
            yield unknown(known, STRANGE, answer.status)


async def _posts(api: Api, ids: Iterable[str]) -> tuple[Answer, dict[str, Any]]:
    answer = await api.get("/2/tweets", {"ids": ",".join(ids), **FIELDS})
    page = _object(answer.json())
    if "data" not in page and "errors" not in page:
        raise SourceGapError(f"HTTP {answer.status}: {STRANGE}")
    return answer, page


def _hidden(known: Known, problem: str, account: str | None) -> Sighting:
    """What a post that is not shown is, given what is said of its account: `_SUSPENDED`, `_NO_ACCOUNT`, `protected`,
    `open`, or nothing. A suspended account is X's deed; who took a post out of an open one is not told."""
    if account == _SUSPENDED:
        return Sighting(known.uid, "removed_by_platform", Evidence(200, problem, "the account is suspended"))
    if account == _NO_ACCOUNT:
        return Sighting(known.uid, "account_gone", Evidence(200, problem))
    if problem == _NOT_SEEN and account == "protected":
        return Sighting(known.uid, "restricted", Evidence(200, problem, "the account is protected"))
    if problem == _NOT_FOUND and account == "open":
        return gone(known, 200, problem)
    return unknown(known, NOT_TOLD if account == "open" else "not shown, and nothing is known of its account", 200)


def _shown(page: dict[str, Any]) -> dict[str, object]:
    """The posts that are shown, by the id of each of their versions."""
    found: dict[str, object] = {}
    try:
        items = joined(page, asked_for=LEFT_OUT_WHEN_EMPTY)
    except ParseError:
        raise SourceGapError(STRANGE) from None
    for item in items:
        found |= dict.fromkeys(_versions(item), item)
    return found


def _versions(item: object) -> list[str]:
    """The ids of a post's versions, as far as they are numbers."""
    tweet = _object(item)
    history = tweet.get("edit_history_tweet_ids")
    ids = [tweet.get("id"), *(history if isinstance(history, list) else [])]
    return [each for each in ids if isinstance(each, str) and each.isascii() and each.isdecimal()]


def _problems(page: dict[str, Any]) -> dict[str, tuple[str, str]]:
    """What is said of the ids that are not shown: the problem, and in which words; of the known problems only."""
    errors = page.get("errors")
    found: dict[str, tuple[str, str]] = {}
    for error in map(_object, errors if isinstance(errors, list) else []):
        problem = str(error.get("type")).rpartition("/")[2]
        # What a page includes can be missing too; only what was asked for by its id counts.
        if problem in (_NOT_FOUND, _NOT_SEEN) and error.get("parameter") == "ids":
            found[str(error.get("value"))] = (problem, str(error.get("detail")))
    return found


async def _accounts(api: Api, hidden: list[Known]) -> dict[str, str]:
    """What is said of the authors of some posts, by their ids; nothing of what is not recognised."""
    ids = sorted({str(known.author_id) for known in hidden if (known.author_id or "").isdecimal()})
    if not ids:
        return {}
    page = _object((await api.get("/2/users", {"ids": ",".join(ids), "user.fields": "protected"})).json())
    data = page.get("data")
    users = [_object(user) for user in (data if isinstance(data, list) else [])]
    found = {
        str(user.get("id")): "protected" if user["protected"] else "open"
        for user in users
        if isinstance(user.get("protected"), bool)
    }
    for native, (_, words) in _problems(page).items():
        told = next((each for each in (_SUSPENDED, _NO_ACCOUNT) if words.startswith(each)), None)
        if told is not None:
            found[str(native)] = told
    return found


def _object(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
