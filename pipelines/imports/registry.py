"""All kinds of captures that need no map file."""

from pipelines.imports.kinds import ImportKind
from pipelines.imports.saved_pages import DOUYIN, WECHAT
from pipelines.imports.warc import WARC

KINDS: dict[str, ImportKind] = {
    kind.name: kind
    for kind in (
        WARC,
        WECHAT,
        DOUYIN,
    )
}  # fmt: skip
