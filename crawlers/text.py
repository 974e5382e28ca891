"""Plain text out of what platforms send: markup removed, link targets kept, mentions replaced, NFC, no controls.

Pure functions. What names an account (handles, DIDs, profile addresses) becomes the placeholder `@user`.
"""

import re
import unicodedata
from contextlib import suppress
from dataclasses import dataclass, field
from html import unescape
from typing import Any
from urllib.parse import unquote, urljoin, urlsplit

from lxml import etree, html

MENTION = "@user"
MARK = "\x00"
"""Stands for a placeholder until `mask` has written it: no text that was cleaned holds it, so that no name can be read
into what follows a mention without a space."""
END = "\x01"
"""Stands after an address that was written into a text, until `part_addresses` has parted it from what follows."""

_BLOCKS = {"p", "div", "br", "ul", "ol", "dl", "blockquote", "pre", "table", "hr", "section", "article", "aside"}
_BLOCKS |= {"h1", "h2", "h3", "h4", "h5", "h6", "header", "footer", "nav", "figure", "figcaption", "main", "details"}
_LINES = {"li", "tr", "dt", "dd", "summary", "br", "hr"}
"""Begin a line, and leave no empty one behind."""
_UNSHOWN = re.compile(r"<(script|style|template|noscript)\b.*?(?:</\1\s*>|$)", re.DOTALL | re.IGNORECASE)
_HIDDEN = {"script", "style", "template", "noscript", "head", "title", "object", "iframe"}
_PICTURED = {"emoji", "custom-emoji", "wp-smiley"}
"""Classes of pictures that stand for a character, which is their alternative text."""
_NAMED = {"mention", "tumblelog", "tumblr_blog"}
"""Classes of anchors whose words are a name, whatever their address tells."""

# No address goes on over these, as nothing else parts words in Chinese and Japanese; nor does it end in punctuation.
_STOP = r"\s<>\"'（）「」『』【】《》，。、！？；：()"
_LAST = rf"{_STOP}.,;:!?\]*…"
_URL = rf"https?://(?:[^{_STOP}]|\([^{_STOP}]*\))*(?:[^{_LAST}]|\([^{_STOP}]*\))"
_BLOG = r"(?<![A-Za-z0-9_@/.:-])(?!(?:www|api|assets|embed|at)\.)[A-Za-z0-9-]+\.tumblr\.com"
_HOST = r"(?<![A-Za-z0-9_@/.:-])(?:[A-Za-z0-9-]+\.)+"
_BARE = rf"{_HOST}[A-Za-z]{{2,}}/(?:[^{_STOP}]*[^{_LAST}])?"
# ASCII where there is any: a name is not read into Chinese or Japanese that follows it.
_SCHEMED = (
    r"(?:(?:at://|acct:)(?:[!#-&(-;=?-~]+|[^\s<>\"'，。]+)|did:[a-z]+:[A-Za-z0-9._:%-]+(?:/[\w.~/-]+)?)(?<![.,;:!?)])"
)
_NAME = r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]*[A-Za-z0-9_])?"
# A name in Latin letters ends where other scripts begin; a name that begins in another script runs to the next space.
# What stands before must not make it the rest of a mail address.
_HANDLE = rf"(?<![A-Za-z0-9_@＠])[@＠]+(?:{_NAME}|\w+)(?:@{_NAME})*"
_TARGET = re.compile(
    rf"(?P<url>{_URL})|(?P<account>{_SCHEMED}|{_HOST}bsky\.social\b(?!/)|{_BLOG}\b(?!/)|{_HANDLE})|(?P<bare>{_BARE})",
    re.IGNORECASE,
)
_HINT = re.compile(r"[@＠/:]|bsky\.social|\.tumblr\.com", re.IGNORECASE)
"""What a line holds that `_TARGET` finds anything in: most lines have none, and are told in a tenth of the time."""
_ADDRESS = re.compile(_URL, re.IGNORECASE)
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
"""The category Cc of Unicode but tab and line break."""
_WHOLE_HANDLE = re.compile(_HANDLE)
_ASCII = re.compile(r"[!-~]*")
_READ_INTO = re.compile(rf"{END}(?=[.,;:!?]*[^{_LAST}])")

