"""Which of several processes of one name is at work: one; the others stand by until it is gone (pure)."""

from __future__ import annotations

FIRST = 3  # own beacons heard in a row before a process concludes that it is the only one
SILENT = 6  # own beacons heard in a row without one of whom it follows, before it takes over


class Succession:
    """What one process that stands by has heard of others of its name.

    Own beacons that came back are counted, not seconds: neither a server nor a subscription nor a process
    that was held up makes anyone take over from somebody who is at work.
    """

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch
        self.follows = False  # somebody was heard at work and has not said that it leaves
        self._alone = 0  # own beacons since anything else was heard at work
        self._waiting: dict[int, int] = {}  # epoch of others who stand by → own beacons since

    def restart(self) -> None:
        """Count anew: a new subscription begins."""
        self._alone = 0
        self._waiting.clear()

    def own(self) -> None:
        """Take a beacon of our own that came back."""
        self._alone += 1
        self._waiting = {epoch: n + 1 for epoch, n in self._waiting.items() if n < SILENT}

    def at_work(self) -> None:
        """Take a beacon of somebody at work."""
        self.follows, self._alone = True, 0

    def left(self) -> None:
        """Take the farewell of somebody who was at work."""
        self.follows, self._alone = False, max(self._alone, FIRST)

    def waits(self, epoch: int) -> None:
        """Take a beacon of somebody else who stands by."""
        self._waiting[epoch] = 0

    @property
    def turn(self) -> bool:
        """Tell whether it is ours to work: nobody else does, and nobody has stood by for longer."""
        enough = self._alone >= (SILENT if self.follows else FIRST)
        return enough and self.epoch < min(self._waiting, default=self.epoch + 1)
