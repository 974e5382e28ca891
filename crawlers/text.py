"""Plain text out of what platforms send: markup removed, link targets kept, mentions replaced, NFC, no controls.

Pure functions. What names an account (handles, DIDs, profile addresses) becomes the placeholder `@user`.
"""

import re
import unicodedata
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from lxml import etree, html

MENTION = "@user"

_BLOCKS = {"p", "div", "br", "li", "ul", "ol", "blockquote", "pre", "tr", "table", "hr"}
_BLOCKS |= {"h1", "h2", "h3", "h4", "h5", "h6", "section", "article"}
_HIDDEN = {"script", "style", "template", "noscript", "head", "title", "object", "iframe"}
_HANDLE = re.compile(r"(?<![\w@/.])@[\w][\w.-]*[\w](?:@[\w][\w.-]*[\w])?|(?<![\w@/.])@\w")
_DID = re.compile(r"(?:at://)?did:[a-z]+:[A-Za-z0-9._:%-]+(?:/[\w.~/-]+)?")
_URL = re.compile(r"https?://[^\s<>\"'（）「」，。]*[^\s<>\"'（）「」，。.,;:!?)\]]", re.IGNORECASE)
_PROFILE = re.compile(r"^/(?:web/)?@|^/(?:users|profile|u|user|channel|c|ap/users)/[^/]+", re.IGNORECASE)


@dataclass
class Reading:
    """What a text was found to hold: its plain form, the links in it, and how many accounts it mentions."""

    text: str
    links: list[str] = field(default_factory=list)
    mentions: int = 0


def clean(text: str) -> str:
    """NFC, line breaks as `\\n`, no control characters but tab and line break, lone surrogates replaced."""
    lines = text.replace("\r\n", "\n").replace("\r", "\n")
    joined = lines.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    kept = "".join(char for char in joined if char in "\n\t" or unicodedata.category(char) not in ("Cc", "Cs"))
    return unicodedata.normalize("NFC", kept).strip()


def names_account(url: str) -> bool:
    """Whether an address leads to a profile, or to a post whose address names its author."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return True
    return parts.scheme in ("at", "did", "acct") or _PROFILE.search(parts.path) is not None or "@" in parts.netloc


def mask(text: str, accounts: frozenset[str] = frozenset()) -> tuple[str, int]:
    """Replaces handles, DIDs, profile addresses and the addresses in `accounts`; returns how many there were."""
    count = 0

    def replaced(_: re.Match[str]) -> str:
        nonlocal count
        count += 1
        return MENTION

    def url(match: re.Match[str]) -> str:
        found = match[0]
        return replaced(match) if names_account(found) or _leads_to(found, accounts) else found

    masked = _DID.sub(replaced, _URL.sub(url, text))
    return _HANDLE.sub(lambda match: MENTION if match[0] == MENTION else replaced(match), masked), count


def _leads_to(url: str, accounts: frozenset[str]) -> bool:
    return any(url == account or url.startswith(account + "/") for account in accounts)


def read_plain(text: str, accounts: frozenset[str] = frozenset()) -> Reading:
    """A plain text. Links are the http addresses in it that name no account."""
    masked, count = mask(clean(text), accounts)
    return Reading(masked, list(dict.fromkeys(_URL.findall(masked))), count)


def read_html(markup: str, accounts: frozenset[str] = frozenset()) -> Reading:
    """A text in HTML: blocks become lines, an anchor its address, a mention the placeholder, and no entity is
    resolved from anywhere."""
    if "<" not in markup and "&" not in markup:
        return read_plain(markup, accounts)
    prepared = clean(markup)
    if not prepared:
        return Reading("")
    try:
        root = html.fragment_fromstring(prepared, create_parent="div", parser=html.HTMLParser(no_network=True))
    except (etree.ParserError, etree.XMLSyntaxError, ValueError):
        return read_plain(re.sub(r"<[^>]*>", " ", prepared), accounts)
    walk = _Walk(accounts)
    walk.element(root)
    lines = [" ".join(line.split()) for line in "".join(walk.pieces).split("\n")]
    text = re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip()
    masked, count = mask(clean(text), accounts)
    links = [link for link in dict.fromkeys(walk.links) if not names_account(link) and not _leads_to(link, accounts)]
    return Reading(masked, links, walk.mentions + count)


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
            self.pieces.append(MENTION)
            return True
        if not href.lower().startswith(("http://", "https://")):
            return False
        self.links.append(href)
        bare = shown.removesuffix("…").removesuffix("...")
        self.pieces.append(href if not bare or bare in href else f"{shown} ({href})")
        return True
