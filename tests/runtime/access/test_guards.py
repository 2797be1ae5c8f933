"""A guard by itself: whom it lets in, whom it refuses, and with which words."""

from __future__ import annotations

from base64 import b64encode
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from runtime.access.guards import NOBODY, Caller, Guard, Refusal, open_guards
from runtime.access.key_ring import KeyRing
from runtime.access.keys import Key, Scope, encode_keys, make_key
from runtime.access.rates import PLACE_BYTES, Buckets, Limit
from runtime.http.client_addresses import ClientAddresses
from runtime.http.proxies import Proxies
from runtime.settings import Settings
from runtime.startup import StartupError
from tests.runtime.access.test_keys import NOW

HOST = (b"host", b"x")
Headers = list[tuple[bytes, bytes]]


class Keys:
    """A file with a key for each scope and one for both, and their secrets."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.secrets: dict[str, bytes] = {}
        self.keys: dict[str, Key] = {}
        self.add("writer", Scope.WRITE)
        self.add("reader", Scope.READ)
        self.add("both", Scope.WRITE, Scope.READ)

    def add(self, name: str, *scopes: Scope) -> None:
        self.keys[name], secret = make_key(name, scopes, NOW)
        self.secrets[name] = secret.encode()
        self.write()

    def write(self) -> None:
        self.path.write_text(encode_keys(self.keys.values()))

    def bearer(self, name: str) -> tuple[bytes, bytes]:
        return b"authorization", b"Bearer " + self.secrets[name]


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    return Keys(tmp_path / "keys")


def check(
    guard: Guard, *headers: tuple[bytes, bytes], host: str = "192.0.2.1", count: int = 1
) -> Caller | Refusal:
    sent = [HOST, *headers]
    scope: dict[str, Any] = {"client": (host, 1), "headers": sent}
    return guard.check(scope, dict(sent), count)


def refusal(guard: Guard, *headers: tuple[bytes, bytes], host: str = "192.0.2.1") -> Refusal:
    refused = check(guard, *headers, host=host)
    assert isinstance(refused, Refusal)
    assert refused.message
    return refused


def name(guard: Guard, *headers: tuple[bytes, bytes]) -> str:
    caller = check(guard, *headers)
    assert isinstance(caller, Caller), caller
    return caller.name


def said(answer: Caller | Refusal, header: bytes) -> bytes:
    return dict(answer.answer_headers).get(header, b"")


def test_without_keys_and_limits_everybody_is_nobody(tmp_path: Path) -> None:
    guard = Guard(KeyRing(tmp_path / "keys"), Scope.WRITE)
    assert check(guard) is NOBODY
    assert check(guard, (b"authorization", b"Bearer whatever")) is NOBODY
    assert (NOBODY.record_headers, NOBODY.answer_headers) == ([], ())


def test_a_key_is_taken_from_each_header(keys: Keys) -> None:
    write, read = (Guard(KeyRing(keys.path), each) for each in (Scope.WRITE, Scope.READ))
    secret = keys.secrets["both"]
    for _ in range(2):  # the second time it is remembered
        for guard, own in ((write, b"x-write-key"), (read, b"x-read-key")):
            assert name(guard, keys.bearer("both")) == "both"
            assert name(guard, (b"authorization", b"bEARER  " + secret)) == "both"
            assert name(guard, (b"authorization", b"Basic " + b64encode(secret + b":"))) == "both"
            assert name(guard, (b"authorization", b"Basic " + b64encode(b"x:" + secret))) == "both"
            assert name(guard, (own, secret)) == "both"
            assert name(guard, (own, b" " + secret + b" ")) == "both"
        assert refusal(write, (b"x-read-key", secret)).code == "missing_key"
        assert refusal(read, (b"x-write-key", secret)).code == "missing_key"


def test_a_sender_that_sets_no_headers_shows_its_key_in_the_url_or_the_body(keys: Keys) -> None:
    write, read = (Guard(KeyRing(keys.path), each) for each in (Scope.WRITE, Scope.READ))
    secret, other = keys.secrets["both"], keys.secrets["reader"]

    def ask(guard: Guard, query: bytes, key: bytes | None, *headers: tuple[bytes, bytes]) -> str:
        sent = [HOST, *headers]
        scope = {"client": ("192.0.2.1", 1), "headers": sent, "query_string": query}
        answer = guard.check(scope, dict(sent), 1, key)
        return answer.name if isinstance(answer, Caller) else answer.code

    in_url = b"a=1&writeKey=" + secret
    for _ in range(2):  # the second time it is remembered
        assert ask(write, in_url, None) == "both"
        assert ask(write, b"writeKey=" + secret.replace(b"_", b"%5f"), None) == "both"
        assert ask(write, b"", secret) == "both"
        assert ask(write, b"", other) == "missing_scope"
        assert ask(write, b"", b"nobody") == "unknown_key"
        assert ask(write, b"writeKey=nobody", secret) == "unknown_key", "the URL goes first"
        assert ask(write, in_url, secret, (b"x-write-key", b"nobody")) == "unknown_key"
        assert ask(write, in_url, secret, (b"authorization", b"Bearer nobody")) == "unknown_key"
    for query in (b"", b"writekey=" + secret, b"xwriteKey=" + secret, b"writeKey", in_url * 2):
        assert ask(write, query, None) in {"missing_key", "unknown_key"}
    assert ask(read, in_url, None) == "missing_key", "what is read has headers"


def test_records_say_whose_key_it_was(keys: Keys) -> None:
    guard = Guard(KeyRing(keys.path), Scope.WRITE)
    caller = check(guard, keys.bearer("writer"))
    assert isinstance(caller, Caller)
    assert caller.record_headers == [("source", b"writer")]
    assert caller.answer_headers == ()
    assert check(guard, keys.bearer("writer")) is caller, "a request costs no new object"


def test_no_key(keys: Keys) -> None:
    refused = refusal(Guard(KeyRing(keys.path), Scope.WRITE))
    assert (refused.status, refused.code) == (401, "missing_key")
    assert "write" in refused.message
    assert "X-Write-Key" in refused.message
    assert said(refused, b"www-authenticate") == b'Bearer realm="track"'


@pytest.mark.parametrize("scheme", [b"Bearer ", b"Basic ", b"", b"Digest "])
def test_a_key_that_nobody_knows(keys: Keys, scheme: bytes) -> None:
    guard = Guard(KeyRing(keys.path), Scope.WRITE)
    secret = keys.secrets["both"]
    digest = keys.keys["both"].digest.encode()
    for shown in (b"", b"x", secret[:-1], secret + b"0", secret.upper(), digest, b"\xff\0" * 9999):
        refused = refusal(guard, (b"authorization", scheme + shown))
        assert (refused.status, refused.code) == (401, "unknown_key")
        assert b"invalid_token" in said(refused, b"www-authenticate")
        assert shown.decode("latin-1") not in refused.message or len(shown) < 2
    for shown in (b"", b"x", b"Bearer " + secret, secret[:-1]):
        assert refusal(guard, (b"x-write-key", shown)).code == "unknown_key"


def test_a_key_without_the_scope(keys: Keys) -> None:
    write, read = (Guard(KeyRing(keys.path), each) for each in (Scope.WRITE, Scope.READ))
    for _ in range(2):
        refused = refusal(write, keys.bearer("reader"))
        assert (refused.status, refused.code) == (403, "missing_scope")
        assert refused.message == "The key lacks the scope write"
        assert b'scope="write"' in said(refused, b"www-authenticate")
        assert refusal(read, (b"x-read-key", keys.secrets["writer"])).status == 403


def test_the_own_header_goes_before_that_which_a_proxy_may_want(keys: Keys) -> None:
    guard = Guard(KeyRing(keys.path), Scope.WRITE)
    login = (b"authorization", b"Basic " + b64encode(b"admin:secret"))
    assert name(guard, login, (b"x-write-key", keys.secrets["writer"])) == "writer"
    assert refusal(guard, keys.bearer("writer"), (b"x-write-key", b"x")).code == "unknown_key"


@pytest.mark.parametrize("header", [b"authorization", b"x-write-key"])
def test_of_two_keys_none_counts(keys: Keys, header: bytes) -> None:
    guard = Guard(KeyRing(keys.path), Scope.WRITE)
    good = keys.bearer("writer")[1] if header == b"authorization" else keys.secrets["writer"]
    for one, two in ((good, good), (good, b"x"), (b"x", good)):
        assert refusal(guard, (header, one), (header, two)).code == "several_keys"
    assert name(guard, (b"cookie", b"a"), (b"cookie", b"b"), (header, good)) == "writer"


def test_a_revoked_key_is_refused_and_the_others_are_not(keys: Keys) -> None:
    ring = KeyRing(keys.path)
    guard = Guard(ring, Scope.WRITE)
    assert name(guard, keys.bearer("writer")) == "writer"
    keys.add("next", Scope.WRITE)
    ring.look()
    assert name(guard, keys.bearer("writer")) == "writer"
    assert name(guard, keys.bearer("next")) == "next"
    del keys.keys["writer"]
    keys.write()
    ring.look()
    assert refusal(guard, keys.bearer("writer")).code == "unknown_key"
    assert name(guard, keys.bearer("next")) == "next"


def test_a_first_key_closes_an_open_door(tmp_path: Path) -> None:
    ring = KeyRing(tmp_path / "keys")
    guard = Guard(ring, Scope.WRITE)
    assert check(guard) is NOBODY
    keys = Keys(tmp_path / "keys")
    ring.look()
    assert refusal(guard).status == 401
    (tmp_path / "keys").unlink()
    ring.look()
    assert refusal(guard).status == 401
    assert name(guard, keys.bearer("writer")) == "writer"


def test_guesses_and_variants_take_no_memory(keys: Keys) -> None:
    guard = Guard(KeyRing(keys.path), Scope.WRITE)
    for number in range(5_000):
        refusal(guard, (b"authorization", b"Bearer %d" % number))
        name(guard, (b"authorization", b"Bearer " + b" " * number + keys.secrets["writer"]))
    remembered = guard._by_authorization
    assert len(remembered) <= 1_000
    assert all(len(each) <= 256 for each in remembered)


class Limited:
    """Guards with limits and a clock of the test's own."""

    def __init__(self, path: Path, per_key: int = 0, per_address: int = 0) -> None:
        self.now = 100.0

        def buckets(name: str, per_s: int) -> Buckets | None:
            memory = memoryview(bytearray(64 * PLACE_BYTES))
            return Buckets(Limit(name, per_s, 2), memory, b"s") if per_s else None

        self.write, self.read = (
            Guard(
                KeyRing(path),
                scope,
                per_key=buckets("key", per_key),
                per_address=buckets("address", per_address),
                addresses=ClientAddresses(Proxies.parse("10.0.0.1")),
                clock=lambda: self.now,
            )
            for scope in (Scope.WRITE, Scope.READ)
        )


