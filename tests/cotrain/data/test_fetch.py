"""Interrupted downloads go on, damaged ones never count as whole."""

from __future__ import annotations

import errno
import hashlib
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from web_site import CONTENT, Page, Pauses, Site, names

import cotrain
from cotrain.data import _unpack
from cotrain.data._fetch import _check_url, download, only_one
from cotrain.errors import DataError

MD5 = "md5:" + hashlib.md5(CONTENT).hexdigest()

# the package without what it imports (torch), so that processes start at once
CHILD = """
import logging, sys, types
package = types.ModuleType("cotrain.data")
package.__path__ = [sys.argv[1] + "/data"]
sys.modules["cotrain.data"] = package
from cotrain.data._fetch import download
logging.basicConfig(level=logging.INFO)
download(sys.argv[2], sys.argv[3], checksum=sys.argv[4])
"""


@pytest.fixture
def site(monkeypatch):
    monkeypatch.setenv("no_proxy", "*")
    with Site(file=Page()) as site:
        yield site


@pytest.fixture
def page(site):
    return site.pages["/file"]


def interrupt(site: Site, page: Page, folder: Path) -> None:
    page.cuts = [5000]
    with pytest.raises(DataError):
        download(site.url(), folder / "f", tries=1)


def child(site: Site, path: Path) -> subprocess.Popen:
    package = str(Path(cotrain.__file__).parent)
    command = [sys.executable, "-c", CHILD, package, site.url(), str(path), MD5]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=Path(package).parent)


def wait_until(true) -> None:
    end = time.monotonic() + 60
    while not true():
        assert time.monotonic() < end
        time.sleep(0.005)


@pytest.mark.parametrize("checksum", ["", MD5, "sha256", "git", MD5.upper().replace("MD5", "md5")])
def test_a_file_comes_and_nothing_else_stays(site, tmp_path, checksum):
    if checksum == "sha256":
        checksum = "sha256:" + hashlib.sha256(CONTENT).hexdigest()
    elif checksum == "git":
        checksum = "git:" + hashlib.sha1(b"blob 1048576\0" + CONTENT).hexdigest()
    path = download(site.url(), tmp_path / "new" / "file.bin", size=len(CONTENT), checksum=checksum)
    assert path.read_bytes() == CONTENT and names(path.parent) == ["file.bin"]
    assert "range" not in site.seen[0].headers


def test_git_checksums_are_those_of_git(site, page, tmp_path):
    page.content = b"hello\n"
    download(site.url(), tmp_path / "f", checksum="git:ce013625030ba8dba906f756967f9e9ca394464a")


def test_a_bar_shows_the_bytes(site, tmp_path, capsys):
    download(site.url(), tmp_path / "some.bin", progress=True)
    assert "some.bin: 100%" in capsys.readouterr().err
    download(site.url(), tmp_path / "other.bin")
    assert capsys.readouterr().err == ""


def test_an_empty_file_is_a_file(site, page, tmp_path):
    page.content = b""
    assert download(site.url(), tmp_path / "f", size=0).read_bytes() == b""


@pytest.mark.parametrize("chunked", [False, True])
def test_a_broken_connection_goes_on_with_the_rest_only(site, page, tmp_path, chunked):
    page.cuts, page.chunked, pauses = [100_000, 300_000], chunked, Pauses()
    path = download(site.url(), tmp_path / "f", checksum=MD5, pause=pauses)
    assert path.read_bytes() == CONTENT and names(tmp_path) == ["f"]
    first, second, third = site.seen
    assert "range" not in first.headers and first.sent == 100_000
    assert second.headers["range"] == "bytes=100000-" and second.headers["if-range"] == '"one"'
    assert third.headers["range"] == "bytes=400000-" and third.sent == len(CONTENT) - 400_000
    assert pauses == [1, 1]  # each attempt got further


def test_the_next_call_goes_on_where_the_last_gave_up(site, page, tmp_path):
    page.cuts = [5000]
    with pytest.raises(DataError, match=r"could not be fetched: the connection ended after 5000 of 1048576 .*5000 byt"):
        download(site.url(), tmp_path / "f", tries=1)
    assert names(tmp_path) == ["f.part", "f.part.json"]
    download(site.url(), tmp_path / "f")
    assert site.seen[1].headers["range"] == "bytes=5000-" and site.seen[1].sent == len(CONTENT) - 5000
    assert (tmp_path / "f").read_bytes() == CONTENT and names(tmp_path) == ["f"]


