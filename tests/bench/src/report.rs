//! Tables in Markdown, and the same rows as lines of JSON.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::PathBuf;

use serde_json::{Map, Value};

use crate::Failure;

/// Where results go.
#[derive(Clone, Debug)]
pub struct Report {
    only: String,
    json: Option<PathBuf>,
    cores: Option<usize>,
}

impl Report {
    /// Prints to standard output; rows are also added to the file `json`, if any, with the number of cores.
    pub fn new(only: &str, json: Option<PathBuf>, cores: Option<usize>) -> Self {
        Self { only: only.to_owned(), json, cores }
    }

    /// Whether this table is wanted.
    pub fn wants(&self, title: &str) -> bool {
        title.contains(&self.only)
    }

    /// Begins a table.
    pub fn table(&self, title: &str, columns: &[&'static str]) -> Table<'_> {
        println!("\n### {title}\n\n| {} |\n|{}", columns.join(" | "), "---|".repeat(columns.len()));
        Table { report: self, title: title.to_owned(), columns: columns.to_vec() }
    }
}

/// A table that has been begun.
#[derive(Debug)]
pub struct Table<'a> {
    report: &'a Report,
    title: String,
    columns: Vec<&'static str>,
}

impl Table<'_> {
    /// Adds a row: one cell for each column.
    ///
    /// # Errors
    ///
    /// If the file cannot be written.
    pub fn row(&self, cells: &[Value]) -> Result<(), Failure> {
        println!("| {} |", cells.iter().map(shown).collect::<Vec<_>>().join(" | "));
        std::io::stdout().flush()?;
        let Some(path) = &self.report.json else { return Ok(()) };
        let mut row = Map::new();
        row.insert("table".into(), self.title.clone().into());
        row.insert("cores".into(), self.report.cores.into());
        row.extend(self.columns.iter().zip(cells).map(|(column, cell)| ((*column).to_owned(), cell.clone())));
        let mut file = OpenOptions::new().create(true).append(true).open(path)?;
        writeln!(file, "{}", Value::Object(row))?;
        Ok(())
    }
}

/// Three digits that count, and commas in large numbers.
fn shown(cell: &Value) -> String {
    match cell {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Number(number) => match number.as_u64() {
            Some(whole) => with_commas(whole),
            None => number.as_f64().map(float).unwrap_or_default(),
        },
        other => other.to_string(),
    }
}

fn float(number: f64) -> String {
    match number.abs() {
        size if size >= 1_000.0 => with_commas(number.round() as u64),
        size if size >= 100.0 => format!("{number:.0}"),
        size if size >= 10.0 => format!("{number:.1}"),
        size if size >= 0.01 => format!("{number:.2}"),
        _ => format!("{number:.4}"),
    }
}

fn with_commas(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (position, digit) in digits.chars().enumerate() {
        if position > 0 && (digits.len() - position).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn cells_are_short() {
        let cells = [json!(1_234_567), json!(1234.5), json!(123.4), json!(12.34), json!(1.234), json!("x"), json!(null)];
        assert_eq!(cells.map(|cell| shown(&cell)), ["1,234,567", "1,235", "123", "12.3", "1.23", "x", ""]);
    }
}
