//! What is found: a Markdown table on standard output, and a file with one line of JSON per row.

use std::fs::File;
use std::io::Write;
use std::path::PathBuf;

use clap::Args;
use serde_json::Value;

use crate::Failure;

/// Where the figures go.
#[derive(Debug, Args)]
pub(crate) struct Output {
    /// Writes the figures to this file too: one JSON object per line
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// A table that is printed row by row, as figures come.
#[derive(Debug)]
pub(crate) struct Table {
    columns: &'static [(&'static str, &'static str)],
    json: Option<File>,
}

impl Output {
    /// Begins a table; each column has a heading and a field's name.
    pub(crate) fn table(&self, columns: &'static [(&'static str, &'static str)]) -> Result<Table, Failure> {
        let json = match &self.json {
            Some(path) => Some(File::create(path).map_err(|error| format!("{}: {error}", path.display()))?),
            None => None,
        };
        let headings: Vec<&str> = columns.iter().map(|(heading, _)| *heading).collect();
        writeln!(std::io::stdout(), "| {} |\n|{}", headings.join(" | "), "---|".repeat(columns.len()))?;
        Ok(Table { columns, json })
    }
}

impl Table {
    /// Adds a row. Fields without a column are in the file alone.
    pub(crate) fn row(&mut self, row: &Value) -> Result<(), Failure> {
        let cells: Vec<String> = self.columns.iter().map(|(_, field)| cell(&row[*field])).collect();
        writeln!(std::io::stdout(), "| {} |", cells.join(" | "))?;
        if let Some(json) = &mut self.json {
            writeln!(json, "{row}")?;
        }
        Ok(())
    }
}

/// Numbers with three digits that count.
fn cell(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Number(number) => match number.as_f64() {
            Some(number) if number.fract() == 0.0 || number.abs() >= 100.0 => format!("{number:.0}"),
            Some(number) if number.abs() >= 10.0 => format!("{number:.1}"),
            Some(number) if number.abs() >= 1.0 => format!("{number:.2}"),
            Some(number) => format!("{number:.3}"),
            None => number.to_string(),
        },
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn cells_are_short() {
        let cells = [json!(1234.5), json!(12.345), json!(1.234_5), json!(0.123_45), json!(7), json!("text"), json!(null)];
        assert_eq!(cells.map(|value| cell(&value)), ["1234", "12.3", "1.23", "0.123", "7", "text", ""]);
    }
}
