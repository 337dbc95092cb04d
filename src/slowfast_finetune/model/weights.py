"""Pretrained weights: found or downloaded, read without running code, fitted strictly."""

import hashlib
import re
import urllib.error
import urllib.request
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from slowfast_finetune.base.console import ProgressBar, say
from slowfast_finetune.base.errors import WeightsError
from slowfast_finetune.base.files import atomic_path
from slowfast_finetune.base.params import ModelParams
from slowfast_finetune.base.store_location import locate_weights_file
from slowfast_finetune.model import slowfast
from slowfast_finetune.model.checkpoint import UnreadableError, is_list_of_videos, load_plain

DOWNLOAD_TIMEOUT_SECONDS = 30
HEAD_WEIGHT = "blocks.6.proj.weight"
STATE_KEYS = ("model_state", "state_dict", "model")  # pytorchvideo and PySlowFast use the first
KEY_PREFIXES = ("module.", "model.")
# Layers of PySlowFast within a block, as pytorchvideo calls them.
_PYSLOWFAST_LAYERS = (
    (r"^conv_f2s\.", "conv_fast_to_slow."),
    (r"^bn\.", "norm."),
    (r"^branch1\.", "branch1_conv."),
    (r"^branch1_bn\.", "branch1_norm."),
    (r"^branch2\.([abc])\.", r"branch2.conv_\1."),
    (r"^branch2\.([abc])_bn\.", r"branch2.norm_\1."),
)


def build_pretrained(params: ModelParams, *, class_names: Sequence[str]) -> tuple[nn.Module, str]:
    """Build the network, load ``params.weights`` strictly, and replace the head.

    Where the weights come from a checkpoint of this project, the new head keeps the rows of classes
    that have the same name.

    Returns:
        The network, and one sentence on where its weights come from.

    Raises:
        WeightsError: the weights cannot be fetched or read, or are of another architecture.
    """
    build = partial(slowfast.build_slowfast, params.name, dropout_rate=params.dropout_rate)
    if params.weights == "none":
        network = build(num_classes=len(class_names))
        return network, f"{params.name} with random weights; nothing was loaded"
    path, is_download = locate_weights(params)
    try:
        state, old_names = read_weights(path)
        head_weight = state.get(HEAD_WEIGHT)
        if head_weight is None or head_weight.ndim != 2:
            raise WeightsError(
                f"model.weights: {path} is of another architecture: it has no matrix {HEAD_WEIGHT}"
            )
        old_classes = len(head_weight)
        if len(old_names) != old_classes:
            old_names = []
        network = build(num_classes=old_classes)
        _load_strictly(network, state, path=path, name=params.name)
    except WeightsError:
        if is_download:
            # A damaged download must not be found again at the next try.
            path.unlink(missing_ok=True)
        raise
    head = slowfast.head_of(network)
    slowfast.replace_head(network, num_classes=len(class_names))
    kept = _keep_rows(head, slowfast.head_of(network), old_names, class_names)
    return (
        network,
        f"{params.name} from {params.weights}: {len(state) - 2} tensors loaded; in the last layer "
        f"{len(class_names) - kept} classes are new, {kept} kept by their names, "
        f"{old_classes - kept} dropped",
    )


@torch.no_grad()
def _keep_rows(
    old: nn.Linear, new: nn.Linear, old_names: Sequence[str], new_names: Sequence[str]
) -> int:
    """Copy the rows of classes that both heads have; returns how many these are."""
    both = [name for name in new_names if name in old_names]
    for name in both:
        source, target = old_names.index(name), new_names.index(name)
        new.weight[target] = old.weight[source]
        new.bias[target] = old.bias[source]
    return len(both)


def locate_weights(params: ModelParams) -> tuple[Path, bool]:
    """The file that holds the weights, downloaded if need be, and whether it is a download.

    Raises:
        WeightsError: no such file, or the download failed.
    """
    if params.weights == "kinetics400":
        checkpoint = slowfast.KINETICS_CHECKPOINTS[params.name]
        # The name torch.hub uses, so that an earlier download is found.
        return _download_once(slowfast.MODEL_ZOO + checkpoint, checkpoint), True
    if params.weights.startswith(("http://", "https://")):
        url_digest = hashlib.blake2b(params.weights.encode(), digest_size=4).hexdigest()
        name = f"{url_digest}-{params.weights.split('?')[0].rsplit('/', 1)[-1]}"
        return _download_once(params.weights, name), True
    return locate_weights_file(params.weights, project=Path.cwd()), False


