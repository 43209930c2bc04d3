"""Log training runs to an AxonML server. One file, standard library only: copy it beside your script.

    import axonml_client as axonml

    with axonml.init(name="resnet", config={"lr": 0.1}) as run:  # reads AXONML_URL and AXONML_API_KEY
        for step in range(1000):
            run.log({"loss": loss}, step=step)
            if run.should_stop:  # somebody asked the run to end
                break

Logging only appends to a buffer; a background thread writes batches, by size and by time, to a file and sends them from
there in order. A server that is slow, away or refuses never stops the script: what it did not take is sent later, by
this process, by the next `init`, or by `replay()`. Each batch has a key of its own: what arrives twice counts once.
kill -9 costs at most the last second, what is in the file survives it; a power cut may cost what was written since the
last fsync: once a second while the server is away, and at the end. The API key is never written. What the server
refuses for good is reported on the logger "axonml", and dropped. A run that is never finished is shown as stalled.
"""

# ruff: noqa: SLF001, B905, UP017  # one module in several classes; works from Python 3.9 on
from __future__ import annotations

import atexit
import contextlib
import email.utils
import io
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

try:
    import fcntl
except ImportError:  # Windows: there, replay only while no other script runs
    fcntl = None

BATCH_VALUES, BATCH_CHARACTERS, MEMORY_BATCHES = 2_000, 250_000, 250  # small: encoding one holds the script up for ms
FILE_BYTES, MEMORY_BYTES = 2 << 30, 64 << 20  # of a run's file, and without a disk; what is beyond is lost, and told
FLUSH_SECONDS, BEAT_SECONDS, REQUEST_SECONDS = 1.0, 30.0, 20.0
FIRST_PAUSE, LONGEST_PAUSE, LONGEST_HINT, MOST_DEFECTS = 0.25, 30.0, 300.0, 10
TELL_SECONDS = 60.0  # between two warnings about a server that takes one batch and refuses the next
_PLACES = ("step", "timestamp")
_log, _live, _warned = logging.getLogger("axonml"), {}, set()


class RunStopped(Exception):  # noqa: N818  # a wish, not an error
    """Raised by `log` once somebody asked the run to end, with `init(raise_on_stop=True)`."""


def init(name=None, *, url=None, api_key=None, workspace=None, run_id=None, raise_on_stop=False, **more) -> Run:
    """Begins a run; waits at most `wait` (5) seconds for the server's first answer, or for the first failure.

    `more`: experiment, model_type, config, params, tags, notes, parent_id; `wait`; `spool`, the folder of the files
    (AXONML_SPOOL, else ~/.cache/axonml); `system`: log CPU and memory every so many seconds, in a stream beside the
    metrics (0: never). `run_id` goes on with a run instead. Raises ValueError without URL or key.
    """
    wait, spool, system = more.pop("wait", 5.0), _folder(more.pop("spool", None)), more.pop("system", 0)
    run = Run(_Server.of(url, api_key, workspace), spool, run_id, raise_on_stop, _Load(system) if system else None)
    if run_id is None:
        run._put("", {key: _plain(value) for key, value in {"name": name, **more}.items() if value is not None})
        run._sender.tried.wait(wait)
    elif system:
        run._awake(False)
    threading.Thread(target=_replay, args=(run._server, spool, 1.0), name="axonml-replay", daemon=True).start()
    return run


def replay(url=None, api_key=None, *, spool=None, patience=30.0) -> int:
    """Sends what ended processes left for this server, in order; answers how many batches are still left.

    Gives up on a server that is away for `patience` seconds.
    """
    return _replay(_Server.of(url, api_key, None), _folder(spool), patience)


def _replay(server, folder, patience):
    left = 0
    for path in sorted(folder.glob("*.jsonl")):
        spool = _Spool.reopened(path)
        if spool is not None and spool.head["url"] == server.url:
            sender = _Sender(_Server(server.url, server.key, spool.head["workspace"]), spool, spool.head["run"])
            until = time.monotonic() + patience
            while len(spool) and time.monotonic() < until:
                if sender.step():
                    until = time.monotonic() + patience
                else:
                    time.sleep(max(0.0, min(sender.due, until) - time.monotonic()))
            left += len(spool)
        if spool is not None:
            spool.close()
    return left


