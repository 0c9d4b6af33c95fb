//! Frames that were parsed already. A server sends the same bytes to every socket that stands at the same place: they are
//! compared (some tens of nanoseconds) and parsed once, so that ten thousand sockets can be checked frame by frame beside
//! the server on the same machine.

use std::collections::VecDeque;
use std::rc::Rc;

use super::arrivals::Arrivals;
use crate::stream::events::{self, Event};
use crate::stream::screen::{self, Screen};

/// The frames of the last few ticks; who is further behind has its frames parsed again.
const REMEMBERED: usize = 48;

/// A frame, and what came of it.
#[derive(Debug)]
pub(crate) struct Known {
    text: Box<[u8]>,
    pub(crate) event: Event,
    pub(crate) arrivals: Arrivals,
    /// Where a delta led from where.
    steps: Vec<(Rc<Screen>, Rc<Screen>)>,
}

impl Known {
    /// Where this delta leads a socket that shows `from`.
    ///
    /// # Errors
    /// In words, when it does not fit.
    pub(crate) fn step(&mut self, from: &Rc<Screen>) -> Result<Rc<Screen>, String> {
        if let Some((_, to)) = self.steps.iter().find(|(known, _)| Rc::ptr_eq(known, from)) {
            return Ok(Rc::clone(to));
        }
        let Event::Delta { version, ops, check, .. } = &self.event else { return Ok(Rc::clone(from)) };
        let mut rows = from.rows.clone();
        screen::apply(&mut rows, ops).map_err(|misfit| misfit.to_string())?;
        if let Some(expected) = *check {
            let found = screen::checksum(&rows);
            if found != expected {
                return Err(screen::Misfit::Checksum { expected, found }.to_string());
            }
        }
        if rows.windows(2).any(|pair| pair[0].score < pair[1].score) {
            return Err(format!("the delta to {version} leaves lines that are not in order"));
        }
        // Sockets that came to the same rows by another way share them.
        let to = Screen { epoch: Rc::clone(&from.epoch), version: *version, rows };
        let to = match self.steps.iter().find(|(_, known)| **known == to) {
            Some((_, known)) => Rc::clone(known),
            None => Rc::new(to),
        };
        self.steps.push((Rc::clone(from), Rc::clone(&to)));
        Ok(to)
    }
}

/// The newest frames, newest first.
#[derive(Debug, Default)]
pub(crate) struct KnownFrames {
    frames: VecDeque<Known>,
    /// Arrivals of frames that are not remembered any more.
    finished: Vec<Arrivals>,
}

impl KnownFrames {
    /// The frame with this text, parsed now if it was not yet.
    ///
    /// # Errors
    /// In words, when it is not as the contract says.
    pub(crate) fn find(&mut self, text: &[u8]) -> Result<&mut Known, String> {
        if let Some(index) = self.frames.iter().position(|known| *known.text == *text) {
            return Ok(&mut self.frames[index]);
        }
        let event = events::parse(text)?;
        if self.frames.len() == REMEMBERED
            && let Some(oldest) = self.frames.pop_back()
        {
            self.finish(oldest);
        }
        let known = Known { text: text.into(), event, arrivals: Arrivals::default(), steps: Vec::new() };
        self.frames.push_front(known);
        Ok(&mut self.frames[0])
    }

    fn finish(&mut self, known: Known) {
        if !known.arrivals.is_empty() {
            self.finished.push(known.arrivals);
        }
    }

    /// The arrivals of every frame.
    pub(crate) fn into_arrivals(mut self) -> Vec<Arrivals> {
        while let Some(known) = self.frames.pop_back() {
            self.finish(known);
        }
        self.finished
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heartbeat(version: usize) -> Vec<u8> {
        format!(r#"{{"event":"heartbeat","data":{{"board":"b","epoch":"e","version":{version}}}}}"#).into_bytes()
    }

    #[test]
    fn a_frame_is_parsed_once_while_it_is_remembered() {
        let mut known = KnownFrames::default();
        for version in 0..REMEMBERED + 1 {
            known.find(&heartbeat(version)).unwrap();
            known.find(&heartbeat(version)).unwrap();
        }
        assert_eq!(known.frames.len(), REMEMBERED);
        assert!(known.find(b"nonsense").is_err());
    }

    #[test]
    fn a_delta_leads_sockets_at_one_place_to_one_place() {
        let mut known = KnownFrames::default();
        let delta = br#"{"event":"delta","data":{"from":1,"version":2,"ops":[["-",0]]}}"#;
        let rows = vec![screen::Row { user: uuid::Uuid::from_u128(1), score: 1 }];
        let from = Rc::new(Screen { epoch: "e".into(), version: 1, rows });
        let frame = known.find(delta).unwrap();
        let (one, two) = (frame.step(&from).unwrap(), frame.step(&from).unwrap());
        assert!(Rc::ptr_eq(&one, &two));
        assert_eq!((one.version, one.rows.len()), (2, 0));
        assert!(frame.step(&one).unwrap_err().contains("position"), "it does not fit twice");
    }

    #[test]
    fn a_wrong_checksum_is_told() {
        let mut known = KnownFrames::default();
        let from = Rc::new(Screen { epoch: "e".into(), version: 1, rows: Vec::new() });
        let delta = |check: &str| {
            format!(r#"{{"event":"delta","data":{{"from":1,"version":2,"ops":[],"check":"{check}"}}}}"#).into_bytes()
        };
        known.find(&delta("00000000")).unwrap().step(&from).unwrap();
        assert!(known.find(&delta("00000001")).unwrap().step(&from).unwrap_err().contains("checksum"));
    }
}
