//! What the hub has agreed on, told from its members' disks alone: an entry is agreed on once a majority has durably
//! appended it while the durable vote of each was of the entry's own term, and with it all that stands before it. An
//! entry of an earlier term that a later leader spreads does not count by itself (Ongaro and Ousterhout 2014, section
//! 5.4.2 and figure 8). While voters change, a majority of the old ones and one of the new ones are needed (section 6) until
//! that they change is agreed on; then a majority of the new ones, which every later leader needs too, holds what it has. That
//! is so as long as nobody goes back from a change to the old ones alone, which a hub's leader never does (`hub/seating.rs`).

use std::collections::{BTreeMap, BTreeSet};

use forgemesh_protocol::id::NodeId;

use crate::durable::{Durable, Kept};

/// The log as a majority has it.
pub struct Agreement {
    machines: BTreeMap<NodeId, usize>,
    /// The voters at the end of what is agreed on: a majority of each set has to have an entry.
    voters: Vec<BTreeSet<usize>>,
    /// From index 0 on, without a gap.
    agreed: Vec<Kept>,
    /// In which term each of them was.
    terms: Vec<u64>,
    /// Entries that are not agreed on, by index and term.
    held: BTreeMap<(u64, u64), Held>,
}

/// An entry, and who has appended it in its own term.
struct Held {
    kept: Kept,
    by: BTreeSet<usize>,
}

impl Held {
    /// Do enough have it? `changing` as long as it is not agreed on that these are the voters.
    fn is_agreed(&self, voters: &[BTreeSet<usize>], changing: bool) -> bool {
        let suffices = |set: &BTreeSet<usize>| set.intersection(&self.by).count() > set.len() / 2;
        match changing {
            true => voters.iter().all(suffices),
            // A leader that goes on to the new ones alone counts what came before by them, at once.
            false => voters.last().is_some_and(suffices),
        }
    }
}

impl Agreement {
    /// Among the first so many of these machines, on nothing yet.
    pub fn among(machines: &[NodeId], voters: usize) -> Agreement {
        Agreement {
            machines: machines.iter().enumerate().map(|(number, node)| (*node, number)).collect(),
            voters: vec![(0..voters).collect()],
            agreed: Vec::new(),
            terms: Vec::new(),
            held: BTreeMap::new(),
        }
    }

    /// How many entries are agreed on.
    pub fn length(&self) -> u64 {
        self.agreed.len() as u64
    }

    /// The entry that is agreed on at `index`.
    pub fn entry(&self, index: u64) -> Option<&Kept> {
        self.agreed.get(usize::try_from(index).ok()?)
    }

    /// The same, if it was agreed on by this term: a leader of an earlier one need not have it, and may give those who follow
    /// it still another one (Ongaro and Ousterhout 2014, figure 3, "Leader Completeness").
    pub fn binding(&self, index: u64, term: u64) -> Option<&Kept> {
        let since = self.terms.get(usize::try_from(index).ok()?)?;
        self.entry(index).filter(|_| *since <= term)
    }

    /// The last entry of a machine's log has become durable: what is agreed on now and was not before. The error is a log
    /// that begins after it, or has other entries before it.
    pub fn appended(&mut self, machine: usize, durable: &Durable) -> Result<Vec<Kept>, u64> {
        let Some(last) = durable.entries.back() else { return Ok(Vec::new()) };
        let (index, known) = (durable.next() - 1, self.length());
        // A change counts from its own entry on (Ongaro and Ousterhout 2014, section 6).
        let unknown = durable.entries.len().min((index + 1).saturating_sub(known) as usize);
        let changed = durable.entries.iter().rev().take(unknown).find_map(|kept| kept.voters.as_ref());
        let voters = changed.map_or_else(|| self.voters.clone(), |voters| self.numbers(voters));
        // Who is alone agrees with itself on all that it holds, and takes none of it back.
        let alone = voters.iter().all(|set| set.iter().eq([&machine]));
        let of_its_term = durable.vote.is_some_and(|vote| vote.term == last.term);
        if index < known || (!of_its_term && !alone) {
            return Ok(Vec::new());
        }
        let before = known.checked_sub(1).and_then(|last| Some((durable.entry(last)?, self.entry(last)?)));
        let is_other = before.is_some_and(|(own, agreed)| own != agreed);
        let new = Held { kept: last.clone(), by: BTreeSet::new() };
        let held = self.held.entry((index, last.term)).or_insert(new);
        held.by.insert(machine);
        if !held.is_agreed(&voters, changed.is_some() || is_other) {
            return Ok(Vec::new());
        }
        if is_other {
            return Err(known - 1);
        }
        let news: Option<Vec<Kept>> = (known..=index).map(|index| durable.entry(index).cloned()).collect();
        let mut news = news.ok_or(durable.first)?;
        self.agreed.extend(news.iter().cloned());
        self.voters = voters;
        // What follows may have waited only for its being agreed on that the voters change.
        while let Some(held) = self.held.get(&(self.length(), last.term)) {
            let changed = held.kept.voters.as_ref().map(|voters| self.numbers(voters));
            let is_change = changed.is_some();
            let voters = changed.unwrap_or_else(|| self.voters.clone());
            if !held.is_agreed(&voters, is_change) {
                break;
            }
            news.push(held.kept.clone());
            self.agreed.push(held.kept.clone());
            self.voters = voters;
        }
        self.terms.resize(self.agreed.len(), last.term);
        self.held = self.held.split_off(&(self.length(), 0));
        Ok(news)
    }

