"""Calibrate probabilities, and choose a confidence threshold, on the validation split. Pure."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from slowfast_finetune.scoring.metrics import Labels, Probabilities

# Share of correct validation predictions kept above the threshold.
KEPT_SHARE = 0.95
_LN_TEMPERATURE = (-3.0, 3.0)  # 0.05 to 20


@dataclass(frozen=True)
class Calibration:
    """Parameters that turn logits into calibrated predictions."""

    temperature: float = 1.0  # divisor of the logits before the softmax; above 1, confidence falls
    threshold: float = 0.0  # confidence below which the prediction is "none of these", 0 to 1


def calibrate(logits: npt.NDArray[np.float32], true: Labels) -> Calibration:
    """Fit temperature and threshold to logits (N, classes) of validation videos.

    The threshold is the confidence that 95 % of the correct predictions reach: Hendrycks & Gimpel,
    "A Baseline for Detecting Misclassified and Out-of-Distribution Examples", ICLR 2017, at a true
    positive rate of 0.95. Without a correct prediction it is 0.
    """
    temperature = fit_temperature(logits, true)
    probabilities = probabilities_of(logits, temperature=temperature)
    confidence = probabilities.max(axis=1)[probabilities.argmax(axis=1) == true]
    if not len(confidence):
        return Calibration(temperature, 0.0)
    threshold = np.quantile(confidence, 1 - KEPT_SHARE, method="lower")
    return Calibration(temperature, float(threshold))


def probabilities_of(logits: npt.NDArray[np.float32], *, temperature: float) -> Probabilities:
    """Compute softmax(logits / temperature) in float64: (N, classes), as the logits."""
    from scipy.special import softmax

    probabilities: Probabilities = softmax(logits.astype(np.float64) / temperature, axis=1)
    return probabilities


def fit_temperature(logits: npt.NDArray[np.float32], true: Labels) -> float:
    """Fit the temperature T to the true labels (N,).

    Minimises Σ -ln softmax(logits / T)[true] + (ln T)² / 2. The sum is that of Guo et al., "On
    Calibration of Modern Neural Networks", ICML 2017; the second term, a prior that T is near 1,
    keeps T above 0 if all of a few videos are classified correctly.
    """
    from scipy.optimize import minimize_scalar
    from scipy.special import log_softmax

    values = logits.astype(np.float64)

    def cost(ln_temperature: float) -> float:
        each = log_softmax(values / np.exp(ln_temperature), axis=1)[np.arange(len(true)), true]
        return float(ln_temperature**2 / 2 - each.sum())

    found = minimize_scalar(cost, bounds=_LN_TEMPERATURE, method="bounded")
    return float(np.exp(found.x))
