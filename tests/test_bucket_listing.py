"""Ranges of keys listed at the same time give what one listing gives, in its order."""

from __future__ import annotations

import threading
from typing import Any
from unittest import mock

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from obstore.store import MemoryStore

from cohort.places import store_of
from cohort.sources import ObjectStoreSource
from cohort.sources.bucket_listing import pages_of

# What sorts just before and after the slash, and beyond ASCII.
PARTS = st.text(st.sampled_from("a-./0z\u00fc\ud7ff\U0001f600"), min_size=1, max_size=4)
KEYS = st.lists(PARTS.filter(lambda key: all(part not in ("", ".", "..") for part in key.split("/"))), unique=True)


def listed(store: Any, **options: int) -> list[str]:
    return [one["path"] for page in pages_of(store, **options) for one in page]


@given(KEYS, st.integers(1, 5), st.integers(1, 4))
@example(["a", "a/1", "a-/1", "a./1", "a.\U0001f600/1", "a0", "b/1/2", "b/1/3", "\u00fc/1"], 5, 1)
@example(["only/one/a/1", "only/one/b/2", "only/one/c"], 3, 2)
@example(["a/1", "a/2"], 2, 1)
def test_any_keys_are_listed_once_and_in_order(keys: list[str], runs: int, page: int) -> None:
    store = MemoryStore()
    for key in keys:
        store.put(key, b"")
    assert listed(store, at_once=runs, page=page) == sorted(keys, key=str.encode)


def test_a_listing_that_fails_raises_where_it_is_taken() -> None:
    class Failing:
        def list_with_delimiter(self, prefix: Any) -> Any:
            return {"common_prefixes": ["a", *(f"b{number}" for number in range(9))], "objects": []}

        def list(self, prefix: Any = None, *, offset: Any = None, chunk_size: int = 0) -> Any:
            if offset:
                raise PermissionError
            return iter([[{"path": f"a/{number}"} for number in range(4)]])

    with pytest.raises(PermissionError):
        listed(Failing(), page=4)


@given(KEYS.filter(len), st.integers(1, 5), st.integers(1, 4), st.data())
def test_answers_that_are_cut_are_gone_on_with(keys: list[str], at_once: int, page: int, data: st.DataObject) -> None:
    store = MemoryStore()
    for key in keys:
        store.put(key, b"")

    class Cutting:
        def list_with_delimiter(self, prefix: Any) -> Any:
            return store.list_with_delimiter(prefix)

        def list(self, *prefix: Any, **options: Any) -> Any:
            for found in store.list(*prefix, **options):
                if cuts and cuts.pop():
                    raise ConnectionResetError
                yield found

    cuts = data.draw(st.lists(st.booleans(), max_size=4))
    with mock.patch("cohort.places.PAUSE_SECONDS", 0):
        assert listed(Cutting(), at_once=at_once, page=page) == sorted(keys, key=str.encode)


def test_who_wants_no_more_leaves_no_thread() -> None:
    before = threading.active_count()
    store = MemoryStore()
    for number in range(3000):
        store.put(f"{number % 30:02d}/{number:04d}", b"")
    pages = pages_of(store, at_once=8, page=10)
    next(pages)
    pages.close()  # type: ignore[attr-defined]
    for thread in threading.enumerate():
        if thread.name == "cohort-listing":
            thread.join(10)
    assert threading.active_count() <= before


def test_a_server_gives_the_same(environment: None, client: Any) -> None:
    client.create_bucket(Bucket="to-be-listed")
    keys = [f"in/{folder}/{number:03d}" for folder in ("a", "a-b", "a.b", "ab", "\u00fc", "z y") for number in range(7)]
    for key in [*keys, "in/a", "in/last", "elsewhere/1"]:
        client.put_object(Bucket="to-be-listed", Key=key, Body=b"x")
    inside = sorted((key.removeprefix("in/") for key in [*keys, "in/a", "in/last"]), key=str.encode)
    assert listed(store_of("s3://to-be-listed/in"), at_once=4, page=3) == inside
    assert [ref.path.decode() for ref in ObjectStoreSource("s3://to-be-listed/in").list()] == inside