    fn numbers(&self, voters: &[BTreeSet<NodeId>]) -> Vec<BTreeSet<usize>> {
        let number = |node: &NodeId| self.machines.get(node).copied();
        voters.iter().map(|set| set.iter().filter_map(number).collect()).collect()
    }
}

#[cfg(test)]
mod tests {
    use forgemesh_consensus::raft::{Ballot, Logged, Members, Payload};
    use forgemesh_protocol::hash::Hash;
    use forgemesh_storage::{Batch, MetaKey, Write};

    use super::*;

    /// Members with disks, counted from 1 as in the paper.
    struct World {
        disks: BTreeMap<usize, Durable>,
        agreement: Agreement,
    }

    impl World {
        fn of(members: usize) -> World {
            let disks = (1..=members).map(|member| (member, Durable::default())).collect();
            World { disks, agreement: Agreement::among(&[], members) }
        }

        fn vote(&mut self, members: &[usize], term: u64) {
            for member in members {
                self.disks.get_mut(member).expect("a member").vote =
                    Some(Ballot { term, member: None, elected: false });
            }
        }

        fn append(&mut self, members: &[usize], index: u64, term: u64) -> usize {
            self.append_payload(members, index, term, &Payload::Blank)
        }

        fn append_payload(&mut self, members: &[usize], index: u64, term: u64, payload: &Payload) -> usize {
            let mut news = 0;
            for member in members {
                let disk = self.disks.get_mut(member).expect("a member");
                let mut batch = Batch::new();
                batch.truncate_log(index);
                batch.append_log(index, Logged { index, term, payload: payload.clone() }.encode());
                *disk = disk.after(&batch).expect("entries");
                news += self.agreement.appended(*member - 1, disk).expect("whole logs").len();
            }
            news
        }
    }

    #[test]
    fn a_majority_in_its_own_term_agrees() {
        let mut world = World::of(3);
        world.vote(&[1, 2], 1);
        assert_eq!(world.append(&[1], 0, 1), 0);
        assert_eq!(world.append(&[1], 1, 1), 0);
        assert_eq!(world.append(&[2], 0, 1), 1);
        assert_eq!(world.append(&[3], 1, 1), 0, "its vote is of no term");
        assert_eq!(world.append(&[2], 1, 1), 1);
        assert_eq!(World::of(2).append(&[1], 0, 1), 0);
        assert_eq!(World::of(1).append(&[1], 0, 1), 1, "who is alone");
    }

    /// Figure 8: (a) to (c) spread the entry of term 2 to a majority in term 4, and (d) takes it back all the same; after
    /// (e), with an entry of term 4 on a majority, it stays.
    #[test]
    fn an_earlier_terms_entry_is_agreed_on_with_one_of_the_leaders_own_term_alone() {
        let mut world = World::of(5);
        world.vote(&[1, 2, 3, 4, 5], 1);
        assert_eq!(world.append(&[1, 2, 3, 4, 5], 0, 1), 1);
        world.vote(&[1, 2], 2);
        assert_eq!(world.append(&[1, 2], 1, 2), 0);
        world.vote(&[3, 4, 5], 3);
        assert_eq!(world.append(&[5], 1, 3), 0);
        world.vote(&[1, 2, 3], 4);
        assert_eq!(world.append(&[3], 1, 2), 0, "on three of five, and not agreed on");
        assert_eq!(world.agreement.length(), 1);
        assert_eq!(world.append(&[1, 2], 2, 4), 0);
        assert_eq!(world.append(&[3], 2, 4), 2);
        assert_eq!(world.agreement.entry(1).map(|kept| kept.term), Some(2));
    }