def test_last_modified_serves_where_there_is_no_strong_etag(site, page, tmp_path):
    page.etag, page.modified, page.cuts = 'W/"weak"', "Wed, 21 Oct 2015 07:28:00 GMT", [5000]
    download(site.url(), tmp_path / "f", pause=Pauses())
    assert site.seen[1].headers["if-range"] == page.modified and site.seen[1].sent == len(CONTENT) - 5000


def test_without_version_or_checksum_pieces_are_not_joined(site, page, tmp_path):
    page.etag, page.cuts = "", [5000, 6000]
    download(site.url(), tmp_path / "f", pause=Pauses())
    assert all("range" not in seen.headers for seen in site.seen) and (tmp_path / "f").read_bytes() == CONTENT
    page.cuts = [5000]
    download(site.url(), tmp_path / "g", checksum=MD5, pause=Pauses())
    assert site.seen[-1].headers["range"] == "bytes=5000-" and "if-range" not in site.seen[-1].headers


def test_a_server_without_ranges_starts_over(site, page, tmp_path):
    page.ranges, page.cuts = False, [5000, 4000]
    assert download(site.url(), tmp_path / "f", pause=Pauses()).read_bytes() == CONTENT
    assert site.seen[-1].sent == len(CONTENT)


def test_starting_over_again_and_again_ends(site, page, tmp_path):
    page.ranges, page.cuts, pauses = False, [5000, 4000, 5000, 4999, 1, 6000], Pauses()
    with pytest.raises(DataError, match=r"attempts in a row: 4"):
        download(site.url(), tmp_path / "f", tries=4, pause=pauses)
    assert pauses == [1, 2, 4] and len(site.seen) == 4


@pytest.mark.parametrize("if_range", [True, False])
def test_a_file_that_changes_on_the_server_starts_anew(site, page, tmp_path, if_range):
    page.cuts, page.if_range = [5000], if_range
    with pytest.raises(DataError):
        download(site.url(), tmp_path / "f", tries=1)
    page.content, page.etag = CONTENT[::-1], '"two"'
    assert download(site.url(), tmp_path / "f", pause=Pauses()).read_bytes() == CONTENT[::-1]


def test_a_part_of_another_address_is_not_gone_on_from(site, page, tmp_path):
    interrupt(site, page, tmp_path)
    download(site.url("file?version=2"), tmp_path / "f")
    assert "range" not in site.seen[1].headers


def test_notes_cut_by_a_crash_start_anew(site, page, tmp_path):
    interrupt(site, page, tmp_path)
    (tmp_path / "f.part.json").write_text('{"url": "htt')
    assert download(site.url(), tmp_path / "f").read_bytes() == CONTENT
    assert "range" not in site.seen[1].headers


@pytest.mark.parametrize("answer", ["bytes 0-99/1048576", "bytes 5000-1048575/9999999", "nonsense", "bytes */*"])
def test_another_range_than_asked_for_is_not_taken(site, page, tmp_path, answer):
    page.cuts, page.headers = [5000], {"Content-Range": answer}
    download(site.url(), tmp_path / "f", checksum=MD5, pause=Pauses())
    assert len(site.seen) == 3 and "range" not in site.seen[2].headers


def test_a_length_that_promises_too_much_is_settled_by_416(site, page, tmp_path):
    page.length = len(CONTENT) + 10
    download(site.url(), tmp_path / "f", checksum=MD5, pause=Pauses())
    assert (tmp_path / "f").read_bytes() == CONTENT
    assert site.seen[1].headers["range"] == f"bytes={len(CONTENT)}-" and len(site.seen) == 2


def test_a_part_longer_than_the_file_on_the_server_starts_anew(site, page, tmp_path):
    interrupt(site, page, tmp_path)
    page.content = b"short"
    assert download(site.url(), tmp_path / "f", pause=Pauses()).read_bytes() == b"short"
    assert len(site.seen) == 3  # of these the second was answered 416


def test_killed_after_the_last_byte_nothing_is_asked_again(site, page, tmp_path):
    interrupt(site, page, tmp_path)
    with (tmp_path / "f.part").open("ab") as file:
        file.write(CONTENT[5000:])
    download(site.url(), tmp_path / "f", checksum=MD5)
    assert len(site.seen) == 1 and (tmp_path / "f").read_bytes() == CONTENT


