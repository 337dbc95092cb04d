"""Write a run's model card, models/README.md, in the form that Hugging Face reads. Pure.

Front matter: https://huggingface.co/docs/hub/model-cards; sections after Mitchell et al., "Model
Cards for Model Reporting", arXiv 1810.03993.
"""

import re
from collections.abc import Sequence
from pathlib import PurePath
from typing import Any

import yaml

from slowfast_finetune.base.manifest_table import SPLITS, case_noun, unit_noun
from slowfast_finetune.base.params import Params
from slowfast_finetune.inspection.findings import Finding
from slowfast_finetune.inspection.readable import template_environment
from slowfast_finetune.report import run_overview
from slowfast_finetune.report.results import Results, tested


def model_card(results: Results, *, params: Params, findings: Sequence[Finding]) -> str:
    """Render the card: YAML front matter, then Markdown."""
    # The other parts of the path are of no use to others, and may be private.
    dataset = PurePath(params.data.videos).name or "videos"
    front_matter = yaml.safe_dump(
        _front_matter(results, params, dataset), sort_keys=False, allow_unicode=True, width=1000
    )
    titles = run_overview.texts()["card"]
    first_weights = str(results.run.get("initial_weights") or "")
    template = template_environment("report", autoescape=False).get_template("model_card.md")
    card = template.render(
        front_matter=front_matter,
        dataset=dataset,
        results=results,
        params=params,
        side=params.train.crop_size,
        noun=case_noun(results.clips),
        tested=tested(results.predictions),
        sentences=[markdown(text) for text in run_overview.sentences("result", results)],
        scores={name: said[0] for name, said in titles.items() if name in results.scores},
        data=run_overview.sentences("data", results),
        splits=SPLITS,
        data_table=run_overview.data_table(results),
        unit=unit_noun(results.clips),
        shared_groups=any(finding.code == "group-on-both-sides" for finding in findings),
        findings=[finding for finding in findings if finding.level != "note"],
        kinetics="kinetics" in f"{params.model.weights} {first_weights}".lower(),
        md=markdown,
        **run_overview.reproduction(results),
    )
    return card.rstrip() + "\n"


def _front_matter(results: Results, params: Params, dataset: str) -> dict[str, Any]:
    metrics = [
        {"type": said[1], "name": said[0], "value": results.scores[name].value}
        for name, said in run_overview.texts()["card"].items()
        if len(said) > 1 and name in results.scores
    ]
    result = {
        "task": {"type": "video-classification"},
        "dataset": {"type": "video-folder", "name": dataset, "split": "test"},
        "metrics": metrics,
    }
    return {
        "license": "unknown",
        "library_name": "slowfast-finetune",
        "pipeline_tag": "video-classification",
        "tags": ["video-classification", "action-recognition", "slowfast", params.model.name],
        "model-index": [{"name": f"{dataset}-{params.model.name}", "results": [result]}],
    }


def markdown(text: object) -> str:
    """Escape any text for Markdown: in a line, in a table cell, in a heading."""
    return re.sub(r"([\\`*_\[\]<>|&~$#])", r"\\\1", re.sub(r"\s+", " ", str(text)))
