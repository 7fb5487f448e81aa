//! A grammar of configurations: what may stand in `http {}`, ours and nginx's own, right and wrong, at random.

use std::fmt;

use proptest::prelude::Rng as _;
use proptest::test_runner::{RngAlgorithm, TestRng};

use crate::kit::vocabulary::{CLERK, DIRECTIVES, KEYS, NUMBERS, ORIGINS, UPSTREAMS, URLS};

/// A line with its end, or a block with what stands before its brace.
#[derive(Clone, PartialEq)]
pub enum Node {
    Line(String),
    Block(String, Vec<Node>),
}

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Line(line) => writeln!(f, "{line}"),
            Self::Block(head, nodes) => writeln!(f, "{head} {{\n{}}}", text(nodes)),
        }
    }
}

pub fn text(nodes: &[Node]) -> String {
    nodes.iter().map(Node::to_string).collect()
}

fn is_ours(node: &Node) -> bool {
    matches!(node, Node::Line(line) if line.starts_with("clerk_proxy"))
}

/// Whether it would answer the requests of `clerk_proxy`.
fn is_handler(node: &Node) -> bool {
    let of =
        |line: &str| ["_pass ", "empty_gif", "stub_status"].iter().any(|text| line.contains(text));
    matches!(node, Node::Line(line) if of(line))
}

/// The same without the module's directives.
pub fn plain(nodes: &[Node]) -> Vec<Node> {
    let kept = nodes.iter().filter(|node| !is_ours(node));
    kept.map(|node| match node {
        Node::Line(_) => node.clone(),
        Node::Block(head, inner) => Node::Block(head.clone(), plain(inner)),
    })
    .collect()
}

/// The lines that stand beside a `clerk_proxy`.
pub fn beside_clerk(nodes: &[Node]) -> Vec<&str> {
    fn collect<'a>(nodes: &'a [Node], inside: bool, found: &mut Vec<&'a str>) {
        let is_clerk =
            |node: &Node| matches!(node, Node::Line(line) if line.starts_with("clerk_proxy "));
        // Locations inside of one proxy as it does.
        let inside = inside || nodes.iter().any(is_clerk);
        for node in nodes {
            match node {
                Node::Line(line) if inside => found.push(line),
                Node::Line(_) => {}
                Node::Block(_, inner) => collect(inner, inside, found),
            }
        }
    }
    let mut found = Vec::new();
    collect(nodes, false, &mut found);
    found
}

/// The smallest configuration found for which the condition still holds.
pub fn smallest(mut nodes: Vec<Node>, holds: &dyn Fn(&[Node]) -> bool) -> Vec<Node> {
    loop {
        let smaller = without_one(&nodes).into_iter().find(|nodes| holds(nodes));
        match smaller {
            Some(smaller) => nodes = smaller,
            None => return nodes,
        }
    }
}

/// All configurations that lack one node.
fn without_one(nodes: &[Node]) -> Vec<Vec<Node>> {
    let mut all = Vec::new();
    for (i, node) in nodes.iter().enumerate() {
        let with = |replaced: Option<Node>| {
            let (before, after) = (&nodes[..i], &nodes[i + 1..]);
            before.iter().cloned().chain(replaced).chain(after.iter().cloned()).collect()
        };
        all.push(with(None));
        if let Node::Block(head, inner) = node {
            let inner = without_one(inner).into_iter();
            all.extend(inner.map(|inner| with(Some(Node::Block(head.clone(), inner)))));
        }
    }
    all
}

/// Makes one configuration, which its seed determines.
pub struct Grammar {
    rng: TestRng,
    /// Of a thousand choices, how many are odd ones.
    odd: u32,
}

impl Grammar {
    pub fn new(seed: u64) -> Self {
        let bytes: Vec<u8> = seed.to_ne_bytes().repeat(4);
        let mut rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
        // Most configurations have few mistakes or none: one hides all that follow it.
        let odd = [0, 0, 0, 8, 30, 200][rng.random_range(0..6)];
        Self { rng, odd }
    }

    /// What stands in `http {}`.
    pub fn http(mut self) -> Vec<Node> {
        let mut nodes = self.lines('h', 6);
        for block in list(UPSTREAMS) {
            if self.chance(970) {
                nodes.push(Node::Line(block.to_owned()));
            }
        }
        nodes.extend((0..=self.below(2)).map(|_| self.server()));
        self.shuffle(&mut nodes);
        nodes
    }

    fn server(&mut self) -> Node {
        let mut nodes = self.lines('s', 5);
        for line in ["listen 127.0.0.1:%PORT%;", "location = /allowed { return 204; }"] {
            nodes.push(Node::Line(line.to_owned()));
        }
        let locations =
            "/ | = / | /__clerk | /__clerk/ | ^~ /__clerk/v1/ | = /__clerk/v1 | /other/ | \
                         ~ ^/__clerk/(re|x) | ~* \\.js$ | ~ /\\. | @named | /own/";
        nodes.extend(self.locations(locations, 2));
        if self.chance(300) {
            nodes.push(self.condition('c'));
        }
        self.shuffle(&mut nodes);
        Node::Block("server".to_owned(), nodes)
    }

    fn locations(&mut self, names: &str, depth: u32) -> Vec<Node> {
        let mut nodes = Vec::new();
        for name in list(names) {
            let twice = self.odd();
            let often = u32::from(self.chance(if name.contains("__clerk") { 800 } else { 500 }));
            for _ in 0..if twice { 2 } else { often } {
                nodes.push(self.location(name, depth));
            }
        }
        nodes
    }

