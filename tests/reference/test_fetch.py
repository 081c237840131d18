"""Fetching is whole or not at all, goes on where it broke off, and trusts neither servers nor archives."""

from __future__ import annotations

import hashlib
import json
import os
import resource
import stat
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from reference import cache
from reference import fetch as module
from reference.catalog import Archive, DataError, DataSet, File, Wheel
from reference.fetch import fetch
from tests.conftest import ROOT
from tests.reference.test_archives import tarball

CONTENT = bytes(range(256)) * 4000  # 1 MB


class Server:
    """Serves `files`; counts requests, and misbehaves as told."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.etag = '"one"'
        self.cut: list[int] = []
        """After how many bytes of the body the next answers break off."""
        self.ranges = True
        self.status: list[int] = []
        self.requests: list[dict[str, str]] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.answer(self)

            def log_message(self, *words: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        self.requests.append({"path": handler.path, **dict(handler.headers.items())})
        if self.status:
            handler.send_error(self.status.pop(0))
            return
        if handler.path[1:] not in self.files:
            handler.send_error(404)
            return
        body, start = self.files[handler.path[1:]], 0
        wanted = handler.headers.get("Range", "")
        if self.ranges and wanted and handler.headers.get("If-Range") == self.etag:
            start = int(wanted.removeprefix("bytes=").removesuffix("-"))
            if start >= len(body):
                handler.send_error(416)
                return
            handler.send_response(206)
            handler.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        else:
            handler.send_response(200)
        handler.send_header("Content-Length", str(len(body) - start))
        handler.send_header("ETag", self.etag)
        handler.end_headers()
        handler.wfile.write(body[start : start + self.cut.pop(0)] if self.cut else body[start:])


@pytest.fixture
def server() -> Iterator[Server]:
    running = Server()
    running.files["data.bin"] = CONTENT
    yield running
    running.close()


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, no other folder that is searched, no pauses. The folder of fetched sets."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("CROSSEXAM_DATA", "")
    monkeypatch.setattr(module, "PAUSE", 0)
    return tmp_path / "cache" / "crossexam" / "data"


Catalogue = Callable[..., DataSet]


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch) -> Catalogue:
    """Puts a set called toy into the catalogue."""

    def make(name: str = "toy", **values: object) -> DataSet:
        facts = {"title": "t", "state": "auto", "licence": "l", "citation": "c", "source": "s"}
        entry = DataSet(name, **{**facts, **values})  # type: ignore[arg-type]
        monkeypatch.setattr("reference.catalog.catalog", lambda: {name: entry})
        return entry

    return make


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def one_file(server: Server, **values: object) -> dict[str, object]:
    facts = {"size": len(CONTENT), "sha256": sha256(CONTENT), "url": f"{server.url}/data.bin", **values}
    return {"files": (File("data.bin", **facts),)}  # type: ignore[arg-type]


def left_in(data: Path) -> list[str]:
    """Everything below the cache folder that is not a lock."""
    files = [path for path in data.parent.rglob("*") if path.is_file()]
    return sorted(str(path.relative_to(data.parent)) for path in files if path.suffix != ".lock")


def test_a_file_with_progress(server: Server, data: Path, toy: Catalogue) -> None:
    entry = toy(**one_file(server))
    seen: list[tuple[str, int, int | None]] = []
    folder = fetch("toy", progress=lambda *news: seen.append(news))
    assert folder == data / "toy" and (folder / "data.bin").read_bytes() == CONTENT
    assert seen[0] == ("data.bin", 0, len(CONTENT)) and seen[-1] == ("data.bin", len(CONTENT), len(CONTENT))
    assert entry.available and fetch("toy") == folder and len(server.requests) == 1
    assert left_in(data) == ["data/toy/.fetched-toy.json", "data/toy/data.bin"]


def test_broken_transfers_go_on_where_they_stopped(server: Server, data: Path, toy: Catalogue) -> None:
    toy(**one_file(server))
    server.cut = [300_000, 200_000]
    fetch("toy")
    assert [request.get("Range") for request in server.requests] == [None, "bytes=300000-", "bytes=500000-"]
    assert server.requests[1]["If-Range"] == '"one"'


def test_a_later_command_goes_on_too(server: Server, data: Path, toy: Catalogue) -> None:
    toy(**one_file(server))
    server.cut = [300_000, 1, 1]
    with pytest.raises(DataError, match="only 300002 of 1024000 bytes arrived; the same command goes on from there"):
        fetch("toy")
    assert not data.exists() or not list(data.iterdir())
    fetch("toy")
    assert server.requests[-1]["Range"] == "bytes=300002-"
    assert left_in(data) == ["data/toy/.fetched-toy.json", "data/toy/data.bin"]


def test_a_changed_source_is_fetched_from_the_beginning(server: Server, data: Path, toy: Catalogue) -> None:
    toy(**one_file(server))
    server.cut = [300_000, 0, 0]
    with pytest.raises(DataError):
        fetch("toy")
    server.etag = '"two"'
    assert (fetch("toy") / "data.bin").read_bytes() == CONTENT


def test_a_server_without_ranges_or_with_a_shorter_file(server: Server, data: Path, toy: Catalogue) -> None:
    toy(**one_file(server))
    server.cut, server.ranges = [300_000, 0, 0], False
    with pytest.raises(DataError):
        fetch("toy")
    assert (fetch("toy") / "data.bin").read_bytes() == CONTENT
    server.files["data.bin"], server.ranges = CONTENT[:1000], True
    toy(name="other", **one_file(server, size=1000, sha256=sha256(CONTENT[:1000])))
    part = cache.root() / "partial" / "other"
    part.mkdir(parents=True)
    name = f"{hashlib.sha256(f'{server.url}/data.bin'.encode()).hexdigest()[:16]}-data.bin"
    (part / name).write_bytes(CONTENT)
    (part / f"{name}.from").write_text(server.etag)
    assert (fetch("other") / "data.bin").read_bytes() == CONTENT[:1000]


def test_mirrors_are_tried_in_turn(server: Server, data: Path, toy: Catalogue) -> None:
    server.files["wrong.bin"] = b"something else"
    urls = ("http://127.0.0.1:1/data.bin", f"{server.url}/absent", f"{server.url}/wrong.bin", f"{server.url}/data.bin")
    toy(**one_file(server, url=urls))
    assert (fetch("toy") / "data.bin").read_bytes() == CONTENT
    toy(name="other", **one_file(server, url=urls[:3]))
    with pytest.raises(DataError) as caught:
        fetch("other")
    assert "Connection refused" in str(caught.value) and "HTTP 404" in str(caught.value)
    assert "expected 1024000 bytes of content, found 14" in str(caught.value)
    assert not (data / "other").exists()


def test_a_busy_server_is_asked_again_and_a_missing_file_is_not(server: Server, data: Path, toy: Catalogue) -> None:
    toy(**one_file(server))
    server.status = [503, 429]
    fetch("toy")
    assert len(server.requests) == 3
    toy(name="other", **one_file(server, url=f"{server.url}/absent"))
    with pytest.raises(DataError, match="HTTP 404"):
        fetch("other")
    assert len(server.requests) == 4


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sha256": "0" * 64}, "expected sha256 000"),
        ({"size": 3}, "expected 3 bytes of content"),
        ({"md5": "0" * 32}, "expected md5 000"),
    ],
)
def test_a_wrong_checksum_leaves_nothing(
    server: Server, data: Path, toy: Catalogue, change: dict[str, object], message: str
) -> None:
    toy(**one_file(server, **change))
    with pytest.raises(DataError, match=message):
        fetch("toy")
    assert [name for name in left_in(data) if not name.startswith("digests")] == []


def test_an_archive_is_its_identity_until_somebody_touches_the_files(
    server: Server, data: Path, toy: Catalogue
) -> None:
    packed = tarball(top__a=b"alpha", top__deep__b=b"beta", other=b"x")
    server.files["set.tar.gz"] = packed
    md5 = hashlib.md5(packed).hexdigest()
    archive = Archive(f"{server.url}/set.tar.gz", md5=md5, inside="top")
    entry = toy(files=(File("a"), File("deep/b")), archives=(archive,))
    assert entry.checksum() == f"md5:{md5}"
    folder = fetch("toy")
    assert (folder / "deep" / "b").read_bytes() == b"beta" and not (folder / "other").exists()
    assert entry.checksum() == f"md5:{md5}"
    (folder / "a").write_bytes(b"ALPHA")
    assert entry.checksum() == hashlib.sha256(f"{sha256(b'ALPHA')}\n{sha256(b'beta')}".encode()).hexdigest()


@pytest.mark.parametrize(
    ("archive", "message"),
    [
        ({"md5": "0" * 32}, "expected md5 000"),
        ({"inside": "elsewhere"}, "the source has changed"),
        ({"url": "absent.tar.gz"}, "HTTP 404"),
        ({"url": "cut.tar.gz"}, "is damaged"),
        ({"url": "text.tar.gz"}, "neither a zip nor a tar"),
        ({"url": "evil.tar.gz"}, "is refused: ../../evil would be written outside"),
    ],
)
def test_a_bad_archive_leaves_nothing(
    server: Server, data: Path, toy: Catalogue, archive: dict[str, str], message: str
) -> None:
    server.files["set.tar.gz"] = tarball(top__a=b"alpha")
    server.files["cut.tar.gz"] = tarball(top__a=os.urandom(100_000))[:50_000]
    server.files["text.tar.gz"] = b"<html>Not found</html>"
    server.files["evil.tar.gz"] = tarball(**{"..__..__evil": b"evil"})
    facts = {"inside": "top", **archive, "url": f"{server.url}/{archive.get('url', 'set.tar.gz')}"}
    toy(files=(File("a"),), archives=(Archive(**facts),))
    with pytest.raises(DataError, match=message):
        fetch("toy")
    assert left_in(data) == [] and list(data.iterdir()) == []


def test_sets_that_share_a_folder(server: Server, data: Path, toy: Catalogue) -> None:
    server.files |= {"one.zip": b"first", "two.zip": b"second"}
    base = server.url
    first = toy(name="one", folder="shared", files=(File("one.zip", sha256=sha256(b"first"), url=f"{base}/one.zip"),))
    fetch("one")
    second = toy(name="two", folder="shared", files=(File("two.zip", sha256=sha256(b"second"), url=f"{base}/two.zip"),))
    assert not second.available
    assert fetch("two") == data / "shared" and first.available and second.available


def test_what_cannot_be_fetched(server: Server, data: Path, toy: Catalogue) -> None:
    toy(**one_file(server))
    with pytest.raises(DataError, match="fetching it is off"):
        fetch("toy", offline=True)
    toy(state="restricted", how="ask for a licence and put x into a folder toy", files=(File("x"),))
    with pytest.raises(DataError, match="cannot be fetched: ask for a licence"):
        fetch("toy")
    assert server.requests == []


def run(code: str, server: Server, home: Path, **limits: int) -> subprocess.CompletedProcess[str]:
    """A process that fetches the set toy into the cache below `home`."""
    script = f"""
