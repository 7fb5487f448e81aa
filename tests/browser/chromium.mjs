// Drives Chromium over the pipe of its DevTools protocol, and keeps what a page asked for and said.

import { spawn } from "node:child_process";
import { EventEmitter, once } from "node:events";

/** Waits for a promise, not for ever. */
export function within(seconds, what, promise) {
    let timer;
    const late = new Promise((_, reject) => {
        timer = setTimeout(() => reject(new Error(`${what}: not within ${seconds} s`)), seconds * 1000);
    });
    return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

export class Chromium extends EventEmitter {
    #child;
    #waiting = new Map();
    #last = 0;
    #diagnostics = "";

    /** Knows one host, at a port of loopback and with the public key of this digest; no other exists. */
    constructor({ folder, host, port, spki }) {
        super();
        this.setMaxListeners(0);
        this.#child = spawn(
            "chromium",
            [
                "--headless=new",
                // Root has no sandbox, and the only page is the test's own.
                "--no-sandbox",
                "--disable-gpu",
                "--disable-dev-shm-usage",
                "--disable-quic",
                "--disable-background-networking",
                "--disable-component-update",
                "--disable-sync",
                "--disable-extensions",
                "--no-first-run",
                "--no-default-browser-check",
                "--no-proxy-server",
                `--host-resolver-rules=MAP ${host} 127.0.0.1:${port}, MAP * ~NOTFOUND`,
                `--ignore-certificate-errors-spki-list=${spki}`,
                // clerk-js keeps silent about errors where it takes the browser for a robot.
                "--disable-blink-features=AutomationControlled",
                `--user-data-dir=${folder}`,
                "--remote-debugging-pipe",
                "about:blank",
            ],
            // A group of its own, so that all of its processes can be ended.
            { stdio: ["ignore", "ignore", "pipe", "pipe", "pipe"], detached: true },
        );
        this.#child.stderr.on(
            "data",
            (data) => (this.#diagnostics = (this.#diagnostics + data).slice(-4000)),
        );
        this.#child.on("error", (error) => this.#end(error));
        this.#child.on("exit", (code, signal) => {
            this.#end(new Error(`chromium ended (${code ?? signal})\n${this.#diagnostics}`));
        });
        const [, , , commands, answers] = this.#child.stdio;
        commands.on("error", (error) => this.#end(error));
        let rest = [];
        answers.on("data", (data) => {
            let end;
            while ((end = data.indexOf(0)) >= 0) {
                this.#take(JSON.parse(Buffer.concat([...rest, data.subarray(0, end)])));
                rest = [];
                data = data.subarray(end + 1);
            }
            rest.push(data);
        });
    }

    #end(error) {
        for (const { reject } of this.#waiting.values()) reject(error);
        this.#waiting.clear();
    }

    #take({ id, method, params, result, error, sessionId }) {
        if (!id) {
            this.emit(sessionId ?? "browser", method, params);
            return;
        }
        const waiting = this.#waiting.get(id);
        this.#waiting.delete(id);
        if (error) waiting?.reject(new Error(error.message));
        else waiting?.resolve(result);
    }

    send(method, params = {}, sessionId = undefined) {
        const id = ++this.#last;
        const answer = new Promise((resolve, reject) => this.#waiting.set(id, { resolve, reject }));
        this.#child.stdio[3].write(`${JSON.stringify({ id, method, params, sessionId })}\0`);
        return within(60, method, answer);
    }

    /** A page with no cookies, nothing cached and nothing stored. */
    async page() {
        const { userAgent } = await this.send("Browser.getVersion");
        const { browserContextId } = await this.send("Target.createBrowserContext");
        const { targetId } = await this.send("Target.createTarget", { url: "about:blank", browserContextId });
        const { sessionId } = await this.send("Target.attachToTarget", { targetId, flatten: true });
        const page = new Page(this, sessionId, browserContextId);
        await page.prepare(userAgent.replace("Headless", ""));
        return page;
    }

    async stop() {
        if (this.#child.exitCode !== null || this.#child.signalCode !== null || !this.#child.pid) return;
        const ended = once(this.#child, "exit");
        await this.send("Browser.close").catch(() => {});
        await within(10, "the end of chromium", ended).catch(() => {});
        this.kill();
        await ended;
    }

    kill() {
        try {
            process.kill(-this.#child.pid, "SIGKILL");
        } catch {
            // Nothing is left of it.
        }
    }
}

export class Page {
    /** What the page asked for: url, method, type, status, headers, mime, from; body if it failed. */
    requests = [];
    /** What stands in its console: messages, exceptions that nobody took, failed requests. */
    console = [];
    #chromium;
    #session;
    #context;
    #byId = new Map();

    constructor(chromium, session, context) {
        this.#chromium = chromium;
        this.#session = session;
        this.#context = context;
        chromium.on(session, (method, params) => this.#take(method, params));
    }

    send(method, params) {
        return this.#chromium.send(method, params, this.#session);
    }

    async prepare(userAgent) {
        await Promise.all([
            this.send("Page.enable"),
            this.send("Runtime.enable"),
            this.send("Log.enable"),
            this.send("Network.enable"),
            this.send("Network.setUserAgentOverride", { userAgent }),
            // A page without focus leaves the session cookie to others.
            this.send("Emulation.setFocusEmulationEnabled", { enabled: true }),
            // A machine without a network is offline, which clerk-js takes for the cause of all errors.
            this.send("Page.addScriptToEvaluateOnNewDocument", {
                source: 'Object.defineProperty(Navigator.prototype, "onLine", { get: () => true })',
            }),
        ]);
    }

    #take(method, params) {
        if (method === "Network.requestWillBeSent") {
            const { requestId, request, type, redirectResponse } = params;
            if (redirectResponse) this.#answered(requestId, redirectResponse);
            const entry = { url: request.url, method: request.method, type };
            entry.ended = new Promise((resolve) => (entry.end = resolve));
            this.#byId.set(requestId, entry);
            this.requests.push(entry);
        } else if (method === "Network.responseReceived") {
            this.#answered(params.requestId, params.response);
        } else if (method === "Network.loadingFinished") {
            const entry = this.#byId.get(params.requestId);
            entry?.end(entry.status >= 400 ? this.#body(params.requestId, entry) : undefined);
        } else if (method === "Network.loadingFailed") {
            const entry = this.#byId.get(params.requestId);
            if (entry) entry.failed = params.errorText;
            entry?.end();
        } else if (method === "Runtime.consoleAPICalled") {
            this.console.push(
                `${params.type}: ${params.args.map((a) => a.description ?? a.value).join(" ")}`,
            );
        } else if (method === "Runtime.exceptionThrown") {
            const { text, exception } = params.exceptionDetails;
            this.console.push(`uncaught: ${exception?.description ?? text}`);
        } else if (method === "Log.entryAdded") {
            this.console.push(`${params.entry.level}: ${params.entry.text} ${params.entry.url ?? ""}`);
        }
    }

    #answered(requestId, response) {
        const headers = {};
        for (const [name, value] of Object.entries(response.headers)) headers[name.toLowerCase()] = value;
        Object.assign(this.#byId.get(requestId) ?? {}, {
            status: response.status,
            mime: response.mimeType,
            headers,
            from: `${response.remoteIPAddress}:${response.remotePort}`,
        });
    }

    async #body(requestId, entry) {
        try {
            const { body, base64Encoded } = await this.send("Network.getResponseBody", { requestId });
            entry.body = base64Encoded ? Buffer.from(body, "base64").toString() : body;
        } catch {
            // The page has gone on to another one.
        }
    }

    /** Waits until the bodies of all failures are here; Chromium keeps none of a script. */
    async settled() {
        const failures = this.requests.filter((r) => r.status >= 400 && r.type !== "Script");
        await within(10, "the bodies of failures", Promise.all(failures.map((r) => r.ended)));
    }

    /** Resolves with the next event of this name for which `wanted` holds. */
    next(name, wanted = () => true) {
        let take;
        const event = new Promise((resolve) => {
            take = (method, params) => method === name && wanted(params) && resolve(params);
            this.#chromium.on(this.#session, take);
        });
        return within(60, name, event).finally(() => this.#chromium.off(this.#session, take));
    }

    /** Goes to a URL, or does what makes the page go somewhere, and waits until the new page has loaded. */
    async go(where) {
        // What belongs to the old page goes with it.
        await this.settled();
        const loaded = this.next("Page.loadEventFired");
        const going = typeof where === "string" ? this.send("Page.navigate", { url: where }) : where();
        const [{ errorText } = {}] = await Promise.all([going, loaded]);
        if (errorText) throw new Error(`${where}: ${errorText}`);
    }

    /** Runs a function in the page with these arguments; gives what it returns, throws what it throws. */
    async run(fn, ...args) {
        const { result, exceptionDetails } = await this.send("Runtime.evaluate", {
            expression: `(${fn})(...${JSON.stringify(args)})`,
            awaitPromise: true,
            returnByValue: true,
            userGesture: true,
        });
        if (exceptionDetails) {
            const { text, exception } = exceptionDetails;
            throw new Error(`in the page: ${exception?.description ?? exception?.value ?? text}`);
        }
        return result.value;
    }

    /** The cookies by name. */
    async cookies() {
        const { cookies } = await this.send("Network.getCookies");
        return Object.fromEntries(cookies.map((cookie) => [cookie.name, cookie]));
    }

    async screenshot() {
        const { data } = await this.send("Page.captureScreenshot");
        return Buffer.from(data, "base64");
    }

    async close() {
        await this.#chromium.send("Target.disposeBrowserContext", { browserContextId: this.#context });
    }
}
