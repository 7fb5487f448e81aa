//! Random heads of replies, read twice in one process: by nginx's functions alone and by way of this module. Both must
//! say the same and leave the same behind. Compiled with the feature `compare-heads`, and run by the first request where
//! `CLERK_PROXY_HEADS` has a number of heads and a seed.

use std::ffi::CStr;
use std::mem;
use std::sync::Once;
use std::{env, ptr, slice};

use super::{status_line, Process, AGAIN};
use crate::nginx::base::ffi::{
    ngx_connection_t, ngx_create_pool, ngx_cycle, ngx_destroy_pool, ngx_http_request_t,
    ngx_http_upstream_headers_in_t, ngx_http_upstream_state_t, ngx_http_upstream_t, ngx_int_t,
    ngx_list_t, ngx_log_t, ngx_pcalloc, ngx_pool_t, ngx_table_elt_t, NGX_LOG_NOTICE,
};
use crate::nginx::base::log;

/// Room for what the proxy module keeps of a request; nothing in it is looked at.
const PROXY_CONTEXT: usize = 1024;
const MODULES: usize = 512;

const STATUS_LINES: &[&[u8]] = &[
    b"HTTP/1.1 200 OK\r\n",
    b"HTTP/1.1 200 OK\r\n",
    b"HTTP/1.1 200 OK\r\n",
    b"HTTP/1.1 304 Not Modified\r\n",
    b"HTTP/1.0 404 Not Found\n",
    b"HTTP/1.1 204\r\n",
    b"HTTP/1.1 101 Switching Protocols\r\n",
    b"HTTP/1.1 2x0 OK\r\n",
    b"garbage\r\n",
    b"",
];
const NAMES: &str = "Content-Type|content-length|Content-Length|Transfer-Encoding|Connection|Date|Server|ETag|Vary|\
    Set-Cookie|set-cookie|Cache-Control|Expires|Last-Modified|Location|Refresh|WWW-Authenticate|Link|Status|\
    Accept-Ranges|Content-Range|Content-Encoding|Keep-Alive|X-Accel-Expires|X-Accel-Redirect|X-Accel-Limit-Rate|\
    X-Accel-Buffering|X-Accel-Charset|X|x-a|X_b|Server-Timing|HTTP|-|_|0|CF-RAY|X-Clerk-Trace-Id|\
    X-Exactly-Thirty-Two-Characters1|X-Long-Name-Of-More-Than-Thirty-Two-Characters-1|\
    X-Longer-Name-Of-More-Than-Sixty-Four-Characters-Which-Nobody-Will-Use-1|X Y|X.Y| X|X\0|";
const VALUES: &str = "a|| |0|5|chunked|close|keep-alive|gzip|no-store, max-age=5|a b  c|  a  |\ta\t|a:b|W/\"x\"|\
    Sat, 01 Jan 2028 00:00:00 GMT|__client=eyJhbGciOiJSUzI1NiIsImtpZCI6Imluc18yIn0; Path=/; HttpOnly; Secure|@5|yes|\
    99999999999999999999|a\0b|a\rb|text/html; charset=utf-8";
const COLONS: &str = ": |: |: |: |:|:  |: \t| : |";
const ENDS: &str = "\r\n|\r\n|\r\n|\r\n|\r\n|\r\n|\r\n|\n|\r\r\n|\r|\n\r";
const ODD: &[u8] = b"\0\r\n\t :_-aZ/\x7f\xff";

/// A generator of random numbers (xorshift).
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 11).expect("64 bits") % limit
    }

    fn pick<'a>(&mut self, list: &'a [&'a [u8]]) -> &'a [u8] {
        list[self.below(list.len())]
    }

    fn head(&mut self, words: &Words) -> Vec<u8> {
        let mut head =
            if self.below(8) > 0 { STATUS_LINES[0] } else { self.pick(STATUS_LINES) }.to_vec();
        for _ in 0..self.below(6) {
            // Most are plain, so that the lines behind an odd one are read as well.
            let odd = self.below(12) == 0;
            head.extend(self.pick(&words.names));
            head.extend(if odd { self.pick(&words.colons) } else { b": " });
            head.extend(self.pick(&words.values));
            head.extend(if odd { self.pick(&words.ends) } else { b"\r\n" });
        }
        head.extend(if self.below(10) > 0 { b"\r\n" } else { self.pick(&words.ends) });
        if self.below(3) == 0 {
            let (at, byte) = (self.below(head.len()), ODD[self.below(ODD.len())]);
            match self.below(3) {
                0 => head[at] = byte,
                1 => head.insert(at, byte),
                _ => head.truncate(at),
            }
        }
        head
    }
}

struct Words {
    names: Vec<&'static [u8]>,
    values: Vec<&'static [u8]>,
    colons: Vec<&'static [u8]>,
    ends: Vec<&'static [u8]>,
}

