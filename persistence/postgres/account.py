"""Which system user runs the bundled PostgreSQL, and what that user can reach.

PostgreSQL refuses to run as root. An ordinary user runs it as itself; root runs it as a dedicated system
user. This module never changes the mode of a directory it did not create: where the user cannot go, it says
so and what would help.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from persistence.postgres.errors import PostgresError

DEDICATED_USER = "axonml"
_FALLBACK_USERS = ("postgres", "nobody")
_SYSTEM_PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
_CHILD_ENVIRONMENT = {"PATH": _SYSTEM_PATH, "LC_ALL": "C", "TZ": "UTC"}


class DirectoryUnreachable(PostgresError):  # noqa: N818 - reads as a condition, like domain errors do
    """The user that must run PostgreSQL cannot enter the data directory."""


@dataclass(frozen=True, slots=True)
class Account:
    """The user that owns the data directory and runs the server.

    `switch` is true when this process is root and children must become that user.
    """

    name: str
    uid: int
    gid: int
    switch: bool

    def spawn(
        self, command: Sequence[str | Path], *, stdout: int, stderr: int, start_new_session: bool = False
    ) -> subprocess.Popen[bytes]:
        """Start `command` (absolute paths) as this account, in `/`, with a small environment and no stdin.

        Raises OSError when the program cannot be executed by the account.
        """
        return subprocess.Popen(  # noqa: S603 - the command is built here from absolute paths
            [os.fspath(part) for part in command],
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
            cwd="/",
            env=_CHILD_ENVIRONMENT,
            start_new_session=start_new_session,
            umask=0o077,
            user=self.uid if self.switch else None,
            group=self.gid if self.switch else None,
            extra_groups=[] if self.switch else None,
        )

    def run(self, command: Sequence[str | Path], *, limit: float) -> tuple[int, str]:
        """Run `command` to its end (at most `limit` seconds); the exit status and both outputs together.

        Raises OSError as `spawn` does, subprocess.TimeoutExpired after killing it.
        """
        with self.spawn(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
            try:
                output, _ = process.communicate(timeout=limit)
            except subprocess.TimeoutExpired:
                process.kill()
                raise
            return process.returncode, output.decode("utf-8", "replace")

    def can_execute(self, program: Path) -> bool:
        """Whether the account can run `program --version`; shows that every parent is open to it, too."""
        try:
            status, _ = self.run([program, "--version"], limit=30)
        except OSError:
            return False
        return status == 0

    def can_enter(self, directory: Path) -> bool:
        """Whether the account may pass through `directory`."""
        if not self.switch:
            return os.access(directory, os.X_OK)
        status, _ = self.run(["/bin/sh", "-c", 'cd -- "$1"', "sh", directory], limit=30)
        return status == 0

    def own(self, path: Path) -> None:
        """Give a file or directory that we just created to the account."""
        if self.switch:
            os.chown(path, self.uid, self.gid)

    def make_directory(self, directory: Path) -> None:
        """Create `directory` with mode 0700 for the account; an existing one is left as it is."""
        with contextlib.suppress(FileExistsError):
            directory.mkdir(mode=0o700)
            self.own(directory)

    def require_reach(self, directory: Path) -> None:
        """Refuse, naming the first closed parent, unless the account can enter `directory` from the root."""
        resolved = directory.resolve()
        for step in [*reversed(resolved.parents), resolved]:
            if not self.can_enter(step):
                raise DirectoryUnreachable(
                    f"PostgreSQL does not run as root, and the user {self.name!r} that runs it instead cannot "
                    f"enter {step} on the way to {resolved}. Use a data directory that user can reach (for "
                    f"example AXONML_DATA_DIR=/var/lib/axonml), or open the way yourself (chmod o+x {step}), "
                    "or start AxonML as an ordinary user, or set AXONML_DATABASE_URL to a PostgreSQL of yours. "
                    "AxonML never changes the mode of a directory it did not create."
                )


def choose(data_directory: Path) -> Account:
    """The account for the server whose files are (or will be) in `data_directory`.

    An ordinary user: itself. Root: the owner of existing data, else the dedicated user (created when
    possible), else an existing unprivileged one. Raises PostgresError when root finds none.
    """
    if os.geteuid() != 0:
        return Account(_name_of(os.geteuid()), os.geteuid(), os.getegid(), switch=False)
    if data_directory.exists():
        status = data_directory.stat()
        if status.st_uid == 0:
            raise PostgresError(
                f"{data_directory} holds PostgreSQL's files but belongs to root, as which PostgreSQL refuses to "
                f"run. Give it to an unprivileged user: chown -R {DEDICATED_USER}: {data_directory}"
            )
        return Account(_name_of(status.st_uid), status.st_uid, status.st_gid, switch=True)
    for name in (DEDICATED_USER, *_FALLBACK_USERS):
        entry = _find(name) or (_create() if name == DEDICATED_USER else None)
        if entry is not None and entry.pw_uid != 0:
            return Account(entry.pw_name, entry.pw_uid, entry.pw_gid, switch=True)
    raise PostgresError(
        f"PostgreSQL refuses to run as root, the user {DEDICATED_USER!r} could not be created (is `useradd` "
        f"missing?), and none of {', '.join(_FALLBACK_USERS)} exists. Create it (useradd --system "
        f"{DEDICATED_USER}), start AxonML as an ordinary user, or set AXONML_DATABASE_URL."
    )


def _name_of(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _find(name: str) -> pwd.struct_passwd | None:
    try:
        return pwd.getpwnam(name)
    except KeyError:
        return None


def _create() -> pwd.struct_passwd | None:
    """Make the dedicated user; None when this system does not allow it."""
    useradd = shutil.which("useradd", path=_SYSTEM_PATH)
    if useradd is None:
        return None
    nologin = shutil.which("nologin", path=_SYSTEM_PATH) or "/bin/false"
    # A failure (read-only /etc, two servers creating it at once) shows in the look-up that follows.
    subprocess.run(  # noqa: S603 - a fixed command
        [
            useradd,
            "--system",
            "--user-group",
            "--no-create-home",
            "--home-dir=/nonexistent",
            f"--shell={nologin}",
            DEDICATED_USER,
        ],
        check=False,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=30,
    )
    return _find(DEDICATED_USER)
