//! The status as Prometheus reads it (exposition format 0.0.4), and as JSON.

use std::fmt::{Result, Write};
use std::mem;

use crate::metrics::Metric;

/// Something that metrics have values of.
pub trait Subject {
    /// Its labels, by number.
    fn label(&self, number: usize) -> Option<(&'static str, &str)>;
    /// The value at this place, in the order of the metrics; it may have none.
    fn value(&self, place: usize) -> Option<usize>;
}

/// The form of a page.
#[derive(Clone, Copy, PartialEq)]
pub enum Form {
    /// For Prometheus.
    Text,
    /// For each metric a list of objects with its labels and a value.
    Json,
}

impl Form {
    /// What a client wants that says so in a header `Accept`.
    pub fn wanted(accept: &[u8]) -> Self {
        let is_json = |one: &[u8]| {
            let kind = one.split(|&byte| byte == b';').next().unwrap_or_default();
            kind.trim_ascii().eq_ignore_ascii_case(b"application/json")
        };
        if accept.split(|&byte| byte == b',').any(is_json) {
            Self::Json
        } else {
            Self::Text
        }
    }

    /// The page's `Content-Type`.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
            Self::Json => "application/json",
        }
    }
}

/// A page that is written to something, which may fail.
pub struct Page<W> {
    out: W,
    form: Form,
    is_empty: bool,
}

impl<W: Write> Page<W> {
    /// An empty page.
    pub fn new(out: W, form: Form) -> Self {
        Self { out, form, is_empty: true }
    }

    /// Writes these metrics of all subjects. Of a metric without values nothing is said.
    pub fn add<S: Subject>(
        &mut self,
        metrics: &[Metric],
        subjects: &(impl Iterator<Item = S> + Clone),
    ) -> Result {
        let mut first = 0;
        for metric in metrics {
            let mut is_said = false;
            for subject in subjects.clone() {
                for series in 0..metric.count() {
                    if let Some(value) = subject.value(first + series) {
                        self.begin(metric, mem::replace(&mut is_said, true))?;
                        self.sample(metric, &subject, series, value)?;
                    }
                }
            }
            if is_said && self.form == Form::Json {
                self.out.write_char(']')?;
            }
            first += metric.count();
        }
        Ok(())
    }

    /// Ends the page, and returns what it was written to.
    pub fn end(mut self) -> std::result::Result<W, std::fmt::Error> {
        if self.form == Form::Json {
            self.out.write_str(if self.is_empty { "{}\n" } else { "}\n" })?;
        }
        Ok(self.out)
    }

    /// Writes what stands before a sample.
    fn begin(&mut self, metric: &Metric, is_said: bool) -> Result {
        let Metric { name, help, counts, .. } = metric;
        let is_first = mem::replace(&mut self.is_empty, false);
        match (self.form, is_said) {
            (Form::Text, false) => {
                let kind = if *counts { "counter" } else { "gauge" };
                write!(self.out, "# HELP {name} {help}\n# TYPE {name} {kind}\n")
            }
            (Form::Text, true) => Ok(()),
            (Form::Json, false) => {
                write!(self.out, "{}\"{name}\":[", if is_first { "{" } else { ",\n" })
            }
            (Form::Json, true) => self.out.write_char(','),
        }
    }

    fn sample(
        &mut self,
        metric: &Metric,
        of: &impl Subject,
        series: usize,
        value: usize,
    ) -> Result {
        let is_text = self.form == Form::Text;
        if is_text {
            self.out.write_str(metric.name)?;
        }
        let own = (0..).map_while(|number| of.label(number));
        let by = metric.by.map(|(name, values)| (name, values[series]));
        let mut before = "{";
        for (name, value) in own.chain(by) {
            let (quote, equals) = if is_text { ("", '=') } else { ("\"", ':') };
            write!(self.out, "{before}{quote}{name}{quote}{equals}\"")?;
            value.chars().try_for_each(|c| self.escaped(c))?;
            self.out.write_char('"')?;
            before = ",";
        }
        match (self.form, before) {
            (Form::Text, "{") => writeln!(self.out, " {value}"),
            (Form::Text, _) => writeln!(self.out, "}} {value}"),
            (Form::Json, _) => write!(self.out, "{before}\"value\":{value}}}"),
        }
    }

