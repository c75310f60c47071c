"""One file over HTTP: resumed where a server can, tried again where that may help."""

import contextlib
import dataclasses
import email.message
import errno
import hashlib
import http.client
import json
import os
import pathlib
import re
import shutil
import socket
import ssl
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from typing import IO

from cwcf_jax.weights.manifest import Entry

TRIES = 5
PROGRESS = 1 << 20  # bytes after which the tries are counted anew
CHUNK = 1 << 18
_NO_NETWORK = (errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN)


class DownloadError(Exception):
    """The file cannot be had from its address."""


class _TryAgainError(Exception):
    """Something that may pass."""


class _UnreachableError(_TryAgainError):
    """Nobody there: only worth a wait if somebody was a moment ago."""


class _Redirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: http.client.HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        if urllib.parse.urlsplit(newurl).scheme not in ("http", "https"):
            raise DownloadError(f"{req.full_url} redirects to {newurl}, which is neither http nor https")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


_OPENER = urllib.request.build_opener(_Redirects)


@dataclasses.dataclass(frozen=True)
class Part:
    """What has come so far of an entry's file, at ``path``; beside it, in JSON, whose bytes these are."""

    entry: Entry
    path: pathlib.Path

    @property
    def state(self) -> pathlib.Path:
        return self.path.with_name(f"{self.path.name}.json")

    def size(self) -> int:
        """Bytes that have come so far."""
        return self.path.stat().st_size if self.path.exists() else 0

    def begin(self, validator: str) -> None:
        """Empties the part, for a file that the server knows by ``validator``."""
        self.path.write_bytes(b"")  # first, so that what is left of another file is never taken for this one's
        self.state.write_text(json.dumps({"url": self.entry.url, "validator": validator}), encoding="utf-8")

    def validator(self) -> str | None:
        """What the server knows the file by, "" if by nothing; None if these bytes cannot be gone on with."""
        try:
            state = json.loads(self.state.read_text(encoding="utf-8"))
            url, validator = state["url"], str(state["validator"])
        except (FileNotFoundError, ValueError, LookupError, TypeError):
            return None
        # Where nothing tells a changed file, neither a validator now nor a hash at the end, parts may not be joined.
        return validator if url == self.entry.url and (validator or self.entry.hash) else None

    def discard(self) -> None:
        self.path.unlink(missing_ok=True)
        self.state.unlink(missing_ok=True)


def download(part: Part, *, timeout: float, wait: float) -> str:
    """Completes the part and returns its hex digest, of the entry's kind.

    Args:
        part: where to; what is there already is gone on with.
        timeout: seconds without a byte after which a try is given up.
        wait: seconds before the second try, doubled before each further one.

    Raises:
        DownloadError: it cannot be had; what has come so far is kept for the next time.
        OSError: the disk.
    """
    failures, came, furthest = 0, False, part.size()
    while True:
        try:
            return _attempt(part, timeout)
        except _TryAgainError as error:
            came = came or part.size() > furthest
            if part.size() >= furthest + PROGRESS:
                failures, furthest = 0, part.size()
            failures += 1
            if failures >= TRIES or (isinstance(error, _UnreachableError) and not came):
                raise DownloadError(str(error)) from None
            seconds = wait * 2 ** (failures - 1)
            print(f"{error}; trying again in {seconds:g} s", file=sys.stderr)
            time.sleep(seconds)


def hash_file(entry: Entry, path: pathlib.Path) -> "hashlib._Hash":
    """The hash object, of the entry's kind, after reading the file."""
    digest = entry.hasher
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest


def readable(size: int | None) -> str:
    """A size for people."""
    if size is None:
        return "size unknown"
    return f"{size / 1e6:.1f} MB" if size >= 100_000 else f"{size} bytes"


def _attempt(part: Part, timeout: float) -> str:
    """One request."""
    validator = part.validator()
    if validator is None or part.size() > (part.entry.size or sys.maxsize):
        part.discard()
    start = part.size()
    if start and start == part.entry.size:
        return hash_file(part.entry, part.path).hexdigest()
    headers = {"Accept-Encoding": "identity", "User-Agent": "cwcf-jax"}
    if start:
        headers["Range"] = f"bytes={start}-"
        headers |= {"If-Range": validator} if validator else {}
    request = urllib.request.Request(part.entry.url, headers=headers)  # noqa: S310, the manifest has only http(s)
    try:
        response = _OPENER.open(request, timeout=timeout)
    except urllib.error.HTTPError as error:
        with error:
            if error.code == 416 and start:
                return _nothing_left(part, error)
            kind = _TryAgainError if error.code in (408, 429) or error.code >= 500 else DownloadError
            raise kind(f"{part.entry.url}: the server answers {error.code} {error.reason}") from None
    except (OSError, http.client.HTTPException) as error:
        raise _no_answer(part.entry.url, error) from None
    with response:
        start, total = _extent(part, response, start)
        return _receive(part, response, start, total)


