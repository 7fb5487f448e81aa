// A stand-in of Clerk's Frontend API: what clerk-js needs of it for one instance with one user. It keeps what
// it gets, and what of it breaks the contract of the proxy.

import { createHash, createSign, createVerify, generateKeyPairSync, randomBytes } from "node:crypto";
import { once } from "node:events";
import { readFile } from "node:fs/promises";
import { createServer } from "node:https";
import { join, normalize } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { brotliCompressSync, constants } from "node:zlib";

export const USER = { id: "user_1", email: "ada+test@app.dev", password: 'a "long" pass&word: grüße' };

const base64url = (value) => Buffer.from(JSON.stringify(value)).toString("base64url");
const id = (prefix) => `${prefix}_${randomBytes(12).toString("hex")}`;

export class FrontendApi {
    /** Every request: method, path, query, headers, length and digest of an upload, status. */
    requests = [];
    /** What no proxy should have sent. */
    violations = [];
    /** TLS connections so far. */
    connections = 0;
    /** Requests for which this holds get no answer. */
    silent = () => false;
    /** Answers these requests instead of what they ask for. */
    instead = () => undefined;

    #server;
    #options;
    #clients = new Map();
    #files = new Map();
    #keys = generateKeyPairSync("rsa", { modulusLength: 2048 });
    #suffix;

    /** `tls` has key and cert, `clerkJs` is the folder of the installed package. */
    constructor({ tls, clerkJs, version, proxyUrl, secretKey, publishableKey }) {
        this.#options = { tls, clerkJs, version, proxyUrl, secretKey };
        this.#suffix = createHash("sha1").update(publishableKey).digest("base64url").slice(0, 8);
    }

    get suffix() {
        return this.#suffix;
    }

