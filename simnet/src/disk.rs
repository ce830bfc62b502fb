//! A disk in memory behind redb. What was written is there after a crash, synced or not, as after a killed process;
//! disks that lose writes are faults of their own.

use std::io;
use std::sync::Arc;

use redb::StorageBackend;
use redb::backends::InMemoryBackend;

/// The disk of one node. Clones are the same disk.
#[derive(Clone, Debug, Default)]
pub struct Disk(Arc<InMemoryBackend>);

impl Disk {
    /// What a crash at this moment leaves: a disk of its own with the same bytes.
    pub fn image(&self) -> io::Result<Disk> {
        let mut bytes = vec![0; usize::try_from(self.0.len()?).map_err(io::Error::other)?];
        self.0.read(0, &mut bytes)?;
        let copy = InMemoryBackend::new();
        copy.set_len(bytes.len() as u64)?;
        copy.write(0, &bytes)?;
        Ok(Disk(Arc::new(copy)))
    }
}

impl StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.0.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.write(offset, data)
    }
}
