"""Compressed bodies, unfolded in memory: every way to cut, break and overfill them."""

from __future__ import annotations

import gzip
import itertools
import random
import tracemalloc
import zlib
from collections.abc import Callable, Iterator

import pytest
from backports import zstd
from hypothesis import given
from hypothesis import strategies as st

from contracts.events import MAX_EVENT_BYTES
from ingest.answers import Answer
from ingest.encodings import MAX_MEMBERS, PART_BYTES, is_known, unfolding_of

BODY = b'{"event":"play","user_id":"u"}'


def raw_deflate(body: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packer.compress(body) + packer.flush()


PACK: dict[str, tuple[bytes, Callable[[bytes], bytes]]] = {
    "gzip": (b"gzip", gzip.compress),
    "x-gzip": (b" X-Gzip ", gzip.compress),
    "deflate": (b"deflate", zlib.compress),
    "deflate without a head": (b"deflate", raw_deflate),
    "deflate, stored": (b"deflate", lambda body: zlib.compress(body, 0)),
    "zstd": (b"zstd", zstd.compress),
    "zstd 19": (b"ZSTD", lambda body: zstd.compress(body, 19)),
}
every_encoding = pytest.mark.parametrize(("encoding", "pack"), PACK.values(), ids=PACK.keys())
# Those where one stream may follow on another.
several = pytest.mark.parametrize("name", ["gzip", "zstd"])


def unfold(encoding: bytes, pieces: list[bytes], most: int = MAX_EVENT_BYTES) -> bytes | Answer:
    assert is_known(encoding)
    unfolding = unfolding_of(encoding, most)
    assert unfolding is not None
    for piece in pieces:
        answer = unfolding.feed(piece, most)
        while answer is None and unfolding.has_more:
            answer = unfolding.go_on(most)
        if answer is not None:
            return answer
    return unfolding.finish()


def refused(encoding: bytes, packed: bytes) -> tuple[int, str]:
    """Return the status and the words of a refusal, the same however the body is cut."""
    answers = [unfold(encoding, [packed]), unfold(encoding, [bytes([each]) for each in packed])]
    found = set()
    for answer in answers:
        assert not isinstance(answer, bytes)
        found.add((answer[0]["status"], answer[1]["body"].decode()))
    (one,) = found
    return one


@every_encoding
def test_a_body_comes_out_as_it_went_in(encoding: bytes, pack: Callable[[bytes], bytes]) -> None:
    for body in (b"", BODY, b" " * MAX_EVENT_BYTES, random.Random(1).randbytes(MAX_EVENT_BYTES)):
        packed = pack(body)
        assert unfold(encoding, [packed]) == body
        assert unfold(encoding, [bytes([each]) for each in packed]) == body
        assert unfold(encoding, [b"", packed, b""]) == body


@every_encoding
def test_what_has_many_parts_comes_out_whole(
    encoding: bytes, pack: Callable[[bytes], bytes]
) -> None:
    most = 3 * PART_BYTES + 1
    for size in (PART_BYTES - 1, PART_BYTES, PART_BYTES + 1, 3 * PART_BYTES, most):
        for body in (b" " * size, random.Random(size).randbytes(size)):
            packed = pack(body)
            assert unfold(encoding, [packed], most) == body
            assert unfold(encoding, [packed[:-9], packed[-9:]], most) == body
    answer = unfold(encoding, [pack(b" " * (most + 1))], most)
    assert not isinstance(answer, bytes)
    assert answer[0]["status"] == 413


@every_encoding
def test_a_byte_too_many_is_refused(encoding: bytes, pack: Callable[[bytes], bytes]) -> None:
    status, words = refused(encoding, pack(b" " * (MAX_EVENT_BYTES + 1)))
    assert status == 413
    assert "unfolds to more than 65536 bytes" in words


@every_encoding
def test_a_body_that_breaks_off_says_so(encoding: bytes, pack: Callable[[bytes], bytes]) -> None:
    packed = pack(BODY)
    for length in range(len(packed)):
        status, words = refused(encoding, packed[:length])
        assert status == 400
        assert '"code":"invalid_encoding"' in words
        assert "ends before its" in words


@every_encoding
def test_what_follows_is_not_passed_over(encoding: bytes, pack: Callable[[bytes], bytes]) -> None:
    for garbage in (b"{}", b"\n", b"\x00" * 8, b"PK\x03\x04"):
        status, words = refused(encoding, pack(BODY) + garbage)
        assert status == 400
        assert '"code":"invalid_encoding"' in words


@pytest.mark.parametrize("encoding", [b"gzip", b"zstd"])
def test_what_is_not_packed_is_refused(encoding: bytes) -> None:
    status, words = refused(encoding, BODY)
    assert status == 400
    assert f"Content-Encoding says {encoding.decode()}, but" in words


@several
def test_streams_in_a_row_are_one_body(name: str) -> None:
    encoding, pack = PACK[name]
    parts = [BODY[:10], b"", BODY[10:]]
    assert unfold(encoding, [b"".join(map(pack, parts))]) == BODY
    assert unfold(encoding, [bytes([each]) for each in b"".join(map(pack, parts))]) == BODY
    status, _ = refused(encoding, pack(b" " * 40_000) + pack(b" " * 40_000))
    assert status == 413


@several
def test_a_thousand_empty_streams_are_nobody_s_event(name: str) -> None:
    encoding, pack = PACK[name]
    assert unfold(encoding, [pack(b"") * MAX_MEMBERS]) == b""
    assert refused(encoding, pack(b"") * (MAX_MEMBERS + 1))[0] == 400


def test_deflate_is_one_stream() -> None:
    assert refused(b"deflate", zlib.compress(BODY) * 2)[0] == 400


def test_a_window_that_only_an_attacker_needs_is_refused() -> None:
    wide: dict[int, int] = {
        zstd.CompressionParameter.window_log: 27,
        zstd.CompressionParameter.enable_long_distance_matching: 1,
    }
    packer = zstd.ZstdCompressor(options=wide)
    packed = packer.compress(BODY) + packer.flush()
    assert refused(b"zstd", packed)[0] == 400
    usual = zstd.ZstdCompressor(options={zstd.CompressionParameter.window_log: 23})
    assert unfold(b"zstd", [usual.compress(BODY) + usual.flush()]) == BODY


def test_a_dictionary_of_the_sender_s_is_refused() -> None:
    words = zstd.train_dict(
        [b'{"event":"play","user_id":"%d"}' % each for each in range(3000)], 1024
    )
    assert refused(b"zstd", zstd.compress(BODY, zstd_dict=words))[0] == 400
    packer = zlib.compressobj(zdict=BODY)
    assert refused(b"deflate", packer.compress(BODY) + packer.flush())[0] == 400


def bombs() -> Iterator[tuple[bytes, bytes]]:
    """Give bodies of at most 64 KiB that unfold to as much as their format can say."""
    packer = zlib.compressobj(9, wbits=31)
    zeros = bytes(1 << 20)
    yield b"gzip", b"".join(packer.compress(zeros) for _ in range(63)) + packer.flush()
    yield b"deflate", zlib.compress(bytes(60 << 20), 9)
    # A block of zstd says "this byte, 128 KiB times" in four bytes: 64 KiB are 2 GiB.
    head = b"\x28\xb5\x2f\xfd" + b"\x00" + b"\x38"
    block = ((128 * 1024) << 3 | 1 << 1).to_bytes(3, "little") + b"\x00"
    yield b"zstd", head + block * 16_000


def test_a_bomb_costs_neither_memory_nor_time() -> None:
    for encoding, bomb in bombs():
        assert len(bomb) <= MAX_EVENT_BYTES
        tracemalloc.start()
        try:
            answer = unfold(encoding, [bomb])
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert not isinstance(answer, bytes)
        assert answer[0]["status"] == 413, encoding
        assert peak < 1 << 20


@every_encoding
def test_any_cut_gives_the_same(encoding: bytes, pack: Callable[[bytes], bytes]) -> None:
    chance = random.Random(2)
    for _ in range(30):
        body = chance.randbytes(chance.randrange(3000)) + b"a" * chance.randrange(3000)
        packed = pack(body)
        cuts = sorted(chance.choices(range(len(packed) + 1), k=chance.randrange(6)))
        pieces = [packed[a:b] for a, b in itertools.pairwise([0, *cuts, len(packed)])]
        assert unfold(encoding, pieces) == body


@every_encoding
def test_a_flipped_bit_never_passes_as_another_body(
    encoding: bytes, pack: Callable[[bytes], bytes]
) -> None:
    packed = bytearray(pack(BODY * 3))
    for place in range(len(packed)):
        for bit in range(8):
            packed[place] ^= 1 << bit
            answer = unfold(encoding, [bytes(packed)])
            if isinstance(answer, tuple):
                assert answer[0]["status"] in {400, 413}
            packed[place] ^= 1 << bit


@given(
    encoding=st.sampled_from([b"gzip", b"deflate", b"zstd"]),
    magic=st.sampled_from(
        [b"", b"\x1f\x8b\x08", b"\x78\x9c", b"\x28\xb5\x2f\xfd", b"\x50\x2a\x4d\x18"]
    ),
    rest=st.lists(st.binary(max_size=200), max_size=4),
)
def test_rubbish_is_an_answer(encoding: bytes, magic: bytes, rest: list[bytes]) -> None:
    answer = unfold(encoding, [magic, *rest])
    assert isinstance(answer, bytes) or answer[0]["status"] in {400, 413}


@pytest.mark.parametrize(
    "encoding",
    [b"br", b"compress", b"gzip, gzip", b"gzip,identity", b"identity, gzip", b"*", b"\xff", b"a;b"],
)
def test_other_encodings_are_not_known(encoding: bytes) -> None:
    assert not is_known(encoding)


@pytest.mark.parametrize("encoding", [b"", b"identity", b" Identity "])
def test_identity_is_nothing_to_unfold(encoding: bytes) -> None:
    assert is_known(encoding)
    assert unfolding_of(encoding) is None
