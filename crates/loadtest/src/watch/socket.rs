//! One watcher: what it has seen, and whether what comes next is allowed.

use std::net::SocketAddrV4;
use std::rc::Rc;

use mio::net::TcpStream;

use super::known_frames::{Known, KnownFrames};
use crate::stream::events::Event;
use crate::stream::screen::Screen;
use crate::ws::frames::FrameReader;

/// Where a socket is in its life.
#[derive(Debug)]
pub(super) enum Phase {
    /// Not connected.
    Away,
    /// The connection is being made.
    Connecting,
    /// The request is out; so much of the answer is here.
    Greeting(Vec<u8>),
    /// Frames.
    Open,
    /// Open, and never read again.
    Stalled,
    /// Ended for good.
    Gone,
}

/// What a socket shows.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    pub(super) screen: Rc<Screen>,
    /// No event of this connection may say less. At least the screen's: heartbeats raise it without moving a row.
    pub(super) version: u64,
}

/// A watcher.
#[derive(Debug)]
pub(super) struct Socket {
    pub(super) stream: Option<TcpStream>,
    pub(super) local: Option<SocketAddrV4>,
    pub(super) phase: Phase,
    pub(super) reader: FrameReader,
    pub(super) seen: Option<Seen>,
    /// Nothing has come on this connection yet.
    pub(super) fresh: bool,
    pub(super) close_code: Option<u16>,
}

impl Default for Socket {
    fn default() -> Self {
        Self {
            stream: None,
            local: None,
            phase: Phase::Away,
            reader: FrameReader::default(),
            seen: None,
            fresh: true,
            close_code: None,
        }
    }
}

/// What a frame was to a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Taken {
    /// It shows something; whether it was a snapshot.
    State { snapshot: bool },
    /// It shows nothing.
    Other,
    /// The server may be behind.
    Stale,
}

impl Socket {
    /// Takes a text message that came at `now_us`.
    ///
    /// # Errors
    /// What the contract forbids, in words.
    pub(super) fn take(
        &mut self,
        text: &[u8],
        known: &mut KnownFrames,
        measured_at_us: Option<u64>,
    ) -> Result<Taken, String> {
        let frame = known.find(text)?;
        let taken = match &frame.event {
            Event::State { screen, snapshot } => {
                let (screen, snapshot) = (Rc::clone(screen), *snapshot);
                self.show(frame, screen, measured_at_us)?;
                Taken::State { snapshot }
            }
            Event::Delta { from, version, .. } => {
                let (from, version) = (*from, *version);
                let Some(seen) = &self.seen else { return Err("a delta before the first snapshot".to_owned()) };
                if from != seen.screen.version {
                    return Err(format!("a delta from {from} for a socket at {}", seen.screen.version));
                }
                if version < seen.version {
                    return Err(format!("the version went from {} back to {version}", seen.version));
                }
                let screen = Rc::clone(&seen.screen);
                let to = frame.step(&screen)?;
                self.show(frame, to, measured_at_us)?;
                Taken::State { snapshot: false }
            }
            Event::Heartbeat { epoch, version } => {
                if let Some(seen) = &mut self.seen
                    && seen.screen.epoch == *epoch
                {
                    if *version < seen.version {
                        return Err(format!("a heartbeat went from {} back to {version}", seen.version));
                    }
                    seen.version = *version;
                }
                Taken::Other
            }
            Event::Stale => Taken::Stale,
            Event::Other => Taken::Other,
        };
        Ok(taken)
    }

    fn show(&mut self, frame: &mut Known, screen: Rc<Screen>, measured_at_us: Option<u64>) -> Result<(), String> {
        let version = screen.version;
        let same_epoch = self.seen.as_ref().filter(|seen| seen.screen.epoch == screen.epoch);
        if let Some(seen) = same_epoch.filter(|seen| seen.version > version) {
            return Err(format!("the version went from {} back to {version}", seen.version));
        }
        // The first frame of a connection says how fast connecting is, not how fast the stream is.
        if let Some(now_us) = measured_at_us.filter(|_| !self.fresh) {
            let users = || screen.rows.iter().map(|row| row.user).collect();
            frame.arrivals.arrive(same_epoch.map(|seen| seen.version), version, now_us, users);
        }
        self.seen = Some(Seen { screen, version });
        self.fresh = false;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn update(epoch: &str, version: u64) -> Vec<u8> {
        let data = format!(r#"{{"board":"b","epoch":"{epoch}","version":{version},"leaderboard":[]}}"#);
        format!(r#"{{"event":"score:update","data":{data}}}"#).into_bytes()
    }

    fn delta(from: u64, version: u64) -> Vec<u8> {
        format!(r#"{{"event":"delta","data":{{"from":{from},"version":{version},"ops":[]}}}}"#).into_bytes()
    }

    fn heartbeat(version: u64) -> Vec<u8> {
        format!(r#"{{"event":"heartbeat","data":{{"board":"b","epoch":"e","version":{version}}}}}"#).into_bytes()
    }

    fn all(texts: &[Vec<u8>]) -> Result<(), String> {
        let (mut socket, mut known) = (Socket::default(), KnownFrames::default());
        texts.iter().try_for_each(|text| socket.take(text, &mut known, None).map(drop))
    }

    #[test]
    fn a_version_that_goes_back_is_told() {
        all(&[update("e", 5), update("e", 5), update("e", 6)]).unwrap();
        assert!(all(&[update("e", 5), update("e", 4)]).unwrap_err().contains("back"));
        assert!(all(&[update("e", 5), heartbeat(6), update("e", 5)]).unwrap_err().contains("back"));
        assert!(all(&[update("e", 5), heartbeat(4)]).unwrap_err().contains("back"));
        all(&[update("e", 5), update("f", 1)]).unwrap();
    }

    #[test]
    fn a_delta_starts_where_the_socket_stands() {
        all(&[update("e", 5), delta(5, 6), delta(6, 9)]).unwrap();
        all(&[update("e", 5), heartbeat(7), delta(5, 8)]).unwrap();
        assert!(all(&[update("e", 5), heartbeat(7), delta(7, 8)]).unwrap_err().contains("a delta from"));
        for wrong in [delta(4, 6), delta(6, 7)] {
            assert!(all(&[update("e", 5), wrong]).unwrap_err().contains("a delta from"));
        }
        assert!(all(&[delta(0, 1)]).unwrap_err().contains("snapshot"));
    }
}
