//! Readers: each asks one member of the hub after the other to be current, and looks at what it then knows.

use std::rc::Rc;

use forgemesh_node::core::{Reply, Request};
use tokio::time::{Duration, sleep};

use crate::draws::Draws;
use crate::invariants::Moment;
use crate::machine::{Ground, Machine};
use crate::world::Broken;

/// Between two reads, in milliseconds.
const BETWEEN_MS: (u64, u64) = (200, 4_000);

/// One reader among the first `members` machines.
pub struct Reader {
    pub number: usize,
    pub members: usize,
}

impl Reader {
    /// Reads again and again, as long as the world lasts.
    pub async fn read(self, machines: Rc<Vec<Machine>>, ground: Ground) -> Result<(), Broken> {
        let mut draws = Draws::new(ground.seed, &format!("reader {}", self.number));
        loop {
            sleep(Duration::from_millis(draws.between(BETWEEN_MS.0, BETWEEN_MS.1))).await;
            let machine = &machines[draws.between(0, self.members as u64 - 1) as usize];
            // Who stops in between has said nothing.
            let _ = look(machine, &ground).await;
        }
    }
}

/// One read; none if the machine does not run, does not sit, or is not current.
async fn look(machine: &Machine, ground: &Ground) -> Option<()> {
    let handle = machine.handle()?;
    let floor = ground.witness.floor();
    if handle.request(Request::Current).await.ok()? != Reply::Current {
        return None;
    }
    let Reply::Status(status) = handle.request(Request::Status).await.ok()? else { return None };
    let (number, log) = (machine.number(), status.hub?.log);
    let mut missing = None;
    for job in floor.acknowledged {
        let Reply::Open(open) = handle.request(Request::Open(job)).await.ok()? else { return None };
        if open.is_some() || ground.witness.has_recorded(number, &job) {
            continue;
        }
        // It may have become final since, and be on its way into the books: it is there after this.
        if handle.request(Request::Current).await.ok()? != Reply::Current {
            return None;
        }
        if !ground.witness.has_recorded(number, &job) {
            missing = Some(job);
        }
    }
    ground.witness.read(Moment::Read { machine: number, floor: floor.log, log, missing });
    Some(())
}
