"""Chunk, combine, aggregate under `da.reduction`, for states that are no arrays.

A reduction over parts: an array of parts, one a chunk; the chunk function turns its part into a state, `merge` adds
states. Dask builds the tree, `split_every` states at a time.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import dask.array as da
    from numpy.typing import NDArray

State = TypeVar("State")
Part = TypeVar("Part")

SPLIT_EVERY = 8
"""States merged at once: the tree over a million parts is seven levels deep."""


def reduce_parts(
    load: Callable[[Part], State], merge: Callable[[list[State]], State], parts: int | Sequence[Part]
) -> State:
    """Load every part and merge the states, on the ambient scheduler.

    Parameters
    ----------
    load : callable
        Part -> state (chunk).
    merge : callable
        States -> state (combine and aggregate); must give the same for every grouping.
    parts : int or sequence
        Number of parts, which then are numbers from 0; or what each of them is given. At least one.
    """
    import dask.array as da

    given = range(parts) if isinstance(parts, int) else parts
    boxes = np.empty(len(given), dtype=object)
    for i, part in enumerate(given):
        boxes[i] = part  # one by one: a part may be a tuple, which NumPy would take apart
    chunk = partial(_load_chunk, load=load)
    state: State = reduction(da.from_array(boxes, chunks=1, name=False), chunk, merge).compute().item()
    return state


def reduce_array(
    array: da.Array, count: Callable[[NDArray[Any]], State], merge: Callable[[list[State]], State]
) -> da.Array:
    """Reduce the blocks of an array of any shape to one state.

    Parameters
    ----------
    array : dask array
        The values.
    count : callable
        Block -> state (chunk).
    merge : callable
        States -> state (combine and aggregate).

    Returns
    -------
    dask array
        0-dimensional, of objects: `compute()` gives the state by `.item()`.
    """
    return reduction(array, partial(_count_chunk, count=count), merge)


def reduction(array: da.Array, chunk: Callable[..., NDArray[Any]], merge: Callable[[list[State]], State]) -> da.Array:
    """Build the reduction: states travel as arrays of one object, never concatenated."""
    import dask.array as da

    return da.reduction(
        array,
        chunk=chunk,
        combine=partial(_merge_states, merge=merge),
        aggregate=partial(_merge_states, merge=merge),
        concatenate=False,
        split_every=SPLIT_EVERY,
        dtype=object,
        meta=np.empty((0,) * array.ndim, dtype=object),
    )


def _boxed(state: Any, ndim: int) -> NDArray[Any]:
    box = np.empty((1,) * ndim, dtype=object)
    box[(0,) * ndim] = state
    return box


def _load_chunk(parts: NDArray[Any], axis: Any, keepdims: bool, *, load: Callable[[Any], Any]) -> NDArray[Any]:
    return _boxed(load(parts[0]), 1)


def _count_chunk(
    block: NDArray[Any], axis: Any, keepdims: bool, *, count: Callable[[NDArray[Any]], Any]
) -> NDArray[Any]:
    return _boxed(count(block), block.ndim)


def _merge_states(boxes: Any, axis: Any, keepdims: bool, *, merge: Callable[[list[Any]], Any]) -> NDArray[Any]:
    states = list(_states(boxes))
    ndim = len(axis) if keepdims else 0
    return _boxed(merge(states), ndim)


def _states(boxes: Any) -> Iterator[Any]:
    """Yield the states of nested lists of boxes, as Dask hands them over."""
    if isinstance(boxes, list):
        for box in boxes:
            yield from _states(box)
    else:
        yield from boxes.ravel()