/// What is left once a head is read, or as much of it as there is.
#[derive(Debug, PartialEq)]
struct Outcome {
    /// What each part was answered with.
    statuses: Vec<ngx_int_t>,
    /// How far the buffer was read, and in which state nginx is.
    read: (usize, usize),
    /// Hash, name, small name, value, and whether zeroes stand behind the texts.
    headers: Vec<(usize, [Vec<u8>; 3], bool)>,
    /// The words of what nginx knows of the head; pointers by the number of the header that they lead to, and of those
    /// that follow it.
    known: Vec<Vec<usize>>,
    status_line: Vec<u8>,
    limit_rate: usize,
    flags: [u32; 2],
    state: usize,
}

/// A request of its own, of which nginx has read nothing yet.
struct Twin {
    pool: *mut ngx_pool_t,
    r: *mut ngx_http_request_t,
    u: *mut ngx_http_upstream_t,
}

impl Twin {
    /// # Safety
    ///
    /// The request has an upstream that the proxy module has prepared.
    unsafe fn of(r: &ngx_http_request_t, stock: Process, proxy: usize) -> Self {
        // SAFETY: promised by the caller; the pool's memory is zeroed, and zero is valid for all that lies in it.
        unsafe {
            let pool = ngx_create_pool(4096, (*ngx_cycle).log);
            let zeroed = |len| ngx_pcalloc(pool, len);
            let own = zeroed(size_of::<ngx_http_request_t>()).cast::<ngx_http_request_t>();
            let u = zeroed(size_of::<ngx_http_upstream_t>()).cast::<ngx_http_upstream_t>();
            ptr::copy_nonoverlapping(r, own, 1);
            // Thousands of heads are mistakes, which nginx would log.
            let client = zeroed(size_of::<ngx_connection_t>()).cast::<ngx_connection_t>();
            let quiet = zeroed(size_of::<ngx_log_t>()).cast::<ngx_log_t>();
            ptr::copy_nonoverlapping(r.connection, client, 1);
            ((*client).log, (*own).connection) = (quiet, client);
            (*own).pool = pool;
            (*own).upstream = u;
            (*own).ctx = zeroed(MODULES * size_of::<usize>()).cast();
            *(*own).ctx.add(proxy) = zeroed(PROXY_CONTEXT);
            (*u).conf = (*r.upstream).conf;
            (*u).process_header = Some(stock);
            (*u).state = zeroed(size_of::<ngx_http_upstream_state_t>()).cast();
            (*u).headers_in.content_length_n = -1;
            (*u).headers_in.last_modified_time = -1;
            for list in [&raw mut (*u).headers_in.headers, &raw mut (*u).headers_in.trailers] {
                let mut new: ngx_list_t = mem::zeroed();
                (new.size, new.nalloc, new.pool) = (size_of::<ngx_table_elt_t>(), 8, pool);
                new.part.elts = zeroed(new.size * new.nalloc);
                list.write(new);
                (*list).last = &raw mut (*list).part;
            }
            Self { pool, r: own, u }
        }
    }

    /// Has nginx read the head in parts that end at these places.
    fn read(&mut self, head: &mut [u8], first: Option<Process>, ends: &[usize]) -> Outcome {
        let mut statuses = Vec::new();
        // SAFETY: the request was made for this.
        unsafe {
            let b = &mut (*self.u).buffer;
            b.start = head.as_mut_ptr();
            (b.pos, b.last, b.end) = (b.start, b.start, b.start.add(head.len()));
            if let Some(first) = first {
                (*self.u).process_header = Some(first);
            }
            for end in ends {
                (*self.u).buffer.last = (*self.u).buffer.start.add(*end);
                let process = (*self.u).process_header.expect("a function");
                statuses.push(process(self.r));
                if *statuses.last().expect("a status") != AGAIN {
                    break;
                }
            }
        }
        self.outcome(statuses)
    }

    fn outcome(&self, statuses: Vec<ngx_int_t>) -> Outcome {
        // SAFETY: what nginx has made of the request.
        unsafe {
            let (r, u) = (&*self.r, &*self.u);
            let mut elements = Vec::new();
            let mut part = &raw const u.headers_in.headers.part;
            while let Some(one) = part.as_ref() {
                let first = one.elts.cast::<ngx_table_elt_t>();
                elements.extend((0..one.nelts).map(|i| first.add(i)));
                part = one.next;
            }
            let bytes = |data: *const u8, len| slice::from_raw_parts(data, len).to_vec();
            let headers = elements.iter().map(|h| {
                let h = &**h;
                let (key, value) = (h.key, h.value);
                // nginx's own, which say that there was none, end otherwise.
                let own = value.data.is_null();
                let zeroes = own || *key.data.add(key.len) == 0 && *value.data.add(value.len) == 0;
                let value = if own { Vec::new() } else { bytes(value.data, value.len) };
                let texts = [bytes(key.data, key.len), bytes(h.lowcase_key, key.len), value];
                (h.hash, texts, zeroes)
            });
            let known = self.known(&elements);
            let line = u.headers_in.status_line;
            let status_line =
                if line.data.is_null() { Vec::new() } else { bytes(line.data, line.len) };
            let again = statuses.last() == Some(&AGAIN);
            let read = u.buffer.pos.offset_from(u.buffer.start).unsigned_abs();
            // What may become an interim reply is left in the buffer until that is known.
            let unknown = again && u.buffer.last.offset_from(u.buffer.start) < 13;
            // Without a status line all is the body. Before 1.31.0, nginx leaves out the parts that came before the first
            // one that is no status line.
            let lost = !again && status_line.is_empty() && read < 13;
            Outcome {
                read: (
                    if unknown || lost { 0 } else { read },
                    if again && !unknown { r.state } else { 0 },
                ),
                statuses,
                headers: headers.collect(),
                known,
                status_line,
                limit_rate: r.limit_rate,
                flags: [u.keepalive(), u.buffering()],
                state: (*u.state).status,
            }
        }
    }

