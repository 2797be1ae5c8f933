"""Mutations of samples: of their bytes, of their tokens, of the JSON that they are.

In: a random number generator and samples. Out: samples that nobody has thought of. Never: a
mutation that the seed does not decide.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Sequence
from typing import Any

from tests.fuzz.dictionary import GOOD_VALUES, HEADERS, KEYS, MEDIA, VALUES, WORDS

MOST_BYTES = 70_000
_TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*"|[-+0-9.eE]+|\w+|\s+|.', re.DOTALL)
_LENGTHS = (0, 1, 63, 64, 65, 127, 128, 129, 199, 200, 201, 255, 256, 257, 4000, 4090, 4096)
_FILLINGS = ("x", "é", "日", "😀", "\\ud800", "\\u0000", "\\n", "0", "~")


class Written(str):
    """A value as it stands in the text."""

    __slots__ = ()


class Pairs(list[Any]):
    """An object whose keys may stand twice."""


class Mutator:
    """Gives mutated samples without end."""

    def __init__(self, rng: random.Random, corpus: Sequence[bytes]) -> None:
        self._rng = rng
        self._corpus = corpus
        self._levels = (self._bytes, self._tokens, self._structure, self._structure, self._splice)

    def next(self) -> bytes:
        """Return the next sample."""
        rng = self._rng
        sample = rng.choice(self._corpus)
        for _ in range(rng.choice((1, 1, 1, 2, 3, 5))):
            sample = rng.choice(self._levels)(sample)
        return sample[:MOST_BYTES]

    def _bytes(self, sample: bytes) -> bytes:
        rng, changed = self._rng, bytearray(sample)
        at = rng.randrange(len(changed) + 1)
        end = min(len(changed), at + rng.choice((1, 1, 1, 2, 4, 16, 200)))
        match rng.randrange(6):
            case 0:
                changed[at:at] = rng.choice(WORDS)
            case 1:
                changed[at:end] = b""
            case 2:
                changed[at:at] = changed[at:end]
            case 3:
                changed[at:end] = rng.randbytes(end - at)
            case 4 if at < len(changed):
                changed[at] ^= 1 << rng.randrange(8)
            case _:
                changed[at:at] = bytes([rng.randrange(256)])
        return bytes(changed)

    def _tokens(self, sample: bytes) -> bytes:
        rng, tokens = self._rng, _TOKEN.findall(sample)
        if not tokens:
            return rng.choice(WORDS)
        at, other = rng.randrange(len(tokens)), rng.randrange(len(tokens))
        match rng.randrange(5):
            case 0:
                tokens[at] = rng.choice(WORDS)
            case 1:
                del tokens[at]
            case 2:
                tokens[at], tokens[other] = tokens[other], tokens[at]
            case 3:
                tokens.insert(at, tokens[other])
            case _:
                tokens[at] = tokens[other]
        return b"".join(tokens)

    def _splice(self, sample: bytes) -> bytes:
        rng, other = self._rng, self._rng.choice(self._corpus)
        return sample[: rng.randrange(len(sample) + 1)] + other[rng.randrange(len(other) + 1) :]

    def _structure(self, sample: bytes) -> bytes:
        try:
            value = json.loads(
                sample.decode(), object_pairs_hook=Pairs, parse_int=Written, parse_float=Written
            )
        except (ValueError, RecursionError):
            return self._bytes(sample)
        value = self._change(value)
        parts: list[str] = []
        try:
            self._write(value, parts, self._rng.random() < 0.2)
        except RecursionError:
            return sample
        return "".join(parts).encode("utf-8", "surrogatepass")

    def _change(self, value: Any) -> Any:
        """Return the value with one place of it changed."""
        rng = self._rng
        if isinstance(value, Pairs) and value and rng.random() < 0.75:
            at = rng.randrange(len(value))
            key, inner = value[at]
            match rng.randrange(8):
                case 0:
                    del value[at]
                case 1:
                    value.insert(rng.randrange(len(value) + 1), (key, self._any()))
                case 2:
                    value[at] = (self._key(), inner)
                case 3:
                    value.insert(at, (self._key(), self._any()))
                case 4:
                    rng.shuffle(value)
                case _:
                    value[at] = (key, self._change(inner))
            return value
        if type(value) is list and value and rng.random() < 0.75:
            at = rng.randrange(len(value))
            match rng.randrange(5):
                case 0:
                    del value[at]
                case 1:
                    value.insert(at, value[rng.randrange(len(value))])
                case _:
                    value[at] = self._change(value[at])
            return value
        if type(value) is str and rng.random() < 0.6:
            return self._text(value)
        is_whole = isinstance(value, Written) and value.lstrip("-").isdigit() and len(value) < 40
        if is_whole and rng.random() < 0.5:
            return Written(int(value) + rng.choice((-1, 1, -1000, 1000, 600_000, -600_001, 2**31)))
        return self._any()

    def _text(self, text: str) -> Any:
        """Return a text like this one; what is JSON in itself may be changed as JSON."""
        rng = self._rng
        match rng.randrange(4):
            case 0:
                changed = self._structure(text.encode("utf-8", "surrogatepass"))
                return changed.decode("utf-8", "surrogateescape").replace("\udcff", "\xff")
            case 1:
                return rng.choice((*HEADERS, *MEDIA))
            case 2:
                length = rng.choice(_LENGTHS) + rng.choice((0, 0, 1, -1))
                return Written('"' + rng.choice(_FILLINGS) * length + '"')
            case _:
                return self._bytes(text.encode("utf-8", "surrogatepass")).decode("latin-1")

    def _any(self) -> Any:
        rng = self._rng
        match rng.randrange(6):
            case 0:
                return Written(rng.choice(VALUES).decode("latin-1"))
            case 1:
                length = rng.choice(_LENGTHS) + rng.choice((0, 0, 1, -1))
                return Written('"' + rng.choice(_FILLINGS) * length + '"')
            case 2:
                depth = rng.choice((1, 2, 62, 63, 64, 65, 66, 700, 3000))
                begin, end = rng.choice((("[", "]"), ('{"a":', "}"), ('[{"":', "}]")))
                return Written(begin * depth + "1" + end * depth)
            case 3:
                count = rng.choice((2, 30, 300))
                return Pairs((f"k{each}", self._good()) for each in range(count))
            case _:
                return self._good()

    def _good(self) -> Written:
        return Written(self._rng.choice(GOOD_VALUES).decode("utf-8", "surrogateescape"))

    def _key(self) -> Any:
        return Written(self._rng.choice(KEYS).decode())

    def _write(self, value: Any, parts: list[str], is_odd: bool) -> None:
        if is_odd and self._rng.random() < 0.1:
            parts.append(self._rng.choice((" ", "\n", "\t", "\r", "  ")))
        if isinstance(value, Pairs):
            separator = "{"
            for key, inner in value:
                parts.append(separator)
                self._write(key, parts, is_odd)
                parts.append(":")
                self._write(inner, parts, is_odd)
                separator = ","
            parts.append("}" if value else "{}")
        elif isinstance(value, list):
            separator = "["
            for inner in value:
                parts.append(separator)
                self._write(inner, parts, is_odd)
                separator = ","
            parts.append("]" if value else "[]")
        elif isinstance(value, Written):
            parts.append(value)
        elif isinstance(value, str) and is_odd:
            parts.append('"' + "".join(f"\\u{ord(c):04x}" for c in value if ord(c) < 65536) + '"')
        else:
            ascii_only = self._rng.random() < 0.5
            parts.append(json.dumps(value, ensure_ascii=ascii_only))
