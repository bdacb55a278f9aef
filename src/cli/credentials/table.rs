//! A table of many credential sets: CSV (RFC 4180) with a header.
//!
//! Excel in a country with decimal commas separates by `;`, which is taken as well. No message quotes what stands in
//! the table: a column may have been mixed up, and then any of it is a secret.

use std::collections::BTreeMap;

use csv_core::{ReadRecordResult, Reader, ReaderBuilder};
use zeroize::Zeroizing;

use crate::{
    cli::failure::Message,
    credentials::{ValueName, sealed::StoredValues},
    domain::ProfileName,
    secret::SecretText,
};

/// A row of the table.
#[derive(Debug)]
pub(super) struct Row {
    /// The line of the input that it begins in, from 1.
    pub(super) line: u64,
    pub(super) profile: ProfileName,
    /// The values of the cells that are not empty.
    pub(super) values: StoredValues,
}

/// A column, as the header names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Column {
    Profile,
    Value(ValueName),
}

impl Column {
    const fn name(self) -> &'static str {
        match self {
            Self::Profile => "profile",
            Self::Value(name) => name.key(),
        }
    }
}

/// Reads all rows, or says everything that is wrong.
pub(super) fn read(text: &[u8]) -> Result<Vec<Row>, Vec<Message>> {
    let mut records = Records::of(text);
    let header = match records.advance() {
        Some(Ok(line)) => columns(line, &records.fields()).map_err(|mistake| vec![mistake])?,
        Some(Err(mistake)) => return Err(vec![mistake]),
        None => return Err(vec![mistake(1, "the table is empty; it begins with a header")]),
    };
    let (mut rows, mut mistakes) = (Vec::new(), Vec::new());
    let mut lines: BTreeMap<ProfileName, u64> = BTreeMap::new();
    while let Some(line) = records.advance() {
        match line.and_then(|line| row(&header, line, &records.fields(), &mut lines)) {
            Ok(row) => rows.push(row),
            Err(mistake) => mistakes.push(mistake),
        }
    }
    match (mistakes.is_empty(), rows.is_empty()) {
        (false, _) => Err(mistakes),
        (true, true) => Err(vec![mistake(1, "there is no row below the header")]),
        (true, false) => Ok(rows),
    }
}

fn columns(line: u64, names: &[&[u8]]) -> Result<Vec<Column>, Message> {
    let mut columns = Vec::new();
    for (at, name) in names.iter().enumerate() {
        let known = match name.trim_ascii() {
            b"profile" => Some(Column::Profile),
            name => std::str::from_utf8(name).ok().and_then(ValueName::from_key).map(Column::Value),
        };
        let number = at + 1;
        match known {
            Some(column) if columns.contains(&column) => {
                let text = format!("column {number}: `{}` is there twice", column.name());
                return Err(mistake(line, text));
            }
            Some(column) => columns.push(column),
            None => {
                let names = ValueName::ALL.map(ValueName::key).join(", ");
                let text =
                    format!("column {number} of the header is none of these: profile, {names}");
                return Err(mistake(line, text));
            }
        }
    }
    for column in [Column::Profile, Column::Value(ValueName::ClientSecret)] {
        if !columns.contains(&column) {
            let text = format!("the header has no column `{}`", column.name());
            return Err(mistake(line, text));
        }
    }
    Ok(columns)
}

fn row(
    header: &[Column],
    line: u64,
    cells: &[&[u8]],
    lines: &mut BTreeMap<ProfileName, u64>,
) -> Result<Row, Message> {
    let (found, wanted) = (cells.len(), header.len());
    if found != wanted {
        return Err(mistake(line, format!("it has {found} columns, and the header has {wanted}")));
    }
    let (mut profile, mut values) = (None, StoredValues::default());
    for (column, cell) in header.iter().zip(cells) {
        let wrong = |what: String| mistake(line, format!("column `{}`: {what}", column.name()));
        match column {
            Column::Profile => {
                profile = ProfileName::of_member(cell);
                if profile.is_none() {
                    return Err(wrong(
                        "no name of a profile; it has up to 63 letters in lower case, digits and \
                                      `-`, and does not begin with `-`"
                            .to_owned(),
                    ));
                }
            }
            // The configuration may have it.
            Column::Value(name) if cell.is_empty() && !name.is_secret() => {}
            Column::Value(name) => {
                let value =
                    SecretText::parse(cell).map_err(|problem| wrong(problem.to_string()))?;
                values.insert(*name, value);
            }
        }
    }
    let Some(profile) = profile else { return Err(mistake(line, "it names no profile")) };
    if let Some(first) = lines.insert(profile.clone(), line) {
        return Err(mistake(line, format!("the profile of line {first} is there again")));
    }
    Ok(Row { line, profile, values })
}

/// A mistake in a line.
pub(super) fn mistake(line: u64, text: impl std::fmt::Display) -> Message {
    Message::new(format!("line {line}: {text}"), None)
}

/// Reads one record after the other into a buffer that is wiped.
struct Records<'a> {
    reader: Reader,
    rest: &'a [u8],
    buffer: Zeroizing<Vec<u8>>,
    /// Where each field of the record ends in the buffer.
    ends: [usize; MOST_COLUMNS],
    columns: usize,
}

