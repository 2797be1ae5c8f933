"""A user's id as somebody types it.

In: an argument of a command line. Out: the id as the processors have it. Never: a guess.
"""

from __future__ import annotations

from contracts.metadata import JSONError, Number, mend_surrogates, parse_json


def user_named(argument: str, *, is_json: bool) -> str | None:
    """Return the id that an argument names; None where a JSON string is wanted and it is none.

    Bytes that are no UTF-8 become U+FFFD, as lone surrogates do in an event.

    >>> user_named('"a\\u0000"', is_json=True)
    'a\\x00'
    """
    if not is_json:
        return mend_surrogates(argument)
    try:
        value = parse_json(argument.encode("utf-8", "replace"))
    except JSONError:
        return None
    return value if isinstance(value, str) and not isinstance(value, Number) else None