_PROFILE = re.compile(r"^/(?:web/)?@[^/]|^/(?:users|profile|user|ap/users)/[^/]+|^/u/(?!\d(?:/|$))[^/]+", re.IGNORECASE)
_FIRST = r"^/(?!(?:hashtag|search|explore|intent|share|home|i|p|tv|reels?|about)(?:/|$))\w+"
_CHANNEL = r"^/(?!(?:joinchat|addstickers|addemoji|addtheme|addlist|setlanguage|share|proxy|socks|iv|bg)(?:/|$))\w+"
_PROFILE_OF = {
    "youtube.com": re.compile(r"^/(?:c|channel)/[^/]+"),
    "x.com": re.compile(_FIRST),
    "twitter.com": re.compile(_FIRST),
    "instagram.com": re.compile(_FIRST),
    "facebook.com": re.compile(r"^/(?:profile\.php|people/)"),
    "weibo.com": re.compile(r"^/(?:n/[^/]|\d{5,}|\w{4,}/?$)"),
    "weibo.cn": re.compile(r"^/(?:n|profile)/[^/]"),
    "t.me": re.compile(_CHANNEL),
    "telegram.me": re.compile(_CHANNEL),
    "tmblr.co": re.compile(r"^/m[\w-]{10,}"),
    "iesdouyin.com": re.compile(r"^/share/user/"),
    "tumblr.com": re.compile(
        r"^/(?!(?:tagged|explore|search|dashboard|communities|docs|policy|about|login|register)(?:/|$))[@\w-]+"
    ),
}
"""Paths that name an account on one site only: elsewhere `/c/economy` is a part of a newspaper."""
# An address can carry another one, or a name: viewers, previews and proxies of posts and pictures do. A place on a map
# is no name.
_CARRIED = re.compile(
    r"/@(?=[^/])(?!-?\d+\.\d+,)|[?&=]@\w|at://|did:[a-z]+:|acct:|bsky\.app/profile/|\.bsky\.social\b"
    r"|/users/[^/]+/statuses/|//\w+\.t\.me\b|[?&]__biz="
    r"|//(?!(?:www|api|assets|embed|at)\.)[\w-]+\.tumblr\.com\b",
    re.IGNORECASE,
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
    return unicodedata.normalize("NFC", _CONTROLS.sub("", well_formed(lines)))


def well_formed(text: str) -> str:
    """A string that UTF-8 can hold: surrogates that stand alone are replaced."""
    if text.isascii():
        return text
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def names_account(url: str) -> bool:
    """Whether an address leads to a profile, or to a post whose address names its author."""
    try:
        parts = urlsplit(url)
        host = (parts.hostname or "").removeprefix("www.").removeprefix("mobile.").removeprefix("m.")
    except ValueError:
        return True
    path = unquote(parts.path)
    return (
        parts.scheme in ("at", "did", "acct")
        or "@" in parts.netloc
        or _PROFILE.search(path) is not None
        or (host in _PROFILE_OF and _PROFILE_OF[host].search(path) is not None)
        or _CARRIED.search(unquote(url)) is not None
    )


def is_web(url: str) -> bool:
    """Whether an address is one of the web."""
    return url.lower().startswith(("http://", "https://"))


def mask(text: str, accounts: frozenset[str] = frozenset()) -> tuple[str, int]:
    """Replaces handles, DIDs, profile addresses and the addresses in `accounts`; returns how many there were.

    Placeholders that stand in the text already stay, whatever follows them, and are not counted.
    """
    count = 0

    def masked(match: re.Match[str]) -> str:
        nonlocal count
        found, scheme = match[0], "" if match["url"] else "https://"
        if match["account"]:
            count += found != MENTION
            return MENTION
        # What follows an address in another script without a space is no part of it, unless it is the name.
        ascii_part = _ASCII.match(found)
        for part in dict.fromkeys((ascii_part[0] if ascii_part else "", found)):
            if part and (names_account(scheme + part) or _leads_to(scheme + part, accounts)):
                count += 1
                return MENTION + found[len(part) :]
        return found

    def line_masked(line: str) -> str:
        return line if _HINT.search(line) is None else _TARGET.sub(masked, line)

    # Nothing that is found goes over the end of a line.
    pieces = ("\n".join(map(line_masked, piece.split("\n"))) for piece in text.split(MARK))
    whole = MENTION.join(pieces)
    return whole, count


def _leads_to(url: str, accounts: frozenset[str]) -> bool:
    return bool(accounts) and any(url == account or url.startswith(account + "/") for account in accounts)


def part_addresses(text: str) -> str:
    """A space after an address that was written in (`END`), where what follows would be read into it."""
    return _READ_INTO.sub(" ", text).replace(END, "")


def read_plain(text: str, accounts: frozenset[str] = frozenset()) -> Reading:
    """A plain text. Links are the http addresses in it that name no account."""
    masked, count = mask(clean(text), accounts)
    return Reading(masked, links_in(masked), count)


def links_in(text: str) -> list[str]:
    """The http addresses in a plain text that name no account, once each."""
    found = _ADDRESS.findall(text) if "://" in text else ()
    return [link for link in dict.fromkeys(found) if not names_account(link)]


def shows_address(shown: str, address: str) -> bool:
    """Whether the words of a link are its address, whole or shortened, so that only the address need be written."""
    bare = shown.removesuffix("…").removesuffix("...").lower()
    whole = address.lower()
    starts = {whole, *(whole.removeprefix(scheme).removeprefix("www.") for scheme in ("https://", "http://"))}
    starts |= {start.removeprefix("https://").removeprefix("http://") for start in starts}
    return not bare or (("." in bare or "/" in bare) and any(start.startswith(bare) for start in starts))


def account_words(shown: str, address: str) -> str:
    """What is written of a link that names an account: the placeholder (`MARK`), after the words of the link unless
    they are its address or the name in it."""
    name = shown.strip("@＠ ").casefold().partition("@")[0]
    told = unquote(address).casefold()
    names = {*re.split(r"[/@?=&#]+", told), *re.split(r"[/@?=&#.]+", told)}
    return MARK if not name or name in names or shows_address(shown, address) else f"{shown} ({MARK})"


def read_html(
    markup: str, accounts: frozenset[str] = frozenset(), *, base: str = "", unshown: frozenset[str] = frozenset()
) -> Reading:
    """A text in HTML: blocks become lines, an anchor its address, a mention the placeholder, and no entity is
    resolved from anywhere. Addresses are relative to `base`; elements of the classes in `unshown` are left out."""
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
    walk = _Walk(accounts, base, unshown)
    walk.element(root)
    lines = [" ".join(line.split()) for line in part_addresses("".join(walk.pieces)).split("\n")]
    text = re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip()
    masked, count = mask(MARK.join(tidy(piece) for piece in text.split(MARK)), accounts)
    links = [link for link in dict.fromkeys(walk.links) if not names_account(link) and not _leads_to(link, accounts)]
    return Reading(masked, links, walk.mentions + count)


def _stripped(markup: str, accounts: frozenset[str]) -> Reading:
    return read_plain(unescape(re.sub(r"<[^<>]*>", " ", _UNSHOWN.sub(" ", markup))), accounts)


class _Walk:
    """Collects the text of a tree, without recursion into what is hidden."""

    def __init__(self, accounts: frozenset[str], base: str, unshown: frozenset[str]) -> None:
        self.accounts = accounts
        self.base = base
        self.unshown = unshown
        self.pieces: list[str] = []
        self.links: list[str] = []
        self.mentions = 0

    def element(self, root: Any) -> None:
        """Walks iteratively: markup may be nested deeper than the interpreter's stack. White space counts as one
        space, but in `pre`, where a line is a line."""
        stack: list[tuple[Any, bool, bool]] = [(root, False, False)]
        while stack:
            node, leaving, kept = stack.pop()
            if leaving:
                self.pieces.append(" " if node.tag in ("td", "th") else "\n" if node.tag in _BLOCKS - _LINES else "")
                self.told(node.tail if node is not root else "", kept)
                continue
            if not self.shown(node) or (node.tag == "a" and self.anchor(node)):
                self.told(node.tail, kept)
                continue
            if node.tag in _BLOCKS | _LINES:
                self.pieces.append("\n")
            inside = kept or node.tag == "pre"
            self.told(self.pictured(node) if node.tag == "img" else node.text, inside)
            stack.append((node, True, kept))
            stack += [(child, False, inside) for child in reversed(node)]

    def told(self, text: str | None, kept: bool) -> None:
        """Adds a piece of text."""
        self.pieces.append(text or "" if kept else re.sub(r"\s+", " ", text or ""))

    def shown(self, node: Any) -> bool:
        """Whether an element is one, and shows."""
        return isinstance(node.tag, str) and node.tag not in _HIDDEN and not self.unshown & set(_classes(node))

    def pictured(self, node: Any) -> str:
        """The character that a picture stands for."""
        return node.get("alt") or "" if _PICTURED & set(_classes(node)) else ""

    def anchor(self, node: Any) -> bool:
        """Writes an anchor in place of its content: a mention, a tag, a bare address or `words (address)`."""
        href, classes = (node.get("href") or "").strip(), _classes(node)
        blocks = any(child.tag in _BLOCKS | _LINES for child in node.iter())
        shown = " ".join((" ".join(node.itertext()) if blocks else node.text_content()).split())
        rel = (node.get("rel") or "").split()
        if "hashtag" in classes or (shown.startswith("#") and ("tag" in rel or " " not in shown)):
            self.pieces.append(shown)
            return True
        with suppress(ValueError):  # what cannot be joined stays as it is
            href = urljoin(self.base, href) if href else ""
        told = bool(_NAMED & set(classes)) or _WHOLE_HANDLE.fullmatch(shown) is not None
        if told or (href and (_leads_to(href, self.accounts) or names_account(href))):
            self.mentions += 1
            told = self.unsigned() or told
            self.pieces.append(MARK if told else account_words(shown, href))
            return True
        if not is_web(href):
            return False
        self.links.append(href)
        self.pieces.append(href + END if shows_address(shown, href) else f"{shown} ({href})")
        return True

    def unsigned(self) -> bool:
        """Takes back the sign of a mention, which some servers write before the anchor; whether there was one."""
        while self.pieces and not self.pieces[-1]:
            self.pieces.pop()
        if not self.pieces or not self.pieces[-1].endswith(("@", "＠")):
            return False
        self.pieces[-1] = self.pieces[-1][:-1]
        return True


def _classes(node: Any) -> list[str]:
    return (node.get("class") or "").split()
