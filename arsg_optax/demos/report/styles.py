"""A colour and a marker for each optimizer, the same in every picture; the legend.

Imported by what draws only, as Matplotlib takes a second.
"""

import math

from matplotlib.axes import Axes
from matplotlib.figure import Figure

# Colours that stay apart with any colour vision (after Okabe and Ito, and Tol), and a
# marker each for print. Warm ones are this package's optimizers, the others Optax's.
_STYLES = {
    "orsg": ("#C51B7D", "H"),
    "averaged_orsg": ("#DE77AE", "4"),
    "rms_orsg": ("#8E0152", "p"),
    "smoothed_orsg": ("#F1B6DA", "3"),
    "arsgw": ("#F46D43", "v"),
    "arsg": ("#D55E00", "o"),
    "arsgb": ("#A50026", "d"),
    "rsg": ("#E69F00", "s"),
    "namsg": ("#CC79A7", "^"),
    "swnts": ("#8C6D1F", "8"),
    "adarem": ("#882255", "D"),
    "sgd": ("#000000", "v"),
    "adam": ("#0072B2", "<"),
    "adamw": ("#56B4E9", ">"),
    "nadam": ("#009E73", "P"),
    "amsgrad": ("#44AA99", "X"),
    "ranger": ("#999933", "p"),
    "schedule_free_adamw": ("#332288", "h"),
    "muon": ("#888888", "*"),
    "inner_muon": ("#444444", "*"),
    "nadamw": ("#009E73", "P"),
    "averaged_adamw": ("#74ADD1", "4"),
    "smoothed_adamw": ("#ABD9E9", "3"),
    "hidden_muon": ("#888888", "*"),
    "ademamix": ("#6699CC", "1"),
    "prodigy": ("#117733", "2"),
    "swnts1": ("#C4A000", "3"),
}
_OTHER = ("#666666", ".")


def style_of(optimizer: str) -> tuple[str, str]:
    """Colour and marker, grey dots for one that is not known."""
    return _STYLES.get(optimizer, _OTHER)


def legend_below(figure: Figure, axes: Axes, columns: int) -> None:
    """A legend of the axes' lines outside of all axes, in rows of equal length."""
    handles, labels = axes.get_legend_handles_labels()
    if handles:
        rows = math.ceil(len(handles) / columns)
        figure.legend(
            handles,
            labels,
            loc="outside lower center",
            ncols=math.ceil(len(handles) / rows),
            frameon=False,
            fontsize=9,
        )
