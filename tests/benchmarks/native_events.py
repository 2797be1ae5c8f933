"""`http_single_vs_native`: one event a request, beside bare services in Go and Rust.

`native/go` is net/http over franz-go, `native/rust` axum over librdkafka: each decodes and checks
`event` and `user_id`, writes the body under the user's key with acks=all and idempotence, and
answers after the acknowledgement. They do nothing else that ingest does (no ids, no limits, no
metrics). Ours is two `track ingest` processes. All in turn, each started anew, over the same
generator, connections and broker; the ratio is ours to the faster of the two, the median of the
rounds'. What the machine has no compiler for is left out, and said.

Where the target comes from: both are what a team would write who gave up Python for speed.
"""

from __future__ import annotations

from pathlib import Path
from statistics import median

from contracts.topics import Topics
from deploy.local.machine import free_port
from runtime.settings import Settings
from tests.benchmarks.bench import Bench
from tests.benchmarks.figures import Figure, spread
from tests.benchmarks.load_tool import Load, tool_name
from tests.benchmarks.native_build import LANGUAGES, build_service
from tests.benchmarks.programs import answers, run
from tests.benchmarks.single_events import CONNECTIONS, ingest, measure_load

_OURS = "ours"


def measure(bench: Bench) -> list[Figure]:
    """Measure all services in turn."""
    programs = {each.name: build_service(each, bench.say) for each in LANGUAGES}
    native = {name: program for name, program in programs.items() if program is not None}
    if not native:
        return []
    loads: dict[str, list[Load]] = {_OURS: [], **{name: [] for name in native}}
    with bench.namespace() as settings:
        for number in range(1, bench.sizes.http_rounds + 1):
            loads[_OURS].append(_measure_ours(bench, settings))
            for name, program in native.items():
                loads[name].append(_measure_native(bench, settings, name, program))
            rates = ", ".join(f"{name} {each[-1].per_s:,.0f}" for name, each in loads.items())
            bench.say(f"single events, round {number}: {rates} requests/s")
    return _figures(loads)


def _figures(loads: dict[str, list[Load]]) -> list[Figure]:
    ours = [load.per_s for load in loads.pop(_OURS)]
    figures, ratios = [], {}
    for name, each in loads.items():
        rates = [load.per_s for load in each]
        ratios[name] = [mine / other for mine, other in zip(ours, rates, strict=True)]
        p99 = median(load.p99_ms for load in each)
        how = f"bare {name}, one process, p99 {p99:.0f} ms; {spread(rates)}"
        figures.append(Figure(f"http_{name.lower()}_rps", median(rates), how))
    faster = min(ratios, key=lambda name: median(ratios[name]))
    how = f"{tool_name()}, {CONNECTIONS} connections; to {faster}"
    words = "; ".join(f"to {name} {spread(each, 2)}" for name, each in ratios.items())
    return [
        Figure("http_single_vs_native", median(ratios[faster]), f"{how}; {words}"),
        *figures,
    ]


def _measure_ours(bench: Bench, settings: Settings) -> Load:
    with ingest(settings) as serving:
        return measure_load(bench, serving, serving.port, CONNECTIONS)


def _measure_native(bench: Bench, settings: Settings, name: str, program: Path) -> Load:
    port = free_port()
    with run(
        settings.home,
        f"native-{name.lower()}",
        [str(program)],
        lambda: answers(port, "/track", 405),
        KAFKA=settings.kafka,
        TOPIC=Topics.of(settings.namespace).events,
        PORT=str(port),
    ):
        return measure_load(bench, settings, port, CONNECTIONS)
