"""``slowfast predict``: look at videos with a trained model."""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from slowfast_finetune.base.errors import DataError

if TYPE_CHECKING:
    from slowfast_finetune.predicting.annotating import Annotator
    from slowfast_finetune.predicting.prediction import Prediction, RefusedVideo
    from slowfast_finetune.predicting.predictor import Predictor

Write = Callable[[str], None]


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command and its options."""
    predict = commands.add_parser(
        "predict",
        help="look at videos with the trained model: what they show, and when",
        description="Look at videos with the trained model: what they show, and when. Files that "
        "cannot be read are reported, the others answered; the exit code is then 1.",
    )
    predict.add_argument(
        "paths",
        nargs="+",
        metavar="PATH",
        help="a video, a folder of videos, a pattern in quotes, or the number of a webcam",
    )
    predict.add_argument(
        "--checkpoint",
        type=Path,
        default=Path("models/best.pt"),
        metavar="FILE",
        help="[%(default)s]",
    )
    predict.add_argument("--top", type=_count, metavar="K", help="list K classes of each video [3]")
    predict.add_argument(
        "--threshold",
        type=_share,
        metavar="P",
        help='an answer less probable is "none of these" [the fitted one]',
    )
    predict.add_argument(
        "--stride",
        type=_seconds,
        metavar="SECONDS",
        help="from one window of the timeline to the next [half a window]",
    )
    form = predict.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print one JSON object a line")
    form.add_argument("--csv", action="store_true", help="print a table, a row for each segment")
    predict.add_argument("--out", type=Path, metavar="FILE", help="write there, not to the screen")
    predict.add_argument(
        "--annotate",
        type=Path,
        metavar="OUT",
        help="write the video with what is seen when: a file for one video, else a folder",
    )
    predict.add_argument("--workers", type=_count, metavar="N", help="decoders [one for each core]")
    predict.add_argument(
        "--device", choices=("auto", "cpu", "cuda"), default="auto", help="[%(default)s]"
    )
    predict.add_argument(
        "--precision",
        choices=("auto", "fp32", "bf16", "fp16"),
        default="auto",
        help="[as the model was trained]",
    )
    predict.set_defaults(handler=_predict)


def _predict(args: argparse.Namespace) -> None:
    from slowfast_finetune.predicting.webcam import camera_index

    camera = camera_index(args.paths)
    if camera is not None:
        _watch(args, camera)
        return

    from slowfast_finetune.base.console import printable
    from slowfast_finetune.predicting.inputs import find_inputs
    from slowfast_finetune.predicting.prediction import RefusedVideo

    inputs = find_inputs(args.paths)
    videos = [item for item in inputs if isinstance(item, Path)]
    if args.out is not None and args.out.resolve() in {video.resolve() for video in videos}:
        raise DataError(f"{args.out}: is one of the videos; --out names a file for the answers")
    annotator = _annotator(args, videos)
    refused = uncopied = 0
    with _output(args.out) as write:
        for result in _results(args, inputs, write):
            write(_worded(result, args))
            if isinstance(result, RefusedVideo):
                refused += 1
            elif annotator and (reason := annotator.write(result)) is not None:
                uncopied += 1
                _complain(
                    f"{printable(str(result.path))}: no copy was written: {printable(reason)}"
                )
    if refused:
        _complain(f"{refused} of {len(inputs)} could not be read")
    if uncopied:
        _complain(f"{uncopied} of {len(inputs) - refused} copies could not be written")
    if refused or uncopied:
        sys.exit(1)


def _complain(text: str) -> None:
    print(f"error: {text}", file=sys.stderr, flush=True)


def _results(
    args: argparse.Namespace, inputs: list[Path | RefusedVideo], write: Write
) -> Iterator[Prediction | RefusedVideo]:
    """Answers and refusals in the order of the inputs."""
    from slowfast_finetune.predicting.prediction_text import csv_header

    videos = [item for item in inputs if isinstance(item, Path)]
    # Loaded before anything is said: without a model there is nothing to say.
    model = _load(args)
    if args.csv:
        write(csv_header())
    with _bar(len(inputs), args) as advance:
        answers = model.predict_many(
            videos,
            stride_seconds=args.stride,
            threshold=args.threshold,
            num_workers=args.workers or "auto",
        )
        with contextlib.closing(answers):
            for item in inputs:
                yield next(answers) if isinstance(item, Path) else item
                advance()


def _annotator(args: argparse.Namespace, videos: Sequence[Path]) -> Annotator | None:
    if args.annotate is None or not videos:
        return None
    from slowfast_finetune.predicting.annotating import Annotator

    return Annotator(args.annotate, videos=videos)


def _load(args: argparse.Namespace) -> Predictor:
    from slowfast_finetune.predicting.predictor import load_model

    return load_model(args.checkpoint, device=args.device, precision=args.precision)


def _worded(result: Prediction | RefusedVideo, args: argparse.Namespace) -> str:
    from slowfast_finetune.predicting.prediction_text import as_csv, as_json, as_text

    if args.json:
        return as_json(result, top=args.top)
    if args.csv:
        return as_csv(result)
    return as_text(result, top=args.top or 3)


def _watch(args: argparse.Namespace, camera: int) -> None:
    from slowfast_finetune.base.console import say
    from slowfast_finetune.predicting.prediction_text import clock, named
    from slowfast_finetune.predicting.webcam import camera_device, watch

    for_files = ("json", "csv", "out", "annotate", "top")
    senseless = [name for name in for_files if getattr(args, name)]
    if senseless:
        raise DataError(f"--{senseless[0]}: is for files; a webcam gives one line after the other")
    camera_device(camera)
    model = _load(args)
    threshold = model.threshold if args.threshold is None else args.threshold
    for moment in watch(model, camera, stride_seconds=args.stride):
        answer = moment.label if moment.confidence >= threshold else None
        say(f"{clock(moment.end_seconds)}  {named(answer)}  {moment.confidence:.2f}")


@contextlib.contextmanager
def _output(out: Path | None) -> Iterator[Write]:
    """A way to write lines to the screen at once, or to a file that is there when all is done.

    What was written before an end that nobody wanted is kept beside it.
    """
    if out is None:
        from slowfast_finetune.base.console import say

        yield say
        return
    from slowfast_finetune.base.files import atomic_path

    out = out.resolve()  # what a link leads to is meant, not the link

    with atomic_path(out) as temporary:
        try:
            with temporary.open("w", encoding="utf-8", newline="") as file:
                yield lambda line: print(line, file=file)
        except BaseException:
            if temporary != out and temporary.stat().st_size:
                partial = temporary.replace(out.with_name(f"{out.name}.partial"))
                _complain(f"stopped early; the answers so far are in {partial}")
            raise


@contextlib.contextmanager
def _bar(total: int, args: argparse.Namespace) -> Iterator[Callable[[], None]]:
    """A progress bar where a person waits and answers do not run through it."""
    from slowfast_finetune.base.console import ProgressBar

    seen = sys.stderr.isatty() and (args.out is not None or not sys.stdout.isatty())
    with ProgressBar("predicting", total=total, hidden=not seen) as bar:
        yield lambda: bar.advance(1)


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"found {text}, expected a number from 1")
    return int(text)


def _share(text: str) -> float:
    share = _number(text)
    if not 0 <= share <= 1:
        raise argparse.ArgumentTypeError(f"found {text}, expected 0 to 1")
    return share


def _seconds(text: str) -> float:
    seconds = _number(text)
    if not 0 < seconds < float("inf"):
        raise argparse.ArgumentTypeError(f"found {text}, expected seconds above 0")
    return seconds


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"found {text}, expected a number") from error