    fn location(&mut self, name: &str, depth: u32) -> Node {
        let mut nodes = self.lines('l', 7);
        let fits = name.contains("/__clerk") || name.starts_with(['~', '@']) || self.odd();
        if fits && self.chance(800) {
            if !self.odd() {
                nodes.retain(|node| !is_handler(node));
            }
            nodes.extend(self.clerk_proxy());
        } else if self.chance(300) {
            // A regular expression allows no URI.
            let to = "http://127.0.0.1:%OWN% | http://own | https://localhost:%OWNTLS% | \
                      http://127.0.0.1:%OWN%$request_uri";
            nodes.push(Node::Line(format!("proxy_pass {};", self.pick(to))));
        }
        let inner = match name {
            _ if self.odd() => "/ | = /x | @inner | /__clerk/",
            "/" => "/a/ | /__clerk/n/ | ~ ^/__clerk/y | = /__clerk/z",
            "/__clerk" | "/__clerk/" => {
                "/__clerk/v1/client | /__clerk/v2/ | = /__clerk/v3 | ~ \\.css$"
            }
            _ => "",
        };
        if depth > 0 && self.chance(400) {
            nodes.extend(self.locations(inner, depth - 1));
        }
        if self.chance(200) {
            nodes.push(self.condition('i'));
        }
        if self.chance(200) {
            let methods = self.pick("GET | POST | GET POST");
            let lines = self.lines('x', 2);
            nodes.push(Node::Block(format!("limit_except {methods}"), lines));
        }
        self.shuffle(&mut nodes);
        Node::Block(format!("location {name}"), nodes)
    }

    fn condition(&mut self, place: char) -> Node {
        let when = "($arg_if) | ($request_method = POST) | (!-f $request_filename) | ($uri ~ \"/__clerk/(v)\")";
        let head = format!("if {}", self.pick(when));
        Node::Block(head, self.lines(place, 3))
    }

    fn clerk_proxy(&mut self) -> Vec<Node> {
        let mut words = vec![self.of(URLS)];
        if self.chance(500) {
            words.push(format!("secret_key={}", self.of(KEYS)));
        }
        let origin = self.of(ORIGINS);
        let is_block =
            ["http://fapi", "https://secure"].iter().any(|name| origin.starts_with(name));
        if (!is_block || self.odd()) && self.chance(300) {
            words.push(format!("keepalive={}", self.of(NUMBERS)));
        }
        let tls = origin.starts_with("https");
        if self.chance(900) {
            words.push(format!("upstream={origin}"));
        }
        if self.odd() {
            let wrong = "secretkey=%KEY% | %KEY% | keepalive=8 | upstream=http://127.0.0.1:%FAPI% | \"\" | =";
            words.push(self.pick(wrong).to_owned());
        }
        self.shuffle(&mut words[1..]);
        let mut nodes = vec![Node::Line(format!("clerk_proxy {};", words.join(" ")))];
        if tls && self.chance(800) {
            nodes.push(Node::Line("proxy_ssl_trusted_certificate ca.pem;".to_owned()));
        }
        nodes
    }

    /// Up to `most` directives for a place: `h`ttp, `s`erver, `l`ocation, `i`f in one, if in a server (`c`),
    /// `limit_except` (`x`).
    fn lines(&mut self, place: char, most: u32) -> Vec<Node> {
        let table: Vec<[&str; 3]> = DIRECTIVES.lines().chain(CLERK.lines()).map(entry).collect();
        let mut lines: Vec<String> = Vec::new();
        for _ in 0..self.below(most + 1) {
            let index = self.rng.random_range(0..table.len());
            // Few are ours.
            let index = if self.chance(60) {
                table.len() - 1 - index % CLERK.lines().count()
            } else {
                index
            };
            let [name, places, values] = table[index];
            let again = lines.iter().any(|line| line.split(' ').next() == Some(name));
            let fits = places.contains(place) && (!again || places.contains('*'));
            if fits || self.odd() {
                lines.push(format!("{name} {};", self.of(values)));
            }
        }
        lines.into_iter().map(Node::Line).collect()
    }

    /// One of the values, mostly one of the right ones before `||`.
    fn of(&mut self, values: &str) -> String {
        let (good, odd) = values.split_once("||").unwrap_or((values, ""));
        let from = if !odd.is_empty() && self.odd() { odd } else { good };
        self.pick(from).to_owned()
    }

    fn pick<'a>(&mut self, values: &'a str) -> &'a str {
        let values: Vec<&str> = list(values).collect();
        // Some directives have no argument.
        if values.is_empty() {
            return "";
        }
        values[self.rng.random_range(0..values.len())]
    }

    fn odd(&mut self) -> bool {
        self.odd > 0 && self.chance(self.odd)
    }

    /// True as often as this of a thousand times.
    fn chance(&mut self, of_1000: u32) -> bool {
        self.below(1000) < of_1000
    }

    fn below(&mut self, end: u32) -> u32 {
        self.rng.random_range(0..end)
    }

    fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            items.swap(i, self.rng.random_range(0..=i));
        }
    }
}

fn list(values: &str) -> impl Iterator<Item = &str> {
    values.split(" | ").map(str::trim).filter(|value| !value.is_empty())
}

/// `name places: values` apart.
fn entry(line: &str) -> [&str; 3] {
    let (head, values) = line.split_once(": ").expect("a colon");
    let (name, places) = head.split_once(' ').expect("places");
    [name, places, values]
}
