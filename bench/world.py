"""The world that is measured: a stand-in of the Frontend API, the proxies, and what they cost.

Runs in namespaces of its own (see scripts/bench): frontend-api.clerk.dev is an address of the loopback, port
443 is free, the system's bundle of certificates has one more authority, and no process outlives this one.
"""

import http.client
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent
HOST = "frontend-api.clerk.dev"
BUNDLE = "/etc/ssl/certs/ca-certificates.crt"
NEAR = "127.0.0.2"
STATUS = "127.0.0.3"
KEY = "sk_live_" + "KEY"

# What Chrome sends with clerk-js's most common request, the cookies of a signed-in user among it.
TOKEN = "eyJhbGciOiJSUzI1NiIsImtpZCI6Imluc18yIn0." + "a0" * 150 + "." + "b1" * 171
API = "/__clerk/v1/client?__clerk_api_version=2025-11-10&_clerk_js_version=6.40.0"
SMALL = "/__clerk/v1/small"
SCRIPT = "/__clerk/npm/@clerk/clerk-js@6.40.0/dist/clerk.browser.js"
UPLOAD = "/__clerk/v1/me/profile_image?__clerk_api_version=2025-11-10&_clerk_session_id=sess_1"
HEADERS = {
    "Host": "app.dev",
    "sec-ch-ua-platform": '"macOS"',
    "User-Agent": "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/537.36 (KHTML, like Gecko) "
    "Chrome/140.0.0.0 Safari/537.36",
    "sec-ch-ua": '"Chromium";v="140", "Not=A?Brand";v="24", "Google Chrome";v="140"',
    "sec-ch-ua-mobile": "?0",
    "Accept": "*/*",
    "Sec-Fetch-Site": "same-origin",
    "Sec-Fetch-Mode": "cors",
    "Sec-Fetch-Dest": "empty",
    "Referer": "https://app.dev/dashboard",
    "Accept-Encoding": "gzip, deflate, br, zstd",
    "Accept-Language": "en-GB,en;q=0.9",
    "Cookie": f"__client_uat=1767225600; __client_uat_Xy3kQ2pA=1767225600; __client={TOKEN}; "
    f"clerk_active_context=sess_1:; __session={TOKEN}; __session_Xy3kQ2pA={TOKEN}",
}


class Failure(Exception):
    """Something that a person has to know, and no defect of this program."""


def note(text):
    print(f"bench: {text}", file=sys.stderr, flush=True)


def until(condition, what, seconds=20.0):
    """Waits for a condition, and returns what it answered."""
    end = time.monotonic() + seconds
    while not (value := condition()):
        if time.monotonic() > end:
            raise Failure(f"waited in vain for {what}")
        time.sleep(0.01)
    return value


def tree(pid):
    """A process and all below it."""
    found = [pid]
    for one in found:
        for task in pathlib.Path(f"/proc/{one}/task").glob("*/children"):
            try:
                found += map(int, task.read_text().split())
            except OSError:
                pass  # it has just ended
    return found


class Process:
    """A program that runs until it is stopped."""

    def __init__(self, command, folder, cpu=None, env=None):
        self.log = open(folder / "output.log", "ab")
        pin = (lambda: os.sched_setaffinity(0, {cpu})) if cpu is not None else None
        self.popen = subprocess.Popen(
            command,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=self.log,
            stderr=self.log,
            start_new_session=True,
            preexec_fn=pin,
            env={**os.environ, **(env or {})},
        )
        self.pid = self.popen.pid

    def workers(self):
        return tree(self.pid)[1:] or [self.pid]

    def cpu(self):
        """Nanoseconds on a processor, of all its threads."""
        total = 0
        for pid in tree(self.pid):
            for task in pathlib.Path(f"/proc/{pid}/task").glob("*/schedstat"):
                try:
                    total += int(task.read_text().split()[0])
                except OSError:
                    pass
        return total

    def memory(self, field="Pss"):
        """Bytes, of all its processes."""
        total = 0
        for pid in tree(self.pid):
            try:
                lines = pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
            except OSError:
                continue
            total += sum(int(line.split()[1]) for line in lines if line.startswith(f"{field}:")) * 1024
        return total

    def signal(self, number):
        os.kill(self.pid, number)

    def stop(self):
        everybody = tree(self.pid)
        if self.popen.poll() is None:
            self.signal(signal.SIGTERM)
            try:
                self.popen.wait(5)
            except subprocess.TimeoutExpired:
                pass
        for pid in everybody:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        self.popen.wait()
        self.log.close()


