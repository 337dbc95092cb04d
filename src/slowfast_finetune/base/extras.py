"""Import packages that come with an extra of this one."""

import importlib
from typing import Any

from slowfast_finetune.base.errors import InputError


def import_extra(name: str, *, extra: str, what: str) -> Any:
    """Import a package for ``what`` a person has asked for.

    Raises:
        InputError: it is not installed; ``extra`` installs it.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise InputError(
            f"{what} needs {name}, which is not installed: pip install 'slowfast-finetune[{extra}]'"
        ) from error
