//! The JSON body of an error that nginx makes itself, in the form of Clerk's own errors, which clerk-js reads.

use http::StatusCode;

/// The cause of an error, if the status does not tell.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Cause {
    /// The status tells.
    Status,
    /// The request is not below the path of the proxy URL.
    PathMismatch,
}

/// `{"errors":[{"code","message","long_message"}]}`. The codes are Clerk's, those of its own proxies, or the name of the
/// status.
pub fn error_body(status: u16, cause: Cause) -> String {
    let reason = StatusCode::from_u16(status).ok().and_then(|status| status.canonical_reason());
    let reason = reason.unwrap_or("Error");
    let (code, message, long_message) = match (status, cause) {
        (_, Cause::PathMismatch) => (
            "proxy_path_mismatch",
            "The path is not below the proxy URL.",
            "The proxy for Clerk is configured for another path. Compare the proxy URL of the \
             application with that of the proxy.",
        ),
        (413, _) => (
            "request_body_too_large",
            "The request is too large.",
            "The proxy for Clerk does not take a request of this size.",
        ),
        (429, _) => (
            "too_many_requests",
            "Too many requests. Please try again in a bit.",
            "The proxy for Clerk limits how many requests it takes.",
        ),
        (502, _) => (
            "proxy_request_failed",
            "The authentication service cannot be reached.",
            "The proxy for Clerk got no valid answer from the Frontend API. Its error log says why.",
        ),
        (503, _) => (
            "proxy_request_failed",
            "The authentication service is busy. Please try again in a bit.",
            "The proxy for Clerk takes no more requests at the moment.",
        ),
        (504, _) => (
            "proxy_request_failed",
            "The authentication service does not answer.",
            "The proxy for Clerk got no answer from the Frontend API in time.",
        ),
        (500, _) => (
            "proxy_configuration_error",
            "The proxy is not configured correctly.",
            "The proxy for Clerk failed to handle the request. Its error log says why.",
        ),
        _ => {
            let code: String = reason
                .chars()
                .map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '_' })
                .collect();
            let long = format!("The proxy for Clerk refused the request ({status} {reason}).");
            return json(&code, &format!("{reason}."), &long);
        }
    };
    json(code, message, long_message)
}

/// The texts contain nothing that JSON escapes, as a test shows for all of them.
fn json(code: &str, message: &str, long_message: &str) -> String {
    format!(
        "{{\"errors\":[{{\"code\":\"{code}\",\"message\":\"{message}\",\"long_message\":\
         \"{long_message}\"}}]}}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_status_has_a_valid_body() {
        for status in 0..=999 {
            for cause in [Cause::Status, Cause::PathMismatch] {
                let body = error_body(status, cause);
                let value: serde_json::Value = serde_json::from_str(&body).expect(&body);
                let error = &value["errors"][0];
                for field in ["code", "message", "long_message"] {
                    assert!(error[field].as_str().is_some_and(|text| !text.is_empty()), "{body}");
                }
                let code = error["code"].as_str().unwrap();
                assert!(code.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'), "{code}");
            }
        }
    }

    #[test]
    fn codes() {
        for (status, code) in [
            (400, "bad_request"),
            (403, "forbidden"),
            (404, "not_found"),
            (405, "method_not_allowed"),
            (408, "request_timeout"),
            (411, "length_required"),
            (413, "request_body_too_large"),
            (414, "uri_too_long"),
            (429, "too_many_requests"),
            (431, "request_header_fields_too_large"),
            (500, "proxy_configuration_error"),
            (502, "proxy_request_failed"),
            (503, "proxy_request_failed"),
            (504, "proxy_request_failed"),
            (599, "error"),
        ] {
            assert!(error_body(status, Cause::Status).contains(&format!("\"{code}\"")), "{status}");
        }
        assert!(error_body(404, Cause::PathMismatch).contains("\"proxy_path_mismatch\""));
    }
}
