"""WeChat: articles of official accounts, by their addresses."""

from crawlers.catalogue.about import About, SourceKind, filled, findings, remarks

ABOUT = About(
    name="wechat",
    title="WeChat articles",
    home="https://mp.weixin.qq.com",
    kinds=(SourceKind("articles", "a list of articles", urls=True, order="none"),),
    paging="one address after another",
    clock="`ct`",
    fills=filled(
        "author url created_at title text truncated repost_of hashtags mention_count links media platform_labels"
    ),
    notes=remarks(
        author="the official account, not the byline",
        truncated="entries of a saved list of an account hold a digest only",
        links="`阅读原文` too",
        platform_labels="`原创`, the region of the IP address",
    ),
    costs="free",
    terms="public pages; an account's list of articles is not, so addresses come from elsewhere",
    removals=findings(
        removed_by_author="`该内容已被发布者删除`",
        removed_by_platform="a violation page, or one that says that the account is frozen or blocked",
        account_gone="the account is closed, and no violation is told",
        restricted="the author shows it to some only",
        unknown="`环境异常`, or another verification",
    ),
    verified=("recording", "documentation"),
)
