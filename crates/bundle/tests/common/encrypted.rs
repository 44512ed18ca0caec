//! Encrypted bundles of made-up evidence.

use std::{
    io::{self, Write},
    sync::{Arc, Mutex, PoisonError},
};

use scelle_bundle::{
    BundleWriter, Encrypted, Options, Output, Recipient, Sealed, SessionKey, Source as _,
};

use super::Item;

/// Takes all, and tells how much there was at each time that it had to be on the device.
#[derive(Clone, Default)]
pub(crate) struct Device(Arc<Mutex<(Vec<u8>, Vec<usize>)>>);

impl Device {
    pub(crate) fn content(&self) -> (Vec<u8>, Vec<usize>) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

impl Write for Device {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        inner.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Output for Device {
    fn sync(&mut self) -> io::Result<()> {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let length = inner.0.len();
        inner.1.push(length);
        Ok(())
    }
}

/// Writes to an output of any kind.
pub(crate) fn write_to<W: Output + 'static>(
    out: W,
    mut options: Options,
    items: &[Item],
    recipients: &[Recipient],
) -> (Sealed, W, SessionKey) {
    let out = Encrypted::create(out, recipients, options.key.clone()).expect("recipients");
    options.collection.session_packets_sha256 = Some(out.session_packets_sha256().to_owned());
    let session_key = out.session_key().clone();
    let known = options.continues.as_ref();
    let known = known.map_or(0, |logged| logged.cursor.lines() as usize);
    let mut writer = BundleWriter::create(out, options).expect("a name and a key");
    let (before, items) = items.split_at(known);
    for item in before {
        writer.pass_over(&item.stream());
    }
    writer
        .add_all(items.len(), |index| &items[index], |_| {})
        .expect("it takes all");
    let (sealed, out) = writer.finish().expect("it takes all");
    (sealed, out.finish().expect("it takes all"), session_key)
}

pub(crate) fn encrypt(
    options: Options,
    items: &[Item],
    recipients: &[Recipient],
) -> (Sealed, Vec<u8>, SessionKey) {
    write_to(Vec::new(), options, items, recipients)
}