import reference.catalog, reference.fetch
from reference.catalog import DataError, DataSet, File
reference.fetch.PAUSE = 0
entry = DataSet("toy", title="t", state="auto", licence="l", citation="c", source="s",
                files=(File("data.bin", sha256="{sha256(CONTENT)}", url="{server.url}/data.bin"),))
reference.catalog.catalog = lambda: {{"toy": entry}}
{code}
try:
    print(reference.fetch.fetch("toy"))
except DataError as error:
    print("DataError", error)
"""
    # Compiled modules that a limit cuts off would outlive the test.
    environment = {**os.environ, "XDG_CACHE_HOME": str(home), "CROSSEXAM_DATA": "", "PYTHONDONTWRITEBYTECODE": "1"}

    def limit() -> None:
        for name, value in limits.items():
            resource.setrlimit(getattr(resource, name), (value, value))

    return subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, env=environment, preexec_fn=limit, capture_output=True, text=True,
        timeout=60, check=False,
    )  # fmt: skip


def test_a_full_disk(server: Server, tmp_path: Path) -> None:
    """A limit on the size of files stands for it: writing fails half-way with EFBIG instead of ENOSPC."""
    ignore = "import signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)"
    result = run(ignore, server, tmp_path, RLIMIT_FSIZE=500_000)
    assert result.stdout.startswith("DataError no room left in"), result
    assert left_in(tmp_path / "crossexam" / "data") == []


def test_a_full_file_system(server: Server, tmp_path: Path) -> None:
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=500k", "tmpfs", str(tmp_path)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("this user may not mount a small file system")
    try:
        result = run("", server, tmp_path)
        assert result.stdout.startswith("DataError no room left in"), result
        assert left_in(tmp_path / "crossexam" / "data") == []
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)


def test_a_folder_that_cannot_be_written(server: Server, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    code = ""
    if os.getuid() == 0:  # whom no permission stops
        code = "import os, filelock; os.setgid(65534); os.setuid(65534)"
        for folder in (tmp_path, *tmp_path.parents[:3]):
            folder.chmod(folder.stat().st_mode | stat.S_IXOTH)
    home.chmod(0o555)
    result = run(code, server, home)
    assert "DataError cannot write in" in result.stdout and "XDG_CACHE_HOME" in result.stdout, result


def test_two_processes_fetch_once(server: Server, tmp_path: Path) -> None:
    results: list[str] = []
    threads = [
        threading.Thread(target=lambda: results.append(run("", server, tmp_path).stdout.strip())) for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [str(tmp_path / "crossexam" / "data" / "toy")] * 2
    assert len(server.requests) == 1


def test_what_a_killed_process_left_is_cleared_away(server: Server, data: Path, toy: Catalogue) -> None:
    toy(**one_file(server))
    (data / ".toy-abcd" / "set").mkdir(parents=True)
    (data / ".toy-abcd" / "set" / "half").touch()
    fetch("toy")
    assert [path.name for path in data.iterdir()] == ["toy"]


def test_digests_are_kept_for_untouched_files_only(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "set"
    folder.mkdir()
    file = folder / "x"
    file.write_bytes(b"abc")
    os.utime(file, (1, 1))
    monkeypatch.setattr(cache, "RACY_SECONDS", -1)
    computed: list[Path] = []

    def digest() -> tuple[str, int]:
        computed.append(file)
        return sha256(file.read_bytes()), 3

    def ask() -> tuple[str, int]:
        cache._known.clear()  # as a new process would begin
        with cache.digests(folder):
            return cache.remembered(file, "bytes", digest)

    assert ask() == ask() == (sha256(b"abc"), 3) and len(computed) == 1
    file.write_bytes(b"abd")
    os.utime(file, (1, 1))  # same size and date: the change shows in the inode's own time
    assert ask() == (sha256(b"abd"), 3) and len(computed) == 2
    monkeypatch.setattr(cache, "_trusting", False)
    ask()
    assert len(computed) == 3


def test_a_fresh_file_is_not_remembered(data: Path, tmp_path: Path) -> None:
    file = tmp_path / "x"
    file.write_bytes(b"abc")
    with cache.digests(tmp_path):
        cache.remembered(file, "bytes", lambda: ("0", 3))
    assert not (cache.root() / "digests").exists()


def test_the_command_line(server: Server, tmp_path: Path) -> None:
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path), "CROSSEXAM_DATA": ""}

    def crossexam(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "crossexam", "data", *words], cwd=ROOT, env=environment, capture_output=True,
            text=True, timeout=60, check=False,
        )  # fmt: skip

    listed = json.loads(crossexam("list", "--json").stdout)
    assert {"digits", "cifar10-jpeg"} <= {entry["name"] for entry in listed}
    shown = crossexam("show", "cifar10-jpeg").stdout
    assert "not comparable with published CIFAR-10" in " ".join(shown.split())
    refused = crossexam("fetch", "--offline", "fashion-mnist")
    assert refused.returncode == 2 and "fetching it is off" in refused.stderr
    assert crossexam("fetch", "digits").stdout == "digits: bundled with scikit-learn\n"
    assert crossexam("fetch", "fashion-mnits").stderr.strip().endswith("did you mean 'fashion-mnist'?")
    damaged = tmp_path / "crossexam" / "data" / "tiny-shakespeare"
    damaged.mkdir(parents=True)
    (damaged / "input.txt").write_bytes(b"To be")
    verified = crossexam("verify", "digits", "tiny-shakespeare")
    assert verified.returncode == 1 and "expected 1115394 bytes of content, found 5" in verified.stdout
    assert crossexam("verify", "digits").returncode == 0


def test_progress_in_a_pipe(capsys: pytest.CaptureFixture[str]) -> None:
    from crossexam.showing.show_data import Fetching

    with Fetching() as fetching:
        for done in (0, 10, 30, 60, 100):
            fetching.update("x.tar", done * 10**6, 100 * 10**6)
        fetching.update("y.tar", 5, None)
    lines = capsys.readouterr().err.splitlines()
    assert lines == [*(f"x.tar: {part} % of 100.0 MB" for part in (0, 25, 50, 100)), "y.tar: unknown size"]


def test_the_lock_is_waited_for(server: Server, data: Path, toy: Catalogue) -> None:
    from filelock import FileLock

    toy(**one_file(server))
    (data.parent / "locks").mkdir(parents=True)
    lock = FileLock(data.parent / "locks" / "toy.lock")
    lock.acquire()
    thread = threading.Thread(target=fetch, args=("toy",))
    thread.start()
    time.sleep(0.2)
    assert server.requests == []
    lock.release()
    thread.join(10)
    assert len(server.requests) == 1


WEIGHTS = Wheel("toy-weights", "0.1", "toy_weights/model")


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's own pip configuration: a folder of wheels and no index."""
    pip_at_hand()
    folder = tmp_path / "wheels"
    folder.mkdir()
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