def test_a_killed_process_is_gone_on_from(site, page, tmp_path):
    page.cuts, page.gate = [700_000], threading.Event()
    part = tmp_path / "f.part"
    with child(site, tmp_path / "f") as process:
        wait_until(lambda: part.exists() and part.stat().st_size == 700_000)
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    page.gate.set()
    assert ".f.lock" in names(tmp_path)  # the kernel has let go of it
    download(site.url(), tmp_path / "f", checksum=MD5)
    assert (tmp_path / "f").read_bytes() == CONTENT and names(tmp_path) == ["f"]
    assert site.seen[1].headers["range"] == "bytes=700000-" and site.seen[1].sent == len(CONTENT) - 700_000


def test_two_processes_fetch_once(site, page, tmp_path):
    page.cuts, page.gate = [1000], threading.Event()
    with child(site, tmp_path / "f") as first:
        wait_until(lambda: site.seen)
        with child(site, tmp_path / "f") as second:
            assert "another process is fetching" in second.stderr.readline()
            page.gate.set()
            assert first.wait(60) == 0 and second.wait(60) == 0
    assert len(site.seen) == 1 and (tmp_path / "f").read_bytes() == CONTENT and names(tmp_path) == ["f"]


def test_threads_take_turns(tmp_path):
    inside, most = [0], [0]

    def enter() -> None:
        for _ in range(20):
            with only_one(tmp_path / "f"):
                inside[0] += 1
                most[0] = max(most[0], inside[0])
                time.sleep(0)
                inside[0] -= 1

    threads = [threading.Thread(target=enter) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1] and names(tmp_path) == []


def test_file_systems_without_locks_get_a_warning(site, tmp_path, monkeypatch, caplog):
    def flock(handle, how):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", flock)
    download(site.url(), tmp_path / "f")
    assert "has no locks" in caplog.text


@pytest.mark.parametrize(("size", "checksum"), [(None, MD5), (len(CONTENT), ""), (None, "")])
def test_a_file_that_is_there_is_left_alone(site, tmp_path, size, checksum):
    path = tmp_path / "f"
    path.write_bytes(CONTENT)
    before = path.stat()
    tmp_path.chmod(0o555)  # a folder that belongs to someone else
    download(site.url(), path, size=size, checksum=checksum)
    tmp_path.chmod(0o755)
    assert site.seen == [] and path.stat() == before


@pytest.mark.parametrize(
    ("expected", "text"),
    [
        ({"checksum": MD5}, rf"exists, but is another file: expected {MD5}, found md5:5e2bab0e.*Move or delete it"),
        ({"size": 7}, r"expected 7 bytes, found 6"),
    ],
)
def test_another_file_that_is_there_is_not_overwritten(site, tmp_path, expected, text):
    (tmp_path / "f").write_bytes(b"others")
    with pytest.raises(DataError, match=text):
        download(site.url(), tmp_path / "f", **expected)
    assert site.seen == [] and (tmp_path / "f").read_bytes() == b"others"


def test_a_wrong_checksum_deletes_what_came(site, page, tmp_path):
    page.content = b"<html>please log in</html>"
    with pytest.raises(DataError, match=rf"came as another file: expected {MD5}, found md5:[0-9a-f]+\. It was deleted"):
        download(site.url(), tmp_path / "f", checksum=MD5)
    assert names(tmp_path) == []


def test_a_wrong_size_is_refused_before_anything_comes(site, page, tmp_path):
    with pytest.raises(DataError, match=r"has 1048576 bytes, expected 99: the file there has changed"):
        download(site.url(), tmp_path / "f", size=99)
    page.chunked = True  # the size is known at the end only
    with pytest.raises(DataError, match=r"expected 99 bytes, found 1048576"):
        download(site.url(), tmp_path / "f", size=99)
    assert names(tmp_path) == []


@pytest.mark.parametrize(
    ("status", "text"),
    [(404, r"/file answers 404 Not Found\. The file was moved"), (403, "registration"), (401, "login"), (400, "brow")],
)
def test_refusals_stop_at_once(site, page, tmp_path, status, text):
    page.failures, pauses = [status], Pauses()
    with pytest.raises(DataError, match=text):
        download(site.url(), tmp_path / "f", pause=pauses)
    assert pauses == [] and len(site.seen) == 1 and names(tmp_path) == []


@pytest.mark.parametrize("status", [500, 502, 503, 429])
def test_failures_of_the_server_are_tried_again(site, page, tmp_path, status):
    page.failures, pauses = [status, status], Pauses()
    download(site.url(), tmp_path / "f", pause=pauses)
    assert pauses == [1, 2] and (tmp_path / "f").read_bytes() == CONTENT


