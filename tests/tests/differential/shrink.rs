//! Cutting a failing list of steps shorter as long as it still fails.

use std::time::{Duration, Instant};

use crate::pair::{self, Difference};
use crate::step::{Setup, Step};

/// A developer waits for it.
const LONGEST: Duration = Duration::from_mins(2);

/// A shorter list that fails too, and how.
pub(crate) fn shrink(
    setup: &Setup,
    mut steps: Vec<Step>,
    mut difference: Difference,
) -> (Vec<Step>, Difference) {
    let begin = Instant::now();
    steps.truncate(difference.step + 1);
    let mut chunk = steps.len() / 2;
    while chunk > 0 && begin.elapsed() < LONGEST {
        let mut from = 0;
        while from < steps.len() && begin.elapsed() < LONGEST {
            let mut candidate = steps.clone();
            candidate.drain(from..(from + chunk).min(steps.len()));
            if let Err(found) = pair::run(setup, &candidate) {
                candidate.truncate(found.step + 1);
                (steps, difference) = (candidate, found);
            } else {
                from += chunk;
            }
        }
        chunk /= 2;
    }
    (steps, difference)
}
