"""Markdown as forums write it, to plain text: marks go, words and the addresses of links stay. Pure.

No renderer: what is dropped are the marks of emphasis, headings, quotes and code, and of links their brackets. Accounts
are named as `u/name` too, which becomes the placeholder as `@name` does.
"""

import re
from html import unescape

from crawlers.text import (
    END,
    MARK,
    Reading,
    account_words,
    clean,
    is_web,
    links_in,
    mask,
    names_account,
    part_addresses,
    shows_address,
)

# Reddit takes spaces into an address, where it is surely one.
_SPACED = r"(?:/|https?://)[^\s()<>]{0,2000}(?: [^\s()<>\"]{1,500}){1,50}"
_LINK = re.compile(
    r"!?\[([^\[\]\n]{0,2000})\]\(<?([^\s()<>]{0,2000}(?:\([^\s()<>]{0,2000}\)[^\s()<>]{0,2000})?"
    rf"|{_SPACED})>?(?:\s+\"[^\"\n]{{0,500}}\")?\)"
)
_AUTOLINK = re.compile(r"<(https?://[^\s<>]{1,2000})>")
_USER = re.compile(r"(?<![\w/.-])/?u/[A-Za-z0-9_-]{2,30}(?:@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)+)?(?![\w/])")
_OF_USER = re.compile(r"https?://(?:[a-z]{1,8}\.)?reddit\.com/r/u_[^\s()<>]*|(?<![\w/.-])/?r/u_[\w-]+", re.IGNORECASE)
_LINE = re.compile(r"^ {0,3}(?:#{1,6}(?:[ \t]+|(?=[^\s#\d]))|(?:> ?)+(?!!))", re.MULTILINE)
_RULE = re.compile(r"^ {0,3}(?:(?:\* ?){3,}|(?:- ?){3,}|(?:_ ?){3,}|```[\w+-]*|~~~[\w+-]*|:::.*)[ \t]*$", re.MULTILINE)
_EMPHASIS = (
    ("**", re.compile(r"(?<!\\)\*\*\*?(?=\S)([^*\n]{1,2000})(?<=\S)\*\*\*?")),
    ("*", re.compile(r"(?<![\w*\\])\*(?=[^\s*])([^*\n]{1,2000})(?<=\S)\*(?![\w*])")),
    ("__", re.compile(r"(?<![\w_\\])__(?=\S)([^_\n]{1,2000})(?<=\S)__(?![\w_])")),
    ("_", re.compile(r"(?<![\w_\\/])_(?=\S)([^_\n]{1,2000})(?<=\S)_(?![\w_])")),
    ("~~", re.compile(r"(?<!\\)~~(?=\S)([^~\n]{1,2000})(?<=\S)~~")),
    (">!", re.compile(r">!([^\n]{1,2000}?)!<")),
    ("`", re.compile(r"(?<![`\\])`([^`\n]{1,2000})`(?!`)")),
)
"""Each with what a text must hold for it, which is found in a fraction of the time."""
_EMPTY_LINES = re.compile(r"\n{3,}")
_ESCAPED = re.compile(r"\\([\\`*_{}\[\]()#+.!~>|^-])")


def read_markdown(written: str, accounts: frozenset[str] = frozenset()) -> Reading:
    """The text that a reader sees, with the addresses of its links."""
    mentions, found = 0, []

    def linked(match: re.Match[str]) -> str:
        nonlocal mentions
        words, address = match[1].strip(), _ESCAPED.sub(r"\1", match[2]).replace(" ", "%20")
        if names_account(address) or address in accounts or _OF_USER.fullmatch(address) or _is_user(address):
            mentions += 1
            return MARK if _is_user(words) else account_words(words, address)
        if not is_web(address):
            return words
        found.append(address)
        return address + END if shows_address(words, address) else f"{words} ({address})"

    def user(_: re.Match[str]) -> str:
        nonlocal mentions
        mentions += 1
        return MARK

    text = clean(unescape(written)).replace(MARK, "").replace(END, "")
    if "](" in text:
        text = _LINK.sub(linked, text)
    text = _AUTOLINK.sub(r"\1 ", text)
    if "u_" in text or "U_" in text:
        text = _OF_USER.sub(user, text)
    if "u/" in text:
        text = _USER.sub(user, text)
    if any(mark in text for mark in "#>*_~`-:"):
        text = _LINE.sub("", _RULE.sub("", text))
        for mark, emphasis in _EMPHASIS:
            if mark in text:
                text = emphasis.sub(r"\1", text)
    if "\\" in text:
        text = _ESCAPED.sub(r"\1", text)
    lines = "\n".join(line.rstrip() for line in part_addresses(text).split("\n"))
    masked, count = mask(_EMPTY_LINES.sub("\n\n", lines).strip(), accounts)
    return Reading(masked, list(dict.fromkeys([*found, *links_in(masked)])), mentions + count)


def _is_user(words: str) -> bool:
    return _USER.fullmatch(words) is not None or re.fullmatch(r"/(?:u|user)/[^\s/]+/?", words) is not None
