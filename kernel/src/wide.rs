//! Unsigned integers of 192 bits: room for 2^64 squares of 51-bit values.
//!
//! Owns exact addition of squares. Must never wrap: an overflow is an absent value.

use num_bigint::BigUint;

/// Three little-endian 64-bit limbs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct U192(pub [u64; 3]);

impl U192 {
    /// The sum, or nothing when it needs more than 192 bits.
    pub fn checked_add(self, other: U192) -> Option<U192> {
        let mut limbs = [0u64; 3];
        let mut carry = false;
        for (limb, (a, b)) in limbs.iter_mut().zip(self.0.into_iter().zip(other.0)) {
            let (sum, first) = a.overflowing_add(b);
            let (sum, second) = sum.overflowing_add(u64::from(carry));
            *limb = sum;
            carry = first | second;
        }
        if carry { None } else { Some(U192(limbs)) }
    }

    /// The same number as a big integer.
    pub fn to_biguint(self) -> BigUint {
        let [low, middle, high] = self.0;
        BigUint::from(high) << 128u32 | BigUint::from(u128::from(middle) << 64 | u128::from(low))
    }
}

impl From<u128> for U192 {
    fn from(value: u128) -> Self {
        U192([value as u64, (value >> 64) as u64, 0])
    }
}