def pip_at_hand() -> None:
    try:
        module.pip_command("")
    except DataError as error:
        pytest.skip(str(error))


def wheel_of(folder: Path, content: bytes, version: str = "0.1", inside: str = "toy_weights/model") -> None:
    """A wheel with `content` as data.bin, code that must not run, and a dependency that does not exist."""
    facts = f"Metadata-Version: 2.1\nName: toy-weights\nVersion: {version}\nRequires-Dist: no-such-package-anywhere\n"
    kind = "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    info = f"toy_weights-{version}.dist-info"
    with zipfile.ZipFile(folder / f"toy_weights-{version}-py3-none-any.whl", "w") as zipped:
        zipped.writestr(f"{inside}/data.bin", content)
        zipped.writestr(f"{inside}/run.py", "raise SystemExit('run')")
        zipped.writestr("toy_weights/__init__.py", "raise SystemExit('run')")
        for name, text in (("METADATA", facts), ("WHEEL", kind), ("RECORD", "")):
            zipped.writestr(f"{info}/{name}", text)


def test_a_wheel_has_what_no_address_delivers(server: Server, data: Path, toy: Catalogue, index: Path) -> None:
    toy(**one_file(server), wheel=WEIGHTS)
    wheel_of(index, CONTENT)
    server.status = [503] * 9
    seen: list[tuple[str, int, int | None]] = []
    folder = fetch("toy", progress=lambda *news: seen.append(news))
    assert (folder / "data.bin").read_bytes() == CONTENT and seen[-1][0] == "toy-weights==0.1"
    assert len(server.requests) == 1  # one attempt, no waiting
    assert left_in(data) == ["data/toy/.fetched-toy.json", "data/toy/data.bin"]  # no code, no wheel


