"""What the order of the label desk is worth: wrong labels found, and accuracy by labels given."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats
from scipy.special import softmax

from benchmarks.experiment import train_and_test
from benchmarks.report import Target, finish, format_table
from benchmarks.stage_inputs import quiet
from slowfast_finetune.base.params import Params, load_params
from slowfast_finetune.base.store_location import store_root
from slowfast_finetune.clips.clip_store import ClipStore
from slowfast_finetune.clips.clip_tables import CLIPS, ClipRow
from slowfast_finetune.desk.case_evidence import by_features, mean_features
from slowfast_finetune.desk.queue import arrange, confident_mistakes
from slowfast_finetune.desk.suggesting import suggest
from slowfast_finetune.features.feature_store import Features
from slowfast_finetune.features.logistic import fit_path, fitting
from slowfast_finetune.inspection.label_errors import CrossPrediction, cross_predict, suspects
from slowfast_finetune.inspection.video_summary import summarise_entry

EXCHANGED = 0.05  # of the labels
LOOKED = (0.05, 0.10, 0.20)  # of the videos
OURS, DOCTOR, MISTAKES = "the label desk", "the doctor's findings", "confident mistakes of the run"
DOCTOR_FEATURES = "the doctor's findings by features"
SHOWN = "the label desk as it asks"  # with random cases, and test videos last
LEARNED = "the label desk as it asks, of train and val"  # of their videos and wrong labels alone
RANDOM_SHARE = 0.1  # as without an option
FIRST, ROUND, ROUNDS = 5, 20, 10  # labels of each class at first, then in a round; rounds
PENALTY = 1.0  # of all heads of the simulated labelling, so that only the labels differ


def with_wrong_labels(rows: Sequence[ClipRow], *, seed: int) -> tuple[list[ClipRow], set[str]]:
    """Give a share of the cases another class, each other one as likely; the cases' names."""
    rng = np.random.default_rng(seed)
    names = dict(sorted((row.label, row.class_name) for row in rows))
    changed, wrong = list(rows), set()
    for position in rng.choice(len(rows), round(EXCHANGED * len(rows)), replace=False).tolist():
        label = (rows[position].label + int(rng.integers(1, len(names)))) % len(names)
        changed[position] = rows[position]._replace(label=label, class_name=names[label])
        wrong.add(rows[position].case)
    return changed, wrong


def found_after(order: Sequence[str], wrong: set[str], *, num_videos: int) -> list[float]:
    """Share of the wrong labels after each share of LOOKED; what the order lacks comes at random.

    Args:
        order: names of cases, not of all perhaps.
    """
    found = []
    for share in LOOKED:
        looked = round(share * num_videos)
        seen = float(len(wrong.intersection(order[:looked])))
        if looked > len(order):
            rest = len(wrong) - seen
            seen += rest * (looked - len(order)) / (num_videos - len(order))
        found.append(seen / len(wrong))
    return found