def test_a_limit_for_a_key(keys: Keys) -> None:
    limited = Limited(keys.path, per_key=5)
    guard = limited.write
    caller = check(guard, keys.bearer("writer"))
    assert isinstance(caller, Caller)
    assert caller.record_headers == [("source", b"writer")]
    assert said(caller, b"ratelimit-policy") == b'"key";q=10;w=2'
    assert said(caller, b"ratelimit") == b'"key";r=9;t=1'
    for _ in range(9):
        assert (
            name(
                guard,
                keys.bearer("writer"),
            )
            == "writer"
        )

    refused = refusal(guard, keys.bearer("writer"))
    assert (refused.status, refused.code) == (429, "too_many_requests")
    assert "5 a second for this key" in refused.message
    assert said(refused, b"retry-after") == b"1"
    assert said(refused, b"ratelimit-policy") == b'"key";q=10;w=2'
    assert said(refused, b"ratelimit") == b'"key";r=0;t=2'
    assert name(guard, (b"x-write-key", keys.secrets["both"])) == "both"
    assert refusal(guard, (b"x-write-key", keys.secrets["writer"])).status == 429

    limited.now += 0.201
    assert name(guard, keys.bearer("writer")) == "writer"
    assert refusal(guard, keys.bearer("writer")).status == 429


