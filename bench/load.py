"""Processor time per request, in pairs of a contender and what it is compared with, one after the other."""

import re
import subprocess

from contenders import Nginx, by_hand, everybody, ours
from world import API, HEADERS, SCRIPT, UPLOAD, Failure, note

BODY = b"\x89PNG" + bytes(range(256)) * 19531


def with_wrk(contender, path, connections, seconds):
    """Requests by wrk, as many as fit; returns how many."""
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s"]
    for name, value in HEADERS.items():
        command += ["-H", f"{name}: {value}"]
    done = subprocess.run([*command, f"http://127.0.0.1:{contender.port}{path}"], capture_output=True, text=True)
    found = re.search(r"(\d+) requests in ", done.stdout)
    wrong = re.search(r"Non-2xx or 3xx responses: (\d+)", done.stdout)
    if not found or int(found[1]) == 0 or wrong:
        raise Failure(f"{contender.name}: {done.stdout}{done.stderr}")
    return int(found[1])


def uploads(contender, number):
    client = contender.client()
    headers = {**HEADERS, "Content-Type": "application/octet-stream"}
    for _ in range(number):
        client.ask(UPLOAD, BODY, headers)
    client.close()
    return number


LOADS = {
    "api": lambda contender, seconds: with_wrk(contender, API, 8, seconds),
    "script": lambda contender, seconds: with_wrk(contender, SCRIPT, 4, seconds),
    "upload": lambda contender, seconds: uploads(contender, 15 * seconds),
}


class Result:
    """What one contender needs for one kind of request."""

    def __init__(self):
        self.ratios = []
        self.micros = []
        # Of the rounds after the first, in which as many are made as there are requests at a time.
        self.connections = 0
        self.requests = 0
        self.why_not = None


def one(contender, load, seconds):
    """Microseconds of processor time per request."""
    before = contender.process.cpu()
    requests = LOADS[load](contender, seconds)
    return (contender.process.cpu() - before) / requests / 1000, requests


def measure(world, load, rounds, seconds, some=None):
    """Results by name of contender; the base is `by-hand.conf` for the small reply, and the same less its lines of
    tuning for the large ones."""
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
                if load == "upload":
                    uploads(contender, 1)
                started.append((contender, result))
            except (Failure, OSError) as failure:
                result.why_not = str(failure)
                note(f"{contender.name}: {failure}")
                contender.stop()
        one(base, load, 1)
        for number in range(rounds):
            note(f"{load}: round {number + 1} of {rounds}")
            for place, (contender, result) in enumerate(started):
                if (number + place) % 2:
                    theirs, _ = one(base, load, seconds)
                accepted = world.accepted()[0]
                mine, requests = one(contender, load, seconds)
                if number:
                    # The question itself is one.
                    result.connections += world.accepted()[0] - accepted - 1
                    result.requests += requests
                if not (number + place) % 2:
                    theirs, _ = one(base, load, seconds)
                result.ratios.append(mine / theirs)
                result.micros.append(mine)
    finally:
        base.stop()
        for contender in contenders:
            contender.stop()
    return results


def measure_cache(world, rounds):
    """([cached by uncached processor time of a script], requests that the Frontend API got for cached ones)"""
    plain = Nginx(world, "uncached", ours())
    zone = "    proxy_cache_path cache keys_zone=clerk:1m;\n"
    cached = Nginx(world, "cached", zone + ours().replace("clerk_secret_key;", "clerk_secret_key; proxy_cache clerk;"))
    ratios = []
    upstream = 0
    with plain, cached:
        for nginx in (plain, cached):
            nginx.warm_up()
            one(nginx, "script", 1)
        for number in range(rounds):
            note(f"cache: round {number + 1} of {rounds}")
            before = world.accepted()[1]
            mine, _ = one(cached, "script", 1)
            # The two questions are requests too.
            upstream += world.accepted()[1] - before - 1
            ratios.append(mine / one(plain, "script", 1)[0])
    return ratios, upstream
