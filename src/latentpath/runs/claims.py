"""Claims: processes share out pieces of work among themselves, so a slow or killed one delays one piece."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from secrets import token_hex
from socket import gethostname

from latentpath.runs.files import create_whole, make_folder
from latentpath.runs.temporary import is_alive, temporary_beside

BEAT = 15.0  # seconds between two signs of life of a process that works on a piece
SILENCE = 120.0  # seconds without a sign of life after which another process takes the piece over
POLL = 1.0  # seconds between two looks at pieces that other processes work on


def share_out(
    pieces: Sequence[str],
    folder: Path,
    *,
    done: Callable[[str], bool],
    on_done: Callable[[str], object] = lambda piece: None,
) -> Iterator[str]:
    """Yield the pieces that this process is to do, one at a time; end when all of `pieces` are done.

    Every process that calls this with the same `pieces` and `folder` takes part, without communication: a
    piece is claimed by the file `folder`/<piece>, which exactly one process can create. The caller does the
    piece before it asks for the next one. `done` says whether the result of a piece is there, and `on_done`
    is called for each piece that another process has done.

    When all others are claimed, this waits for them; it takes over a piece whose process has ended on this
    machine, or has given no sign of life for `SILENCE` seconds on another. A process that was only slow then
    does a piece twice, so a piece must have the same result each time and be written atomically.
    """
    left = list(pieces)
    while left:
        before = len(left)
        for piece in list(left):
            if done(piece):
                on_done(piece)
                left.remove(piece)
            elif (claim := Claim(folder / piece)).take():
                try:
                    if not done(piece):  # it may have been finished just before it was claimed
                        yield piece
                    else:
                        on_done(piece)
                finally:
                    claim.release()
                left.remove(piece)
        if len(left) == before:
            time.sleep(POLL)
    for path in folder.glob("[!.]*"):
        Claim(path).remove_if_abandoned()  # of a process that was killed between its piece and its release


class Claim:
    """A claim on a piece of work: the file `path`, which names the process that works on it.

    While a claim is held, a thread touches the file, so that other processes see that this one is alive.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.owner = f"{gethostname()} {os.getpid()} {token_hex(4)}"
        self._ended = threading.Event()

    def take(self) -> bool:
        """Claim the piece; return False if a living process holds it."""
        taken = create_whole(self.path, self.owner.encode()) or (
            self.remove_if_abandoned() and create_whole(self.path, self.owner.encode())
        )
        if taken:
            threading.Thread(target=self._beat, daemon=True).start()
        return taken

    def release(self) -> None:
        """Give the claim up, unless another process has taken it over."""
        self._ended.set()
        if self._read() == self.owner:
            self.path.unlink(missing_ok=True)

    def _beat(self) -> None:
        while not self._ended.wait(BEAT):
            try:
                os.utime(self.path)
            except OSError:  # the claim was taken over, or the disk is away: the next beat tries again
                continue

    def remove_if_abandoned(self) -> bool:
        """Remove the claim if it is abandoned; return whether this process removed it."""
        holder = self._read()
        if not self._is_abandoned(holder):
            return False
        aside = Claim(temporary_beside(self.path))
        try:
            self.path.rename(aside.path)  # of several processes that try, one succeeds
        except FileNotFoundError:
            return False
        found = aside._read()
        aside.path.unlink(missing_ok=True)
        if found == holder:
            return True
        create_whole(self.path, found.encode())  # the successor's, which was faster: put it back
        return False

    def _is_abandoned(self, holder: str) -> bool:
        """Return whether the process `holder` has ended or has been silent for too long."""
        host, _, rest = holder.partition(" ")
        process = rest.partition(" ")[0]
        if host == gethostname() and process.isdigit() and not is_alive(int(process)):
            return True
        try:
            return self._now() - self.path.stat().st_mtime > SILENCE
        except FileNotFoundError:
            return False

    def _read(self) -> str:
        try:
            return self.path.read_text(encoding="utf-8", errors="replace")
        except OSError:
            return ""

    def _now(self) -> float:
        """Return the present time by the clock of the file system, which may differ from this machine's."""
        probe = temporary_beside(make_folder(self.path.parent) / "clock")
        try:
            probe.touch()
            return probe.stat().st_mtime
        finally:
            probe.unlink(missing_ok=True)
