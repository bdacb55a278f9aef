//! Label values of metrics.

use std::{
    cmp::Ordering,
    collections::BTreeMap,
    fmt,
    hash::{Hash, Hasher},
    ops::Deref,
    sync::Arc,
};

use parking_lot::Mutex;

/// The name of a caller or an operation, with a small number for it.
///
/// Equal names have equal numbers for the life of the process, also after a reload. So a time series is
/// found by number, without a comparison of texts.
#[derive(Clone)]
pub struct LabelValue {
    id: u32,
    text: Arc<str>,
}

impl LabelValue {
    /// The number of this name.
    pub fn id(&self) -> u32 {
        self.id
    }

    /// The name as a shared text.
    pub fn shared(&self) -> &Arc<str> {
        &self.text
    }
}

impl<T: Into<Arc<str>>> From<T> for LabelValue {
    fn from(text: T) -> Self {
        let text = text.into();
        let mut ids = IDS.lock();
        let next = u32::try_from(ids.len()).unwrap_or(u32::MAX);
        let id = *ids.entry(Arc::clone(&text)).or_insert(next);
        Self { id, text }
    }
}

impl Deref for LabelValue {
    type Target = str;

    fn deref(&self) -> &str {
        &self.text
    }
}

impl PartialEq for LabelValue {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id
    }
}

impl Eq for LabelValue {}

impl PartialOrd for LabelValue {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for LabelValue {
    fn cmp(&self, other: &Self) -> Ordering {
        self.text.cmp(&other.text)
    }
}

impl Hash for LabelValue {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.id.hash(state);
    }
}

impl fmt::Display for LabelValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for LabelValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.text, f)
    }
}

/// The number of each name. There are few, because all names come from the configuration.
static IDS: Mutex<BTreeMap<Arc<str>, u32>> = Mutex::new(BTreeMap::new());

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_names_have_equal_numbers() {
        let [billing, portal, again] = ["billing", "portal", "billing"].map(LabelValue::from);
        assert_eq!((billing.id(), &billing), (again.id(), &again));
        assert_ne!((billing.id(), &billing), (portal.id(), &portal));
    }
}
