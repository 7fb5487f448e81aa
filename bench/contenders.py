"""The proxies that are compared, each configured as its manual says and a production needs."""

import os
import pathlib
import re
import shutil

from world import HERE, ROOT, Client, Failure, Process, answers, until

CONFIGS = HERE / "contenders"
# What DESIGN calls tuning and an expert's configuration may well lack.
TUNING = (
    "proxy_buffer_size",
    "proxy_buffers",
    "proxy_busy_buffers_size",
    "proxy_max_temp_file_size",
    "proxy_request_buffering",
    "client_body_buffer_size",
    "postpone_output",
    "client_header_buffer_size",
)
# What the server around the location needs for a browser's request, with or without a module.
HEADER_BUFFER = "        client_header_buffer_size 4k;\n"


def ours(plain=False, alone=False, status=False):
    """One line in a location, and `alone` nothing beside it; with `status` another location shows what goes on."""
    text = (CONFIGS / "clerk_proxy.conf").read_text()
    if status:
        text = text.replace(HEADER_BUFFER, HEADER_BUFFER + "        location = /status { clerk_proxy_status; }\n")
    if alone:
        text = text.replace(HEADER_BUFFER, "")
    if plain:
        text = text.replace("clerk_secret_key;", "clerk_secret_key upstream=http://frontend-api.clerk.dev;")
    return text


def by_hand(plain=False, regex=True, tuned=True):
    """The `http {}` block of `nginx/by-hand.conf`, with what is asked for changed."""
    _, text = (ROOT / "nginx/by-hand.conf").read_text().split("http {")
    changes = [("127.0.0.1:8080", "127.0.0.1:%PORT%"), ("sk_live_KEY", "%KEY%"), ("app.example", "app.dev")]
    if plain:
        changes += [
            ("frontend-api.clerk.dev:443", "frontend-api.clerk.dev:80"),
            ("https://clerk;", "http://clerk;"),
        ]
    if not regex:
        rewrite = next(line for line in text.splitlines() if line.strip().startswith("rewrite "))
        changes += [(rewrite, ""), ("://clerk;", "://clerk/;")]
    for old, new in changes:
        if old not in text:
            raise Failure(f"by-hand.conf has no {old!r}")
        text = text.replace(old, new)
    if not tuned:
        text, count = re.subn(rf"^ *({'|'.join(TUNING)}) .*\n", "", text, flags=re.MULTILINE)
        if count != len(TUNING):
            raise Failure(f"by-hand.conf has {count} of {len(TUNING)} lines of tuning")
    return text.rstrip().removesuffix("}")


class Contender:
    """A proxy on a port of its own."""

    name = ""
    missing = None

    def __init__(self, world):
        self.world = world
        self.process = None

    def prepare(self):
        """Writes the configuration; returns the command and its environment."""
        raise NotImplementedError

    def write(self, name, text):
        path = self.folder / name
        path.write_text(self.world.fill(text, self.folder, self.port))
        # It has a key.
        path.chmod(0o600)

    def start(self, wrapper=()):
        if self.missing:
            raise Failure(f"{self.name}: {self.missing}")
        self.folder = self.world.make_folder(self.name)
        self.port = self.world.next_port()
        command, env = self.prepare()
        cpu = self.world.proxy_cpu
        self.process = Process([*wrapper, *command], self.folder, cpu, env)
        try:
            until(
                lambda: answers(self.port) or self.process.popen.poll() is not None,
                f"{self.name} to start",
                90,
            )
        finally:
            if self.process.popen.poll() is not None:
                raise Failure(f"{self.name} does not start:\n{self.output()}")
        return self

    def output(self):
        return "".join(log.read_text(errors="replace") for log in self.folder.glob("*.log"))

    def stop(self):
        if self.process:
            self.process.stop()
            self.process = None

    def client(self):
        return Client(self.port)

    def warm_up(self, requests=50):
        """All that happens once has happened."""
        client = self.client()
        for _ in range(requests):
            client.ask()
        client.close()

    def __enter__(self):
        return self if self.process else self.start()

    def __exit__(self, *_):
        self.stop()


