"""Pretrained weights over the path that real ones take: HTTP, cache, strict loading, new head."""

from __future__ import annotations

import http.server
import pickle
import re
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from slowfast_finetune.base.errors import WeightsError
from slowfast_finetune.base.params import ModelParams
from slowfast_finetune.model.slowfast import build_slowfast, head_of
from slowfast_finetune.model.weights import build_pretrained, read_weights

SIX, TWO = ["a", "b", "c", "d", "e", "f"], ["a", "b"]


def model_params(weights: str, name: str = "slowfast_shallow") -> ModelParams:
    return ModelParams.model_validate({"name": name, "weights": weights, "dropout_rate": 0.0})


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small checkpoint in the published format: 400 classes under ``model_state``."""
    torch.manual_seed(7)
    path = tmp_path_factory.mktemp("zoo") / "SMALL.pyth"
    network = build_slowfast("slowfast_shallow", num_classes=400)
    torch.save({"model_state": network.state_dict(), "cfg": "text as published"}, path)
    return path


@pytest.fixture(autouse=True)
def hub_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path / "hub"))
    return tmp_path / "hub" / "checkpoints"


class _Handler(http.server.BaseHTTPRequestHandler):
    folder: Path
    served: int
    cut_at: int | None

    def do_GET(self) -> None:
        type(self).served += 1
        path = self.folder / self.path.lstrip("/")
        if not path.is_file():
            self.send_error(404)
            return
        data = path.read_bytes()
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data[: self.cut_at])

    def log_message(self, *args: Any) -> None:
        pass


@pytest.fixture
def server(published: Path) -> Iterator[tuple[str, type[_Handler]]]:
    handler = type(
        "Handler", (_Handler,), {"folder": published.parent, "served": 0, "cut_at": None}
    )
    httpd = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=httpd.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{httpd.server_port}", handler
    httpd.shutdown()
    httpd.server_close()
    thread.join()


def test_published_checkpoint_is_downloaded_once_and_gets_a_new_head(
    server: tuple[str, type[_Handler]], published: Path, hub_folder: Path
) -> None:
    address, handler = server
    params = model_params(f"{address}/{published.name}")
    torch.manual_seed(1)
    first, description = build_pretrained(params, class_names=SIX)
    build_pretrained(params, class_names=SIX)
    assert handler.served == 1, "the second time it comes from the cache"
    assert next(hub_folder.iterdir()).name.endswith("-SMALL.pyth")
    state, loaded = torch.load(published)["model_state"], first.state_dict()
    for key in state.keys() - {"blocks.6.proj.weight", "blocks.6.proj.bias"}:
        assert torch.equal(state[key], loaded[key]), key
    assert head_of(first).out_features == 6
    assert description.endswith(
        f"{len(state) - 2} tensors loaded; in the last layer 6 classes are new, 0 kept by their "
        "names, 400 dropped"
    )


def test_kinetics_address_is_the_published_one(
    monkeypatch: pytest.MonkeyPatch, hub_folder: Path
) -> None:
    asked = []

    def refuse(url: str, timeout: float) -> None:
        asked.append(url)
        raise OSError("no internet here")

    monkeypatch.setattr("urllib.request.urlopen", refuse)
    with pytest.raises(WeightsError, match="cannot be downloaded: no internet here; fetch it"):
        build_pretrained(model_params("kinetics400", "slowfast_r50"), class_names=TWO)
    assert asked == [
        "https://dl.fbaipublicfiles.com/pytorchvideo/model_zoo/kinetics/SLOWFAST_8x8_R50.pyth"
    ]


def test_connection_that_breaks_off_leaves_nothing(
    server: tuple[str, type[_Handler]], published: Path, hub_folder: Path
) -> None:
    address, handler = server
    handler.cut_at = 100_000
    with pytest.raises(WeightsError, match="100000 of"):
        build_pretrained(model_params(f"{address}/{published.name}"), class_names=TWO)
    assert list(hub_folder.iterdir()) == []
    handler.cut_at = None
    build_pretrained(model_params(f"{address}/{published.name}"), class_names=TWO)


def test_damaged_download_is_not_kept(
    server: tuple[str, type[_Handler]], published: Path, hub_folder: Path
) -> None:
    address, _ = server
    cut = published.with_name("cut.pyth")
    cut.write_bytes(published.read_bytes()[:200_000])
    with pytest.raises(WeightsError, match="it is cut short or damaged"):
        build_pretrained(model_params(f"{address}/cut.pyth"), class_names=TWO)
    assert list(hub_folder.iterdir()) == []


def test_missing_file_on_a_server(server: tuple[str, type[_Handler]]) -> None:
    with pytest.raises(WeightsError, match="Not Found"):
        build_pretrained(model_params(f"{server[0]}/nothing.pyth"), class_names=TWO)


def test_server_that_is_not_there() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with pytest.raises(WeightsError, match=r"Connection refused.*model.weights to a file"):
        build_pretrained(model_params(f"http://127.0.0.1:{port}/x.pyth"), class_names=TWO)


def test_another_architecture_is_refused(published: Path) -> None:
    with pytest.raises(WeightsError, match=r"another architecture than slowfast_r50: .* missing"):
        build_pretrained(model_params(str(published), "slowfast_r50"), class_names=TWO)


def test_prefixed_keys_of_pyslowfast_are_understood(published: Path, tmp_path: Path) -> None:
    state = torch.load(published)["model_state"]
    path = tmp_path / "prefixed.pyth"
    torch.save({"model_state": {f"model.{key}": value for key, value in state.items()}}, path)
    assert read_weights(path)[0].keys() == state.keys()


def test_missing_file_names_the_choices(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"no\.pyth is not a file; give kinetics400, none"):
        build_pretrained(model_params(str(tmp_path / "no.pyth")), class_names=TWO)


class _Hostile:
    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (Path("hostile-code-ran"),))


@pytest.mark.parametrize("how", ["torch", "pickle"])
def test_code_in_a_checkpoint_does_not_run(
    how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "hostile.pyth"
    if how == "torch":
        torch.save({"model_state": _Hostile()}, path)
    else:
        path.write_bytes(pickle.dumps({"model_state": _Hostile()}))
    with pytest.raises(
        WeightsError, match=r"it carries code, which is not run|it is not a file of tensors"
    ):
        read_weights(path)
    assert not Path("hostile-code-ran").exists()


@pytest.mark.parametrize("content", [[1, 2], {"model_state": {"a": "text"}}])
def test_other_content_is_refused(content: Any, tmp_path: Path) -> None:
    path = tmp_path / "other.pyth"
    torch.save(content, path)
    with pytest.raises(WeightsError, match="no dictionary of tensors"):
        read_weights(path)


def test_checkpoint_of_ours_keeps_what_it_knows_of_the_same_classes(tmp_path: Path) -> None:
    torch.manual_seed(3)
    network = build_slowfast("slowfast_shallow", num_classes=3)
    path = tmp_path / "best.pt"
    torch.save({"model_state": network.state_dict(), "class_names": ["run", "jump", "clap"]}, path)
    names = ["clap", "hop", "run", "sit"]
    pretrained, description = build_pretrained(model_params(str(path)), class_names=names)
    old, new = head_of(network), head_of(pretrained)
    for new_row, old_row in ((0, 2), (2, 0)):
        assert torch.equal(new.weight[new_row], old.weight[old_row])
        assert new.bias[new_row] == old.bias[old_row]
    for new_row in (1, 3):
        assert not any(torch.equal(new.weight[new_row], row) for row in old.weight)
        assert new.bias[new_row] == 0
    assert description.endswith(
        "in the last layer 2 classes are new, 2 kept by their names, 1 dropped"
    )


def test_class_names_that_do_not_fit_the_last_layer_are_not_believed(tmp_path: Path) -> None:
    network = build_slowfast("slowfast_shallow", num_classes=3)
    path = tmp_path / "odd.pt"
    torch.save({"model_state": network.state_dict(), "class_names": ["run"]}, path)
    _, description = build_pretrained(model_params(str(path)), class_names=["run", "sit"])
    assert "2 classes are new, 0 kept" in description


PYSLOWFAST = {
    "s1.pathway0_stem.conv.weight": "blocks.0.multipathway_blocks.0.conv.weight",
    "s1.pathway1_stem.bn.running_var": "blocks.0.multipathway_blocks.1.norm.running_var",
    "s1_fuse.conv_f2s.weight": "blocks.0.multipathway_fusion.conv_fast_to_slow.weight",
    "s1_fuse.bn.bias": "blocks.0.multipathway_fusion.norm.bias",
    "s2.pathway0_res0.branch1.weight": (
        "blocks.1.multipathway_blocks.0.res_blocks.0.branch1_conv.weight"
    ),
    "s2.pathway0_res0.branch1_bn.weight": (
        "blocks.1.multipathway_blocks.0.res_blocks.0.branch1_norm.weight"
    ),
    "s5.pathway1_res2.branch2.a.weight": (
        "blocks.4.multipathway_blocks.1.res_blocks.2.branch2.conv_a.weight"
    ),
    "s4.pathway1_res5.branch2.c_bn.running_mean": (
        "blocks.3.multipathway_blocks.1.res_blocks.5.branch2.norm_c.running_mean"
    ),
    "head.projection.weight": "blocks.6.proj.weight",
    "head.projection.bias": "blocks.6.proj.bias",
}


@pytest.mark.slow
def test_names_of_pyslowfast_are_understood(tmp_path: Path) -> None:
    """R50 under PySlowFast's names: among them those above, all of them found, and loaded."""
    network = build_slowfast("slowfast_r50", num_classes=5)
    assert set(PYSLOWFAST.values()) <= set(network.state_dict())
    path = tmp_path / "pyslowfast.pyth"
    by_their_names = {_their_name(key): value for key, value in network.state_dict().items()}
    assert set(PYSLOWFAST) <= set(by_their_names)
    torch.save({"model_state": by_their_names, "epoch": 3}, path)
    pretrained, _ = build_pretrained(model_params(str(path), "slowfast_r50"), class_names=TWO)
    for key, value in network.state_dict().items():
        if not key.startswith("blocks.6.proj."):
            assert torch.equal(pretrained.state_dict()[key], value), key


def _their_name(key: str) -> str:
    if key.startswith("blocks.6.proj."):
        return key.replace("blocks.6.proj.", "head.projection.")
    block, place, rest = re.fullmatch(  # type: ignore[union-attr]
        r"blocks\.(\d)\.multipathway_(fusion|blocks\.\d)\.(.*)", key
    ).groups()
    stage = f"s{int(block) + 1}"
    if place == "fusion":
        return f"{stage}_fuse." + rest.replace("conv_fast_to_slow", "conv_f2s").replace(
            "norm", "bn"
        )
    pathway = f"{stage}.pathway{place[-1]}_"
    if block == "0":
        return pathway + "stem." + rest.replace("norm", "bn")
    rest = re.sub(r"^res_blocks\.(\d+)\.", r"res\1.", rest)
    rest = re.sub(r"conv_([abc])", r"\1", rest)
    rest = re.sub(r"norm_([abc])", r"\1_bn", rest)
    return pathway + rest.replace("branch1_conv", "branch1").replace("branch1_norm", "branch1_bn")
