//! Where the node lives: its data folder, its key, its instruction set.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use etcetera::BaseStrategy as _;
use forgemesh_kernel::backend::Isa;
use forgemesh_protocol::canon;
use forgemesh_protocol::charter::Seating;
use forgemesh_protocol::genesis::Genesis;
use forgemesh_protocol::keys::SecretKey;
use forgemesh_protocol::organization::Organization;
use forgemesh_storage::{Batch, DATABASE_FILE_NAME, KeyFile, MetaKey, Storage};

use super::error::CliError;
use super::{Common, near, say};
use crate::config::Config;
use crate::real::executor::ThreadPool;
use crate::real::worker::{Launch, Worker, memory};

/// An open data folder.
pub struct Home {
    pub folder: PathBuf,
    pub storage: Arc<Storage>,
    pub secret: SecretKey,
}

/// Where a data folder remembers which node joined the mesh in it. No envelope can name the namespace: it has a space.
const NODE_NAMESPACE: &str = "forgemesh node";
const JOINED_KEY: &str = "joined";
/// And to which organization it belongs, by what it was told then.
const ORGANIZATION_KEY: &str = "organization";

impl Home {
    /// Did this node join a mesh whose hub it is no member of?
    pub fn is_guest(&self) -> Result<bool, CliError> {
        let joined = self.storage.kv(NODE_NAMESPACE, JOINED_KEY)?;
        Ok(joined.is_some_and(|node| node == self.secret.public().id().0.0))
    }

    /// Enters the mesh that this node was admitted to.
    pub fn enter(
        &self,
        genesis: &Genesis,
        seating: Option<&Seating>,
        organization: Option<&Organization>,
    ) -> Result<(), CliError> {
        let mut batch = Batch::new();
        if let Some(organization) = organization {
            batch.put_kv(NODE_NAMESPACE, ORGANIZATION_KEY, organization.as_str().into());
        }
        if let Some(seating) = seating {
            batch.put_meta(MetaKey::Seating, canon::to_bytes(seating));
        }
        batch.put_meta(MetaKey::Genesis, canon::to_bytes(genesis));
        batch.put_kv(NODE_NAMESPACE, JOINED_KEY, self.secret.public().id().0.0.to_vec());
        Ok(self.storage.commit(&batch)?)
    }
}

/// To which organization the node of a data folder belongs, by what it was told when it joined its mesh.
pub fn organization(storage: &Storage) -> Result<Option<Organization>, CliError> {
    let told = storage.kv(NODE_NAMESPACE, ORGANIZATION_KEY)?;
    Ok(told.and_then(|told| String::from_utf8(told).ok()?.parse().ok()))
}

/// `--home`, else `FORGEMESH_HOME`, else the platform's place for data.
pub fn folder(common: &Common) -> Result<PathBuf, CliError> {
    if let Some(folder) = &common.home {
        return Ok(folder.clone());
    }
    if let Some(folder) = std::env::var_os("FORGEMESH_HOME").filter(|folder| !folder.is_empty()) {
        return Ok(PathBuf::from(folder));
    }
    let strategy = etcetera::choose_base_strategy().map_err(|_| {
        CliError::Usage("this user has no home folder; set FORGEMESH_HOME or give --home".to_owned())
    })?;
    Ok(strategy.data_dir().join("forgemesh"))
}

/// Opens the data folder, making it and the node's key on the first use.
pub fn open(common: &Common) -> Result<Home, CliError> {
    let folder = folder(common)?;
    let storage = Storage::open(&folder)?;
    let key = KeyFile::load_or_create(&folder, random::<32>)?;
    Ok(Home { folder, secret: SecretKey::from_bytes(key.secret()), storage: Arc::new(storage) })
}

/// Opens a data folder that is there, for reading.
pub fn open_existing(common: &Common) -> Result<Home, CliError> {
    let folder = folder(common)?;
    if !folder.exists() {
        let text = format!("there is no data folder {}; `forgemesh run` makes one", folder.display());
        return Err(CliError::Usage(text));
    }
    open(common)
}

/// May a folder belong to a mesh? It is not opened: a node that is just starting would find it in use.
pub fn may_have_mesh(folder: &Path) -> bool {
    folder.join(DATABASE_FILE_NAME).exists()
}

/// The instruction set asked for by `FORGEMESH_ISA`, else the best one here.
pub fn isa() -> Result<Isa, CliError> {
    Ok(Isa::from_request(std::env::var("FORGEMESH_ISA").ok().as_deref())?)
}

/// `--threads`, else all cores.
pub fn threads(common: &Common) -> usize {
    let cores = || std::thread::available_parallelism().map_or(1, usize::from);
    common.threads.map_or_else(cores, usize::from)
}

/// How a node of these settings starts its worker.
pub fn launch(common: &Common, config: &Config) -> Result<Launch, CliError> {
    let memory_bytes = config.memory_mib.map_or_else(memory::default_bytes, |mib| u64::from(mib) << 20);
    Launch::own(threads(common), isa()?, memory_bytes).map_err(CliError::Worker)
}

/// Says what the settings ask for in vain.
pub fn warn(config: &Config) {
    if let Some(foreign) = near::foreign_ops(config) {
        say(&format!("{foreign}; `forgemesh op ls` lists what it does"));
    }
    if config.stand && config.listen.is_empty() {
        say(
            "config.toml says stand = true and no address under listen: without one no hub member promotes it",
        );
    }
}

/// The executor of a node on this data folder, with its worker.
pub fn executor(common: &Common, home: &Home, config: &Config) -> Result<ThreadPool, CliError> {
    warn(config);
    let launch = launch(common, config)?;
    let (threads, isa) = (launch.threads, launch.isa);
    let worker = Worker::start(launch).map_err(CliError::Thread)?;
    ThreadPool::start(threads, isa, home.storage.clone(), worker).map_err(CliError::Thread)
}

/// Random bytes from the system.
pub fn random<const N: usize>() -> Result<[u8; N], getrandom::Error> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes)?;
    Ok(bytes)
}
