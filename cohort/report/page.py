"""Plain data -> the page: one HTML file that loads nothing and runs nothing but what it names by digest."""

from __future__ import annotations

import base64
import functools
import hashlib
import json
from importlib import resources
from typing import TYPE_CHECKING, Any

import jinja2
import markupsafe

from cohort.report import charts, glance, names

if TYPE_CHECKING:
    from collections.abc import Callable

    from cohort.report.thumbnails import Sheet

_TEMPLATES = resources.files("cohort.report") / "templates"


@functools.cache
def _library() -> str:
    """Return Vega, Vega-Lite and Vega-Embed as one script; vl-convert carries them, nothing is fetched."""
    import vl_convert

    text: str = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;")
    return _script_text(text)


def _script_text(text: str) -> str:
    """Return a script that cannot end its element early and reads the same to the browser's digest."""
    return text.replace("\r\n", "\n").replace("\r", "\n").replace("</script", "<\\/script").replace("<!--", "<\\!--")


def _digest(text: str) -> str:
    return "'sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() + "'"


def policy(scripts: list[str], styles: list[str], *, pictures: bool = False) -> str:
    """Return the Content-Security-Policy: nothing loads, and only the given texts run or style.

    Vega would compile its expressions with `new Function`; Embed's `ast` option interprets them instead, so
    `unsafe-eval` is not needed. Style sheets that Vega and its tooltip would insert are switched off and
    part of ours. Browsers add data blocks (`application/json`) to no list: they do not run.
    """
    return "; ".join(
        (
            "default-src 'none'",
            "script-src " + " ".join(_digest(text) for text in scripts),
            "style-src " + " ".join(_digest(text) for text in styles),
            *(("img-src data:",) if pictures else ()),
            "base-uri 'none'",
            "form-action 'none'",
        )
    )


def json_block(value: Any) -> markupsafe.Markup:
    """Return plain data as JSON that no HTML parser can mistake for markup."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    for sign in "<>&":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return markupsafe.Markup(text)  # noqa: S704 - nothing left in it that means anything to HTML


def _text(name: str) -> str:
    return (_TEMPLATES / name).read_text(encoding="utf-8").replace("\r\n", "\n")


def style() -> str:
    """Return the style sheet, which other pages use too."""
    return _text("page.css")


def environment(load: Callable[[str], str] = _text) -> jinja2.Environment:
    """Return what fills in templates: everything is escaped, nothing undefined passes.

    Parameters
    ----------
    load : callable
        Gives the text of a template by its name.
    """
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(load),
        autoescape=True,  # header values are hostile input
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "n": names.thousands,
        "bytes": names.size,
        "value": names.number,
        "percent": percent,
        "shape": shape,
        "spacing": spacing,
        "unit": charts.unit_words,
    }
    environment.globals |= {"heat": heat, "bin_words": charts.bin_words, "channel_name": charts.channel_name}
    return environment


def percent(part: float, whole: float = 1.0) -> str:
    """Return a share; what is neither nothing nor all never reads 0 % or 100 %."""
    if not whole:
        return "\u2013"
    share = 100 * part / whole
    if 0 < share < 0.1:
        return "<0.1\u202f%"
    if 99.9 < share < 100:
        return ">99.9\u202f%"
    return f"{share:.0f}\u202f%" if share in (0, 100) else f"{share:.1f}\u202f%"


def shape(sizes: list[int | None]) -> str:
    """Return rows x columns x slices, then time points and channels where there is more than one."""
    rows, columns, slices, timepoints, channels = (size or 1 for size in sizes)
    text = f"{rows} \u00d7 {columns}" + (f" \u00d7 {slices}" if slices > 1 else "")
    text += f", {timepoints} times" if timepoints > 1 else ""
    return text + (f", {channels} channels" if channels > 1 else "")


def spacing(values: list[float | None]) -> str:
    """Return the spacing of a volume in mm; a dash where it is not known."""
    return " \u00d7 ".join(names.number(value) for value in values)


def heat(share: float | None) -> str:
    """Return the class of a cell of the heat map: none at all, ten steps, and one for what does not apply."""
    if share is None:
        return "na"
    return "h0" if share == 0 else f"h{min(10, int(share * 10) + 1) if share < 1 else 10}"


def _charts(data: dict[str, Any]) -> dict[str, Any]:
    """Return the specifications by the name of their place on the page."""
    titles = charts.axis_titles(data["spacing"])
    found = {f"spacing-{axis}": charts.spacing(data["spacing"], axis, title) for axis, title in titles.items()}
    found["slices"] = charts.slices(data["shapes"])
    found["thickness"] = charts.thickness(data["spacing_against_thickness"])
    for dimension in data["explore"]["dimensions"]:
        if dimension["kind"] == "measure" and len(dimension["labels"]) > 1:
            found[f"explore-{dimension['name']}"] = charts.explore(dimension)
    if data["intensity"] is not None:
        for number, entry in enumerate(data["intensity"]["histograms"]):
            found[f"histogram-{number}"] = charts.histogram(entry) if entry["channels"] else None
    return {name: spec for name, spec in found.items() if spec is not None}


def render(data: dict[str, Any], sheet: Sheet | None = None) -> str:
    """Return the page for the plain data of `summary.summarise`, with pictures if there are any."""
    specs = _charts(data)
    # What listens for the charts stands before what draws them.
    scripts = [_script_text(_text("explore.js")), _script_text(_text("page.js"))]
    if specs:
        scripts.insert(0, _library())
    rules = style()
    html = environment().get_template("page.html.j2").render(
        data=data,
        glance=glance.glance(data),
        specs=specs,
        block=json_block(specs),
        cube=json_block(data["explore"]),
        axes=charts.axis_titles(data["spacing"]),
        sheet=sheet,
        policy=policy(scripts, [rules], pictures=sheet is not None and bool(sheet.pictures)),
        scripts=[markupsafe.Markup(text) for text in scripts],  # noqa: S704 - our own files and the library
        style=markupsafe.Markup(rules),  # noqa: S704 - our own file
    )  # fmt: skip
    return html.strip() + "\n"
