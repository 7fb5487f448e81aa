// Runs the scenarios: the real clerk-js in Chromium, nginx with the module, a stand-in of the Frontend API.
// scripts/browser-test starts it.

import assert from "node:assert/strict";
import { chmod, mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { application, HOST, ORIGIN, PROXY_URL, PUBLISHABLE_KEY } from "./application.mjs";
import { Chromium, within } from "./chromium.mjs";
import { FrontendApi } from "./frontend_api.mjs";
import { makeSecrets, Nginx } from "./nginx.mjs";
import { scenarios } from "./scenarios.mjs";

const { MODULE: module, CLERK_JS: clerkJs, SCREENSHOTS: screenshots, LOCATION: location } = process.env;

/** What holds for every scenario. */
async function audit({ page, api, nginx, secretKey, fails }) {
    await page.settled();
    const requests = page.requests.filter((r) => !/^(data|blob):/.test(r.url));
    for (const { url, method, type, status, headers, mime, body, from, failed } of requests) {
        const what = `${method} ${url}: ${status ?? failed}`;
        assert.equal(new URL(url).origin, ORIGIN, what);
        if (status === undefined) continue;
        assert.equal(from, `127.0.0.1:${nginx.port}`, what);
        // Clerk's edge says these of its own host.
        assert.equal(headers["alt-svc"], undefined, what);
        assert.equal(headers["strict-transport-security"], undefined, what);
        if (status < 400) continue;
        assert.ok(url.startsWith(`${PROXY_URL}/`) && fails.includes(status), what);
        assert.equal(mime, "application/json", what);
        // Chromium keeps no body of a script with such a status.
        if (type === "Script") continue;
        const [error] = JSON.parse(body).errors;
        assert.ok(error.code && error.message && error.long_message, `${what}: ${body}`);
    }
    const statuses = new Set(requests.map((r) => r.status));
    for (const status of fails) assert.ok(statuses.has(status), `nothing failed with ${status}`);
    const bad = page.console.filter((line) => /SyntaxError|^uncaught/.test(line));
    assert.deepEqual(bad, [], "the console of the page");
    assert.deepEqual(api.violations, [], "the contract of the proxy");
    assert.ok(!JSON.stringify(requests).includes(secretKey), "the key is in a reply");
}

async function screenshot(page, name) {
    const file = join(screenshots, `${name.replace(/\W+/g, "-")}.png`);
    await writeFile(file, await page.screenshot());
    return file;
}

/** Runs one scenario in a fresh page; true if all is well. */
async function passes({ name, fails, run }, { chromium, api, nginx, ...more }) {
    Object.assign(api, { requests: [], violations: [], silent: () => false, instead: () => undefined });
    const logged = (await nginx.errors()).length;
    const page = await chromium.page();
    const context = { page, api, nginx, fails, ...more };
    let error;
    try {
        await within(90, name, run(context));
        await audit(context);
        console.log(`ok    ${name}`);
    } catch (e) {
        error = e;
        console.log(`FAIL  ${name}`);
        const requests = page.requests.map((r) => `${r.method} ${r.url} ${r.status ?? r.failed ?? ""}`);
        const log = (await nginx.errors()).slice(logged);
        const shot = await screenshot(page, name).catch((e) => e.message);
        console.error(
            [error.stack, "console of the page:", ...page.console, "requests of the page:", ...requests]
                .concat("nginx's error log:", log, `screenshot: ${shot}\n`)
                .join("\n"),
        );
    }
    await page.close();
    await api.start();
    return !error;
}

/** What nginx wrote in all scenarios. */
async function logsAreClean(nginx, secretKey) {
    const log = await nginx.errors();
    const bad = log.split("\n").filter((line) => /\[(crit|alert|emerg)\]/.test(line));
    if ((log + (await readFile(join(nginx.folder, "access.log")))).includes(secretKey)) bad.push("the key");
    console.log(`${bad.length ? "FAIL" : "ok  "}  nginx logs no fault of its own and no key`);
    if (bad.length) console.error(bad.join("\n"));
    return !bad.length;
}

/** Gives the number of what passed and failed; `atEnd` takes what has to be stopped. */
async function main(folder, atEnd) {
    await chmod(folder, 0o755);
    for (const name of ["modules", "html", "chromium"]) await mkdir(join(folder, name));
    await writeFile(join(folder, "html", "index.html"), application(PROXY_URL));
    await writeFile(join(folder, "html", "slash.html"), application(`${PROXY_URL}/`));
    const { tls, secretKey, spki } = await makeSecrets(folder, HOST);
    const { version } = JSON.parse(await readFile(join(clerkJs, "package.json")));

    const instance = { proxyUrl: PROXY_URL, secretKey, publishableKey: PUBLISHABLE_KEY };
    const api = new FrontendApi({ tls, clerkJs, version, ...instance });
    atEnd(() => api.stop());
    await api.start();
    const nginx = new Nginx(folder);
    atEnd(() => nginx.stop());
    const readme = new URL("../../README.md", import.meta.url);
    await nginx.start({ module, readme, apiPort: api.port, location, secretKey });
    const chromium = new Chromium({ folder: join(folder, "chromium"), host: HOST, port: nginx.port, spki });
    atEnd(() => chromium.stop());

    const results = [];
    let requests = 0;
    for (const scenario of scenarios) {
        results.push(await passes(scenario, { chromium, api, nginx, version, secretKey }));
        requests += api.requests.length;
    }
    results.push(await logsAreClean(nginx, secretKey));
    console.log(
        `clerk-js ${version}: ${requests} requests to the Frontend API on ${api.connections} connections`,
    );
    return results;
}

// nginx's workers are another user when root starts it, to whom root's own TMPDIR may be closed.
const folder = await mkdtemp(join(process.getuid() === 0 ? "/tmp" : tmpdir(), "clerk-browser-test."));
const running = [];
async function cleanUp() {
    for (const stop of running.splice(0).reverse())
        await stop().catch((error) => console.error(error.message));
    await rm(folder, { recursive: true, force: true, maxRetries: 5 });
}
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"]) {
    process.on(signal, () => cleanUp().finally(() => process.exit(1)));
}
try {
    const results = await main(folder, (stop) => running.push(stop));
    const passed = results.filter(Boolean).length;
    console.log(`${passed} passed, ${results.length - passed} failed`);
    process.exitCode = passed === results.length ? 0 : 1;
} finally {
    await cleanUp();
}
