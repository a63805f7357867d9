"""Compile the lab's few C programs, once for each source, and keep them in the user's cache."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from drsim.errors import LabError

NATIVE = Path(__file__).parent / "native"
"""Folder of the C sources."""


def cache_dir() -> Path:
    """Folder for what can be made again: ``$XDG_CACHE_HOME/drsim`` or ``~/.cache/drsim``, made when it is not there."""
    base = os.environ.get("XDG_CACHE_HOME")
    folder = (Path(base) if base else Path.home() / ".cache") / "drsim"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise LabError(f"{folder}: the cache cannot be made ({error.strerror}). Set XDG_CACHE_HOME.") from error
    return folder


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold `path` so that of two processes one works and the other waits.

    The kernel lets go when the process ends, however it ends.
    """
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def compile(source: Path, flags: Sequence[str] = ()) -> Path:
    """Compile one C file into one program.

    Parameters
    ----------
    source : Path
        The C file.
    flags : sequence of str
        Added to ``-O2 -Wall -Wextra``, e.g. ``("-static",)``.

    Returns
    -------
    Path
        The program, in the cache under a name made of the source's text and the flags: an unchanged source is not
        compiled again, a changed one never meets its old program.

    Raises
    ------
    LabError
        No compiler, or the compiler's own words.
    """
    options = ("-O2", "-Wall", "-Wextra", *flags)
    text = source.read_bytes()
    digest = hashlib.sha256(b"\0".join((text, *(option.encode() for option in options)))).hexdigest()[:16]
    program = cache_dir() / f"{source.stem}-{digest}"
    if program.exists():
        return program
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        raise LabError(f"{source}: there is no C compiler here. Install gcc and libc6-dev.")
    with tempfile.TemporaryDirectory(dir=program.parent, prefix=f".{source.stem}-") as scratch:
        made = Path(scratch) / source.stem
        command = (compiler, "-o", str(made), str(source), *options)
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise LabError(f"{source}: '{' '.join(command)}' failed:\n{done.stderr.strip()}")
        # Renaming is atomic: another lab sees no program or the whole one.
        made.replace(program)
    return program


def linkem_binary() -> Path:
    """Path of the link emulator, compiled on first use."""
    return compile(NATIVE / "linkem.c")
