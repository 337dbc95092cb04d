"""Command line of the demo data set: `python -m slowfast_finetune.demo FOLDER`."""

import argparse
from pathlib import Path

from slowfast_finetune.base.console import count, run, say
from slowfast_finetune.base.files import write_text
from slowfast_finetune.base.params import load_params
from slowfast_finetune.base.store_location import locate
from slowfast_finetune.demo.generator import CLASS_NAMES, generate_demo


def main() -> None:
    """Generate the data set that the command line asks for."""
    parser = argparse.ArgumentParser(
        prog="python -m slowfast_finetune.demo",
        description="Generate a data set of short H.264 videos: jointed figures, each doing "
        f"one of {len(CLASS_NAMES)} actions ({', '.join(CLASS_NAMES)}).",
        epilog="The videos are FOLDER/<class>/person_<NNN>_<letter>.mp4. The same options give "
        "the same bytes, whatever the number of workers.",
    )
    parser.add_argument("folder", metavar="FOLDER", type=Path, help="new or empty folder")
    for flag, default, text in (
        ("--people", 40, "people, each of whom does every action (default: 40)"),
        ("--videos-per-person", 2, "videos of each action by each person (default: 2, at most 26)"),
        ("--seed", 0, "another number gives other people and videos (default: 0)"),
        ("--workers", None, "processes (default: one for each CPU)"),
    ):
        parser.add_argument(flag, metavar="N", type=int, default=default, help=text)
    parser.add_argument(
        "--long", action="store_true",
        help="one long video of each person, several actions with pauses, and labels.csv",
    )  # fmt: skip
    parser.add_argument(
        "--if-used-by", metavar="PARAMS", type=Path, help="draw only if its data.videos is FOLDER"
    )
    given = parser.parse_args()
    if params := given.if_used_by:
        used = locate(load_params(params).data.videos, project=params.parent)
        if used.resolve() != given.folder.resolve():
            write_text(
                given.folder / "README.txt", "Empty: data.videos in params.yaml is elsewhere.\n"
            )
            say(f"{params}: data.videos is elsewhere; the demo is not drawn")
            return
    videos = generate_demo(
        given.folder,
        people=given.people,
        videos_per_person=given.videos_per_person,
        seed=given.seed,
        num_workers=given.workers,
        long=given.long,
    )
    people = count(given.people, "person", "people")
    say(f"{count(len(videos), 'video')} of {people} in {given.folder}")


if __name__ == "__main__":
    run(main)
