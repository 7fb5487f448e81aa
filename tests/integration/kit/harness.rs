//! A real nginx in a temporary folder, on free loopback ports, checked and cleaned up at the end of each test.

use std::collections::BTreeMap;
use std::env;
use std::ffi::{OsStr, OsString};
use std::fmt::Write as _;
use std::fs::{self, Permissions};
use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{LazyLock, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use crate::kit::fapi::CA;

/// The environment variable with the program that nginx is run under.
const WRAPPER: &str = "CLERK_PROXY_TEST_WRAPPER";
/// How long anything may take that takes milliseconds on an idle machine; with `CLERK_PROXY_TEST_PATIENCE` set when
/// the tests are built, as scripts/valgrind does it, that takes a second.
pub const PATIENCE: Duration =
    Duration::from_secs(if option_env!("CLERK_PROXY_TEST_PATIENCE").is_some() { 200 } else { 20 });

/// A key in the right form; looked for where no key may be.
pub const KEY: &str = "sk_live_ofTheTests";

/// The module under test: that of `CLERK_PROXY_TEST_MODULE`, which is empty for an nginx with the module built in, or
/// else built once per run.
pub static MODULE: LazyLock<PathBuf> = LazyLock::new(|| {
    env::var_os("CLERK_PROXY_TEST_MODULE").map_or_else(|| build(&[]), PathBuf::from)
});

/// The nginx under test; not every user's PATH has Debian's place for it.
pub static PROGRAM: LazyLock<PathBuf> = LazyLock::new(|| {
    env::var_os("CLERK_PROXY_TEST_NGINX").map_or("/usr/sbin/nginx".into(), PathBuf::from)
});

/// The module with panics that `CLERK_PROXY_FAULT` switches on, and with calls into nginx that can fail: the linker
/// puts those of tests/inside/faults.rs in the place of nginx's own. A static library shares all other crates with
/// the module under test, whose file has the name that a second dynamic one would get.
pub static FAULTY_MODULE: LazyLock<PathBuf> = LazyLock::new(|| {
    const FAULTS: &str = include_str!("../../inside/faults.rs");
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("faulty.so");
    // As for a dynamic library of cargo's: what nginx looks for is seen, and what that does not need is left out.
    let seen = path.with_extension("map");
    fs::write(&seen, "{ global: ngx_*; local: *; };").expect("a file");
    let words = FAULTS.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let names = words.filter_map(|word| word.strip_prefix("__wrap_").filter(|n| !n.is_empty()));
    let status = Command::new("cc")
        .args(["-shared", "-Wl,-z,nodelete", "-Wl,-Bsymbolic", "-Wl,--gc-sections"])
        .arg(format!("-Wl,--version-script={}", seen.display()))
        .arg("-o")
        .arg(&path)
        .args(names.map(|name| format!("-Wl,--wrap={name}")))
        .arg("-Wl,--whole-archive")
        .arg(build(&["--crate-type=staticlib", "--features=fault-injection,compare-heads"]))
        .args(["-Wl,--no-whole-archive", "-lpthread", "-ldl", "-lm", "-lgcc_s"])
        .status();
    assert!(status.expect("cc runs").success());
    path
});

fn build(arguments: &[&str]) -> PathBuf {
    let output = Command::new(env!("CARGO"))
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .args(["rustc", "--locked", "--lib", "--message-format=json"])
        .args(arguments)
        // Of this test; crates would take it for a reason to be built again.
        .env_remove("OUT_DIR")
        .stderr(Stdio::inherit())
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "the module does not build");
    let text = String::from_utf8(output.stdout).expect("cargo prints UTF-8");
    text.lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .filter_map(|message| Some(message["filenames"][0].as_str()?.to_owned()))
        .rfind(|path| path.contains("/libngx_http_clerk_proxy_module."))
        .expect("cargo names the module")
        .into()
}

/// What the nginx under test says of itself.
fn prints(option: &'static str) -> String {
    // Each configuration asks for some of it.
    static PRINTED: Mutex<BTreeMap<&str, String>> = Mutex::new(BTreeMap::new());
    let mut printed = PRINTED.lock().expect("nginx has run");
    let text = printed.entry(option).or_insert_with(|| {
        let output = Command::new(&*PROGRAM).arg(option).output().expect("nginx runs");
        String::from_utf8_lossy(&output.stderr).into_owned()
    });
    text.clone()
}

