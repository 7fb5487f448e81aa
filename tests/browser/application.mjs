// The application under test: a page that loads clerk-js through the proxy.

export const HOST = "app.dev";
export const ORIGIN = `https://${HOST}`;
export const PROXY_URL = `${ORIGIN}/__clerk`;
export const PUBLISHABLE_KEY = `pk_live_${Buffer.from(`clerk.${HOST}$`).toString("base64")}`;

/** The application: loads clerk-js as Clerk's guide for JavaScript says. */
export const application = (proxyUrl) => `<!doctype html>
<title>App</title>
<link rel="icon" href="data:,">
<script crossorigin="anonymous" data-clerk-publishable-key="${PUBLISHABLE_KEY}"
    data-clerk-proxy-url="${proxyUrl}" onerror="window.noScript = true"
    src="${proxyUrl}/npm/@clerk/clerk-js@6/dist/clerk.browser.js"></script>
<script>
// What an application can know of a call that fails.
async function failure(call) {
    try {
        await call
    } catch (error) {
        const { code, message, longMessage } = error.errors?.[0] ?? {}
        const { name, clerkError, status, retryAfter } = error
        return { name, clerkError, status, retryAfter, code, message, longMessage, text: error.message }
    }
}
async function upload(size) {
    const bytes = new Uint8Array(size)
    for (let i = 0; i < size; i += 65536) crypto.getRandomValues(bytes.subarray(i, i + 65536))
    const digest = new Uint8Array(await crypto.subtle.digest('SHA-256', bytes))
    const sha256 = Array.from(digest, byte => byte.toString(16).padStart(2, '0')).join('')
    return { file: new File([bytes], 'me.png', { type: 'image/png' }), length: size, sha256 }
}
</script>
`;
