//! The manual's page of operations, made from the catalog.

use std::fmt::Write as _;

use super::operation::{Entity, builtin_operations};

/// The page `docs/src/reference/catalogue.md`.
pub fn operations_page() -> String {
    let mut page = String::from(HEAD);
    let mut line = |text: std::fmt::Arguments<'_>| {
        // Writing to a string cannot fail.
        let _infallible = page.write_fmt(text);
    };
    for entity in Entity::ALL {
        line(format_args!(
            "\n## {}\n\n| operation | method | path |\n| --- | --- | --- |\n",
            entity.name
        ));
        for operation in
            builtin_operations().filter(|operation| operation.entity_name() == entity.name)
        {
            line(format_args!(
                "| `{}` | {} | `{}` |\n",
                operation.name(),
                operation.method(),
                operation.template()
            ));
        }
    }
    page
}

const HEAD: &str = "\
# Operations

<!-- Made from src/domain; `UPDATE_EXPECTED=1 cargo nextest run --test cli docs` writes it anew. -->

The 63 operations of Pigello's Accounts API, by entity. `allow` of a caller and `operations` of a cache rule name them:
`subtenant.get` is one operation, `subtenant.*` all of an entity, `*.get` one action on every entity, and `*` is all. A `HEAD`
belongs to the `GET` operation. `{pk}` is a UUID, so `…/subtenant/list/` is never `subtenant.get`.

`pigello-gateway operations` lists them with the `[[operations]]` of a configuration, and says who may use each.
`pigello-gateway operations import FILE` makes `[[operations]]` from an OpenAPI description, so that other parts of Pigello's
API can be allowed by name.

`…/list/` with `GET` reads a page of objects. With `POST` it is `bulk_write`: it creates and changes many objects at once.
";
