"""Annotation-free medical image segmentation from noisy pseudo labels.

`fit`, `predict` and `evaluate` run the whole method; the other names are its parts, for PyTorch code of your
own; `register` names a loss, a quality score or a shape model of your own. All are imported on first use.
"""

from importlib import import_module

__version__ = "0.2.0"

# torch takes seconds to import; `aeseg --help` must not wait for it
_MODULES = {
    "app.fit": ("fit",),
    "app.predict": ("predict",),
    "evaluation.scores": ("evaluate",),
    "method.networks": ("PatchDiscriminator",),
    "method.vae": ("MaskVAE", "VAEDiscriminator", "vae_loss"),
    "method.dgcc": ("DGCC", "Feedback"),
    "method.quality": ("score_labels", "select_labels"),
    "method.losses": ("NoiseWeightedDiceLoss", "pixel_weights", "soft_label_weights"),
    "shapes.ellipses": ("ELLIPSES", "EllipsePrior", "EllipseRanges"),
    "shapes.given_masks": ("MaskPrior",),
    "shapes.statistical": ("StatisticalPrior",),
    "core.plugins": ("register",),
}
_PLACES = {name: f"aeseg.{module}" for module, names in _MODULES.items() for name in names}
__all__ = list(_PLACES)


def __getattr__(name):
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_PLACES[name]), name)


def __dir__():
    return sorted([*globals(), *__all__])
