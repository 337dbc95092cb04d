"""Look at videos with the trained model: what they show, and when.

Look at videos with the trained model: what they show, and when. Files that cannot be read are
reported, the others answered; the exit code is then 1.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from slowfast_finetune.base.console import ProgressBar, printable, say
from slowfast_finetune.base.errors import DataError
from slowfast_finetune.commands.options import (
    add_checkpoint,
    add_device,
    add_precision,
    number_from,
)

if TYPE_CHECKING:
    from slowfast_finetune.predicting.prediction import Prediction, RefusedVideo
    from slowfast_finetune.predicting.predictor import Predictor

Write = Callable[[str], None]


def add_options(parser: argparse.ArgumentParser) -> None:
    option = parser.add_argument
    option(
        "paths", nargs="+", metavar="PATH",
        help="a video, a folder of videos, a pattern in quotes, or the number of a webcam",
    )  # fmt: skip
    add_checkpoint(parser)
    option("--top", type=number_from(int, 1), metavar="K", help="list K classes of each video [3]")
    option("--threshold", type=number_from(float, 0, 1), metavar="P",
           help='an answer less probable is "none of these" [the fitted one]')  # fmt: skip
    option("--max-novelty", type=number_from(float, 0), metavar="X", default=1.0,
           help="a video of more is unlike the training videos and has no answer; 1000: answer "
           "to any [%(default)s]")  # fmt: skip
    option("--stride", type=number_from(float, 0.001), metavar="SECONDS",
           help="from one window of the timeline to the next [the chosen]")  # fmt: skip
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print one JSON object a line")
    form.add_argument("--csv", action="store_true", help="print a table, a row for each segment")
    option("--out", type=Path, metavar="FILE", help="write there, not to the screen")
    option("--annotate", type=Path, metavar="OUT",
           help="write the video with its labels: a file for one video, else a folder")  # fmt: skip
    option("--workers", type=number_from(int, 1), metavar="N", help="decoders [one for each core]")
    add_device(parser)
    add_precision(parser)


def run(args: argparse.Namespace) -> None:
    from slowfast_finetune.predicting.inputs import find_inputs
    from slowfast_finetune.predicting.prediction import RefusedVideo
    from slowfast_finetune.predicting.webcam import camera_index

    camera = camera_index(args.paths)
    if camera is not None:
        _watch(args, camera)
        return
    inputs = find_inputs(args.paths)
    videos = [item for item in inputs if isinstance(item, Path)]
    if args.out is not None and args.out.resolve() in {video.resolve() for video in videos}:
        raise DataError(f"{args.out}: is one of the videos; --out names a file for the answers")
    annotator = None
    if args.annotate is not None and videos:
        from slowfast_finetune.predicting.annotating import Annotator

        annotator = Annotator(args.annotate, videos=videos)
    refused = uncopied = 0
    with _output(args.out) as write:
        for result in _results(args, inputs, write):
            write(_formatted(result, args))
            if isinstance(result, RefusedVideo):
                refused += 1
            elif annotator and (reason := annotator.write(result)) is not None:
                uncopied += 1
                path = printable(str(result.path))
                _complain(f"{path}: no copy was written: {printable(reason)}")
    if refused:
        _complain(f"{refused} of {len(inputs)} could not be read")
    if uncopied:
        _complain(f"{uncopied} of {len(inputs) - refused} copies could not be written")
    if refused or uncopied:
        sys.exit(1)


def _complain(text: str) -> None:
    print(f"error: {text}", file=sys.stderr, flush=True)


def _load(args: argparse.Namespace) -> Predictor:
    from slowfast_finetune.predicting.predictor import load_model

    model = load_model(args.checkpoint, device=args.device, precision=args.precision)
    if model.timeline_note:
        # Not among the answers, which may be read by a program.
        print(model.timeline_note, file=sys.stderr, flush=True)
    if model.class_distances is None:
        print(
            f"{args.checkpoint} was trained by an older version, and cannot tell videos unlike "
            "the training videos; train again",
            file=sys.stderr,
            flush=True,
        )
    return model


def _results(
    args: argparse.Namespace, inputs: list[Path | RefusedVideo], write: Write
) -> Iterator[Prediction | RefusedVideo]:
    """Predictions and refusals in the order of the inputs."""
    from slowfast_finetune.predicting.prediction_text import csv_header

    model = _load(args)  # before the header: without a model there is nothing to write
    if args.csv:
        write(csv_header())
    answers = model.predict_many(
        [item for item in inputs if isinstance(item, Path)],
        stride_seconds=args.stride,
        threshold=args.threshold,
        max_novelty=args.max_novelty,
        num_workers=args.workers or "auto",
    )
    # Where a person waits, and answers do not run through it.
    seen = sys.stderr.isatty() and (args.out is not None or not sys.stdout.isatty())
    bar = ProgressBar("predicting", total=len(inputs), hidden=not seen)
    with bar, contextlib.closing(answers):
        for item in inputs:
            yield next(answers) if isinstance(item, Path) else item
            bar.advance(1)


def _formatted(result: Prediction | RefusedVideo, args: argparse.Namespace) -> str:
    from slowfast_finetune.predicting.prediction_text import as_csv, as_json, as_text

    if args.json:
        return as_json(result, top=args.top)
    return as_csv(result) if args.csv else as_text(result, top=args.top or 3)


def _watch(args: argparse.Namespace, camera: int) -> None:
    from slowfast_finetune.predicting.prediction_text import clock, named
    from slowfast_finetune.predicting.webcam import camera_device, watch

    for name in ("json", "csv", "out", "annotate", "top"):
        if getattr(args, name):
            raise DataError(f"--{name}: is for files; a webcam gives one line after the other")
    device = camera_device(camera)
    model = _load(args)
    for part in watch(model, device, stride_seconds=args.stride, threshold=args.threshold):
        say(f"{clock(part.end_seconds)}  {named(part.answer)}  {part.confidence:.2f}")


@contextlib.contextmanager
def _output(out: Path | None) -> Iterator[Write]:
    """Yield a function that writes a line to the screen, or to a file that appears at the end.

    Until then the lines are in a file beside it, ``FILE.partial``, however the program ends.
    """
    if out is None:
        yield say
        return
    if out.exists() and not out.is_file():  # a device or a named pipe is written to as it is
        with out.open("w", encoding="utf-8", newline="") as device:
            yield lambda line: print(line, file=device)
        return
    target = out.resolve()  # of a link, not the link itself
    target.parent.mkdir(parents=True, exist_ok=True)
    partial, file = _new_file(target.with_name(f"{target.name}.partial"), named=out)
    try:
        with file:
            yield lambda line: print(line, file=file)
    except BaseException as error:
        if isinstance(error, OSError) and error.errno is not None and error.filename is None:
            error.filename = str(out)  # a full disk fails without one
        if partial.stat().st_size:
            _complain(f"stopped early; the answers so far are in {partial}")
        else:
            partial.unlink()
        raise
    partial.replace(target)


def _new_file(path: Path, *, named: Path) -> tuple[Path, TextIO]:
    """Open a file that was not there, line by line: at the path, or with a number added to it.

    What another run writes there, or has left, stays. An error names ``named``.
    """
    for number in itertools.count(1):
        place = path if number == 1 else path.with_name(f"{path.name}.{number}")
        try:
            return place, place.open("x", encoding="utf-8", newline="", buffering=1)
        except FileExistsError:
            continue
        except OSError as error:
            error.filename = str(named)
            raise
    raise AssertionError("unreachable")
