//! The field table beside h2's: whatever callers put into it, both read the same.

use proptest::{collection::vec, prelude::*};

use super::support::{Caller, block, frame_of, get};
use crate::proxy::server::http2::hpack::{FieldTable, write_text};

const DATA: u8 = 0;
const GOAWAY: u8 = 7;

/// How a field is written.
#[derive(Clone, Debug)]
enum Form {
    /// A literal that goes into the table, or does not.
    Literal { name: String, value: Vec<u8>, is_kept: bool },
    /// A reference to the name of an earlier field, with a value.
    Named { back: usize, value: Vec<u8>, is_kept: bool },
    /// A reference to an earlier field.
    Indexed { back: usize },
    /// Another size of the table; only at the beginning of a block.
    Resize { size: usize },
}

fn form() -> impl Strategy<Value = Form> {
    // Some of them no field can have.
    let name = prop_oneof!["[a-z]{1,9}", "[a-zA-Z \r\n\"]{1,9}", Just(":path".to_owned())];
    let value = || prop_oneof![vec(any::<u8>(), 0..9), "[a-z]{0,300}".prop_map(String::into_bytes)];
    prop_oneof![
        (name, value(), any::<bool>()).prop_map(|(name, value, is_kept)| Form::Literal {
            name,
            value,
            is_kept
        }),
        (0..100_usize, value(), any::<bool>()).prop_map(|(back, value, is_kept)| Form::Named {
            back,
            value,
            is_kept
        }),
        (0..100_usize).prop_map(|back| Form::Indexed { back }),
        (0..5000_usize).prop_map(|size| Form::Resize { size }),
    ]
}

/// A number in the low bits of a byte.
fn number(block: &mut Vec<u8>, form: u8, mask: u8, number: usize) {
    match u8::try_from(number) {
        Ok(small) if small < mask => block.push(form | small),
        _ => {
            let mut rest = number - usize::from(mask);
            block.push(form | mask);
            while rest >= 128 {
                block.push(u8::try_from(rest % 128).unwrap() | 128);
                rest /= 128;
            }
            block.push(u8::try_from(rest).unwrap());
        }
    }
}

/// Writes a field, if the table has what it refers to.
fn write(to: &mut Vec<u8>, form: &Form, table: &FieldTable) {
    let earlier = |back: usize| 62 + back.checked_rem(table.len()).unwrap_or_default();
    match form {
        Form::Literal { name, value, is_kept } => {
            to.push(if *is_kept { 0x40 } else { 0x10 });
            write_text(to, name.as_bytes());
            write_text(to, value);
        }
        Form::Named { back, value, is_kept } if table.len() > 0 => {
            let (form, mask) = if *is_kept { (0x40, 0x3f) } else { (0, 0x0f) };
            number(to, form, mask, earlier(*back));
            write_text(to, value);
        }
        Form::Indexed { back } if table.len() > 0 => number(to, 0x80, 0x7f, earlier(*back)),
        Form::Resize { size } => number(to, 0x20, 0x1f, (*size).min(4096)),
        Form::Named { .. } | Form::Indexed { .. } => {}
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// h2 never ends the connection for what the table can read, and keeps the same entries.
    #[test]
    fn h2_reads_what_the_table_reads(requests in vec(vec(form(), 0..12), 1..12)) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(async {
            let mut caller = Caller::connect(1000).await;
            let mut table = FieldTable::new();
            let usual = [(":method", "GET"), (":scheme", "http"), (":authority", "a")];
            let mut stream = 1;
            for forms in &requests {
                let mut bytes = Vec::new();
                for (at, form) in forms.iter().enumerate() {
                    if matches!(form, Form::Resize { .. }) && at > 0 {
                        continue;
                    }
                    let before = bytes.len();
                    write(&mut bytes, form, &table);
                    let mut fields = table.read(&bytes[before..]);
                    while fields.next_field().unwrap().is_some() {}
                    if matches!(form, Form::Resize { .. }) {
                        bytes.extend(block(&usual));
                    }
                }
                caller.send(&frame_of(1, 5, stream, &bytes)).await;
                stream += 2;
            }
            // h2 has every entry, and not one more.
            let mut all = Vec::new();
            for entry in 0..table.len() {
                number(&mut all, 0x80, 0x7f, 62 + entry);
            }
            caller.send(&frame_of(1, 5, stream, &all)).await;
            caller.send(&get(stream + 2, "/5")).await;
            loop {
                let (kind, _, of, payload) = caller.frame().await.expect("the connection is open");
                assert_ne!(kind, GOAWAY, "{payload:?}");
                if (kind, of) == (DATA, stream + 2) {
                    break;
                }
            }
            number(&mut all, 0x80, 0x7f, 62 + table.len());
            caller.send(&frame_of(1, 5, stream + 4, &all)).await;
            caller.wait_for(GOAWAY, 0).await;
        });
    }
}
