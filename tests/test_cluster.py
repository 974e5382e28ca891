from http.client import HTTPConnection
from urllib.parse import urlsplit

import pytest

from cluster.errors import ClusterError
from cluster.open import ClusterSpec, open_cluster
from cluster.tasks import report, run_tasks


def doubled(number: int) -> int:
    report({"number": number})
    return 2 * number


def test_a_local_cluster_takes_nobody_without_its_certificate_and_serves_no_page() -> None:
    with open_cluster(ClusterSpec(workers=1)) as client:
        assert client.scheduler.address.startswith("tls://127.0.0.1:")
        page = HTTPConnection(urlsplit(client.dashboard_link).netloc, timeout=30)
        for path in ("/status", "/metrics", "/info/main/workers.html", "/health"):
            page.request("GET", path)
            answer = page.getresponse()
            assert (answer.status, len(answer.read()) < 200) == (404, True), path
        told: list[dict[str, object]] = []
        assert sorted(run_tasks(client, doubled, [1, 2, 3], on_event=told.append)) == [(1, 2), (2, 4), (3, 6)]


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("tcp://192.0.2.1:8786", "reached by tls:// only"),
        ("tcp://scheduler.example:8786", "reached by tls:// only"),
        ("127.0.0.1:8786", "not an address such as"),
        ("tls://127.0.0.1", "not an address such as"),
        ("tls://127.0.0.1:9", "no certificates for tls"),
    ],
)
def test_an_address_that_cannot_be_used_is_told(address: str, said: str) -> None:
    with pytest.raises(ClusterError, match=said), open_cluster(ClusterSpec("address", address=address)):
        pass
