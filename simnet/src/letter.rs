//! A message as bytes, and strictly back. The bytes that were read last are kept with what they mean: decoding is a pure
//! function, and a mesh says the same thing often.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use forgemesh_protocol::canon::CanonError;
use forgemesh_protocol::hash::Hash;
use forgemesh_protocol::wire::Message;

/// Letters that are kept, and how long one may be to be kept.
const KEPT: usize = 4_096;
const KEPT_BYTES: usize = 4_096;

thread_local! {
    static READ: RefCell<BTreeMap<Hash, Message>> = const { RefCell::new(BTreeMap::new()) };
}

/// The bytes on the wire.
pub fn encode(message: &Message) -> Rc<[u8]> {
    message.encode().into()
}

/// The message, if the bytes are its canonical ones.
pub fn decode(bytes: &[u8]) -> Result<Message, CanonError> {
    if bytes.len() > KEPT_BYTES {
        return Message::decode(bytes);
    }
    let address = Hash::blob(bytes);
    READ.with_borrow_mut(|read| {
        if let Some(message) = read.get(&address) {
            return Ok(message.clone());
        }
        let message = Message::decode(bytes)?;
        // What members of the hub say about the log is numbered: it never comes again.
        if matches!(message, Message::Raft { .. }) {
            return Ok(message);
        }
        if read.len() >= KEPT {
            read.clear();
        }
        read.insert(address, message.clone());
        Ok(message)
    })
}
