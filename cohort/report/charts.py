"""Plain data -> Vega-Lite specifications.

Colours are CSS variables: the SVG that Vega draws takes them from the page, so charts follow the colour
scheme and the printer without being drawn again. Sizes come from the container.
"""

from __future__ import annotations

import math
from typing import Any

import altair as alt

from cohort.report import names

_ACCENT, _INK, _MUTED, _LINE, _WARN = "var(--accent)", "var(--ink)", "var(--muted)", "var(--line)", "var(--warn)"
_CHANNELS = ("var(--red)", "var(--green)", "var(--blue)", _MUTED)
_DASHES = ([1, 0], [6, 2], [2, 2], [8, 3, 2, 3])
_MARKED = ("p1", "p50", "p99")
_FONT = "system-ui, sans-serif"

_CONFIG: dict[str, Any] = {
    "background": "transparent",
    "font": _FONT,
    "view": {"stroke": None},
    "axis": {
        "labelColor": _MUTED, "titleColor": _MUTED, "gridColor": _LINE, "domainColor": _LINE, "tickColor": _LINE,
        "labelFontSize": 12, "titleFontSize": 12, "titleFontWeight": "normal", "labelPadding": 6, "titlePadding": 8,
    },
    "axisX": {"grid": False},
    "axisY": {"domain": False, "ticks": False},
    "text": {"font": _FONT, "fontSize": 12, "color": _INK},
    "legend": {"labelColor": _MUTED, "titleColor": _MUTED, "labelFontSize": 12, "orient": "top", "title": None},
}  # fmt: skip

AXIS_TITLES = {
    "row": "Between rows",
    "col": "Between columns",
    "slice": "Between slices (median of the volume)",
    "thickness": "Slice thickness",
    "gap": "Every gap between neighbouring slices",
}


def _finished(chart: alt.Chart | alt.LayerChart, description: str, height: int, **usermeta: Any) -> dict[str, Any]:
    """Return the specification with everything pinned that would otherwise vary between versions or runs."""
    spec: dict[str, Any] = chart.properties(
        width="container", height=height, description=description, autosize=alt.AutoSizeParams(type="fit", contains="padding")
    ).to_dict()
    spec["config"] = _CONFIG
    spec["usermeta"] = usermeta
    return spec


def unit_words(unit: str) -> str:
    """Return the title of an intensity axis."""
    known = {"HU": "Hounsfield units", "BQML": "Bq/ml", "arbitrary": "arbitrary units", "unknown": "unit unknown"}
    return known.get(unit, unit)


def histogram(entry: dict[str, Any]) -> dict[str, Any]:
    """Return the histogram of one modality and unit: bars, or one line per channel, with percentiles marked."""
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


def _y(floor: float) -> alt.Y:
    axis = alt.Axis(format="~s", tickCount=5, labelOverlap=True)
    return alt.Y("n:Q", title="voxels", scale=alt.Scale(type="log", domainMin=floor, nice=False), axis=axis)


def _x(entry: dict[str, Any]) -> alt.X:
    edges = [bar[side] for channel in entry["channels"] for bar in channel["bars"] for side in ("low", "high")]
    domain = [min(edges, default=0.0), max(edges, default=1.0)]
    axis = alt.Axis(tickCount=8, labelOverlap=True, labelFlush=True)
    return alt.X("a:Q", title=unit_words(entry["unit"]), scale=alt.Scale(domain=domain, nice=False, zero=False), axis=axis)


def _bars(entry: dict[str, Any], floor: float) -> alt.Chart:
    rows = [
        {"a": bar["low"], "b": bar["high"], "n": bar["count"], "v": bin_words(entry, bar), "s": bar["count"] / entry["count"]}
        for channel in entry["channels"]
        for bar in channel["bars"]
    ]
    return (
        alt.Chart(alt.InlineData(values=rows))
        .mark_rect(color=_ACCENT)
        .encode(
            x=_x(entry),
            x2="b:Q",
            y=_y(floor),
            y2=alt.Y2Datum(floor),
            tooltip=[
                alt.Tooltip("v:N", title="values"),
                alt.Tooltip("n:Q", title="voxels", format=","),
                alt.Tooltip("s:Q", title="share", format=".3%"),
            ],
        )
    )


def channel_name(entry: dict[str, Any], number: int) -> str:
    """Return the name of a channel: three are red, green and blue."""
    if len(entry["channels"]) == 3 and number < 3:
        return ("red", "green", "blue")[number]
    return f"channel {number}"


def _lines(entry: dict[str, Any]) -> alt.Chart:
    domain = [channel_name(entry, channel["channel"]) for channel in entry["channels"]]
    rows = [
        {"a": bar["low"], "n": bar["count"], "c": channel_name(entry, channel["channel"]), "v": bin_words(entry, bar)}
        for channel in entry["channels"]
        for bar in channel["bars"]
    ]
    colours = [_CHANNELS[i % len(_CHANNELS)] for i in range(len(domain))]
    dashes = [_DASHES[i % len(_DASHES)] for i in range(len(domain))]
    return (
        alt.Chart(alt.InlineData(values=rows))
        .mark_line(interpolate="step-after", strokeWidth=1.5)
        .encode(
            x=_x(entry),
            y=_y(_log_floor(entry)),
            color=alt.Color("c:N", scale=alt.Scale(domain=domain, range=colours)),
            strokeDash=alt.StrokeDash("c:N", scale=alt.Scale(domain=domain, range=dashes)),
            tooltip=[
                alt.Tooltip("c:N", title="channel"),
                alt.Tooltip("v:N", title="values"),
                alt.Tooltip("n:Q", title="voxels", format=","),
            ],
        )
    )


