"""All kinds of captures that need no map file."""

from pipelines.imports.car import CAR
from pipelines.imports.kinds import ImportKind
from pipelines.imports.mediacrawler import MEDIACRAWLER
from pipelines.imports.pushshift import PUSHSHIFT
from pipelines.imports.saved_pages import DOUYIN, WECHAT
from pipelines.imports.twarc import TWARC
from pipelines.imports.warc import WARC
from pipelines.imports.weibo import WEIBO_CRAWLER, WEIBO_SEARCH
from pipelines.imports.zeeschuimer import ZEESCHUIMER

KINDS: dict[str, ImportKind] = {
    kind.name: kind
    for kind in (
        WARC,
        PUSHSHIFT,
        TWARC,
        MEDIACRAWLER,
        WEIBO_CRAWLER,
        WEIBO_SEARCH,
        WECHAT,
        DOUYIN,
        ZEESCHUIMER,
        CAR,
    )
}  # fmt: skip
