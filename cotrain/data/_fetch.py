"""Files from the web: an interruption costs little, and a damaged file is never taken for a whole one."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import http.client
import json
import logging
import os
import re
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tqdm import tqdm

from cotrain.data._unpack import check_free, gunzip, unpack, written
from cotrain.errors import DataError

__all__ = ["check_free", "download", "gunzip", "only_one", "unpack"]

log = logging.getLogger(__name__)

CHUNK = 1 << 18
LONGEST_PAUSE = 60.0
CHECKSUM = re.compile(r"md5:[0-9a-f]{32}|sha256:[0-9a-f]{64}|git:[0-9a-f]{40}|")
NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)
Pause = Callable[[float], object]


def download(
    url: str,
    path: str | Path,
    *,
    size: int | None = None,
    checksum: str = "",
    progress: bool = False,
    timeout: float = 30.0,
    tries: int = 5,
    pause: Pause = time.sleep,
) -> Path:
    """Fetch one file; what an earlier, interrupted call has brought is kept in `<name>.part` and gone on from.

    A file that is already there, and right, is left alone without a request.

    Args:
        url: http or https; redirects may not lead elsewhere, nor from https to http.
        path: Where the file goes. It appears there only when it is whole.
        size: Exact number of bytes, where known.
        checksum: `md5:...`, `sha256:...` or `git:...` (a blob's SHA-1), in hexadecimal; "" checks nothing.
        progress: Show a bar.
        timeout: Seconds without a byte after which a connection counts as broken.
        tries: Attempts in a row that bring nothing new before giving up; one that gets further starts the count anew.
        pause: Called with the seconds to wait between attempts.

    Raises:
        DataError: The file cannot be fetched or written, or is another one than expected.
    """
    path, checksum = Path(path), checksum.lower()
    if not CHECKSUM.fullmatch(checksum):
        raise DataError(f"A checksum must be md5:, sha256: or git: and its hexadecimal digits, found {checksum!r}.")
    _check_url(url)
    # before the lock, too: a shared data folder may be one that this user cannot write to
    if _already_there(path, size, checksum):
        return path
    with written(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    with only_one(path):
        if not _already_there(path, size, checksum):
            _Transfer(url, path, size, checksum, progress, timeout).run(tries, pause)
    return path


@contextlib.contextmanager
def only_one(path: Path) -> Iterator[None]:
    """Wait until no other process (or thread) is in such a block for the same path; a killed one does not block."""
    lock = path.with_name(f".{path.name}.lock")
    while True:
        with written(lock):
            handle = os.open(lock, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            _wait_for(handle, path)
            # the one before removed the file that was waited for: a third may hold a new one
            ours = os.path.samestat(os.fstat(handle), lock.stat())
        except FileNotFoundError:
            ours = False
        except BaseException:
            os.close(handle)
            raise
        if ours:
            break
        os.close(handle)
    try:
        yield
    finally:
        lock.unlink(missing_ok=True)
        os.close(handle)


def _wait_for(handle: int, path: Path) -> None:
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            log.warning("another process is fetching %s: waiting for it", path)
            fcntl.flock(handle, fcntl.LOCK_EX)
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise
        log.warning("the file system of %s has no locks: do not fetch there from two processes at once", path)


class _Again(Exception):
    """An attempt failed in a way that may pass."""

    def __init__(self, problem: object, wait: float = 0.0) -> None:
        super().__init__(str(problem) or type(problem).__name__)
        self.wait = wait


class _Redirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        try:
            _check_url(newurl, after=req.full_url)
        except DataError:
            fp.close()
            raise
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _opener() -> urllib.request.OpenerDirector:
    opener = urllib.request.OpenerDirector()  # not build_opener, which adds file:, ftp: and data:
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(),
        _Redirects(),
    ):
        opener.add_handler(handler)
    return opener


class _Transfer:
    """One file on its way: `<name>.part` holds what came, `<name>.part.json` of what version on the server it is."""

    def __init__(self, url: str, path: Path, size: int | None, checksum: str, progress: bool, timeout: float) -> None:
        self.url, self.path, self.size, self.checksum = url, path, size, checksum
        self.progress, self.timeout = progress, timeout
        self.part, self.note = path.with_name(path.name + ".part"), path.with_name(path.name + ".part.json")
        self.opener = _opener()

    def run(self, tries: int, pause: Pause) -> None:
        furthest, failed = self._held(), 0
        while not self._attempt_ends():
            if self._held() > furthest:
                furthest, failed = self._held(), 0
            failed += 1
            if failed >= tries:
                raise DataError(
                    f"{self.url} could not be fetched: {self.problem} (attempts in a row: {failed}). "
                    f"{self._held()} bytes are kept: once the network is back, run the same again to go on from there."
                ) from None
            wait = min(max(2.0 ** (failed - 1), self.problem.wait), LONGEST_PAUSE)
            log.info("%s: %s; next attempt in %g s", self.url, self.problem, wait)
            pause(wait)
        self._finish()

    def _attempt_ends(self) -> bool:
        try:
            self._attempt()
        except _Again as problem:
            self.problem = problem
            return False
        return True

    def _attempt(self) -> None:
        offset, known = self._state()
        if offset and offset in (self.size, known.get("total")):
            return  # killed after the last byte
        headers = {"User-Agent": "cotrain"}
        if offset:
            headers["Range"] = f"bytes={offset}-"
            if validator := known.get("etag") or known.get("modified"):
                headers["If-Range"] = validator
        try:
            with self.opener.open(urllib.request.Request(self.url, headers=headers), timeout=self.timeout) as answer:
                self._receive(answer, offset, known)
        except urllib.error.HTTPError as error:
            with error:  # it holds the connection
                self._refused(error, offset)
        except http.client.InvalidURL as error:
            raise DataError(f"{self.url!r} is no valid URL: {error}.") from None
        except (OSError, http.client.HTTPException) as error:
            reason = getattr(error, "reason", error)
            if isinstance(reason, ssl.SSLCertVerificationError):
                raise DataError(
                    f"{self.url}: the server's certificate is not trusted: {reason.verify_message}. "
                    "Check this machine's clock and certificates (SSL_CERT_FILE)."
                ) from None
            raise _Again(reason) from None

    def _receive(self, answer: http.client.HTTPResponse, offset: int, known: dict[str, Any]) -> None:
        etag, modified = answer.headers.get("ETag", ""), answer.headers.get("Last-Modified", "")
        length = answer.headers.get("Content-Length", "")
        if answer.status == 206:
            start, total = _content_range(answer.headers.get("Content-Range", ""))
            # a server may know ranges but no If-Range; and with If-Range it may leave these two out
            told = (("etag", _strong(etag)), ("modified", modified))
            same = all(not now or known.get(name) in ("", now) for name, now in told)
            if not offset or start != offset or not same or known.get("total") not in (None, total):
                self._discard()
                raise _Again("the server sent another range than asked for, or the file there has changed")
        elif answer.status == 200:
            if offset:
                log.info("%s: the server cannot go on from byte %d, or the file there has changed", self.url, offset)
            offset, total = 0, int(length) if length.isdecimal() else None
            self._discard()
            notes = {"url": self.url, "etag": _strong(etag), "modified": modified, "total": total}
            with written(self.path):
                self.note.write_text(json.dumps(notes), encoding="utf-8")
        else:
            raise DataError(f"{self.url} answers {answer.status} {answer.reason}, expected a file.")
        if None not in (self.size, total) and total != self.size:
            self._discard()
            raise DataError(
                f"{self.url} has {total} bytes, expected {self.size}: the file there has changed. "
                "Look on the origin's page whether there is a new version."
            )
        if total is not None:
            check_free(self.path.parent, total - offset)
        self._copy(answer, offset, total)

    def _copy(self, answer: http.client.HTTPResponse, offset: int, total: int | None) -> None:
        name = self.path.name
        bar = tqdm(total=total, initial=offset, desc=name, unit="B", unit_scale=True, disable=not self.progress)
        with bar, written(self.path), self.part.open("ab") as file:
            while total is None or offset < total:
                try:
                    # read1, not read: what came before a connection broke is not lost
                    chunk = answer.read1(CHUNK if total is None else min(CHUNK, total - offset))
                except (OSError, http.client.HTTPException) as error:
                    raise _Again(error) from None
                if not chunk:
                    break
                file.write(chunk)
                file.flush()  # of a killed process, too, all is kept
                offset += len(chunk)
                bar.update(len(chunk))
        if total is not None and offset < total:
            raise _Again(f"the connection ended after {offset} of {total} bytes")

    def _refused(self, error: urllib.error.HTTPError, offset: int) -> None:
        if error.code == 416 and offset:
            total = _content_range(error.headers.get("Content-Range", ""))[1]
            if total == offset or (total is None and self.checksum and not self._difference()):
                return
            self._discard()
            raise _Again("the server has fewer bytes than have come already: the file there has changed")
        if error.code >= 500 or error.code in (408, 425, 429):
            wait = error.headers.get("Retry-After", "")
            raise _Again(f"the server answers {error.code} {error.reason}", float(wait) if wait.isdecimal() else 0.0)
        advice = {
            401: "It wants a login: fetch the file by hand.",
            403: "It may want a registration, or refuse this network: try the address in a browser.",
            404: "The file was moved or withdrawn: look for it on the origin's page.",
            410: "The file was withdrawn: look for it on the origin's page.",
        }
        raise DataError(
            f"{self.url} answers {error.code} {error.reason}. {advice.get(error.code, 'Try the address in a browser.')}"
        )

    def _held(self) -> int:
        return self.part.stat().st_size if self.part.exists() else 0

    def _state(self) -> tuple[int, dict[str, Any]]:
        """How many bytes can be gone on from, and what is known of the file that they belong to."""
        known: Any = None
        with contextlib.suppress(OSError, ValueError):
            known = json.loads(self.note.read_text(encoding="utf-8"))
        usable = isinstance(known, dict) and known.get("url") == self.url
        # without any of the three, pieces of two versions could be joined
        usable = usable and bool(known["etag"] or known["modified"] or self.checksum)
        if not usable or (self.size is not None and self._held() > self.size):
            self._discard()
            return 0, {}
        return self._held(), known

    def _discard(self) -> None:
        with written(self.path):
            self.part.unlink(missing_ok=True)
            self.note.unlink(missing_ok=True)

    def _difference(self) -> str:
        return _difference(self.part, self.size, self.checksum)

    def _finish(self) -> None:
        with written(self.path):
            self.part.touch()  # of an empty file, nothing came
            if difference := self._difference():
                self._discard()
                raise DataError(
                    f"{self.url} came as another file: {difference}. It was deleted. Run the same again; if that does "
                    "not help, the file there has changed, or something on the way replaces it (a login page?)."
                )
            with self.part.open("rb") as file:
                os.fsync(file.fileno())
            self.part.replace(self.path)
            self.note.unlink(missing_ok=True)
            folder = os.open(self.path.parent, os.O_RDONLY)
            try:
                os.fsync(folder)  # the rename itself
            finally:
                os.close(folder)


def _check_url(url: str, after: str = "") -> None:
    scheme = urlsplit(url).scheme.lower()
    if scheme not in ("http", "https") or not urlsplit(url).hostname:
        origin = f"{after} redirects to {url!r}, but" if after else f"{url!r} cannot be fetched:"
        raise DataError(f"{origin} only http:// and https:// addresses are followed.")
    if scheme == "http" and urlsplit(after).scheme.lower() == "https":
        raise DataError(
            f"{after} redirects to {url!r}, which is not encrypted. Look for the file on the origin's page."
        )


def _content_range(text: str) -> tuple[int | None, int | None]:
    """First byte and number of bytes of the whole, from `bytes 5-9/10` or `bytes */10`."""
    found = re.fullmatch(r"bytes (?:(\d+)-\d+|\*)/(?:(\d+)|\*)", text.strip())
    start, total = found.groups() if found else (None, None)
    return (None if start is None else int(start)), (None if total is None else int(total))


def _strong(etag: str) -> str:
    """A weak ETag says nothing about bytes."""
    return "" if etag.startswith("W/") else etag


def _already_there(path: Path, size: int | None, checksum: str) -> bool:
    if not path.exists():
        return False
    if difference := _difference(path, size, checksum):
        raise DataError(f"{path} exists, but is another file: {difference}. Move or delete it, then fetch again.")
    return True


def _difference(path: Path, size: int | None, checksum: str) -> str:
    """What is wrong with a file; "" where nothing is."""
    found_size = path.stat().st_size
    if size is not None and found_size != size:
        return f"expected {size} bytes, found {found_size}"
    kind, _, expected = checksum.partition(":")
    if not kind:
        return ""
    digest = hashlib.new("sha1" if kind == "git" else kind, usedforsecurity=False)  # FIPS machines forbid md5 else
    if kind == "git":
        digest.update(b"blob %d\0" % found_size)
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
    found = digest.hexdigest()
    return "" if found == expected else f"expected {checksum}, found {kind}:{found}"
