"""A local web server that is asked by https addresses: real requests, answers and redirects, without certificates."""

from __future__ import annotations

import contextlib
import http.client
import threading
import urllib.request
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from SpineSegLib.models.download import SecureRedirects


class PlainHTTPSHandler(urllib.request.HTTPSHandler):
    """Speaks http where https was asked for; everything above is urllib's own."""

    def https_open(self, req):
        return self.do_open(http.client.HTTPConnection, req)


def open_local(request: urllib.request.Request, timeout: float):
    """Stand in for `SpineSegLib.models.download.open_https`; an http address is refused as none would be in a test."""
    assert request.full_url.startswith("https://127.0.0.1:"), request.full_url
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), PlainHTTPSHandler(), SecureRedirects())
    return opener.open(request, timeout=timeout)


@contextlib.contextmanager
def serving(answers: Mapping[str, object]) -> Iterator[tuple[str, list[str]]]:
    """Serve and yield ``(https address, requests so far)``.

    Parameters
    ----------
    answers : path -> bytes; or a string to redirect to, with ADDRESS for the server's own; or ``(bytes, promised)`` to
        promise more bytes than are sent; or an Event, for silence until it is set; anything else is not found
    """
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(f"{self.command} {self.path}")
            answer = answers.get(self.path)
            if isinstance(answer, str):
                self.send_response(302)
                self.send_header("Location", answer.replace("ADDRESS", f"https://127.0.0.1:{server.server_port}"))
                self.end_headers()
                return
            if answer is None:
                self.send_error(404)
                return
            content, promised = answer if isinstance(answer, tuple) else (answer, None)
            silent = isinstance(content, threading.Event)
            self.send_response(200)
            self.send_header("Content-Length", str(promised or (10 if silent else len(content))))
            self.end_headers()
            if self.command == "GET":
                if silent:
                    self.wfile.write(b"12345")
                    self.wfile.flush()
                    content.wait(60)
                else:
                    self.wfile.write(content)

        do_HEAD = do_GET

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"https://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        server.server_close()
