//! What a run found: a table for people, JSON for programs.

use std::io::Write as _;

use serde_json::{Map, Value, json};

/// A table with a title; in JSON an object with the same values.
#[derive(Debug, Default)]
pub(crate) struct Report {
    title: String,
    lines: Vec<(String, String)>,
    values: Map<String, Value>,
    problems: Vec<String>,
}

impl Report {
    pub(crate) fn new(title: impl Into<String>) -> Self {
        Self { title: title.into(), ..Self::default() }
    }

    /// A line of the table, with its value in JSON under `key`.
    pub(crate) fn line(&mut self, key: &str, label: &str, words: impl Into<String>, value: impl Into<Value>) {
        self.lines.push((label.to_owned(), words.into()));
        self.values.insert(key.to_owned(), value.into());
    }

    /// A line whose words are the number itself.
    pub(crate) fn number(&mut self, key: &str, label: &str, value: u64) {
        self.line(key, label, value.to_string(), value);
    }

    /// A value for programs only.
    pub(crate) fn only_json(&mut self, key: &str, value: impl Into<Value>) {
        self.values.insert(key.to_owned(), value.into());
    }

    /// Something that must not be. The run fails.
    pub(crate) fn problem(&mut self, problem: impl Into<String>) {
        self.problems.push(problem.into());
    }

    /// Puts another report into this one, under a key of its own.
    pub(crate) fn nest(&mut self, key: &str, inner: Self) {
        self.lines.push((String::new(), String::new()));
        self.lines.push((format!("[{}]", inner.title), String::new()));
        self.lines.extend(inner.lines);
        let mut values = inner.values;
        values.insert("problems".to_owned(), json!(inner.problems));
        self.values.insert(key.to_owned(), Value::Object(values));
        self.problems.extend(inner.problems.into_iter().map(|problem| format!("{key}: {problem}")));
    }

    /// A number that a line has told.
    pub(crate) fn value(&self, key: &str) -> Option<f64> {
        self.values.get(key).and_then(Value::as_f64)
    }

    pub(crate) fn is_fine(&self) -> bool {
        self.problems.is_empty()
    }

    /// For programs.
    pub(crate) fn as_json(&self) -> Value {
        let mut values = self.values.clone();
        values.insert("run".to_owned(), self.title.as_str().into());
        values.insert("problems".to_owned(), json!(self.problems));
        Value::Object(values)
    }

    /// Prints it to standard output.
    pub(crate) fn print(&self, as_json: bool) {
        let mut out = std::io::stdout().lock();
        // Whoever reads us may have gone: there is nobody left to tell.
        let _ = if as_json { writeln!(out, "{}", self.as_json()) } else { write!(out, "{}", self.in_words()) };
    }

    fn in_words(&self) -> String {
        let width = self.lines.iter().map(|(label, _)| label.chars().count()).max().unwrap_or(0);
        let mut text = format!("{}\n", self.title);
        for (label, words) in &self.lines {
            text.push_str(format!("  {label:<width$}  {words}").trim_end());
            text.push('\n');
        }
        for problem in &self.problems {
            text.push_str(&format!("  PROBLEM: {problem}\n"));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_inner_problem_is_a_problem_of_the_whole() {
        let (mut whole, mut inner) = (Report::new("whole"), Report::new("inner"));
        inner.number("sockets", "sockets", 3);
        inner.problem("one went back");
        whole.nest("real", inner);
        assert!(!whole.is_fine());
        assert_eq!(whole.in_words(), "whole\n\n  [inner]\n  sockets  3\n  PROBLEM: real: one went back\n");
    }
}
