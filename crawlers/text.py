"""Plain text out of what platforms send: markup removed, link targets kept, mentions replaced, NFC, no controls.

Pure functions. What names an account (handles, DIDs, profile addresses) becomes the placeholder `@user`.
"""

import re
import unicodedata
from dataclasses import dataclass, field
from html import unescape
from typing import Any
from urllib.parse import unquote, urlsplit

from lxml import etree, html

MENTION = "@user"
MARK = "\x00"
"""Stands for a placeholder until `mask` has written it: no text that was cleaned holds it, so that no name can be read
into what follows a mention without a space."""

_BLOCKS = {"p", "div", "br", "li", "ul", "ol", "blockquote", "pre", "tr", "table", "hr"}
_BLOCKS |= {"h1", "h2", "h3", "h4", "h5", "h6", "section", "article"}
_UNSHOWN = re.compile(r"<(script|style|template|noscript)\b.*?(?:</\1\s*>|$)", re.DOTALL | re.IGNORECASE)
_HIDDEN = {"script", "style", "template", "noscript", "head", "title", "object", "iframe"}
_NAME = r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]*[A-Za-z0-9_])?"
# A name in Latin letters ends where other scripts begin, as nothing else parts words in Chinese and Japanese; a name
# that begins in another script runs to the next space. What stands before must not make it the rest of an address.
_HANDLE = re.compile(rf"(?<![A-Za-z0-9_@/.＠])[@＠](?:{_NAME}|\w+)(?:@{_NAME})?")
_SCHEMED = re.compile(
    r"at://[^\s<>\"'，。]+|acct:[^\s<>\"'，。]+|did:[a-z]+:[A-Za-z0-9._:%-]+(?:/[\w.~/-]+)?"
    r"|(?<![\w.-])[A-Za-z0-9-]+\.bsky\.social\b",
    re.IGNORECASE,
)
_BARE_PROFILE = re.compile(
    r"(?<![\w@/.:-])(?:[A-Za-z0-9-]+\.)+[A-Za-z]{2,}/(?:(?:web/)?@|users/|profile/)[A-Za-z0-9_.@:%/-]*[A-Za-z0-9_]"
)
_URL = re.compile(r"https?://[^\s<>\"'（）「」，。]*[^\s<>\"'（）「」，。.,;:!?)\]]", re.IGNORECASE)
_PROFILE = re.compile(r"^/(?:web/)?@|^/(?:users|profile|u|user|channel|c|ap/users)/[^/]+", re.IGNORECASE)
# An address can carry another one, or a name: viewers, previews and proxies of posts and pictures do.
_CARRIED = re.compile(
    r"/@|at://|did:[a-z]+:|acct:|bsky\.app/profile/|\.bsky\.social\b|/users/[^/]+/statuses/", re.IGNORECASE
)


@dataclass
class Reading:
    """What a text was found to hold: its plain form, the links in it, and how many accounts it mentions."""

    text: str
    links: list[str] = field(default_factory=list)
    mentions: int = 0


def clean(text: str) -> str:
    """NFC, line breaks as `\\n`, no control characters but tab and line break, lone surrogates replaced."""
    return tidy(text).strip()


def tidy(text: str) -> str:
    """As `clean`, for a piece of a text: white space at its ends stays."""
    lines = text.replace("\r\n", "\n").replace("\r", "\n")
    joined = well_formed(lines)
    kept = "".join(char for char in joined if char in "\n\t" or unicodedata.category(char) not in ("Cc", "Cs"))
    return unicodedata.normalize("NFC", kept)


