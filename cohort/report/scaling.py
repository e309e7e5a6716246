"""The chart of `cohort bench`: speed against the number of workers."""

from __future__ import annotations

from typing import Any

import altair as alt

_INK, _MUTED = "#1f2933", "#7b8794"
_COLOURS = ("#0b6e99", "#c4581a", "#5b7f2b", "#7a4fa0")


def scaling_chart(rows: list[dict[str, Any]]) -> str:
    """Return an SVG: how many times the speed of the fewest workers each stage reaches, beside the ideal.

    Parameters
    ----------
    rows : list of dict
        `stages` of a bench: `stage`, `workers`, `files_per_s`.
    """
    import vl_convert

    fewest = min(row["workers"] for row in rows)
    base = {row["stage"]: row["files_per_s"] for row in rows if row["workers"] == fewest}
    points = [
        {"stage": row["stage"], "workers": row["workers"], "times": row["files_per_s"] / base[row["stage"]]}
        for row in rows
    ]
    stages = list(base)
    ideal = [{"workers": count, "times": count / fewest} for count in sorted({row["workers"] for row in rows})]
    x = alt.X("workers:Q", title="worker processes", axis=alt.Axis(values=[p["workers"] for p in ideal], format="d"))
    y = alt.Y(
        "times:Q", title=f"times the speed of {fewest} worker{'' if fewest == 1 else 's'}", scale=alt.Scale(domainMin=0)
    )
    lines = alt.Chart(alt.InlineData(points)).mark_line(point=alt.OverlayMarkDef(size=50)).encode(
        x, y, color=alt.Color("stage:N", sort=stages, title=None, scale=alt.Scale(domain=stages, range=_COLOURS))
    )  # fmt: skip
    dashes = alt.Chart(alt.InlineData(ideal)).mark_line(strokeDash=[4, 4], color=_MUTED).encode(x, y)
    chart = (dashes + lines).properties(width=420, height=260, background="white")
    chart = chart.configure_view(stroke=None).configure_axis(
        labelColor=_INK, titleColor=_INK, titleFontWeight="normal", gridColor="#e4e7eb", labelFontSize=12
    )
    return str(vl_convert.vegalite_to_svg(chart.to_dict()))