class Run:
    """A run that is logged to. Every method may be called from any thread; only flush and finish wait."""

    def __init__(self, server, folder, run_id, raise_on_stop, load=None):
        self._server, self._folder, self._raises, self._stop = server, folder, raise_on_stop, threading.Event()
        self._load = load
        self._keys, self._first, self._pid = {}, None, os.getpid()
        self._begin(run_id)
        _live[id(self)] = self

    def _begin(self, run_id):
        self._lock, self._storing, self._wake = threading.Lock(), threading.Lock(), threading.Event()
        self._rows, self._values, self._lines, self._characters, self._sealed = [], 0, [], 0, deque()
        self._thread, self._until, self._finished = None, None, False
        head = {"url": self._server.url, "workspace": self._server.workspace, "run": run_id}
        self._spool = _Spool(self._folder / f"{time.time_ns()}-{uuid.uuid4().hex}.jsonl", head)
        self._sender = _Sender(self._server, self._spool, run_id, self._stop)

    def __repr__(self):
        return f"<axonml run {self.id or 'not created yet'}>"

    @property
    def id(self) -> str | None:
        """The run's id; None until the server was reached."""
        return self._sender.run

    @property
    def should_stop(self) -> bool:
        """Whether somebody asked the run to end; known with the next batch, or within 30 s when nothing is logged."""
        return self._stop.is_set()

    def log(self, metrics: dict, step: int | None = None) -> None:
        """Logs numbers by key. Without a step the server counts on from the run's last one. NaN and inf are kept."""
        if self._raises and self._stop.is_set():
            raise RunStopped(f"{self.id} was asked to stop")
        row = {"timestamp": int(time.time() * 1000)}
        for key, value in ({**metrics, "step": step} if step is not None else metrics).items():
            plain = type(value) is float and key not in _PLACES and math.isfinite(value)
            number, name = value if plain else _number(key, value), self._keys.get(key) or self._admitted(key)
            if number is not None and name:
                row[name] = number
        if len(row) > 1 + ("step" in row):
            with self._lock:
                self._rows.append(row)
                self._values += len(row)
            self._awake(self._values >= BATCH_VALUES)

    def _admitted(self, key):
        """The key as the server takes it: one that it refused would cost the whole batch."""
        name = unicodedata.normalize("NFC", str(key)).strip()
        if not 1 <= len(name) <= 250 or any(unicodedata.category(each) in ("Cc", "Cs") for each in name):
            return _warn(("key", name[:250]), "%.100r is not logged: a key has 1 to 250 printable characters", key)
        self._keys[key] = name
        return name

    def log_text(self, text: str, level: str = "info") -> None:
        """Logs lines of text; `level` is debug, info, warning, error or critical.

        Of a progress bar, texts that begin or end with a carriage return, the server keeps the newest.
        """
        text = str(text).replace("\0", "").encode("utf-8", "replace").decode()
        stamp = datetime.now(timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        pieces = [text[start : start + 60_000] for start in range(0, len(text), 60_000)] or [""]
        with self._lock:
            self._lines += [{"message": piece, "level": level, "timestamp": stamp} for piece in pieces]
            self._characters += len(text) + 100
        self._awake(self._characters >= BATCH_CHARACTERS)

    logs = log_text

    def log_params(self, params: dict) -> None:
        """Logs hyperparameters. A key is written once: another value for it is refused, and said to be."""
        self._put("params", _plain(params))

    def set_tags(self, tags: dict) -> None:
        """Sets tags; None removes one."""
        self._put("tags", {str(key): None if value is None else str(value) for key, value in tags.items()})

    def flush(self, timeout: float = 30.0) -> bool:
        """Waits until the server has everything logged so far, at most `timeout` seconds; whether it has."""
        until = time.monotonic() + timeout
        while self._waiting() and time.monotonic() < until:
            self._wake.set()
            time.sleep(0.01)
        return not self._waiting()

    def finish(self, status: str = "completed", failure: str | None = None, timeout: float = 30.0) -> bool:
        """Ends the run as completed, failed or stopped; whether the server knows it within `timeout` seconds.

        If not, everything is kept for `replay` or the next `init`.
        """
        if not self._finished:
            self._load = None  # what it read so far is sent before the end
            self._put("finish", {"status": status, **({"failure": failure} if failure else {})})
            self._finished = True
        return self._close(timeout)

    def __enter__(self) -> Run:
        return self

    def __exit__(self, kind, error, trace) -> bool:
        if kind is None or (isinstance(error, SystemExit) and error.code in (None, 0)):
            self.finish("stopped" if self.should_stop else "completed")
        elif issubclass(kind, (RunStopped, KeyboardInterrupt)):
            self.finish("stopped")
        else:
            self.finish("failed", f"{kind.__name__}: {error}"[:2000])
        return kind is not None and issubclass(kind, RunStopped)

    def _put(self, path, body):
        with self._lock:
            self._seal()
            if self._finished:
                _warn("finished", "what is logged to %s after its end is lost", self)
            elif body or not path:
                self._sealed.append((uuid.uuid4().hex, path, body))
                self._first = self._first or self._sealed[-1]
        self._awake(True)

    def _seal(self):
        """Makes batches of what is buffered. The lock is held."""
        rows, self._rows, self._values = self._rows, [], 0
        lines, self._lines, self._characters = self._lines, [], 0
        if (rows or lines) and self._finished:
            _warn("finished", "what is logged to %s after its end is lost", self)
        elif rows or lines:
            both = ("metrics", rows), ("logs", {"lines": lines} if lines else None)
            self._sealed.extend((uuid.uuid4().hex, path, body) for path, body in both if body)

    def _store(self, most):
        """Writes batches to the file, in order, until at most so many are in memory only."""
        while len(self._sealed) > most:
            with self._storing:
                if len(self._sealed) > most:
                    self._spool.append(dict(zip(("key", "path", "body"), self._sealed.popleft())))

    def _waiting(self):
        return len(self._rows) + len(self._lines) + len(self._sealed) + len(self._spool)

    def _awake(self, full):
        if self._thread is None and not self._finished:
            with self._lock:
                if self._thread is None:
                    if os.getpid() != self._pid:  # a child of multiprocessing skips atexit
                        util.Finalize(None, self._close, args=(10.0,), exitpriority=10)
                    self._thread = threading.Thread(target=self._work, name="axonml", daemon=True)
                    self._thread.start()
        if full:
            with self._lock:
                self._seal()
            self._store(MEMORY_BATCHES)  # only when the background thread is stuck does this do anything
            self._wake.set()

    def _work(self):
        while self._until is None or (self._waiting() and time.monotonic() < self._until):
            try:
                away = self._sender.due - time.monotonic()
                self._wake.wait(min(FLUSH_SECONDS, max(0.0, away)) if len(self._spool) else FLUSH_SECONDS)
                self._wake.clear()
                with self._lock:
                    load = self._load  # `finish` takes it away at any time
                    row = load.row() if load is not None else None
                    self._rows += [row] if row else []
                    self._seal()
                self._store(0)
                if self._sender.due > time.monotonic() or not self._sender.step():
                    self._spool.sync()
            except Exception as error:  # noqa: BLE001  # a defect must not end the sending
                _warn("defect", "sending failed: %r", error)
                time.sleep(FLUSH_SECONDS)

    def _close(self, timeout):
        self._until = time.monotonic() + timeout
        self._wake.set()
        if self._thread is not None:
            self._thread.join(timeout + 0.5)
        with self._lock:
            self._seal()
        self._store(0)
        left = len(self._spool)
        if left:
            _warn(self._spool, "%d batches of %s wait in %s for replay()", left, self, self._spool.path)
        self._spool.close()
        _live.pop(id(self), None)
        return left == 0

    def _forked(self):
        """In a forked child: what the parent buffered is the parent's; the child logs to the same run by itself."""
        self._spool.abandon()
        self._load = None
        self._begin(self.id)
        if self.id is None and self._first is not None:
            self._sealed.append(self._first)  # with the same key it creates no second run


class _Failure(Exception):  # noqa: N818
    """No answer, or one that is not final (try again after `hint` seconds), or a final no with its `status`."""

    def __init__(self, reason, status=None, hint=0.0):
        super().__init__(reason)
        self.status, self.hint = status, hint


class _Direct(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_):  # a redirected POST would lose its body, and show the key elsewhere
        return None


class _Server:
    def __init__(self, url, key, workspace):
        self.url, self.key, self.workspace = url, key, workspace
        self._opener = urllib.request.build_opener(_Direct)

    @classmethod
    def of(cls, url, key, workspace):
        url = (url or os.environ.get("AXONML_URL") or "http://127.0.0.1:3000").rstrip("/")
        key, parts = (key or os.environ.get("AXONML_API_KEY") or "").strip(), urllib.parse.urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.username:
            raise ValueError("url (or AXONML_URL): expected http(s)://host[:port]")
        if not key or not key.isascii() or not key.isprintable():
            raise ValueError("api_key (or AXONML_API_KEY): expected an API key of the server")
        return cls(url, key, workspace)

    def post(self, path, body, key):
        headers = {"Authorization": f"Bearer {self.key}", "Content-Type": "application/json"}
        headers.update({"Idempotency-Key": key} if key else {})
        headers.update({"X-Axonml-Workspace": self.workspace} if self.workspace else {})
        request = urllib.request.Request(self.url + path, _encoded(body), headers)  # noqa: S310  # checked in `of`
        try:
            with self._opener.open(request, timeout=REQUEST_SECONDS) as reply:
                answer = json.loads(reply.read())
        except urllib.error.HTTPError as error:
            with error:
                raise _failure(error) from None
        except (OSError, HTTPException, ValueError) as error:
            raise _Failure(str(getattr(error, "reason", error)) or type(error).__name__) from None
        if not isinstance(answer, dict) or not isinstance(answer.get("cursor" if "accepted" in answer else "id"), str):
            raise _Failure("the answer is not AxonML's")
        return answer


def _failure(error):
    hint = 0.0
    with contextlib.suppress(TypeError, ValueError):
        text = (error.headers.get("Retry-After") or "").strip()
        hint = float(text) if text.isdigit() else email.utils.parsedate_to_datetime(text).timestamp() - time.time()
    try:
        said = json.loads(error.read())["error"]
        reason = f"{error.code} {said['code']}: {said['message']}"
    except (OSError, HTTPException, ValueError, KeyError, TypeError):  # a proxy's word decides nothing
        return _Failure(f"{error.code} {error.reason}", hint=min(hint, LONGEST_HINT))
    if error.code in (401, 403):  # another key heals it, so nothing is thrown away
        return _Failure(reason, hint=LONGEST_PAUSE)
    passing = error.code in (408, 425, 429) or error.code > 500
    return _Failure(reason, None if passing else error.code, min(hint, LONGEST_HINT))


class _Sender:
    """Delivers the batches of a file in order, one attempt at a time."""

    def __init__(self, server, spool, run, stop=None):
        self.run, self.due, self.tried = run, 0.0, threading.Event()
        self._server, self._spool, self._stop = server, spool, stop
        self._failures, self._defects, self._beaten, self._told = 0, 0, time.monotonic(), -math.inf

    def step(self) -> bool:
        """Delivers the oldest batch. False when the server is away: `due` says when to try again."""
        batch = self._spool.peek()
        try:
            if batch is not None:
                self._deliver(batch["key"], batch["path"], batch["body"])
                self._spool.done(self.run)
            elif self.run and time.monotonic() - self._beaten > BEAT_SECONDS:
                self._deliver(None, "metrics", {"heartbeat": None})  # no point: it tells that the script lives
        except _Failure as failure:
            self._failures += 1
            if self._failures == 1 and time.monotonic() - self._told >= TELL_SECONDS:
                self._told = time.monotonic()
                _log.warning("%s takes nothing now (%s); what is logged waits", self._server.url, failure)
            pause = min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** min(self._failures, 10)) * random.uniform(0.5, 1)  # noqa: S311
            self.due = time.monotonic() + max(pause, failure.hint)
            return False
        finally:
            self.tried.set()
        if batch is not None:
            self._failures = self._defects = 0
        return True

    def _deliver(self, key, path, body):
        if path and self.run is None:
            return  # its creation was refused
        self._beaten = time.monotonic()
        try:
            answer = self._server.post("/api/training/runs" + (f"/{self.run}/{path}" if path else ""), body, key)
        except _Failure as failure:
            self._defects += failure.status == 500
            if failure.status is None or (failure.status == 500 and self._defects < MOST_DEFECTS):
                failure.status = None
                raise
            halves = _halves(path, body) if failure.status in (400, 413, 422) or path == "params" else ()
            if not halves:
                _warn((self._spool, path, failure.status), "%s refuses %s: %s", self._server.url, path or "it", failure)
            for letter, half in zip("ab", halves):
                self._deliver(f"{key}{letter}", path, half)  # only what is wrong is lost
            return
        self.run = self.run if path else answer["id"]
        if answer.get("stop_requested") and self._stop is not None:
            self._stop.set()


