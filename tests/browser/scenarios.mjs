// What is tried in the browser: each scenario has a page of its own and looks at both ends, at what the page
// saw and at what the Frontend API got.

import assert from "node:assert/strict";
import { setTimeout as sleep } from "node:timers/promises";

import { HOST, ORIGIN, PROXY_URL } from "./application.mjs";
import { within } from "./chromium.mjs";
import { USER } from "./frontend_api.mjs";

const MEGABYTE = 1024 * 1024;
const SCRIPT = `${PROXY_URL}/npm/@clerk/clerk-js@6/dist/clerk.browser.js`;
const TOKENS = /^\/v1\/client\/sessions\/sess_\w+\/tokens$/;

export const scenarios = [];
/** `fails`: statuses of 400 and above that the page gets through the proxy; all others are a failure. */
const scenario = (name, { fails = [] }, run) => scenarios.push({ name, fails, run });

const open = (page) => page.go(`${ORIGIN}/`);
const load = (page) => page.run(async () => (await Clerk.load(), Clerk.status));

async function signIn(page) {
    await open(page);
    assert.equal(await load(page), "ready");
    await page.run(password, USER);
}

/** Signs in, in the page. */
async function password({ email, password }) {
    const attempt = await Clerk.client.signIn.create({ identifier: email, password });
    await Clerk.setActive({ session: attempt.createdSessionId });
}

/** The requests of this page's scenario that the Frontend API got. */
const got = (api, method, path) => api.requests.filter((r) => r.method === method && path.test(r.path));

/** Those for tokens; clerk-js polls for others without skip_cache. */
const fresh = (api) => got(api, "POST", TOKENS).filter((r) => r.query.debug === "skip_cache");

async function until(what, condition) {
    const wait = async () => {
        while (!(await condition())) await sleep(50);
    };
    await within(30, what, wait());
}

scenario("the browser passes for a user", {}, async ({ page }) => {
    await open(page);
    const navigator = await page.run(() => {
        const { onLine, webdriver, userAgent } = window.navigator;
        return { onLine, webdriver, robot: /headless|bot/i.test(userAgent) };
    });
    assert.deepEqual(navigator, { onLine: true, webdriver: false, robot: false });
});

