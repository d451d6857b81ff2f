"""Every default, range and help text of the program, once.

The command line and the app make their controls from these fields; a test holds them to it.
"""

from __future__ import annotations

from dataclasses import Field, asdict, dataclass, field, fields
from typing import Any, TypeVar, get_type_hints

from sketchcolor.errors import SettingsError

T = TypeVar("T", bound="_Checked")


def _knob(
    default: Any,
    help: str,
    *,
    low: float | None = None,
    high: float | None = None,
    choices: tuple[str, ...] = (),
    advanced: bool = False,
) -> Any:
    about = {"help": help, "low": low, "high": high, "choices": choices, "advanced": advanced}
    return field(default=default, metadata=about)


@dataclass(frozen=True)
class _Checked:
    """Checks each field against its type, range and choices. Raises SettingsError with one line."""

    def __post_init__(self) -> None:
        hints = get_type_hints(type(self))
        for knob in fields(self):
            value = getattr(self, knob.name)
            kind = hints[knob.name]
            if kind is float and isinstance(value, int) and not isinstance(value, bool):
                value = float(value)
                object.__setattr__(self, knob.name, value)
            if not isinstance(value, kind) or (kind is not bool and isinstance(value, bool)):
                raise SettingsError(f"{knob.name} must be {kind.__name__}, not {value!r}")
            self._check_range(knob, value)

    @staticmethod
    def _check_range(knob: Field[Any], value: Any) -> None:
        about = knob.metadata
        if about["choices"] and value not in about["choices"]:
            raise SettingsError(f"{knob.name} must be one of {', '.join(about['choices'])}, not {value!r}")
        low, high = about["low"], about["high"]
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            # A comparison with NaN is false, so NaN fails here too.
            if low is not None and not value >= low:
                raise SettingsError(f"{knob.name} must be at least {low:g}, not {value!r}")
            if high is not None and not value <= high:
                raise SettingsError(f"{knob.name} must be at most {high:g}, not {value!r}")

    def as_dict(self) -> dict[str, Any]:
        """All settings as plain values, fit for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls: type[T], values: dict[str, Any]) -> T:
        """The inverse of `as_dict`. Unknown names raise SettingsError."""
        names = {knob.name for knob in fields(cls)}
        if unknown := sorted(set(values) - names):
            raise SettingsError(f"unknown settings: {', '.join(unknown)}")
        return cls(**values)


BACKBONES = (
    "compact",
    "filters",
    "vgg19",
    "vgg16",
    "alexnet",
    "resnet50",
    "squeezenet1_0",
    "inception_v3",
    "efficientnet_b0",
)
QUALITIES = ("preview", "normal", "high")
# What the app takes from one address.
JOBS_A_MINUTE = 60
# Cosine from which on two pictures are nearly the same: most copies recompressed, trimmed a little or brightened are,
# and of 700 others one pair, a face photographed twice (models/retrieval.md).
NEARLY_SAME = 0.95
STYLE_MODES = ("global", "segmented", "laplacian", "doodle")


@dataclass(frozen=True)
class ColorSettings(_Checked):
    """How a sketch is coloured."""

    size: int = _knob(512, "longer side of the working picture in pixels", low=64, high=4096)
    quality: str = _knob("normal", "preview: warp only; normal: style transfer; high: more steps", choices=QUALITIES)
    mode: str = _knob(
        "segmented",
        "segmented: region by region; global: one style for the page; laplacian: as global, keeping the layout",
        choices=("segmented", "global", "laplacian"),
    )
    lines: str = _knob(
        "keep",
        "keep: the original strokes; clean: plain black ink; off: none",
        choices=("keep", "clean", "off"),
    )
    backbone: str = _knob("compact", "network whose features are matched", choices=BACKBONES)
    style_weight: float = _knob(1.0, "how far the painting may move from the warped picture", low=0.0, high=100.0)
    texture: float = _knob(0.3, "added grain is smoothed away: 0 smooths most", low=0.0, high=1.0, advanced=True)
    hold: float = _knob(
        0.5, "share of the warped picture that stays where it fits; 0: all is repainted", low=0.0, high=1.0
    )
    parts: int = _knob(6, "most parts that the reference figure is split into", low=1, high=32, advanced=True)
    candidates: int = _knob(8, "pictures looked at before one is chosen", low=1, high=100, advanced=True)
    judged: int = _knob(
        5, "of these, how many are judged by how well they can colour the sketch", low=1, high=100, advanced=True
    )
    similarity_weight: float = _knob(2.0, "choosing: weight of the likeness", low=0.0, high=10.0, advanced=True)
    overlap_weight: float = _knob(0.3, "choosing: weight of the outlines' overlap", low=0.0, high=10.0, advanced=True)
    edges_weight: float = _knob(0.5, "choosing: weight of edges falling on lines", low=0.0, high=10.0, advanced=True)
    colorful_weight: float = _knob(0.4, "choosing: weight of colourfulness", low=0.0, high=10.0, advanced=True)
    sharp_weight: float = _knob(0.1, "choosing: weight of sharpness", low=0.0, high=10.0, advanced=True)
    grey_weight: float = _knob(0.5, "choosing: what a picture without colours loses", low=0.0, high=10.0, advanced=True)
    max_megapixels: float = _knob(
        80.0, "larger pictures are refused before they are decoded", low=0.01, high=170.0, advanced=True
    )
    seed: int = _knob(0, "same seed, same machine: same picture", low=0, high=2**31 - 1)


@dataclass(frozen=True)
class StyleSettings(_Checked):
    """How pixels are moved towards a style."""

    size: int = _knob(512, "longer side of the picture in pixels", low=16, high=4096)
    steps: int = _knob(200, "steps of the optimiser, all scales together", low=0, high=100_000)
    scales: int = _knob(2, "sizes from coarse to fine, each half of the next", low=1, high=6, advanced=True)
    backbone: str = _knob("compact", "network whose features are matched", choices=BACKBONES)
    statistics: str = _knob("moments", "moments: mean and covariance; gram: Gram matrix", choices=("moments", "gram"))
    style_layers: str = _knob("", "comma-separated layer names; empty: the backbone's own choice")
    content_layers: str = _knob("", "comma-separated layer names; empty: the backbone's own choice")
    formulation: str = _knob(
        "relative",
        "relative: losses without scale; gatys: the sums of Gatys et al. 2016, with Gram matrices",
        choices=("relative", "gatys"),
        advanced=True,
    )
    pooling: str = _knob(
        "avg", "avg: average in place of max pooling; max: as published", choices=("avg", "max"), advanced=True
    )
    colors: str = _knob(
        "style",
        "style: colours of the style; match: the style is first recoloured like the content; "
        "luminance: only brightness is painted, the content keeps its colours",
        choices=("style", "match", "luminance"),
    )
    style_weight: float = _knob(1.0, "weight of the style loss (gatys: beta)", low=0.0, high=1e12)
    content_weight: float = _knob(0.05, "weight of the content loss (gatys: alpha)", low=0.0, high=1e12)
    # 1.0 against 0.2: nearer to the style by the judge of benchmarks/style_quality.py, and half the noise (style.md).
    tv_weight: float = _knob(1.0, "weight of total variation: higher is smoother", low=0.0, high=1e9)
    pull_weight: float = _knob(
        0.0, "weight of the squared pull of pixels to the mean", low=0.0, high=1e9, advanced=True
    )
    anchor_weight: float = _knob(
        0.0, "weight of holding on to the content's coarse colour and hue", low=0.0, high=1e9, advanced=True
    )
    optimizer: str = _knob("adam", "adam or lbfgs", choices=("adam", "lbfgs"), advanced=True)
    rate: float = _knob(0.03, "step length of Adam, in units of the 0-1 pixel range", low=1e-6, high=1.0, advanced=True)
    max_memory: float = _knob(
        0.0,
        "GiB of memory that the pictures may take; larger ones are worked on sparingly, then in tiles; "
        "0: half of what is free",
        low=0.0,
        high=4096.0,
        advanced=True,
    )
    precision: str = _knob(
        "auto",
        "number type of the network; auto: bfloat16 where the processor is quick at it, else float32",
        choices=("auto", "float32", "bfloat16"),
        advanced=True,
    )
    show_every: int = _knob(20, "steps between intermediate pictures", low=1, high=100_000, advanced=True)
    init: str = _knob("content", "start from the content, the style or noise", choices=("content", "style", "noise"))
    seed: int = _knob(0, "same seed, same machine: same picture", low=0, high=2**31 - 1)


_PAINTING = {
    # quality: (steps, longest side that is optimised). Above that side, detail comes from the underpainting.
    "preview": (0, 512),
    "normal": (70, 512),
    "high": (240, 1024),
}


def painting_side(settings: ColorSettings) -> int:
    """Longer side in pixels at which `settings` has pixels optimised."""
    return min(settings.size, _PAINTING[settings.quality][1])


def painting_settings(settings: ColorSettings) -> StyleSettings:
    """The style settings that paint over an underpainting as `settings` asks."""
    steps, _ = _PAINTING[settings.quality]
    side = painting_side(settings)
    return StyleSettings(
        size=max(16, side),
        steps=steps,
        scales=2 if side <= 512 else 3,
        backbone=settings.backbone,
        style_weight=settings.style_weight,
        content_weight=PAINTING_CONTENT_WEIGHT,
        anchor_weight=PAINTING_ANCHOR,
        tv_weight=PAINTING_SMOOTHING * (1 - settings.texture),
        seed=settings.seed,
    )


# How firmly the painting holds on to the underpainting's features and how strongly noise is smoothed.
PAINTING_CONTENT_WEIGHT = 1.0
PAINTING_SMOOTHING = 1.0
# What was only carried on keeps this share of the firmness; with less, invented ripples run over walls and skies.
PAINTING_LEAST_TRUST = 0.6
# The underpainting's colours are the right ones: only texture may change freely.
PAINTING_ANCHOR = 40.0
