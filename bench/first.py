"""The first request after a start, a reload and a long idle time, with the Frontend API 20 ms away."""

import os
import pathlib
import signal
import socket
import statistics
import sys
import threading
import time

from contenders import Apache, Haproxy, Nginx, everybody
from world import API, HEADERS, HERE, NEAR as LOOPBACK, SCRIPT, Failure, Process, answers, note, until

FAR = "10.77.0.2"
CASES = ("start", "reload", "idle", "parallel", "made", "script", "two", "three", "waiting", "traffic")
# How long a contender has had nothing to do before it is asked, in seconds.
SETTLED = 1.5
# After this the stand-in closes an idle connection; the next request comes half as much later.
KEEPALIVE = 30


# What a page does: its script, and so many seconds later so many calls at once.
PAGE = (("script", 1, 0.15), ("two", 2, 0.1), ("three", 3, 0))


def milliseconds(contender, path=API):
    """How long the first byte of a reply takes."""
    client = contender.client()
    client.connection.connect()
    began = time.perf_counter()
    client.connection.request("GET", path, headers=HEADERS)
    reply = client.connection.getresponse()
    took = (time.perf_counter() - began) * 1000
    reply.read()
    client.close()
    if reply.status != 200:
        raise Failure(f"{contender.name} answers {reply.status}")
    return took


def first_request(contender, result, case):
    """Asks, and notes how long it took and how many connections were made for it."""
    before = contender.world.accepted()[0]
    result[case].append(milliseconds(contender))
    # The question itself is one.
    result["made"].append(contender.world.accepted()[0] - before - 1)


def in_parallel(contender, number=8, path=API):
    """The slowest of requests that begin at once."""
    took = []
    ask = lambda: took.append(milliseconds(contender, path))
    threads = [threading.Thread(target=ask) for _ in range(number)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if len(took) < number:
        raise Failure(f"{contender.name}: {number - len(took)} of {number} requests failed")
    return max(took)


def idle_connections():
    """Connections to the Frontend API that wait, of all that runs here."""
    # 01BB is port 443, 01 an established connection.
    lines = pathlib.Path("/proc/net/tcp").read_text().splitlines()[1:]
    return sum(words[2].endswith(":01BB") and words[3] == "01" for words in map(str.split, lines))


def page(contender, result):
    """What a page waits for, once a contender has settled."""
    for case, number, then in PAGE:
        path = SCRIPT if case == "script" else API
        result[case].append(in_parallel(contender, number, path))
        time.sleep(then)


def reload(contender):
    """Has it take a new configuration; False if it has no such thing here."""
    before = contender.process.workers()
    if isinstance(contender, Nginx):
        contender.process.signal(signal.SIGHUP)
    elif isinstance(contender, Haproxy):
        contender.process.signal(signal.SIGUSR2)
    elif isinstance(contender, Apache):
        contender.process.signal(signal.SIGUSR1)
    else:
        return False
    until(lambda: not set(before) & set(contender.process.workers()), f"{contender.name} to reload")
    return True


def round_trip():
    """What the network takes, measured: a connection is one round trip."""
    took = []
    for _ in range(15):
        began = time.perf_counter()
        socket.create_connection((FAR, 443)).close()
        took.append((time.perf_counter() - began) * 1000)
    return statistics.median(took)


def measure(world, rounds, idle, some=None):
    """(round trip, {name: {case: milliseconds, …}}); `idle` has idle connections end as well."""
    if not os.path.exists("/dev/net/tun"):
        raise Failure("first: this machine has no /dev/net/tun")
    try:
        # What waits for a busy machine would tell nothing; all of these do next to nothing.
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
    except PermissionError:
        pass
    world.start_standin(f"{KEEPALIVE}s" if idle else "1h")
    folder = world.make_folder("delay")
    far = Process([sys.executable, HERE / "delay.py"], folder, world.other_cpu)
    contenders = [one for one in everybody(world) if not one.missing and (some is None or one.name in some)]
    results = {
        one.name: {case: [] for case in CASES} for one in contenders
    }
    world.locate(FAR)
    try:
        until(lambda: answers(443, FAR), "the network")
        trip = round_trip()
        for number in range(rounds):
            for contender in contenders:
                note(f"first: round {number + 1} of {rounds}, {contender.name}")
                result = results[contender.name]
                with contender:
                    time.sleep(SETTLED)
                    first_request(contender, result, "start")
                    if reload(contender):
                        time.sleep(SETTLED)
                        first_request(contender, result, "reload")
                with contender:
                    time.sleep(SETTLED)
                    result["parallel"].append(in_parallel(contender))
                with contender:
                    time.sleep(SETTLED)
                    result["waiting"].append(idle_connections())
                    page(contender, result)
                    time.sleep(SETTLED)
                    result["traffic"].append(idle_connections())
        if idle:
            for contender in contenders:
                contender.start().warm_up(1)
            note(f"first: idle for {KEEPALIVE * 3 // 2} s")
            time.sleep(KEEPALIVE * 1.5)
            for contender in contenders:
                first_request(contender, results[contender.name], "idle")
    finally:
        for contender in contenders:
            contender.stop()
        far.stop()
        world.locate(LOOPBACK)
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
        world.start_standin()
    return trip, results
