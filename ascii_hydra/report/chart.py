"""Cost against time as a picture: the band of each as a whisker, and the front as a line with the
price of each hour saved.

matplotlib is imported when a chart is drawn, by its classes: pyplot would keep a state and look for
a screen.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from ascii_hydra.costs.estimate import Basis
from ascii_hydra.costs.frontier import Band, Place, Standing
from ascii_hydra.engines.wording import money
from ascii_hydra.report.compared_rows import ComparedRow
from ascii_hydra.step.choices import Engine

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.path import Path
    from matplotlib.text import Annotation
    from matplotlib.transforms import Bbox

# Okabe and Ito's colours, which the colour-blind can tell apart, and a marker for each besides.
_LOOKS = {
    Engine.emr.value: ("o", "#0072b2"),
    Engine.databricks.value: ("^", "#d55e00"),
    Engine.pyspark.value: ("s", "#009e73"),
}
_MIXED = ("D", "#cc79a7")
_DOMINATED = "#8f8f8f"
# Replaced in a page by its own colour of text, which is light in the dark.
_INK, _LINE = "#1b1b1d", "#9a9aa2"
_NOTHING = 1e-9
_SIZE_IN, _DPI = (8.4, 5.0), 96
# With so many rows, only those of the front are named; the others have their numbers.
_NAMED = 20
# How far a label may stand from its point, in points, and from where on a line leads to it.
_AWAY, _LED = (10, 18, 30, 44, 60), 30
# What belongs to a line must stand near it.
_BESIDE = 18


_Across = Literal["left", "center", "right"]
_Up = Literal["top", "center", "bottom"]
_Place = tuple[float, tuple[float, float], _Across, _Up]


@dataclass(frozen=True)
class Dot:
    """One point of a chart.

    Attributes:
        label: what stands beside it.
        short: what stands there if the chart is crowded.
        engine: what colour and marker it has; several are joined by `+`.
        usd, duration_s: where it is.
        standing: on the front or not.
        estimated: it is drawn hollow.
        bands: of cost and time, drawn as whiskers; one that is not known is not drawn.
    """

    label: str
    short: str
    engine: str
    usd: float
    duration_s: float
    standing: Standing
    estimated: bool
    bands: tuple[Band, Band] | None = None

    @property
    def is_dominated(self) -> bool:
        """Another one is surely better."""
        return self.standing.place is Place.dominated

    def known_bands(self) -> tuple[Band, Band]:
        """Those that are drawn, of cost and time; the point itself where none is known."""
        values = (self.usd, self.duration_s)
        bands = self.bands or (None, None)
        return tuple(  # type: ignore[return-value]
            Band(value, value) if band is None or not band.is_known else band
            for value, band in zip(values, bands, strict=True)
        )


@dataclass(frozen=True)
class Drawn:
    """A drawn chart.

    Attributes:
        svg: as a file of its own, on white.
        for_page: as an element of an HTML page, in the colour of its text.
    """

    svg: str
    for_page: str


def charted(rows: Sequence[ComparedRow]) -> Drawn | None:
    """The chart of a sweep; None if no row can be compared with another.

    Of rows that do different work only the largest group is drawn.
    """
    works: dict[tuple[object, ...], list[ComparedRow]] = {}
    for one in rows:
        if one.standing is not None:
            works.setdefault(one.work, []).append(one)
    if not works:
        return None
    group = max(works.values(), key=len)
    dots = [
        Dot(
            label=_label(one, group),
            short=f"#{one.number}",
            engine=one.engine,
            usd=one.point.usd,
            duration_s=one.point.duration_s,
            standing=one.standing,
            estimated=one.is_estimate,
            # What was told has no band that a picture could show.
            bands=None if one.bases == (Basis.told,) else one.point.bands,
        )
        for one in group
        if one.point is not None and one.standing is not None
    ]
    first = group[0].outcome
    clock = ", in the rehearsal's time" if first.virtual else ""
    return drawn(dots, f"{first.pipeline}, {first.mode}: cost and time{clock}")


def drawn(dots: Sequence[Dot], title: str) -> Drawn:
    """A chart of these points as SVG."""
    import matplotlib as mpl

    figure = chart(dots, title)
    text = io.StringIO()
    # The same picture for the same points, without the date of its making.
    with mpl.rc_context({"svg.hashsalt": "ascii_hydra", "svg.fonttype": "path"}):
        about = {"Date": None, "Title": title}
        figure.savefig(text, format="svg", facecolor="white", metadata=about)
        bare = io.StringIO()
        figure.savefig(bare, format="svg", facecolor="none", metadata=about)
    element = bare.getvalue()
    element = element[element.index("<svg") :]
    return Drawn(text.getvalue(), element.replace(_INK, "currentColor"))


def png(dots: Sequence[Dot], title: str) -> bytes:
    """A chart of these points as PNG, on white."""
    picture = io.BytesIO()
    chart(dots, title).savefig(picture, format="png", dpi=_DPI, facecolor="white")
    return picture.getvalue()


def chart(dots: Sequence[Dot], title: str) -> Figure:
    """A chart of these points, at least one. Its axes begin at zero."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=_SIZE_IN, dpi=_DPI, layout="constrained", facecolor="none")
    axes = figure.add_subplot()
    unit, unit_s = _time_unit(max(one.duration_s for one in dots))
    _frame(axes, title, unit)
    ends = [one.known_bands() for one in dots]
    axes.set_xlim(0, _room(max(time.high for _, time in ends) / unit_s))
    axes.set_ylim(0, _room(max(usd.high for usd, _ in ends)))
    front = sorted({(one.duration_s / unit_s, one.usd) for one in dots if one.standing.on_front})
    axes.plot([x for x, _ in front], [y for _, y in front], color=_LINE, linewidth=1.4, zorder=1)
    for one in dots:
        marker, own = _LOOKS.get(one.engine, _MIXED)
        colour = _DOMINATED if one.is_dominated else own
        _draw_whiskers(axes, one, unit_s, colour)
        axes.plot(
            [one.duration_s / unit_s],
            [one.usd],
            marker=marker,
            markersize=7 if one.is_dominated else 9,
            markeredgewidth=1.8,
            markeredgecolor=colour,
            markerfacecolor="none" if one.estimated else colour,
            linestyle="none",
            zorder=3,
        )
    _legend(axes, dots)
    figure.draw_without_rendering()  # so that the places of everything are known
    _Labels(axes, dots, unit_s).placed(front)
    return figure


