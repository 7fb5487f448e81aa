// nginx with the location that the README starts with, on a free port of loopback, in a temporary folder.

import { execFileSync, spawn } from "node:child_process";
import { createHash, randomBytes, X509Certificate } from "node:crypto";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { readFile, symlink, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

/** Makes keys and certificates: the application's, and one for the Frontend API by a test authority. */
export async function makeSecrets(folder, host) {
    const openssl = (words) => execFileSync("openssl", words.split(" "), { cwd: folder, stdio: "pipe" });
    const key = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 3";
    openssl(
        `req -x509 ${key} -subj /CN=${host} -addext subjectAltName=DNS:${host} -keyout app.key -out app.pem`,
    );
    openssl(`req -x509 ${key} -subj /CN=authority -keyout ca.key -out ca.pem`);
    openssl(`req -new ${key} -subj /CN=localhost -keyout localhost.key -out localhost.csr`);
    await writeFile(join(folder, "localhost.ext"), "subjectAltName = DNS:localhost\n");
    const by = "-days 3 -CA ca.pem -CAkey ca.key -CAcreateserial -extfile localhost.ext";
    openssl(`x509 -req -in localhost.csr ${by} -out localhost.pem`);
    const secretKey = `sk_live_${randomBytes(20).toString("hex")}`;
    await writeFile(join(folder, "clerk_secret_key"), `${secretKey}\n`, { mode: 0o600 });

    const read = (name) => readFile(join(folder, name));
    const spki = new X509Certificate(await read("app.pem")).publicKey.export({ type: "spki", format: "der" });
    return {
        secretKey,
        spki: createHash("sha256").update(spki).digest("base64"),
        tls: { key: await read("localhost.key"), cert: await read("localhost.pem") },
    };
}

/** A server with the location that the README starts with, and this machine's things in place of the reader's. */
async function configuration({ readme, port, apiPort, location, secretKey }) {
    const text = await readFile(readme, "utf8");
    let block = /^```nginx\n(.*?)^```/ms.exec(text)[1];
    if (location) {
        block = (await readFile(location, "utf8"))
            .replaceAll("https://frontend-api.clerk.dev", `https://localhost:${apiPort}`)
            .replaceAll("frontend-api.clerk.dev", "localhost")
            .replace(/sk_live_[\w*]*/g, secretKey);
    } else {
        const old = "secret_key=file:/etc/nginx/clerk_secret_key;";
        if (block.split(old).length !== 2) throw new Error(`not once in the README's location: ${old}`);
        block = block.replace(
            old,
            `secret_key=file:clerk_secret_key\n        upstream=https://localhost:${apiPort};\n` +
                "    proxy_ssl_trusted_certificate ca.pem;",
        );
    }
    const temp = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map((p) => `${p}_temp_path ${p}_temp;`);
    return `load_module modules/ngx_http_clerk_proxy_module.so;
daemon off;
pid nginx.pid;
error_log error.log info;

events {}

http {
access_log access.log;
${temp.join("\n")}

server {
listen 127.0.0.1:${port} ssl;
server_name app.dev;
ssl_certificate app.pem;
ssl_certificate_key app.key;

${block}}
}
`;
}

async function freePort() {
    const server = createServer().listen(0, "127.0.0.1");
    await once(server, "listening");
    const { port } = server.address();
    server.close();
    await once(server, "close");
    return port;
}

export class Nginx {
    #child;

    constructor(folder) {
        this.folder = folder;
    }

    /** Resolves once nginx has its port. */
    async start({ module, ...options }) {
        const { folder } = this;
        await symlink(module, join(folder, "modules", "ngx_http_clerk_proxy_module.so"));
        for (let attempt = 1; ; attempt++) {
            this.port = await freePort();
            await writeFile(join(folder, "nginx.conf"), await configuration({ ...options, port: this.port }));
            this.#child = spawn("nginx", ["-p", folder, "-c", "nginx.conf", "-e", "error.log"], {
                stdio: "inherit",
            });
            const ended = once(this.#child, "exit");
            while (!existsSync(join(folder, "nginx.pid")) && this.#child.exitCode === null) await sleep(50);
            if (this.#child.exitCode === null) return;
            await ended;
            if (attempt === 5 || !(await this.errors()).includes("Address already in use")) {
                throw new Error("nginx does not start");
            }
        }
    }

    errors() {
        return readFile(join(this.folder, "error.log"), "utf8").catch(() => "");
    }

    async stop() {
        if (!this.#child || this.#child.exitCode !== null || this.#child.signalCode !== null) return;
        const ended = once(this.#child, "exit");
        this.#child.kill("SIGTERM");
        await ended;
    }
}
