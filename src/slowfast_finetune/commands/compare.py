"""Which of two models is better, on the same test videos.

Compare two models on the same test videos: differences with 95 % confidence intervals by a paired
bootstrap over the groups (videos without groups), and McNemar's test.
"""

import argparse

from slowfast_finetune.base.console import say


def add_options(parser: argparse.ArgumentParser) -> None:
    for name in ("a", "b"):
        parser.add_argument(
            name,
            metavar=name.upper(),
            help="a predictions.csv, or a commit, branch, tag or experiment",
        )
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(args: argparse.Namespace) -> None:
    import dataclasses
    import json

    from slowfast_finetune.comparing.comparison import (
        compare,
        compare_timelines,
        describe,
        describe_timelines,
        verdict,
    )
    from slowfast_finetune.comparing.sources import (
        read_predictions,
        read_timelines,
        warnings_of,
    )

    a, b = (read_predictions(source) for source in (args.a, args.b))
    result = compare(a, b)
    grouped = a.frame.dropna(subset="group")
    groups = dict(zip(grouped["video_path"], grouped["group"], strict=True))
    segments = read_timelines(args.a), read_timelines(args.b)
    timelines = compare_timelines(*segments, groups)
    if args.json:
        said = {"a": args.a, "b": args.b, **dataclasses.asdict(result), "verdict": verdict(result)}
        said["timelines"] = timelines and dataclasses.asdict(timelines)
        said["warnings"] = warnings_of([args.a, args.b])
        say(json.dumps(said, indent=2))
        return
    say("\n".join([describe(result, a=args.a, b=args.b), *warnings_of([args.a, args.b])]))
    if timelines is not None:
        say(describe_timelines(timelines))
    elif any(segments):
        missing = [
            source for source, found in zip((args.a, args.b), segments, strict=True) if not found
        ]
        why = f"{missing[0]} has none" if missing else "fewer than two videos or groups have both"
        say(f"timelines are not compared: {why}")
