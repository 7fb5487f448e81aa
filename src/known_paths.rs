//! Paths below the proxy URL that clerk-js and Clerk ask for, one of each kind.

/// The paths that no rule of the site may take.
pub const KNOWN: &[&str] = &[
    "/v1/client",
    "/v1/environment",
    "/v1/client/handshake",
    "/v1/oauth_callback",
    "/v1/proxy-health",
    "/v1/me/profile_image",
    "/npm/@clerk/clerk-js@6/dist/clerk.browser.js",
    "/npm/@clerk/ui@1/dist/ui.browser.js",
    "/.well-known/jwks.json",
    "/oauth/authorize",
    "/api_keys",
];
