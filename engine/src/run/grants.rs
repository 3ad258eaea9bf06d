//! Owns: the resources of a run: cores, memory, GPUs, jobs, places in pools. It knows no stages.
//!
//! The invariant: **a grant returns its resources when it is dropped.** However a stage ends, nothing is lost.

use crate::record::Granted;
use std::{cell::RefCell, collections::BTreeMap, num::NonZeroU32, rc::Rc};

/// Free resources.
#[derive(Debug)]
pub(super) struct Free {
    pub(super) cpus: usize,
    pub(super) memory: u64,
    /// In the machine's order.
    pub(super) gpus: BTreeMap<usize, String>,
    pub(super) jobs: usize,
    pub(super) pools: BTreeMap<String, u32>,
}

/// The resources that a stage requests.
#[derive(Debug)]
pub(super) struct Demand<'a> {
    /// Number of cores; if `None`, all that are free, but at least one.
    pub(super) cpus: Option<usize>,
    pub(super) memory: u64,
    pub(super) gpus: usize,
    pub(super) pools: &'a BTreeMap<String, NonZeroU32>,
}

/// Hands out grants.
#[derive(Debug)]
pub(super) struct Grants(Rc<RefCell<Free>>);

/// The resources that a stage was granted.
#[derive(Debug)]
pub(super) struct Grant {
    from: Rc<RefCell<Free>>,
    pub(super) cpus: usize,
    pub(super) memory: u64,
    pub(super) gpus: BTreeMap<usize, String>,
    pools: BTreeMap<String, u32>,
}

impl Grants {
    pub(super) fn new(free: Free) -> Self {
        Self(Rc::new(RefCell::new(free)))
    }

    /// Whether nothing at all can be granted.
    pub(super) fn is_empty(&self) -> bool {
        let free = self.0.borrow();
        free.jobs == 0 || free.cpus == 0
    }

    /// Grants a demand, if all of it is free.
    pub(super) fn take(&self, demand: &Demand<'_>) -> Option<Grant> {
        let mut free = self.0.borrow_mut();
        let has_places = demand
            .pools
            .iter()
            .all(|(pool, places)| free.pools.get(pool).is_some_and(|left| *left >= places.get()));
        let fits = free.jobs > 0
            && free.cpus >= demand.cpus.unwrap_or(1)
            && free.memory >= demand.memory
            && free.gpus.len() >= demand.gpus
            && has_places;
        if !fits {
            return None;
        }
        let cpus = demand.cpus.unwrap_or(free.cpus);
        free.jobs -= 1;
        free.cpus -= cpus;
        free.memory -= demand.memory;
        let gpus = (0..demand.gpus).filter_map(|_| free.gpus.pop_first()).collect();
        let mut pools = BTreeMap::new();
        for (pool, places) in demand.pools {
            free.pools.entry(pool.clone()).and_modify(|left| *left -= places.get());
            pools.insert(pool.clone(), places.get());
        }
        Some(Grant { from: Rc::clone(&self.0), cpus, memory: demand.memory, gpus, pools })
    }
}

impl Grant {
    /// The same for records.
    pub(super) fn granted(&self) -> Granted {
        Granted { cpus: self.cpus, memory: self.memory, gpus: self.gpus.len() }
    }
}

impl Drop for Grant {
    fn drop(&mut self) {
        let mut free = self.from.borrow_mut();
        free.jobs += 1;
        free.cpus += self.cpus;
        free.memory += self.memory;
        free.gpus.append(&mut self.gpus);
        for (pool, places) in std::mem::take(&mut self.pools) {
            free.pools.entry(pool).and_modify(|left| *left += places);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grants() -> Grants {
        let gpus = ["0", "1"].map(str::to_owned).into_iter().enumerate().collect();
        let pools = BTreeMap::from([("licences".to_owned(), 1)]);
        Grants::new(Free { cpus: 4, memory: 100, gpus, jobs: 8, pools })
    }

    #[test]
    fn a_grant_returns_all_that_it_holds_when_it_is_dropped() {
        let grants = grants();
        let pools = BTreeMap::from([("licences".to_owned(), NonZeroU32::MIN)]);
        let all = Demand { cpus: None, memory: 100, gpus: 2, pools: &pools };
        for _ in 0..3 {
            let grant = grants.take(&all).expect("everything is free");
            assert_eq!((grant.cpus, grant.gpus.len()), (4, 2));
            assert!(grants.is_empty() && grants.take(&all).is_none());
        }
    }

    #[test]
    fn what_is_missing_of_one_thing_takes_nothing_of_the_others() {
        let (grants, none) = (grants(), BTreeMap::new());
        let pools = BTreeMap::from([("licences".to_owned(), NonZeroU32::MIN)]);
        let licensed = Demand { cpus: Some(1), memory: 0, gpus: 1, pools: &pools };
        let first = grants.take(&licensed).expect("one licence");
        assert!(grants.take(&licensed).is_none());
        let rest = Demand { cpus: Some(3), memory: 100, gpus: 1, pools: &none };
        assert!(grants.take(&rest).is_some());
        drop(first);
        assert!(grants.take(&licensed).is_some());
    }
}
