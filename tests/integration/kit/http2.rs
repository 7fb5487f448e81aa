//! Frames of HTTP/2, written as badly as a test wants and read as far as it needs.

use std::collections::BTreeMap;

pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const WINDOW_UPDATE: u8 = 8;
pub const CONTINUATION: u8 = 9;

pub const END_STREAM: u8 = 1;
pub const END_HEADERS: u8 = 4;

/// What a connection begins with.
pub fn preface() -> Vec<u8> {
    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    frame(&mut bytes, SETTINGS, 0, 0, &[]);
    bytes
}

pub fn frame(bytes: &mut Vec<u8>, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
    let length = u32::try_from(payload.len()).expect("a short payload");
    bytes.extend(&length.to_be_bytes()[1..]);
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
}

/// Appends a header to a block, literally and not to be remembered (RFC 7541, 6.2.2).
pub fn literal(block: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    block.push(0);
    for text in [name, value] {
        // An integer with a prefix of 7 bits; the bit before it means Huffman coding.
        let mut rest = text.len();
        if rest < 127 {
            block.push(u8::try_from(rest).expect("7 bits"));
        } else {
            block.push(127);
            rest -= 127;
            while rest >= 128 {
                block.push(u8::try_from(rest % 128).expect("7 bits") | 128);
                rest /= 128;
            }
            block.push(u8::try_from(rest).expect("7 bits"));
        }
        block.extend(text);
    }
}

/// What frames carry, without their heads.
pub fn payloads(mut frames: &[u8]) -> Vec<u8> {
    let mut all = Vec::new();
    while let [a, b, c, _, _, _, _, _, _, rest @ ..] = frames {
        let length = u32::from_be_bytes([0, *a, *b, *c]) as usize;
        let (payload, next) = rest.split_at(length.min(rest.len()));
        all.extend(payload);
        frames = next;
    }
    all
}

/// What a server has said so far.
#[derive(Default)]
pub struct Replies {
    unread: Vec<u8>,
    /// Status and body of each stream; the status of one that was reset is 0.
    pub streams: BTreeMap<u32, (u16, Vec<u8>)>,
    /// The streams that are over.
    pub ended: Vec<u32>,
}

impl Replies {
    pub fn read(&mut self, bytes: &[u8]) -> Result<(), String> {
        self.unread.extend(bytes);
        while let Some(head) = self.unread.get(..9) {
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
            let (kind, flags) = (head[3], head[4]);
            let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
            if self.unread.len() < 9 + length {
                break;
            }
            let payload: Vec<u8> = self.unread.drain(..9 + length).skip(9).collect();
            let reply = match kind {
                DATA | HEADERS | RST_STREAM => self.streams.entry(stream).or_default(),
                _ => continue,
            };
            match kind {
                // Trailers have none.
                HEADERS if reply.0 == 0 => reply.0 = status(&payload)?,
                DATA => reply.1.extend(&payload),
                _ => {}
            }
            let is_interim = kind == HEADERS && reply.0 < 200;
            if is_interim {
                reply.0 = 0;
            } else if kind == RST_STREAM || flags & END_STREAM != 0 {
                self.ended.push(stream);
            }
        }
        Ok(())
    }
}

/// The status in a block of headers, which nginx puts first and never in Huffman coding.
fn status(block: &[u8]) -> Result<u16, String> {
    let start = block.iter().position(|b| b >> 5 != 1).unwrap_or_default();
    let known = [200, 204, 206, 304, 400, 404, 500];
    match block[start..] {
        [index @ 0x88..=0x8e, ..] => Ok(known[usize::from(index - 0x88)]),
        [0x08 | 0x18 | 0x48, 3, a, b, c, ..] => {
            let text = String::from_utf8_lossy(&[a, b, c]).into_owned();
            text.parse().map_err(|_| format!("the status {text:?}"))
        }
        _ => Err(format!("no status in {block:x?}")),
    }
}
