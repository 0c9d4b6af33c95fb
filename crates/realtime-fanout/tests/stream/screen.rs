//! What a client shows: every event is checked as it is taken in.

use common::standing::{Entry, TopList};
use serde_json::Value;

/// A visible list, moved by events.
#[derive(Default, Debug)]
pub(crate) struct Screen {
    pub(crate) epoch: String,
    pub(crate) version: u64,
    /// What the newest heartbeat said.
    pub(crate) beaten: u64,
    lines: Vec<Line>,
    pub(crate) snapshots: u32,
    pub(crate) updates: u32,
    pub(crate) deltas: u32,
    pub(crate) checks: u32,
}

#[derive(Clone, PartialEq, Eq, Debug)]
struct Line {
    user: String,
    username: String,
    score: i64,
    updated: String,
}

impl Line {
    fn of_json(line: &Value) -> Self {
        let text = |name: &str| line[name].as_str().unwrap().to_owned();
        Self {
            user: text("userId"),
            username: text("username"),
            score: line["score"].as_i64().unwrap(),
            updated: text("lastUpdated"),
        }
    }

    fn of_entry(entry: &Entry) -> Self {
        Self {
            user: entry.user.to_string(),
            username: entry.username.to_string(),
            score: entry.score,
            updated: entry.updated_at.to_string(),
        }
    }
}

impl Screen {
    /// A client that comes back with what it last showed.
    pub(crate) fn of(top: &TopList) -> Self {
        Self {
            epoch: top.state.epoch.to_string(),
            version: top.state.version.0,
            lines: top.entries.iter().map(Line::of_entry).collect(),
            ..Self::default()
        }
    }

    /// Takes an event. No version may go back.
    pub(crate) fn take(&mut self, event: &str, data: &Value) {
        if let Some(epoch) = data["epoch"].as_str() {
            assert!(self.epoch.is_empty() || self.epoch == epoch, "another history: {data}");
            epoch.clone_into(&mut self.epoch);
        }
        if let Some(version) = data["version"].as_u64() {
            let newest = self.version.max(self.beaten);
            assert!(version >= newest, "{event} went from {newest} back to {version}");
        }
        match event {
            "scoreboard:snapshot" => {
                self.snapshots += 1;
                self.replace(data);
            }
            "score:update" => {
                self.updates += 1;
                self.replace(data);
            }
            "delta" => self.delta(data),
            // It moves nothing: the next delta still leads from the rows.
            "heartbeat" => self.beaten = data["version"].as_u64().unwrap(),
            "scoreboard:stale" | "server:bye" | "score:me" | "scoreboard:curve" => {}
            other => panic!("no such event: {other}"),
        }
    }

    fn replace(&mut self, data: &Value) {
        self.version = data["version"].as_u64().unwrap();
        let lines = data["leaderboard"].as_array().unwrap();
        assert!(lines.iter().zip(1..).all(|(line, rank)| line["rank"] == rank), "{data}");
        self.lines = lines.iter().map(Line::of_json).collect();
    }

    fn delta(&mut self, data: &Value) {
        self.deltas += 1;
        assert_eq!(data["from"], self.version, "a delta for somebody who stands elsewhere");
        for op in data["ops"].as_array().unwrap() {
            self.step(op);
        }
        let version = data["version"].as_u64().unwrap();
        assert_eq!(data["check"].is_string(), version / 50 > self.version / 50, "{data}");
        self.version = version;
        if let Some(check) = data["check"].as_str() {
            self.checks += 1;
            let lines: Vec<_> = self.lines.iter().map(|line| format!("{}:{}", line.user, line.score)).collect();
            assert_eq!(check, format!("{:08x}", crc32fast::hash(lines.join("\n").as_bytes())));
        }
    }

    fn step(&mut self, op: &Value) {
        let at = |index: usize| usize::try_from(op[index].as_u64().unwrap()).unwrap();
        let text = |index: usize| op[index].as_str().unwrap().to_owned();
        let score = |index: usize| op[index].as_i64().unwrap();
        match op[0].as_str().unwrap() {
            "-" => drop(self.lines.remove(at(1))),
            "+" => {
                let line = Line { user: text(2), username: text(3), score: score(4), updated: text(5) };
                self.lines.insert(at(1), line);
            }
            "=" => (self.lines[at(1)].score, self.lines[at(1)].updated) = (score(2), text(3)),
            "m" => {
                let mut line = self.lines.remove(at(1));
                (line.score, line.updated) = (score(3), text(4));
                self.lines.insert(at(2), line);
            }
            other => panic!("no such step: {other}"),
        }
    }

    /// What is shown is the truth.
    pub(crate) fn assert_shows(&self, top: &TopList) {
        assert_eq!(self.version, top.state.version.0);
        let lines: Vec<_> = top.entries.iter().map(Line::of_entry).collect();
        assert_eq!(self.lines, lines);
    }
}