def _download_once(url: str, name: str) -> Path:
    target = Path(torch.hub.get_dir()) / "checkpoints" / name
    if not target.exists():
        say(f"downloading {url} to {target}")
        try:
            _download(url, target)
        except (urllib.error.URLError, OSError, ValueError) as error:
            reason = getattr(error, "reason", None) or error
            raise WeightsError(
                f"model.weights: {url} cannot be downloaded: {reason}; fetch it on a machine with "
                f"internet and put it at {target}, or set model.weights to a file or to none"
            ) from error
    return target


def _download(url: str, target: Path) -> None:
    # torch.hub.download_url_to_file waits for a silent server without limit, and takes a file that
    # was cut short for whole.
    with urllib.request.urlopen(url, timeout=DOWNLOAD_TIMEOUT_SECONDS) as response:
        length = int(response.headers.get("Content-Length") or 0)
        received = 0
        with (
            atomic_path(target) as temporary,
            temporary.open("wb") as file,
            ProgressBar("downloading", total=length or None, unit="B") as bar,
        ):
            while chunk := response.read(1 << 20):
                file.write(chunk)
                received += len(chunk)
                bar.advance(len(chunk))
            if length and received != length:
                raise OSError(f"the connection closed after {received} of {length} bytes")


def read_weights(path: Path) -> tuple[dict[str, Tensor], list[str]]:
    """Read the tensors of a checkpoint in pytorchvideo's, PySlowFast's or our own layout.

    Also gives the class names; empty in all but this project's layout. Only tensors and plain
    values are unpickled; a file that carries code is refused.

    Raises:
        WeightsError: not a checkpoint, truncated, or without a dictionary of tensors.
    """
    try:
        checkpoint = load_plain(path)
    except UnreadableError as error:
        raise WeightsError(f"model.weights: {path} cannot be used: {error}") from error
    except OSError as error:
        raise WeightsError(f"model.weights: {path} cannot be read: {error.strerror}") from error
    content: dict[str, Any] = checkpoint if isinstance(checkpoint, dict) else {"": None}
    names: Any = content.get("class_names")
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        names = []
    keys = [key for key in STATE_KEYS if isinstance(content.get(key), dict)]
    state = content[keys[0]] if keys else content
    if not all(isinstance(value, Tensor) for value in state.values()):
        raise WeightsError(
            f"model.weights: {path} holds no dictionary of tensors under {' or '.join(STATE_KEYS)}"
        )
    return {_plain_key(key): value for key, value in state.items()}, names


def videos_seen(params: ModelParams) -> Tensor | None:
    """The videos that trained the weights, as ``Checkpoint.seen``; None if the file does not say.

    Random weights and those of Kinetics have seen none of these videos.

    Raises:
        WeightsError: as :func:`locate_weights`.
    """
    if params.weights in ("none", "kinetics400"):
        return torch.zeros(0, dtype=torch.int64)
    content = load_plain(locate_weights(params)[0])
    seen = content.get("seen") if isinstance(content, dict) else None
    return seen if is_list_of_videos(seen) else None


def _plain_key(key: str) -> str:
    """pytorchvideo's name of a tensor, given that or PySlowFast's, with or without a prefix."""
    for prefix in KEY_PREFIXES:
        key = key.removeprefix(prefix)
    key = key.replace("head.projection.", "blocks.6.proj.")
    found = re.match(r"s(\d)(_fuse|\.pathway(\d)_(?:stem|res(\d+)))\.(.*)", key)
    if found is None:
        return key
    stage, _, pathway, res_block, rest = found.groups()
    place = f"blocks.{int(stage) - 1}."
    place += f"multipathway_blocks.{pathway}." if pathway else "multipathway_fusion."
    place += f"res_blocks.{res_block}." if res_block else ""
    for pattern, name in _PYSLOWFAST_LAYERS:
        rest = re.sub(pattern, name, rest)
    return place + rest


def _load_strictly(network: nn.Module, state: dict[str, Tensor], *, path: Path, name: str) -> None:
    own = network.state_dict()
    missing = sorted(own.keys() - state.keys())
    unknown = sorted(state.keys() - own.keys())
    misfit = sorted(key for key in own.keys() & state.keys() if own[key].shape != state[key].shape)
    if missing or unknown or misfit:
        example = (missing or unknown or misfit)[0]
        raise WeightsError(
            f"model.weights: {path} is of another architecture than {name}: {len(missing)} tensors "
            f"missing, {len(unknown)} unknown, {len(misfit)} of another shape, e.g. {example}"
        )
    network.load_state_dict(state, strict=True)