impl<'a> Records<'a> {
    fn of(text: &'a [u8]) -> Self {
        let header = text.split(|byte| *byte == b'\n').next().unwrap_or_default();
        let by_semicolon = header.contains(&b';') && !header.contains(&b',');
        let delimiter = if by_semicolon { b';' } else { b',' };
        Self {
            reader: ReaderBuilder::new().delimiter(delimiter).build(),
            rest: text,
            // No record is longer than the table.
            buffer: Zeroizing::new(vec![0; text.len()]),
            ends: [0; MOST_COLUMNS],
            columns: 0,
        }
    }

    /// Reads the next record, and returns its line.
    fn advance(&mut self) -> Option<Result<u64, Message>> {
        let line = self.reader.line() + self.empty_lines();
        let (mut written, mut columns) = (0, 0);
        loop {
            let (output, ends) = (self.buffer.get_mut(written..)?, self.ends.get_mut(columns..)?);
            let (result, read, more, ended) = self.reader.read_record(self.rest, output, ends);
            self.rest = self.rest.get(read..).unwrap_or_default();
            (written, columns) = (written + more, columns + ended);
            self.columns = columns;
            match result {
                // At the end, the reader wants to be told so with an empty input.
                ReadRecordResult::InputEmpty => {}
                ReadRecordResult::Record => return Some(Ok(line)),
                ReadRecordResult::End => return None,
                ReadRecordResult::OutputFull | ReadRecordResult::OutputEndsFull => {
                    self.rest = &[];
                    return Some(Err(mistake(line, "it has too many columns")));
                }
            }
        }
    }

    /// How many empty lines the reader is about to skip.
    fn empty_lines(&self) -> u64 {
        let blank = self.rest.iter().take_while(|byte| matches!(byte, b'\r' | b'\n'));
        blank.filter(|byte| **byte == b'\n').count() as u64
    }

    /// The fields of the record.
    fn fields(&self) -> Vec<&[u8]> {
        let ends = self.ends.iter().take(self.columns);
        let mut start = 0;
        ends.map(|end| {
            let field = self.buffer.get(start..*end).unwrap_or_default();
            start = *end;
            field
        })
        .collect()
    }
}

/// The header has eight.
const MOST_COLUMNS: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    fn mistakes(text: &str) -> Vec<String> {
        let mistakes = read(text.as_bytes()).unwrap_err();
        mistakes.into_iter().map(|mistake| format!("{mistake:?}")).collect()
    }

    #[test]
    fn columns_have_any_order_and_spreadsheets_their_ways() {
        for text in [
            "profile,client_secret,customer_id\nacme,made-up-1,c1\nnordic,made-up-2,c2\n",
            "\u{feff}customer_id;profile;client_secret\r\nc1;acme;made-up-1\r\n\r\nc2;nordic;made-up-2",
            "client_secret, profile,customer_id\n\"made-up-1\",acme,\"c1\"\nmade-up-2,nordic,c2",
        ] {
            let rows = read(text.as_bytes()).unwrap();
            let names: Vec<_> = rows.iter().map(|row| row.profile.as_str()).collect();
            assert_eq!(names, ["acme", "nordic"], "{text}");
            let is = |row: &Row, name, wanted: &str| {
                row.values.get(name).unwrap().expose_to(|text| text == wanted)
            };
            assert!(is(&rows[0], ValueName::CustomerId, "c1"), "{text}");
            assert!(is(&rows[1], ValueName::ClientSecret, "made-up-2"), "{text}");
        }
        // What is quoted may hold what separates.
        let rows = read(b"profile,client_secret\nacme,\"a,b\"\"c\"").unwrap();
        assert!(
            rows[0].values.get(ValueName::ClientSecret).unwrap().expose_to(|it| it == "a,b\"c")
        );
    }

    #[test]
    fn what_is_wrong_is_told_by_line_and_column_and_never_quoted() {
        let head = "profile,client_secret,customer_id\n";
        for (text, told) in [
            ("", "line 1: the table is empty"),
            (head, "line 1: there is no row"),
            ("canary,client_secret\n", "line 1: column 1 of the header is none of these"),
            ("profile,customer_id\n", "line 1: the header has no column `client_secret`"),
            ("client_secret\n", "line 1: the header has no column `profile`"),
            ("profile,profile,client_secret\n", "line 1: column 2: `profile` is there twice"),
            (&format!("{head}acme,canary\n"), "line 2: it has 2 columns, and the header has 3"),
            (&format!("{head}\n\nCanary,x,y\n"), "line 4: column `profile`"),
            (&format!("{head}acme,,c\n"), "line 2: column `client_secret`"),
            (&format!("{head}acme,can\u{7}ary,c\n"), "line 2: column `client_secret`"),
            (&format!("{head}acme,\"can\nary\",c\nb,c\n"), "line 2: column `client_secret`"),
            (
                &format!("{head}acme,canary,c\nb,canary,c\nacme,canary,c\n"),
                "line 4: the profile of line 2",
            ),
            (&format!("{head}{}", "canary,".repeat(99)), "line 2: it has too many columns"),
        ] {
            let mistakes = mistakes(text);
            assert!(mistakes[0].contains(told), "{mistakes:?}: {told}");
            assert!(!format!("{mistakes:?}").contains("anary"), "{mistakes:?}");
        }
        // All at once, each with its own line.
        let text = format!("{head}A,s,c\nb,,c\n\"b\nc\",s,c\nd,,c\n");
        let lines: Vec<_> = mistakes(&text);
        for (line, told) in ["line 2", "line 3", "line 4", "line 6"].iter().zip(&lines) {
            assert!(told.contains(line), "{lines:?}");
        }
    }
}