    fn known(&self, elements: &[*mut ngx_table_elt_t]) -> Vec<Vec<usize>> {
        const LISTS: usize = 2 * size_of::<ngx_list_t>() / size_of::<usize>();
        // 4 GB, or 16 MB where pointers have 32 bits.
        const POINTERS: usize = 1 << (usize::BITS / 4 + 16);
        let number = |word: usize| elements.iter().position(|element| element.addr() == word);
        // SAFETY: a plain C struct; the lists of headers and trailers come first, and are compared on their own.
        let words = unsafe {
            let first = (&raw const (*self.u).headers_in).cast::<usize>();
            slice::from_raw_parts(
                first,
                size_of::<ngx_http_upstream_headers_in_t>() / size_of::<usize>(),
            )
        };
        let follow = |word: usize| {
            let mut chain = Vec::new();
            let mut next = word;
            while let Some(at) = number(next).filter(|_| chain.len() < 99) {
                chain.push(at);
                // Since nginx 1.23 a header leads to the next one of its name.
                if size_of::<ngx_table_elt_t>() < 7 * size_of::<usize>() {
                    break;
                }
                // SAFETY: the last field of an element of this size.
                next = unsafe { *elements[at].cast::<usize>().add(6) };
            }
            match (chain.is_empty(), !(POINTERS..usize::MAX - POINTERS).contains(&word)) {
                (false, _) => chain,
                (true, true) => vec![word],
                // Memory of the pool, whose content is compared on its own.
                (true, false) => vec![POINTERS],
            }
        };
        words[LISTS..].iter().map(|&word| follow(word)).collect()
    }
}

impl Drop for Twin {
    fn drop(&mut self) {
        // SAFETY: `of` has made it.
        unsafe { ngx_destroy_pool(self.pool) };
    }
}

/// Compares as many heads as the environment wants: each whole, in two parts that end anywhere, and every sixteenth in
/// two parts that end at each byte and byte by byte.
pub fn compare(r: &ngx_http_request_t, stock: Process) {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let Ok(text) = env::var("CLERK_PROXY_HEADS") else { return };
        let mut numbers = text.split(',').map(|number| number.parse::<u64>().expect("a number"));
        let (count, seed) = (numbers.next().expect("a number"), numbers.next().expect("a seed"));
        let proxy = proxy_index();
        let split = |text: &'static str| text.split('|').map(str::as_bytes).collect();
        let words = Words {
            names: split(NAMES),
            values: split(VALUES),
            colons: split(COLONS),
            ends: split(ENDS),
        };
        let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        let (mut runs, mut plain) = (0u64, 0u64);
        for number in 0..count {
            let mut head = random.head(&words);
            let len = head.len();
            let mut splits = vec![vec![len], vec![random.below(len + 1), len]];
            if number % 16 == 0 {
                splits.extend((0..len).map(|at| vec![at, len]));
                splits.push((1..=len).collect());
            }
            for ends in splits {
                // SAFETY: the request is one that the proxy module has prepared.
                let [theirs, ours] = unsafe {
                    [None, Some(status_line as Process)]
                        .map(|first| Twin::of(r, stock, proxy).read(&mut head, first, &ends))
                };
                assert_eq!(
                    theirs,
                    ours,
                    "head {number} of {text}, in parts to {ends:?}: {}",
                    head.escape_ascii()
                );
                plain += u64::from(!theirs.headers.is_empty());
                runs += 1;
            }
        }
        assert!(plain > runs / 3, "hardly any of the heads had a header");
        log::log(NGX_LOG_NOTICE, &format!("{count} heads were read alike in {runs} ways"));
    });
}

/// The place of the proxy module's context among those of a request.
fn proxy_index() -> usize {
    // SAFETY: an array of modules that ends with null, each with a name.
    unsafe {
        let mut modules = (*ngx_cycle).modules;
        while CStr::from_ptr((**modules).name) != c"ngx_http_proxy_module" {
            modules = modules.add(1);
        }
        (**modules).ctx_index
    }
}