def test_an_address_that_delivers_comes_first(server: Server, data: Path, toy: Catalogue, index: Path) -> None:
    toy(**one_file(server), wheel=WEIGHTS)
    assert (fetch("toy") / "data.bin").read_bytes() == CONTENT  # pip would find no wheel


def test_a_wheel_with_something_else_is_refused(server: Server, data: Path, toy: Catalogue, index: Path) -> None:
    entry = toy(**one_file(server), wheel=WEIGHTS)
    server.status = [503] * 9
    wheel_of(index, b"x" * len(CONTENT))
    with pytest.raises(DataError, match="expected sha256"):
        fetch("toy")
    wheel_of(index, CONTENT, inside="elsewhere")
    with pytest.raises(DataError, match=r"toy-weights==0\.1 holds no data\.bin"):
        fetch("toy")
    assert not entry.available and left_in(data) == []


def test_absent_wheels_and_a_missing_pip_say_so(
    server: Server, data: Path, toy: Catalogue, index: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    toy(**one_file(server), wheel=WEIGHTS)
    server.files.clear()
    wheel_of(index, CONTENT, version="0.2")
    with pytest.raises(
        DataError, match=r"could not fetch http.*; and pip delivers no wheel of toy-weights==0\.1: ERROR"
    ):
        fetch("toy")
    with pytest.raises(DataError, match="is absent, and fetching it is off"):
        fetch("toy", offline=True)
    monkeypatch.setattr(module.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(module.shutil, "which", lambda name: None)
    with pytest.raises(DataError, match="there is no pip to download with: run `"):
        fetch("toy")
