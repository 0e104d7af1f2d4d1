//! Numbers that differ, always the same ones of a seed.

/// A linear congruential generator (Numerical Recipes, section 7.1).
pub(crate) struct Numbers(u32);

impl Numbers {
    /// Those of a seed.
    pub(crate) fn new(seed: u32) -> Self {
        Self(seed)
    }

    /// One below a limit.
    pub(crate) fn below(&mut self, limit: u32) -> u32 {
        self.0 = self.0.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (self.0 >> 8) % limit
    }
}