    /** Listens on a free port, later on the same one again. */
    async start() {
        if (this.running) return;
        this.#server = createServer(this.#options.tls, (request, response) => {
            this.#answer(request, response).catch((error) => {
                this.violations.push(`${request.method} ${request.url}: ${error.stack}`);
                response.destroy();
            });
        });
        // Longer than any pause of a test: Clerk's servers do not hurry to close a connection either.
        this.#server.keepAliveTimeout = 300_000;
        this.#server.on("secureConnection", () => (this.connections += 1));
        for (;;) {
            this.#server.listen(this.port ?? 0, "127.0.0.1");
            try {
                await once(this.#server, "listening");
                break;
            } catch (error) {
                // Somebody else's connection may have the port for a moment.
                if (error.code !== "EADDRINUSE" || !this.port) throw error;
                await sleep(100);
            }
        }
        this.port = this.#server.address().port;
        this.running = true;
    }

    /** Goes down: connections are reset and new ones refused. */
    async stop() {
        if (!this.running) return;
        this.running = false;
        const closed = once(this.#server, "close");
        this.#server.close();
        this.#server.closeAllConnections();
        await closed;
    }

    /** The claims of a token, if this instance has signed it. */
    claims(token) {
        const [head, payload, signature] = token.split(".");
        const right = createVerify("RSA-SHA256")
            .update(`${head}.${payload}`)
            .verify(this.#keys.publicKey, signature, "base64url");
        return right ? JSON.parse(Buffer.from(payload, "base64url")) : undefined;
    }

    #sign(claims) {
        const body = `${base64url({ alg: "RS256", kid: "ins_1", typ: "JWT" })}.${base64url(claims)}`;
        return `${body}.${createSign("RSA-SHA256").update(body).sign(this.#keys.privateKey, "base64url")}`;
    }

    #token(session) {
        const now = Math.floor(Date.now() / 1000);
        const { proxyUrl } = this.#options;
        return this.#sign({
            azp: new URL(proxyUrl).origin,
            exp: now + 60,
            fva: [0, -1],
            iat: now,
            iss: proxyUrl,
            jti: randomBytes(10).toString("hex"),
            nbf: now - 10,
            sid: session.id,
            sts: "active",
            sub: USER.id,
            v: 2,
        });
    }

    /** The three headers, each once and right; and nothing that only says something about the proxy. */
    #contract({ method, url, headers, rawHeaders }) {
        const values = (name) =>
            rawHeaders.filter((_, i) => i % 2 && rawHeaders[i - 1].toLowerCase() === name);
        const { proxyUrl, secretKey } = this.#options;
        const expected = {
            "clerk-proxy-url": proxyUrl,
            "clerk-secret-key": secretKey,
            "x-forwarded-for": "127.0.0.1",
            host: `localhost:${this.port}`,
        };
        for (const [name, value] of Object.entries(expected)) {
            const found = values(name);
            // What was found may be the key.
            const shown = name === "clerk-secret-key" ? `${found.length} values` : JSON.stringify(found);
            if (found.length !== 1 || found[0] !== value)
                this.violations.push(`${method} ${url}: ${name}: ${shown}`);
        }
        if (!/^\/(v1|npm)\//.test(url))
            this.violations.push(`${method} ${url}: not a path of the Frontend API`);
        if (!values("user-agent")[0]?.includes("Chrome/"))
            this.violations.push(`${method} ${url}: no user agent`);
        if (headers["clerk-secret-key"] === undefined) return [400, "proxy_request_missing_secret_key"];
        if (headers["clerk-secret-key"] !== secretKey) return [401, "proxy_request_invalid_secret_key"];
        if (headers["clerk-proxy-url"] !== proxyUrl) return [400, "host_invalid"];
        const { origin } = headers;
        if (origin !== undefined && origin !== new URL(proxyUrl).origin) return [400, "origin_invalid"];
        if (method === "POST" && origin === undefined) return [400, "request_header_missing"];
        return undefined;
    }

    async #answer(request, response) {
        const url = new URL(request.url, `https://localhost:${this.port}`);
        const query = Object.fromEntries(url.searchParams);
        const entry = { method: request.method, path: url.pathname, query, headers: request.headers };
        this.requests.push(entry);
        const broken = this.#contract(request);
        const body = await this.#body(request, entry);
        response.on("finish", () => (entry.status = response.statusCode));
        response.on("close", () => (entry.aborted = !response.writableFinished));
        if (this.silent(entry)) return;

        // What Clerk's edge says of itself.
        response.setHeader("Alt-Svc", 'h3=":443"; ma=86400');
        response.setHeader("Strict-Transport-Security", "max-age=31536000; includeSubDomains; preload");
        response.setHeader("X-Clerk-Trace-Id", randomBytes(16).toString("hex"));

        const method = query._method ?? request.method;
        const call = { ...entry, method, body, response, client: this.#client(request) };
        const other = this.instead(entry);
        if (broken) this.#fail(call, ...broken);
        else if (other) this.#fail(call, ...other);
        else if (url.pathname.startsWith("/npm/")) await this.#script(call);
        else this.#call(call);
    }

    async #body(request, entry) {
        const chunks = [];
        for await (const chunk of request) chunks.push(chunk);
        const bytes = Buffer.concat(chunks);
        const type = request.headers["content-type"] ?? "";
        if (!type.startsWith("multipart/form-data"))
            return Object.fromEntries(new URLSearchParams(bytes.toString()));
        const boundary = Buffer.from(`\r\n--${/boundary=(.*)$/.exec(type)[1]}`);
        const start = bytes.indexOf("\r\n\r\n") + 4;
        const file = bytes.subarray(start, bytes.indexOf(boundary, start));
        entry.upload = { length: file.length, sha256: createHash("sha256").update(file).digest("hex") };
        return {};
    }

    #client({ headers }) {
        const token = /(?:^|; )__client=([^;]*)/.exec(headers.cookie ?? "")?.[1];
        return this.#clients.get(token);
    }

    #json({ response }, status, value, headers = {}) {
        response.writeHead(status, {
            "Content-Type": "application/json",
            "Cache-Control": "no-store",
            ...headers,
        });
        response.end(JSON.stringify(value));
    }

    #fail(call, status, code, headers) {
        const text = code.replaceAll("_", " ");
        const errors = [{ message: text, long_message: `The stand-in says: ${text}.`, code }];
        this.#json(call, status, { errors, clerk_trace_id: randomBytes(16).toString("hex") }, headers);
    }

    /** The files of the npm package, as from Clerk's edge: the major version leads to the exact one. */
    async #script(call) {
        const { path, response, headers } = call;
        const { clerkJs, version } = this.#options;
        const [, wanted, file] = /^\/npm\/@clerk\/clerk-js@([^/]+)\/(dist\/[\w.-]+\.js)$/.exec(path) ?? [];
        if (version.startsWith(`${wanted}.`)) {
            response.writeHead(307, {
                Location: `https://localhost:${this.port}/npm/@clerk/clerk-js@${version}/${file}`,
                "Access-Control-Allow-Origin": "*",
            });
            response.end();
            return;
        }
        if (wanted !== version) {
            this.#fail(call, 404, "resource_not_found");
            return;
        }
        if (!this.#files.has(file)) {
            const params = { [constants.BROTLI_PARAM_QUALITY]: 5 };
            this.#files.set(
                file,
                brotliCompressSync(await readFile(join(clerkJs, normalize(file))), { params }),
            );
        }
        // Browsers ask for Brotli, and the proxy must not change that.
        if (!headers["accept-encoding"]?.includes("br")) this.violations.push(`${path}: no Brotli accepted`);
        response.writeHead(200, {
            "Content-Type": "application/javascript; charset=utf-8",
            "Content-Encoding": "br",
            "Cache-Control": "public, max-age=31536000",
            "Access-Control-Allow-Origin": "*",
        });
        response.end(this.#files.get(file));
    }

    #call(call) {
        const { method, path, query, body, response } = call;
        const { client } = call;
        const session = client?.sessions.find(
            (s) => s.id === (query._clerk_session_id ?? path.split("/")[4]),
        );
        const route = `${method} ${path.replace(/\/(sess|sia)_\w+/, "/ID")}`;

        switch (route) {
            case "GET /v1/environment":
                this.#json(call, 200, environment(), { "X-Country": "DE" });
                return;
            case "GET /v1/client":
                this.#json(call, 200, { response: client ? this.#clientJson(client) : null, client: null });
                return;
            case "POST /v1/client/sign_ins":
                this.#signIn(call, body);
                return;
            case "POST /v1/client/sign_ins/ID/attempt_first_factor":
                this.#attempt(call);
                return;
            case "DELETE /v1/client/sessions":
                this.#signOut(call);
                return;
            case "GET /v1/client/handshake":
                this.#handshake(call);
                return;
        }
        if (!session) {
            this.#fail(call, 401, "authentication_invalid");
            return;
        }
        switch (route) {
            case "POST /v1/client/sessions/ID/touch":
                this.#reply(call, this.#sessionJson(session));
                return;
            case "POST /v1/client/sessions/ID/tokens":
                this.#json(call, 200, { object: "token", jwt: this.#token(session) });
                return;
            case "PATCH /v1/me":
                client.user.first_name = body.first_name;
                this.#reply(call, userJson(client.user));
                return;
            case "POST /v1/me/profile_image":
                client.user.has_image = true;
                this.#reply(call, {
                    object: "image",
                    id: id("img"),
                    name: "profile.png",
                    public_url: "https://img.clerk.com/1",
                });
                return;
            default:
                this.violations.push(`${route}: unknown to the stand-in`);
                this.#fail(call, 404, "resource_not_found");
        }
    }

    #reply(call, value) {
        this.#json(call, 200, { response: value, client: this.#clientJson(call.client) });
    }

    /** Password in the same step, or in one of its own. */
    #signIn(call, { identifier, password }) {
        if (identifier !== USER.email) {
            this.#fail(call, 422, "form_identifier_not_found");
            return;
        }
        call.client ??= {
            id: id("client"),
            token: null,
            sessions: [],
            user: { first_name: "Ada", has_image: false },
        };
        call.client.signIn = { id: id("sia"), status: "needs_first_factor", created_session_id: null };
        if (password !== undefined) {
            this.#attempt(call);
            return;
        }
        this.#issue(call);
        this.#reply(call, signInJson(call.client.signIn));
    }

    #attempt(call) {
        const { client, body } = call;
        if (!client?.signIn) {
            this.#fail(call, 404, "client_not_found");
            return;
        }
        if (body.password !== USER.password) {
            this.#fail(call, 422, "form_password_incorrect");
            return;
        }
        const session = { id: id("sess"), started: Date.now() };
        client.sessions = [session];
        Object.assign(client.signIn, { status: "complete", created_session_id: session.id });
        this.#issue(call);
        this.#reply(call, signInJson(client.signIn));
    }

    #signOut(call) {
        const { client } = call;
        if (!client?.sessions.length) {
            this.#fail(call, 401, "authentication_invalid");
            return;
        }
        Object.assign(client, { sessions: [], signIn: null });
        this.#issue(call);
        this.#reply(call, this.#clientJson(client));
    }

    /** A new token for the client, and what else is set with it. */
    #issue({ client, response }) {
        this.#clients.delete(client.token);
        client.token = this.#sign({ id: client.id, rotating_token: randomBytes(16).toString("hex") });
        this.#clients.set(client.token, client);
        const seen = client.sessions.length ? Math.floor(Date.now() / 1000) : 0;
        const common = "Path=/; Max-Age=31536000; Secure; SameSite=Lax";
        const domain = `Domain=${new URL(this.#options.proxyUrl).hostname}`;
        const edge = randomBytes(60).toString("base64url");
        response.setHeader("Set-Cookie", [
            `__client=${client.token}; ${common}; HttpOnly`,
            `__client_uat=${seen}; ${domain}; ${common}`,
            `__client_uat_${this.#suffix}=${seen}; ${domain}; ${common}`,
            `__cf_bm=${edge}; Path=/; Max-Age=1800; HttpOnly; Secure; SameSite=None`,
        ]);
    }

    /** A whole page comes by, and takes cookies of some kilobytes back to the application. */
    #handshake(call) {
        const { client, query, response } = call;
        const session = client?.sessions[0];
        if (!session) {
            this.#fail(call, 401, "authentication_invalid");
            return;
        }
        const token = this.#token(session);
        const names = ["__session", `__session_${this.#suffix}`];
        const handshake = names.map((name) => `${name}=${token}; Path=/`);
        const payload = this.#sign({ handshake: [...handshake, `padding=${"x".repeat(600)}`] });
        this.#issue(call);
        const cookies = [
            ...response.getHeader("Set-Cookie"),
            ...names.map((name) => `${name}=${token}; Path=/; Secure; SameSite=Lax`),
            `__clerk_handshake=${payload}; Path=/; Max-Age=60; Secure; SameSite=Lax`,
        ];
        response.writeHead(307, {
            Location: query.redirect_url,
            "Set-Cookie": cookies,
            "Cache-Control": "no-store",
            "Content-Security-Policy": `default-src 'none'; report-uri /${"r".repeat(1500)}`,
        });
        response.end();
    }

    #clientJson(client) {
        return {
            object: "client",
            id: client.id,
            sessions: client.sessions.map((session) => this.#sessionJson(session, client)),
            sign_in: client.signIn ? signInJson(client.signIn) : null,
            sign_up: null,
            last_active_session_id: client.sessions[0]?.id ?? null,
            cookie_expires_at: Date.now() + 365 * 86_400_000,
            captcha_bypass: false,
            created_at: 1_700_000_000_000,
            updated_at: Date.now(),
        };
    }

    #sessionJson(session, client = [...this.#clients.values()].find((c) => c.sessions.includes(session))) {
        return {
            object: "session",
            id: session.id,
            status: "active",
            expire_at: session.started + 7 * 86_400_000,
            abandon_at: session.started + 30 * 86_400_000,
            last_active_at: Date.now(),
            last_active_organization_id: null,
            last_active_token: { object: "token", jwt: this.#token(session) },
            factor_verification_age: [0, -1],
            actor: null,
            tasks: null,
            user: userJson(client.user),
            public_user_data: {
                user_id: USER.id,
                identifier: USER.email,
                first_name: client.user.first_name,
            },
            created_at: session.started,
            updated_at: Date.now(),
        };
    }
}

