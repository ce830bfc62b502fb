//! Bytes from members that lie or are broken: they are dropped, and the hub goes on.

use forgemesh_protocol::canon::Bytes;
use forgemesh_storage::testing::Random;

use super::world::{Weather, World, run};

#[test]
fn no_bytes_disturb_a_replica() {
    let seed = 0x5eed;
    println!("seed {seed:#x}");
    run(1, async {
        let mut world = World::new(1, 3, 0, Weather::fair()).await;
        world.propose_every(1_000..3_000);
        world.until("leader", 5_000, |world| world.leader().is_some()).await;
        let mut random = Random(seed);
        let ids: Vec<_> = world.members.iter().map(|member| member.id).collect();
        for round in 0..3_000 {
            let length = random.below(200);
            let noise = Bytes(std::iter::repeat_with(|| random.draw() as u8).take(length).collect());
            let (from, to) = (ids[random.below(3)], random.below(3));
            world.members[to].replica.as_mut().unwrap().receive(from, &noise);
            if round % 100 == 0 {
                world.pass(20).await;
            }
        }
        let agreed = world.agreed.len();
        world.until("entries", 5_000, |world| world.agreed.len() > agreed + 20).await;
    });
}