scenario("clerk-js loads: the major version leads to the exact one", {}, async ({ page, api, version }) => {
    await open(page);
    assert.equal(await page.run(() => Clerk.version), version);
    const scripts = page.requests.filter((r) => r.url.includes("/npm/"));
    assert.deepEqual(
        scripts.map((r) => [r.status, r.url]),
        [
            [307, SCRIPT],
            [200, `${PROXY_URL}/npm/@clerk/clerk-js@${version}/dist/clerk.browser.js`],
        ],
    );
    // As it came: nobody decodes it on the way.
    assert.equal(scripts[1].headers["content-encoding"], "br");
    assert.equal(got(api, "GET", /^\/npm\//).length, 2);
});

scenario("a proxy URL with a slash at its end works", {}, async ({ page, api }) => {
    await page.go(`${ORIGIN}/slash.html`);
    assert.equal(await load(page), "ready");
    assert.ok(page.requests.some((r) => r.url.startsWith(`${PROXY_URL}//npm/`)));
    assert.deepEqual(
        api.requests.filter((r) => r.path.includes("//")),
        [],
    );
});

scenario("load(): ready at the first attempt", {}, async ({ page, api }) => {
    await open(page);
    assert.equal(await load(page), "ready");
    assert.equal(await page.run(() => Clerk.user), null);
    for (const path of [/^\/v1\/environment$/, /^\/v1\/client$/]) {
        const requests = got(api, "GET", path);
        assert.equal(requests.length, 1, `${path}`);
        assert.equal(requests[0].query._clerk_retry_attempt, undefined);
    }
});

scenario("sign-in: a wrong password is a readable error", { fails: [422] }, async ({ page }) => {
    await open(page);
    await load(page);
    const error = await page.run(async (identifier) => {
        const attempt = await Clerk.client.signIn.create({ identifier });
        return failure(attempt.attemptFirstFactor({ strategy: "password", password: "wrong" }));
    }, USER.email);
    assert.equal(error.clerkError, true);
    assert.equal(error.status, 422);
    assert.equal(error.code, "form_password_incorrect");
    assert.equal(error.longMessage, "The stand-in says: form password incorrect.");
});

scenario("sign-in: password, session, all cookies", {}, async ({ page, api }) => {
    await open(page);
    await load(page);
    const session = await page.run(async ({ email, password }) => {
        let attempt = await Clerk.client.signIn.create({ identifier: email });
        attempt = await attempt.attemptFirstFactor({ strategy: "password", password });
        await Clerk.setActive({ session: attempt.createdSessionId });
        return { id: Clerk.session.id, email: Clerk.user.primaryEmailAddress.emailAddress };
    }, USER);
    assert.equal(session.email, USER.email);
    assert.equal(got(api, "POST", /^\/v1\/client\/sign_ins$/).length, 1);
    assert.equal(got(api, "POST", /\/attempt_first_factor$/).length, 1);
    assert.equal(got(api, "POST", new RegExp(`^/v1/client/sessions/${session.id}/touch$`)).length, 1);

    const cookies = await page.cookies();
    const client = cookies.__client;
    assert.deepEqual(
        [client.domain, client.path, client.httpOnly, client.secure, client.sameSite, client.session],
        [HOST, "/", true, true, "Lax", false],
    );
    assert.ok(Number(cookies.__client_uat.value) > 0);
    assert.equal(cookies.__client_uat.domain, `.${HOST}`);
    assert.equal(cookies[`__client_uat_${api.suffix}`].value, cookies.__client_uat.value);
    assert.equal(cookies.__cf_bm.httpOnly, true);
    // clerk-js writes these itself.
    assert.equal(api.claims(cookies.__session.value).sid, session.id);
    assert.equal(cookies[`__session_${api.suffix}`].value, cookies.__session.value);
});

scenario("the session outlives a reload", {}, async ({ page }) => {
    await signIn(page);
    const id = await page.run(() => Clerk.session.id);
    await open(page);
    assert.equal(await load(page), "ready");
    assert.deepEqual(await page.run(() => [Clerk.session.id, Clerk.user.firstName]), [id, "Ada"]);
});

scenario("getToken(): from the cache, and fresh ones", {}, async ({ page, api }) => {
    await signIn(page);
    const id = await page.run(() => Clerk.session.id);
    const cached = await page.run(() => Clerk.session.getToken());
    assert.equal(api.claims(cached).sid, id);
    assert.equal(fresh(api).length, 0);
    const seen = new Set([cached]);
    for (let i = 0; i < 5; i++) seen.add(await page.run(() => Clerk.session.getToken({ skipCache: true })));
    assert.equal(seen.size, 6);
    for (const token of seen) assert.equal(api.claims(token).iss, PROXY_URL);
    assert.equal(fresh(api).length, 5);
});

scenario("parts of clerk-js load later, from the exact version", {}, async ({ page, api, version }) => {
    await open(page);
    await load(page);
    const strength = await page.run(() => {
        return new Promise((resolve) => {
            Clerk.client.signIn.validatePassword("correct horse", { onValidation: resolve });
        });
    });
    assert.ok(strength.strength, JSON.stringify(strength));
    const parts = got(api, "GET", /^\/npm\//).slice(2);
    assert.ok(parts.some((r) => r.path.includes("zxcvbn")));
    for (const { path } of parts) assert.ok(path.startsWith(`/npm/@clerk/clerk-js@${version}/dist/`), path);
});

scenario("user.update(): a PATCH in the shape of a POST", {}, async ({ page, api }) => {
    await signIn(page);
    await page.run(() => Clerk.user.update({ firstName: "Grüße & +%2F" }));
    assert.equal(await page.run(() => Clerk.user.firstName), "Grüße & +%2F");
    assert.deepEqual(
        got(api, "POST", /^\/v1\/me$/).map((r) => r.query._method),
        ["PATCH"],
    );
});

scenario("user.setProfileImage(): 2 MB arrive whole", {}, async ({ page, api }) => {
    await signIn(page);
    const sent = await page.run(async (size) => {
        const { file, length, sha256 } = await upload(size);
        await Clerk.user.setProfileImage({ file });
        return { length, sha256, hasImage: Clerk.user.hasImage };
    }, 2 * MEGABYTE);
    const [request, ...more] = got(api, "POST", /^\/v1\/me\/profile_image$/);
    assert.deepEqual(more, []);
    assert.deepEqual({ ...request.upload, hasImage: true }, sent);
});

scenario("user.setProfileImage(): too much is a readable error", { fails: [413] }, async ({ page, api }) => {
    await signIn(page);
    const error = await page.run(async (size) => {
        const { file } = await upload(size);
        return failure(Clerk.user.setProfileImage({ file }));
    }, 17 * MEGABYTE);
    assert.equal(error.clerkError, true);
    assert.equal(error.status, 413);
    assert.equal(error.code, "request_body_too_large");
    assert.ok(error.longMessage);
    assert.equal(got(api, "POST", /profile_image/).length, 0);
});

scenario("the Frontend API's own limit: 429 with Retry-After", { fails: [429] }, async ({ page, api }) => {
    await open(page);
    await load(page);
    api.instead = ({ path }) =>
        path === "/v1/client/sign_ins" && [429, "too_many_requests", { "Retry-After": "7" }];
    const error = await page.run(
        ({ email }) => failure(Clerk.client.signIn.create({ identifier: email })),
        USER,
    );
    assert.equal(error.code, "too_many_requests");
    assert.equal(error.retryAfter, 7);
    assert.equal(got(api, "POST", /^\/v1\/client\/sign_ins$/).length, 1);
});

scenario("handshake: a page goes there and comes back with large cookies", {}, async ({ page, api }) => {
    await signIn(page);
    const back = `${ORIGIN}/?back=%2Fa%20b`;
    const query = new URLSearchParams({ redirect_url: back, __clerk_hs_reason: "session-token-expired" });
    await page.go(`${PROXY_URL}/v1/client/handshake?${query}`);
    assert.equal(await page.run(() => location.href), back);
    const [request] = got(api, "GET", /^\/v1\/client\/handshake$/);
    assert.equal(request.query.redirect_url, back);
    const cookies = await page.cookies();
    assert.ok(cookies.__clerk_handshake.value.length > 2000);
    assert.ok(api.claims(cookies.__session.value));
    assert.equal(await load(page), "ready");
    assert.ok(await page.run(() => Clerk.session.id));
});

scenario("sign-out: session and cookies are gone", {}, async ({ page, api }) => {
    await signIn(page);
    await page.go(() => page.run(() => void Clerk.signOut({ redirectUrl: "/?signed-out" })));
    assert.equal(await page.run(() => location.search), "?signed-out");
    assert.deepEqual(
        got(api, "POST", /^\/v1\/client\/sessions$/).map((r) => r.query._method),
        ["DELETE"],
    );
    const cookies = await page.cookies();
    assert.equal(cookies.__session, undefined);
    assert.equal(cookies.__client_uat.value, "0");
    assert.equal(await load(page), "ready");
    assert.equal(await page.run(() => Clerk.session), null);
});

scenario(
    "down: load() and sign-in fail readably, and work after it",
    { fails: [502] },
    async ({ page, api }) => {
        await open(page);
        await api.stop();
        assert.equal(await load(page), "degraded");
        const error = await page.run(
            ({ email }) => failure(Clerk.client.signIn.create({ identifier: email })),
            USER,
        );
        assert.equal(error.clerkError, true);
        assert.equal(error.status, 502);
        assert.equal(error.code, "proxy_request_failed");
        assert.ok(error.message && error.longMessage && error.text);
        for (const { status, headers } of page.requests.filter((r) => r.url.includes("/v1/"))) {
            assert.deepEqual([status, headers["cache-control"]], [502, "no-store"]);
        }

        await api.start();
        // The same page, without a reload.
        await page.run(password, USER);
        await open(page);
        assert.equal(await load(page), "ready");
        assert.equal(await page.run(() => Clerk.user.firstName), "Ada");
    },
);

scenario(
    "down: a page without clerk-js, whose user stays signed in",
    { fails: [502] },
    async ({ page, api }) => {
        await signIn(page);
        await api.stop();
        await open(page);
        assert.deepEqual(await page.run(() => [typeof Clerk, window.noScript]), ["undefined", true]);
        const code = (url) => fetch(url).then(async (response) => (await response.json()).errors[0].code);
        assert.equal(await page.run(code, SCRIPT), "proxy_request_failed");
        await api.start();
        await open(page);
        assert.equal(await load(page), "ready");
        assert.equal(await page.run(() => Clerk.user.firstName), "Ada");
    },
);

scenario("down: load() keeps the user signed in", { fails: [502] }, async ({ page, api }) => {
    await signIn(page);
    const id = await page.run(() => Clerk.session.id);
    await open(page);
    await api.stop();
    assert.equal(await load(page), "degraded");
    assert.equal(await page.run(() => Clerk.session.id), id);
    await api.start();
    assert.equal(api.claims(await page.run(() => Clerk.session.getToken({ skipCache: true }))).sid, id);
});

scenario("down for a moment: getToken() gets its token", { fails: [502] }, async ({ page, api }) => {
    await signIn(page);
    await api.stop();
    const failed = page.next("Network.responseReceived", ({ response }) => response.status === 502);
    await page.run(() => void (window.token = Clerk.session.getToken({ skipCache: true })));
    await failed;
    await api.start();
    const token = await page.run(() => window.token);
    assert.equal(api.claims(token).sid, await page.run(() => Clerk.session.id));
    // clerk-js asks again, not the proxy.
    const asked = page.requests.filter((r) => r.url.includes("/tokens?debug=skip_cache&"));
    const last = asked.pop();
    assert.equal(last.status, 200);
    assert.ok(asked.length > 0 && asked.every((r) => r.status === 502));
    assert.equal(fresh(api).length, 1);
});

scenario("silent: load() gives up after 7 s, and the Frontend API hears of it", {}, async ({ page, api }) => {
    await signIn(page);
    const id = await page.run(() => Clerk.session.id);
    await open(page);
    api.silent = ({ path }) => path === "/v1/client";
    const before = api.requests.length;
    const loading = load(page);
    const request = () => api.requests.slice(before).find((r) => r.path === "/v1/client");
    await until("the end of the request", () => request()?.aborted);
    api.silent = () => false;
    assert.equal(await loading, "degraded");
    assert.equal(await page.run(() => Clerk.session.id), id);
});