def well_formed(text: str) -> str:
    """A string that UTF-8 can hold: surrogates that stand alone are replaced."""
    if text.isascii():
        return text
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def names_account(url: str) -> bool:
    """Whether an address leads to a profile, or to a post whose address names its author."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return True
    path = unquote(parts.path)
    return (
        parts.scheme in ("at", "did", "acct")
        or "@" in parts.netloc
        or _PROFILE.search(path) is not None
        or _CARRIED.search(unquote(url)) is not None
    )


def mask(text: str, accounts: frozenset[str] = frozenset()) -> tuple[str, int]:
    """Replaces handles, DIDs, profile addresses and the addresses in `accounts`; returns how many there were.

    Placeholders that stand in the text already stay, whatever follows them, and are not counted.
    """
    count = 0

    def replaced(_: re.Match[str]) -> str:
        nonlocal count
        count += 1
        return MENTION

    def url(match: re.Match[str]) -> str:
        found = match[0]
        return replaced(match) if names_account(found) or _leads_to(found, accounts) else found

    pieces = []
    for piece in text.split(MARK):
        masked = _SCHEMED.sub(replaced, _BARE_PROFILE.sub(replaced, _URL.sub(url, piece)))
        pieces.append(_HANDLE.sub(lambda match: MENTION if match[0] == MENTION else replaced(match), masked))
    return MENTION.join(pieces), count


def _leads_to(url: str, accounts: frozenset[str]) -> bool:
    return any(url == account or url.startswith(account + "/") for account in accounts)


def read_plain(text: str, accounts: frozenset[str] = frozenset()) -> Reading:
    """A plain text. Links are the http addresses in it that name no account."""
    masked, count = mask(clean(text), accounts)
    return Reading(masked, links_in(masked), count)


def links_in(text: str) -> list[str]:
    """The http addresses in a plain text that name no account, once each."""
    return [link for link in dict.fromkeys(_URL.findall(text)) if not names_account(link)]


def shows_address(shown: str, address: str) -> bool:
    """Whether the words of a link are its address, whole or shortened, so that only the address need be written."""
    bare = shown.removesuffix("…").removesuffix("...").lower()
    whole = address.lower()
    starts = {whole, *(whole.removeprefix(scheme).removeprefix("www.") for scheme in ("https://", "http://"))}
    starts |= {start.removeprefix("https://").removeprefix("http://") for start in starts}
    return not bare or (("." in bare or "/" in bare) and any(start.startswith(bare) for start in starts))


def read_html(markup: str, accounts: frozenset[str] = frozenset()) -> Reading:
    """A text in HTML: blocks become lines, an anchor its address, a mention the placeholder, and no entity is
    resolved from anywhere."""
    if "<" not in markup and "&" not in markup:
        return read_plain(markup, accounts)
    prepared = clean(markup)
    if not prepared:
        return Reading("")
    try:
        parser = html.HTMLParser(no_network=True, huge_tree=True)
        root = html.fragment_fromstring(prepared, create_parent="div", parser=parser)
    except (etree.ParserError, etree.XMLSyntaxError, ValueError):
        return _stripped(prepared, accounts)
    if any("depth" in entry.message for entry in parser.error_log):  # the parser drops what is nested deeper
        return _stripped(prepared, accounts)
    walk = _Walk(accounts)
    walk.element(root)
    lines = [" ".join(line.split()) for line in "".join(walk.pieces).split("\n")]
    text = re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip()
    masked, count = mask(MARK.join(tidy(piece) for piece in text.split(MARK)), accounts)
    links = [link for link in dict.fromkeys(walk.links) if not names_account(link) and not _leads_to(link, accounts)]
    return Reading(masked, links, walk.mentions + count)


def _stripped(markup: str, accounts: frozenset[str]) -> Reading:
    return read_plain(unescape(re.sub(r"<[^>]*>", " ", _UNSHOWN.sub(" ", markup))), accounts)


class _Walk:
    """Collects the text of a tree, without recursion into what is hidden."""

    def __init__(self, accounts: frozenset[str]) -> None:
        self.accounts = accounts
        self.pieces: list[str] = []
        self.links: list[str] = []
        self.mentions = 0

    def element(self, root: Any) -> None:
        """Walks iteratively: markup may be nested deeper than the interpreter's stack."""
        stack: list[tuple[Any, bool]] = [(root, False)]
        while stack:
            node, leaving = stack.pop()
            if leaving:
                if node.tag in _BLOCKS and node.tag != "br":
                    self.pieces.append("\n")
                self.pieces.append(node.tail or "" if node is not root else "")
                continue
            if not isinstance(node.tag, str) or node.tag in _HIDDEN:
                self.pieces.append(node.tail or "")
                continue
            if node.tag == "a" and self.anchor(node):
                self.pieces.append(node.tail or "")
                continue
            if node.tag in _BLOCKS:
                self.pieces.append("\n")
            self.pieces.append(re.sub(r"\s+", " ", node.text) if node.text and node.tag != "pre" else node.text or "")
            stack.append((node, True))
            stack += [(child, False) for child in reversed(node)]

    def anchor(self, node: Any) -> bool:
        """Writes an anchor in place of its content: a mention, a tag, a bare address or `words (address)`."""
        href = (node.get("href") or "").strip()
        classes = (node.get("class") or "").split()
        shown = " ".join(node.text_content().split())
        if "hashtag" in classes or shown.startswith("#"):
            self.pieces.append(shown)
            return True
        if "mention" in classes or shown.startswith("@") or _leads_to(href, self.accounts) or (
            href and names_account(href)
        ):
            self.mentions += 1
            self.pieces.append(MARK)
            return True
        if not href.lower().startswith(("http://", "https://")):
            return False
        self.links.append(href)
        self.pieces.append(href if shows_address(shown, href) else f"{shown} ({href})")
        return True
