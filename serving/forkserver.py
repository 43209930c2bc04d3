"""The process that forks replicas: `python -m serving.forkserver FD`.

Torch takes seconds to import and hundreds of megabytes; this process imports it once and every replica
starts as a copy of it within milliseconds, sharing those pages. For a fork to be safe it stays single
threaded, runs no torch operation and imports nothing of the web side. It owns nothing: replicas hang on
their own lifeline to the host and live on when it dies. It ends when the host's end of `FD` closes.
Replicas inherit that they ignore signals which ask a whole group to stop: the host drains and ends them.
"""

from __future__ import annotations

import gc
import os
import select
import signal
import socket
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from typing import NoReturn

import msgspec

from serving.control import MAX_FORK_MESSAGE, Exited, FromForkserver, NotSpawned, Spawn, Spawned, Up

_SPAWN = msgspec.msgpack.Decoder(Spawn)


def main() -> None:
    """Serve spawn requests until the host is gone."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # they reach the whole group; the host drains and decides
    channel = socket.socket(fileno=int(sys.argv[1]))
    from serving.replica import process  # the torch import, once, before the first fork

    gc.collect()
    gc.freeze()
    wake_read, wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
    _tell(channel, Up())
    while True:
        readable, _, _ = select.select([channel.fileno(), wake_read], [], [])
        if wake_read in readable:
            with suppress(BlockingIOError):
                os.read(wake_read, 4096)
            _reap(channel)
        if channel.fileno() in readable:
            data, fds, _flags, _address = socket.recv_fds(channel, MAX_FORK_MESSAGE, 2)
            if not data:
                return
            lifeline, stderr = fds
            request = _SPAWN.decode(data)
            try:
                pid = os.fork()
            except OSError as error:
                _tell(channel, NotSpawned(request.token, str(error)))
            else:
                if pid == 0:
                    signal.set_wakeup_fd(-1)
                    for fd in (channel.detach(), wake_read, wake_write):
                        os.close(fd)
                    _become_replica(process.main, lifeline, stderr)
                _announce(channel, request.token, pid)
            finally:
                os.close(lifeline)
                os.close(stderr)


def _become_replica(run: Callable[[socket.socket], int], lifeline: int, stderr: int) -> NoReturn:
    """In the child: never returns into the forkserver's loop, whatever happens."""
    code = 1
    try:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.dup2(stderr, 1)
        os.dup2(stderr, 2)
        os.close(stderr)
        code = run(socket.socket(fileno=lifeline))
    except BaseException:  # noqa: BLE001 - the last frame of the process
        traceback.print_exc()
    finally:
        with suppress(OSError):
            sys.stderr.flush()
        os._exit(code)


def _announce(channel: socket.socket, token: int, pid: int) -> None:
    pidfd = os.pidfd_open(pid)  # not reaped yet, so the number cannot belong to anybody else
    try:
        socket.send_fds(channel, [msgspec.msgpack.encode(Spawned(token, pid))], [pidfd])
    except OSError:
        sys.exit(0)  # the host is gone; the replica sees it for itself
    finally:
        os.close(pidfd)


def _reap(channel: socket.socket) -> None:
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return
        _tell(channel, Exited(pid, os.waitstatus_to_exitcode(status)))


def _tell(channel: socket.socket, message: FromForkserver) -> None:
    try:
        channel.send(msgspec.msgpack.encode(message))
    except OSError:
        sys.exit(0)  # the host is gone


if __name__ == "__main__":
    main()
