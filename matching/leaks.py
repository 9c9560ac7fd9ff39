"""Features that know what they cannot know before a decision are found by what they do, not by their names
(MATCH-3, ML-2).

Three looks at whatever computes the columns. Blindness: turn the labels round from some row on, and no row up
to that one may move. Time: take away that row and all later ones, with what people said since, and no
earlier row may move. Telltales: no single column, whatever its shape, may all but state the label; that also
catches what was written into the sources before anybody looked.
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import polars as pl

from matching.arrays import Floats
from matching.dataset import Columns, Sources
from matching.decisions import LeakError
from matching.metrics import auc

CUTS = 6
MOST_ROWS = 50_000
TELLTALE_AUC = 0.97
FEWEST_OF_A_KIND = 25
"""Labels of either kind without which a telltale is not looked for."""
_BINS = 64


def check(
    columns: Columns, sources: Sources, seed: int, told: Callable[[int, int], None] | None = None
) -> None:
    """Raise LeakError that names the first feature caught, and says how. Recomputes columns 2·CUTS times."""
    rows = len(sources.log)
    if not rows:
        return
    if rows > MOST_ROWS:  # what holds of a log holds of its end
        sources = replace(sources, log=sources.log[-MOST_ROWS:])
        rows = MOST_ROWS
    whole = columns(sources)
    chance = np.random.default_rng(seed)
    cuts = sorted({rows - 1, *chance.integers(0, rows, CUTS - 1).tolist()})
    for place, cut in enumerate(cuts):
        moved = _moved(whole[: cut + 1], columns(sources.flipped(cut))[: cut + 1])
        if moved:
            raise LeakError(
                f"feature {moved!r} follows the label of its own decision or of later ones: it moves when "
                "these are turned round; take it out, or make it of strictly earlier decisions"
            )
        moved = _moved(whole[:cut], columns(sources.before(cut)))
        if moved:
            raise LeakError(
                f"feature {moved!r} knows of what came after the decision: it moves when later rows are "
                "taken away; join it as of the decision's offset"
            )
        if told is not None:
            told(place + 1, len(cuts))
    telltale(whole, sources.log["likes"].to_numpy().astype(np.float64), seed)


def telltale(columns: pl.DataFrame, labels: Floats, seed: int) -> None:
    """Raise LeakError if one column alone orders the decisions nearly as their labels do.

    Each column in up to 64 bins (nan is one), the mean label of a bin from one half, asked of the other.
    """
    if min(labels.sum(), (1 - labels).sum()) < FEWEST_OF_A_KIND:
        return
    half = np.random.default_rng(seed).random(len(labels)) < 0.5
    for name in columns.columns:
        place = _binned(columns[name])
        said = np.zeros(len(labels))
        for asked in (half, ~half):
            count = np.bincount(place[~asked], minlength=_BINS + 1)
            yes = np.bincount(place[~asked], weights=labels[~asked], minlength=_BINS + 1)
            mean = labels[~asked].mean()
            said[asked] = ((yes + mean) / (count + 1))[place[asked]]
        found = auc(labels, said)
        if found > TELLTALE_AUC:
            raise LeakError(
                f"feature {name!r} alone tells the decision (AUC {found:.3f}): nothing known before one "
                "does; look at where it comes from"
            )


def _binned(column: pl.Series) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    if not column.dtype.is_numeric():
        column = column.cast(pl.String).rank("dense")
    values = column.cast(pl.Float64).to_numpy()
    missing = np.isnan(values)
    kinds = np.unique(values[~missing])
    if len(kinds) > _BINS:
        kinds = np.unique(np.quantile(values[~missing], np.linspace(0, 1, _BINS + 1)[1:-1]))
    place = np.searchsorted(kinds, values, side="right").clip(0, _BINS)
    return np.where(missing, _BINS, np.minimum(place, _BINS - 1)).astype(np.int64)


def _moved(before: pl.DataFrame, after: pl.DataFrame) -> str | None:
    """Return the first column that is not the same."""
    for name in before.columns:
        if name not in after.columns or not before[name].equals(after[name], null_equal=True):
            return name
    return None