class Nginx(Contender):
    """An nginx, with the module where its configuration needs it."""

    top = ""
    program = "nginx"

    def __init__(self, world, name, http, module=None):
        super().__init__(world)
        self.name = name
        self.http = http
        self.module = (module or world.module) if "clerk_proxy " in http else None

    def prepare(self):
        text = (CONFIGS / "nginx.conf").read_text().replace("%HTTP%", self.http)
        text = f"{self.top}\n{text}"
        if self.module:
            text = f"load_module {self.module};\n{text}"
        self.write("nginx.conf", text)
        return [self.program, "-p", str(self.folder), "-c", "nginx.conf", "-e", "error.log"], {}

    def worker(self):
        """The process that answers, once there is one and no more. Caches have processes of their own."""

        def of_requests():
            name = lambda pid: pathlib.Path(f"/proc/{pid}/cmdline").read_bytes()
            found = [pid for pid in self.process.workers() if b"cache" not in name(pid)]
            return found[0] if len(found) == 1 else None

        return until(of_requests, "one worker", 60)


class Haproxy(Contender):
    name = "HAProxy"
    missing = None if shutil.which("haproxy") else "not installed"

    def prepare(self):
        self.write("haproxy.cfg", (CONFIGS / "haproxy.cfg").read_text())
        return ["haproxy", "-W", "-db", "-f", "haproxy.cfg"], {}


class Caddy(Contender):
    name = "Caddy"
    missing = None if shutil.which("caddy") else "not installed"

    def prepare(self):
        self.write("Caddyfile", (CONFIGS / "Caddyfile").read_text())
        return ["caddy", "run", "--config", "Caddyfile", "--adapter", "caddyfile"], {"HOME": str(self.folder)}


class Apache(Contender):
    name = "Apache httpd"
    missing = None if os.path.exists("/usr/sbin/apache2") else "not installed"

    def prepare(self):
        self.write("apache.conf", (CONFIGS / "apache.conf").read_text())
        return ["/usr/sbin/apache2", "-f", f"{self.folder}/apache.conf", "-DFOREGROUND"], {}


class Envoy(Contender):
    name = "Envoy"
    binary = os.environ.get("BENCH_ENVOY", "")
    missing = None if os.path.exists(binary) else "not installed"

    def prepare(self):
        self.write("envoy.yaml", (CONFIGS / "envoy.yaml").read_text())
        return [
            self.binary,
            "-c",
            "envoy.yaml",
            "--concurrency",
            "1",
            "--disable-hot-restart",
            "-l",
            "error",
        ], {}


class ClerkBackend(Contender):
    name = "@clerk/backend"
    modules = os.environ.get("BENCH_NODE", "")
    missing = None if os.path.exists(f"{modules}/node_modules/@clerk/backend") else "not installed"

    def prepare(self):
        self.write("proxy.mjs", (CONFIGS / "node.mjs").read_text())
        os.symlink(pathlib.Path(self.modules) / "node_modules", self.folder / "node_modules")
        env = {
            "PORT": str(self.port),
            "CLERK_SECRET_KEY": "sk_live_" + "KEY",
            "NODE_EXTRA_CA_CERTS": str(self.world.folder / "ca.pem"),
            "NODE_ENV": "production",
        }
        return ["node", "proxy.mjs"], env


def snippet(world):
    return Nginx(world, "Clerk's snippet", (CONFIGS / "snippet.conf").read_text())


def everybody(world):
    """All contenders but the first, which they are compared with."""
    return [
        Nginx(world, "clerk_proxy", ours()),
        Nginx(world, "clerk_proxy alone", ours(alone=True)),
        Nginx(world, "by-hand.conf", by_hand()),
        Nginx(world, "by-hand.conf without rewrite", by_hand(regex=False)),
        Nginx(world, "by-hand.conf without tuning", by_hand(tuned=False)),
        snippet(world),
        *(kind(world) for kind in (Haproxy, Caddy, Apache, Envoy, ClerkBackend)),
    ]
