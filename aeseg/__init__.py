"""Annotation-free medical image segmentation from noisy pseudo labels.

`fit`, `predict` and `evaluate` are imported on first use.
"""

from importlib import import_module

__version__ = "0.1.0"

# torch takes seconds to import; `aeseg --help` must not wait for it
_LAZY = {
    "fit": "aeseg.app.fit",
    "predict": "aeseg.app.predict",
    "evaluate": "aeseg.evaluation.scores",
}
__all__ = list(_LAZY)


def __getattr__(name):
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_LAZY[name]), name)


def __dir__():
    return sorted([*globals(), *__all__])
