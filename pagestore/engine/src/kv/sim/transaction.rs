//! A transaction of the simulated store.

use verso_pagestore::Durability;

use super::Simulation;
use super::faults::{Fate, Faults};
use super::scheduler::{Event, State};
use crate::kv::memory::MemoryTransaction;
use crate::kv::{Committed, Isolation, KeyRange, KeyValue, KvError, KvTransaction, RangeQuery};

/// A transaction of a [`Simulation`].
#[derive(Debug)]
pub struct SimulatedTransaction {
    simulation: Simulation,
    inner: MemoryTransaction,
}

impl Simulation {
    pub(super) fn transaction(&self, inner: MemoryTransaction) -> SimulatedTransaction {
        SimulatedTransaction {
            simulation: self.clone(),
            inner,
        }
    }
}

impl KvTransaction for SimulatedTransaction {
    fn read_version(&mut self) -> Result<u64, KvError> {
        self.inner.read_version()
    }

    fn get(&mut self, key: &[u8], isolation: Isolation) -> Result<Option<Vec<u8>>, KvError> {
        self.simulation.call()?;
        self.inner.get(key, isolation)
    }

    fn range(
        &mut self,
        query: &RangeQuery,
        isolation: Isolation,
    ) -> Result<Vec<KeyValue>, KvError> {
        self.simulation.call()?;
        self.inner.range(query, isolation)
    }

    fn ranges(
        &mut self,
        queries: &[RangeQuery],
        isolation: Isolation,
    ) -> Result<Vec<Vec<KeyValue>>, KvError> {
        self.simulation.call()?;
        self.inner.ranges(queries, isolation)
    }

    fn set(&mut self, key: &[u8], value: &[u8]) {
        self.inner.set(key, value);
    }

    fn set_versionstamped(&mut self, prefix: &[u8], value: &[u8]) {
        self.inner.set_versionstamped(prefix, value);
    }

    fn clear(&mut self, key: &[u8]) {
        self.inner.clear(key);
    }

    fn clear_range(&mut self, range: &KeyRange) {
        self.inner.clear_range(range);
    }

    fn add_read_conflict(&mut self, range: KeyRange) {
        self.inner.add_read_conflict(range);
    }

    fn add_write_conflict(&mut self, range: KeyRange) {
        self.inner.add_write_conflict(range);
    }

    fn commit(mut self, durability: Durability) -> Result<Committed, KvError> {
        let Some(commit) = self.inner.pending()? else {
            return self.inner.commit(durability);
        };
        let mut state = self.simulation.state.lock();
        state.may_kill();
        let me = state.running();
        let State { random, faults, .. } = &mut *state;
        let fate = faults.of_commit(random);
        let delay = faults.delay(random);
        match fate {
            Fate::Decided => {
                state.send(commit, Some(me), delay);
                let mut state = State::hand_over(state);
                state.cluster.take_answer(me)
            }
            Fate::Refused(error) => {
                state.schedule(delay, Event::Wake(me));
                drop(State::hand_over(state));
                Err(error)
            }
            Fate::Unknown { arrives } => {
                let told = Faults::long_delay(random);
                if arrives {
                    let arrival = Faults::long_delay(random);
                    state.send(commit, None, arrival);
                }
                state.schedule(told, Event::Wake(me));
                drop(State::hand_over(state));
                Err(KvError::CommitUnknown("no answer came".into()))
            }
        }
    }
}
