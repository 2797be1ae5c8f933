"""Nasty things, as they stand in a JSON text: what readers have stumbled over before.

In: nothing. Out: bytes. Never: something that is only long; the mutations make things long.
"""

from __future__ import annotations

NUMBERS = (
    b"0", b"-0", b"-0.0", b"0.1", b"1e0", b"1E+2", b"1e400", b"-1e400", b"1e-400", b"1e308",
    b"2e308", b"9223372036854775807", b"9223372036854775808", b"-9223372036854775808",
    b"-9223372036854775809", b"18446744073709551615", b"18446744073709551616",
    b"-18446744073709551616", b"123456789012345678901234567890", b"0.30000000000000004",
    b"1.7976931348623159e308", b"4.9e-324", b"1.10", b"1e999999999999",
    b"100000000000000000000.0", b"1737201600",
)  # fmt: skip
NO_NUMBERS = (
    b"NaN", b"Infinity", b"-Infinity", b"01", b"-01", b"+1", b".5", b"1.", b"1.e1", b"1e", b"1e+",
    b"-", b"--1", b"0x10", b"1_000", b"1e1.5", b"\xd9\xa1", b"1 2", b"nan", b"inf",
)  # fmt: skip
LITERALS = (b"true", b"false", b"null", b"True", b"nul", b"nulll", b"tru\xff", b"undefined")
TEXTS = (
    b'""', b'"date"', b'"DATE"', b'"\\u0064ate"', b'"play"', b'"stop"', b'"~"', b'"~x"',
    b'"\\u007e"', b'"\\ud800"', b'"\\udfff"', b'"\\ud83d\\ude00"', b'"\\ude00\\ud83d"',
    b'"\\ud800\\ud800\\udc00"', b'"\\u0000"', b'"\\u000a"', b'"\\/"', b'"\\b\\f\\n\\r\\t"',
    b'"\\u202e\\u2067"', b'"\xe2\x80\xae"', b'"\xf0\x9f\x98\x80"', b'"\xef\xbb\xbf"',
    b'"\\ufeff"', b'"\xef\xbf\xbf"', b'"e\xcc\x81"', b'"\\uFFFD"', b'"__proto__"',
    b'"constructor"', b'"a.b"', b'"a\\u002eb"', b'"%00"', b'"../.."', b'"{x:String}"',
    b'"2025-01-18T14:30:00Z"', b'"2025-01-18T14:30:00.1239999+23:59"',
    b'"1970-01-01T00:00:00+00:01"', b'"9999-12-31T23:59:59.999Z"', b'"2024-02-30T00:00:00Z"',
    b'"0000-01-01T00:00:00Z"', b'"1e400"', b'"2025-01-18t14:30:00z"', b'"2016-12-31T23:59:60Z"',
    b'"2025-01-18T24:00:00Z"', b'"2025-01-18"', b'"9999-12-31T23:59:59-23:59"',
    b"\"' OR 1=1 --\"", b'"\\\\"', b'"\\""', b'"<script>"', b'"1"',
)  # fmt: skip
NO_TEXTS = (
    b'"', b'"\\', b'"\\x41"', b'"\\u12"', b'"\\u12g4"', b'"\\u+123"', b'"\\u 123"', b'"\n"',
    b'"\0"', b'"\x1f"', b'"\xff"', b'"\xc0\x80"', b'"\xc0\xaf"', b'"\xed\xa0\x80"',
    b'"\xf4\x90\x80\x80"', b'"\xf8\x88\x80\x80\x80"', b'"\xe2\x82"', b"'a'", b'"\\a"',
    b'"\\U0001f600"',
)  # fmt: skip
MARKS = (
    b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff", b"\0", b"\x0b", b"\x0c", b"\xc2\xa0",
    b"\xe2\x80\xa8", b"\x1e", b"//x\n", b"/**/", b",", b",,", b":", b"}", b"]", b"{", b"[", b"#",
    b" ", b"\n", b"\r\n", b"\t",
)  # fmt: skip
KEYS = (
    b'"event"', b'"\\u0065vent"', b'"EVENT"', b'"user_id"', b'"user\\u005fid"', b'"userId"',
    b'"event_id"', b'"event\\u005Fid"', b'"timestamp"', b'"metadata"', b'"metad\\u0061ta"',
    b'"warning"', b'"originalSize"', b'"originalTimestamp"', b'"__proto__"', b'""', b'"\\u0000"',
    b'"\\ud800"', b'"a.b"', b'"a"', b'"data"', b'"data_base64"', b'"specversion"', b'"type"',
    b'"source"', b'"id"', b'"subject"', b'"time"', b'"date"', b'"\xf0\x9f\x98\x80"',
)  # fmt: skip
HEADERS = (
    "ce_specversion", "CE_SPECVERSION", "ce_type", "ce_source", "ce_id", "ce_subject", "ce_time",
    "ce_", "ce_data", "content-type", "Content-Type", "source", "", "\ufffd", "received_at",
)  # fmt: skip
MEDIA = (
    "application/cloudevents+json", "application/cloudevents-batch+json",
    "application/cloudevents", "Application/CloudEvents+JSON; charset=utf-16", "application/json",
    "application/x+json;a=b", "text/plain", "application/octet-stream", "", "\xff",
)  # fmt: skip

GOOD_VALUES = (*NUMBERS, *TEXTS, b"true", b"false", b"null", b"{}", b"[]", b'{"a":{"b":[1,{}]}}')
VALUES = (*GOOD_VALUES, *NO_NUMBERS, *LITERALS, *NO_TEXTS)
WORDS = (*VALUES, *KEYS, *MARKS)
