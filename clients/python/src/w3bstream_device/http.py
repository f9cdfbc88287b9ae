"""Sends over HTTP, on a few connections that stay open."""

import http.client
import json
import ssl
import threading
import urllib.parse
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from .outcome import TRANSIENT, Accepted, Later, Refused

MAX_ANSWER_BYTES = 1 << 20


def read_answer(status: int, headers, body: bytes) -> Accepted | Refused | Later:
    """What an answer of `POST …/events` means. What is not the node's own refusal (a proxy's, a 500) is tried again,
    since nothing that could still be delivered is given up."""
    try:
        answer = json.loads(body)
    except ValueError:
        answer = None
    answer = answer if isinstance(answer, dict) else {}
    if status in (200, 201):
        return Accepted(bool(answer.get("duplicate")), str(answer.get("mode", "")), answer.get("results") or [])
    code, detail = str(answer.get("code", f"http-{status}")), str(answer.get("detail", ""))
    final = 400 <= status < 500 and status not in (408, 429) and "code" in answer and code not in TRANSIENT
    if final:
        epoch = answer.get("next_epoch")
        return Refused(code, detail, epoch if isinstance(epoch, int) else None)
    try:
        wait = float(headers.get("Retry-After", 0))
    except ValueError:  # a date, which a node does not send
        wait = 0.0
    return Later(code, detail, wait)


class HttpTransport:
    """`url` is that of the node, such as `http://127.0.0.1:8889`. `connections` is how many messages are under way at a
    time; `timeout` (seconds) is for each step of a request; `context` overrides the TLS settings of an https URL."""

    def __init__(self, url: str, *, connections: int = 4, timeout: float = 30, context: ssl.SSLContext | None = None):
        parts = urllib.parse.urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"{url!r} is no http or https URL")
        self._parts, self._timeout, self._context = parts, timeout, context
        self.window = connections
        self._local, self._links = threading.local(), set()
        self._pool: ThreadPoolExecutor | None = None
        self._path = ""

    def open(self, device) -> None:
        """Called by the device when it starts."""
        self._path = f"{self._parts.path.rstrip('/')}/v1/projects/{urllib.parse.quote(device.project)}/events"
        self._pool = ThreadPoolExecutor(self.window, thread_name_prefix="w3b-http")

    def send(self, entry, content_type: str, done: Callable) -> None:
        """Sends one message and calls `done` with what became of it, from another thread."""
        self._pool.submit(lambda: done(self._post(entry.body, content_type)))

    def tick(self) -> None:
        """Requests end by themselves."""

    def close(self) -> None:
        """Waits for the requests that are under way."""
        if self._pool:
            self._pool.shutdown(wait=True, cancel_futures=True)
        for link in self._links:
            link.close()

    def _connect(self):
        p = self._parts
        if p.scheme == "https":
            return http.client.HTTPSConnection(p.hostname, p.port, timeout=self._timeout, context=self._context)
        return http.client.HTTPConnection(p.hostname, p.port, timeout=self._timeout)

    def _post(self, body: bytes, content_type: str):
        kept = getattr(self._local, "link", None)
        if kept:
            outcome = self._post_on(kept, body, content_type)
            # A connection that was idle may have been closed by the node meanwhile: that is no failure.
            if self._local.link is kept:
                return outcome
        return self._post_on(self._connect(), body, content_type)

    def _post_on(self, link, body: bytes, content_type: str):
        self._local.link = link
        self._links.add(link)
        try:
            link.request("POST", self._path, body, {"Content-Type": content_type})
            answer = link.getresponse()
            data = answer.read(MAX_ANSWER_BYTES + 1)
            if len(data) > MAX_ANSWER_BYTES:
                raise http.client.HTTPException("the answer is above 1 MiB")
            return read_answer(answer.status, answer.headers, data)
        except (OSError, http.client.HTTPException) as error:
            link.close()
            self._links.discard(link)
            self._local.link = None
            return Later("unreachable", f"{type(error).__name__}: {error}")
