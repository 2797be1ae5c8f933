"""What a caller shows for a key: the headers that may carry one, taken apart.

In: the value of a header. Out: the secrets that it may hold. Never: a judgement on them, an
exception, whatever the bytes are.
"""

from __future__ import annotations

import base64
import binascii


def secrets_in_authorization(value: bytes) -> tuple[bytes, ...]:
    """Return what an `Authorization` header gives as a key.

    `Bearer KEY`; `Basic` with the key as the user's name, which is what most clients with a write
    key send, or as the password. Nothing where it is something else.
    """
    scheme, _, rest = value.strip().partition(b" ")
    match scheme.lower():
        case b"bearer":
            return _unless_empty(rest.strip())
        case b"basic":
            return _secrets_in_basic(rest.strip())
        case _:
            return ()


def _secrets_in_basic(encoded: bytes) -> tuple[bytes, ...]:
    try:
        decoded = base64.b64decode(encoded, validate=True)
    except binascii.Error:
        return ()
    user, colon, password = decoded.partition(b":")
    return _unless_empty(user, password) if colon else ()


def _unless_empty(*secrets: bytes) -> tuple[bytes, ...]:
    return tuple(secret for secret in secrets if secret)
