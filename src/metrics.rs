//! What the status shows: metrics, their names, and where each has its counters.

/// What is said of a metric.
pub struct Metric {
    /// Its name.
    pub name: &'static str,
    /// What it is, in one sentence.
    pub help: &'static str,
    /// Whether its values only grow.
    pub counts: bool,
    /// The label by which its counters differ, and a value for each.
    pub by: Option<(&'static str, &'static [&'static str])>,
}

impl Metric {
    const fn counter(name: &'static str, help: &'static str) -> Self {
        Self { name, help, counts: true, by: None }
    }

    const fn gauge(name: &'static str, help: &'static str) -> Self {
        Self { name, help, counts: false, by: None }
    }

    const fn by(self, label: &'static str, values: &'static [&'static str]) -> Self {
        Self { by: Some((label, values)), ..self }
    }

    /// How many values it has.
    pub fn count(&self) -> usize {
        self.by.map_or(1, |(_, values)| values.len())
    }
}

/// What there is one of.
pub const BUILD: [Metric; 1] =
    [Metric::gauge("clerk_proxy_build_info", "The versions of the module and of nginx.")];

/// What is known of a name. The last is so once this configuration has looked it up.
pub const NAME: [Metric; 3] = [
    Metric::gauge("clerk_proxy_name_addresses", "Addresses of the name that are in use."),
    Metric::gauge("clerk_proxy_name_lookup_success", "Whether the last look-up found addresses."),
    Metric::gauge(
        "clerk_proxy_name_last_lookup_timestamp_seconds",
        "When the last look-up began, in seconds since 1970.",
    ),
];

/// What is counted of an upstream, in order.
pub const UPSTREAM: [Metric; 5] = [
    Metric::counter(
        "clerk_proxy_upstream_connections_made_total",
        "Connections to the upstream that were made.",
    ),
    Metric::counter(
        "clerk_proxy_upstream_connections_reused_total",
        "Requests that were sent on a connection that was there already.",
    ),
    Metric::counter(
        "clerk_proxy_upstream_dead_connections_total",
        "Kept connections that the network had forgotten.",
    ),
    Metric::counter("clerk_proxy_upstream_handshakes_total", "TLS handshakes with the upstream.")
        .by("handshake", &["full", "resumed"]),
    Metric::counter(
        "clerk_proxy_upstream_retries_total",
        "Times that a request was sent to a server after another had failed.",
    ),
];
/// The shares of workers are behind the counters.
pub const READY: [Metric; 1] = [Metric::gauge(
    "clerk_proxy_upstream_ready_connections",
    "Unused connections that are kept ready.",
)];

/// What is counted of a location, in order. The last is for one with a cache.
pub const LOCATION: [Metric; 6] = [
    Metric::counter("clerk_proxy_requests_total", "Requests of clients."),
    Metric::counter("clerk_proxy_received_bytes_total", "Bytes from clients, with headers."),
    Metric::counter("clerk_proxy_sent_bytes_total", "Bytes to clients, with headers."),
    Metric::counter(
        "clerk_proxy_replies_total",
        "Replies of the Frontend API, by the class of their status.",
    )
    .by("class", &["1xx", "2xx", "3xx", "4xx", "5xx"]),
    Metric::counter("clerk_proxy_errors_total", "Errors of nginx's own, by their status.")
        .by("code", &CODES),
    Metric::counter("clerk_proxy_cache_requests_total", "Requests by what the cache had for them.")
        .by("state", &["MISS", "BYPASS", "EXPIRED", "STALE", "UPDATING", "REVALIDATED", "HIT"]),
];

/// The statuses that are counted by themselves, and those that are not.
const CODES: [&str; 13] =
    ["400", "403", "404", "408", "413", "414", "429", "499", "500", "502", "503", "504", "other"];

// The places of counters.

/// A connection was made.
pub const MADE: usize = 0;
/// A request uses a connection that was there.
pub const REUSED: usize = 1;
/// A dead connection was found.
pub const DEAD: usize = 2;
/// A full handshake; a resumed one is the next.
pub const HANDSHAKE: usize = 3;
/// A request is sent again.
pub const RETRIED: usize = 5;
/// Behind the counters of an upstream.
pub const UPSTREAM_LEN: usize = 6;

/// A request has ended.
pub const REQUEST: usize = 0;
/// Bytes came.
pub const RECEIVED: usize = 1;
/// Bytes went.
pub const SENT: usize = 2;
const REPLY: usize = 3;
const ERROR: usize = 8;
/// Behind the counters of a location without a cache.
pub const CACHE: usize = ERROR + CODES.len();
/// Behind the counters of a location.
pub const LOCATION_LEN: usize = CACHE + 7;

/// The counter of a reply with this status.
pub fn reply(status: usize) -> usize {
    REPLY + (status / 100).clamp(1, 5) - 1
}

/// The counter of an error with this status.
pub fn error(status: usize) -> usize {
    let known = CODES.iter().position(|code| code.parse() == Ok(status));
    ERROR + known.unwrap_or(CODES.len() - 1)
}

/// The counter of a state of the cache, by nginx's number; 0 is none.
pub fn cache(state: usize) -> Option<usize> {
    (1..=7).contains(&state).then(|| CACHE + state - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The metric and the label's value at the place of a counter.
    fn at(metrics: &'static [Metric], counter: usize) -> (&'static str, &'static str) {
        let mut first = 0;
        for metric in metrics {
            if counter < first + metric.count() {
                let value = metric.by.map_or("", |(_, values)| values[counter - first]);
                return (metric.name.trim_start_matches("clerk_proxy_"), value);
            }
            first += metric.count();
        }
        ("", "")
    }

    #[test]
    fn counters_have_their_places() {
        let upstream = |counter| at(&UPSTREAM, counter);
        assert_eq!(upstream(MADE), ("upstream_connections_made_total", ""));
        assert_eq!(upstream(REUSED), ("upstream_connections_reused_total", ""));
        assert_eq!(upstream(DEAD), ("upstream_dead_connections_total", ""));
        assert_eq!(upstream(HANDSHAKE), ("upstream_handshakes_total", "full"));
        assert_eq!(upstream(HANDSHAKE + 1), ("upstream_handshakes_total", "resumed"));
        assert_eq!(upstream(RETRIED), ("upstream_retries_total", ""));
        let location = |counter| at(&LOCATION, counter);
        assert_eq!(location(REQUEST), ("requests_total", ""));
        assert_eq!(location(RECEIVED), ("received_bytes_total", ""));
        assert_eq!(location(SENT), ("sent_bytes_total", ""));
        for (status, class) in [
            (101, "1xx"),
            (200, "2xx"),
            (304, "3xx"),
            (404, "4xx"),
            (503, "5xx"),
            (999, "5xx"),
            (9, "1xx"),
        ] {
            assert_eq!(location(reply(status)), ("replies_total", class));
        }
        for (status, code) in
            [(400, "400"), (499, "499"), (504, "504"), (418, "other"), (0, "other")]
        {
            assert_eq!(location(error(status)), ("errors_total", code));
        }
        assert_eq!(cache(1).map(location), Some(("cache_requests_total", "MISS")));
        assert_eq!(cache(7).map(location), Some(("cache_requests_total", "HIT")));
        assert_eq!((cache(0), cache(8)), (None, None));
        let len = |metrics: &[Metric]| metrics.iter().map(Metric::count).sum::<usize>();
        assert_eq!((len(&UPSTREAM), len(&LOCATION)), (UPSTREAM_LEN, LOCATION_LEN));
    }

    #[test]
    fn names_follow_the_conventions() {
        for metric in [&BUILD[..], &NAME, &UPSTREAM, &READY, &LOCATION].into_iter().flatten() {
            let name = metric.name;
            assert!(name.starts_with("clerk_proxy_"), "{name}");
            assert!(name.bytes().all(|byte| byte == b'_' || byte.is_ascii_lowercase()), "{name}");
            assert_eq!(metric.counts, name.ends_with("_total"), "{name}");
            assert!(metric.help.ends_with('.'), "{name}");
        }
    }
}
