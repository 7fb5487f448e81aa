//! The dashboard, the alerts and the documents name the metrics that a running nginx shows.

use std::collections::BTreeSet;

use crate::kit::documents::page;
use crate::kit::fapi::Fapi;
use crate::kit::harness::{Config, Nginx};
use crate::kit::status::Scrape;

const DASHBOARD: &str = include_str!("../../../packaging/monitoring/grafana-dashboard.json");
const RULES: &str = include_str!("../../../packaging/monitoring/prometheus-rules.yml");
const RULES_TEST: &str = include_str!("../../../packaging/monitoring/prometheus-rules-test.yml");

/// nginx with all that there are metrics of.
fn nginx() -> Nginx {
    let fapi = Fapi::plain();
    let mut nginx = Config::server(&format!(
        "location /status {{ clerk_proxy_status; }} location /__clerk/ {{\n\
         clerk_proxy https://app.dev/__clerk secret_key=%KEY% upstream=http://localhost:{};\n\
         clerk_proxy_warm 1; proxy_cache zone; }}",
        fapi.port
    ))
    .http("proxy_cache_path %DIR%/cache keys_zone=zone:1m;")
    .start();
    nginx.until("the name is looked up", |nginx| nginx.get("/status").text().contains("_lookup_t"));
    nginx
}

/// The words of a text that begin so.
fn words<'a>(text: &'a str, beginning: &str) -> BTreeSet<&'a str> {
    let words = text.split(|c: char| c != '_' && !c.is_ascii_alphanumeric());
    words.filter(|word| word.starts_with(beginning)).collect()
}

/// The first cells of the rows of a document that begin so.
fn rows<'a>(text: &'a str, beginning: &str) -> BTreeSet<&'a str> {
    let cells = text.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next());
    cells.filter(|cell| cell.starts_with(beginning)).collect()
}

#[test]
fn metrics_that_are_named_exist() {
    let scrape = Scrape::of(&nginx());
    let shown: BTreeSet<_> = scrape.metrics().into_iter().collect();
    let text = &page("docs/operations.md").text;
    assert_eq!(rows(text, "clerk_proxy_"), shown);
    for (name, text) in [("dashboard", DASHBOARD), ("rules", RULES), ("their tests", RULES_TEST)] {
        let other: Vec<_> = words(text, "clerk_proxy_").difference(&shown).copied().collect();
        // The directive, in what explains them.
        assert!(other.iter().all(|word| *word == "clerk_proxy_status"), "{name}: {other:?}");
    }
    // All is to be seen on the dashboard.
    assert!(words(DASHBOARD, "clerk_proxy_").is_superset(&shown));
}

#[test]
fn labels_that_are_named_exist() {
    let scrape = Scrape::of(&nginx());
    let labels: BTreeSet<_> = scrape
        .0
        .keys()
        .flat_map(|key| key.split(['{', ',']).filter_map(|part| Some(part.split_once('=')?.0)))
        .chain(["instance"])
        .collect();
    let text = &page("docs/operations.md").text;
    let table = text.lines().filter(|line| line.starts_with("| `clerk_proxy_"));
    let cells = table.filter_map(|line| line.split('|').nth(2));
    let mut named: BTreeSet<_> =
        cells.flat_map(|cell| cell.split('`').skip(1).step_by(2)).collect();
    named.insert("instance");
    assert_eq!(named, labels);
    for text in [DASHBOARD, RULES] {
        let by = text.split(" by (").chain(text.split(" on (")).skip(1);
        let lists = by.filter_map(|rest| rest.split(')').next());
        let selected = text.split("=~").map(|text| text.rsplit([' ', '{', ',']).next());
        let used = lists.flat_map(|list| list.split(", ")).chain(selected.flatten());
        for label in used.filter(|label| label.bytes().all(|byte| byte.is_ascii_lowercase())) {
            assert!(labels.contains(label), "{label}");
        }
    }
}

#[test]
fn alerts_are_documented_and_tested() {
    let defined: BTreeSet<_> =
        RULES.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    assert_eq!(defined.len(), 5);
    assert_eq!(rows(&page("docs/operations.md").text, "ClerkProxy"), defined);
    assert_eq!(words(RULES_TEST, "ClerkProxy"), defined);
}
