"""The catalogue of platforms: one module of plain facts each. It imports no parser, so a sweep file is checked fast."""

from crawlers.catalogue import (
    bilibili,
    bluesky,
    discourse,
    douyin,
    feed,
    fourchan,
    hackernews,
    instagram,
    kuaishou,
    lemmy,
    mastodon,
    nostr,
    reddit,
    telegram,
    threads,
    tieba,
    tiktok,
    tumblr,
    wechat,
    weibo,
    x,
    xiaohongshu,
    youtube,
    zhihu,
)
from crawlers.catalogue.about import About

_MODULES = (
    mastodon,
    bluesky,
    lemmy,
    hackernews,
    x,
    youtube,
    reddit,
    tumblr,
    fourchan,
    nostr,
    feed,
    telegram,
    discourse,
    weibo,
    tieba,
    kuaishou,
    zhihu,
    bilibili,
    xiaohongshu,
    wechat,
    douyin,
    tiktok,
    instagram,
    threads,
)

PLATFORMS: dict[str, About] = {module.ABOUT.name: module.ABOUT for module in _MODULES}
"""All platforms, those too that only an import can give."""

LIVE: dict[str, About] = {name: about for name, about in PLATFORMS.items() if about.kinds}
"""Those that can be read."""
