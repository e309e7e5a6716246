"""The layers of the design and the owners of third-party libraries, held by a test."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "cohort"

# A module imports only from layers above it in this list, or from its own sub-package.
LAYERS = (
    ("errors", "commands"),
    ("schema", "config", "geometry", "counting", "findings", "places"),
    ("sources", "readers", "store", "cluster", "values", "isolation"),
    ("linking",),
    ("headers", "volumes", "ingest", "reductions", "checks", "phantom"),
    ("report", "verify", "provenance"),
    ("forecast",),
    ("pipeline", "cohort"),
    ("demonstration", "summary", "progress"),
    ("listing", "bench", "compare", "phi", "verdict"),
    ("export",),
    ("cli",),
    ("__init__", "__main__"),
)
RANK = {name: rank for rank, names in enumerate(LAYERS) for name in names}

# Who may import a library; every other module sees what the owner made of it.
OWNERS = {
    "pydicom": ("readers", "phantom"),
    "nibabel": ("readers", "phantom"),
    "isal": ("readers",),
    "obstore": ("places", "sources"),
    "boto3": ("places",),
    "imagecodecs": ("readers",),
    "numba": ("counting",),
    "PIL": ("readers",),
    "distributed": ("cluster",),
    "dask_jobqueue": ("cluster",),
    "dask_kubernetes": ("cluster",),
    "zarr": ("store",),
    "click": ("cli",),
    "rich": ("progress", "listing"),
    "yaml": ("config",),
    "altair": ("report",),
    "vl_convert": ("report",),
    "jinja2": ("report",),
}
FORBIDDEN_NAMES = {"utils", "util", "core", "helpers", "manager", "common", "misc", "statistics", "typing", "io"}


def modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def unit(path: Path) -> str:
    """The module, or the sub-package it belongs to."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(path: Path) -> list[str]:
    """Full names of everything a module imports, also inside functions; not what only type checkers read."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            node.body = []
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            found += [f"{node.module}.{alias.name}" for alias in node.names]
    return found


def imported_units(path: Path) -> set[str]:
    found = set()
    for name in imports(path):
        parts = name.split(".")
        if parts[0] == "cohort" and len(parts) > 1:
            found.add(parts[1] if parts[1] in RANK else "__init__")
    return found


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_a_module_imports_only_from_layers_above(path: Path) -> None:
    own = unit(path)
    wrong = {other for other in imported_units(path) if other != own and RANK[other] >= RANK[own]}
    assert not wrong, f"{own} (layer {RANK[own]}) imports {sorted(wrong)}"


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_a_library_is_imported_by_its_owner_alone(path: Path) -> None:
    libraries = {name.split(".")[0] for name in imports(path)}
    stolen = {library for library in libraries & OWNERS.keys() if unit(path) not in OWNERS[library]}
    # `scan` and friends never import distributed; the cluster module does so inside its functions
    assert not stolen, f"{unit(path)} imports {sorted(stolen)}"


def test_the_phantom_knows_nothing_of_the_package_it_tests() -> None:
    for path in (PACKAGE / "phantom").rglob("*.py"):
        assert imported_units(path) <= {"phantom"}


def test_every_module_has_a_layer() -> None:
    assert {unit(path) for path in modules()} == set(RANK)


def test_no_module_is_named_for_nothing() -> None:
    assert not {path.stem for path in modules()} & FORBIDDEN_NAMES


def test_a_planted_violation_is_seen(tmp_path: Path) -> None:
    planted = tmp_path / "planted.py"
    planted.write_text("def f():\n    from cohort.report import build\n    import pydicom\n")
    assert "report" in imported_units(planted)
    assert "pydicom" in imports(planted)
