//! Reads the field blocks of a caller beside h2 (HPACK, RFC 7541).

use std::{collections::VecDeque, ops::Range};

use bytes::Bytes;

use super::huffman;

/// The fields that blocks refer to.
#[derive(Debug)]
pub(super) struct FieldTable {
    /// The latest comes first.
    entries: VecDeque<(Bytes, Bytes)>,
    size: usize,
    limit: usize,
}

/// A field of a block.
#[derive(Debug)]
pub(super) struct Field {
    pub(super) name: Bytes,
    pub(super) value: Bytes,
    /// Where the block has the name and the value, unless it refers to the table.
    pub(super) name_at: Option<Range<usize>>,
    pub(super) value_at: Option<Range<usize>>,
}

/// A block that is not HPACK.
#[derive(Debug)]
pub(super) struct Invalid;

impl FieldTable {
    pub(super) fn new() -> Self {
        Self { entries: VecDeque::new(), size: 0, limit: LIMIT }
    }

    /// The fields of the next block.
    pub(super) fn read<'a>(&'a mut self, block: &'a [u8]) -> Fields<'a> {
        Fields { table: self, block, at: 0 }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    fn get(&self, index: usize) -> Option<(Bytes, Bytes)> {
        if let Some((name, value)) = index.checked_sub(1).and_then(|index| STATIC.get(index)) {
            let bytes = |text: &'static str| Bytes::from_static(text.as_bytes());
            return Some((bytes(name), bytes(value)));
        }
        self.entries.get(index.checked_sub(FIRST_DYNAMIC)?).cloned()
    }

    fn insert(&mut self, name: Bytes, value: Bytes) {
        self.size = self.size.saturating_add(size(&name, &value));
        self.entries.push_front((name, value));
        self.evict();
    }

    fn evict(&mut self) {
        while self.size > self.limit
            && let Some((name, value)) = self.entries.pop_back()
        {
            self.size = self.size.saturating_sub(size(&name, &value));
        }
    }
}

/// The fields of one block.
pub(super) struct Fields<'a> {
    table: &'a mut FieldTable,
    block: &'a [u8],
    at: usize,
}

impl Fields<'_> {
    /// The next field; `None` at the end of the block.
    pub(super) fn next_field(&mut self) -> Result<Option<Field>, Invalid> {
        loop {
            let Some(first) = self.block.get(self.at).copied() else { return Ok(None) };
            match first {
                0x80.. => {
                    let (name, value) = self.entry(0x7f)?;
                    return Ok(Some(Field { name, value, name_at: None, value_at: None }));
                }
                0x20..0x40 => {
                    self.table.limit = self.number(0x1f)?;
                    if self.table.limit > LIMIT {
                        return Err(Invalid);
                    }
                    self.table.evict();
                }
                0x40..0x80 => {
                    let field = self.literal(0x3f)?;
                    self.table.insert(field.name.clone(), field.value.clone());
                    return Ok(Some(field));
                }
                0x00..0x20 => return self.literal(0x0f).map(Some),
            }
        }
    }

    fn literal(&mut self, mask: u8) -> Result<Field, Invalid> {
        let is_named = self.block.get(self.at).is_some_and(|first| first & mask != 0);
        let (name, name_at) = if is_named {
            (self.entry(mask)?.0, None)
        } else {
            self.at = self.at.saturating_add(1);
            let (name, at) = self.text()?;
            (name, Some(at))
        };
        let (value, at) = self.text()?;
        Ok(Field { name, value, name_at, value_at: Some(at) })
    }

    fn entry(&mut self, mask: u8) -> Result<(Bytes, Bytes), Invalid> {
        let index = self.number(mask)?;
        self.table.get(index).ok_or(Invalid)
    }

    /// A number that begins in the low bits of a byte (RFC 7541 §5.1).
    fn number(&mut self, mask: u8) -> Result<usize, Invalid> {
        let first = self.byte()? & mask;
        let mut number = usize::from(first);
        if first < mask {
            return Ok(number);
        }
        for shift in [0, 7, 14, 21] {
            let byte = self.byte()?;
            number = number.saturating_add(usize::from(byte & 0x7f) << shift);
            if byte < 0x80 {
                return Ok(number);
            }
        }
        Err(Invalid)
    }

    /// A text, and where it stands with its length (RFC 7541 §5.2).
    fn text(&mut self) -> Result<(Bytes, Range<usize>), Invalid> {
        let start = self.at;
        let is_huffman = self.block.get(start).is_some_and(|first| first & 0x80 != 0);
        let length = self.number(0x7f)?;
        let end = self.at.saturating_add(length);
        let text = self.block.get(self.at..end).ok_or(Invalid)?;
        self.at = end;
        let text = if is_huffman {
            huffman::decode(text).ok_or(Invalid)?.into()
        } else {
            Bytes::copy_from_slice(text)
        };
        Ok((text, start..self.at))
    }

    fn byte(&mut self) -> Result<u8, Invalid> {
        let byte = self.block.get(self.at).copied().ok_or(Invalid)?;
        self.at = self.at.saturating_add(1);
        Ok(byte)
    }
}

/// Writes a text as it is, with its length.
pub(super) fn write_text(block: &mut Vec<u8>, text: &[u8]) {
    let mut rest = match u8::try_from(text.len()) {
        Ok(length @ 0..0x7f) => {
            block.push(length);
            block.extend_from_slice(text);
            return;
        }
        _ => text.len().saturating_sub(0x7f),
    };
    block.push(0x7f);
    while rest >= 0x80 {
        block.push(low_bits(rest) | 0x80);
        rest >>= 7;
    }
    block.push(low_bits(rest));
    block.extend_from_slice(text);
}

