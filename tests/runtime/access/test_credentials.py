"""Headers that carry keys, and everything else that may stand in them."""

from __future__ import annotations

from base64 import b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.access.credentials import secrets_in_authorization


@pytest.mark.parametrize(
    ("value", "secrets"),
    [
        (b"Bearer track_1", [b"track_1"]),
        (b"bearer   track_1  ", [b"track_1"]),
        (b"Basic " + b64encode(b"track_1:"), [b"track_1"]),
        (b"BASIC " + b64encode(b":track_1"), [b"track_1"]),
        (b"Basic " + b64encode(b"user:track_1"), [b"user", b"track_1"]),
        (b"Basic " + b64encode(b"a:b:c"), [b"a", b"b:c"]),
        (b"Basic " + b64encode(b"\xff\0:\n"), [b"\xff\0", b"\n"]),
    ],
)
def test_keys(value: bytes, secrets: list[bytes]) -> None:
    assert list(secrets_in_authorization(value)) == secrets


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b" ",
        b"Bearer",
        b"Bearer ",
        b"track_1",
        b"Bearertrack_1",
        b"Digest track_1",
        b"Basic",
        b"Basic " + b64encode(b"track_1"),  # no colon
        b"Basic " + b64encode(b":"),
        b"Basic track_1:",
        b"Basic %%%%",
        b"Basic YQ",
        b"Basic =",
        b"Basic \xff\xfe",
        b"\xff\xfe \0",
    ],
)
def test_nothing_else_is_one(value: bytes) -> None:
    assert secrets_in_authorization(value) == ()


@given(
    st.sampled_from([b"", b"Bearer ", b"Basic ", b"basic  "]),
    st.one_of(st.binary(max_size=200), st.binary(max_size=200).map(b64encode)),
)
def test_whatever_the_bytes_are_they_are_taken_apart(scheme: bytes, rest: bytes) -> None:
    secrets = secrets_in_authorization(scheme + rest)
    assert all(secret and isinstance(secret, bytes) for secret in secrets)