function signInJson({ id, status, created_session_id }) {
    return {
        object: "sign_in_attempt",
        id,
        status,
        created_session_id,
        identifier: USER.email,
        supported_identifiers: ["email_address"],
        supported_first_factors: [{ strategy: "password" }],
        supported_second_factors: null,
        first_factor_verification: null,
        second_factor_verification: null,
        user_data: null,
    };
}

function userJson({ first_name, has_image }) {
    return {
        object: "user",
        id: USER.id,
        first_name,
        last_name: "Lovelace",
        has_image,
        image_url: "https://img.clerk.com/1",
        password_enabled: true,
        primary_email_address_id: "idn_1",
        email_addresses: [
            {
                object: "email_address",
                id: "idn_1",
                email_address: USER.email,
                verification: { status: "verified", strategy: "email_code" },
                linked_to: [],
            },
        ],
        created_at: 1_700_000_000_000,
        updated_at: Date.now(),
    };
}

function environment() {
    return {
        object: "environment",
        auth_config: { object: "auth_config", single_session_mode: true, session_minter: false },
        display_config: {
            object: "display_config",
            id: "display_config_1",
            instance_environment_type: "production",
            application_name: "App",
            home_url: "/",
            sign_in_url: "/",
            sign_up_url: "/",
            after_sign_in_url: "/",
            after_sign_up_url: "/",
            after_sign_out_one_url: "/",
            after_sign_out_all_url: "/",
            captcha_heartbeat: false,
            captcha_public_key: null,
        },
        user_settings: {
            attributes: {
                email_address: { enabled: true, required: true, used_for_first_factor: true },
                password: { enabled: true, required: true },
            },
            password_settings: { min_length: 8, max_length: 72, show_zxcvbn: true, min_zxcvbn_strength: 2 },
            sign_in: { second_factor: { required: false, enabled: false } },
            sign_up: { mode: "public", captcha_enabled: false },
            social: {},
        },
        organization_settings: { enabled: false },
        maintenance_mode: false,
    };
}
