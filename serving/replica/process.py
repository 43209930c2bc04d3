"""A replica's life: receive what to load, load it, warm it up, serve until drained or orphaned.

Runs in a process forked by `serving.forkserver`. The main thread computes; a second one listens. It must
never outlive the host: the lifeline's end ends it, also while it loads.
"""

from __future__ import annotations

import faulthandler
import os
import socket
import statistics
import sys
import threading
import time
import traceback
from contextlib import suppress
from pathlib import Path

import msgspec
import torch

from domain import architecture
from domain.errors import DomainError
from domain.tensors import Array
from serving import control
from serving.memory import trim
from serving.replica import program, transfer
from serving.replica.batcher import Batcher
from serving.replica.listener import Listener

_OOM_SCORE = "300"  # the kernel ends a replica before it ends the server
_WARM_UP_SECONDS = 3.0


def main(lifeline: socket.socket) -> int:
    """Serve one model; the exit status. 0: drained, or the host is gone; 3: could not load."""
    faulthandler.enable()
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(_OOM_SCORE)
    load = _receive(lifeline)
    if load is None:
        return 0
    torch.set_num_threads(load.threads)
    torch.set_num_interop_threads(1)
    graph = architecture.parse_text(load.architecture)
    listener = Listener(lifeline, load.replica, graph.inputs, load.hang_ms)
    threading.Thread(target=listener.serve, name="listener", daemon=True).start()
    try:
        started = time.perf_counter()
        where = transfer.to(load.device, load.replica)
        model = program.load(graph, Path(load.weights_path), sha256=load.weights_sha256, transfer=where)
        load_ms = (time.perf_counter() - started) * 1e3
        ready = _warm_up(model, graph, load, load_ms)
        trim()
    except Exception as error:  # noqa: BLE001 - reported to the host with its reason
        traceback.print_exc()
        _report(lifeline, _refusal(error))
        return 3
    batcher = Batcher(
        lambda inputs: _forward(model, inputs),
        max_rows=load.max_batch_rows,
        max_queue_rows=load.max_queue_rows,
        delay_ns=load.queue_delay_us * 1000,
        computing=listener.computing,
        flush=listener.flush,
    )
    listener.open(_bind(load.socket_path), batcher)
    _report(lifeline, ready)
    batcher.run()
    listener.finish()
    return 0


def _forward(model: program.Program, inputs: dict[str, Array]) -> dict[str, Array]:
    """A forward; the end of this process when its GPU reports an error, because all that follow would fail."""
    try:
        return model(inputs)
    except torch.OutOfMemoryError:
        raise  # the next one may fit
    except torch.AcceleratorError:
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(control.DEVICE_LOST)


def _receive(lifeline: socket.socket) -> control.Load | None:
    """The first message; None when the host has gone."""
    reader = control.ControlReader()
    while data := lifeline.recv(65536):
        for payload in reader.feed(data):
            return msgspec.msgpack.decode(payload, type=control.Load)
    return None


def _report(lifeline: socket.socket, message: control.FromReplica) -> None:
    """Tell the host; small enough to fit the socket's buffer, so a plain send is whole."""
    with suppress(OSError):
        lifeline.send(control.pack_control(message))


def _refusal(error: Exception) -> control.Refused:
    if isinstance(error, DomainError):
        return control.Refused(error.message[:2000], error.code, error.field)
    return control.Refused(f"{type(error).__name__}: {error}"[:2000])


def _bind(path: str) -> socket.socket:
    server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    directory = os.open(Path(path).parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    mask = os.umask(0o177)
    try:
        server.bind(f"/proc/self/fd/{directory}/{Path(path).name}")  # socket addresses end at 107 bytes
    finally:
        os.umask(mask)
        os.close(directory)
    server.listen(64)
    return server


def _warm_up(
    model: program.Program, graph: architecture.Architecture, load: control.Load, load_ms: float
) -> control.Ready:
    if not load.measure:
        model(program.example(graph, 1))
        return control.Ready(load_ms, 0.0, 0.0, *_memory(), model.transfer.used_bytes())
    one = _median_ms(model, graph, 1)
    most = _median_ms(model, graph, load.max_batch_rows)
    resident, private = _memory()
    return control.Ready(load_ms, one, most, resident, private, model.transfer.used_bytes())


def _median_ms(model: program.Program, graph: architecture.Architecture, rows: int) -> float:
    """Median of up to five forwards after a first, uncounted one; fewer when they are slow."""
    inputs = program.example(graph, rows)
    limit = time.perf_counter() + _WARM_UP_SECONDS
    model(inputs)
    times: list[float] = []
    while not times or (len(times) < 5 and time.perf_counter() < limit):
        started = time.perf_counter()
        model(inputs)
        times.append((time.perf_counter() - started) * 1e3)
    return statistics.median(times)


def _memory() -> tuple[int, int]:
    """Resident and private bytes of this process; zeros where the kernel does not say."""
    sizes: dict[str, int] = {}
    with suppress(OSError):
        for line in Path("/proc/self/smaps_rollup").read_text().splitlines()[1:]:
            name, value = line.split(":")
            sizes[name] = int(value.split()[0]) * 1024
    return sizes.get("Rss", 0), sizes.get("Private_Dirty", 0) + sizes.get("Private_Clean", 0)
