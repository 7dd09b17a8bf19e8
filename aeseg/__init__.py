"""Annotation-free medical image segmentation from noisy pseudo labels; `fit`, `predict` and `evaluate` are imported on first use."""
__version__ = "0.1.0"
__all__ = ["fit", "predict", "evaluate"]


def __getattr__(name):
    # torch takes seconds to import; `aeseg --help` must not wait for it
    if name in __all__:
        from . import pipeline
        return getattr(pipeline, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
