"""Look after the clip store: status, verify, prune.

Look after the clip store, where every video lies decoded.
"""

import argparse
from pathlib import Path

from slowfast_finetune.base.console import count, readable_bytes, say
from slowfast_finetune.base.errors import DataError
from slowfast_finetune.base.store_location import store_root


def add_options(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)
    status = actions.add_parser("status", help="what each setting holds, and how large it is")
    status.set_defaults(action=_status)
    verify = actions.add_parser(
        "verify",
        help="read every clip and compare checksums; exit code 1 if any is damaged",
        description="Read every clip and its features and compare checksums. Damaged ones are "
        "listed; the exit code is then 1. With --remove they are deleted, and made again when next "
        "needed; what cannot be read is kept, for it may be sound.",
    )
    verify.add_argument("--remove", action="store_true", help="delete the damaged clips")
    verify.set_defaults(action=_verify)
    prune = actions.add_parser(
        "prune",
        help="delete clips that neither params.yaml nor data/manifest.csv refers to",
        description="List the clips that neither params.yaml nor data/manifest.csv refers to, and "
        "what killed processes left half-written; delete them with --yes. Other clones and older "
        "commits that share the store decode again what they miss.",
    )
    prune.add_argument(
        "--features",
        action="store_true",
        help="also all features, of whatever weights [those of params.yaml's clips are kept]",
    )
    prune.add_argument("--yes", action="store_true", help="delete the files [only list them]")
    prune.set_defaults(action=_prune)


def run(args: argparse.Namespace) -> None:
    args.action(args)


def _status(_: argparse.Namespace) -> None:
    from slowfast_finetune.base.params import load_params
    from slowfast_finetune.clip_maintenance import corners, describe_corners, describe_features
    from slowfast_finetune.clips.clip_store import settings_digest

    root = store_root(Path.cwd())
    current = settings_digest(load_params(Path("params.yaml")).clip)
    say(f"{root}\n{describe_corners(corners(root), current=current)}")
    if text := describe_features(root, current=current):
        say(text)


def _verify(args: argparse.Namespace) -> None:
    from slowfast_finetune.clip_maintenance import damaged_entries

    damaged, kept = list(damaged_entries(store_root(Path.cwd()))), []
    for path, error in damaged:
        say(str(error))
        if isinstance(error.__cause__, OSError):  # it may be sound, and readable the next time
            kept.append(path)
        elif args.remove:
            path.unlink(missing_ok=True)
    if kept and args.remove:
        raise DataError(f"cannot be read, and kept: {count(len(kept), 'file')}")
    if damaged and not args.remove:
        raise DataError(
            f"damaged or of another format: {count(len(damaged), 'file')}; --remove deletes such"
        )
    say(f"removed {count(len(damaged), 'file')}" if damaged else "every clip is as it was written")


def _prune(args: argparse.Namespace) -> None:
    from slowfast_finetune.base.manifest_table import MANIFEST
    from slowfast_finetune.base.params import load_params
    from slowfast_finetune.clip_maintenance import find_leftovers, remove, size_of
    from slowfast_finetune.clips.caching import entries_of
    from slowfast_finetune.clips.clip_store import ClipStore, settings_digest
    from slowfast_finetune.features.feature_store import feature_stores

    rows = MANIFEST.read_rows(Path("data/manifest.csv"))
    root, clip = store_root(Path.cwd()), load_params(Path("params.yaml")).clip
    keys, _ = entries_of(rows, ClipStore(root, clip))
    current, kept = settings_digest(clip), {*keys.values()}
    leftovers = find_leftovers(root, current=current, keys=kept, features=args.features)
    for kind, files in leftovers.items():
        say(f"{count(len(files), 'file')}, {readable_bytes(size_of(files))}: {kind}")
    stores = [store for store, found in feature_stores(root) if found and found.clips == current]
    if stores and not args.features:
        many = f"features of {len(stores)} networks or settings are"
        say(f"{'features are' if len(stores) == 1 else many} kept; --features deletes them too")
    if not leftovers:
        say("nothing to delete")
    elif args.yes:
        remove([path for files in leftovers.values() for path in files])
        say("deleted")
    else:
        say("nothing was deleted; --yes deletes them")
