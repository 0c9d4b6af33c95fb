//! Frames from a server, read out of whatever the kernel hands over.

/// The largest frame that is taken, bytes: a snapshot of a hundred lines is about 20 KiB.
const MAX_PAYLOAD_BYTES: u64 = 1 << 20;

const FINAL: u8 = 0x80;
const MASKED: u8 = 0x80;

/// A whole frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Frame<'a> {
    /// A whole text message.
    Text(&'a [u8]),
    /// The end, with its code when there is one.
    Close(Option<u16>),
    /// To be answered with the same bytes.
    Ping(&'a [u8]),
    /// Nothing to do.
    Pong,
}

/// What a server must not send.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub(crate) enum FrameError {
    #[error("a masked frame from a server")]
    Masked,
    #[error("a fragmented message")]
    Fragmented,
    #[error("an unexpected opcode {0}")]
    Opcode(u8),
    #[error("a frame of {0} bytes")]
    TooLong(u64),
}

/// Keeps the beginning of a frame whose end has not come yet, and nothing else: sockets between two frames own no
/// memory here.
#[derive(Debug, Default)]
pub(crate) struct FrameReader {
    partial: Vec<u8>,
}

impl FrameReader {
    /// Hands over every frame that `bytes` completes.
    ///
    /// # Errors
    /// [`FrameError`]; the connection is of no further use.
    pub(crate) fn feed(&mut self, bytes: &[u8], mut take: impl FnMut(Frame<'_>)) -> Result<(), FrameError> {
        if self.partial.is_empty() {
            let used = take_frames(bytes, &mut take)?;
            self.partial.extend_from_slice(&bytes[used..]);
            return Ok(());
        }
        let mut joined = std::mem::take(&mut self.partial);
        joined.extend_from_slice(bytes);
        let used = take_frames(&joined, &mut take)?;
        // A new allocation for the rest: what a long frame needed once is given back.
        self.partial = joined[used..].to_vec();
        Ok(())
    }
}

fn take_frames(bytes: &[u8], take: &mut impl FnMut(Frame<'_>)) -> Result<usize, FrameError> {
    let mut used = 0;
    while let Some((frame, length)) = parse(&bytes[used..])? {
        take(frame);
        used += length;
    }
    Ok(used)
}

/// The first frame and its length; `None` while it is not whole.
fn parse(bytes: &[u8]) -> Result<Option<(Frame<'_>, usize)>, FrameError> {
    let [first, second, ..] = *bytes else { return Ok(None) };
    if second & MASKED != 0 {
        return Err(FrameError::Masked);
    }
    let (length, head) = match second & 0x7f {
        126 => match bytes.get(2..4).and_then(|b| b.try_into().ok()) {
            Some(length) => (u64::from(u16::from_be_bytes(length)), 4),
            None => return Ok(None),
        },
        127 => match bytes.get(2..10).and_then(|b| b.try_into().ok()) {
            Some(length) => (u64::from_be_bytes(length), 10),
            None => return Ok(None),
        },
        short => (u64::from(short), 2),
    };
    if length > MAX_PAYLOAD_BYTES {
        return Err(FrameError::TooLong(length));
    }
    let end = head + usize::try_from(length).map_err(|_| FrameError::TooLong(length))?;
    let Some(payload) = bytes.get(head..end) else { return Ok(None) };
    if first & FINAL == 0 || first & 0x0f == 0 {
        return Err(FrameError::Fragmented);
    }
    let frame = match first & 0x0f {
        0x1 => Frame::Text(payload),
        0x8 => Frame::Close(payload.first_chunk().map(|code| u16::from_be_bytes(*code))),
        0x9 => Frame::Ping(payload),
        0xa => Frame::Pong,
        other => return Err(FrameError::Opcode(other)),
    };
    Ok(Some((frame, end)))
}

/// A text frame as a server writes it.
pub(crate) fn text_frame(payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::with_capacity(payload.len() + 10);
    frame.push(FINAL | 0x1);
    match u16::try_from(payload.len()) {
        Ok(length @ 0..=125) => frame.push(length.to_be_bytes()[1]),
        Ok(length) => {
            frame.push(126);
            frame.extend_from_slice(&length.to_be_bytes());
        }
        Err(_) => {
            frame.push(127);
            frame.extend_from_slice(&(payload.len() as u64).to_be_bytes());
        }
    }
    frame.extend_from_slice(payload);
    frame
}

/// A pong as a client writes it. The mask is all zeros: it protects proxies from a page's bytes, of which there are none.
pub(crate) fn masked_pong(payload: &[u8]) -> Vec<u8> {
    let length = u8::try_from(payload.len().min(125)).unwrap_or(125);
    let mut frame = vec![FINAL | 0xa, MASKED | length, 0, 0, 0, 0];
    frame.extend_from_slice(&payload[..usize::from(length)]);
    frame
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read_in_pieces(bytes: &[u8], piece: usize) -> Vec<Vec<u8>> {
        let (mut reader, mut texts) = (FrameReader::default(), Vec::new());
        for bytes in bytes.chunks(piece) {
            let taken = reader.feed(bytes, |frame| match frame {
                Frame::Text(text) => texts.push(text.to_vec()),
                other => panic!("{other:?}"),
            });
            taken.unwrap();
        }
        assert!(reader.partial.is_empty(), "nothing is left over");
        texts
    }

    proptest! {
        #[test]
        fn frames_are_read_however_they_are_cut(
            lengths in prop::collection::vec(prop_oneof![0..200usize, 60_000..70_000usize], 1..6),
            piece in 1..5_000usize,
        ) {
            let texts: Vec<Vec<u8>> = lengths.iter().map(|length| vec![b'x'; *length]).collect();
            let bytes: Vec<u8> = texts.iter().flat_map(|text| text_frame(text)).collect();
            prop_assert_eq!(read_in_pieces(&bytes, piece), texts);
        }
    }

    fn read(bytes: &[u8]) -> Result<Vec<String>, FrameError> {
        let mut told = Vec::new();
        FrameReader::default().feed(bytes, |frame| told.push(format!("{frame:?}")))?;
        Ok(told)
    }

    #[test]
    fn control_frames_are_told_apart() {
        assert_eq!(read(&[0x88, 2, 0x03, 0xf4]).unwrap(), ["Close(Some(1012))"]);
        assert_eq!(read(&[0x88, 0, 0x8a, 0]).unwrap(), ["Close(None)", "Pong"]);
        assert_eq!(read(&[0x89, 1, 7]).unwrap(), ["Ping([7])"]);
    }

    #[test]
    fn what_a_server_must_not_send_is_refused() {
        assert_eq!(read(&[0x81, 0x80, 0, 0, 0, 0]), Err(FrameError::Masked));
        assert_eq!(read(&[0x01, 0]), Err(FrameError::Fragmented));
        assert_eq!(read(&[0x80, 0]), Err(FrameError::Fragmented));
        assert_eq!(read(&[0x82, 0]), Err(FrameError::Opcode(2)));
        assert_eq!(read(&[0x81, 127, 0, 0, 0, 1, 0, 0, 0, 0]), Err(FrameError::TooLong(1 << 32)));
    }

    #[test]
    fn a_pong_carries_what_the_ping_did() {
        assert_eq!(masked_pong(b"ab"), [0x8a, 0x82, 0, 0, 0, 0, b'a', b'b']);
    }
}
