"""The videos of the set that are nearest to a video.

List the videos of data/clips.csv whose features are nearest to those of a video: cosine similarity
of the means over the views, class, split and path, the most similar first. Uses what the feature
store has of the checkpoint's features.
"""

import argparse
from collections import Counter
from pathlib import Path

from slowfast_finetune.base.console import printable, say
from slowfast_finetune.commands.options import add_checkpoint, add_device, number_from


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("video", type=Path, metavar="VIDEO", help="any video")
    parser.add_argument(
        "-k", type=number_from(int, 1), default=5, metavar="N", help="how many [%(default)s]"
    )
    add_checkpoint(parser)
    add_device(parser)


def run(args: argparse.Namespace) -> None:
    from slowfast_finetune.base.errors import DataError
    from slowfast_finetune.base.store_location import store_root
    from slowfast_finetune.clips.clip_tables import CLIPS
    from slowfast_finetune.features.extraction import extractor_of
    from slowfast_finetune.features.feature_store import find_stored, read_means
    from slowfast_finetune.features.likeness import nearest
    from slowfast_finetune.predicting.predictor import load_model

    rows = CLIPS.read_rows(Path("data/clips.csv"))
    model = load_model(args.checkpoint, device=args.device)
    places = find_stored(rows, store_root(Path.cwd())).get(extractor_of(model.checkpoint), {})
    if not places:
        raise DataError(
            f"the feature store has no features by {args.checkpoint} of videos of data/clips.csv; "
            "those of a probe are made by `slowfast crossval`, those of a fine-tuned model "
            f"by `slowfast crossval --results FOLDER` with model.weights: {args.checkpoint}"
        )
    if len(places) < len(rows):
        say(
            f"{len(places)} of {len(rows)} videos have stored features; `slowfast crossval` makes "
            "the others"
        )
    kept, features = sorted(places), read_means(rows, places)
    # As most of the stored ones were made: other views would lie elsewhere.
    plans = Counter((each.temporal_views, each.spatial_crops) for _, each in places.values())
    ((views, _),) = plans.most_common(1)
    given = model.features(args.video, views=views).values
    positions, cosines = nearest(given.mean(axis=0, keepdims=True), features, k=args.k)
    for position, cosine in zip(positions[0].tolist(), cosines[0].tolist(), strict=True):
        row = rows[kept[position]]
        say(f"{cosine:.3f}  {row.class_name}  {row.split}  {printable(row.case)}")
