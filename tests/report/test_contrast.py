"""Colours of the page meet WCAG 2.2 level AA: 4.5:1 for text (1.4.3), 3:1 for graphics (1.4.11)."""

from __future__ import annotations

import re

import pytest

from cohort.report import page

TEXT = (
    ("ink", "page"), ("ink", "hover"), ("ink", "accent-soft"), ("ink", "warn-soft"), ("muted", "page"),
    ("muted", "hover"), ("accent", "page"), ("accent", "accent-soft"), ("warn", "page"), ("warn", "accent-soft"),
    ("warn", "warn-soft"), ("error", "page"), ("error", "hover"), ("warning", "page"), ("warning", "hover"),
    ("info", "page"),
)  # fmt: skip
GRAPHICS = (
    ("fill", "page"),
    ("red", "page"),
    ("green", "page"),
    ("blue", "page"),
    ("muted", "page"),
    ("accent", "page"),
)

Colour = tuple[float, float, float]


def schemes() -> dict[str, dict[str, str]]:
    """Return the custom properties of each scheme; dark and print change those of light."""
    css = page._text("page.css")
    found = [
        dict(re.findall(r"--([a-z-]+):\s*([^;]+);", block)) for block in re.findall(r":root \{(.*?)\}", css, re.DOTALL)
    ]
    assert len(found) == 3
    light, dark, printed = found
    return {"light": light, "dark": light | dark, "print": light | printed}


def colour(text: str) -> Colour:
    digits = text.removeprefix("#")
    digits = "".join(c * 2 for c in digits) if len(digits) == 3 else digits
    red, green, blue = (int(digits[place : place + 2], 16) / 255 for place in (0, 2, 4))
    return red, green, blue


def luminance(of: Colour) -> float:
    """Return the relative luminance of WCAG 2.2."""
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in of)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: Colour, other: Colour) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def test_contrast_of_black_on_white_is_21() -> None:
    assert contrast(colour("#000"), colour("#ffffff")) == pytest.approx(21)
    assert contrast(colour("#777777"), colour("#fff")) == pytest.approx(4.48, abs=0.01)  # the textbook's near miss


@pytest.mark.parametrize("scheme", ["light", "dark", "print"])
def test_text_and_graphics_stand_out(scheme: str) -> None:
    found = schemes()[scheme]
    low = {}
    for pairs, least in ((TEXT, 4.5), (GRAPHICS, 3.0)):
        for front, back in pairs:
            ratio = contrast(colour(found[front]), colour(found[back]))
            if ratio < least:
                low[f"{front} on {back}"] = round(ratio, 2)
    assert low == {}


@pytest.mark.parametrize("scheme", ["light", "dark", "print"])
def test_numbers_on_the_heat_map_stand_out(scheme: str) -> None:
    found = schemes()[scheme]
    share = float(found["heat"].rstrip("%")) / 100
    accent, paper, ink = (colour(found[name]) for name in ("accent", "page", "ink"))
    for step in (0.12, 0.22, 0.32, 0.42, 0.52, 0.62, 0.72, 0.82, 0.92, 1.0):
        red, green, blue = (share * step * a + (1 - share * step) * p for a, p in zip(accent, paper, strict=True))
        assert contrast(ink, (red, green, blue)) >= 4.5
