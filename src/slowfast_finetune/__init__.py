"""Fine-tune SlowFast on your own videos, and use the model: ``load_model``."""

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from slowfast_finetune.predicting.prediction import Prediction, RefusedVideo
    from slowfast_finetune.predicting.predictor import Predictor as Model
    from slowfast_finetune.predicting.predictor import load_model
    from slowfast_finetune.predicting.timeline import Segment

__all__ = ["Model", "Prediction", "RefusedVideo", "Segment", "__version__", "load_model"]
__version__ = "0.1.0"

# Found when they are asked for: most of the package must start without torch.
_PLACES = {
    "Model": ("predicting.predictor", "Predictor"),
    "Prediction": ("predicting.prediction", "Prediction"),
    "RefusedVideo": ("predicting.prediction", "RefusedVideo"),
    "Segment": ("predicting.timeline", "Segment"),
    "load_model": ("predicting.predictor", "load_model"),
}

# How long OpenMP's threads spin before they sleep, in rounds: some microseconds. By default it is
# milliseconds, and beside any other busy process on the same cores training then runs several times
# slower; with none at all, a small model's short operations are a quarter slower on free cores.
# Read when torch is imported, so it stands here.
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, found = _PLACES[name]
    return getattr(import_module(f"{__name__}.{module}"), found)
