"""Which test reads which recording: one that no test reads fails here, so that a new one is not forgotten.

Beside each file stands how many posts and rejects it holds; the test that reads it counts them.
"""

import pytest

from tests import (
    test_discourse,
    test_douyin,
    test_hackernews,
    test_lemmy,
    test_recordings,
    test_reddit,
    test_telegram,
    test_wechat,
    test_weibo,
    test_x,
    test_youtube,
)
from tests.shared_data import SHARED

READ = {
    "bluesky": test_recordings.RECORDS,
    "discourse": test_discourse.RECORDED,
    "douyin": test_douyin.RECORDED,
    "feeds": test_recordings.FEEDS,
    "hackernews": test_hackernews.RECORDED,
    "lemmy": test_lemmy.RECORDED,
    "mastodon": test_recordings.STATUSES,
    "reddit": test_reddit.RECORDED,
    "telegram": test_telegram.RECORDED,
    "twitter_x": test_x.RECORDED,
    "wechat": test_wechat.RECORDED,
    "weibo": test_weibo.RECORDED,
    "youtube": test_youtube.RECORDED,
}


@pytest.mark.skipif(SHARED is None, reason="the recordings are not here")
def test_each_recording_is_read_by_a_test_of_its_platform() -> None:
    there = {str(path.relative_to(test_recordings.RECORDINGS)) for path in test_recordings.RECORDINGS.rglob("*.*")}
    assert there - {"SOURCES.tsv"} == {f"{platform}/{name}" for platform, files in READ.items() for name in files}
