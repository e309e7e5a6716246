"""Plain data -> Vega-Lite specifications.

Colours are CSS variables: the SVG that Vega draws takes them from the page, so charts follow the colour
scheme and the printer without being drawn again. Sizes come from the container.
"""

from __future__ import annotations

import math
from typing import Any, Literal

import altair as alt

from cohort.report import names

_ACCENT, _INK, _MUTED, _LINE = "var(--fill)", "var(--ink)", "var(--muted)", "var(--line)"
_CHANNELS = ("var(--red)", "var(--green)", "var(--blue)", _MUTED)
_DASHES = ([1, 0], [6, 2], [2, 2], [8, 3, 2, 3])
_LABELS = alt.Axis(grid=True, labelLimit=90, labelColor=_INK, minExtent=64)
_MARKED = ("p1", "p50", "p99")
_LETTER = 0.025  # width of a letter as a share of a narrow chart
_FONT = "system-ui, sans-serif"

_CONFIG: dict[str, Any] = {
    "background": "transparent",
    "font": _FONT,
    "view": {"stroke": None},
    "axis": {
        "labelColor": _MUTED, "titleColor": _MUTED,
        "gridColor": _LINE, "domainColor": _LINE, "tickColor": _LINE,
        "labelFontSize": 12, "titleFontSize": 12, "titleFontWeight": "normal",
        "labelPadding": 6, "titlePadding": 8,
    },
    "axisX": {"grid": False},
    "axisY": {"domain": False, "ticks": False},
    "text": {"font": _FONT, "fontSize": 12, "color": _INK},
    "legend": {"labelColor": _MUTED, "labelFontSize": 12, "orient": "bottom", "title": None},
}  # fmt: skip

_AXIS_TITLES = {
    "row": "Spacing of rows",
    "col": "Spacing of columns",
    "slice": "Spacing of slices, median of each volume",
    "thickness": "Slice thickness",
    "gap": "Every gap between neighbouring slices",
}


def _finished(
    chart: alt.Chart | alt.LayerChart | alt.FacetChart, description: str, height: int, **usermeta: Any
) -> dict[str, Any]:
    """Return the specification with everything pinned that would otherwise vary between versions or runs."""
    spec: dict[str, Any] = chart.properties(
        width="container",
        height=height,
        description=description,
        autosize=alt.AutoSizeParams(type="fit", contains="padding"),
    ).to_dict()
    spec["config"] = _CONFIG
    spec["usermeta"] = usermeta
    return spec


def unit_words(unit: str) -> str:
    """Return the title of an intensity axis."""
    known = {
        "HU": "Hounsfield units",
        "BQML": "Bq/ml",
        "arbitrary": "arbitrary units",
        "unknown": "unit unknown",
    }
    return known.get(unit, unit)


def histogram(entry: dict[str, Any]) -> dict[str, Any]:
    """Return the histogram of one modality and unit: bars, or one line per channel, percentiles marked."""
    floor = _log_floor(entry)
    drawn = _lines(entry) if len(entry["channels"]) > 1 else _bars(entry, floor)
    layers = [drawn, *_markers(entry)]
    description = f"Histogram of {entry['label']} values, {unit_words(entry['unit'])}"
    return _finished(alt.layer(*layers), description, 220, log_floor=floor)


def _log_floor(entry: dict[str, Any]) -> float:
    smallest = min((bar["count"] for channel in entry["channels"] for bar in channel["bars"]), default=1)
    return 10.0 ** math.floor(math.log10(max(smallest, 1))) / 2


def bin_words(entry: dict[str, Any], bar: dict[str, Any]) -> str:
    """Return the values of a bar in words: integers by the first and last, floats by the edges."""
    if entry["kind"] != "integer":
        return f"{names.number(bar['low'])} to {names.number(bar['high'])}"
    first, last = math.ceil(bar["low"]), math.ceil(bar["high"]) - 1
    return names.number(first) if first == last else f"{names.number(first)} to {names.number(last)}"


def _y(entry: dict[str, Any], floor: float) -> alt.Y:
    most = max((bar["count"] for channel in entry["channels"] for bar in channel["bars"]), default=1)
    decades = range(round(math.log10(2 * floor)), math.floor(math.log10(max(most, 1))) + 1)
    step = 2 if len(decades) > 6 else 1
    axis = alt.Axis(format="~s", values=[10**power for power in decades[::step]], tickCount=5)
    return alt.Y("n:Q", title="voxels", scale=alt.Scale(type="log", domainMin=floor, nice=False), axis=axis)


