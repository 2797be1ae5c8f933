"""Consumer groups that are removed, as when their offsets have expired.

In: a broker's address, a group without members. Out: no such group. Never: a group left half.
"""

from __future__ import annotations

from confluent_kafka.admin import AdminClient

_WITHIN_S = 20


def delete_group(kafka: str, group: str) -> None:
    """Remove a group and its offsets; aiokafka's admin client cannot.

    Raises:
        KafkaException: the broker refuses, for instance because the group has members.
    """
    admin = AdminClient({"bootstrap.servers": kafka})
    for deleted in admin.delete_consumer_groups([group]).values():
        deleted.result(_WITHIN_S)