class World:
    """Addresses, certificates, the stand-in and the folder of everything."""

    def __init__(self, folder, module):
        self.folder = pathlib.Path(folder)
        self.module = module
        self.port = 8000
        cpus = sorted(os.sched_getaffinity(0))
        # The proxies have a processor of their own where there are two.
        self.proxy_cpu = cpus[-1] if len(cpus) > 1 else None
        self.other_cpu = cpus[0] if len(cpus) > 1 else None
        if self.other_cpu is not None:
            os.sched_setaffinity(0, {self.other_cpu})
        run(["ip", "link", "set", "lo", "up"])
        # What a network has; the loopback's own 65536 would measure an artefact.
        run(["ip", "link", "set", "lo", "mtu", "1500"])
        # A proxy that opens a connection for each request runs out of ports otherwise.
        pathlib.Path("/proc/sys/net/ipv4/ip_local_port_range").write_text("10000 65000")
        self.hosts = self.folder / "hosts"
        self.locate(NEAR)
        run(["mount", "--bind", self.hosts, "/etc/hosts"])
        self.make_certificates()
        self.standin = None

    def locate(self, address):
        """Gives the Frontend API an address."""
        self.hosts.write_text(f"127.0.0.1 localhost\n{address} {HOST}\n")

    def make_certificates(self):
        new = ["openssl", "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
        ext = self.folder / "server.ext"
        ext.write_text(f"subjectAltName = DNS:{HOST}\n")
        run(
            [
                *new,
                "-x509",
                "-days",
                "3",
                "-subj",
                "/CN=Authority of a benchmark",
                "-keyout",
                "ca.key",
                "-out",
                "ca.pem",
            ],
            self.folder,
        )
        run([*new, "-subj", f"/CN={HOST}", "-keyout", "server.key", "-out", "server.csr"], self.folder)
        run(
            [
                "openssl",
                "x509",
                "-req",
                "-days",
                "3",
                "-in",
                "server.csr",
                "-CA",
                "ca.pem",
                "-CAkey",
                "ca.key",
                "-CAcreateserial",
                "-extfile",
                ext,
                "-out",
                "server.pem",
            ],
            self.folder,
        )
        bundle = self.folder / "bundle.pem"
        bundle.write_bytes(pathlib.Path(BUNDLE).read_bytes() + (self.folder / "ca.pem").read_bytes())
        run(["mount", "--bind", bundle, BUNDLE])

    def make_folder(self, name):
        folder = self.folder / name.replace(" ", "-").replace("/", "-")
        shutil.rmtree(folder, ignore_errors=True)
        (folder / "temp").mkdir(parents=True)
        (folder / "clerk_secret_key").write_text(KEY + "\n")
        (folder / "clerk_secret_key").chmod(0o600)
        return folder

    def fill(self, text, folder, port):
        for name, value in (
            ("PORT", port),
            ("DIR", folder),
            ("KEY", KEY),
            ("CA", BUNDLE),
            ("MODULE", self.module),
            ("NODE", os.environ.get("BENCH_NODE", "")),
            ("HERE", HERE),
        ):
            text = text.replace(f"%{name}%", str(value))
        return text

    def next_port(self):
        self.port += 1
        return self.port

    def start_standin(self, keepalive="1h"):
        """Starts the stand-in of the Frontend API, once more if need be."""
        if self.standin:
            self.standin.stop()
        folder = self.make_folder("standin")
        (folder / "npm").mkdir()
        line = b"".join(b"function f%d(a,b){return a&&b.c%d(a)}" % (i, i) for i in range(1000))
        (folder / "npm/script.js").write_bytes((line * 8)[:200_000])
        text = self.fill((HERE / "standin.conf").read_text(), folder, 0)
        text = text.replace("%KEEPALIVE%", keepalive).replace("%TOKEN%", TOKEN)
        (folder / "nginx.conf").write_text(text)
        self.standin = Process(
            ["nginx", "-p", folder, "-c", "nginx.conf", "-e", "error.log"], folder, self.other_cpu
        )
        until(lambda: answers(443, STATUS), "the stand-in")

    def accepted(self):
        """How many connections the stand-in has had, and how many requests."""
        connection = http.client.HTTPConnection(STATUS, 8080)
        connection.request("GET", "/")
        words = connection.getresponse().read().split()
        connection.close()
        accepted, _, requests = map(int, words[words.index(b"requests") + 1 :][:3])
        return accepted, requests

    def close(self):
        if self.standin:
            self.standin.stop()


def run(command, folder=None):
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    if done.returncode:
        raise Failure(f"{' '.join(map(str, command))}: {done.stderr.strip()}")
    return done.stdout


def answers(port, host="127.0.0.1"):
    try:
        socket.create_connection((host, port), 1).close()
        return True
    except OSError:
        return False


class Client:
    """One connection of a client, which asks for one thing after the other."""

    def __init__(self, port):
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)

    def ask(self, path=API, body=None, headers=HEADERS):
        """Sends a request, reads the reply, and returns its body."""
        self.connection.request("GET" if body is None else "POST", path, body, headers)
        reply = self.connection.getresponse()
        text = reply.read()
        if reply.status != 200:
            raise Failure(f"answers {reply.status} to {path.partition('?')[0]}")
        return text

    def close(self):
        self.connection.close()
