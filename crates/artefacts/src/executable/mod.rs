//! Executables: what a program says of its origin, needs, and signature.

use scelle_event::{Fields, Loss, Nested, Tree, Value};
use scelle_formats::executable::{Damage, Entropy};

use crate::Emitter;

pub mod elf;
pub mod macho;
pub mod pe;

/// A list or a map that a function shows.
struct Show<F>(F);

impl<F: Fn(&mut dyn Tree)> Nested for Show<F> {
    fn visit(&self, out: &mut dyn Tree) {
        (self.0)(out);
    }
}

/// Shows a list; `each` shows one of its items.
fn list<T>(
    out: &mut dyn Tree,
    items: impl IntoIterator<Item = T>,
    mut each: impl FnMut(&mut dyn Tree, T),
) {
    out.begin_list();
    for item in items {
        each(out, item);
    }
    out.end();
}

fn texts<'t>(out: &mut dyn Tree, items: impl IntoIterator<Item = &'t str>) {
    list(out, items, |out, item| out.value(Value::Text(item)));
}

/// Names the next value of a map and gives it; absent ones are left out.
fn entry(out: &mut dyn Tree, name: &str, value: Value<'_>) {
    if !matches!(value, Value::Null) {
        out.key(name);
        out.value(value);
    }
}

fn entropy(out: &mut dyn Tree, entropy: Option<Entropy>) {
    if let Some(entropy) = entropy {
        entry(out, "entropy", Value::Text(&entropy.to_string()));
    }
}

/// What a decoder found damaged, as losses of fields.
fn warn(out: &mut Emitter<'_>, base: u64, damages: &[Damage]) {
    for damage in damages {
        let range = damage.range.start.saturating_add(base)..damage.range.end.saturating_add(base);
        out.warn(range, Loss::Field(damage.field), damage.cause.as_str());
    }
}

/// A list or map, or null where there is none.
fn nested_unless(absent: bool, out: &mut dyn Fields, show: impl Fn(&mut dyn Tree)) {
    if absent {
        out.value(Value::Null);
    } else {
        out.value(Value::Nested(&Show(show)));
    }
}