def _halves(path, body):
    parts = body["lines"] if path == "logs" else list(body.items()) if path in ("params", "tags") else body
    if not isinstance(parts, list) or len(parts) < 2:
        return ()
    cut = parts[: len(parts) // 2], parts[len(parts) // 2 :]
    return tuple({"lines": half} if path == "logs" else half if path == "metrics" else dict(half) for half in cut)


class _Spool:
    """Batches in order, one JSON line each, in a file that is only appended to, and emptied when all are delivered.

    Its first line names the server and the run; `done` lines name the batches that were delivered, by their place.
    A lock tells other processes that this one lives. Where no file can be written, memory has to do.
    """

    def __init__(self, path, head):
        self.path, self.head, self._lock, self._waiting = path, head, threading.Lock(), deque()
        self._file, self._limit, self._synced = None, FILE_BYTES, 0.0

    @classmethod
    def reopened(cls, path):
        """What an ended process left; None when there is nothing, or its process lives."""
        spool = cls(path, None)
        try:
            spool._file = path.open("rb+", buffering=0)
            if fcntl:
                fcntl.flock(spool._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            place, waiting = 0, {}
            for line in io.BufferedReader(io.FileIO(spool._file.fileno(), closefd=False)):
                if not line.endswith(b"\n"):
                    spool._file.truncate(place)  # its writer was killed in the middle of it
                    break
                entry = json.loads(line)
                if "done" in entry:
                    waiting.pop(entry["done"], None)
                    spool.head["run"] = entry["run"]
                elif place:
                    waiting[place] = (place, len(line))
                else:
                    spool.head = {key: entry[key] for key in ("url", "workspace", "run")}
                place += len(line)
            spool._waiting.extend(waiting.values())
        except (OSError, ValueError, KeyError, TypeError) as error:
            if not isinstance(error, (BlockingIOError, FileNotFoundError)):
                _warn(path, "%s cannot be read: %r", path, error)
            spool.abandon()
        return spool if spool.head else spool.abandon()

    def __len__(self):
        return len(self._waiting)

    def append(self, batch):
        with self._lock:
            try:
                if self._file is None:
                    self._open()
                self._waiting.append(self._line(batch))
            except OSError as error:
                _warn((self, "lost"), "points are being lost: %s: %s", self.path, error)

    def _open(self):
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._file = open(self.path, "xb+", buffering=0, opener=lambda path, flags: os.open(path, flags, 0o600))  # noqa: SIM115
            if fcntl:
                fcntl.flock(self._file, fcntl.LOCK_EX)
            self._line(self.head)
        except OSError as error:
            _warn(self, "%s cannot be written, so what waits dies with this process: %s", self.path, error)
            self._discard()
            self._file, self._limit = io.BytesIO(), MEMORY_BYTES
            self._line(self.head)

    def _line(self, entry):
        """Appends a line whole or not at all; its place and length."""
        data, place = _encoded(entry) + b"\n", self._file.seek(0, os.SEEK_END)
        try:
            if place + len(data) <= self._limit and self._file.write(data) == len(data):
                return place, len(data)
        except OSError:
            pass
        self._file.truncate(place)
        raise OSError("no room")

    def peek(self):
        """The oldest batch."""
        with self._lock:
            if not self._waiting:
                return None
            self._file.seek(self._waiting[0][0])
            return json.loads(self._file.read(self._waiting[0][1]))

    def done(self, run):
        """Forgets the oldest batch: it was delivered."""
        with self._lock, contextlib.suppress(OSError):  # at worst it is sent again, and counts once
            if self._file is None:
                return  # closed while the batch was on its way
            place, _ = self._waiting.popleft()
            self.head["run"] = run
            if self._waiting:
                self._line({"done": place, "run": run})
                return
            self._file.truncate(0)
            try:
                self._line(self.head)
            except OSError:  # the next batch begins a new one
                self._discard()

    def sync(self, *, now=False):
        """Forces what was written to the disk, at most once a second."""
        if isinstance(self._file, io.FileIO) and (now or time.monotonic() - self._synced >= FLUSH_SECONDS):
            self._synced = time.monotonic()
            with contextlib.suppress(OSError):
                os.fsync(self._file.fileno())

    def close(self):
        with self._lock:
            if self._waiting:
                self.sync(now=True)
                self.abandon()
            else:
                self._discard()

    def _discard(self):
        if isinstance(self._file, io.FileIO):
            self.path.unlink(missing_ok=True)
        self.abandon()

    def abandon(self):
        """Lets go of the file."""
        file, self._file = self._file, None
        if file is not None:
            file.close()


class _Load:
    """What this process and its machine do, as rows of metrics: keys under system/, whose steps are their times."""

    def __init__(self, seconds):
        self._seconds, self._due, self._before = float(seconds), 0.0, self._counters()

    def row(self):
        """The next reading, once it is due; None before. Percentages are since the reading before."""
        now = time.monotonic()
        if now < self._due:
            return None
        self._due, before, self._before = now + self._seconds, self._before, self._counters()
        at, worked, busy, total = (after - then for after, then in zip(self._before, before))
        row = {"timestamp": int(time.time() * 1000)}
        if at > 0:
            row["system/process_cpu_percent"] = 100 * worked / at  # of one core
        if total > 0:
            row["system/cpu_percent"] = min(100.0, max(0.0, 100 * busy / total))  # of all cores
        with contextlib.suppress(OSError, ValueError, IndexError):
            pages = int(Path("/proc/self/statm").read_text("ascii").split()[1])
            row["system/process_memory_bytes"] = pages * os.sysconf("SC_PAGE_SIZE")
        with contextlib.suppress(OSError, ValueError, KeyError):
            lines = Path("/proc/meminfo").read_text("ascii").splitlines()
            kilobytes = {name: int(rest.split()[0]) for name, _, rest in (line.partition(":") for line in lines)}
            row["system/memory_used_bytes"] = 1024 * (kilobytes["MemTotal"] - kilobytes["MemAvailable"])
        return row if len(row) > 1 else None

    @staticmethod
    def _counters():
        """Seconds on the clock and of this process; of all cores busy and in all, 0 where nobody tells."""
        ticks = []
        with contextlib.suppress(OSError, ValueError):
            ticks = [int(each) for each in Path("/proc/stat").read_text("ascii").split("\n")[0].split()[1:9]]
        return time.monotonic(), time.process_time(), sum(ticks) - sum(ticks[3:5]), sum(ticks)


def _folder(spool):
    return Path(spool or os.environ.get("AXONML_SPOOL") or Path.home() / ".cache" / "axonml")


def _number(key, value):
    """A value as JSON carries it; None, with a warning, for what is no number."""
    try:
        if value is None:
            return None
        number = int(value) if key in _PLACES else float(value)
        if isinstance(value, (str, bytes)) or (key in _PLACES and not -(2**63) <= number < 2**63):
            raise ValueError
        return _plain(number)
    except Exception:  # noqa: BLE001  # whatever a foreign type raises when asked for a number
        return _warn(("value", key), "%.100r is not logged: its value is no number but a %s", key, type(value).__name__)


def _plain(value):
    """A value as JSON carries it: what JSON does not know becomes text."""
    if isinstance(value, dict):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_plain(each) for each in value]
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    return _plain(value.item()) if getattr(value, "size", 0) == 1 and hasattr(value, "item") else str(value)


def _encoded(value):
    return json.dumps(value, separators=(",", ":"), allow_nan=False).encode()


def _warn(what, text, *arguments):
    if what not in _warned:
        _warned.add(what)
        _log.warning(text, *arguments)


def _at_exit():
    for run in list(_live.values()):
        run._close(10.0)


def _in_child():
    for run in list(_live.values()):
        run._forked()


atexit.register(_at_exit)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_child)
