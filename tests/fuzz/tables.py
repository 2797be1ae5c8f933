"""What a table gives back, held against what was sent.

In: metadata as the rules keep it, and as ClickHouse writes it. Out: whether they are the same, less
what the type JSON does to every document. Never: an equality of numbers that were not equal.

The type JSON keeps paths: a null under a key and an object without any value are not there. A null
in a list of lists is an empty list there, since an array cannot be null; unless the lists have no
type in common, when each element has its own.
"""

from __future__ import annotations

from typing import Any

from tests.fuzz.reference import Digits

_NULL_AMONG_LISTS = object()


def kept_by_json(value: Any, *, in_list: bool = False) -> Any:
    """Return what the type JSON keeps of a value; None where it keeps nothing."""
    if isinstance(value, dict):
        kept = {key: kept_by_json(inner) for key, inner in value.items()}
        kept = {key: inner for key, inner in kept.items() if inner is not None}
        return kept if kept or in_list else None
    if isinstance(value, list):
        others = [inner for inner in value if inner is not None]
        of_lists = bool(others) and all(isinstance(inner, list) for inner in others)
        return [
            _NULL_AMONG_LISTS if inner is None and of_lists else kept_by_json(inner, in_list=True)
            for inner in value
        ]
    return value


def is_same(sent: Any, found: Any, *, in_list: bool = False) -> bool:
    """Tell whether a value came back; numbers of a list have one type, so there as doubles."""
    if sent is _NULL_AMONG_LISTS:
        return found is None or found == []
    if isinstance(sent, Digits):
        if not isinstance(found, Digits):
            return False
        is_whole = sent.lstrip("-").isdigit() and not in_list
        return int(sent) == int(found) if is_whole else float(sent) == float(found)
    if isinstance(found, Digits) or type(sent) is not type(found):
        return False
    if isinstance(sent, dict):
        return sent.keys() == found.keys() and all(
            is_same(inner, found[key], in_list=in_list) for key, inner in sent.items()
        )
    if isinstance(sent, list):
        return len(sent) == len(found) and all(
            is_same(one, other, in_list=True) for one, other in zip(sent, found, strict=True)
        )
    return bool(sent == found)


def is_kept(sent: dict[str, Any], found: dict[str, Any]) -> bool:
    """Tell whether metadata came back from a table."""
    return is_same(kept_by_json(sent) or {}, found)