def test_servers_may_say_when_to_come_again(site, page, tmp_path):
    page.failures, page.headers, pauses = [503, 503, 503], {"Retry-After": "7"}, Pauses()
    download(site.url(), tmp_path / "f", pause=pauses)
    assert pauses == [7, 7, 7]
    page.failures, page.headers = [503], {"Retry-After": "86400"}
    download(site.url(), tmp_path / "g", pause=pauses)
    assert pauses[-1] == 60


def test_a_dead_server_is_given_up(site, page, tmp_path):
    page.failures, pauses = [500] * 9, Pauses()
    with pytest.raises(DataError, match=r"the server answers 500 .*\(attempts in a row: 5\)"):
        download(site.url(), tmp_path / "f", pause=pauses)
    assert pauses == [1, 2, 4, 8]
    with pytest.raises(DataError, match=r"Connection refused \(attempts in a row: 2\)"):
        download("http://127.0.0.1:1/f", tmp_path / "f", tries=2, pause=pauses)


def test_silence_is_a_broken_connection(site, page, tmp_path):
    page.cuts, page.gate = [1000], threading.Event()

    def pause(seconds: float) -> None:
        page.gate.set()

    download(site.url(), tmp_path / "f", timeout=0.2, pause=pause)
    assert site.seen[1].headers["range"] == "bytes=1000-" and (tmp_path / "f").read_bytes() == CONTENT


def test_redirects_are_followed_with_the_range(site, page, tmp_path):
    site.pages["/moved"], page.cuts = Page(redirect="/file"), [5000]
    download(site.url("moved"), tmp_path / "f", pause=Pauses())
    assert [seen.path for seen in site.seen] == ["/moved", "/file"] * 2
    assert site.seen[3].headers["range"] == "bytes=5000-" and site.seen[3].sent == len(CONTENT) - 5000


@pytest.mark.parametrize("target", ["file:///etc/passwd", "ftp://127.0.0.1/f", "data:,hello"])
def test_redirects_to_other_schemes_are_refused(site, tmp_path, target):
    site.pages["/moved"] = Page(redirect=target)
    with pytest.raises(DataError, match=r"/moved redirects to '.*', but only http|url '.*' is not allowed"):
        download(site.url("moved"), tmp_path / "f")


def test_redirects_may_not_drop_encryption():
    with pytest.raises(DataError, match="not encrypted"):
        _check_url("http://a.org/f", after="https://a.org/f")


def test_circles_end(site, tmp_path):
    site.pages["/a"] = Page(redirect="/a")
    with pytest.raises(DataError, match="answers 302"):
        download(site.url("a"), tmp_path / "f")


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://a.org/f", "/etc/passwd", "http:///f", "", "data:,a"])
def test_only_http_is_fetched(url, tmp_path):
    with pytest.raises(DataError, match=r"only http:// and https://"):
        download(url, tmp_path / "f")


def test_impossible_addresses_and_checksums(tmp_path):
    with pytest.raises(DataError, match="is no valid URL"):
        download("http://127.0.0.1/a b", tmp_path / "f")
    with pytest.raises(DataError, match=r"must be md5:, sha256: or git: .* found 'md5:12'"):
        download("http://127.0.0.1/f", tmp_path / "f", checksum="md5:12")


def test_a_disk_too_small_is_told_first(site, tmp_path, monkeypatch):
    monkeypatch.setattr(_unpack.shutil, "disk_usage", lambda folder: shutil._ntuple_diskusage(10, 9, 1))
    with pytest.raises(DataError, match=r"0\.000 GB free, needed are 0\.001 GB"):
        download(site.url(), tmp_path / "f")
    assert names(tmp_path) == ["f.part.json"]


def test_a_disk_that_fills_up_keeps_what_came(site, tmp_path, monkeypatch):
    opened = Path.open

    def full(self, mode="r", *more, **named):
        if self.name == "f.part" and mode == "ab":
            opened(self, "wb").close()
            return opened(Path("/dev/full"), "wb", buffering=0)
        return opened(self, mode, *more, **named)

    monkeypatch.setattr(Path, "open", full)
    with pytest.raises(DataError, match=r"is full \(or its quota reached\)\. What came is kept: make room"):
        download(site.url(), tmp_path / "f", pause=Pauses())
    assert len(site.seen) == 1


def test_a_folder_that_cannot_be_made_is_told(site, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match=r"cannot be written: (Not a directory|File exists)"):
        download(site.url(), tmp_path / "file" / "f")
