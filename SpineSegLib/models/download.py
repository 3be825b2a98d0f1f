"""Fetching one file over https, because the user asked: never over http, not even after a redirect."""

from __future__ import annotations

import queue
import threading
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

from SpineSegLib.errors import problem
from SpineSegLib.progress import Progress

TIMEOUT = 30.0
"""Seconds without a byte after which the other side is given up."""

_BLOCK = 1 << 20
_LOOK = 0.2  # seconds between two looks at whether the user cancelled


class SecureRedirects(urllib.request.HTTPRedirectHandler):
    """Follows a redirect to https only; any other is refused before it is asked."""

    def redirect_request(self, req, fp, code, msg, headers, newurl):
        if not newurl.lower().startswith("https://"):
            raise problem(
                req.full_url, "a redirect to an insecure address", "https", "Ask the source for another address"
            )
        found = super().redirect_request(req, fp, code, msg, headers, newurl)
        if found is not None and req.get_method() == "HEAD":
            found.method = "HEAD"  # Python before 3.13 would go on with GET, and the file would come
        return found


def open_https(request: urllib.request.Request, timeout: float):
    """Send a request and return the answer, as `urllib.request.urlopen` does; proxies of the system are used."""
    return urllib.request.build_opener(SecureRedirects()).open(request, timeout=timeout)


def is_address(source: str | Path) -> bool:
    """Return whether a source is an address; InputError when it is one that is not https."""
    text = str(source)
    if "://" not in text:
        return False
    if not text.lower().startswith("https://"):
        raise problem(text, "an address that is not https", "https or a file", "Download it yourself and name the file")
    return True


def remote_size(address: str, open_: Callable | None = None) -> int | None:
    """Ask for the size of what lies at an address, in bytes, without fetching it; None when the other side is silent.

    Raises
    ------
    InputError : the address cannot be reached, or it leads to an insecure one
    """
    request = urllib.request.Request(address, method="HEAD")
    try:
        with (open_ or open_https)(request, TIMEOUT) as answer:
            return _length(answer)
    except urllib.error.HTTPError as error:
        if error.code in (403, 405, 501):  # there are sites that answer nothing but GET
            return None
        raise _failed(address, error) from error
    except (OSError, ValueError) as error:
        raise _failed(address, error) from error


def fetch(
    address: str, target: Path, report: Progress, *, limit: int | None = None, open_: Callable | None = None
) -> None:
    """Write what lies at an address to a file.

    Parameters
    ----------
    address : https
    target : file to write; the caller removes it when this raises
    report : told about megabytes; what it raises ends the download at once, even while the other side is silent
    limit : bytes after which it cannot be the file that was meant
    open_ : ``open_(request, seconds)`` sends a request; `open_https` unless given

    Raises
    ------
    InputError : it cannot be reached, an insecure redirect, or fewer or more bytes than announced
    """
    blocks: queue.Queue = queue.Queue(maxsize=4)
    left = threading.Event()
    # Only this thread waits for the network, so that cancelling and the file stay in the caller's hands.
    threading.Thread(target=_receive, args=(address, blocks, left, open_ or open_https), daemon=True).start()
    what, of, done = f"downloading {Path(address).name}", 0, 0
    try:
        with target.open("wb") as file:
            while True:
                try:
                    block = blocks.get(timeout=_LOOK)
                except queue.Empty:
                    block = b""
                if isinstance(block, Exception):
                    raise block
                if block is None:
                    break
                if isinstance(block, int):
                    of, block = block, b""
                done += len(block)
                if limit is not None and max(of, done) > limit:
                    raise problem(address, f"{max(of, done)} bytes", f"{limit} bytes", "Check the address")
                file.write(block)
                report(done >> 20, max(of >> 20, done >> 20), what)
    finally:
        left.set()
    if of and done != of:
        raise problem(address, f"the download ended after {done} bytes", f"{of} bytes", "Try again")


def _receive(address: str, blocks: queue.Queue, left: threading.Event, open_: Callable) -> None:
    """Put the announced length, the blocks, then None, or an exception, into a queue until nobody wants them."""

    def put(item) -> bool:
        while not left.is_set():
            try:
                blocks.put(item, timeout=_LOOK)
            except queue.Full:
                continue
            return True
        return False

    try:
        with open_(urllib.request.Request(address), TIMEOUT) as answer:
            put(_length(answer) or 0)
            while (block := answer.read(_BLOCK)) and put(block):
                pass
        put(None)
    except (OSError, ValueError) as error:
        put(_failed(address, error))
    except Exception as error:
        put(error)


def _length(answer) -> int | None:
    # Content-Length counts bytes as sent, which are others than those of the file when they are compressed.
    text = answer.headers.get("Content-Length") or ""
    return int(text) if text.isdigit() and not answer.headers.get("Content-Encoding") else None


def _failed(address: str, error: Exception) -> Exception:
    return problem(address, f"download failed ({error})", "a file", "Check the network, or install from a file")
