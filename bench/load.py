"""Processor time per request, in pairs of a contender and what it is compared with, one after the other."""

import random
import re
import statistics
import subprocess
import threading

import calls
from contenders import Haproxy, Nginx, by_hand, everybody, ours
from world import API, HEADERS, SCRIPT, UPLOAD, Failure, note

BODY = b"\x89PNG" + bytes(range(256)) * 19531

# How many ask at a time where connections are counted.
CLIENTS = 4


def with_wrk(contender, path, connections):
    """Requests by wrk, as many as fit into a second; returns how many."""
    command = ["wrk", "-t1", f"-c{connections}", "-d1s"]
    for name, value in HEADERS.items():
        command += ["-H", f"{name}: {value}"]
    done = subprocess.run(
        [*command, f"http://127.0.0.1:{contender.port}{path}"], capture_output=True, text=True
    )
    found = re.search(r"(\d+) requests in ", done.stdout)
    wrong = re.search(r"Non-2xx or 3xx responses: (\d+)", done.stdout)
    if not found or int(found[1]) == 0 or wrong:
        raise Failure(f"{contender.name}: {done.stdout}{done.stderr}")
    return int(found[1])


def uploads(contender, number):
    """Uploads one after the other; returns how many."""
    client = contender.client()
    headers = {**HEADERS, "Content-Type": "application/octet-stream"}
    for _ in range(number):
        client.ask(UPLOAD, BODY, headers)
    client.close()
    return number


LOADS = {
    "api": lambda contender: with_wrk(contender, API, 8),
    "script": lambda contender: with_wrk(contender, SCRIPT, 4),
    "upload": lambda contender: uploads(contender, 15),
}


# Slices of a few milliseconds, for contenders that are near each other.
SLICES = {"api": (None, 4, 40), "script": (SCRIPT, 4, 6), "upload": (UPLOAD, 1, 2)}


class Result:
    """What one contender needs for one kind of request."""

    def __init__(self):
        self.ratios = []
        self.micros = []
        self.connections = None
        self.brk = None
        self.cipher = ""
        self.why_not = None


def one(contender, load):
    """Microseconds of processor time per request."""
    before = contender.process.cpu()
    requests = LOADS[load](contender)
    return (contender.process.cpu() - before) / requests / 1000


def all_ask(contender, clients, number, path=API, body=None):
    """Clients that ask at the same time, so many times each, and end no request early."""
    failed = []

    def ask():
        client = contender.client()
        headers = HEADERS if body is None else {**HEADERS, "Content-Type": "application/octet-stream"}
        try:
            for _ in range(number):
                client.ask(path, body, headers)
        except (Failure, OSError) as failure:
            failed.append(failure)
        client.close()

    threads = [threading.Thread(target=ask) for _ in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failed:
        raise Failure(f"{contender.name}: {failed[0]}")


def measure_near(world, load, rounds):
    """{name: [processor time of a slice by that of the same slice with by-hand.conf, right before or after]}"""
    near = [
        Nginx(world, "hand", by_hand()),
        Nginx(world, "by-hand.conf again", by_hand()),
        Nginx(world, "clerk_proxy", ours()),
        Nginx(world, "clerk_proxy alone", ours(alone=True)),
        *(one for one in [Haproxy(world)] if not one.missing),
    ]
    path, clients, number = SLICES[load]
    body = BODY if load == "upload" else None
    ratios = {one.name: [] for one in near[1:]}

    def took(contender):
        before = contender.process.cpu()
        all_ask(contender, clients, number, path or API, body)
        return contender.process.cpu() - before

    try:
        for contender in near:
            contender.start().warm_up()
            took(contender)
        for number_ in range(rounds):
            if number_ % 20 == 0:
                note(f"{load}: round {number_ + 1} of {rounds}")
            order = random.sample(near, len(near))
            of = {contender.name: took(contender) for contender in order}
            for name, found in ratios.items():
                found.append(of[name] / of["hand"])
    finally:
        for contender in near:
            contender.stop()
    return {name: statistics.quantiles(found, n=4) for name, found in ratios.items()}


def brk(contender, scripts):
    """Calls for more or less heap per script."""
    with calls.counted(contender, only=("brk",)) as found:
        all_ask(contender, CLIENTS, scripts // CLIENTS, SCRIPT)
    return found.get("brk", 0) / scripts


def connections(world, contender, each):
    """Connections to the Frontend API per request."""
    all_ask(contender, CLIENTS, each // 4)
    before = world.accepted()
    all_ask(contender, CLIENTS, each)
    after = world.accepted()
    # The second question was one of each itself.
    return (after[0] - before[0] - 1) / (after[1] - before[1] - 1)


def measure(world, load, rounds, some=None):
    """Results by name of contender; the base is `by-hand.conf` for the small reply, and the same less its
    lines of tuning for the large ones."""
    base = Nginx(world, "base", by_hand(tuned=load == "api"))
    results = {}
    contenders = [one for one in everybody(world) if some is None or one.name in some]
    try:
        base.start()
        base.warm_up()
        started = []
        for contender in contenders:
            result = results[contender.name] = Result()
            try:
                contender.start()
                contender.warm_up()
                client = contender.client()
                result.cipher = client.ask("/__clerk/v1/cipher").decode()
                client.close()
                if load == "upload":
                    uploads(contender, 1)
                started.append((contender, result))
            except (Failure, OSError) as failure:
                result.why_not = str(failure)
                note(f"{contender.name}: {failure}")
                contender.stop()
        one(base, load)
        for number in range(rounds):
            note(f"{load}: round {number + 1} of {rounds}")
            for place, (contender, result) in enumerate(started):
                if (number + place) % 2:
                    theirs = one(base, load)
                mine = one(contender, load)
                if not (number + place) % 2:
                    theirs = one(base, load)
                result.ratios.append(mine / theirs)
                result.micros.append(mine)
        for contender, result in started:
            if load == "api":
                result.connections = connections(world, contender, 1200)
            if load == "script":
                result.brk = brk(contender, 100)
    finally:
        base.stop()
        for contender in contenders:
            contender.stop()
    return results


def cached(text):
    """The configuration with a cache for scripts."""
    zone = "    proxy_cache_path cache keys_zone=clerk:1m;\n"
    return zone + text.replace("clerk_secret_key;", "clerk_secret_key; proxy_cache clerk;")


def measure_cache(world, rounds):
    """([cached by uncached processor time of a script], requests to the Frontend API for 50 cached ones)"""
    plain, kept = Nginx(world, "uncached", ours()), Nginx(world, "cached", cached(ours()))
    _, clients, number = SLICES["script"]
    ratios = []

    def took(nginx):
        before = nginx.process.cpu()
        all_ask(nginx, clients, number, SCRIPT)
        return nginx.process.cpu() - before

    with plain, kept:
        client = kept.client()
        client.ask(SCRIPT)
        before = world.accepted()[1]
        for _ in range(50):
            client.ask(SCRIPT)
        # The second question was a request itself.
        upstream = world.accepted()[1] - before - 1
        client.close()
        for nginx in (plain, kept):
            nginx.warm_up()
            took(nginx)
        for _ in range(rounds):
            of = {nginx.name: took(nginx) for nginx in random.sample((plain, kept), 2)}
            ratios.append(of["cached"] / of["uncached"])
    return ratios, upstream
