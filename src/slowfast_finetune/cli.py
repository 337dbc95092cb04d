"""The ``slowfast`` command. Each subcommand imports what it needs, so --help answers at once."""

from __future__ import annotations

import argparse
from pathlib import Path

from slowfast_finetune import __version__
from slowfast_finetune.console import run, say
from slowfast_finetune.serving.command import add_serve


def main() -> None:
    """Entry point of the ``slowfast`` command."""
    run(_main)


def _main() -> None:
    args = _parser().parse_args()
    args.handler(args)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="slowfast",
        description="Teach SlowFast to recognise actions in your own videos.",
        epilog="The pipeline itself runs through DVC: `dvc repro`, `dvc metrics show`.",
    )
    parser.add_argument("--version", action="version", version=f"slowfast {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _add_preset(commands)
    _add_clips(commands)
    _add_doctor(commands)
    _add_compare(commands)
    _add_pool(commands)
    add_serve(commands)
    return parser


def _add_preset(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    preset = commands.add_parser(
        "preset",
        help="switch params.yaml to a preset and point it at your videos",
        description="Switch params.yaml to a preset and point it at your videos. "
        "Without a name, list the presets.",
    )
    preset.add_argument("name", nargs="?", help="a file of presets/ without .yaml")
    preset.add_argument(
        "--videos", type=Path, metavar="FOLDER", help="folder that holds one folder per class"
    )
    preset.set_defaults(handler=_preset)


def _preset(args: argparse.Namespace) -> None:
    from slowfast_finetune.presets import apply_preset, list_presets

    if args.name is None:
        say("\n".join(f"{name:26} {summary}" for name, summary in list_presets(Path.cwd())))
    else:
        say(apply_preset(Path.cwd(), args.name, videos=args.videos))


def _add_clips(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    clips = commands.add_parser(
        "clips",
        help="look after the clip store: status, verify, prune",
        description="Look after the clip store, where every video lies decoded.",
    )
    actions = clips.add_subparsers(title="actions", metavar="ACTION", required=True)
    status = actions.add_parser("status", help="what each setting holds, and how large it is")
    status.set_defaults(handler=_clips_status)
    verify = actions.add_parser(
        "verify",
        help="read every clip and compare checksums; exit code 1 if any is damaged",
        description="Read every clip and compare checksums. Damaged clips are listed; the exit "
        "code is then 1. With --remove they are deleted, and decoded again when next needed.",
    )
    verify.add_argument("--remove", action="store_true", help="delete the damaged clips")
    verify.set_defaults(handler=_clips_verify)
    prune = actions.add_parser(
        "prune",
        help="delete clips that neither params.yaml nor data/manifest.csv refers to",
        description="List the clips that neither params.yaml nor data/manifest.csv refers to, and "
        "what killed processes left half-written; delete them with --yes. Other clones and older "
        "commits that share the store decode again what they miss.",
    )
    prune.add_argument("--yes", action="store_true", help="delete; without it, only tell")
    prune.set_defaults(handler=_clips_prune)


def _clips_status(_: argparse.Namespace) -> None:
    from slowfast_finetune.clips.clip_store import settings_digest, store_root
    from slowfast_finetune.clips.maintenance import corners, describe_corners
    from slowfast_finetune.params import load_params

    root = store_root(Path.cwd())
    current = settings_digest(load_params(Path("params.yaml")).clip)
    say(f"{root}\n{describe_corners(corners(root), current=current)}")


def _clips_verify(args: argparse.Namespace) -> None:
    from slowfast_finetune.clips.clip_store import store_root
    from slowfast_finetune.clips.maintenance import damaged_entries
    from slowfast_finetune.errors import DataError

    damaged = list(damaged_entries(store_root(Path.cwd())))
    for path, reason in damaged:
        say(reason)
        if args.remove:
            path.unlink(missing_ok=True)
    if damaged and not args.remove:
        raise DataError(f"{len(damaged)} clips are damaged; --remove deletes them")
    say(f"removed {len(damaged)} damaged clips" if damaged else "every clip is as it was written")


def _clips_prune(args: argparse.Namespace) -> None:
    from slowfast_finetune.clips.clip_store import settings_digest, store_root
    from slowfast_finetune.clips.maintenance import find_leftovers, readable_bytes, remove
    from slowfast_finetune.files import read_table
    from slowfast_finetune.params import load_params
    from slowfast_finetune.videos.manifest import ManifestRow

    rows = read_table(Path("data/manifest.csv"), ManifestRow)
    leftovers = find_leftovers(
        store_root(Path.cwd()),
        current=settings_digest(load_params(Path("params.yaml")).clip),
        content_hashes={row.content_hash for row in rows},
    )
    for kind, count in leftovers.count_by_kind.items():
        say(f"{count} files, {readable_bytes(leftovers.bytes_by_kind[kind])}: {kind}")
    if not leftovers.files:
        say("nothing to delete")
    elif args.yes:
        remove(leftovers)
        say("deleted")
    else:
        say("nothing was deleted; --yes deletes them")


def _add_doctor(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    doctor = commands.add_parser(
        "doctor",
        help="look at your videos before training: what is there, and what would mislead",
        description="Look at your videos before training: broken files, copies, classes that "
        "their resolution gives away, scenes on both sides of the split, wrong labels. Without "
        "FOLDER, at data/manifest.csv, else at data.videos. Exit code 1 if there are problems.",
    )
    doctor.add_argument("folder", nargs="?", metavar="FOLDER", help="holds one folder per class")
    doctor.add_argument("--params", type=Path, default=Path("params.yaml"), metavar="FILE")
    doctor.add_argument(
        "--out",
        type=Path,
        default=Path("doctor.html"),
        metavar="FILE",
        help="page with contact sheets of every class (doctor.html)",
    )
    doctor.add_argument("--json", action="store_true", help="print JSON for scripts")
    doctor.add_argument("--strict", action="store_true", help="exit code 1 for warnings too")
    doctor.set_defaults(handler=_doctor)


def _doctor(args: argparse.Namespace) -> None:
    import sys

    from slowfast_finetune.files import write_text
    from slowfast_finetune.inspection.doctor import examine
    from slowfast_finetune.inspection.page import as_page
    from slowfast_finetune.inspection.wording import as_json, as_text
    from slowfast_finetune.params import load_params

    params = load_params(args.params)
    diagnosis = examine(args.folder, params=params, project=Path.cwd())
    write_text(args.out, as_page(diagnosis, params.clip))
    if args.json:
        say(as_json(diagnosis, params.clip))
    else:
        say(as_text(diagnosis, params.clip))
        say(f"{args.out}: contact sheets of every class")
    levels = {finding.level for finding in diagnosis.findings}
    if "problem" in levels or (args.strict and "warning" in levels):
        sys.exit(1)


def _add_compare(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    compare = commands.add_parser(
        "compare",
        help="which of two models is better, on the same test videos",
        description="Compare two models on the same test videos: differences with 95 % intervals "
        "by a paired bootstrap over the groups (videos where there are none), and McNemar's test.",
    )
    for name in ("a", "b"):
        compare.add_argument(
            name,
            metavar=name.upper(),
            help="a predictions.csv, or a commit, branch, tag or experiment",
        )
    compare.add_argument("--json", action="store_true", help="print JSON")
    compare.set_defaults(handler=_compare)


def _compare(args: argparse.Namespace) -> None:
    import dataclasses
    import json

    from slowfast_finetune.evaluation.answers import read_answers
    from slowfast_finetune.evaluation.compare import compare, describe, verdict

    result = compare(read_answers(args.a), read_answers(args.b))
    if args.json:
        said = {"a": args.a, "b": args.b, **dataclasses.asdict(result), "verdict": verdict(result)}
        say(json.dumps(said, indent=2))
    else:
        say(describe(result, a=args.a, b=args.b))


def _add_pool(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    pool = commands.add_parser(
        "pool",
        help="the folds of a k-fold as one measurement",
        description="Put the predictions of the folds of a k-fold together: one accuracy, with "
        "its 95 % interval, over videos that were each tested once.",
    )
    pool.add_argument(
        "folds",
        nargs="+",
        metavar="FOLD",
        help="a predictions.csv, or a commit, branch, tag or experiment",
    )
    pool.add_argument("--out", type=Path, metavar="FILE", help="write all as a predictions.csv")
    pool.set_defaults(handler=_pool)


def _pool(args: argparse.Namespace) -> None:
    from slowfast_finetune.evaluation.pooling import describe, pool
    from slowfast_finetune.files import write_text

    pooled = pool(args.folds)
    say(describe(pooled))
    if args.out:
        write_text(args.out, pooled.text)
        say(f"wrote {args.out}")


if __name__ == "__main__":
    main()