    /// Members 1 to 3 give way to 1, 4 and 5. As soon as a leader has gone on to the new ones alone, it counts by them what
    /// stands before that, too (found by the simulator, seed 597).
    #[test]
    fn what_follows_an_agreed_change_needs_the_new_voters_alone() {
        let nodes: Vec<NodeId> = (1..=5_u8).map(|i| NodeId(Hash::blob(&[i]))).collect();
        let set = |members: &[usize]| members.iter().map(|member| nodes[*member - 1]).collect();
        let voters = vec![set(&[1, 2, 3]), set(&[1, 4, 5])];
        let mut world = World::of(5);
        world.agreement = Agreement::among(&nodes, 3);
        world.vote(&[1, 2, 3, 4, 5], 1);
        assert_eq!(world.append(&[1, 2, 3], 0, 1), 1);
        assert_eq!(world.append(&[4, 5], 0, 1), 0);
        let change = Payload::Members(Members { voters, learners: BTreeSet::new() });
        assert_eq!(world.append_payload(&[1, 4, 5], 1, 1, &change), 0, "the old ones are needed, too");
        assert_eq!(world.append_payload(&[2], 1, 1, &change), 1);
        assert_eq!(world.append(&[1, 2], 2, 1), 0, "of the new ones one has it");
        assert_eq!(world.append(&[4], 2, 1), 1, "of the old ones two, and of the new ones");
        assert_eq!(world.append(&[1, 4], 3, 1), 1, "of the old ones one");

        // The same where the change itself is agreed on last.
        let mut world = World::of(5);
        world.agreement = Agreement::among(&nodes, 3);
        world.vote(&[1, 2, 3, 4, 5], 1);
        assert_eq!(world.append_payload(&[1, 4, 5], 0, 1, &change), 0);
        assert_eq!(world.append(&[1, 4, 5], 1, 1), 0);
        assert_eq!(world.append_payload(&[2], 0, 1, &change), 2);
        assert_eq!(world.agreement.length(), 2);
    }

    /// A leader that was cut off goes on appending to its own end, while another one spreads what is older.
    #[test]
    fn what_is_agreed_on_in_a_later_term_binds_no_earlier_leader() {
        let mut world = World::of(3);
        world.vote(&[1, 2, 3], 1);
        assert_eq!(world.append(&[1, 2, 3], 0, 1), 1);
        world.vote(&[3], 2);
        assert_eq!(world.append(&[3], 1, 2), 0);
        world.vote(&[2], 5);
        world.vote(&[1, 3], 6);
        assert_eq!(world.append(&[1], 1, 2) + world.append(&[3], 2, 6), 0);
        assert_eq!(world.append(&[1], 2, 6), 2);
        assert_eq!(world.agreement.entry(1).map(|kept| kept.term), Some(2));
        assert!(
            (2..6).all(|term| world.agreement.binding(1, term).is_none()),
            "a leader of term 5 may have another one"
        );
        assert!((6..8).all(|term| world.agreement.binding(1, term).is_some()));
    }

    #[test]
    fn a_disk_follows_its_writes() {
        let mut batch = Batch::new();
        for index in 0..5 {
            batch.append_log(index, Logged { index, term: 1, payload: Payload::Blank }.encode());
        }
        batch.truncate_log(4).purge_log(1).put_snapshot(2, vec![1]);
        batch.push(Write::PutMeta { key: MetaKey::RaftPurged, value: vec![] });
        let disk = Durable::default().after(&batch).expect("entries");
        assert_eq!((disk.first, disk.next(), disk.entries.len()), (3, 4, 1));
        assert!(disk.entry(2).is_none() && disk.entry(3).is_some());
        let mut batch = Batch::new();
        batch.put_snapshot(9, vec![1]);
        assert_eq!(disk.after(&batch).map(|disk| (disk.first, disk.next())), Ok((10, 10)));
    }
}
