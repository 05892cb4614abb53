"""Calls of the catalog from many connections, in a process of its own, so that the server is timed and not its client.

Requests and answers stay bytes: parsing them would cost this process more than the server takes for them.

*Open*: calls start at random moments (a Poisson process) at a stated rate, whether or not earlier ones were answered,
and each is timed from the moment at which it was due, so that a wait for this process counts too. *Closed*: each
connection asks again as soon as it was answered, which is the most that the server can do.

Run by bench/catalog.py: the first line of stdin is a JSON document with ``address`` and ``connections``, each further
one a phase, which is answered by a line of JSON.
"""

from __future__ import annotations

import asyncio
import json
import random
import resource
import sys
import time
from typing import Any

import grpc
import numpy as np

from seedzoo_protos.v1 import catalog_pb2

SERVICE = f"/{catalog_pb2.DESCRIPTOR.services_by_name['CatalogService'].full_name}/"
WARM_UP_S = 1.0


def requests(phase: dict[str, Any]) -> list[bytes]:
    """The requests of a phase, serialised, in the order in which they are sent."""
    kind = catalog_pb2.DESCRIPTOR.services_by_name["CatalogService"].methods_by_name[phase["method"]].input_type
    message = getattr(catalog_pb2, kind.name)
    return [message(**fields).SerializeToString() for fields in phase["requests"]]


class Load:
    """Connections to a server, each with a channel of its own.

    Args:
        address: Host and port.
        connections: How many.
    """

    def __init__(self, address: str, connections: int) -> None:
        options = [("grpc.use_local_subchannel_pool", 1), ("grpc.max_receive_message_length", 64 << 20)]
        self._channels = [grpc.aio.insecure_channel(address, options=options) for _ in range(connections)]

    async def close(self) -> None:
        """Close all connections."""
        await asyncio.gather(*(channel.close() for channel in self._channels))

    async def run(self, phase: dict[str, Any]) -> dict[str, Any]:
        """What came of a phase: latencies in ms, and calls a second."""
        await asyncio.gather(*(channel.channel_ready() for channel in self._channels))
        methods: list[Any] = [channel.unary_unary(SERVICE + phase["method"]) for channel in self._channels]
        calls = requests(phase)
        cpu, started = _cpu_s(), time.perf_counter()
        if phase["rate"] is None:
            seconds = await self._closed(methods, calls)
        else:
            seconds = await self._open(methods, calls, phase["rate"], in_turn=phase["in_turn"])
        took = time.perf_counter() - started
        p50, p99, most = np.percentile(seconds, [50, 99, 100])
        return {
            "calls": len(seconds),
            "rate": phase["rate"],
            "calls_per_s": round(len(seconds) / took, 1),
            "p50_ms": round(1000 * p50, 1),
            "p99_ms": round(1000 * p99, 1),
            "max_ms": round(1000 * most, 1),
            "client_cpu": round((_cpu_s() - cpu) / took, 2),
        }

    async def _open(self, methods: list[Any], calls: list[bytes], rate: float, *, in_turn: bool) -> list[float]:
        rng = random.Random(0)
        due = time.perf_counter()
        tasks, warm = [], 0 if in_turn else round(rate * WARM_UP_S)
        for number, call in enumerate(calls):
            due += rng.expovariate(rate)
            while (early := due - time.perf_counter()) > 0:
                await asyncio.sleep(early)
            tasks.append(asyncio.create_task(_timed(methods[number % len(methods)], call, due)))
        return (await asyncio.gather(*tasks))[warm:]

    async def _closed(self, methods: list[Any], calls: list[bytes]) -> list[float]:
        waiting, seconds = iter(calls), []

        async def one(method: Any) -> None:
            for call in waiting:
                seconds.append(await _timed(method, call, time.perf_counter()))

        await asyncio.gather(*map(one, methods))
        return seconds


async def _timed(method: Any, call: bytes, due: float) -> float:
    await method(call, timeout=120)
    return time.perf_counter() - due


def _cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


async def _main() -> None:
    load = Load(**json.loads(sys.stdin.readline()))
    try:
        while line := await asyncio.to_thread(sys.stdin.readline):
            print(json.dumps(await load.run(json.loads(line))), flush=True)
    finally:
        await load.close()


if __name__ == "__main__":
    asyncio.run(_main())
