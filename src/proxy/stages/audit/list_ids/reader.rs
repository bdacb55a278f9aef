//! Finds the objects of a list in its JSON as it passes, piece by piece.
//!
//! Pigello does not document the form of its lists, so the reader takes all usual ones: an array of objects,
//! an array in an object (`{"count": 2, "results": [...]}`), and JSON Lines. The object of an item is the
//! UUID of its `id`. References inside an item are not its object. A body of another form is no error: the
//! record then says that it may not have all objects.

use actson::{JsonEvent, JsonParser, feeder::PushJsonFeeder, options::JsonParserOptionsBuilder};
use uuid::Uuid;

use crate::audit::ListObjects;

/// Reads one list.
pub(super) struct ListReader {
    parser: JsonParser<PushJsonFeeder>,
    /// The arrays and objects that are open.
    open: Vec<Open>,
    /// Whether the value that comes next is that of an item's `id`.
    is_id_next: bool,
    /// The bytes since the last event.
    silent: usize,
    ids: Vec<Uuid>,
    /// Whether everything so far had the form of a list.
    is_list: bool,
    /// The values at the top.
    values: usize,
    /// An object at the top has an `id`, and containers inside its objects: an item, or a list of a form that
    /// is not known.
    is_doubtful: bool,
}

/// An array or object that is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Open {
    Array,
    Object(Seen),
}

/// What an object has, so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Seen {
    /// An `id` that is a UUID.
    id: bool,
    /// An array.
    list: bool,
    /// An object with an object or array in it.
    depth: bool,
}

impl ListReader {
    pub(super) fn new() -> Self {
        let options =
            JsonParserOptionsBuilder::default().with_streaming(true).with_max_depth(MAX_DEPTH);
        Self {
            parser: JsonParser::new_with_options(PushJsonFeeder::new(), options.build()),
            open: Vec::new(),
            is_id_next: false,
            silent: 0,
            ids: Vec::new(),
            is_list: true,
            values: 0,
            is_doubtful: false,
        }
    }

    /// Reads the next piece.
    pub(super) fn push(&mut self, mut piece: &[u8]) {
        while self.is_list && !piece.is_empty() {
            let taken = self.parser.feeder.push_bytes(piece);
            piece = piece.get(taken..).unwrap_or_default();
            self.silent = self.silent.saturating_add(taken);
            self.parse();
            if self.silent > MAX_VALUE {
                self.is_list = false;
            }
        }
    }

    /// The objects, and whether they are all. `is_whole` is whether the body was read to its end.
    pub(super) fn finish(mut self, is_whole: bool) -> ListObjects {
        if self.is_list {
            self.parser.feeder.done();
            self.parse();
        }
        let is_doubtful = self.is_doubtful && self.values == 1;
        let is_complete = is_whole && self.is_list && !is_doubtful && self.open.is_empty();
        ListObjects { ids: self.ids, is_complete }
    }

    fn parse(&mut self) {
        loop {
            match self.parser.next_event() {
                Ok(Some(JsonEvent::NeedMoreInput) | None) => return,
                Ok(Some(event)) => self.take(event),
                Err(_) => self.is_list = false,
            }
            if !self.is_list {
                return;
            }
        }
    }

    fn take(&mut self, event: JsonEvent) {
        self.silent = 0;
        let is_id = std::mem::take(&mut self.is_id_next);
        match event {
            JsonEvent::StartObject => self.begin(Open::Object(Seen::default())),
            JsonEvent::StartArray => {
                // An array in the place of an item.
                self.is_list &=
                    !matches!(*self.open, [Open::Array] | [Open::Object(_), Open::Array]);
                if let [Open::Object(seen)] = self.open.as_mut_slice() {
                    seen.list = true;
                }
                self.begin(Open::Array);
            }
            JsonEvent::EndArray => drop(self.open.pop()),
            JsonEvent::EndObject => self.end_object(),
            JsonEvent::FieldName => {
                let is_id = self.parser.current_str().is_ok_and(|name| name == "id");
                self.is_id_next = is_id && self.is_in_item();
            }
            JsonEvent::ValueString if is_id => self.id(),
            JsonEvent::ValueString
            | JsonEvent::ValueInt
            | JsonEvent::ValueFloat
            | JsonEvent::ValueTrue
            | JsonEvent::ValueFalse
            | JsonEvent::ValueNull => {
                // A value in the place of an item.
                let is_item =
                    matches!(*self.open, [] | [Open::Array] | [Open::Object(_), Open::Array]);
                self.is_list &= !is_item;
            }
            JsonEvent::NeedMoreInput => {}
        }
    }

    /// Whether the innermost object can be an item: at the top, in an array at the top, or in an array of an
    /// object at the top.
    fn is_in_item(&self) -> bool {
        matches!(
            *self.open,
            [Open::Object(_)]
                | [Open::Array, Open::Object(_)]
                | [Open::Object(_), Open::Array, Open::Object(_)]
        )
    }

    fn begin(&mut self, container: Open) {
        if self.open.is_empty() {
            self.values = self.values.saturating_add(1);
        }
        if let [Open::Object(seen), Open::Object(_), ..] = self.open.as_mut_slice() {
            seen.depth = true;
        }
        self.open.push(container);
    }

    fn end_object(&mut self) {
        let is_item = self.is_in_item();
        let Some(Open::Object(seen)) = self.open.pop() else { return };
        if self.open.is_empty() {
            self.is_list &= seen.id || (seen.list && !seen.depth);
            self.is_doubtful |= seen.id && seen.depth;
        } else if is_item {
            self.is_list &= seen.id;
        }
    }