def _x(entry: dict[str, Any]) -> alt.X:
    edges = [bar[side] for channel in entry["channels"] for bar in channel["bars"] for side in ("low", "high")]
    domain = [min(edges, default=0.0), max(edges, default=1.0)]
    axis = alt.Axis(tickCount=8, labelOverlap=True, labelFlush=True)
    return alt.X(
        "a:Q",
        title=unit_words(entry["unit"]),
        scale=alt.Scale(domain=domain, nice=False, zero=False),
        axis=axis,
    )


def _bars(entry: dict[str, Any], floor: float) -> alt.Chart:
    rows = [
        {
            "a": bar["low"],
            "b": bar["high"],
            "n": bar["count"],
            "v": bin_words(entry, bar),
            "s": bar["count"] / entry["count"],
        }
        for channel in entry["channels"]
        for bar in channel["bars"]
    ]
    chart: alt.Chart = (
        alt.Chart(alt.InlineData(values=rows))
        .mark_rect(color=_ACCENT, aria=False)
        .encode(
            x=_x(entry),
            x2="b:Q",
            y=_y(entry, floor),
            y2=alt.Y2Datum(floor),
            tooltip=[
                alt.Tooltip("v:N", title="values"),
                alt.Tooltip("n:Q", title="voxels", format=","),
                alt.Tooltip("s:Q", title="share", format=".3%"),
            ],
        )
    )
    return chart


def channel_name(entry: dict[str, Any], number: int) -> str:
    """Return the name of a channel: three are red, green and blue."""
    if len(entry["channels"]) == 3 and number < 3:
        return ("red", "green", "blue")[number]
    return f"channel {number}"


def _lines(entry: dict[str, Any]) -> alt.Chart:
    domain = [channel_name(entry, channel["channel"]) for channel in entry["channels"]]
    rows = [
        {
            "a": bar["low"],
            "n": bar["count"],
            "c": channel_name(entry, channel["channel"]),
            "v": bin_words(entry, bar),
        }
        for channel in entry["channels"]
        for bar in channel["bars"]
    ]
    colours = [_CHANNELS[i % len(_CHANNELS)] for i in range(len(domain))]
    dashes = [_DASHES[i % len(_DASHES)] for i in range(len(domain))]
    chart: alt.Chart = (
        alt.Chart(alt.InlineData(values=rows))
        .mark_line(interpolate="step-after", strokeWidth=1.5, aria=False)
        .encode(
            x=_x(entry),
            y=_y(entry, _log_floor(entry)),
            color=alt.Color("c:N", scale=alt.Scale(domain=domain, range=colours)),
            strokeDash=alt.StrokeDash("c:N", scale=alt.Scale(domain=domain, range=dashes)),
            tooltip=[
                alt.Tooltip("c:N", title="channel"),
                alt.Tooltip("v:N", title="values"),
                alt.Tooltip("n:Q", title="voxels", format=","),
            ],
        )
    )
    return chart


def _markers(entry: dict[str, Any]) -> list[alt.Chart]:
    """Return dashed rules at percentiles; labels lie above the plot, one row up where they would collide."""
    edges = [bar[side] for channel in entry["channels"] for bar in channel["bars"] for side in ("low", "high")]
    low, high = min(edges, default=0.0), max(edges, default=0.0)
    values = entry["percentiles"]
    layers: list[alt.Chart] = []
    taken: list[float] = []  # right end of the last label of each row, as a share of the width
    for name in _MARKED:
        if not low <= values[name] <= high or low == high:
            continue
        words = f"{'median' if name == 'p50' else name} {names.number(values[name])}"
        width = _LETTER * len(words)
        left = min((values[name] - low) / (high - low), 1 - width)
        row = next((i for i, end in enumerate(taken) if end < left), len(taken))
        taken[row:] = [left + width, *taken[row + 1 :]]
        layers += _marker(values[name], words, row, left + width >= 1)
    return layers


def _marker(value: float, words: str, row: int, leftwards: bool) -> list[alt.Chart]:
    data = alt.InlineData(values=[{"a": value, "t": words}])
    base = alt.Chart(data).encode(x="a:Q", tooltip=[alt.Tooltip("t:N", title="percentile")])
    rule = base.mark_rule(color=_INK, strokeDash=[3, 3], strokeWidth=1, aria=False)
    align: Literal["left", "right"] = "right" if leftwards else "left"
    text = base.mark_text(align=align, baseline="bottom", y=-4 - 15 * row, aria=False).encode(text="t:N")
    return [rule, text]


