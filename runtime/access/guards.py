"""The guard before a service: who may come in, and how often.

In: a request's headers and where it comes from. Out: who it is, or the refusal. Never: a look at
the body; a refusal that tells a secret, or how near a guess came to one.

What a key's header means is remembered by its bytes, for good keys alone and until the file
changes, so that a request costs no hash.
"""

from __future__ import annotations

import math
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, TypeAlias
from urllib.parse import unquote_to_bytes

import msgspec

from contracts.records import SOURCE_HEADER
from runtime.access.credentials import secrets_in_authorization
from runtime.access.key_ring import KeyRing
from runtime.access.keys import Key, KeysError, Scope
from runtime.access.rate_memory import open_rate_memory
from runtime.access.rates import Buckets, Limit
from runtime.http.client_addresses import ClientAddresses
from runtime.http.proxies import Proxies
from runtime.settings import Settings
from runtime.startup import StartupError

AUTHORIZATION = b"authorization"
KEY_HEADERS: Mapping[Scope, bytes] = {Scope.WRITE: b"x-write-key", Scope.READ: b"x-read-key"}
KEY_PARAMETER = b"writeKey"
_MOST_REMEMBERED = 1_000
_LONGEST_REMEMBERED = 256

Header: TypeAlias = tuple[bytes, bytes]


class Caller(msgspec.Struct, frozen=True, gc=False):
    """Somebody who may come in.

    Attributes:
        name: the name of the key; empty where none was asked for.
        record_headers: what a record of Kafka says about who sent it.
        answer_headers: what the answer says about the limits.
    """

    name: str
    record_headers: list[tuple[str, bytes]]
    answer_headers: tuple[Header, ...] = ()


class Refusal(msgspec.Struct, frozen=True, gc=False):
    """Somebody who may not, and the answer: a status, the `code` and `message` of its body."""

    status: int
    code: str
    message: str
    answer_headers: tuple[Header, ...] = ()


NOBODY = Caller("", [])


def _unauthorized(code: str, message: str, error: str = "") -> Refusal:
    # No `Basic`: a browser would ask its user for a name and a password.
    challenge = f'Bearer realm="track"{error}'
    return Refusal(401, code, message, ((b"www-authenticate", challenge.encode()),))


_UNKNOWN = _unauthorized(
    "unknown_key", "The key is not known, or was revoked", ', error="invalid_token"'
)
_SEVERAL = _unauthorized("several_keys", "More than one key was sent; send one")


