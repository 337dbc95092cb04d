"""Record the content of the file of pretrained weights, so that DVC sees when it is replaced."""

from __future__ import annotations

import json
from pathlib import Path

from slowfast_finetune.base.hash_memo import HashMemo, hash_files
from slowfast_finetune.base.params import ModelParams
from slowfast_finetune.base.store_location import locate_weights_file


def weights_record(params: ModelParams, *, project: Path, memo: HashMemo | None = None) -> str:
    """``model.weights`` and the BLAKE2b-128 of that file's bytes, as JSON.

    The hash is null for ``none``, for ``kinetics400`` and for addresses: those are downloaded
    once, and read from there without a look at the address.

    Raises:
        WeightsError: no such file.
        DataError: the file cannot be read.
    """
    content_hash = None
    if params.weights_file is not None:
        path = locate_weights_file(params.weights_file, project=project)
        (content_hash,) = hash_files([path], memo=memo)
    return json.dumps({"weights": params.weights, "content_hash": content_hash}, indent=2) + "\n"
