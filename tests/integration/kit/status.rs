//! What `clerk_proxy_status` shows, read as Prometheus reads it.

use std::collections::BTreeMap;

use crate::kit::harness::{Nginx, Reply};

/// The values by metric and labels, in order, such as `clerk_proxy_requests_total{location="/",server=""}`.
#[derive(Debug, PartialEq)]
pub struct Scrape(pub BTreeMap<String, u64>);

impl Scrape {
    /// Asks for `/status`.
    pub fn of(nginx: &Nginx) -> Self {
        let reply = nginx.get("/status");
        assert_eq!(reply.status, 200, "{reply:?}");
        assert_eq!(reply.all("Content-Type"), ["text/plain; version=0.0.4; charset=utf-8"]);
        Self::parse(&reply.text())
    }

    /// Reads the text form, in which no line of a sample stands twice and each metric is described before its samples.
    pub fn parse(text: &str) -> Self {
        let (mut samples, mut described) = (BTreeMap::new(), "");
        for line in text.lines() {
            if let Some(comment) = line.strip_prefix("# ") {
                described = comment.split(' ').nth(1).expect("a name");
                continue;
            }
            let (sample, value) = line.rsplit_once(' ').expect("a value");
            assert_eq!(sample.split('{').next(), Some(described), "{line}");
            let value = value.parse().expect("a whole number");
            let sample = match sample.strip_suffix("\"}").and_then(|rest| rest.split_once('{')) {
                Some((name, labels)) => key(name, labels.split("\",").map(str::to_owned)),
                None => sample.to_owned(),
            };
            assert_eq!(samples.insert(sample, value), None, "{line}");
        }
        Self(samples)
    }

    /// Reads the JSON form, as if it were the text.
    pub fn of_json(reply: &Reply) -> Self {
        assert_eq!(reply.all("Content-Type"), ["application/json"]);
        let value: serde_json::Value = serde_json::from_slice(&reply.body).expect("JSON");
        let mut samples = BTreeMap::new();
        for (metric, list) in value.as_object().expect("metrics") {
            for sample in list.as_array().expect("samples") {
                let mut labels = sample.as_object().expect("labels").clone();
                let value = labels.remove("value").and_then(|value| value.as_u64());
                let text = |value: &serde_json::Value| value.as_str().expect("a text").to_owned();
                let escaped = |text: String| text.replace('\\', "\\\\").replace('"', "\\\"");
                let label = |(name, value)| format!("{name}=\"{}", escaped(text(value)));
                let key = key(metric, labels.iter().map(label));
                samples.insert(key, value.expect("a whole number"));
            }
        }
        Self(samples)
    }

    /// The sum of a metric's samples whose labels have all of these parts.
    pub fn sum(&self, metric: &str, parts: &[&str]) -> u64 {
        let metric = format!("clerk_proxy_{metric}");
        let is_meant = |sample: &str| {
            let (name, labels) = sample.split_once('{').unwrap_or((sample, ""));
            name == metric && parts.iter().all(|part| labels.contains(part))
        };
        let meant: Vec<_> = self.0.iter().filter(|(sample, _)| is_meant(sample)).collect();
        assert!(!meant.is_empty(), "no {metric} with {parts:?} in {self:#?}");
        meant.into_iter().map(|(_, value)| value).sum()
    }

    /// The names of the metrics.
    pub fn metrics(&self) -> Vec<&str> {
        let mut names: Vec<_> = self.0.keys().filter_map(|key| key.split('{').next()).collect();
        names.dedup();
        names
    }
}

/// A metric with its labels in order, whose last quotes are missing.
fn key(metric: &str, labels: impl Iterator<Item = String>) -> String {
    let mut labels: Vec<_> = labels.map(|label| label + "\"").collect();
    labels.sort();
    format!("{metric}{{{}}}", labels.join(","))
}
