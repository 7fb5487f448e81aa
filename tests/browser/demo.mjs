// The page of scripts/demo in Chromium, on a narrow screen and by the keyboard alone. scripts/browser-test starts it.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { Chromium, within } from "./chromium.mjs";

const HOST = "demo.test";

/** Starts the demo; gives the port of its page. */
function start(demo) {
    let printed = "";
    return new Promise((resolve, reject) => {
        demo.stdout.on("data", (data) => {
            printed += data;
            const port = /^ +page +http:\/\/127\.0\.0\.1:(\d+)\/$/m.exec(printed)?.[1];
            if (port) resolve(port);
        });
        demo.on("exit", () => reject(new Error(`the demo ended\n${printed}`)));
    });
}

/** What somebody sees: the button that is pressed, what was sent, the first line of the comparison. */
function seen() {
    return {
        pressed: document.querySelector("[aria-pressed=true]")?.textContent,
        status: document.getElementById("status").textContent,
        arrived: document.getElementById("rows").rows[0]?.cells[2].lastChild.data,
        marks: [...document.getElementById("rows").rows].map((row) => `${row.cells[0].textContent}: ${row.className}`),
        fits: document.documentElement.scrollWidth <= innerWidth,
    };
}

async function drive(page) {
    const key = async (key, code, text) => {
        const event = { key, code: key, windowsVirtualKeyCode: code };
        await page.send("Input.dispatchKeyEvent", { type: "keyDown", ...event, text });
        await page.send("Input.dispatchKeyEvent", { type: "keyUp", ...event });
    };
    const tab = () => key("Tab", 9);
    const enter = () => key("Enter", 13, "\r");
    const until = async (status) => {
        for (;;) {
            const now = await page.run(seen);
            if (now.status === status) return now;
            await new Promise((done) => setTimeout(done, 20));
        }
    };
    await page.send("Emulation.setDeviceMetricsOverride", {
        width: 360,
        height: 740,
        deviceScaleFactor: 1,
        mobile: true,
    });
    await page.go(`http://${HOST}/`);
    const first = await until("GET /v1/environment?_clerk_js_version=5: 200");
    assert.deepEqual([first.pressed, first.fits], ["Environment", true]);
    assert.equal(first.arrived, "GET /v1/environment?_clerk_js_version=5");
    assert.ok(first.marks.includes("Clerk-Secret-Key: added"), first.marks.join());
    assert.match(await page.run(() => document.getElementById("config").textContent), /^location.*{\n.*\n}$/);
    // The configuration, then the examples.
    await tab();
    await tab();
    await tab();
    await enter();
    assert.equal((await until("GET /v1/client?_clerk_js_version=5: 200")).pressed, "Client");
    await tab();
    await enter();
    const signIn = await until("POST /v1/client/sign_ins?_clerk_js_version=5: 200");
    assert.equal(signIn.arrived, "POST /v1/client/sign_ins?_clerk_js_version=5");
    await tab();
    await enter();
    await until("GET /v1/oauth_callback?code=4%2F0A+b&state=x: 302");
    await tab();
    await enter();
    await until("GET /npm//a%2Fb/%C3%BC?x=%2e%2e&&y: 200");
    await tab();
    await key(" ", 32, " ");
    for (;;) {
        const { marks } = await page.run(seen);
        if (marks.includes("Clerk-Secret-Key: changed")) break;
    }
    await tab();
    await enter();
    await tab();
    await tab();
    await page.send("Input.insertText", { text: "/v1/own?x" });
    assert.equal((await page.run(seen)).pressed, undefined);
    await enter();
    const own = await until("GET /v1/own?x: 200");
    assert.deepEqual([own.arrived, own.fits], ["GET /v1/own?x", true]);
    // The last one of two clicks wins.
    await page.run(() => {
        const examples = document.getElementById("examples").children;
        examples[0].click();
        examples[1].click();
    });
    await until("GET /v1/client?_clerk_js_version=5: 200");
    assert.deepEqual(page.console, []);
}

const demo = spawn("scripts/demo", { stdio: ["ignore", "pipe", "ignore"] });
const folder = await mkdtemp(join(tmpdir(), "clerk-demo-browser."));
let chromium;
try {
    const port = await within(600, "the demo", start(demo));
    chromium = new Chromium({ folder, host: HOST, port, spki: "none" });
    await within(90, "the page of the demo", drive(await chromium.page()));
    console.log("ok    the page of the demo");
} finally {
    await chromium?.stop();
    const ended = once(demo, "exit");
    if (demo.kill()) await ended;
    await rm(folder, { recursive: true, force: true, maxRetries: 5 });
}