    /// Writes a character of a label's value.
    fn escaped(&mut self, c: char) -> Result {
        match c {
            '"' | '\\' => write!(self.out, "\\{c}"),
            '\n' => self.out.write_str("\\n"),
            // JSON has no control characters.
            _ if c.is_ascii_control() && self.form == Form::Json => {
                write!(self.out, "\\u{:04x}", u32::from(c))
            }
            _ => self.out.write_char(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::{BUILD, LOCATION, NAME};

    #[derive(Clone)]
    struct Row<'a>(Option<(&'static str, &'a str)>, Vec<usize>);

    impl Subject for Row<'_> {
        fn label(&self, number: usize) -> Option<(&'static str, &str)> {
            self.0.filter(|_| number == 0)
        }

        fn value(&self, place: usize) -> Option<usize> {
            self.1.get(place).copied()
        }
    }

    fn page(form: Form, tables: &[(&[Metric], Vec<Row>)]) -> String {
        let mut page = Page::new(String::new(), form);
        for (metrics, rows) in tables {
            page.add(metrics, &rows.iter().cloned()).unwrap();
        }
        page.end().unwrap()
    }

    fn tables(odd: &str) -> [(&'static [Metric], Vec<Row<'_>>); 2] {
        let names = [("a", [2, 1]), (odd, [0, 0])];
        let names = names.map(|(name, values)| Row(Some(("name", name)), values.to_vec()));
        [(&BUILD, vec![Row(None, vec![1])]), (&NAME, names.to_vec())]
    }

    #[test]
    fn as_prometheus_reads_it() {
        let expected = "\
            # HELP clerk_proxy_build_info The versions of the module and of nginx.\n\
            # TYPE clerk_proxy_build_info gauge\n\
            clerk_proxy_build_info 1\n\
            # HELP clerk_proxy_name_addresses Addresses of the name that are in use.\n\
            # TYPE clerk_proxy_name_addresses gauge\n\
            clerk_proxy_name_addresses{name=\"a\"} 2\n\
            clerk_proxy_name_addresses{name=\"b\\\"\\\\\\n\u{7f}é\"} 0\n\
            # HELP clerk_proxy_name_lookup_success Whether the last look-up found addresses.\n\
            # TYPE clerk_proxy_name_lookup_success gauge\n\
            clerk_proxy_name_lookup_success{name=\"a\"} 1\n\
            clerk_proxy_name_lookup_success{name=\"b\\\"\\\\\\n\u{7f}é\"} 0\n";
        assert_eq!(page(Form::Text, &tables("b\"\\\n\u{7f}é")), expected);
    }

    #[test]
    fn as_json() {
        let odd = "b\"\\\n\t\u{1}\u{7f}é/";
        let text = page(Form::Json, &tables(odd));
        let value: serde_json::Value = serde_json::from_str(&text).expect(&text);
        assert_eq!(
            value,
            serde_json::json!({
                "clerk_proxy_build_info": [{"value": 1}],
                "clerk_proxy_name_addresses": [{"name": "a", "value": 2}, {"name": odd, "value": 0}],
                "clerk_proxy_name_lookup_success": [{"name": "a", "value": 1}, {"name": odd, "value": 0}],
            })
        );
    }

    #[test]
    fn a_subject_without_the_last_values() {
        let values: Vec<usize> = (0..28).collect();
        let (all, few) = (values.clone(), values[..21].to_vec());
        let rows = vec![Row(Some(("location", "/")), all), Row(Some(("location", "/b")), few)];
        let text = page(Form::Text, &[(&LOCATION, rows)]);
        for line in [
            "clerk_proxy_replies_total{location=\"/b\",class=\"5xx\"} 7\n",
            "clerk_proxy_errors_total{location=\"/\",code=\"other\"} 20\n",
            "clerk_proxy_cache_requests_total{location=\"/\",state=\"HIT\"} 27\n",
        ] {
            assert!(text.contains(line), "{line} in {text}");
        }
        assert!(!text.contains("cache_requests_total{location=\"/b\""), "{text}");
    }

    #[test]
    fn nothing_is_said_of_metrics_without_values() {
        assert_eq!(page(Form::Text, &[(&NAME, Vec::new())]), "");
        assert_eq!(page(Form::Json, &[(&NAME, Vec::new())]), "{}\n");
    }

    #[test]
    fn who_wants_json() {
        for accept in
            ["application/json", "text/html, Application/JSON;q=0.9", "a/b,application/json ;v=1"]
        {
            assert!(Form::wanted(accept.as_bytes()) == Form::Json, "{accept}");
        }
        for accept in [
            "",
            "*/*",
            "application/jsonx",
            "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
        ] {
            assert!(Form::wanted(accept.as_bytes()) == Form::Text, "{accept}");
        }
    }
}
