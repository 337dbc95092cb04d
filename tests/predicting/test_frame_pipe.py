"""Frames through shared memory: each arrives as it was sent, however slowly it is taken."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing import Pipe
from pathlib import Path

import numpy as np
import pytest

from slowfast_finetune.base.errors import VideoError
from slowfast_finetune.predicting import frame_pipe
from slowfast_finetune.predicting.frame_pipe import (
    MESSAGES_IN_FLIGHT,
    Frame,
    FrameReceiver,
    FrameRun,
    FrameSender,
)


@contextmanager
def answering(answer: Callable[[FrameSender, object], None]) -> Iterator[FrameReceiver]:
    """A receiver whose requests are answered by a thread, until it is closed."""
    ours, theirs = Pipe()

    def serve() -> None:
        sender = FrameSender(theirs)
        try:
            while True:
                request = sender.begin()
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
    while runs := receiver.receive():
        for run in runs:
            yield from [run.frame] * run.length


def test_many_more_frames_than_places_arrive_unchanged_at_a_slow_receiver() -> None:
    frames = numbered(200)
    with answering(send_all) as receiver:
        receiver.request(frames)
        assert receiver._pipe.poll(5)  # the sender runs ahead as far as it can
        for expected, frame in zip(frames, received(receiver), strict=True):
            np.testing.assert_array_equal(frame, expected)


def test_what_was_received_is_not_written_over() -> None:
    with answering(send_all) as receiver:
        receiver.request(numbered(100))
        frames = list(received(receiver))
    assert [int(frame[0, 0, 0]) for frame in frames] == list(range(100))


def test_requests_follow_one_another_with_frames_of_any_size() -> None:
    with answering(send_all) as receiver:
        for shape in [(3, 4, 3), (8, 6, 3), (8, 6, 3), (2000, 3000, 3), (3, 4, 3)]:
            sent = numbered(5, shape=shape)
            receiver.request(sent)
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


def test_the_same_array_comes_as_the_same_array() -> None:
    def send(sender: FrameSender, _: object) -> None:
        for frame in numbered(2):
            for _again in range(3):
                sender.send(frame)

    with answering(send) as receiver:
        for _ in range(2):
            receiver.request(None)
            frames = list(received(receiver))
            assert [int(frame[0, 0, 0]) for frame in frames] == [0, 0, 0, 1, 1, 1]
            assert frames[0] is frames[2]
            assert frames[3] is frames[5]


@pytest.mark.parametrize("is_read", [True, False])
def test_a_frame_held_for_a_week_blocks_neither_side(is_read: bool) -> None:
    """One million repetitions, and a receiver that reads late or never: the pipe never fills."""
    sent = threading.Event()
    count = 1_000_000

    def send(sender: FrameSender, _: object) -> None:
        (frame,) = numbered(1)
        for _repetition in range(count):
            sender.send(frame)
        sent.set()

    with answering(send) as receiver:
        receiver.request(None)
        if not is_read:
            return  # closing the receiver ends the sender: ``answering`` looks that it does
        runs: list[FrameRun] = []
        while more := receiver.receive():
            runs += more
        assert sent.is_set()
    assert sum(run.length for run in runs) == count
    assert all(run.frame is runs[0].frame for run in runs)


def test_no_more_messages_are_on_their_way_than_the_pipe_holds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Every repetition a message of its own: what waits in the pipe stays at a few."""
    monkeypatch.setattr(frame_pipe, "SECONDS_A_MESSAGE", -1.0)
    waits = threading.Event()

    class Watched(FrameSender):
        def _wait(self) -> None:
            waits.set()
            super()._wait()

    ours, theirs = Pipe()
    sender, receiver = Watched(theirs), FrameReceiver(ours)
    (frame,) = numbered(1)
    thread = threading.Thread(
        target=lambda: [sender.begin(), *(sender.send(frame) for _ in range(1000)), sender.end()]
    )
    thread.start()
    receiver.request(None)
    assert waits.wait(10)
    assert len(sender._in_flight) == MESSAGES_IN_FLIGHT
    assert len(list(received(receiver))) == 1000
    thread.join(10)
    assert not thread.is_alive()
    ours.close()
    theirs.close()


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


def test_a_sender_that_waits_for_a_place_hears_that_the_receiver_is_gone() -> None:
    with answering(send_all) as receiver:
        receiver.request(numbered(1000))
        receiver.receive()


def test_a_sender_that_is_gone_is_noticed() -> None:
    ours, theirs = Pipe()
    receiver = FrameReceiver(ours)
    theirs.close()
    with pytest.raises(EOFError):
        receiver.receive()


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="counts what /proc lists")
def test_no_descriptor_is_left_open() -> None:
    def num_open() -> int:
        return sum(1 for _ in Path("/proc/self/fd").iterdir())

    before = num_open()
    with answering(send_all) as receiver:
        for shape in [(3, 4, 3), (8, 6, 3)] * 20:
            receiver.request(numbered(3, shape=shape))
            assert len(list(received(receiver))) == 3
        assert num_open() <= before + 4  # both ends, and memory of each
    assert num_open() == before