def _no_answer(url: str, error: Exception) -> _TryAgainError:
    reason = getattr(error, "reason", error)
    lasting = isinstance(reason, socket.gaierror | ConnectionRefusedError | ssl.SSLCertVerificationError)
    lasting = lasting or getattr(reason, "errno", None) in _NO_NETWORK
    return (_UnreachableError if lasting else _TryAgainError)(f"cannot reach {url}: {reason}")


def _nothing_left(part: Part, error: urllib.error.HTTPError) -> str:
    """416: either everything is here already, or the file has changed."""
    if error.headers.get("Content-Range") == f"bytes */{part.size()}":
        return hash_file(part.entry, part.path).hexdigest()
    part.discard()
    raise _TryAgainError(f"{part.entry.url} has changed since the first bytes came")


def _extent(part: Part, response: http.client.HTTPResponse, start: int) -> tuple[int, int | None]:
    """Where the answer starts and how long the file is; what is not the file leaves the part alone."""
    entry, headers = part.entry, response.headers
    if headers.get_content_type() in ("text/html", "application/xhtml+xml"):
        raise DownloadError(f"{response.url} is a web page, not {entry.file}")
    if headers.get("Content-Encoding", "identity") != "identity":
        raise DownloadError(f"{response.url} comes with Content-Encoding {headers['Content-Encoding']}")
    total: int | None
    if response.status == 206:
        found = re.fullmatch(r"bytes (\d+)-\d+/(\d+)", headers.get("Content-Range", ""))
        # Some servers take no notice of If-Range.
        if not found or int(found[1]) != start or _validator(headers) != part.validator():
            part.discard()
            raise _TryAgainError(f"{response.url} has changed since the first bytes came")
        total = int(found[2])
    else:
        if start:
            print("the server sends the whole file again", file=sys.stderr)
        length = headers.get("Content-Length", "")
        start, total = 0, int(length) if length.isdecimal() else None
    if total is not None and entry.size not in (None, total):
        raise DownloadError(f"{response.url} has {total} bytes, not {entry.size} as in the manifest")
    total = entry.size if total is None else total
    free, needed = shutil.disk_usage(part.path.parent).free, (total or 0) - start
    if needed > free:
        raise DownloadError(f"{part.path.parent} has {readable(free)} free, {readable(needed)} are needed")
    return start, total


def _receive(part: Part, response: http.client.HTTPResponse, start: int, total: int | None) -> str:
    if not start:
        part.begin(_validator(response.headers))
    digest = hash_file(part.entry, part.path)
    got = start
    with part.path.open("ab", buffering=0) as out, _bar(part.entry.file, start, total) as advance:
        while total is None or got < total:
            try:
                block = response.read1(CHUNK if total is None else min(CHUNK, total - got))
            except (OSError, http.client.HTTPException) as error:
                raise _TryAgainError(f"the connection broke after {readable(got)}: {error}") from None
            if not block:
                break
            out.write(block)
            digest.update(block)
            got += len(block)
            advance(len(block))
        os.fsync(out.fileno())
    if not got or total not in (None, got):
        raise _TryAgainError(f"the connection ended after {readable(got)} of {readable(total)}")
    return digest.hexdigest()


def _validator(headers: email.message.Message) -> str:
    """If-Range takes no weak ETag."""
    tag: str = headers.get("ETag", "")
    return tag if tag.startswith('"') else headers.get("Last-Modified", "")


@contextlib.contextmanager
def _bar(name: str, start: int, total: int | None) -> Iterator[Callable[[int], object]]:
    """Progress and rate on a terminal, nothing elsewhere or without tqdm."""
    try:
        from tqdm import tqdm
    except ImportError:
        yield lambda _: None
        return
    with tqdm(desc=name, initial=start, total=total, unit="B", unit_scale=True, disable=None) as bar:
        yield bar.update
