"""The process that visits the posts of hosts again, as `read_hosts.py` reads them: a job in JSON on standard input.

Started by `pipelines.recheck` as `python -P -m pipelines.recheck_hosts`.
"""

import sys
from pathlib import Path
from typing import Any

from crawlers.revisit import revisit
from crawlers.settings import CrawlSettings
from pipelines.archive import reopen_archive, software
from pipelines.keys import key_for
from pipelines.lease import Lease
from pipelines.read_hosts import Say, alone_at, serve
from pipelines.recheck_rounds import PROBE, Round, RoundSettings, RoundVisits, plans_of


def main() -> int:
    """Runs one job."""
    return serve(_visit)


def _visit(job: dict[str, Any], say: Say) -> None:
    names = key_for(Path(job["archive"]))
    store = reopen_archive(Path(job["archive"]), job["lease_name"], names.fingerprint)
    of, number = Round(job["sweep"], job["round"]), job["number"]
    settings = RoundSettings(store, of, number, Lease(job["lease_name"], job["lease_token"]), say)
    plans = {plan.source: plan for plan in plans_of(store, of, number) if plan.group in job["groups"]}
    crawling = CrawlSettings(
        contact=job["contact"],
        version=software()["postsweep"],
        delay_seconds=job["delay_seconds"],
        retries=job["retries"],
    )
    hosts = {names.link(source.authority) for source in plans}
    with alone_at(store, hosts, lambda: say({"waits": True})) as take:
        revisit(
            list(plans),
            crawling,
            lambda source: RoundVisits(settings, plans[source]),
            lambda authority: take(names.link(authority)),
            probing=number == PROBE,
        )


if __name__ == "__main__":
    sys.exit(main())