def run(
    *, project: Path, noisy: Sequence[Path], curve: Path | None, seeds: Sequence[int], out: Path
) -> None:
    """Measure both on a finished run, print tables, write labels.json and labelling_curve.svg.

    Args:
        project: of the run; its videos' labels are taken as right.
        noisy: folders for runs that are trained on wrong labels, the first with the first seed;
            what a folder has is not trained again. Without any, the features are those of the
            project's own checkpoint, which needs no training and flatters.
        curve: a checkpoint whose features the labelling is simulated on; None: it is not.
    """
    params = load_params(project / "params.yaml")
    rows = CLIPS.read_rows(project / CLIPS.file)
    store = ClipStore(store_root(project), params.clip)
    found: dict[str, list[list[float]]] = {}

    def measure(name: str, seed: int, checkpoint: Path, predictions: Path | None) -> None:
        changed, wrong = with_wrong_labels(rows, seed=seed)
        orders = _orders(changed, params, store, checkpoint, predictions)
        learned = {row.case for row in rows if row.split != "test"}
        for order, cases in orders.items():
            of = learned if order == LEARNED else {row.case for row in rows}
            asked = [case for case in cases if case in of]
            shares = found_after(asked, wrong & of, num_videos=len(of))
            found.setdefault(f"{order}{name}", []).append(shares)

    for seed in seeds if not noisy else ():
        measure(", features of a run with right labels", seed, project / "models/best.pt", None)
    for seed, folder in zip(seeds, noisy, strict=False):
        changed, _ = with_wrong_labels(rows, seed=seed)
        if not (folder / "predictions.csv").is_file():
            folder.mkdir(parents=True, exist_ok=True)
            train_and_test(changed, params, store=store.folder.parent, folder=folder)
        measure("", seed, folder / "best.pt", folder / "predictions.csv")
    print(_found_table(found))
    out.mkdir(parents=True, exist_ok=True)
    results: dict[str, Any] = {"found": found, "videos": len(rows)}
    ours = np.mean(next(iter(found.values())), axis=0)
    targets = [Target("share found after 10 % of the videos", 0.9, float(ours[1]))]
    if curve is not None:
        features = mean_features(rows, params=params, store=store, path=curve)
        labelled = {
            order: [simulated(rows, features, suggested=order != "random", seed=s) for s in seeds]
            for order in ("suggested", "random")
        }
        first = FIRST * len({row.label for row in rows})
        sizes = [first + ROUND * number for number in range(ROUNDS + 1)]
        print(_curve_table(labelled, sizes))
        (out / "labelling_curve.svg").write_text(_chart(labelled, sizes), encoding="utf-8")
        results |= {"labelled": labelled, "labels": sizes}
    finish("labels", out=out, results=results, targets=targets)


def _orders(
    rows: Sequence[ClipRow],
    params: Params,
    store: ClipStore,
    checkpoint: Path,
    predictions: Path | None,
) -> dict[str, list[str]]:
    """Names of cases in the orders that are compared."""
    names = list(dict(sorted((row.label, row.class_name) for row in rows)).values())
    with quiet():
        known = by_features(rows, names, [], params=params, store=store, path=checkpoint)
    mistakes = [] if predictions is None else confident_mistakes(rows, predictions)
    queue = arrange(known, mistakes, random_share=0, seed=0)
    shown = arrange(known, mistakes, random_share=RANDOM_SHARE, seed=0)
    shown.sort(key=lambda case: case.row.split == "test")
    orders = {OURS: [case.name for case in queue], SHOWN: [case.name for case in shown]}
    orders[LEARNED] = orders[SHOWN]
    if predictions is not None:
        ranked = sorted(mistakes, key=lambda case: -case.score)
        orders[MISTAKES] = [case.name for case in ranked]
        summaries = [summarise_entry(row, store)[0] for row in rows]
        labels = np.array([row.label for row in rows])
        judged = CrossPrediction(summaries, labels, known.probabilities, [*range(len(names))], True)
        for name, doctor in ((DOCTOR, cross_predict(summaries)), (DOCTOR_FEATURES, judged)):
            orders[name] = [doctor.videos[i].case for i, _ in suspects(doctor)] if doctor else []
    return orders


def simulated(
    rows: Sequence[ClipRow], features: Features, *, suggested: bool, seed: int
) -> list[float]:
    """Accuracy on the test videos, of a head on the labels given so far, after each round.

    The labels of train and val are given: FIRST of each class at random, the same for both orders,
    then ROUND at a time, those that the label desk suggests or others at random.
    """
    rng = np.random.default_rng(seed)
    labels = np.array([row.label for row in rows])
    testing = np.array([row.split == "test" for row in rows])
    pool = rng.permutation(np.flatnonzero(~testing))
    given = [p for label in np.unique(labels) for p in pool[labels[pool] == label][:FIRST].tolist()]
    found = []
    for _ in range(ROUNDS + 1):
        with fitting():
            (head,) = fit_path(
                features[given, None], labels[given], penalties=[PENALTY], balanced=False
            )
        found.append(float((head.logits(features[testing]).argmax(1) == labels[testing]).mean()))
        rest = pool[~np.isin(pool, given)]
        chosen = list(range(ROUND))
        if suggested:
            chosen = suggest(
                features[rest], softmax(head.logits(features[rest]), axis=1), count=ROUND, seed=seed
            )
        given += rest[chosen].tolist()
    return found