def axis_titles(rows: list[dict[str, Any]]) -> dict[str, str]:
    """Return the axes to draw with their titles; rows and columns are one where they are alike throughout."""
    found = {axis: title for axis, title in _AXIS_TITLES.items() if any(row["axis"] == axis for row in rows)}
    if "row" in found and "col" in found and _same_axes(rows):
        del found["col"]
        found["row"] = "In-plane spacing, rows and columns alike"
    return found


def _same_axes(rows: list[dict[str, Any]]) -> bool:
    axes: dict[str, list[Any]] = {"row": [], "col": []}
    for row in rows:
        if row["axis"] in axes:
            axes[row["axis"]].append((row["label"], row["points"]))
    return axes["row"] == axes["col"]


def spacing(rows: list[dict[str, Any]], axis: str, title: str) -> dict[str, Any] | None:
    """Return the spacings of one axis, one line per modality; the area of a point is its count."""
    points = [_point(row["label"], p) for row in rows if row["axis"] == axis for p in row["points"] if p["low"] > 0]
    if not points:
        return None
    # All axes share one scale, so that charts beside each other compare.
    values = [value for row in rows for p in row["points"] if p["low"] > 0 for value in (p["low"], p["high"])]
    order = list(dict.fromkeys(row["label"] for row in rows))
    unit = "gaps" if axis == "gap" else "volumes"
    return _strip(points, order, (min(values), max(values)), "mm", unit, f"{title}, per modality, in millimetres")


def slices(rows: list[dict[str, Any]]) -> dict[str, Any] | None:
    """Return the number of slices per volume, one line per modality; None without any."""
    points = [_point(row["label"], p) for row in rows for p in row["slice_counts"] if p["low"] > 0]
    if not points:
        return None
    extent = (min(p["x"] for p in points), max(p["x"] for p in points))
    order = [row["label"] for row in rows]
    return _strip(points, order, extent, "slices", "volumes", "Slices per volume and modality")


def _point(label: str, point: dict[str, Any]) -> dict[str, Any]:
    return {
        "m": label,
        "x": (point["low"] + point["high"]) / 2,
        "n": point["count"],
        "v": _range_words(point),
    }