def _draw_whiskers(axes: Axes, dot: Dot, unit_s: float, colour: str) -> None:
    from matplotlib.collections import LineCollection

    axes.add_collection(
        LineCollection(_whiskers(dot, unit_s), colors=colour, linewidths=1.1, alpha=0.55, zorder=2),
        autolim=False,
    )


def _whiskers(dot: Dot, unit_s: float) -> list[list[tuple[float, float]]]:
    """Both ends of each."""
    usd, time = dot.known_bands()
    x = dot.duration_s / unit_s
    across = [(time.low / unit_s, dot.usd), (time.high / unit_s, dot.usd)]
    up = [(x, usd.low), (x, usd.high)]
    return [ends for ends in (across, up) if ends[0] != ends[1]]


def _label(row: ComparedRow, rows: Sequence[ComparedRow]) -> str:
    """The row's number and what tells it from the others in a word or two."""
    words = [f"#{row.number}"]
    if len({one.engine for one in rows}) > 1:
        words.append(row.engine)
    if len({one.outcome.cluster for one in rows}) > 1:
        words.append(row.outcome.cluster)
    return " ".join(words)


def _time_unit(longest_s: float) -> tuple[str, float]:
    if longest_s >= 2 * 3600:
        return "hours", 3600.0
    return ("minutes", 60.0) if longest_s >= 3 * 60 else ("seconds", 1.0)


def _room(most: float) -> float:
    """The end of an axis, with room for labels. One of next to nothing matplotlib would change."""
    return most * 1.18 if most > _NOTHING else 1.0


def _frame(axes: Axes, title: str, unit: str) -> None:
    from matplotlib.ticker import FuncFormatter

    axes.set_facecolor("none")
    axes.set_title(title, loc="left", color=_INK, fontsize=12, pad=30)
    axes.set_xlabel(f"duration ({unit})", color=_INK)
    axes.set_ylabel("cost (USD)", color=_INK)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda usd, _: money(usd) if usd >= 0 else ""))
    axes.tick_params(colors=_INK, which="both")
    axes.grid(color=_LINE, alpha=0.35, linewidth=0.6)
    for name, spine in axes.spines.items():
        spine.set_visible(name in {"left", "bottom"})
        spine.set_color(_LINE)


def _legend(axes: Axes, dots: Sequence[Dot]) -> None:
    from matplotlib.lines import Line2D

    def sign(label: str, marker: str, colour: str, *, hollow: bool = False) -> Line2D:
        face = "none" if hollow else colour
        return Line2D(
            [], [], label=label, marker=marker, color=colour, markerfacecolor=face, linestyle="none"
        )

    signs = [
        sign(engine, *_LOOKS.get(engine, _MIXED))
        for engine in dict.fromkeys(one.engine for one in dots)
    ]
    if any(one.standing.on_front for one in dots):
        signs.append(Line2D([], [], label="front", color=_LINE))
    if any(one.is_dominated for one in dots):
        signs.append(sign("dominated", "o", _DOMINATED))
    if any(one.known_bands() != _at(one) for one in dots):
        signs.append(Line2D([], [], label="whiskers: band", color=_INK, alpha=0.55, linewidth=1.1))
    if any(one.estimated for one in dots):
        signs.append(sign("hollow: estimate", "o", _INK, hollow=True))
    axes.legend(
        handles=signs,
        loc="lower left",
        bbox_to_anchor=(0, 1.0),
        ncols=len(signs),
        frameon=False,
        labelcolor=_INK,
        fontsize=9,
        borderaxespad=0.2,
        columnspacing=1.2,
        handletextpad=0.3,
    )


