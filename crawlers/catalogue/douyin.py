"""Douyin: share pages of videos and notes."""

from crawlers.catalogue.about import About, SourceKind, filled, findings, remarks

ABOUT = About(
    name="douyin",
    title="Douyin",
    home="https://www.iesdouyin.com",
    kinds=(SourceKind("videos", "a list of share pages of videos and notes", urls=True, order="none"),),
    paging="one address after another",
    clock="`create_time`",
    fills=filled(
        "author url created_at title warning sensitive text hashtags mention_count links media likes reposts replies"
        " views platform_labels"
    ),
    notes=remarks(views="a count of 0 is none", warning="`risk_infos`", platform_labels="`risk_infos`"),
    costs="free",
    terms="many readers are shown a script page or a captcha instead, which is a gap",
    removals=findings(
        removed_by_author="a phrase of `filter_list`",
        removed_by_platform="a phrase of `filter_list`; of the account too",
        account_gone="a phrase of `filter_list`",
        restricted="`status_self_see`, or a phrase of `filter_list`",
        unknown="an empty `item_list` without a phrase that tells a cause; script page, captcha",
    ),
    verified=("recording", "documentation"),
)
