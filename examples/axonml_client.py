"""Log training runs to an AxonML server. One file, standard library only: copy it beside your script.

    import axonml_client as axonml

    with axonml.init(name="resnet", config={"lr": 0.1}) as run:  # reads AXONML_URL and AXONML_API_KEY
        for step in range(1000):
            run.log({"loss": loss}, step=step)
            if run.should_stop:  # somebody asked the run to end
                break

Logging only appends to a buffer; a background thread sends batches, by size and by time. A server that is slow, away
or refuses never stops the script: what cannot be sent waits in memory, on disk once the server is away or memory is
full, and is sent in order later, by this process, by the next `init`, or by `replay()`. Each batch has a key of its
own, so what arrives twice counts once. What is on disk survives kill -9 of the script; it is forced to the disk once
a second and at the end, so a power cut costs at most a second of it. The API key is never written. What the server
refuses for good is reported once on the logger "axonml", and dropped. A run that is never finished is shown as stalled.
"""

# ruff: noqa: SLF001, B905, UP017  # one module in several classes; works from Python 3.9 on
from __future__ import annotations

import atexit
import contextlib
import email.utils
import heapq
import itertools
import json
import logging
import math
import os
import random
import threading
import time
import unicodedata
import urllib.error
import urllib.parse
import urllib.request
import uuid
from collections import deque
from datetime import datetime, timezone
from http.client import HTTPException
from multiprocessing import util
from pathlib import Path
from typing import Any

try:
    import fcntl
except ImportError:  # Windows: there, call replay() only while no other script runs
    fcntl = None  # type: ignore[assignment]

BATCH_VALUES, BATCH_CHARACTERS = 5_000, 1_000_000  # of numbers and of text: a batch with more is sent at once
MEMORY_BATCHES = 100  # what waits beyond them waits on disk
SPOOL_BYTES = 2 << 30  # of one run's file; what is logged beyond it is lost, and said to be
FLUSH_SECONDS, BEAT_SECONDS, SYNC_SECONDS, REQUEST_SECONDS = 1.0, 30.0, 1.0, 20.0
FIRST_PAUSE, LONGEST_PAUSE, LONGEST_HINT = 0.25, 30.0, 300.0
MOST_DEFECTS = 10  # attempts at a batch that the server answers 500
_PLACES = ("step", "timestamp")
_log, _live, _warned = logging.getLogger("axonml"), {}, set()


class RunStopped(Exception):  # noqa: N818  # a wish, not an error
    """Raised by `log` once somebody asked the run to end, with `init(raise_on_stop=True)`."""


def init(
    name: str | None = None,
    *,
    url: str | None = None,
    api_key: str | None = None,
    workspace: str | None = None,
    spool: str | Path | None = None,
    run_id: str | None = None,
    raise_on_stop: bool = False,
    wait: float = 5.0,
    **attributes: Any,
) -> Run:
    """Begins a run, also while the server is away: waits at most `wait` seconds for the first answer or failure.

    `attributes`: experiment, model_type, config, params, tags, notes, parent_id. `run_id` goes on with a run instead.
    `spool`: where batches wait; AXONML_SPOOL, else ~/.cache/axonml. Raises ValueError without a usable URL and key.
    """
    run = Run(_Server.of(url, api_key, workspace), _folder(spool), run_id, raise_on_stop)
    if run_id is None:
        given = {"name": name, **attributes}
        run._create({key: _plain(value) for key, value in given.items() if value is not None})
        run._sender.tried.wait(wait)
    threading.Thread(target=_replay_beside, args=(run,), name="axonml-replay", daemon=True).start()
    return run


def replay(
    url: str | None = None, api_key: str | None = None, *, spool: str | Path | None = None, patience: float = 30.0
) -> int:
    """Sends what ended processes left on disk for this server, in order; answers how many batches are still left.

    Gives up on a server that is away for `patience` seconds.
    """
    server, left = _Server.of(url, api_key, None), 0
    for path in sorted(_folder(spool).glob("*.jsonl")):
        queue = _Queue.reopened(path)
        if queue is None:
            continue
        if queue.head["url"] == server.url:
            sender = _Sender(_Server(server.url, server.key, queue.head["workspace"]), queue, queue.head["run"])
            until = time.monotonic() + patience
            while len(queue) and time.monotonic() < until:
                if sender.step():
                    until = time.monotonic() + patience
                else:
                    time.sleep(max(0.0, min(sender.due, until) - time.monotonic()))
            left += len(queue)
        queue.close()
    return left


