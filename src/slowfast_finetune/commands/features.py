"""The features of videos as a .npz file, for clustering, retrieval, scikit-learn.

Write the features of videos, what the model's last layer is given for each view that evaluate
averages, as a .npz file: video, start_seconds, view and features, a row for each view. Files that
cannot be read are reported; the exit code is then 1.
"""

import argparse
import sys
from pathlib import Path

from slowfast_finetune.base.console import count, printable, say
from slowfast_finetune.commands.options import add_checkpoint, add_device


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("paths", nargs="+", metavar="PATH", help="a video, a folder, a pattern")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="a .npz file")
    add_checkpoint(parser)
    add_device(parser)


def run(args: argparse.Namespace) -> None:
    import numpy as np

    from slowfast_finetune.base.errors import DataError
    from slowfast_finetune.base.files import atomic_path
    from slowfast_finetune.predicting.inputs import find_inputs
    from slowfast_finetune.predicting.prediction import RefusedVideo
    from slowfast_finetune.predicting.predictor import ViewFeatures, load_model

    if args.out.suffix != ".npz":
        raise DataError(f"--out {args.out}: must end in .npz")
    inputs = find_inputs(args.paths)
    model = load_model(args.checkpoint, device=args.device)
    answers = model.features_many([item for item in inputs if isinstance(item, Path)])
    found: list[ViewFeatures] = []
    for item in inputs:
        result = next(answers) if isinstance(item, Path) else item
        if isinstance(result, RefusedVideo):
            path = printable(str(result.path))
            print(f"error: {path}: {result.reason}: {printable(result.detail)}", file=sys.stderr)
        else:
            found.append(result)
    answers.close()
    if not found:
        raise DataError("none of the videos could be read; nothing was written")
    counts = [len(each.values) for each in found]
    with atomic_path(args.out) as temporary, temporary.open("wb") as file:
        np.savez(
            file,
            video=np.repeat([str(each.path) for each in found], counts),
            start_seconds=np.concatenate([each.start_seconds for each in found]),
            view=np.concatenate([np.arange(count) for count in counts]),
            features=np.concatenate([each.values for each in found]),
        )
    say(f"wrote {args.out}: {sum(counts)} views of {count(len(found), 'video')}")
    if len(found) < len(inputs):
        sys.exit(1)
