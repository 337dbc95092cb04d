"""Frame transport from a decoding process to its parent, over a local socket.

After a request, messages go one way only, so the two sides never wait for each other; and every
wait of the receiver is bounded. A frame that is held is one message with a count.
"""

import json
import pickle
import signal
import socket
import struct
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from slowfast_finetune.base.errors import VideoError

Frame = npt.NDArray[np.uint8]

POLL_SECONDS = 0.1  # from one call of ``check`` to the next while nothing arrives
_BUFFER_BYTES = 2**20  # the system may grant less
# Run length, height, width; then the frame. A length of 0 is the end: "height" is then the size of
# the error that follows as JSON, or 0. Nothing from a decoder is unpickled: a hostile video that
# took it over would take over its parent as well.
_HEADER = struct.Struct("<qii")


class FrameRun(NamedTuple):
    """A frame, uint8 (H, W, 3), and at how many sampled instants in a row it is shown."""

    frame: Frame
    length: int


class FrameSender:
    """The decoder's end. It waits while the socket's buffer is full.

    Args:
        hang_seconds: the system ends this process if it neither sends nor waits for this long;
            0 for never. Needed where the parent, which would kill it, is gone.
    """

    def __init__(self, channel: socket.socket, *, hang_seconds: float = 0) -> None:
        self._channel = channel
        self._channel.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER_BYTES)
        self._hang_seconds = hang_seconds

    def next_request(self) -> Any:
        """Wait for the next request.

        Raises:
            EOFError: the receiver is gone.
        """
        signal.setitimer(signal.ITIMER_REAL, 0)
        header = self._channel.recv(_HEADER.size, socket.MSG_WAITALL)
        if not header:
            raise EOFError
        _, size, _ = _HEADER.unpack(header)
        request = pickle.loads(self._channel.recv(size, socket.MSG_WAITALL))
        signal.setitimer(signal.ITIMER_REAL, self._hang_seconds)
        return request

    def send(self, frame: Frame, length: int = 1) -> None:
        """Send a frame that is shown at ``length`` sampled instants.

        Raises:
            ConnectionError: the receiver is gone.
        """
        height, width, _ = frame.shape
        content = np.ascontiguousarray(frame).data.cast("B")
        self._send(_HEADER.pack(length, height, width), content)

    def end(self, error: VideoError | None = None) -> None:
        """Say that a request has been answered, or why it cannot be."""
        content = b"" if error is None else json.dumps([error.reason, error.detail]).encode()
        self._send(_HEADER.pack(0, len(content), 0), content)

    def _send(self, header: bytes, content: bytes | memoryview) -> None:
        signal.setitimer(signal.ITIMER_REAL, 0)
        self._channel.sendall(header)
        self._channel.sendall(content)
        signal.setitimer(signal.ITIMER_REAL, self._hang_seconds)


class FrameReceiver:
    """The parent's end."""

    def __init__(self, channel: socket.socket) -> None:
        self._channel = channel
        self._channel.settimeout(POLL_SECONDS)

    def request(self, wanted: Any) -> None:
        """Ask for frames; those of the request before have been received to the end."""
        content = pickle.dumps(wanted)
        self._channel.sendall(_HEADER.pack(0, len(content), 0) + content)

    def receive(self, check: Callable[[], None]) -> FrameRun | None:
        """Wait for the next frame; None at the end.

        Args:
            check: called again and again while nothing arrives; it may raise, to end the wait.

        Raises:
            EOFError: the sender is gone.
            VideoError: given to ``end``.
        """
        length, height, width = _HEADER.unpack(self._filled(bytearray(_HEADER.size), check))
        if length:
            frame = np.empty((height, width, 3), np.uint8)
            self._filled(frame.data.cast("B"), check)
            return FrameRun(frame, length)
        if height:
            reason, detail = json.loads(self._filled(bytearray(height), check))
            raise VideoError(reason, detail)
        return None

    def close(self) -> None:
        """Let the sender know that nobody listens."""
        self._channel.close()

    def _filled(self, content: bytearray | memoryview, check: Callable[[], None]) -> Any:
        view = memoryview(content)
        while view:
            try:
                count = self._channel.recv_into(view)
            except TimeoutError:
                check()
                continue
            if not count:
                raise EOFError
            view = view[count:]
        return content
