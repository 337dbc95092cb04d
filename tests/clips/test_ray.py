"""The same function on a Ray cluster."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import synthetic
from synthetic import make_manifest, make_params, steady, write_video

from slowfast_finetune.base.params import Engine, Params
from slowfast_finetune.clips import ray_workers
from slowfast_finetune.clips.caching import cache_videos
from slowfast_finetune.clips.clip_store import ClipStore
from slowfast_finetune.clips.clip_tables import ClipRow, RejectedRow

pytestmark = [pytest.mark.extended, pytest.mark.process, pytest.mark.filterwarnings("ignore")]


@pytest.fixture(scope="module", autouse=True)
def cluster() -> Iterator[None]:
    """Two cores of this machine, whose workers can import the tests' own workers."""
    import ray

    paths = os.pathsep.join(
        [str(Path(__file__).parents[1] / "support"), os.environ.get("PYTHONPATH", "")]
    )
    ray.init(
        num_cpus=2,
        include_dashboard=False,
        log_to_driver=False,
        logging_level=logging.ERROR,
        runtime_env={"env_vars": {"PYTHONPATH": paths}},
    )
    yield
    ray.shutdown()


def cache(
    project: Path, names: list[str], engine: Engine, params: Params
) -> tuple[list[ClipRow], list[RejectedRow], dict[str, bytes]]:
    store = ClipStore(project / engine, params.clip)
    runtime = params.runtime.model_copy(update={"num_workers": 2, "engine": engine})
    clips, rejected = cache_videos(
        make_manifest(project, names),
        params=params.model_copy(update={"runtime": runtime}),
        store=store,
        project=project,
    )
    files = {path.name: path.read_bytes() for path in store.folder.iterdir()}
    return clips, rejected, files


def test_ray_gives_what_local_workers_give(tmp_path: Path) -> None:
    names = [f"jump/{index}.mp4" for index in range(5)]
    for index, name in enumerate(names):
        write_video(tmp_path / name, steady(5 + index, 30))
    (tmp_path / "jump/text.mp4").write_text("this is not a video")
    names.append("jump/text.mp4")
    params = make_params()
    on_ray = cache(tmp_path, names, "ray", params)
    assert on_ray == cache(tmp_path, names, "local", params)
    assert [row.reason for row in on_ray[1]] == ["not_a_video"]


@pytest.mark.parametrize(
    ("worker", "bad", "reason"),
    [
        (synthetic.decode_or_crash, "crash", "crashed"),
        (synthetic.decode_or_hang, "hang", "timeout"),
        (synthetic.decode_or_eat, "eat", "out_of_memory"),
    ],
)
def test_a_task_that_goes_wrong_costs_only_its_video(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, worker: object, bad: str, reason: str
) -> None:
    names = ["jump/0.mp4", f"jump/{bad}.mp4", "jump/2.mp4"]
    for index, name in enumerate(names):
        write_video(tmp_path / name, steady(5 + index, 30))
    monkeypatch.setattr(ray_workers, "decode_to_store", worker)
    # The limit also counts the start of a worker of Ray, which takes long on a busy machine.
    seconds = 30 if bad == "hang" else 60
    params = make_params(cache={"timeout_seconds": seconds, "worker_memory_mb": 1024})
    clips, rejected, files = cache(tmp_path, names, "ray", params)
    assert [row.video_path for row in clips] == ["jump/0.mp4", "jump/2.mp4"]
    assert [(row.video_path, row.reason) for row in rejected] == [(names[1], reason)]
    assert not [name for name in files if name.endswith(".tmp")]