/// What the nginx under test calls itself.
pub fn product() -> String {
    let text = prints("-v");
    let name = text.split_once("version: ").and_then(|(_, version)| version.split_once('/'));
    name.expect("a name").0.to_owned()
}

/// What Angie and old versions print, as nginx prints it.
fn as_nginx(text: &[u8]) -> String {
    let text = format!("\n{}", String::from_utf8_lossy(text));
    with_reasons(&text.replace("\nangie: ", "\nnginx: ")).split_off(1)
}

/// The text with the names of system errors, of which old versions of nginx get none from newer ones of glibc.
fn with_reasons(text: &str) -> String {
    let mut parts = text.split(": Unknown error)");
    let mut whole = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let number = whole.rsplit('(').next().and_then(|number| number.parse().ok());
        let reason = std::io::Error::from_raw_os_error(number.unwrap_or_default()).to_string();
        let reason = reason.split(" (os error").next().unwrap_or_default();
        write!(whole, ": {reason}){part}").expect("memory");
    }
    whole
}

/// Whether the nginx under test has the directive or variable, whose name is then in the program.
pub fn has(name: &str) -> bool {
    static TEXT: LazyLock<Vec<u8>> = LazyLock::new(|| fs::read(&*PROGRAM).expect("a program"));
    let name = format!("{name}\0");
    TEXT.windows(name.len()).any(|bytes| bytes == name.as_bytes())
}

/// Whether this version of nginx itself answers 400 to an invalid `Host`.
pub fn refuses_odd_hosts() -> bool {
    comes_from([1, 29, 4])
}

/// Whether this version of nginx itself answers 400 to spaces and control characters in headers.
pub fn refuses_odd_headers() -> bool {
    comes_from([1, 21, 1])
}

/// Whether the nginx under test, or the one that a fork comes from, has at least this version.
fn comes_from(wanted: [u32; 3]) -> bool {
    // Some forks print their own version alone, or first, for "-v".
    let text = prints("-V");
    let text = text.split_once("nginx version: ").expect("a version").1;
    let version = text.split('/').nth(1).expect("a version");
    let digits = version.split(|c: char| !c.is_ascii_digit());
    let version: Vec<u32> = digits.filter_map(|part| part.parse().ok()).take(3).collect();
    version >= wanted.to_vec()
}

/// Whether nginx speaks TLS by `OpenSSL` and not by what comes from it.
pub fn speaks_by_openssl() -> bool {
    let text = prints("-V");
    !["BoringSSL", "AWS-LC"].iter().any(|name| text.contains(name))
}

/// Whether this nginx writes anything at level `debug`.
pub fn debug_build() -> bool {
    let output = Config::new("").command().arg("-V").output().expect("nginx runs");
    String::from_utf8_lossy(&output.stderr).contains("--with-debug")
}

/// How many stand for a number in the environment.
pub fn number(variable: &str, default: u64) -> u64 {
    let text = env::var(variable).ok();
    text.map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{variable}={text}")))
}

