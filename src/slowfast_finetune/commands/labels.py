"""Turn lists and exports of annotation tools into a labels.csv, and back.

Labels from and for other programs; docs/labels.md lists the formats.
"""

import argparse
from collections.abc import Mapping
from pathlib import Path

from slowfast_finetune.base.console import count, say
from slowfast_finetune.base.errors import DataError, VideoError
from slowfast_finetune.indexing.label_table import LABELS, LabelRow, Span, read_labels

# Format, and the file that it is written to.
_EXPORTS = {"activitynet": "activitynet.json", "csv": "labels.csv", "label-studio": "tasks.json"}


def add_options(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)
    said = "make a labels.csv from lists of data sets or exports of annotation tools"
    importing = actions.add_parser("import", help=said, description=said)
    importing.add_argument("files", nargs="+", type=Path, metavar="FILE")
    said = "write the labels of data/manifest.csv for another program"
    exporting = actions.add_parser("export", help=said, description=said)
    exporting.add_argument("--format", required=True, choices=_EXPORTS)
    exporting.add_argument(
        "--manifest", type=Path, default=Path("data/manifest.csv"), metavar="FILE"
    )
    rate = "frames a second, where a format counts frames"
    exporting.add_argument("--fps", type=float, default=25.0, metavar="N", help=f"{rate} (25)")
    importing.add_argument("--fps", type=float, metavar="N", help=rate)
    for option, metavar, said in (
        ("--videos", "FOLDER", "where the videos lie (data.videos of params.yaml)"),
        ("--format", "NAME", "the format (found by the content)"),
        ("--track", "NAME", "take one tier, subject, attribute or control alone"),
    ):
        importing.add_argument(option, metavar=metavar, help=said)
    importing.add_argument(
        "--classes", type=Path, metavar="FILE", help="names of classes, for lists with numbers"
    )
    for each, action in ((importing, _import), (exporting, _export)):
        each.add_argument("--out", type=Path, metavar="FILE", help="the file to write")
        each.add_argument("--force", action="store_true", help="overwrite the file")
        each.add_argument("--params", type=Path, default=Path("params.yaml"), metavar="FILE")
        each.set_defaults(action=action)


def run(args: argparse.Namespace) -> None:
    args.action(args)


def _import(args: argparse.Namespace) -> None:
    from slowfast_finetune.base.params import load_params
    from slowfast_finetune.indexing.manifest import every_video, labels_path
    from slowfast_finetune.labelling.importing import import_labels

    data = load_params(args.params).data
    if args.videos:
        data = data.model_copy(update={"videos": args.videos, "labels": None})
    _, videos = every_video(data, project=Path.cwd())
    out = _writable(args.out or labels_path(data, project=Path.cwd()), args)
    rows, notes = import_labels(
        args.files,
        videos=videos,
        extensions=data.extensions,
        format_name=args.format,
        track=args.track,
        fps=args.fps,
        classes=args.classes,
    )
    LABELS.write(out, rows)
    say("\n".join([*notes, f"wrote {out}"]))


def _export(args: argparse.Namespace) -> None:
    from slowfast_finetune.base.files import write_text
    from slowfast_finetune.base.manifest_table import MANIFEST
    from slowfast_finetune.base.params import load_params
    from slowfast_finetune.base.store_location import locate
    from slowfast_finetune.base.tables import csv_text
    from slowfast_finetune.indexing.manifest import labels_path
    from slowfast_finetune.labelling.activitynet import write_activitynet
    from slowfast_finetune.labelling.label_studio import write_label_studio
    from slowfast_finetune.labelling.manifest_labels import dropped_rows, labels_of

    out = _writable(args.out or Path(_EXPORTS[args.format]), args)
    data = load_params(args.params).data
    root = locate(data.videos, project=Path.cwd())
    cases = MANIFEST.read_rows(args.manifest)
    own = [row for row in cases if not row.is_background]  # `index` makes these anew
    rows, videos = labels_of(own, root=root, project=Path.cwd())
    lost = [f"{len(cases) - len(own)} parts of data.background"] if len(own) < len(cases) else []
    more: list[str] = []
    if args.format == "csv":
        table = labels_path(data, project=Path.cwd())
        dropped = dropped_rows(read_labels(table), rows) if table.exists() else []
        text = csv_text([LabelRow._fields, *rows, *dropped])
    elif args.format == "activitynet":
        text, more = write_activitynet(rows, durations=_durations(videos))
    else:
        open_ended = {row.video: videos[row.video] for row in rows if row.start and not row.end}
        text, more = write_label_studio(
            rows,
            folder=root.resolve().name,
            fps=args.fps,
            durations=_durations(open_ended),
            predictions=_predictions(root),
        )
    write_text(out, text)
    say(f"wrote {out}: {count(len(rows), 'label')} of {count(len(videos), 'video')}")
    if lost := lost + more:
        say(f"left out: {', '.join(lost)}")


def _durations(videos: Mapping[str, Path]) -> dict[str, float]:
    """Durations of the videos that can be opened, as their files state them [s]."""
    import av

    from slowfast_finetune.decoding.opening import open_video

    durations = {}
    for name, path in videos.items():
        try:
            with open_video(path) as container:
                if container.duration:
                    durations[name] = round(container.duration / av.time_base, 3)
        except VideoError as error:
            say(f"WARNING: {name}: {error}")
    return durations


def _predictions(root: Path) -> dict[Span, tuple[str, float]]:
    """Predicted class and its probability of each test case; none before `evaluate` has run."""
    from slowfast_finetune.evaluation.result_tables import PREDICTIONS
    from slowfast_finetune.labelling.manifest_labels import name_of

    if not (path := Path(PREDICTIONS.file)).exists():
        say(f"{path} is not there: the tasks have no predictions")
        return {}
    found = {}
    for row in PREDICTIONS.read_rows(path):
        video = name_of(row.video_path, root=root, project=Path.cwd())
        span = Span(video, row.start_seconds, row.end_seconds)
        found[span] = row.predicted, row.confidence
    return found


def _writable(path: Path, args: argparse.Namespace) -> Path:
    """Refuse a file that is there, and a rate that is none."""
    if path.exists() and not args.force:
        raise DataError(f"{path} exists; name another file with --out, or overwrite with --force")
    if args.fps is not None and not 0 < args.fps < 1e6:
        raise DataError(f"--fps: found {args.fps:g}, expected frames a second, more than 0")
    return path
