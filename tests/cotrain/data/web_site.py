"""A web server on this machine that misbehaves as told."""

from __future__ import annotations

import re
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

CONTENT = bytes(range(256)) * 4096  # 1 MiB


@dataclass
class Page:
    """What the server answers at one path."""

    content: bytes = CONTENT
    etag: str = '"one"'
    modified: str = ""
    ranges: bool = True  # answers Range with 206
    if_range: bool = True  # minds If-Range
    cuts: list[int] = field(default_factory=list)  # bytes after which the next answers break off
    failures: list[int] = field(default_factory=list)  # statuses of the next answers
    headers: dict[str, str] = field(default_factory=dict)  # more, or other, headers of every answer
    length: int | None = None  # a wrong Content-Length
    chunked: bool = False
    redirect: str = ""
    gate: threading.Event | None = None  # the rest after a cut comes when it opens


@dataclass
class Seen:
    """A request, and how many bytes of content it got."""

    path: str
    headers: dict[str, str]
    sent: int = 0


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        site: Site = self.server.site  # type: ignore[attr-defined]
        seen = Seen(self.path, {name.lower(): value for name, value in self.headers.items()})
        site.seen.append(seen)
        self.close_connection = True
        page = site.pages.get(self.path.split("?")[0])
        if page is None or page.failures:
            self.send_response(page.failures.pop(0) if page else 404)
            for name, value in (page.headers if page else {}).items():
                self.send_header(name, value)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        if page.redirect:
            self.send_response(302)
            self.send_header("Location", page.redirect)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.answer(page, seen)

    def answer(self, page: Page, seen: Seen) -> None:
        start, total = 0, len(page.content)
        asked = re.fullmatch(r"bytes=(\d+)-", seen.headers.get("range", ""))
        fresh = page.if_range and seen.headers.get("if-range", page.etag) not in (page.etag, page.modified)
        if asked and page.ranges and not fresh:
            start = int(asked[1])
            if start >= total:
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{total}")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
        headers = {"ETag": page.etag, "Last-Modified": page.modified}
        if asked and page.ranges and not fresh:
            self.send_response(206)
            headers["Content-Range"] = f"bytes {start}-{total - 1}/{total}"
        else:
            self.send_response(200)
        if page.chunked:
            headers["Transfer-Encoding"] = "chunked"
        else:
            headers["Content-Length"] = str(page.length or total - start)
        for name, value in (headers | page.headers).items():
            if value:
                self.send_header(name, value)
        self.end_headers()
        body, rest = page.content[start:], b""
        if page.cuts:
            cut = page.cuts.pop(0)
            body, rest = body[:cut], body[cut:] if page.gate else b""
        try:
            self.send(body, page, seen)
            if page.gate:
                page.gate.wait(30)
                self.send(rest, page, seen)
            elif page.chunked and len(body) == total:
                self.wfile.write(b"0\r\n\r\n")
        except OSError:
            pass  # the other side was killed

    def send(self, body: bytes, page: Page, seen: Seen) -> None:
        self.wfile.write(b"%x\r\n%b\r\n" % (len(body), body) if page.chunked else body)
        self.wfile.flush()
        seen.sent += len(body)


class Site:
    """A web server on this machine."""

    def __init__(self, **pages: Page) -> None:
        self.pages = {f"/{name}": page for name, page in pages.items()}
        self.seen: list[Seen] = []
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.site = self  # type: ignore[attr-defined]
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01})

    def __enter__(self) -> Site:
        self.thread.start()
        return self

    def __exit__(self, *problem: object) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()

    def url(self, path: str = "file") -> str:
        return f"http://127.0.0.1:{self.server.server_address[1]}/{path}"


class Pauses(list):
    """Stands for time.sleep."""

    def __call__(self, seconds: float) -> None:
        self.append(seconds)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())
