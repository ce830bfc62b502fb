//! What was counted since the start.

use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! counters {
    ($(#[doc = $doc:literal] $name:ident,)*) => {
        /// Counters that many tasks add to.
        #[derive(Debug, Default)]
        pub(super) struct Counters {
            $(pub $name: AtomicU64,)*
        }

        /// What they stand at.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct Counts {
            $(#[doc = $doc] pub $name: u64,)*
        }

        impl Counts {
            /// Each with its name and its meaning.
            pub fn named(&self) -> impl Iterator<Item = (&'static str, &'static str, u64)> {
                [$((stringify!($name), $doc.trim_ascii(), self.$name),)*].into_iter()
            }
        }

        impl Counters {
            pub fn read(&self) -> Counts {
                Counts { $($name: self.$name.load(Ordering::Relaxed),)* }
            }
        }
    };
}

counters! {
    /// Messages written to a stream.
    sent,
    /// Their bytes, frames included.
    bytes_sent,
    /// Messages that arrived whole and were valid.
    received,
    /// Bytes of all frames that arrived whole.
    bytes_received,
    /// Outgoing messages that found no room, no way in time, or a stream that broke.
    lost,
    /// Incoming messages that found no room.
    refused,
    /// Faults of peers.
    strikes,
    /// Peers that were banned for them.
    bans,
    /// Connections that this node tried to make.
    dials,
    /// Those of them that failed.
    failed_dials,
    /// Announcements to all that arrived and were valid.
    announcements,
}
