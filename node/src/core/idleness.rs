//! Whether a machine is otherwise idle: others' share of its processors, read again and again, with hysteresis.
//!
//! It gives way soon and comes back late, so that a node is in nobody's way and does not flutter. It is handed what was
//! measured and must never measure by itself.

use std::collections::VecDeque;

/// How often the processors' time is to be read.
pub const READ_MS: u64 = 5_000;
/// Readings after which others' use is believed to have begun: a quarter of a minute.
const TO_YIELD: usize = 3;
/// Readings over which the machine must have been idle: a minute.
const TO_WORK: usize = 12;
/// From this share on others use the machine; BOINC's default, too ("suspend when non-BOINC CPU usage is above 25 %").
const BUSY_PERCENT: u64 = 25;
/// Below this share they do not.
pub const IDLE_PERCENT: u64 = 10;

/// Processor time since the machine was started, of all processors together; in any unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    /// All of it, spent or not.
    pub total: u64,
    /// What was spent, on anything.
    pub spent: u64,
    /// What this node and its workers spent of it.
    pub own: u64,
}

/// What the readings of the last minute say.
#[derive(Debug, Default)]
pub struct Idleness {
    /// The oldest first; one more than spans.
    readings: VecDeque<Reading>,
    idle: bool,
}

impl Idleness {
    /// Takes note of the next reading.
    pub fn note(&mut self, reading: Reading) {
        if self.readings.len() > TO_WORK {
            self.readings.pop_front();
        }
        self.readings.push_back(reading);
        let busy = self.share(TO_YIELD).is_some_and(|percent| percent >= BUSY_PERCENT);
        let quiet = self.share(TO_WORK).is_some_and(|percent| percent < IDLE_PERCENT);
        self.idle = if self.idle { !busy } else { quiet && !busy };
    }

    /// The machine cannot be read: nobody knows whether it is idle.
    pub fn forget(&mut self) {
        *self = Idleness::default();
    }

    /// May the node work? Not before it was seen to be idle for a minute.
    pub fn is_idle(&self) -> bool {
        self.idle
    }

    /// Others' share of the processors over the last readings, in percent; none before there are enough of them.
    pub fn others_percent(&self) -> Option<u64> {
        self.share(TO_YIELD)
    }

    /// The seconds over which the machine has to be idle before the node works.
    pub fn needed_s() -> u64 {
        TO_WORK as u64 * READ_MS / 1_000
    }

    fn share(&self, spans: usize) -> Option<u64> {
        let last = self.readings.back()?;
        let first = self.readings.get(self.readings.len().checked_sub(spans + 1)?)?;
        let total = last.total.saturating_sub(first.total);
        let spent = last.spent.saturating_sub(first.spent);
        let own = last.own.saturating_sub(first.own);
        // The two are not read at the same moment.
        Some(spent.saturating_sub(own).saturating_mul(100) / total.max(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A machine of two processors whose time passes in spans.
    struct Machine {
        reading: Reading,
        idleness: Idleness,
    }

    impl Machine {
        fn new() -> Machine {
            let reading = Reading { total: 1_000_000, spent: 400_000, own: 1_000 };
            let mut idleness = Idleness::default();
            idleness.note(reading);
            Machine { reading, idleness }
        }

        /// Others use so many percent of it, and the node so many.
        fn pass(&mut self, spans: usize, others: u64, own: u64) -> bool {
            for _ in 0..spans {
                self.reading.total += 1_000;
                self.reading.spent += 10 * (others + own);
                self.reading.own += 10 * own;
                self.idleness.note(self.reading);
            }
            self.idleness.is_idle()
        }
    }

    #[test]
    fn it_works_after_a_quiet_minute_and_not_before() {
        let mut machine = Machine::new();
        assert_eq!((machine.idleness.is_idle(), machine.idleness.others_percent()), (false, None));
        assert!(!machine.pass(TO_WORK - 1, 5, 0));
        assert!(machine.pass(1, 5, 0));
        assert_eq!(machine.idleness.others_percent(), Some(5));
    }

    #[test]
    fn its_own_work_is_not_in_its_way() {
        let mut machine = Machine::new();
        assert!(machine.pass(TO_WORK, 2, 0));
        assert!(machine.pass(100, 2, 98));
    }

    #[test]
    fn it_gives_way_within_a_quarter_of_a_minute_and_stays_away_for_one() {
        let mut machine = Machine::new();
        machine.pass(TO_WORK, 0, 0);
        assert!(!machine.pass(TO_YIELD, 60, 40));
        // A short pause of the others is no invitation.
        assert!(!machine.pass(TO_YIELD, 0, 0));
        assert!(!machine.pass(TO_YIELD, 60, 0));
        // Two spans of 60 % are a tenth of a minute's time; one is less.
        assert!(!machine.pass(TO_WORK - 2, 0, 0));
        assert!(machine.pass(1, 0, 0));
    }

    #[test]
    fn between_the_bounds_it_stays_as_it_is() {
        let between = (BUSY_PERCENT + IDLE_PERCENT) / 2;
        let mut machine = Machine::new();
        assert!(!machine.pass(100, between, 0));
        machine.pass(TO_WORK, 0, 0);
        assert!(machine.pass(100, between, 80));
    }

    #[test]
    fn a_machine_that_cannot_be_read_is_not_idle() {
        let mut machine = Machine::new();
        machine.pass(TO_WORK, 0, 0);
        machine.idleness.forget();
        assert!(!machine.idleness.is_idle());
        // Counters that go backwards, as after a restore, say nothing and end nothing.
        machine.pass(TO_WORK, 0, 0);
        machine.idleness.note(Reading { total: 0, spent: 0, own: 0 });
        machine.idleness.note(Reading { total: u64::MAX, spent: 0, own: 7 });
    }
}
