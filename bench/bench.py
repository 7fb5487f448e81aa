"""Runs the parts of the benchmark, and writes what they find: tables, a plot, and whether limits are kept."""

import argparse
import os
import pathlib
import platform
import resource
import statistics
import subprocess
import sys
import time

import calls
import first
import heap
import http3
import instructions
import load
import plot
import scale
import uploads
from contenders import Nginx, by_hand, ours
from world import Failure, World, note

HAND = "by-hand.conf"
UNTUNED = f"{HAND} without tuning"
OURS = "clerk_proxy"
ALONE = f"{OURS} alone"


def middle(values):
    return statistics.median(values)


def spread(values):
    return f"{min(values):.2f} to {max(values):.2f}"


class Report:
    """Tables in the order in which they are made."""

    def __init__(self, out):
        self.out = out
        self.gates = []
        self.text = []
        self.bars = []
        self.missed = False

    def gate(self, what, figure, limit, exact, digits=3, unit="", of=""):
        """Notes a figure that must not exceed the limit; one that cannot be noisy decides the exit status."""
        kept = round(figure, digits) <= limit
        self.missed |= exact and not kept
        self.gates.append(
            (
                what,
                f"{figure:,.{digits}f}{unit}",
                f"{limit:,g}{unit}",
                of or ("exact" if exact else ""),
                "ok" if kept else "MISSED",
            )
        )

    def table(self, title, head, rows):
        lines = [f"## {title}", "", f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
        lines += [f"| {' | '.join(map(str, row))} |" for row in rows]
        self.text.append("\n".join(lines) + "\n")

    def say(self, text):
        self.text.append(text + "\n")

    def write(self, intro):
        body, self.text = self.text, []
        if self.gates:
            self.table("Gates", ("gate", "figure", "limit", "spread", ""), self.gates)
        text = "\n".join([intro, *self.text, *body])
        (self.out / "bench.md").write_text(text)
        (self.out / "bench.svg").write_text(plot.draw(self.bars))
        print(text)
        print(f"bench: {self.out}/bench.md, {self.out}/bench.svg")


# Limits over TLS and plain HTTP.
INSTRUCTIONS = {"the least": (1.0, 0.99), "a browser's": (0.88, 0.85), "a script's": (1.01, 1.01)}


def part_instructions(world, report, short):
    kinds = list(instructions.REQUESTS)[1 if short else 0 :]
    figures = instructions.measure(world, report.out, 5 if short else 15, kinds, not short)
    for kind in kinds:
        rows = []
        for name in dict.fromkeys(name for name, of, _ in figures if of == kind and name != "counting"):
            row = [name]
            for way in ("TLS", "plain"):
                figure = figures[name, kind, way]
                row += [f"{figure:,.0f}", f"{figure / figures[HAND, kind, way]:.3f}"]
            rows.append(row)
        report.table(
            f"Instructions per request (user space), {kind}",
            ("", "TLS upstream", "ratio", "plain upstream", "ratio"),
            rows,
        )
    report.say(
        f"Where ours and {HAND} differ, by function: `instructions-TLS-….txt`, `instructions-plain-….txt`."
    )
    for kind in kinds:
        for way, limit in zip(("TLS", "plain"), INSTRUCTIONS[kind]):
            ratio = figures[OURS, kind, way] / figures[HAND, kind, way]
            report.gate(f"instructions of {kind} request, {way} upstream, of {HAND}", ratio, limit, True)
            # A script comes in more or fewer pieces.
            if kind != "a script's":
                more = figures["counting", kind, way]
                report.gate(f"instructions of counting {kind} request, {way} upstream", more, 150, True, 0)


# For contenders that are within a few per cent of each other.
NEAR_ROUNDS = 120
# Whom the short form has time for.
SOME = (OURS, HAND, "HAProxy")
LOADS = {
    "api": ("small API call", HAND, None),
    "upload": ("5 MB upload", UNTUNED, 0.36),
    "script": ("200 KB script", UNTUNED, 0.75),
}


def part_load(kind):
    def part(world, report, short):
        what, base, limit = LOADS[kind]
        results = load.measure(world, kind, 2 if short else 5, SOME if short else None)
        rows = []
        for name, result in results.items():
            if result.why_not:
                rows.append((name, "—", "—", "—", "", result.why_not.splitlines()[0][:100]))
                continue
            seen = f"{result.connections:.4f}" if kind == "api" else ""
            if kind == "script":
                seen = f"{result.brk:.2f}"
            rows.append(
                (
                    name,
                    f"{middle(result.ratios):.2f}",
                    spread(result.ratios),
                    f"{middle(result.micros):,.0f} µs",
                    result.cipher,
                    seen,
                )
            )
            report.bars.append((f"{what}: CPU of {base} = 1", name, middle(result.ratios)))
        report.table(
            f"Processor time per request, {what}",
            (
                "",
                f"of {base}",
                "lowest to highest",
                "here",
                "to the Frontend API",
                {"api": "upstream connections per request", "script": "`brk` per script"}.get(kind, ""),
            ),
            rows,
        )
        mine = results[OURS]
        if mine.why_not:
            raise Failure(mine.why_not)
        if not short:
            near = load.measure_near(world, kind, NEAR_ROUNDS)
            report.table(
                f"Processor time, {what}, {NEAR_ROUNDS} rounds of short slices in random order",
                ("", f"of {HAND}", "half of all between"),
                [(name, f"{at[1]:.2f}", f"{at[0]:.2f} and {at[2]:.2f}") for name, at in near.items()],
            )
        if limit:
            report.gate(
                f"CPU of a {what}, of {base}", middle(mine.ratios), limit, False, 2, of=spread(mine.ratios)
            )
        else:
            report.gate("upstream connections per request", mine.connections, 0.001, True, 4)

    return part


def part_calls(world, report, short):
    found = calls.measure(world, 300 if short else 2000)
    names = sorted(
        {name for one in found.values() for name in one}, key=lambda name: -found[HAND].get(name, 0)
    )
    report.table(
        "System calls per request",
        ("", OURS, ALONE, HAND),
        [(name, *(f"{found[one].get(name, 0):.3f}" for one in (OURS, ALONE, HAND))) for name in names],
    )
    # Timers of ours wake the worker a few times in a minute.
    report.gate(f"system calls per request, {OURS}", sum(found[OURS].values()), 8.05, True, 2)
    report.gate(f"system calls per request, {ALONE}", sum(found[ALONE].values()), 10.05, True, 2)


def part_heap(world, report, short):
    contenders = [Nginx(world, OURS, ours()), Nginx(world, HAND, by_hand())]
    if not short:
        contenders.append(Nginx(world, UNTUNED, by_hand(tuned=False)))
    found = heap.measure(contenders, 100 if short else 200, 2 if short else 7)
    report.table(
        "Memory for 200 KB scripts, 4 connections; of the worker after 64 at once",
        ("", "`brk` per script", "page faults per script", "resident"),
        [(name, f"{brk:.2f}", f"{faults:.1f}", f"{bytes_ / 1e6:.1f} MB") for name, (brk, faults, bytes_) in found.items()],
    )
    brk, faults, bytes_ = found[OURS]
    report.gate("brk per script", brk, 0.1, True, 2)
    report.gate("page faults per script", faults, 1, True, 2)
    if not short:
        # Its heap depends on who came when: by hand it varies by 3 MB from one run to the next.
        report.gate("resident after 64 scripts at once", bytes_ / 1e6, 15.9, False, 1, " MB")


def part_slow(world, report, short):
    cache = "    proxy_cache_path cache keys_zone=clerk:1m;\n"
    kept = "proxy_cache clerk; proxy_cache_valid any 1h; proxy_pass "
    stock = cache + by_hand(tuned=False).replace("proxy_pass ", kept)
    script = world.folder / "standin/npm/script.js"
    script.write_bytes(script.read_bytes() * 15)
    rows = []
    for what, mine, theirs in (
        ("from the Frontend API", ours(), by_hand(tuned=False)),
        ("from a cache", load.cached(ours()), stock),
    ):
        held = [
            heap.stalled(Nginx(world, name, http), 30 if short else 100)
            for name, http in ((f"{OURS} {what}", mine), (f"{UNTUNED} {what}", theirs))
        ]
        rows.append((what, *(f"{bytes_ / 1024:.0f} KB" for bytes_ in held)))
        beyond = (held[0] - held[1]) / 1024
        report.gate(f"held by a client that does not read, {what}, beyond {UNTUNED}", beyond, 96, True, 0, " KB")
    report.table("Memory of a worker that a client holds which does not read 3 MB", ("", OURS, UNTUNED), rows)
    rows = []
    for version in uploads.VERSIONS:
        held = heap.uploading(world, version, 10 if short else 30) / 1024
        rows.append((version, f"{held:.0f} KB"))
        report.gate(f"held by an upload over {version} that the Frontend API does not read", held, 1024, True, 0, " KB")
    report.table("Memory of a worker for an upload of 2 MB that the Frontend API does not read", ("", OURS), rows)


def part_away(world, report, short):
    found = uploads.measure(world, 5, (OURS,) if short else None)
    cases = list(found[OURS])
    report.table(
        "Uploads of a client that is 100 ms away, seconds, best of 5",
        ("", *(f"{megabytes} MB, {version}" for version, megabytes in cases)),
        [(name, *(f"{took[case]:.2f}" for case in cases)) for name, took in found.items()],
    )
    report.gate("10 MB over HTTP/2 from 100 ms away, seconds", found[OURS]["HTTP/2", 10], 0.6, True, 2)
    report.gate("1 MB over HTTP/2 from 100 ms away, seconds", found[OURS]["HTTP/2", 1], 0.25, False, 2)
    report.gate("10 MB over HTTP/1.1 from 100 ms away, seconds", found[OURS]["HTTP/1.1", 10], 0.3, False, 2)


def part_http3(world, report, short):
    if not os.environ["BENCH_HTTP3_NGINX"]:
        report.say("http3: skipped, Debian's nginx has no HTTP/3; name nginx's sources by `--http3 DIR`.")
        return
    found = http3.measure(world, 1 if short else 3)
    report.table(
        f"Uploads of {http3.MEGABYTES} MB over HTTP/3 of a client that is 100 ms away, best of some",
        ("", "seconds"),
        [(name, f"{took:.2f}") for name, took in found.items()],
    )
    report.gate("2 MB over HTTP/3 from 100 ms away, seconds", found[OURS], 2.2, False, 2)


def part_idle(world, report, short):
    found = calls.measure_idle(world, 1 if short else 3)
    report.table(
        "Memory per idle client connection, of 1,000 that have asked once",
        ("", "bytes"),
        [(name, f"{took:,.0f}") for name, took in found.items()],
    )
    # Memory comes in pages.
    report.gate(f"bytes per idle client connection beyond {HAND}", found[OURS] - found[HAND], 64, True, 0)


FIRST = {case: f"first request after {case}" for case in ("start", "reload", "idle")}
FIRST |= {"two": "2 calls after a page's script", "three": "3 calls after those"}


def part_first(world, report, short):
    trip, results = first.measure(world, 1 if short else 3, not short, SOME if short else None)
    cases = ("start", "reload", "idle", "parallel", "script", "two", "three")
    rows = []
    for name, result in results.items():
        rows.append(
            (
                name,
                *(
                    f"{middle(result[case]):.0f} ms ({min(result[case]):.0f})" if result[case] else "—"
                    for case in cases
                ),
                f"{statistics.mean(result['made']):.1f}",
            )
        )
        report.bars.append(("first request after a start, ms", name, middle(result["start"])))
    report.table(
        f"The first request, Frontend API {trip:.1f} ms away: median (best)",
        (
            "",
            "after start",
            "after reload",
            "after idle time",
            "slowest of 8 at once, after start",
            "a page: script",
            "then 2 calls",
            "then 3 calls",
            "connections made by one",
        ),
        rows,
    )
    report.say(
        f"Asked {first.SETTLED} s after start and reload, and {first.KEEPALIVE * 3 // 2} s after the last "
        f"request where the Frontend API closes idle connections after {first.KEEPALIVE} s."
    )
    report.gate("upstream connections made by a first request", max(results[OURS]["made"]), 0, True, 0)
    report.gate("idle connections of a worker without traffic", max(results[OURS]["waiting"]), 2, True, 0)
    report.gate("idle connections of a worker after a page", max(results[OURS]["traffic"]), 4, True, 0)
    # A script's first byte takes one more trip than the far side's first packets have room for.
    for case in (case for case in cases if case not in ("parallel", "script")):
        took = results[OURS][case]
        if took:
            report.gate(
                f"{FIRST.get(case, case)}, ms beyond the round trip",
                middle(took) - trip,
                5,
                False,
                1,
                of=spread([one - trip for one in took]),
            )


def part_scale(world, report, short):
    found = scale.measure(world, 2 if short else 5)
    ours, stock = found["1000 clerk_proxy"], found["1000 stock"]
    units = {
        "start": (1000, "ms"),
        "memory": (1e-6, "MB"),
        "reload": (1000, "ms"),
        "reload memory": (1e-6, "MB"),
    }
    rows = []
    for figure, (factor, unit) in units.items():
        # What waits for a busy machine, or shares its caches, tells nothing.
        ratio = min(ours[figure]) / min(stock[figure])
        ratios = [a / b for a, b in zip(ours[figure], stock[figure])]
        rows.append(
            (figure, *(f"{min(one[figure]) * factor:.0f} {unit}" for one in (ours, stock)), f"{ratio:.2f}")
        )
        memory = "memory" in figure
        report.gate(
            f"1,000 tenants, {figure}, of stock without verification",
            ratio,
            2 if memory else 1.5,
            memory,
            2,
            of="exact" if memory else spread(ratios),
        )
    report.table(
        "1,000 tenants: processor time and memory, the best of the rounds",
        ("", "1,000 clerk_proxy", "1,000 stock, no verification", "ratio"),
        rows,
    )
    if not short:
        mine, theirs = scale.instructions_of_starts(world)
        report.gate("1,000 tenants, instructions of a start, of stock without verification", mine / theirs, 1.5, True, 2)
        one, last = scale.first_and_last(world)
        report.say(f"Instructions per request: {one:,.0f} for the first tenant, {last:,.0f} for the 1,000th.")
        report.gate("instructions per request, 1,000th of 1st tenant", last / one, 1.01, True)


def part_cache(world, report, short):
    ratios, requests = load.measure_cache(world, 10 if short else 60)
    kept, plain = (
        sum(instructions.count(Nginx(world, f"{name} by instructions", http), 3, kind="a script's")[0].values())
        for name, http in (("cached", load.cached(ours())), ("uncached", ours()))
    )
    low, half, high = statistics.quantiles(ratios, n=4)
    report.say(
        f"A 200 KB script from nginx's cache (`proxy_cache` beside `clerk_proxy`) takes {half:.2f} of the processor "
        f"time of one that is not cached (half of {len(ratios)} rounds between {low:.2f} and {high:.2f}), and "
        f"{kept:,.0f} instructions in user space instead of {plain:,.0f}; the Frontend API got {requests} requests "
        "for 50 of them."
    )
    report.gate("instructions of a cached 200 KB script, of an uncached one", kept / plain, 0.10, True, 2)
    report.gate("upstream requests for a cached script", requests, 0, True, 0)


PARTS = {
    "instructions": (part_instructions, "instructions per request, by callgrind"),
    "api": (part_load("api"), "processor time of a small API call, all contenders; upstream connections"),
    "upload": (part_load("upload"), "processor time of a 5 MB upload"),
    "script": (part_load("script"), "processor time of a 200 KB script"),
    "syscalls": (part_calls, "system calls per request"),
    "heap": (part_heap, "memory for scripts: calls for it, page faults, what stays"),
    "slow": (part_slow, "memory that a client holds which does not read"),
    "away": (part_away, "uploads over HTTP/2 of a client that is 100 ms away"),
    "http3": (part_http3, "the same over HTTP/3, with --http3"),
    "idle": (part_idle, "memory per idle client connection"),
    "warm": (part_first, "the first request after start, reload and idle time, 20 ms away"),
    "scale": (part_scale, "1,000 tenants in one configuration"),
    "cache": (part_cache, "processor time of a 200 KB script from nginx's cache"),
}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--folder", required=True)
    parser.add_argument("--module", required=True)
    parser.add_argument("--out", required=True)
    parser.add_argument("--short", action="store_true")
    parser.add_argument("parts", nargs="*", metavar="PART")
    args = parser.parse_args()
    if unknown := [part for part in args.parts if part not in PARTS]:
        raise Failure(f"no such part: {' '.join(unknown)}, see --list")
    out = pathlib.Path(args.out)
    out.mkdir(parents=True, exist_ok=True)
    report = Report(out)
    began = time.monotonic()
    failed = []
    world = World(args.folder, args.module)
    try:
        for name in args.parts or PARTS:
            note(f"{name} …")
            world.start_standin()
            try:
                PARTS[name][0](world, report, args.short)
            except Failure as failure:
                note(f"{name}: {failure}")
                report.say(f"{name}: not measured, {failure}")
                failed.append(name)
    finally:
        world.close()
    nginx = subprocess.run(["nginx", "-v"], capture_output=True, text=True).stderr.strip()
    used = sum(sum(resource.getrusage(who)[:2]) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    words = " ".join(["scripts/bench", *(["--short"] if args.short else []), *args.parts])
    report.write(
        f"# Benchmark\n\n`{words}`, {nginx}, Linux {platform.release()}, {os.cpu_count()} processors, load "
        f"{os.getloadavg()[0]:.1f}, {time.monotonic() - began:.0f} s, {used:.0f} s of them on a processor. Ratios are "
        "medians of pairs, one right after the other; times of one machine say nothing about another.\n"
    )
    if failed:
        raise Failure(f"not measured: {', '.join(failed)}")
    sys.exit(1 if report.missed else 0)


if __name__ == "__main__":
    try:
        main()
    except Failure as failure:
        sys.exit(f"bench: {failure}")
