//! A config as written: a TOML document laid over the defaults, read key by key, so that all its faults can
//! be told at once.

use std::collections::HashMap;

use toml::{Table, Value};

use super::keys::{self, Standing};
use super::load::Fault;

/// The defaults, which are read by the code that reads a file.
const DEFAULTS: &str = include_str!("defaults.toml");

/// A document, and what was found wrong with it so far.
pub(super) struct Written {
    file: Table,
    defaults: Table,
    overrides: HashMap<&'static str, (&'static str, Value)>,
    faults: Vec<Fault>,
}

/// Why a text is not TOML.
pub(super) struct Syntax {
    pub(super) line: usize,
    pub(super) column: usize,
    pub(super) message: String,
}

impl Written {
    /// A document that says nothing.
    pub(super) fn empty() -> Self {
        Self::over_defaults(Table::new())
    }

    /// Reads a document, and notes the keys in it that can't be.
    pub(super) fn parse(text: &str) -> Result<Self, Syntax> {
        let file = text.parse::<Table>().map_err(|error| {
            let before = &text[..error.span().map_or(0, |span| text.floor_char_boundary(span.start))];
            let line = before.matches('\n').count() + 1;
            let column = before.rsplit('\n').next().map_or(0, |last| last.chars().count()) + 1;
            let message = error.message().lines().collect::<Vec<_>>().join(", ");
            Syntax { line, column, message }
        })?;
        let mut written = Self::over_defaults(file);
        written.check_keys();
        Ok(written)
    }

    /// Puts the command line's `value` in the place of whatever the file says about `key`.
    pub(super) fn override_with(&mut self, key: &'static str, flag: &'static str, value: Value) {
        self.overrides.insert(key, (flag, value));
    }

    /// What `key` means: as the command line, the file or the defaults have it. `None` is a noted fault, or
    /// a key that has no default and stands nowhere.
    pub(super) fn read<T>(
        &mut self,
        key: &'static str,
        meaning: impl Fn(&Value) -> Result<T, String>,
    ) -> Option<T> {
        let (name, value) = match self.overrides.get(key) {
            Some((flag, value)) => (*flag, value),
            None => (key, look_up(&self.file, key).or_else(|| look_up(&self.defaults, key))?),
        };
        match meaning(value) {
            Ok(meant) => Some(meant),
            Err(says) => {
                let says = format!("`{name}` {says}");
                self.faults.push(Fault { key: key.into(), says });
                None
            }
        }
    }

    /// Whether `key` stands in the file or on the command line.
    pub(super) fn has(&self, key: &str) -> bool {
        self.overrides.contains_key(key) || look_up(&self.file, key).is_some()
    }

    /// The tables of a list such as `[[source]]`.
    pub(super) fn list(&self, name: &str) -> Vec<Table> {
        match self.file.get(name) {
            Some(Value::Array(entries)) => entries.iter().filter_map(Value::as_table).cloned().collect(),
            _ => Vec::new(),
        }
    }

    /// Notes a fault; `says` is the whole sentence.
    pub(super) fn fault(&mut self, key: &str, says: String) {
        self.faults.push(Fault { key: key.into(), says });
    }

    /// Whether nothing was found wrong.
    pub(super) fn is_faultless(&self) -> bool {
        self.faults.is_empty()
    }

    /// All that was found wrong, in order.
    pub(super) fn into_faults(self) -> Vec<Fault> {
        self.faults
    }

    fn over_defaults(file: Table) -> Self {
        let defaults = DEFAULTS.parse().expect("the built-in defaults are TOML");
        Self { file, defaults, overrides: HashMap::new(), faults: Vec::new() }
    }

    fn check_keys(&mut self) {
        for (name, value) in self.file.clone() {
            if let Some(says) = keys::later_table(&name) {
                self.fault(&name, format!("`[[{name}]]` is not supported yet: {says}"));
                continue;
            }
            let list = keys::LISTS.contains(&name.as_str());
            match &value {
                Value::Array(entries) if list && entries.iter().all(Value::is_table) => {
                    for entry in entries.iter().filter_map(Value::as_table) {
                        self.check_table(&name, entry);
                    }
                }
                _ if list => self.fault(&name, format!("`{name}` is a list of tables; write `[[{name}]]`")),
                Value::Table(table) => self.check_table(&name, table),
                _ if keys::is_table(&name) => {
                    self.fault(&name, format!("`{name}` is a table; write `[{name}]`"));
                }
                _ => self.check_key(&name),
            }
        }
    }

    fn check_table(&mut self, name: &str, table: &Table) {
        if table.is_empty() && !keys::is_table(name) {
            self.check_key(name);
        }
        for key in table.keys() {
            self.check_key(&format!("{name}.{key}"));
        }
    }

    fn check_key(&mut self, key: &str) {
        let says = match keys::standing(key) {
            Some(Standing::Now) => return,
            Some(Standing::Later(says)) => format!("`{key}` is not supported yet: {says}"),
            None => match keys::nearest(key) {
                Some(nearest) => format!("unknown key `{key}`: did you mean `{nearest}`?"),
                None => format!("unknown key `{key}`"),
            },
        };
        self.fault(key, says);
    }
}

fn look_up<'a>(document: &'a Table, key: &str) -> Option<&'a Value> {
    let (table, name) = key.split_once('.')?;
    document.get(table)?.as_table()?.get(name)
}
