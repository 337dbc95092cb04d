"""Frames on their way from the threads that fetch them to the one that takes them, in order."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator

from slowfast_finetune.base.errors import VideoError
from slowfast_finetune.predicting.frame_pipe import Frame

Item = list[Frame] | VideoError | None


class Shelf:
    """A place for the frames of several streams, of which one after the other is taken.

    The stream that is being taken may hold ``ahead_bytes`` of frames, and all later ones together
    as much again: memory does not grow with the number or the length of streams, and no later
    stream can starve the one that is waited for. What is put at once is never parted: every
    stream may hold so much.
    """

    def __init__(self, num_streams: int, *, ahead_bytes: int) -> None:
        self._ahead_bytes = ahead_bytes
        self._changed = threading.Condition()
        self._items: list[deque[Item]] = [deque() for _ in range(num_streams)]
        self._held_bytes = [0] * num_streams
        self._taken = 0  # the stream that is being taken; those before it are over
        self._next = 0  # the stream that is fetched next
        self._is_closed = False

    # For the threads that fetch

    def claim(self) -> int | None:
        """The next stream to fetch, each once and in order; None when there are no more."""
        with self._changed:
            if self._is_closed or self._next == len(self._items):
                return None
            self._next += 1
            return self._next - 1

    def put(self, stream: int, item: Item) -> bool:
        """Add some frames, an error, or None at the end; False if nobody will take it.

        Waits until there is room.
        """
        size = _num_bytes(item)
        with self._changed:
            self._changed.wait_for(
                lambda: not self.is_wanted(stream) or self._has_room(stream, size)
            )
            if not self.is_wanted(stream):
                return False
            self._items[stream].append(item)
            self._held_bytes[stream] += size
            self._changed.notify_all()
            return True

    def is_wanted(self, stream: int) -> bool:
        """Whether somebody will still take what the stream has."""
        return not self._is_closed and stream >= self._taken

    def _has_room(self, stream: int, size: int) -> bool:
        if not self._items[stream]:
            return True
        if stream == self._taken:
            held = self._held_bytes[stream]
        else:
            held = sum(self._held_bytes[self._taken + 1 : self._next])
        return held + size <= self._ahead_bytes

    # For the one that takes

    def has_begun(self, stream: int) -> bool:
        """Whether something of a stream can be taken at once."""
        return bool(self._items[stream])

    def take(self, stream: int) -> Iterator[Frame]:
        """The frames of a stream as they come; the streams before it are given up.

        Raises:
            VideoError: put in place of a frame.
        """
        self._give_up_before(stream)
        return self._take(stream)

    def _take(self, stream: int) -> Iterator[Frame]:
        while True:
            with self._changed:
                self._changed.wait_for(
                    lambda: bool(self._items[stream]) or not self.is_wanted(stream)
                )
                item = self._items[stream].popleft() if self._items[stream] else None
                self._held_bytes[stream] -= _num_bytes(item)
                self._changed.notify_all()
            if item is None:
                return
            if isinstance(item, VideoError):
                raise item
            yield from item

    def close(self) -> None:
        """Give up all streams: whoever waits is woken."""
        with self._changed:
            self._is_closed = True
        self._give_up_before(len(self._items))

    def _give_up_before(self, stream: int) -> None:
        with self._changed:
            for over in range(self._taken, stream):
                self._items[over].clear()
                self._held_bytes[over] = 0
            self._taken = max(self._taken, stream)
            self._changed.notify_all()


def _num_bytes(item: Item) -> int:
    return sum(frame.nbytes for frame in item) if isinstance(item, list) else 0