def _at(dot: Dot) -> tuple[Band, Band]:
    return Band(dot.usd, dot.usd), Band(dot.duration_s, dot.duration_s)


class _Labels:
    """Puts labels where nothing else is but whiskers, and where none of those is either if it can;
    one for which there is no room is left out, because the table has it."""

    def __init__(self, axes: Axes, dots: Sequence[Dot], unit_s: float) -> None:
        self._axes = axes
        self._dots = dots
        self._unit_s = unit_s
        self._taken: list[Bbox] = [self._around(one) for one in dots]
        self._lines: list[Path] = []
        self._whiskers: list[Path] = [
            axes.transData.transform_path(_line(ends))
            for one in dots
            for ends in _whiskers(one, unit_s)
        ]

    def placed(self, front: Sequence[tuple[float, float]]) -> None:
        """Label the points, those of the front first, and the segments of the front."""
        if front:
            self._lines.append(self._axes.transData.transform_path(_line(front)))
        crowded = len(self._dots) > _NAMED
        for one in sorted(self._dots, key=lambda dot: dot.is_dominated):
            short = crowded and not one.standing.on_front
            self._put(
                one.short if short else one.label,
                (one.duration_s / self._unit_s, one.usd),
                _DOMINATED if one.is_dominated else _INK,
            )
        told: set[tuple[float, float]] = set()
        for one in self._dots:
            at, per_hour = (one.duration_s / self._unit_s, one.usd), one.standing.usd_per_hour_saved
            if per_hour is None or at in told:
                continue
            told.add(at)
            slower = front[front.index(at) + 1]
            middle = ((at[0] + slower[0]) / 2, (at[1] + slower[1]) / 2)
            mark = "~" if one.standing.estimated else ""
            self._put(f"{mark}{money(per_hour)} per hour saved", middle, _INK, small=True)

    def _put(self, text: str, at: tuple[float, float], colour: str, *, small: bool = False) -> None:
        label = self._axes.annotate(
            text,
            at,
            xytext=(0, 0),
            textcoords="offset points",
            color=colour,
            fontsize=8 if small else 9,
            style="italic" if small else "normal",
            zorder=4,
        )
        for avoided in ([*self._lines, *self._whiskers], self._lines):
            for away, (dx, dy), across, up in _places():
                if small and away > _BESIDE:
                    break
                label.set_position((dx, dy))
                label.set_horizontalalignment(across)
                label.set_verticalalignment(up)
                box = label.get_window_extent()
                if self._is_free(box, avoided):
                    self._taken.append(box)
                    if away >= _LED and not small:
                        self._lead(label, at)
                    return
        label.remove()

    def _lead(self, label: Annotation, at: tuple[float, float]) -> None:
        """A thin line from a label that stands away from its point."""
        self._axes.annotate(
            "",
            at,
            xytext=label.get_position(),
            textcoords="offset points",
            arrowprops={"arrowstyle": "-", "color": _LINE, "linewidth": 0.6, "shrinkB": 5},
            zorder=2,
        )

    def _is_free(self, box: Bbox, avoided: Sequence[Path]) -> bool:
        inside = self._axes.get_window_extent()
        fits = (
            inside.x0 <= box.x0 and box.x1 <= inside.x1 + _DPI / 4
            and inside.y0 <= box.y0 and box.y1 <= inside.y1
        )  # fmt: skip
        crosses = any(line.intersects_bbox(box, filled=False) for line in avoided)
        return fits and not crosses and not any(box.overlaps(other) for other in self._taken)

    def _around(self, dot: Dot) -> Bbox:
        from matplotlib.transforms import Bbox

        x, y = self._axes.transData.transform((dot.duration_s / self._unit_s, dot.usd))
        half = 5.5 * _DPI / 72
        return Bbox.from_extents(x - half, y - half, x + half, y + half)


def _line(points: Sequence[tuple[float, float]]) -> Path:
    from matplotlib.path import Path

    return Path(points)


def _places() -> Iterator[_Place]:
    """Where a label may stand: how far away, its offset from the point in points, and how it is
    aligned there."""
    for away in _AWAY:
        slant = away * 0.7
        yield away, (away, 0), "left", "center"
        yield away, (slant, slant), "left", "bottom"
        yield away, (0, away), "center", "bottom"
        yield away, (slant, -slant), "left", "top"
        yield away, (-away, 0), "right", "center"
        yield away, (-slant, slant), "right", "bottom"
        yield away, (0, -away), "center", "top"
        yield away, (-slant, -slant), "right", "top"
