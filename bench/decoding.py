"""Images a second by threads and by processes, in one run: what it costs that users' images cannot harm the server.

    python bench/decoding.py [--quick] [--rounds 5] [--out build/bench/decoding.json]

Images of noise of 28 x 28 (PNG) and 224 x 224 pixels (JPEG), blocks of 512 as in a selection. CPU counts both sides.
"""

from __future__ import annotations

import argparse
import io
import os
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median

import numpy as np
from common import write_results
from PIL import Image

from seedzoo.inference.decoding import Decoder, ThreadDecoder
from seedzoo.inference.decoding_processes import ProcessDecoder
from seedzoo.records import Preprocessing

BLOCK, DIFFERENT, BLOCKS = 512, 16, 4


def files(side: int, kind: str, channels: int) -> list[bytes]:
    chance = np.random.default_rng(0)
    found = []
    for _ in range(DIFFERENT):
        noise = chance.integers(0, 256, (28, 28, 3), dtype=np.uint8)
        image = Image.fromarray(noise).resize((side, side), Image.Resampling.BICUBIC)
        buffer = io.BytesIO()
        image.convert("L" if channels == 1 else "RGB").save(buffer, format=kind)
        found.append(buffer.getvalue())
    return found * (BLOCK // DIFFERENT)


def cpu_seconds(pids: Sequence[int]) -> float:
    found = sum(os.times()[:2])
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        found += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="One round of one block; tells nothing.")
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    rounds, blocks = (1, 1) if given.quick else (given.rounds, BLOCKS)
    found: dict[str, dict[str, dict[str, float]]] = {}
    processes = ProcessDecoder()
    decoders: dict[str, Decoder] = {"threads": ThreadDecoder(), "processes": processes}
    print("| images | by | images/s | CPU µs an image |\n|---|---|---|---|")
    for side, kind, channels in ((28, "PNG", 1), (224, "JPEG", 3)):
        contents, task = files(side, kind, channels), Preprocessing(side, side, channels)
        rates: dict[str, list[float]] = {name: [] for name in decoders}
        costs: dict[str, list[float]] = {name: [] for name in decoders}
        for number in range(rounds + 1):
            for name, decoder in decoders.items():
                spent, began = cpu_seconds(processes.pids), time.perf_counter()
                for _ in range(blocks):
                    decoder.decode(contents, task, max_pixels=10_000_000)
                seconds, spent = time.perf_counter() - began, cpu_seconds(processes.pids) - spent
                if number:  # the first round starts the processes
                    rates[name].append(blocks * BLOCK / seconds)
                    costs[name].append(1e6 * spent / (blocks * BLOCK))
        found[f"{side} x {side} {kind}"] = told = {
            name: {"images_per_s": median(rates[name]), "cpu_us_per_image": median(costs[name])} for name in decoders
        }
        for name, one in told.items():
            cells = f"{one['images_per_s']:,.0f} | {one['cpu_us_per_image']:,.0f}"
            print(f"| {side} x {side} {kind} | {name} | {cells} |")
    for decoder in decoders.values():
        decoder.close()
    write_results(found, __file__, given.out, quick=given.quick)


if __name__ == "__main__":
    main()
