"""A real HTTP server on loopback that answers as a test tells it, and keeps what it was asked."""

import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


@dataclass
class Loopback:
    """What was asked, in order: paths with their queries, headers, and bodies."""

    url: str
    asked: list[str] = field(default_factory=list)
    headers: list[Message] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)


Reply = tuple[int, dict[str, str], bytes]


@contextmanager
def serving(answer: Callable[[str], Reply], host: str = "127.0.0.1", key: Path | None = None) -> Iterator[Loopback]:
    """Serves on a free port until the block ends. `answer` takes the path with its query and gives status, headers and
    body. The length of the body is told as it is, unless the headers tell another. `key` is a file with a key and its
    certificate, for HTTPS."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True  # headers and body are sent apart, and the second would wait for an answer

        def do_HEAD(self) -> None:
            status, headers, body = answer(self.path)
            self.send_response(status)
            for name, value in {"Content-Length": str(len(body)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()

        def do_GET(self) -> None:
            state.asked.append(self.path)
            state.headers.append(self.headers)
            state.bodies.append(self.rfile.read(int(self.headers.get("Content-Length") or 0)))
            status, headers, body = answer(self.path)
            self.send_response(status)
            for name, value in {"Content-Length": str(len(body)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            try:
                self.wfile.write(body)
            except OSError:
                self.close_connection = True

        def do_POST(self) -> None:
            self.do_GET()

        def log_message(self, *_: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        daemon_threads = True

    server = Server((host, 0), Handler)
    if key is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(key)
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    scheme, name = "http" if key is None else "https", f"[{host}]" if ":" in host else host
    state = Loopback(f"{scheme}://{name}:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