def _markers(entry: dict[str, Any]) -> list[alt.Chart]:
    edges = [bar[side] for channel in entry["channels"] for bar in channel["bars"] for side in ("low", "high")]
    low, high = min(edges, default=0.0), max(edges, default=0.0)
    values = entry["percentiles"]
    layers = []
    for row, name in enumerate(_MARKED):
        if low <= values[name] <= high:
            words = "median" if name == "p50" else name
            layers += _marker(values[name], f"{words} {names.number(values[name])}", row, values[name] > (low + high) / 2)
    return layers


def _marker(value: float, words: str, row: int, leftwards: bool) -> list[alt.Chart]:
    """Return a dashed rule with its label; rows of labels keep near percentiles apart."""
    data = alt.InlineData(values=[{"a": value, "t": words}])
    base = alt.Chart(data).encode(x="a:Q", tooltip=[alt.Tooltip("t:N", title="percentile")])
    rule = base.mark_rule(color=_INK, strokeDash=[3, 3], strokeWidth=1)
    text = base.mark_text(
        align="right" if leftwards else "left", dx=-4 if leftwards else 4, baseline="top", y=2 + 14 * row
    ).encode(text="t:N")
    return [rule, text]


def spacing(rows: list[dict[str, Any]], axis: str) -> dict[str, Any] | None:
    """Return the spacings of one axis, one line per modality, the area of a point its count; None without any."""
    chosen = [row for row in rows if row["axis"] == axis]
    points = [
        {"m": row["label"], "x": (p["low"] + p["high"]) / 2, "n": p["count"], "v": _range_words(p)}
        for row in chosen
        for p in row["points"]
        if p["low"] > 0
    ]
    if not points:
        return None
    order = [row["label"] for row in chosen]
    unit = "gaps" if axis == "gap" else "volumes"
    return _strip(points, order, "mm", unit, f"{AXIS_TITLES[axis]} per modality, in millimetres")


def slices(rows: list[dict[str, Any]]) -> dict[str, Any] | None:
    """Return the number of slices per volume, one line per modality; None without any."""
    points = [
        {"m": row["label"], "x": (p["low"] + p["high"]) / 2, "n": p["count"], "v": _range_words(p)}
        for row in rows
        for p in row["slice_counts"]
        if p["low"] > 0
    ]
    if not points:
        return None
    return _strip(points, [row["label"] for row in rows], "slices", "volumes", "Slices per volume and modality")


def _range_words(point: dict[str, Any]) -> str:
    if point["low"] == point["high"]:
        return names.number(point["low"])
    return f"{names.number(point['low'])} to {names.number(point['high'])}"


def _strip(points: list[dict[str, Any]], order: list[str], unit: str, counted: str, description: str) -> dict[str, Any]:
    largest = max(point["n"] for point in points)
    low, high = min(p["x"] for p in points), max(p["x"] for p in points)
    # A logarithmic axis needs room: a single value would have no extent.
    scale = alt.Scale(type="log", domain=[low / 1.3, high * 1.3], nice=False)
    chart = (
        alt.Chart(alt.InlineData(values=points))
        .mark_circle(color=_ACCENT, opacity=0.55, stroke=_ACCENT, strokeWidth=1)
        .encode(
            x=alt.X("x:Q", title=unit, scale=scale, axis=alt.Axis(tickCount=5, format="~g", labelOverlap=True)),
            y=alt.Y("m:N", title=None, sort=order, axis=alt.Axis(grid=True, labelLimit=90, labelColor=_INK)),
            size=alt.Size("n:Q", scale=alt.Scale(domain=[0, largest], range=[12, 320]), legend=None),
            tooltip=[
                alt.Tooltip("m:N", title="modality"),
                alt.Tooltip("v:N", title=unit),
                alt.Tooltip("n:Q", title=counted, format=","),
            ],
        )
    )
    return _finished(chart, description, 44 + 34 * len({point["m"] for point in points}))


def thickness(data: dict[str, Any]) -> dict[str, Any] | None:
    """Return spacing against thickness: on the line slices touch, above it they leave gaps, below they overlap."""
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
        .mark_circle(color=_ACCENT, opacity=0.55, stroke=_ACCENT, strokeWidth=1)
        .encode(
            x=alt.X("t:Q", title="slice thickness, mm", scale=scale),
            y=alt.Y("s:Q", title="slice spacing, mm", scale=scale),
            size=alt.Size("n:Q", scale=alt.Scale(domain=[0, max(row["n"] for row in rows)], range=[16, 360]), legend=None),
            tooltip=[
                alt.Tooltip("m:N", title="modality"),
                alt.Tooltip("s:Q", title="spacing, mm"),
                alt.Tooltip("t:Q", title="thickness, mm"),
                alt.Tooltip("n:Q", title="volumes", format=","),
            ],
        )
    )
    words = [
        {"x": top * 0.02, "y": top * 0.97, "t": f"gaps between slices: {names.thousands(data['gap'])}"},
        {"x": top * 0.98, "y": top * 0.03, "t": f"overlapping slices: {names.thousands(data['overlap'])}"},
    ]
    notes = [
        alt.Chart(alt.InlineData(values=[word]))
        .mark_text(align=align, baseline=baseline, color=_MUTED)
        .encode(x=alt.X("x:Q", scale=scale), y=alt.Y("y:Q", scale=scale), text="t:N")
        for word, align, baseline in zip(words, ("left", "right"), ("top", "bottom"), strict=True)
    ]
    return _finished(alt.layer(line, points, *notes), "Slice spacing against slice thickness, in millimetres", 300)