def test_after_retry_after_it_is_taken(keys: Keys) -> None:
    limited = Limited(keys.path, per_key=1)
    assert isinstance(check(limited.write, keys.bearer("writer"), count=2), Caller)
    refused = check(limited.write, keys.bearer("writer"), count=2)
    assert said(refused, b"retry-after") == b"2"
    limited.now += 2
    assert isinstance(check(limited.write, keys.bearer("writer"), count=2), Caller)


def test_a_limit_for_an_address_bounds_guesses_too(keys: Keys) -> None:
    limited = Limited(keys.path, per_address=5)
    for _ in range(10):
        assert refusal(limited.write, (b"x-write-key", b"guess")).status == 401
    refused = refusal(limited.write, keys.bearer("writer"))
    assert (refused.status, said(refused, b"ratelimit")) == (429, b'"address";r=0;t=2')
    assert isinstance(check(limited.write, keys.bearer("writer"), host="192.0.2.2"), Caller)


def test_a_limit_for_an_address_needs_no_keys(tmp_path: Path) -> None:
    guard = Limited(tmp_path / "none", per_key=1, per_address=1).write
    caller = check(guard)
    assert isinstance(caller, Caller)
    assert (caller.name, caller.record_headers) == ("", [])
    assert said(caller, b"ratelimit") == b'"address";r=1;t=1'
    check(guard)
    assert refusal(guard).status == 429


