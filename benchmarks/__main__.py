"""``python -m benchmarks NAME``: prints a table, writes JSON. ``--help`` lists the names."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

# The benchmarks are imported when they are run: help is answered without torch.


MODELS = ("slowfast_r50", "slowfast_shallow")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    for add in ADDERS:
        command = add(commands.add_parser)
        command.add_argument(
            "--out",
            type=Path,
            default=Path("benchmarks/results"),
            help="folder for the JSON files [%(default)s]",
        )
    options = vars(parser.parse_args())
    options.pop("command")
    # The options of a command are the arguments of the function that it names.
    module, _, function = options.pop("runs").partition(".")
    getattr(import_module(f"benchmarks.{module}"), function)(**options)


AddParser = Callable[..., argparse.ArgumentParser]


def _add_decode(add_parser: AddParser) -> argparse.ArgumentParser:
    parser = add_parser(
        "decode", help="the cache stage against ffmpeg processes, decord, PyAV and torchcodec"
    )
    parser.add_argument(
        "--count", type=_positive, help="videos of each size [a few seconds' worth: 48 to 8]"
    )
    parser.add_argument(
        "--sizes",
        type=sizes,
        nargs="*",
        default=[["340x256", "1280x720", "1920x1080"]],
        metavar="WxH",
        help="with spaces or commas between; none for --videos alone [340x256 1280x720 1920x1080]",
    )
    parser.add_argument("--videos", type=Path, help="measure on the videos of a folder too")
    parser.add_argument("--workers", type=_positive, help="processes of each side [one a core]")
    parser.add_argument("--rounds", type=_positive, default=5, help="[%(default)s]")
    parser.add_argument("--scratch", type=Path, help="where frames are written [temporary folder]")
    parser.set_defaults(runs="decode.run")
    return parser


def _add_reader(add_parser: AddParser) -> argparse.ArgumentParser:
    parser = add_parser(
        "reader", help="clips a second from the cache against decoding on the fly, and memcpy"
    )
    parser.add_argument(
        "--count", type=_positive, default=16, help="videos of each size [%(default)s]"
    )
    parser.add_argument("--rounds", type=_positive, default=5, help="[%(default)s]")
    parser.set_defaults(runs="reader.run")
    return parser


def _add_store(add_parser: AddParser) -> argparse.ArgumentParser:
    parser = add_parser(
        "store", help="the clip store by encoding: bytes, fidelity, writing, reading windows"
    )
    parser.add_argument("folder", type=Path, help="of videos to store")
    parser.add_argument("--count", type=_positive, default=24, help="videos of it [%(default)s]")
    parser.add_argument("--rounds", type=_positive, default=3, help="[%(default)s]")
    parser.set_defaults(runs="store.run")
    return parser


def _add_incremental(add_parser: AddParser) -> argparse.ArgumentParser:
    parser = add_parser(
        "incremental", help="index and cache with nothing changed, one video added, one removed"
    )
    parser.add_argument(
        "--sizes", type=_positive, nargs="+", default=[100, 1000, 10_000], metavar="N"
    )
    parser.add_argument("--rounds", type=_positive, default=3, help="[%(default)s]")
    parser.set_defaults(runs="incremental.run")
    return parser


def _add_fuzz(add_parser: AddParser) -> argparse.ArgumentParser:
    parser = add_parser("fuzz", help="damaged videos through the cache stage; all must be rows")
    parser.add_argument("--count", type=_positive, default=3000, help="files [%(default)s]")
    parser.add_argument("--seed", type=int, default=0, help="of the damage [%(default)s]")
    parser.add_argument("--batch", type=_positive, default=500, help="files a run [%(default)s]")
    parser.add_argument(
        "--originals",
        dest="originals_folder",
        type=Path,
        metavar="FOLDER",
        help="damage the files of up to 200 kB below a folder, instead of drawn ones",
    )
    parser.add_argument(
        "--keep", type=Path, help="copy the files that crashed or stopped a worker into a folder"
    )
    parser.set_defaults(runs="fuzz.run")
    return parser


def _add_step(add_parser: AddParser) -> argparse.ArgumentParser:
    parser = add_parser(
        "step", help="a training step against pytorchvideo in a plain loop, and a matmul"
    )
    parser.add_argument("--models", nargs="+", choices=MODELS, default=MODELS)
    parser.add_argument("--batch", type=_positive, help="clips a step [2 for R50, 8 for shallow]")
    parser.add_argument("--rounds", type=_positive, default=5, help="[%(default)s]")
    parser.set_defaults(runs="step.run")
    return parser


def _add_epoch(add_parser: AddParser) -> argparse.ArgumentParser:
    parser = add_parser(
        "epoch", help="an epoch from the cache against one batch in memory, and decoding on the fly"
    )
    parser.add_argument("--models", nargs="+", choices=MODELS, default=MODELS)
    parser.add_argument("--rounds", type=_positive, default=5, help="[%(default)s]")
    parser.set_defaults(runs="epoch.run")
    return parser


def _add_startup(add_parser: AddParser) -> argparse.ArgumentParser:
    parser = add_parser(
        "startup", help="seconds of slowfast --help, and from calling train to its first step"
    )
    parser.add_argument("--rounds", type=_positive, default=5, help="[%(default)s]")
    parser.set_defaults(runs="startup.run")
    return parser


def _add_evaluate(add_parser: AddParser) -> argparse.ArgumentParser:
    parser = add_parser("evaluate", help="the evaluate stage against its bare forward passes")
    parser.add_argument("--videos", type=_positive, default=1000, help="[%(default)s]")
    parser.add_argument("--views", nargs="+", default=["1x1", "10x3"], metavar="TEMPORALxSPATIAL")
    parser.add_argument("--rounds", type=_positive, default=3, help="[%(default)s]")
    parser.set_defaults(runs="evaluation.run")
    return parser


def _add_features(add_parser: AddParser) -> argparse.ArgumentParser:
    parser = add_parser(
        "features", help="the feature store against bare forward passes; the seconds of a head"
    )
    parser.add_argument("--videos", type=_positive, default=240, help="drawn ones [%(default)s]")
    parser.add_argument("--preset", default="demo", help="gives model and clips [%(default)s]")
    parser.add_argument(
        "--heads", type=_positive, nargs="*", default=[1000, 10_000, 100_000], metavar="N",
        help="videos of drawn features, 2304 each, 10 classes [%(default)s]",
    )  # fmt: skip
    parser.add_argument("--rounds", type=_positive, default=3, help="[%(default)s]")
    parser.set_defaults(runs="features.run")
    return parser


def _add_int8(add_parser: AddParser) -> argparse.ArgumentParser:
    parser = add_parser("int8", help="computing in 8 bits against fp32 and bf16: speed and answers")
    parser.add_argument(
        "--presets", nargs="*", default=["demo", "probe"], help="give model and clips [%(default)s]"
    )
    parser.add_argument(
        "--projects", type=Path, nargs="*", default=[], metavar="FOLDER",
        help="after dvc repro: what becomes of the answers on their test videos",
    )  # fmt: skip
    parser.add_argument("--batches", type=_positive, default=3, help="a round [%(default)s]")
    parser.add_argument("--rounds", type=_positive, default=7, help="[%(default)s]")
    parser.set_defaults(runs="int8.run")
    return parser


def _add_predict(add_parser: AddParser) -> argparse.ArgumentParser:
    parser = add_parser("predict", help="predicting against decoding alone and computing alone")
    parser.add_argument(
        "--cases",
        nargs="+",
        default=["320x240:64:64:100", "1280x720:256:224:24", "1920x1080:256:224:24"],
        metavar="WxH:SHORT_SIDE:CROP:COUNT",
        help="videos, what the model sees of them, and how many they are [%(default)s]",
    )
    parser.add_argument("--seconds", type=_positive, default=10, help="of each [%(default)s]")
    parser.add_argument("--model", choices=MODELS, default="slowfast_shallow")
    parser.add_argument("--rounds", type=_positive, default=5, help="[%(default)s]")
    parser.set_defaults(runs="predict.run")
    return parser


def _add_recipe(add_parser: AddParser) -> argparse.ArgumentParser:
    parser = add_parser("recipe", help="the demo's recipe against a plain one, on few videos")
    parser.add_argument(
        "--per-class", type=_positive, default=20, help="videos for training [%(default)s]"
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--epochs", type=_positive, help="[as the preset has it]")
    parser.add_argument(
        "--try",
        dest="changes",
        nargs="*",
        default=[],
        metavar="SECTION.NAME=VALUE,…",
        help="further recipes: the preset with changes",
    )
    parser.set_defaults(runs="recipes.recipe")
    return parser


def _add_transfer(add_parser: AddParser) -> argparse.ArgumentParser:
    parser = add_parser(
        "transfer", help="a new class, and other sets, from a model of other classes and from none"
    )
    parser.add_argument(
        "folder", type=Path, metavar="FOLDER", help="of train/ and test/ with class folders"
    )
    parser.add_argument(
        "--others", type=Path, nargs="*", default=[], metavar="FOLDER",
        help="sets to learn by the first model, one group left out at a time",
    )  # fmt: skip
    parser.add_argument(
        "--without", nargs="*", default=[], metavar="CLASS", help="classes to leave out [each]"
    )
    parser.add_argument(
        "--changes", default="", metavar="SECTION.NAME=VALUE,…", help="in the preset scratch"
    )
    parser.add_argument(
        "--few", default="", metavar="SECTION.NAME=VALUE,…", help="on top, where videos are few"
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument(
        "--recordings", type=_positive, default=5,
        help="of the class, and as many of the others, two videos each [%(default)s]",
    )  # fmt: skip
    parser.add_argument(
        "--keep", type=Path, required=True, help="folder of what is trained; a killed run goes on"
    )
    parser.set_defaults(runs="transfer.run")
    return parser


def _add_sets(add_parser: AddParser) -> argparse.ArgumentParser:
    parser = add_parser(
        "sets", help="accuracy on real sets: dvc repro, a plain script, facts of the files"
    )
    parser.add_argument(
        "folders",
        type=Path,
        nargs="+",
        metavar="FOLDER",
        help="of class folders with a groups.csv; or of train/ and test/ with these in",
    )
    parser.add_argument("--preset", default="scratch", help="[%(default)s]")
    parser.add_argument("--changes", default="", metavar="SECTION.NAME=VALUE,…")
    parser.add_argument(
        "--seeds",
        type=int,
        nargs="+",
        default=[0, 1, 2, 3, 4],
        help="where there is test/ [0 to 4]",
    )
    parser.add_argument(
        "--folds",
        dest="num_folds",
        type=_positive,
        default=5,
        help="where there is no test/ [%(default)s]",
    )
    parser.add_argument(
        "--plain-runs",
        type=int,
        default=1,
        help="so many runs of each set with the plain script, which takes long [%(default)s]",
    )
    parser.set_defaults(runs="sets.run")
    return parser


def _add_serve(add_parser: AddParser) -> argparse.ArgumentParser:
    parser = add_parser(
        "serve", help="load test of slowfast serve with good, broken, oversized and slow uploads"
    )
    parser.add_argument("--checkpoint", type=Path, default=Path("models/best.pt"))
    parser.add_argument("--clients", type=_positive, default=64, help="at once [%(default)s]")
    parser.add_argument("--seconds", type=_positive, default=60, help="[%(default)s]")
    parser.add_argument("--video", type=Path, help="the good upload [two drawn seconds]")
    parser.set_defaults(runs="serve.run")
    return parser


def _add_strangers(add_parser: AddParser) -> argparse.ArgumentParser:
    parser = add_parser(
        "strangers", help="rules for what is unlike the training videos, on trained checkpoints"
    )
    parser.add_argument(
        "checkpoints", type=Path, nargs="+", metavar="CHECKPOINT",
        help="where data.exclude left a class out, that class counts as strangers too",
    )  # fmt: skip
    parser.add_argument(
        "--strangers", type=Path, nargs="+", required=True, metavar="FOLDER",
        help="folders of videos of other actions, in subfolders",
    )  # fmt: skip
    parser.add_argument("--store", type=Path, help="a clip store to use [temporary folder]")
    parser.set_defaults(runs="strangers.run")
    return parser


def _add_labels(add_parser: AddParser) -> argparse.ArgumentParser:
    parser = add_parser(
        "labels", help="wrong labels found in the label desk's order; labelling simulated"
    )
    parser.add_argument("project", type=Path, help="a finished run, whose labels are right")
    parser.add_argument(
        "--noisy", type=Path, nargs="*", default=[], metavar="FOLDER",
        help="train on wrong labels too, a seed a folder; what a folder has is used",
    )  # fmt: skip
    parser.add_argument(
        "--curve", type=Path, metavar="CHECKPOINT", help="simulate labelling on its features"
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.set_defaults(runs="labels.run")
    return parser


def _add_gpu(add_parser: AddParser) -> argparse.ArgumentParser:
    parser = add_parser("gpu", help="what only a GPU can show: right, fast, fed; part by part")
    parser.add_argument("parts", nargs="*", metavar="PART", help="[all, in order of importance]")
    parser.add_argument("--minutes", type=float, default=8.0, help="for all [%(default)s]")
    parser.add_argument("--rounds", type=_positive, default=3, help="of an epoch [%(default)s]")
    parser.add_argument("--tiny", action="store_true", help="test the benchmark itself on a CPU")
    parser.set_defaults(runs="gpu.run")
    return parser


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"found {text}, expected 1 or more")
    return number


def sizes(text: str) -> list[str]:
    """Sizes such as 1280x720, with spaces or commas between."""
    found = [size for size in re.split(r"[\s,]+", text) if size]
    for size in found:
        if not re.fullmatch(r"[1-9]\d*x[1-9]\d*", size):
            raise argparse.ArgumentTypeError(f"found {size!r}, expected sizes such as 1280x720")
    return found


def _add_desk(add_parser: AddParser) -> argparse.ArgumentParser:
    parser = add_parser(
        "desk", help="a session at the label desk by keys, its server killed at random moments"
    )
    parser.add_argument("--project", type=Path, required=True, help="folder of a finished run")
    parser.add_argument("--decisions", type=_positive, default=300, help="[%(default)s]")
    parser.add_argument("--kills", type=_positive, default=5, help="[%(default)s]")
    parser.add_argument("--pause", type=float, default=0.2, help="between two keys [%(default)s s]")
    parser.add_argument("--seed", type=int, default=0, help="[%(default)s]")
    parser.set_defaults(runs="desk.run")
    return parser


ADDERS = (
    _add_desk,
    _add_decode,
    _add_reader,
    _add_store,
    _add_incremental,
    _add_fuzz,
    _add_step,
    _add_epoch,
    _add_startup,
    _add_evaluate,
    _add_features,
    _add_int8,
    _add_predict,
    _add_recipe,
    _add_transfer,
    _add_sets,
    _add_serve,
    _add_strangers,
    _add_labels,
    _add_gpu,
)

if __name__ == "__main__":
    main()
