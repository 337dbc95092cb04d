"""A demo data set: short videos of jointed figures that do six actions.

`python -m slowfast_finetune.demo FOLDER` writes it, and so does `generate_demo`.
"""

from slowfast_finetune.demo.catalog import CLASS_NAMES, ClassName
from slowfast_finetune.demo.generator import generate_demo

__all__ = ["CLASS_NAMES", "ClassName", "generate_demo"]