def _replay_beside(run: Run) -> None:
    try:
        replay(run._server.url, run._server.key, spool=run._folder, patience=1.0)
    except Exception as error:  # noqa: BLE001  # never the script's trouble
        _warn("replay", "could not send what earlier runs left: %s", error)


class Run:
    """A run that is logged to. Every method may be called from any thread; only flush and finish wait."""

    def __init__(self, server: _Server, folder: Path, run_id: str | None, raise_on_stop: bool) -> None:
        self._server, self._folder, self._raises = server, folder, raise_on_stop
        self._stop, self._keys, self._first, self._pid = threading.Event(), {}, None, os.getpid()
        self._begin(run_id)
        _live[id(self)] = self

    def _begin(self, run_id: str | None) -> None:
        self._lock, self._wake, self._thread, self._until = threading.Lock(), threading.Event(), None, None
        self._rows, self._values, self._lines, self._characters, self._finished = [], 0, [], 0, False
        self._queue = _Queue(self._folder / f"{time.time_ns()}-{uuid.uuid4().hex}.jsonl", self._server, run_id)
        self._sender = _Sender(self._server, self._queue, run_id, self._stop)

    def __repr__(self) -> str:
        return f"<axonml run {self.id or 'not created yet'}>"

    @property
    def id(self) -> str | None:
        """The run's id; None until the server was reached."""
        return self._sender.run

    @property
    def should_stop(self) -> bool:
        """Whether somebody asked the run to end; known with the next batch, or within 30 s when nothing is logged."""
        return self._stop.is_set()

    def log(self, metrics: dict[str, Any], step: int | None = None) -> None:
        """Logs numbers by key. Without a step the server counts on from the run's last one. NaN and inf are kept."""
        if self._raises and self._stop.is_set():
            raise RunStopped(f"{self.id} was asked to stop")
        row: dict[str, Any] = {"timestamp": int(time.time() * 1000)}
        for key, value in ({**metrics, "step": step} if step is not None else metrics).items():
            if type(value) is float and key not in _PLACES:
                number: Any = value if math.isfinite(value) else _name_of(value)
            else:
                number = _number(key, value)
            name = self._keys.get(key) or self._admitted(key)
            if number is not None and name:
                row[name] = number
        if len(row) == 1 + ("step" in row):
            return
        with self._lock:
            self._rows.append(row)
            self._values += len(row)
            full = self._values >= BATCH_VALUES
            if full:
                self._seal()
        self._awake(full)

    def _admitted(self, key: object) -> str | None:
        """The key as the server takes it: one that it refused would cost the whole batch."""
        name = unicodedata.normalize("NFC", str(key)).strip()
        if not 1 <= len(name) <= 250 or any(unicodedata.category(each) in ("Cc", "Cs") for each in name):
            _warn(("key", name[:250]), "metric %.100r is not logged: a key has 1 to 250 printable characters", key)
            return None
        self._keys[key] = name
        return name

    def log_text(self, text: str, level: str = "info") -> None:
        """Logs lines of text; `level` is debug, info, warning, error or critical."""
        text = str(text).replace("\0", "").encode("utf-8", "replace").decode()
        stamp = datetime.now(timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        pieces = [text[start : start + 60_000] for start in range(0, len(text), 60_000)] or [""]
        with self._lock:
            self._lines += [{"message": piece, "level": level, "timestamp": stamp} for piece in pieces]
            self._characters += len(text) + 100
            full = self._characters >= BATCH_CHARACTERS
            if full:
                self._seal()
        self._awake(full)

    logs = log_text

    def log_params(self, params: dict[str, Any]) -> None:
        """Logs hyperparameters. A key is written once: another value for it is refused, and said to be."""
        self._put("params", _plain(params))

    def set_tags(self, tags: dict[str, Any]) -> None:
        """Sets tags; None removes one."""
        self._put("tags", {str(key): None if value is None else str(value) for key, value in tags.items()})

    def flush(self, timeout: float = 30.0) -> bool:
        """Waits until everything logged so far is at the server, at most `timeout` seconds; whether it is."""
        with self._lock:
            self._seal()
        self._awake(True)
        until = time.monotonic() + timeout
        while len(self._queue) and time.monotonic() < until:
            time.sleep(0.01)
        return not len(self._queue)

    def finish(self, status: str = "completed", failure: str | None = None, timeout: float = 30.0) -> bool:
        """Ends the run as completed, failed or stopped. Whether the server knows it within `timeout` seconds.

        If not, everything is kept on disk for `replay` or the next `init`.
        """
        if not self._finished:
            self._put("finish", {"status": status, **({"failure": failure} if failure else {})})
            self._finished = True
        return self._close(timeout)

    def __enter__(self) -> Run:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> bool:
        if kind is None or (isinstance(error, SystemExit) and error.code in (None, 0)):
            self.finish("stopped" if self.should_stop else "completed")
        elif issubclass(kind, (RunStopped, KeyboardInterrupt)):
            self.finish("stopped")
        else:
            self.finish("failed", f"{kind.__name__}: {error}"[:2000])
        return kind is not None and issubclass(kind, RunStopped)

    def _create(self, body: dict[str, Any]) -> None:
        self._first = self._queue.append("", body)
        self._awake(True)

    def _put(self, path: str, body: Any) -> None:
        with self._lock:
            self._seal()
            if self._finished:
                _warn("finished", "something was logged to %s after its end, and is lost", self)
            elif body:
                self._queue.append(path, body)
        self._awake(True)

    def _seal(self) -> None:  # the lock is held
        rows, lines = self._rows, self._lines
        self._rows, self._values, self._lines, self._characters = [], 0, [], 0
        if (rows or lines) and self._finished:
            _warn("finished", "something was logged to %s after its end, and is lost", self)
            return
        if rows:
            self._queue.append("metrics", rows)
        if lines:
            self._queue.append("logs", {"lines": lines})

    def _awake(self, now: bool) -> None:
        if self._thread is None and not self._finished:
            with self._lock:
                if self._thread is None:
                    if os.getpid() != self._pid:  # a child of multiprocessing skips atexit
                        util.Finalize(None, self._close, args=(10.0,), exitpriority=10)
                    self._thread = threading.Thread(target=self._work, name="axonml", daemon=True)
                    self._thread.start()
        if now:
            self._wake.set()

    def _work(self) -> None:
        """The background thread: never more than one step behind what waits, never dies of an error."""
        while self._until is None or (len(self._queue) and time.monotonic() < self._until):
            try:
                away = self._sender.due - time.monotonic()
                if away > 0 or not len(self._queue):
                    self._wake.wait(min(FLUSH_SECONDS, away) if away > 0 and len(self._queue) else FLUSH_SECONDS)
                self._wake.clear()
                with self._lock:
                    self._seal()
                if self._sender.due > time.monotonic() or not self._sender.step():
                    self._queue.spill()
                self._queue.sync()
            except Exception as error:  # noqa: BLE001  # a defect here must not end the sending
                _warn("defect", "sending failed: %r", error)
                time.sleep(FLUSH_SECONDS)

    def _close(self, timeout: float) -> bool:
        with self._lock:
            self._seal()
        self._until = time.monotonic() + timeout
        self._wake.set()
        if self._thread is not None:
            self._thread.join(timeout + 0.5)
        self._queue.spill()
        left = len(self._queue)
        if left:
            _warn(self._queue, "%d batches of %s wait in %s for replay()", left, self, self._queue.path)
        self._queue.close()
        _live.pop(id(self), None)
        return left == 0

    def _forked(self) -> None:
        """In a forked child: what the parent buffered is the parent's; the child logs to the same run by itself."""
        self._queue.abandon()
        self._begin(self.id)
        if self.id is None and self._first is not None:
            self._queue.append(*self._first[2:], key=self._first[1])  # the same key: it creates no second run


class _Away(Exception):  # noqa: N818
    """Nothing was decided; try again, not before `hint` seconds."""

    def __init__(self, reason: str, hint: float = 0.0) -> None:
        super().__init__(reason)
        self.hint = hint


class _Refused(Exception):  # noqa: N818
    """The server said no, and would say so again."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


class _Direct(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: object) -> None:  # a redirected POST would lose its body, and show the key elsewhere
        return None


class _Server:
    def __init__(self, url: str, key: str, workspace: str | None) -> None:
        self.url, self.key, self.workspace = url, key, workspace
        self._opener = urllib.request.build_opener(_Direct)

    @classmethod
    def of(cls, url: str | None, key: str | None, workspace: str | None) -> _Server:
        url = (url or os.environ.get("AXONML_URL") or "http://127.0.0.1:3000").rstrip("/")
        key = (key or os.environ.get("AXONML_API_KEY") or "").strip()
        parts = urllib.parse.urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.username:
            raise ValueError("url (or AXONML_URL): expected http(s)://host[:port]")
        if not key or not key.isascii() or not key.isprintable():
            raise ValueError("api_key (or AXONML_API_KEY): expected an API key of the server")
        return cls(url, key, workspace)

    def post(self, path: str, body: Any, key: str | None) -> dict[str, Any]:
        headers = {"Authorization": f"Bearer {self.key}", "Content-Type": "application/json"}
        headers |= {"Idempotency-Key": key} if key else {}
        headers |= {"X-Axonml-Workspace": self.workspace} if self.workspace else {}
        request = urllib.request.Request(self.url + path, _encoded(body), headers)  # noqa: S310  # checked in `of`
        try:
            with self._opener.open(request, timeout=REQUEST_SECONDS) as reply:
                answer = json.loads(reply.read())
            if isinstance(answer, dict):
                return answer
            raise _Away("the answer is not AxonML's")
        except urllib.error.HTTPError as error:
            with error:
                raise _problem(error) from None
        except (OSError, HTTPException, ValueError) as error:
            raise _Away(str(getattr(error, "reason", error)) or type(error).__name__) from None


def _problem(error: urllib.error.HTTPError) -> Exception:
    hint = 0.0
    with contextlib.suppress(TypeError, ValueError):
        text = (error.headers.get("Retry-After") or "").strip()
        at = None if text.isdigit() else email.utils.parsedate_to_datetime(text)
        hint = float(text) if at is None else at.timestamp() - time.time()
    try:
        said = json.loads(error.read())["error"]
        reason = f"{error.code} {said['code']}: {said['message']}"
    except (OSError, HTTPException, ValueError, KeyError, TypeError):  # a proxy's word decides nothing
        return _Away(f"{error.code} {error.reason}", min(hint, LONGEST_HINT))
    if error.code in (401, 403):  # heals with another key, so nothing is thrown away
        return _Away(reason, LONGEST_PAUSE)
    if error.code in (408, 425, 429) or error.code > 500:
        return _Away(reason, min(hint, LONGEST_HINT))
    return _Refused(error.code, reason)


class _Sender:
    """Delivers the batches of a queue in order, one attempt at a time."""

    def __init__(self, server: _Server, queue: _Queue, run: str | None, stop: threading.Event | None = None) -> None:
        self.run, self.due, self.tried = run, 0.0, threading.Event()
        self._server, self._queue, self._stop = server, queue, stop
        self._failures = self._defects = 0
        self._beaten = time.monotonic()

    def step(self) -> bool:
        """Delivers the oldest batch. False when the server is away: `due` says when to try again."""
        batch = self._queue.peek()
        try:
            if batch is not None:
                self._deliver(*batch[1:])
                self._queue.done(batch[0], self.run)
            elif self.run and time.monotonic() - self._beaten > BEAT_SECONDS:
                self._deliver(None, "metrics", {"heartbeat": None})  # no point: it tells that the script lives
        except _Away as away:
            self._failures += 1
            if self._failures == 1:
                _log.warning("%s is away (%s); what is logged waits in %s", self._server.url, away, self._queue.path)
            pause = min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** min(self._failures, 10)) * random.uniform(0.5, 1)  # noqa: S311
            self.due = time.monotonic() + max(pause, away.hint)
            return False
        finally:
            self.tried.set()
        if batch is not None:
            self._failures = self._defects = 0
        return True

    def _deliver(self, key: str | None, path: str, body: Any) -> None:
        if path and self.run is None:
            return  # its creation was refused
        self._beaten = time.monotonic()
        try:
            answer = self._server.post("/api/training/runs" + (f"/{self.run}/{path}" if path else ""), body, key)
        except _Refused as refusal:
            if refusal.status == 500 and self._defects < MOST_DEFECTS:
                self._defects += 1
                raise _Away(str(refusal)) from None
            halves = _halves(path, body) if refusal.status in (400, 413, 422) or path == "params" else ()
            if not halves:
                _warn((self._queue, path, refusal.status), "%s refuses %s: %s", self._server.url, path or "it", refusal)
            for letter, half in zip("ab", halves):
                self._deliver(f"{key}{letter}", path, half)  # only what is wrong is lost
            return
        if not path and not isinstance(answer.get("id"), str):
            raise _Away("the answer is not AxonML's")
        self.run = self.run if path else answer["id"]
        if answer.get("stop_requested") and self._stop is not None:
            self._stop.set()


def _halves(path: str, body: Any) -> tuple[Any, ...]:
    parts = body["lines"] if path == "logs" else list(body.items()) if path in ("params", "tags") else body
    if not isinstance(parts, list) or len(parts) < 2:
        return ()
    cut = parts[: len(parts) // 2], parts[len(parts) // 2 :]
    return tuple({"lines": half} if path == "logs" else half if path == "metrics" else dict(half) for half in cut)


class _Queue:
    """Batches in order of their numbers: some in memory, the rest in a file, one JSON line each, only ever appended to.

    The first line names the server and the run, `done` lines the batches that were delivered. A file whose batches
    are all delivered is deleted. Its lock is held as long as its process lives.
    """

    def __init__(self, path: Path, server: _Server | None, run: str | None) -> None:
        self.path, self.head = path, {"url": "", "workspace": None, "run": run}
        if server is not None:
            self.head |= {"url": server.url, "workspace": server.workspace}
        self._lock, self._numbers, self._memory = threading.Lock(), itertools.count(), deque()
        self._disk: list[tuple[int, int, int]] = []  # a heap of (number, place, length)
        self._file, self._unsynced, self._synced = -1, False, 0.0

    @classmethod
    def reopened(cls, path: Path) -> _Queue | None:
        """What an ended process left; None when there is nothing, or its process lives."""
        queue = cls(path, None, None)
        try:
            queue._file = os.open(path, os.O_RDWR | os.O_APPEND)
        except OSError:
            return None
        try:
            if fcntl:
                fcntl.flock(queue._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            queue._load()
        except (OSError, ValueError, KeyError, TypeError) as error:
            if not isinstance(error, BlockingIOError):
                _warn(path, "%s cannot be read: %s", path, error)
            queue.abandon()
            return None
        return queue

    def _load(self) -> None:
        place, batches = 0, {}
        with open(self._file, "rb", closefd=False) as lines:
            for line in lines:
                if not line.endswith(b"\n"):
                    os.ftruncate(self._file, place)  # its writer was killed in the middle of it
                    break
                entry = json.loads(line)
                if "url" in entry:
                    self.head = entry
                elif "done" in entry:
                    batches.pop(entry["done"], None)
                    self.head["run"] = entry["run"]
                else:
                    batches[entry["n"]] = (entry["n"], place, len(line))
                place += len(line)
        self.head["url"]  # KeyError: not such a file
        self._disk = sorted(batches.values())

    def __len__(self) -> int:
        return len(self._memory) + len(self._disk)

    def append(self, path: str, body: Any, key: str | None = None) -> tuple[int, str, str, Any]:
        batch = (next(self._numbers), key or uuid.uuid4().hex, path, body)
        with self._lock:
            if len(self._memory) < MEMORY_BATCHES:
                self._memory.append(batch)
                return batch
        if not self._write(batch):
            _warn((self, "lost"), "memory is full and %s takes no more: points are being lost", self.path)
        return batch

    def peek(self) -> tuple[int, str, str, Any] | None:
        """The oldest batch."""
        with self._lock:
            if self._disk and (not self._memory or self._disk[0][0] < self._memory[0][0]):
                number, place, length = self._disk[0]
                os.lseek(self._file, place, os.SEEK_SET)
                line = json.loads(os.read(self._file, length))
                return number, line["key"], line["path"], line["body"]
            return self._memory[0] if self._memory else None

    def done(self, number: int, run: str | None) -> None:
        """Forgets a batch that was delivered."""
        with self._lock:
            if self._memory and self._memory[0][0] == number:
                self._memory.popleft()
            elif self._disk and self._disk[0][0] == number:
                heapq.heappop(self._disk)
            self.head["run"] = run
            if self._file >= 0 and not self._disk:
                self._release(delete=True)
            elif self._file >= 0:
                with contextlib.suppress(OSError):  # at worst it is sent again, and counts once
                    self._line({"done": number, "run": run})

    def spill(self) -> None:
        """Puts what is in memory on disk, if the disk takes it."""
        while self._memory:
            batch = self._memory[0]
            if not self._write(batch):
                return
            with self._lock:
                if self._memory and self._memory[0] is batch:
                    self._memory.popleft()

    def _write(self, batch: tuple[int, str, str, Any]) -> bool:
        line = dict(zip(("n", "key", "path", "body"), batch))
        with self._lock:
            try:
                if self._file < 0:
                    self._open()
                heapq.heappush(self._disk, (batch[0], *self._line(line)))
            except OSError as error:
                _warn((self, "disk"), "%s cannot be written: %s", self.path, error)
                return False
        return True

    def _open(self) -> None:
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._file = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            if fcntl:
                fcntl.flock(self._file, fcntl.LOCK_EX)
            self._line(self.head)
        except OSError:
            self._release(delete=True)
            raise

    def _line(self, entry: dict[str, Any]) -> tuple[int, int]:
        """Appends a line whole or not at all; its place and length."""
        data, place = _encoded(entry) + b"\n", os.lseek(self._file, 0, os.SEEK_END)
        written = os.write(self._file, data) if place + len(data) <= SPOOL_BYTES else -1
        if written < len(data):
            os.ftruncate(self._file, place)
            raise OSError("the disk, or the file's share of it, is full")
        self._unsynced = True
        return place, len(data)

    def sync(self, *, now: bool = False) -> None:
        """Forces what was written to the disk, at most once a second."""
        if self._unsynced and (now or time.monotonic() - self._synced >= SYNC_SECONDS):
            with self._lock:
                self._unsynced, self._synced, file = False, time.monotonic(), self._file
            if file >= 0:
                with contextlib.suppress(OSError):
                    os.fsync(file)

    def close(self) -> None:
        self.sync(now=True)
        with self._lock:
            if self._file >= 0:
                self._release(delete=not self._disk)
            self._memory.clear()
            self._disk.clear()

    def _release(self, *, delete: bool) -> None:
        if delete:
            self.path.unlink(missing_ok=True)
        self.abandon()

    def abandon(self) -> None:
        """Lets go of the file without a word about it."""
        file, self._file = self._file, -1
        if file >= 0:
            os.close(file)


def _folder(spool: str | Path | None) -> Path:
    return Path(spool or os.environ.get("AXONML_SPOOL") or Path.home() / ".cache" / "axonml")


def _number(key: str, value: Any) -> Any:
    """A value as JSON carries it; None, with a warning, for what is no number."""
    try:
        if value is None:
            return None
        if isinstance(value, (str, bytes)):
            raise TypeError
        number = int(value) if key in _PLACES else float(value)
        if key in _PLACES and not -(2**63) <= number < 2**63:
            raise ValueError
        return number if math.isfinite(number) else _name_of(number)
    except Exception:  # noqa: BLE001  # whatever a foreign type raises when asked for a number
        _warn(("value", key), "%.100r is not logged: its value is no number but a %s", key, type(value).__name__)
        return None


def _name_of(value: float) -> str:
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def _plain(value: Any) -> Any:
    """A value as JSON carries it: what JSON does not know becomes text."""
    if isinstance(value, dict):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_plain(each) for each in value]
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else _name_of(value)
    if value is None or isinstance(value, (bool, int, str)):
        return value
    return _plain(value.item()) if getattr(value, "size", 0) == 1 and hasattr(value, "item") else str(value)


def _encoded(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":"), allow_nan=False).encode()


def _warn(what: object, text: str, *arguments: object) -> None:
    if what not in _warned:
        _warned.add(what)
        _log.warning(text, *arguments)


def _at_exit() -> None:
    for run in list(_live.values()):
        run._close(10.0)


def _in_child() -> None:
    for run in list(_live.values()):
        run._forked()


atexit.register(_at_exit)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_child)
