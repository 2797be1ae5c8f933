"""Consumer groups that are removed, as when their offsets have expired.

In: a broker's address, a group without members. Out: no such group. Never: a group left half.
"""

from __future__ import annotations

import time

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient

_WITHIN_S = 20


def delete_group(kafka: str, group: str) -> None:
    """Remove a group and its offsets; aiokafka's admin client cannot.

    Whoever ended without a word is a member for as long as its session would have lasted.

    Raises:
        KafkaException: the broker refuses, for instance because the group has members.
    """
    admin = AdminClient({"bootstrap.servers": kafka})
    deadline = time.monotonic() + _WITHIN_S
    while True:
        try:
            for deleted in admin.delete_consumer_groups([group]).values():
                deleted.result(_WITHIN_S)
        except KafkaException as error:
            if error.args[0].code() != KafkaError.NON_EMPTY_GROUP or time.monotonic() > deadline:
                raise
        else:
            return
        time.sleep(0.2)