def _ticks(low: float, high: float) -> list[float]:
    """Return 1, 2, 5, 10... between two values, thinned to what a narrow chart can label."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    steps = (1, 2, 5) if last - first <= 3 else (1,)
    every = [float(f"{step}e{power}") for power in range(first, last + 1) for step in steps]
    return [tick for tick in every if low <= tick <= high]


def _range_words(point: dict[str, Any]) -> str:
    if point["low"] == point["high"]:
        return names.number(point["low"])
    return f"{names.number(point['low'])} to {names.number(point['high'])}"


def _strip(
    points: list[dict[str, Any]],
    order: list[str],
    extent: tuple[float, float],
    unit: str,
    counted: str,
    description: str,
) -> dict[str, Any]:
    largest = max(point["n"] for point in points)
    low, high = extent[0] / 1.3, extent[1] * 1.3  # room for the points, and for an axis of a single value
    axis = alt.Axis(values=_ticks(low, high), format="~g", labelOverlap=True)
    present = {point["m"] for point in points}
    chart = (
        alt.Chart(alt.InlineData(values=points))
        .mark_circle(color=_ACCENT, opacity=0.55, stroke=_ACCENT, strokeWidth=1, aria=False)
        .encode(
            x=alt.X("x:Q", title=unit, scale=alt.Scale(type="log", domain=[low, high], nice=False), axis=axis),
            y=alt.Y("m:N", title=None, sort=[m for m in order if m in present], axis=_LABELS),
            size=alt.Size("n:Q", scale=alt.Scale(domain=[0, largest], range=[12, 320]), legend=None),
            tooltip=[
                alt.Tooltip("m:N", title="modality"),
                alt.Tooltip("v:N", title=unit),
                alt.Tooltip("n:Q", title=counted, format=","),
            ],
        )
    )
    return _finished(chart, description, 44 + 34 * len(present))


def thickness(data: dict[str, Any]) -> dict[str, Any] | None:
    """Return spacing against thickness: slices touch on the line, leave gaps above and overlap below it."""
    if not data["points"]:
        return None
    rows = [{"m": p["label"], "s": p["spacing"], "t": p["thickness"], "n": p["count"]} for p in data["points"]]
    top = max(max(row["s"], row["t"]) for row in rows) * 1.08
    scale = alt.Scale(domain=[0, top], nice=False)
    line = (
        alt.Chart(alt.InlineData(values=[{"t": 0, "s": 0}, {"t": top, "s": top}]))
        .mark_line(color=_MUTED, strokeDash=[4, 4], strokeWidth=1)
        .encode(x=alt.X("t:Q", scale=scale), y=alt.Y("s:Q", scale=scale))
    )
    points = (
        alt.Chart(alt.InlineData(values=rows))
        .mark_circle(color=_ACCENT, opacity=0.55, stroke=_ACCENT, strokeWidth=1, aria=False)
        .encode(
            x=alt.X("t:Q", title="slice thickness, mm", scale=scale, axis=alt.Axis(tickCount=6)),
            y=alt.Y("s:Q", title="slice spacing, mm", scale=scale, axis=alt.Axis(tickCount=6)),
            size=alt.Size(
                "n:Q",
                scale=alt.Scale(domain=[0, max(row["n"] for row in rows)], range=[16, 360]),
                legend=None,
            ),
            tooltip=[
                alt.Tooltip("m:N", title="modality"),
                alt.Tooltip("s:Q", title="spacing, mm"),
                alt.Tooltip("t:Q", title="thickness, mm"),
                alt.Tooltip("n:Q", title="volumes", format=","),
            ],
        )
    )
    return _finished(
        alt.layer(line, points, *_sides(top, scale)),
        "Slice spacing against slice thickness, in millimetres",
        240,
    )


def _sides(top: float, scale: alt.Scale) -> tuple[alt.Chart, alt.Chart]:
    """Return what lies on either side of the line where slices touch, as text in the corners."""
    above = alt.Chart(alt.InlineData(values=[{"x": top * 0.02, "y": top * 0.97, "t": "slices leave gaps"}]))
    below = alt.Chart(alt.InlineData(values=[{"x": top * 0.98, "y": top * 0.03, "t": "slices overlap"}]))
    x, y = alt.X("x:Q", scale=scale), alt.Y("y:Q", scale=scale)
    return (
        above.mark_text(align="left", baseline="top", color=_MUTED, aria=False).encode(x=x, y=y, text="t:N"),
        below.mark_text(align="right", baseline="bottom", color=_MUTED, aria=False).encode(x=x, y=y, text="t:N"),
    )


def explore(dimension: dict[str, Any]) -> dict[str, Any]:
    """Return the bars of one measure of the cube, to be brushed; the page fills in the counts.

    Bars of what the other choices leave are pale, those inside the brush too are in the accent colour.
    """
    labels = dimension["labels"]
    title = dimension["title"] + (f", {dimension['unit']}" if dimension["unit"] else "")
    step = max(1, math.ceil(len(labels) / 6))
    axis = {"labelAngle": 0, "labelOverlap": True, "values": labels[::step], "ticks": False}
    x = {"field": "b", "type": "ordinal", "sort": None, "scale": {"domain": labels}, "title": title, "axis": axis}
    y = {"type": "quantitative", "title": None, "axis": {"tickCount": 3, "format": "~s", "minExtent": 30}}
    tooltip = [
        {"field": "b", "type": "nominal", "title": title},
        {"field": "m", "type": "quantitative", "title": "volumes", "format": ","},
    ]
    mark = {"fill": _INK, "fillOpacity": 0.1, "stroke": _INK, "strokeOpacity": 0.5}
    brush = {"name": "brush", "select": {"type": "interval", "encodings": ["x"], "mark": mark}}
    return {
        "$schema": alt.SCHEMA_URL,
        "config": _CONFIG,
        "description": f"{title}: volumes in each bin; drag to choose, or use the lists below",
        "width": "container",
        "height": 120,
        "autosize": {"type": "fit", "contains": "padding"},
        "data": {"name": "bins", "values": [{"b": label, "n": 0, "m": 0} for label in labels]},
        "encoding": {"x": x, "tooltip": tooltip},
        "layer": [
            {
                "params": [brush],
                "mark": {"type": "bar", "color": _LINE, "aria": False},
                "encoding": {"y": {"field": "m", **y}},
            },
            {"mark": {"type": "bar", "color": _ACCENT, "aria": False}, "encoding": {"y": {"field": "n", **y}}},
        ],
        "usermeta": {},
    }