fn low_bits(number: usize) -> u8 {
    u8::try_from(number & 0x7f).unwrap_or_default()
}

/// The size of an entry (RFC 7541 §4.1).
fn size(name: &Bytes, value: &Bytes) -> usize {
    name.len().saturating_add(value.len()).saturating_add(32)
}

/// The index of the first entry behind the static table (RFC 7541 §2.3.3).
const FIRST_DYNAMIC: usize = 62;
/// The largest size of the table, which h2 does not change.
const LIMIT: usize = 4096;

/// RFC 7541, appendix A.
const STATIC: [(&str, &str); 61] = [
    (":authority", ""),
    (":method", "GET"),
    (":method", "POST"),
    (":path", "/"),
    (":path", "/index.html"),
    (":scheme", "http"),
    (":scheme", "https"),
    (":status", "200"),
    (":status", "204"),
    (":status", "206"),
    (":status", "304"),
    (":status", "400"),
    (":status", "404"),
    (":status", "500"),
    ("accept-charset", ""),
    ("accept-encoding", "gzip, deflate"),
    ("accept-language", ""),
    ("accept-ranges", ""),
    ("accept", ""),
    ("access-control-allow-origin", ""),
    ("age", ""),
    ("allow", ""),
    ("authorization", ""),
    ("cache-control", ""),
    ("content-disposition", ""),
    ("content-encoding", ""),
    ("content-language", ""),
    ("content-length", ""),
    ("content-location", ""),
    ("content-range", ""),
    ("content-type", ""),
    ("cookie", ""),
    ("date", ""),
    ("etag", ""),
    ("expect", ""),
    ("expires", ""),
    ("from", ""),
    ("host", ""),
    ("if-match", ""),
    ("if-modified-since", ""),
    ("if-none-match", ""),
    ("if-range", ""),
    ("if-unmodified-since", ""),
    ("last-modified", ""),
    ("link", ""),
    ("location", ""),
    ("max-forwards", ""),
    ("proxy-authenticate", ""),
    ("proxy-authorization", ""),
    ("range", ""),
    ("referer", ""),
    ("refresh", ""),
    ("retry-after", ""),
    ("server", ""),
    ("set-cookie", ""),
    ("strict-transport-security", ""),
    ("transfer-encoding", ""),
    ("user-agent", ""),
    ("vary", ""),
    ("via", ""),
    ("www-authenticate", ""),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn read(table: &mut FieldTable, block: &[u8]) -> Option<Vec<String>> {
        let mut fields = table.read(block);
        let mut read = Vec::new();
        loop {
            match fields.next_field() {
                Ok(Some(field)) => {
                    let text = |bytes: &Bytes| String::from_utf8_lossy(bytes).into_owned();
                    read.push(format!("{}: {}", text(&field.name), text(&field.value)));
                }
                Ok(None) => return Some(read),
                Err(Invalid) => return None,
            }
        }
    }

    /// RFC 7541, appendix C.4: three requests of one connection, with Huffman's code.
    #[test]
    fn blocks_are_read_with_their_table() {
        let mut table = FieldTable::new();
        let usual = ["method: GET", "scheme: http", "path: /", "authority: www.example.com"];
        let usual: Vec<String> = usual.iter().map(|field| format!(":{field}")).collect();
        let first = b"\x82\x86\x84\x41\x8c\xf1\xe3\xc2\xe5\xf2\x3a\x6b\xa0\xab\x90\xf4\xff";
        assert_eq!(read(&mut table, first).unwrap(), usual);
        let second = b"\x82\x86\x84\xbe\x58\x86\xa8\xeb\x10\x64\x9c\xbf";
        let with = |field: &str| [&usual[..], &[field.to_owned()]].concat();
        assert_eq!(read(&mut table, second).unwrap(), with("cache-control: no-cache"));
        assert_eq!(table.size, 110);
        let third = b"\x82\x87\x85\xbf\x40\x88\x25\xa8\x49\xe9\x5b\xa9\x7d\x7f\x89\x25\xa8\x49\xe9\x5b\xb8\xe8\xb4\xbf";
        assert_eq!(read(&mut table, third).unwrap()[4], "custom-key: custom-value");
        assert_eq!(table.size, 164);
        // Without a table nothing is left to refer to.
        assert_eq!(read(&mut table, b"\x20").unwrap().len(), 0);
        assert!(read(&mut table, b"\xbe").is_none());
    }

    #[test]
    fn what_is_no_block_is_refused() {
        for block in [
            &b"\x80"[..],
            b"\xff",
            b"\xff\xff\xff\xff\xff\x0f",
            b"\x40\x05abc",
            b"\x00\x81\xff\x00",
            b"\x3f\xe2\x1f",
            b"\xc6",
        ] {
            assert!(read(&mut FieldTable::new(), block).is_none(), "{block:?}");
        }
    }

    #[test]
    fn a_written_text_is_read_again() {
        for length in [0, 1, 126, 127, 128, 254, 255, 300, 20_000] {
            let text = "x".repeat(length);
            let mut block = vec![0x04];
            write_text(&mut block, text.as_bytes());
            let read = read(&mut FieldTable::new(), &block).unwrap();
            assert_eq!(read, [format!(":path: {text}")]);
        }
    }
}