def interval(values: Sequence[float]) -> tuple[float, float]:
    """Mean, and half the width of its 95 % confidence interval (Student's t)."""
    spread = np.std(values, ddof=1) / np.sqrt(len(values)) if len(values) > 1 else np.nan
    return float(np.mean(values)), float(stats.t.ppf(0.975, len(values) - 1) * spread)


def _found_table(found: Mapping[str, Sequence[Sequence[float]]]) -> str:
    lines = [
        [name, str(len(each)), *(f"{share:.0%}" for share in np.mean(each, axis=0))]
        for name, each in {**found, "random": [LOOKED]}.items()
    ]
    shares = [f"after {share:.0%}" for share in LOOKED]
    return format_table(["wrong labels found by", "seeds", *shares], lines)


def _curve_table(labelled: Mapping[str, Sequence[Sequence[float]]], sizes: Sequence[int]) -> str:
    lines = []
    for number, size in enumerate(sizes):
        each = [interval([run[number] for run in runs]) for runs in labelled.values()]
        gains = [one[number] - other[number] for one, other in zip(*labelled.values(), strict=True)]
        cells = [f"{mean:.3f} ± {half:.3f}" for mean, half in each]
        gain, half = interval(gains)
        lines.append([str(size), *cells, f"{gain:+.3f} ± {half:.3f}"])
    return format_table(["labels", *labelled, "difference"], lines)


def _chart(labelled: Mapping[str, Sequence[Sequence[float]]], sizes: Sequence[int]) -> str:
    """Draw accuracy by labels, means and intervals, as SVG."""
    ends = [interval(each) for runs in labelled.values() for each in zip(*runs, strict=True)]
    low, high = min(m - h for m, h in ends), max(m + h for m, h in ends)
    low, high = np.floor(low * 20) / 20, np.ceil(high * 20) / 20

    def place(size: float, value: float) -> str:
        x = 50 + 400 * (size - sizes[0]) / (sizes[-1] - sizes[0])
        return f"{x:.1f},{250 - 220 * (value - low) / (high - low):.1f}"

    parts = [
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 560 295" font-family="sans-serif" '
        'font-size="12" fill="#555"><rect width="560" height="295" fill="#fff"/>'
    ]
    for value in np.arange(low, high + 0.001, 0.05):
        x, _, y = place(sizes[0], value).partition(",")
        parts.append(f'<path d="M{x} {y}H450" stroke="#ddd"/>')
        parts.append(f'<text x="44" y="{y}" dy="4" text-anchor="end">{value:.2f}</text>')
    for size in sizes[::2]:
        x = place(size, low).partition(",")[0]
        parts.append(f'<text x="{x}" y="268" text-anchor="middle">{size}</text>')
    parts.append('<text x="250" y="288" text-anchor="middle">labels given</text>')
    parts.append('<text x="8" y="16">accuracy on test videos</text>')
    for (name, runs), colour in zip(labelled.items(), ("#0b6e99", "#c2571a"), strict=True):
        each = [interval(values) for values in zip(*runs, strict=True)]
        upper = [place(size, mean + half) for size, (mean, half) in zip(sizes, each, strict=True)]
        lower = [place(size, mean - half) for size, (mean, half) in zip(sizes, each, strict=True)]
        middle = [place(size, mean) for size, (mean, _) in zip(sizes, each, strict=True)]
        band = " ".join([*upper, *reversed(lower)])
        parts.append(f'<polygon points="{band}" fill="{colour}" opacity="0.18"/>')
        line = " ".join(middle)
        parts.append(f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="2"/>')
        end = float(middle[-1].partition(",")[2]) + (-4 if name == "suggested" else 12)
        parts.append(f'<text x="456" y="{end:.1f}" fill="{colour}">{name}</text>')
    return "\n".join([*parts, "</svg>"]) + "\n"
