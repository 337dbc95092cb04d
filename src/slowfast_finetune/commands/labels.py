"""``slowfast labels``: labels from and for other programs."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from slowfast_finetune.base.console import say

if TYPE_CHECKING:
    from slowfast_finetune.labelling import label_studio


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    labels = commands.add_parser(
        "labels",
        help="turn lists and exports of annotation tools into a labels.csv, and back",
        description="Labels from and for other programs; docs/labels.md lists the formats.",
    )
    actions = labels.add_subparsers(title="actions", metavar="ACTION", required=True)
    importing = actions.add_parser(
        "import",
        help="make a labels.csv",
        description="Make a labels.csv from the lists of a data set or the exports of a tool.",
    )
    importing.add_argument("files", nargs="+", type=Path, metavar="FILE", help="of one format")
    importing.add_argument(
        "--videos", metavar="FOLDER", help="where the videos lie (data.videos of params.yaml)"
    )
    importing.add_argument("--format", metavar="NAME", help="the format (found by the content)")
    importing.add_argument(
        "--track", metavar="NAME", help="take one tier, subject, attribute or control alone"
    )
    importing.add_argument(
        "--fps", type=_rate, metavar="N", help="frames a second, for files that count frames"
    )
    importing.add_argument(
        "--classes", type=Path, metavar="FILE", help="names of classes, for lists with numbers"
    )
    exporting = actions.add_parser(
        "export",
        help="write the labels of data/manifest.csv for another program",
        description="Write the labels of data/manifest.csv for another program.",
    )
    exporting.add_argument(
        "--format", required=True, choices=("activitynet", "csv", "label-studio")
    )
    exporting.add_argument(
        "--manifest", type=Path, default=Path("data/manifest.csv"), metavar="FILE"
    )
    exporting.add_argument(
        "--predictions",
        type=Path,
        default=Path("metrics/predictions.csv"),
        metavar="FILE",
        help="for label-studio, where it is there (metrics/predictions.csv)",
    )
    exporting.add_argument(
        "--fps", type=_rate, default=25.0, metavar="N", help="of label-studio's frames (25)"
    )
    for action, handler in ((importing, _import), (exporting, _export)):
        action.add_argument("--out", type=Path, metavar="FILE", help="the file to write")
        action.add_argument("--force", action="store_true", help="overwrite the file")
        action.add_argument("--params", type=Path, default=Path("params.yaml"), metavar="FILE")
        action.set_defaults(handler=handler)


def _rate(text: str) -> float:
    rate = float(text)
    if not 0 < rate <= 1000:
        raise ValueError
    return rate


def _import(args: argparse.Namespace) -> None:
    from slowfast_finetune.base.params import load_params
    from slowfast_finetune.base.store_location import locate
    from slowfast_finetune.indexing.label_table import LABELS, LABELS_FILE
    from slowfast_finetune.indexing.manifest import every_video
    from slowfast_finetune.labelling.importing import import_labels

    data = load_params(args.params).data
    if args.videos:
        data = data.model_copy(update={"videos": args.videos, "labels": None})
    root, videos = every_video(data, project=Path.cwd())
    table = locate(data.labels, project=Path.cwd()) if data.labels else root / LABELS_FILE
    out = _writable(args.out or table, force=args.force)
    imported = import_labels(
        args.files,
        videos=videos,
        extensions=data.extensions,
        format_name=args.format,
        track=args.track,
        fps=args.fps,
        classes=args.classes,
    )
    LABELS.write(out, imported.rows)
    say("\n".join([*imported.notes, f"wrote {out}"]))


def _export(args: argparse.Namespace) -> None:
    from slowfast_finetune.base.files import write_text
    from slowfast_finetune.base.manifest_table import MANIFEST
    from slowfast_finetune.base.params import load_params
    from slowfast_finetune.base.store_location import locate
    from slowfast_finetune.base.tables import csv_text
    from slowfast_finetune.labelling import activitynet, label_studio
    from slowfast_finetune.labelling.manifest_labels import labels_of

    names = {"activitynet": "activitynet.json", "csv": "labels.csv", "label-studio": "tasks.json"}
    out = _writable(args.out or Path(names[args.format]), force=args.force)
    root = locate(load_params(args.params).data.videos, project=Path.cwd())
    rows, video_paths = labels_of(MANIFEST.read_rows(args.manifest), root=root, project=Path.cwd())
    lost: list[str] = []
    if args.format == "csv":
        text = csv_text([rows[0]._fields, *rows])
    elif args.format == "activitynet":
        text, lost = activitynet.write(rows, durations=_durations(video_paths))
    else:
        text, lost = label_studio.write(
            rows,
            folder=root.resolve().name,
            fps=args.fps,
            durations=_durations({row.video: video_paths[row.video] for row in rows if row.start}),
            predictions=_predictions(args.predictions, root),
        )
    write_text(out, text)
    say(f"wrote {out}: {len(rows)} labels of {len(video_paths)} videos")
    if lost:
        say(f"the format does not hold: {', '.join(lost)}")


def _durations(video_paths: Mapping[str, Path]) -> dict[str, float]:
    """Durations of the videos that can be opened, as their files state them [s]."""
    import av

    from slowfast_finetune.base.errors import VideoError
    from slowfast_finetune.decoding.opening import open_video

    durations = {}
    for name, path in video_paths.items():
        try:
            with open_video(path) as container:
                if container.duration:
                    durations[name] = round(container.duration / av.time_base, 3)
        except VideoError as error:
            say(f"WARNING: {name}: {error}")
    return durations


def _predictions(path: Path, root: Path) -> dict[label_studio.Case, tuple[str, float]]:
    """Predicted class and its probability by video, start and end; empty without the file."""
    from slowfast_finetune.evaluation.predictions_table import PREDICTIONS
    from slowfast_finetune.labelling.manifest_labels import name_in

    if not path.exists():
        say(f"{path} is not there: the tasks have no predictions")
        return {}
    return {
        (
            name_in(root, row.video_path, project=Path.cwd()),
            getattr(row, "start_seconds", None),
            getattr(row, "end_seconds", None),
        ): (row.predicted, row.confidence)
        for row in PREDICTIONS.rows(PREDICTIONS.read(path))
    }


def _writable(path: Path, *, force: bool) -> Path:
    """Refuse a file that is there."""
    from slowfast_finetune.base.errors import DataError

    if path.exists() and not force:
        raise DataError(f"{path} exists; name another file with --out, or overwrite with --force")
    return path