    fn id(&mut self) {
        let id = self.parser.current_str().ok().and_then(|text| Uuid::try_parse(text).ok());
        let (Some(id), Some(Open::Object(seen))) = (id, self.open.last_mut()) else { return };
        seen.id = true;
        if self.ids.len() < MAX_IDS {
            self.ids.push(id);
        } else {
            self.is_list = false;
        }
    }
}

/// The most objects of a record.
const MAX_IDS: usize = 1000;
/// The most arrays and objects inside each other.
const MAX_DEPTH: usize = 64;
/// The longest text or number, in bytes.
const MAX_VALUE: usize = 256 * 1024;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const A: &str = "0190d1c2-9a4e-7cc3-8f00-1234567890ab";
    const B: &str = "0190D1C2-9A4E-7CC3-8F00-1234567890AC";

    fn read(body: &str, piece: usize) -> (Vec<String>, bool) {
        let mut reader = ListReader::new();
        body.as_bytes().chunks(piece).for_each(|piece| reader.push(piece));
        let found = reader.finish(true);
        (found.ids.iter().map(Uuid::to_string).collect(), found.is_complete)
    }

    #[test]
    fn the_objects_of_every_usual_form_are_found() {
        let two = [A.to_owned(), B.to_ascii_lowercase()];
        for body in [
            format!(r#"[{{"id":"{A}","tenant":{{"id":"{A}"}}}},{{"name":"x","id":"{B}"}}]"#),
            format!(r#"{{"count":2,"next":null,"results":[{{"id":"{A}"}},{{"id":"{B}"}}]}}"#),
            format!("{{\"id\":\"{A}\",\"tags\":[{{\"id\":\"{A}\"}}]}}\n{{\"id\":\"{B}\"}}\n")
                .replace(&format!(",\"tags\":[{{\"id\":\"{A}\"}}]"), ""),
            format!(r#"[{{"i\u0064":"{A}","a":[{{"id":"{B}"}},1,[[]]]}},{{"id":"{B}"}}]"#),
        ] {
            for piece in [1, 7, body.len()] {
                assert_eq!(read(&body, piece), (two.to_vec(), true), "{body}");
            }
        }
        let nested = format!(r#"{{"id":"{A}","tenant":{{"address":{{"id":"{B}"}}}}}}"#);
        assert_eq!(read(&format!("{nested}\n{nested}\n"), 5), (vec![A.to_owned(); 2], true));
        let links = format!(r#"{{"links":{{"next":null}},"results":[{{"id":"{A}"}}]}}"#);
        assert_eq!(read(&links, 5), (vec![A.to_owned()], true));
        for body in ["[]", r#"{"results":[]}"#] {
            assert_eq!(read(body, 3), (vec![], true), "{body}");
        }
    }

    #[test]
    fn what_may_lack_an_object_is_not_complete() {
        for body in [
            r#"{"detail":"x"}"#.to_owned(),
            format!(r#"{{"{A}":{{"name":"x"}}}}"#),
            format!(r#"["{A}"]"#),
            format!(r#"[{{"id":"{A}"}},{{"pk":"{B}"}}]"#),
            r#"[{"id":7}]"#.to_owned(),
            format!(r#"{{"errors":[],"data":{{"items":[{{"id":"{A}"}}]}}}}"#),
            format!(r#"[[{{"id":"{A}"}}]]"#),
            format!(r#"{{"results":[[{{"id":"{A}"}}]]}}"#),
            format!(r#"{{"warnings":[],"results":{{"a":{{"id":"{A}"}}}}}}"#),
            format!(r#"{{"id":"{B}","data":{{"items":[{{"id":"{A}"}}]}}}}"#),
            format!(r#"[{{"id":"{A}"}}"#),
            format!(r#"[{{"id":"{A}"}}] x"#),
            "not JSON".to_owned(),
            format!("{}{}", "[".repeat(100), "]".repeat(100)),
            format!(r#"[{{"id":"{A}","picture":"{}"}}]"#, "A".repeat(2 * MAX_VALUE)),
            format!("[{}]", vec![format!(r#"{{"id":"{A}"}}"#); MAX_IDS + 1].join(",")),
        ] {
            for piece in [1024, 1000] {
                let (ids, is_complete) = read(&body, piece);
                assert!(
                    !is_complete && ids.len() <= MAX_IDS,
                    "{}",
                    body.get(..60).unwrap_or(&body)
                );
            }
        }
        assert!(!ListReader::new().finish(false).is_complete);
    }

    proptest! {
        #[test]
        fn nothing_panics(body in "[\\[\\]{}\",:a-z0-9\\\\ id\n-]{0,80}", piece in 1_usize..9) {
            read(&body, piece);
        }

        #[test]
        fn pieces_do_not_matter(count in 0_usize..20, piece in 1_usize..50) {
            let ids: Vec<_> = (0..count).map(|_| Uuid::new_v4()).collect();
            let items: Vec<_> = ids.iter().map(|id| format!(r#"{{"id":"{id}"}}"#)).collect();
            let (found, is_complete) = read(&format!("[{}]", items.join(",")), piece);
            prop_assert!(is_complete);
            prop_assert_eq!(found, ids.iter().map(Uuid::to_string).collect::<Vec<_>>());
        }
    }
}