/// A port of 127.0.0.1 that nothing listens on, handed out once per run. It is below those that systems take for
/// outgoing connections, of which there are many here.
pub fn free_port() -> u16 {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    loop {
        let number = NEXT.fetch_add(1, Ordering::Relaxed) + std::process::id() as usize * 199;
        let port = 12_000 + u16::try_from(number % 20_000).expect("a port");
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// A folder that is removed with the value.
pub struct Folder(PathBuf);

impl Folder {
    pub fn new() -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("clerk-proxy-test-{}-{number}", std::process::id());
        let path = env::temp_dir().join(name);
        fs::create_dir_all(path.join("logs")).expect("a temporary folder");
        Self(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.join(name);
        fs::write(&path, content).expect("a file in the temporary folder");
        path
    }

    pub fn read(&self, name: &str) -> String {
        let bytes = fs::read(self.0.join(name)).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A configuration to be tested or run: what stands in `http {}`, and what the tests may vary.
pub struct Config {
    pub folder: Folder,
    pub port: u16,
    /// A second port, for HTTP/2.
    pub port2: u16,
    http: String,
    /// Whether `http` is a whole configuration.
    whole: bool,
    main: String,
    module: PathBuf,
    /// Modules beside it.
    others: String,
    env: Vec<(String, String)>,
    allowed: Vec<String>,
    /// The configuration file's.
    pub mode: u32,
    workers: usize,
    /// What nginx is started by, and the words that stand before it.
    starter: Vec<OsString>,
}

impl Config {
    /// `%PORT%` and `%PORT2%` are free ports of 127.0.0.1, `%DIR%` the folder, `%KEY%` the key.
    pub fn new(http: &str) -> Self {
        let folder = Folder::new();
        folder.write("ca.pem", CA.pem());
        Self {
            folder,
            port: free_port(),
            port2: free_port(),
            http: http.to_owned(),
            whole: false,
            main: String::new(),
            module: MODULE.clone(),
            others: env::var("CLERK_PROXY_TEST_MODULES").unwrap_or_default(),
            env: Vec::new(),
            allowed: Vec::new(),
            // It has a key in it.
            mode: 0o600,
            workers: 1,
            starter: Vec::new(),
        }
    }

    /// A whole configuration, with the line that loads the module.
    pub fn whole(text: &str) -> Self {
        let mut config = Self::new(text);
        config.whole = true;
        config
    }

    /// One server on `%PORT%` with these lines in it.
    pub fn server(lines: &str) -> Self {
        Self::new(&format!("server {{\nlisten 127.0.0.1:%PORT%;\n{lines}\n}}"))
    }

    pub fn main(mut self, lines: &str) -> Self {
        lines.clone_into(&mut self.main);
        self
    }

    /// Adds lines to the end of the `http` block.
    pub fn http(mut self, lines: &str) -> Self {
        self.http += lines;
        self
    }

    pub fn module(mut self, module: &Path) -> Self {
        module.clone_into(&mut self.module);
        self
    }

    /// Loads another module after the one under test.
    pub fn beside(mut self, module: &Path) -> Self {
        self.others.extend(["load_module ", &module.display().to_string(), "; "]);
        self
    }

    /// Loads no module but the one under test.
    pub fn alone(mut self) -> Self {
        self.others.clear();
        self
    }

    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    pub fn file(self, name: &str, content: impl AsRef<[u8]>) -> Self {
        self.folder.write(name, content);
        self
    }

    /// Adds a file with this mode.
    pub fn file_of_mode(self, name: &str, content: &str, mode: u32) -> Self {
        let path = self.folder.write(name, content);
        fs::set_permissions(path, Permissions::from_mode(mode)).expect("the file is ours");
        self
    }

    /// Allows error log lines with this text although their level is crit or above.
    pub fn allow(mut self, text: &str) -> Self {
        self.allowed.push(text.to_owned());
        self
    }

    pub fn workers(mut self, count: usize) -> Self {
        self.workers = count;
        self
    }

    /// Lets another program start nginx; it must do so by `exec`, since the process is to be nginx.
    pub fn starter(mut self, words: &[&OsStr]) -> Self {
        self.starter = words.iter().map(OsString::from).collect();
        self
    }

    /// The whole text; `http {` is on line 1, so that line 2 is the first of the test's own.
    pub fn text(&self) -> String {
        let filled = self
            .http
            .replace("%PORT%", &self.port.to_string())
            .replace("%PORT2%", &self.port2.to_string())
            .replace("%DIR%", &self.folder.path().to_string_lossy())
            .replace("%KEY%", KEY);
        let load = match self.module.display().to_string() {
            built_in if built_in.is_empty() => String::new(),
            module => format!("load_module {module}; "),
        };
        if self.whole {
            const LINE: &str = "load_module modules/ngx_http_clerk_proxy_module.so;";
            return filled.replace(LINE, &format!("{load}{} daemon off;", self.others));
        }
        // Most tests count connections.
        let warm = if filled.contains("clerk_proxy_warm") { "" } else { "clerk_proxy_warm 0;" };
        let (mut main, others, workers) = (self.main.clone(), &self.others, self.workers);
        // nginx warns where many modules, or those of Tengine, have more variables than its table has room for.
        let many = !others.is_empty() || product() == "Tengine";
        let room = if many { "variables_hash_max_size 4096;" } else { "" };
        if !main.contains("error_log ") && product() == "Angie" {
            // Without one, Angie names nothing in its messages.
            main += "error_log logs/error.log;";
        }
        format!(
            "{load}{others}daemon off; pid logs/nginx.pid; events {{ worker_connections 256; }} \
             worker_processes {workers}; {main} http {{\n{filled}\n{warm}{room}\
             access_log logs/access.log; client_body_temp_path body; proxy_temp_path proxy;\n\
             fastcgi_temp_path fastcgi; uwsgi_temp_path uwsgi; scgi_temp_path scgi;\n}}\n"
        )
    }

    /// A program in the surroundings that nginx is to run in.
    pub fn program(&self, program: &OsStr) -> Command {
        let mut words = self.starter.iter().map(OsString::as_os_str).chain([program]);
        let mut command = Command::new(words.next().expect("a program"));
        command.args(words);
        command
    }

    /// nginx with this configuration, still without a word of what to do.
    pub fn command(&self) -> Command {
        let file = self.folder.write("nginx.conf", self.text());
        fs::set_permissions(file, Permissions::from_mode(self.mode)).expect("the folder is ours");
        // What scripts/valgrind runs nginx under.
        let wrapper = env::var(WRAPPER).unwrap_or_default();
        let mut words = wrapper.split_whitespace().map(OsStr::new).chain([PROGRAM.as_os_str()]);
        let mut command = self.program(words.next().expect("a program"));
        command.args(words).arg("-p").arg(self.folder.path()).args(["-c", "nginx.conf"]);
        // nginx before 1.19.5 does not know it, and takes this file if it is one that nobody packaged.
        if prints("-h").contains("-e filename") {
            command.args(["-e", "logs/error.log"]);
        }
        for name in ["CLERK_SECRET_KEY", "https_proxy", "HTTPS_PROXY"] {
            command.env_remove(name);
        }
        command.envs(self.env.iter().cloned());
        command
    }

    /// `nginx -t`: whether the configuration is good, and what was printed.
    pub fn check(&self) -> (bool, String) {
        let Output { status, stderr, .. } = self.command().arg("-t").output().expect("nginx runs");
        self.folder.write("logs/check", &stderr);
        assert!(status.code().is_some(), "nginx -t died of a signal: {status}");
        (status.success(), as_nginx(&stderr))
    }

    pub fn start(self) -> Nginx {
        let stderr = fs::File::create(self.folder.path().join("logs/stderr")).expect("a file");
        let child = self.command().stderr(stderr).spawn().expect("nginx runs");
        let mut nginx = Nginx { child, config: self };
        let port = nginx.config.port;
        nginx.until("nginx works", |nginx| {
            if let Some(status) = nginx.child.try_wait().expect("a child") {
                panic!("nginx ended with {status}");
            }
            // The master listens before it has workers.
            nginx.workers().len() >= nginx.config.workers
                && TcpStream::connect(("127.0.0.1", port)).is_ok()
        });
        nginx
    }
}

/// A test that fails prints what nginx was told and what it said.
impl Drop for Config {
    fn drop(&mut self) {
        if !thread::panicking() {
            return;
        }
        for file in ["nginx.conf", "logs/check", "logs/stderr", "logs/error.log", "logs/access.log"]
        {
            let text = self.folder.read(file).replace(KEY, "(the key)");
            if !text.is_empty() {
                println!("--- {file}\n{text}");
            }
        }
    }
}

/// A running nginx.
pub struct Nginx {
    child: Child,
    pub config: Config,
}

impl Nginx {
    pub fn port(&self) -> u16 {
        self.config.port
    }

    pub fn error_log(&self) -> String {
        with_reasons(&self.config.folder.read("logs/error.log"))
    }

    /// How often the error log has this text.
    pub fn count(&self, text: &str) -> usize {
        self.error_log().matches(text).count()
    }

    /// The lines of the error log that tell of a failed request.
    pub fn errors(&self) -> Vec<String> {
        let log = self.error_log();
        log.lines().filter(|line| line.contains("[error]")).map(str::to_owned).collect()
    }

    /// Waits until the condition holds.
    pub fn until(&mut self, what: &str, mut holds: impl FnMut(&mut Self) -> bool) {
        let start = Instant::now();
        // A program that watches nginx makes its start twenty times as slow.
        let patience = PATIENCE * if env::var_os(WRAPPER).is_some() { 3 } else { 1 };
        while !holds(self) {
            assert!(start.elapsed() < patience, "waited in vain until {what}");
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// The process ids of the workers.
    pub fn workers(&self) -> Vec<u32> {
        let path = format!("/proc/{0}/task/{0}/children", self.child.id());
        let children = fs::read_to_string(path).unwrap_or_default();
        let pids = children.split_whitespace().filter_map(|pid| pid.parse().ok());
        // Those that look after caches call themselves so; one that has its parent's name, or a part of its own, is
        // not at work yet. Under valgrind none has a name. Angie has a name of its own.
        let name = |pid: &u32| fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let works = |name: Vec<u8>| {
            let own = name.strip_prefix(b"nginx: ").or_else(|| name.strip_prefix(b"angie: "));
            own.is_none_or(|own| own.starts_with(b"worker "))
        };
        pids.filter(|pid| works(name(pid))).collect()
    }

    /// The process id of the master.
    pub fn master(&self) -> u32 {
        self.child.id()
    }

    pub fn signal(&self, name: &str) {
        kill(name, self.child.id());
    }

    /// Reads the configuration again and waits until all workers are new ones.
    pub fn reload(&mut self) {
        let before = self.workers();
        self.signal("HUP");
        self.until("there are new workers", |nginx| {
            let workers = nginx.workers();
            workers.len() >= nginx.config.workers
                && !workers.iter().any(|worker| before.contains(worker))
        });
    }

    pub fn connect(&self) -> TcpStream {
        let stream =
            TcpStream::connect(("127.0.0.1", self.port())).expect("nginx takes connections");
        stream.set_read_timeout(Some(PATIENCE)).expect("a time-out");
        stream
    }

    /// Sends a request as it stands, with `Connection: close` in it, and reads the reply to its end.
    pub fn send(&self, request: impl AsRef<[u8]>) -> Reply {
        let mut stream = self.connect();
        stream.write_all(request.as_ref()).expect("nginx reads");
        let mut bytes = Vec::new();
        match stream.read_to_end(&mut bytes) {
            // nginx may close with a part of the request unread.
            Err(error) if error.kind() != ErrorKind::ConnectionReset => panic!("{error}"),
            _ => Reply::parse(&bytes),
        }
    }

    pub fn get(&self, target: &str) -> Reply {
        self.send(format!("GET {target} HTTP/1.1\r\nHost: app.dev\r\nConnection: close\r\n\r\n"))
    }

    /// A request with this method; a POST has a body.
    pub fn ask(&self, method: &str, target: &str) -> Reply {
        let body = if method == "POST" { "Content-Length: 5\r\n\r\nhello" } else { "\r\n" };
        self.send(format!("{method} {target} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{body}"))
    }

    /// Sends a request with curl, over cleartext HTTP/2 to the second port.
    pub fn curl_h2(&self, target: &str, arguments: &[&str]) -> Reply {
        let output = Command::new("curl")
            .args(["-q", "-sS", "-i", "--noproxy", "*", "--max-time", "200", "--path-as-is"])
            .arg("--http2-prior-knowledge")
            .args(arguments)
            .arg(format!("http://127.0.0.1:{}{target}", self.config.port2))
            .output()
            .expect("curl runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Reply::parse(&output.stdout)
    }

    /// Ends nginx as `QUIT` does, and waits for that.
    pub fn stop(&mut self) {
        if self.child.try_wait().is_ok_and(|status| status.is_some()) {
            return;
        }
        self.signal("QUIT");
        let start = Instant::now();
        while self.child.try_wait().is_ok_and(|status| status.is_none()) {
            if start.elapsed() > PATIENCE {
                self.signal("TERM");
                thread::sleep(Duration::from_millis(100));
                let _ = self.child.kill();
            }
            thread::sleep(Duration::from_millis(2));
        }
    }

    /// Error log lines that no test may leave behind.
    fn bad_lines(&self) -> String {
        let mut bad = String::new();
        for line in self.error_log().lines() {
            let severe = ["[alert]", "[emerg]", "[crit]"].iter().any(|level| line.contains(level));
            let allowed = self.config.allowed.iter().any(|text| line.contains(text));
            // Before 1.20.2 nginx takes it for an error of OpenSSL 3's that a peer ends its connection.
            let ended = line.contains(":unexpected eof while reading)") && !comes_from([1, 20, 2]);
            let allowed = allowed || ended;
            if (severe && !allowed) || line.contains(KEY) {
                let _ = writeln!(bad, "{line}");
            }
        }
        bad
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        self.stop();
        let bad = self.bad_lines();
        if !thread::panicking() {
            assert!(bad.is_empty(), "in the error log:\n{}", bad.replace(KEY, "(the key)"));
        }
    }
}

/// Sends a signal to a process of a test.
pub fn kill(signal: &str, pid: u32) {
    // The shell's own, since a small system has no other.
    let command = format!("kill -s {signal} {pid}");
    let status = Command::new("sh").args(["-c", &command]).status().expect("sh runs");
    assert!(status.success());
}

/// A reply as the client got it.
#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    /// Header lines without their ends, in order.
    pub headers: Vec<String>,
    pub body: Vec<u8>,
}

impl Reply {
    pub fn parse(bytes: &[u8]) -> Self {
        let (head, body) = split_head(bytes).unwrap_or_else(|| {
            panic!("no reply but {:?}", String::from_utf8_lossy(bytes));
        });
        let mut lines = head.split("\r\n").map(str::to_owned);
        let status_line = lines.next().expect("a status line");
        let status = status_line.split(' ').nth(1).and_then(|status| status.parse().ok());
        let headers: Vec<String> = lines.collect();
        let chunked =
            headers.iter().any(|line| line.eq_ignore_ascii_case("transfer-encoding: chunked"));
        let body = if chunked { dechunk(body).0 } else { body.to_vec() };
        Self { status: status.expect("a status"), headers, body }
    }

    /// Reads one reply with a length from a connection that stays open.
    pub fn read(client: &mut TcpStream) -> Self {
        let mut bytes = Vec::new();
        let mut byte = [0];
        while !bytes.ends_with(b"\r\n\r\n") {
            client.read_exact(&mut byte).expect("a head");
            bytes.push(byte[0]);
        }
        let length = Self::parse(&bytes).all("Content-Length")[0].parse().expect("a length");
        let mut body = vec![0; length];
        client.read_exact(&mut body).expect("a body");
        bytes.extend(body);
        Self::parse(&bytes)
    }

    /// All values of a header.
    pub fn all(&self, name: &str) -> Vec<&str> {
        values(&self.headers, name)
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// The values of a header among header lines.
pub fn values<'a>(headers: &'a [String], name: &str) -> Vec<&'a str> {
    let value = |line: &'a String| {
        let (other, value) = line.split_once(':')?;
        other.eq_ignore_ascii_case(name).then(|| value.strip_prefix(' ').unwrap_or(value))
    };
    headers.iter().filter_map(value).collect()
}

/// The head as text, one char per byte, and the bytes behind the empty line.
pub fn split_head(bytes: &[u8]) -> Option<(String, &[u8])> {
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n")?;
    let head = bytes[..end].iter().map(|&b| char::from(b)).collect();
    Some((head, &bytes[end + 4..]))
}

/// Joins chunks; also tells whether the last one was there.
pub fn dechunk(mut bytes: &[u8]) -> (Vec<u8>, bool) {
    let mut body = Vec::new();
    loop {
        let Some(end) = bytes.windows(2).position(|window| window == b"\r\n") else {
            return (body, false);
        };
        let size = String::from_utf8_lossy(&bytes[..end]);
        let Ok(size) = usize::from_str_radix(size.trim(), 16) else { return (body, false) };
        let rest = &bytes[end + 2..];
        if size == 0 {
            return (body, true);
        }
        if rest.len() < size + 2 {
            body.extend(rest);
            return (body, false);
        }
        body.extend(&rest[..size]);
        bytes = &rest[size + 2..];
    }
}
