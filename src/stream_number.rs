//! The stream of a request over HTTP/2, once nginx has written it for a connection that was used before.
//!
//! Where such a connection fails, nginx sends the same bytes again on a new one and waits for a reply on stream 1, but
//! leaves the old number in them.

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Writes stream 1 into all frames that belong to a stream, behind the preface of a connection. Other bytes stay.
pub fn restart(request: &mut [u8]) {
    let Some(mut rest) = request.strip_prefix(PREFACE).map(<[u8]>::len) else { return };
    while rest >= 9 {
        let frame = request.len() - rest;
        let [a, b, c] = [0, 1, 2].map(|at| usize::from(request[frame + at]));
        let stream = &mut request[frame + 5..frame + 9];
        if *stream != [0; 4] {
            stream.copy_from_slice(&[0, 0, 0, 1]);
        }
        rest = rest.saturating_sub(9 + ((a << 16) | (b << 8) | c));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frames(stream: u8) -> Vec<u8> {
        let settings = [0, 0, 6, 4, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 9];
        let window = [0, 0, 4, 8, 0, 0, 0, 0, 0, 1, 2, 3, 4];
        let headers = [0, 0, 2, 1, 4, 0, 0, 0, stream, 0x82, 0x86];
        [PREFACE, &settings, &window, &headers, &headers].concat()
    }

    #[test]
    fn frames_of_streams_alone() {
        let mut request = frames(3);
        restart(&mut request);
        assert_eq!(request, frames(1));
        let mut other = b"GET / HTTP/1.1\r\n\r\n".to_vec();
        restart(&mut other);
        assert_eq!(other, b"GET / HTTP/1.1\r\n\r\n");
        // What ends too early, or says that it is longer than it is.
        for end in 0..frames(3).len() {
            restart(&mut frames(3)[..end]);
        }
        restart(&mut [PREFACE, &[255; 9]].concat());
    }
}