class Guard:
    """The guard of one scope.

    Parameters: the keys, the scope, buckets of keys and of addresses where there are limits, what
    names the sender of a request, and the clock of the limits.
    """

    def __init__(
        self,
        ring: KeyRing,
        scope: Scope,
        *,
        per_key: Buckets | None = None,
        per_address: Buckets | None = None,
        addresses: ClientAddresses | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._ring = ring
        self._scope = scope
        self._header = KEY_HEADERS[scope]
        self._per_key = per_key
        self._per_address = per_address
        self._addresses = addresses or ClientAddresses(Proxies())
        self._clock = clock
        self._mark = scope[:1].encode()  # reading and writing have buckets of their own
        self._policies = _policies(per_key, per_address)
        self._missing = _missing(scope, self._header)
        self._renew()

    def check(
        self,
        scope: Mapping[str, Any],
        headers: Mapping[bytes, bytes],
        count: int = 1,
        key: bytes | None = None,
    ) -> Caller | Refusal:
        """Let a request in, or refuse it; `headers` are those of the ASGI scope, by their names.

        `count` is how many events it brings, as far as the limits go; `key` what its body shows as
        a key, which counts where its headers and its URL show none.
        """
        if self._keys is not self._ring.keys:
            self._renew()
        if self._is_open:
            return NOBODY
        if not self._policies:
            return self._identify(scope, headers, key)
        return self._admit(scope, headers, count, key)

    def _renew(self) -> None:
        """Forget what was decided by other keys."""
        self._keys = self._ring.keys
        self._is_open = self._keys is None and not self._policies
        self._by_own_header: dict[bytes, Caller | Refusal] = {}
        self._by_authorization: dict[bytes, Caller | Refusal] = {}

    def _identify(
        self, scope: Mapping[str, Any], headers: Mapping[bytes, bytes], key: bytes | None
    ) -> Caller | Refusal:
        """Return whose key it is: that of our own header, of `Authorization`, the URL, the body."""
        if len(headers) != len(scope["headers"]) and self._has_several(scope["headers"]):
            return _SEVERAL
        shown = headers.get(self._header)
        if shown is None and AUTHORIZATION not in headers:
            shown = self._key_in_url(scope) or key
        if shown is not None:
            known = self._by_own_header.get(shown)
            return known or self._look_up((shown.strip(),), shown, self._by_own_header)
        shown = headers.get(AUTHORIZATION)
        if shown is None:
            return self._missing
        known = self._by_authorization.get(shown)
        if known is not None:
            return known
        return self._look_up(secrets_in_authorization(shown), shown, self._by_authorization)

    def _look_up(
        self, secrets: tuple[bytes, ...], shown: bytes, decided: dict[bytes, Caller | Refusal]
    ) -> Caller | Refusal:
        key = self._ring.find(secrets)
        if key is None:
            return _UNKNOWN
        decision = self._decide(key)
        if len(shown) <= _LONGEST_REMEMBERED:
            if len(decided) >= _MOST_REMEMBERED:
                decided.clear()
            decided[shown] = decision
        return decision

    def _decide(self, key: Key) -> Caller | Refusal:
        if self._scope in key.scopes:
            return Caller(key.name, [(SOURCE_HEADER, key.name.encode())])
        return _lacking(self._scope)

    def _has_several(self, headers: list[Header]) -> bool:
        shown = [name for name, _ in headers if name in (AUTHORIZATION, self._header)]
        return len(set(shown)) < len(shown)

    def _key_in_url(self, scope: Mapping[str, Any]) -> bytes | None:
        """Return the key of a sender that can set no headers: a beacon, an image."""
        query: bytes = scope.get("query_string", b"")
        if self._scope is not Scope.WRITE or KEY_PARAMETER not in query:
            return None
        found = [
            value
            for name, _, value in (pair.partition(b"=") for pair in query.split(b"&"))
            if name == KEY_PARAMETER
        ]
        return unquote_to_bytes(found[0]) if len(found) == 1 else None

    def _admit(
        self,
        scope: Mapping[str, Any],
        headers: Mapping[bytes, bytes],
        count: int,
        key: bytes | None,
    ) -> Caller | Refusal:
        """Ask the limits too: the one of the address first, so that guesses are bounded by it."""
        now, states = self._clock(), b""
        if self._per_address is not None:
            name = self._addresses.name_of(scope, headers)
            left_s = self._per_address.take(self._mark + name, now, count)
            if left_s < 0:
                return self._limited(self._per_address.limit, left_s)
            states = self._per_address.limit.state(left_s)
        caller = NOBODY if self._keys is None else self._identify(scope, headers, key)
        if isinstance(caller, Refusal):
            return caller
        if self._per_key is not None and caller is not NOBODY:
            left_s = self._per_key.take(self._mark + caller.name.encode(), now, count)
            if left_s < 0:
                return self._limited(self._per_key.limit, left_s)
            state = self._per_key.limit.state(left_s)
            states = b"%b, %b" % (state, states) if states else state
        return Caller(caller.name, caller.record_headers, self._headers(states))

    def _limited(self, limit: Limit, left_s: float) -> Refusal:
        return _over(limit, left_s, self._headers(limit.state(left_s)))

    def _headers(self, states: bytes) -> tuple[Header, ...]:
        return _limits_told(self._policies, states) if states else ()


@dataclass(frozen=True, slots=True)
class Guards:
    """The guards of a service, and the keys that they share."""

    ring: KeyRing
    write: Guard
    read: Guard

    @asynccontextmanager
    async def watched(self) -> AsyncIterator[None]:
        """Notice changes of the file of keys, as long as the block runs."""
        async with self.ring.watched():
            yield


def refusals_of(scope: Scope) -> tuple[Refusal, ...]:
    """Return what a guard of this scope may say: each code once, with a limit as an example."""
    limit = Limit("key", 100, 2)
    headers = _limits_told(limit.policy, limit.state(-1))
    missing = _missing(scope, KEY_HEADERS[scope])
    return missing, _UNKNOWN, _SEVERAL, _lacking(scope), _over(limit, -1, headers)


def open_guards(settings: Settings) -> Guards:
    """Return the guards that the settings ask for.

    Raises:
        StartupError: the file of keys or the memory of the limits is not to be had.
    """
    ring = open_ring(settings)
    per_key, per_address = _limits_of(settings)
    addresses = ClientAddresses(Proxies.parse(settings.proxies))
    write, read = (
        Guard(ring, scope, per_key=per_key, per_address=per_address, addresses=addresses)
        for scope in (Scope.WRITE, Scope.READ)
    )
    return Guards(ring, write, read)


def open_ring(settings: Settings) -> KeyRing:
    """Return the keys in force.

    Raises:
        StartupError: the file cannot be used, or one that was named is not there.
    """
    path = settings.keys_file
    try:
        ring = KeyRing(path)
    except KeysError as error:
        raise StartupError(
            f"The keys in {path} cannot be used: {error}. Mend the file, or remove it and make new "
            "keys with `track keys new`."
        ) from error
    if ring.keys is None and settings.keys:
        raise StartupError(
            f"TRACK_KEYS names {path}, and there is no such file. Make a key with `track keys new`."
        )
    return ring


def _limits_of(settings: Settings) -> tuple[Buckets | None, Buckets | None]:
    """Return the buckets of keys and of addresses, where there are limits."""
    rates = settings.rate_per_key, settings.rate_per_address
    if rates == (0, 0):
        return None, None
    folder = settings.home / "run"
    try:
        memory = open_rate_memory(folder)
    except OSError as error:
        raise StartupError(
            f"The memory of the rate limits cannot be made in {folder} ({error.strerror}); set "
            "TRACK_HOME to a folder that can be written."
        ) from error
    per_key, per_address = (
        Buckets(Limit(name, per_s, settings.rate_burst_s), part, memory.secret) if per_s else None
        for name, per_s, part in zip(
            ("key", "address"), rates, (memory.keys, memory.addresses), strict=True
        )
    )
    return per_key, per_address


def _policies(*buckets: Buckets | None) -> bytes:
    return b", ".join(each.limit.policy for each in buckets if each is not None)


def _lacking(scope: Scope) -> Refusal:
    challenge = f'Bearer realm="track", error="insufficient_scope", scope="{scope}"'
    message = f"The key lacks the scope {scope}"
    return Refusal(403, "missing_scope", message, ((b"www-authenticate", challenge.encode()),))


def _limits_told(policies: bytes, states: bytes) -> tuple[Header, ...]:
    return (b"ratelimit-policy", policies), (b"ratelimit", states)


def _over(limit: Limit, left_s: float, limits: tuple[Header, ...]) -> Refusal:
    wait_s = max(1, math.ceil(-left_s))
    message = f"Over {limit.per_s} a second for this {limit.name}; try again in {wait_s} s"
    headers = (b"retry-after", b"%d" % wait_s), *limits
    return Refusal(429, "too_many_requests", message, headers)


def _missing(scope: Scope, header: bytes) -> Refusal:
    own = header.decode().title()
    return _unauthorized(
        "missing_key",
        f"A key with the scope {scope} is needed: send Authorization: Bearer KEY, or {own}: KEY",
    )
