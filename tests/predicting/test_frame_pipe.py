"""Frames over a local socket: each arrives as it was sent, however slowly it is taken."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from slowfast_finetune.base.errors import VideoError
from slowfast_finetune.predicting.frame_pipe import Frame, FrameReceiver, FrameSender


def wait() -> None:
    """No reason to end the wait."""


@contextmanager
def answering(answer: Callable[[FrameSender, object], None]) -> Iterator[FrameReceiver]:
    """A receiver whose requests are answered by a thread, until it is closed."""
    ours, theirs = socket.socketpair()

    def serve() -> None:
        sender = FrameSender(theirs)
        try:
            while True:
                request = sender.next_request()
                try:
                    answer(sender, request)
                except VideoError as error:
                    sender.end(error)
                else:
                    sender.end()
        except (EOFError, ConnectionError):
            theirs.close()

    thread = threading.Thread(target=serve)
    thread.start()
    receiver = FrameReceiver(ours)
    try:
        yield receiver
    finally:
        receiver.close()
        thread.join(timeout=10)
        assert not thread.is_alive()


def send_all(sender: FrameSender, frames: object) -> None:
    assert isinstance(frames, Sequence)
    for frame in frames:
        sender.send(frame)


def numbered(count: int, *, shape: tuple[int, int, int] = (3, 4, 3)) -> list[Frame]:
    return [np.full(shape, number % 251, np.uint8) for number in range(count)]


def received(receiver: FrameReceiver) -> Iterator[Frame]:
    while run := receiver.receive(wait):
        yield from [run.frame] * run.length


def test_many_more_frames_than_the_socket_holds_arrive_unchanged_at_a_slow_receiver() -> None:
    frames = numbered(200, shape=(150, 200, 3))
    with answering(send_all) as receiver:
        receiver.request(frames)
        for expected, frame in zip(frames, received(receiver), strict=True):
            np.testing.assert_array_equal(frame, expected)


def test_what_was_received_is_not_written_over() -> None:
    with answering(send_all) as receiver:
        receiver.request(numbered(100))
        frames = list(received(receiver))
    assert [int(frame[0, 0, 0]) for frame in frames] == list(range(100))


def test_requests_follow_one_another_with_frames_of_any_size() -> None:
    # A request is small, as in use: it has to fit into the socket's buffer.
    with answering(lambda sender, shape: send_all(sender, numbered(5, shape=shape))) as receiver:
        for shape in [(3, 4, 3), (8, 6, 3), (8, 6, 3), (2000, 3000, 3), (3, 4, 3)]:
            sent = numbered(5, shape=shape)
            receiver.request(shape)
            frames = list(received(receiver))
            assert [frame.shape for frame in frames] == [shape] * 5
            assert all((a == b).all() for a, b in zip(frames, sent, strict=True))


def test_a_size_may_change_within_a_request() -> None:
    sent = [*numbered(20), *numbered(20, shape=(5, 5, 3)), *numbered(3)]
    with answering(send_all) as receiver:
        receiver.request(sent)
        for frame, expected in zip(received(receiver), sent, strict=True):
            np.testing.assert_array_equal(frame, expected)


def test_arrays_that_are_no_solid_block_arrive_too() -> None:
    turned = np.arange(60, dtype=np.uint8).reshape(4, 5, 3)[::-1, ::-1]
    with answering(lambda sender, _: sender.send(turned)) as receiver:
        receiver.request(None)
        (frame,) = received(receiver)
    np.testing.assert_array_equal(frame, turned)


def test_a_frame_held_for_a_year_is_one_message() -> None:
    count = 365 * 24 * 3600 * 15
    with answering(lambda sender, _: sender.send(numbered(1)[0], count)) as receiver:
        receiver.request(None)
        run = receiver.receive(wait)
        assert run is not None
        assert run.length == count
        assert receiver.receive(wait) is None


@pytest.mark.parametrize("num_bytes", [0, 10, 40])
def test_the_receiver_can_end_its_wait_anywhere_in_a_message(num_bytes: int) -> None:
    """A sender that stops within a header or a frame keeps nobody waiting."""
    ours, theirs = socket.socketpair()
    ours_too, recorded = socket.socketpair()
    FrameSender(ours_too).send(numbered(1)[0])
    theirs.sendall(recorded.recv(1000)[:num_bytes])
    checks: list[int] = []

    def check() -> None:
        checks.append(1)
        if len(checks) == 2:
            raise LookupError("enough")

    with pytest.raises(LookupError):
        FrameReceiver(ours).receive(check)
    for one in (ours, theirs, ours_too, recorded):
        one.close()


def test_an_error_comes_after_the_frames_before_it_and_the_next_request_is_answered() -> None:
    def send(sender: FrameSender, request: object) -> None:
        send_all(sender, numbered(3))
        if request == "fail":
            raise VideoError("no_frames", "nothing more")

    with answering(send) as receiver:
        receiver.request("fail")
        frames = received(receiver)
        assert [int(next(frames)[0, 0, 0]) for _ in range(3)] == [0, 1, 2]
        with pytest.raises(VideoError, match="nothing more"):
            next(frames)
        receiver.request("go on")
        assert len(list(received(receiver))) == 3


def test_a_sender_that_waits_for_room_hears_that_the_receiver_is_gone() -> None:
    with answering(send_all) as receiver:
        receiver.request(numbered(100, shape=(150, 200, 3)))
        receiver.receive(wait)


def test_a_sender_that_is_gone_is_noticed() -> None:
    ours, theirs = socket.socketpair()
    receiver = FrameReceiver(ours)
    theirs.close()
    with pytest.raises(EOFError):
        receiver.receive(wait)
    receiver.close()


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="counts what /proc lists")
def test_no_descriptor_is_left_open() -> None:
    def num_open() -> int:
        return sum(1 for _ in Path("/proc/self/fd").iterdir())

    before = num_open()
    with answering(send_all) as receiver:
        for shape in [(3, 4, 3), (8, 6, 3)] * 20:
            receiver.request(numbered(3, shape=shape))
            assert len(list(received(receiver))) == 3
        assert num_open() <= before + 2  # both ends
    assert num_open() == before