def test_both_limits_say_what_is_left(keys: Keys) -> None:
    caller = check(Limited(keys.path, per_key=2, per_address=5).write, keys.bearer("writer"))
    assert said(caller, b"ratelimit-policy") == b'"key";q=4;w=2, "address";q=10;w=2'
    assert said(caller, b"ratelimit") == b'"key";r=3;t=1, "address";r=9;t=1'


def test_the_address_behind_a_named_proxy_is_limited(keys: Keys) -> None:
    guard = Limited(keys.path, per_address=1).write
    for client in (b"198.51.100.1", b"198.51.100.2"):
        forwarded = (b"x-forwarded-for", client)
        for status in (0, 0, 429):
            answer = check(guard, keys.bearer("writer"), forwarded, host="10.0.0.1")
            assert getattr(answer, "status", 0) == status
    spoofed = (b"x-forwarded-for", b"203.0.113.77")
    for status in (0, 0, 429):
        answer = check(guard, keys.bearer("writer"), spoofed, host="192.0.2.9")
        assert getattr(answer, "status", 0) == status


def test_settings_make_the_doors(tmp_path: Path, keys: Keys) -> None:
    settings = Settings(
        home=tmp_path, rate_per_key=1, rate_per_address=2, rate_burst_s=3, proxies="10.0.0.1"
    )
    guards = open_guards(settings)
    caller = check(guards.write, keys.bearer("both"))
    assert said(caller, b"ratelimit-policy") == b'"key";q=3;w=3, "address";q=6;w=3'
    other = open_guards(settings)
    assert said(check(other.write, keys.bearer("both")), b"ratelimit").startswith(b'"key";r=1;')
    asked = check(guards.read, keys.bearer("both"))
    assert said(asked, b"ratelimit").startswith(b'"key";r=2;'), "questions are counted apart"


def test_settings_that_make_none_are_refused(tmp_path: Path) -> None:
    with pytest.raises(StartupError, match=r"TRACK_KEYS names .*/keys, and there is no such file"):
        open_guards(Settings(home=tmp_path, keys=str(tmp_path / "keys")))
    (tmp_path / "run").touch()
    with pytest.raises(StartupError, match="TRACK_HOME"):
        open_guards(Settings(home=tmp_path, rate_per_key=1))
    (tmp_path / "keys").write_text("secret-that-somebody-pasted\n")
    with pytest.raises(StartupError, match="line 1 is not a key") as caught:
        open_guards(Settings(home=tmp_path))
    assert "pasted" not in str(caught.value)


def test_without_limits_no_memory_is_made(tmp_path: Path) -> None:
    open_guards(replace(Settings(), home=tmp_path))
    assert list(tmp_path.iterdir()) == []
