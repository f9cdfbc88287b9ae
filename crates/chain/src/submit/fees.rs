//! What a transaction pays for gas (EIP-1559), and how much more its replacement pays.

use crate::Fees;

/// What one transaction offers for one unit of gas, in wei.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Offer {
    /// The most altogether.
    pub(super) max: u128,
    /// The most for the block's producer.
    pub(super) tip: u128,
}

/// The offer that survives six full blocks in a row: twice the base fee. Base fees rise by an eighth per block.
fn usual(fees: Fees) -> Offer {
    let tip = fees.priority_fee.max(1);
    Offer { max: fees.base_fee.saturating_mul(2).saturating_add(tip), tip }
}

/// A first offer of at most `cap`; or what would be needed now, if that is more.
pub(super) fn first(fees: Fees, cap: u128) -> Result<Offer, u128> {
    let offer = usual(fees);
    let now = fees.base_fee.saturating_add(offer.tip);
    if now > cap { Err(now) } else { Ok(Offer { max: offer.max.min(cap), tip: offer.tip }) }
}

/// An eighth more, rounded up: pools ask for 10 % or 12.5 % in both fees.
fn raised(fee: u128) -> u128 {
    fee.saturating_add((fee / 8).max(1)).saturating_add(u128::from(!fee.is_multiple_of(8)))
}

/// An offer that replaces `old`, and is what is usual now if that is more; or what it would be, if `cap` is less.
pub(super) fn bump(old: Offer, fees: Fees, cap: u128) -> Result<Offer, u128> {
    let least = Offer { max: raised(old.max), tip: raised(old.tip) };
    if least.max.max(least.tip) > cap {
        return Err(least.max.max(least.tip));
    }
    let usual = usual(fees);
    let max = least.max.max(usual.max).min(cap);
    Ok(Offer { max, tip: least.tip.max(usual.tip).min(max) })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const CAP: u128 = 500_000_000_000;

    proptest! {
        #[test]
        fn each_replacement_pays_an_eighth_more_and_never_over_the_cap(
            base_fee in 0u128..CAP, priority_fee in 0u128..CAP, rises in proptest::collection::vec(0u128..CAP * 2, 1..60),
        ) {
            let Ok(mut offer) = first(Fees { base_fee, priority_fee }, CAP) else {
                prop_assert!(base_fee + priority_fee.max(1) > CAP);
                return Ok(());
            };
            prop_assert!(offer.max <= CAP && offer.tip <= offer.max && offer.tip > 0);
            for base_fee in rises {
                let Ok(next) = bump(offer, Fees { base_fee, priority_fee }, CAP) else {
                    prop_assert!(offer.max + offer.max / 8 + 2 > CAP, "stopped at {offer:?}");
                    continue;
                };
                prop_assert!(next.max * 8 >= offer.max * 9 && next.tip * 8 >= offer.tip * 9, "{offer:?} {next:?}");
                prop_assert!(next.max <= CAP && next.tip <= next.max, "{next:?}");
                offer = next;
            }
        }

        #[test]
        fn no_numbers_make_it_panic(max: u128, tip: u128, base_fee: u128, priority_fee: u128, cap: u128) {
            let fees = Fees { base_fee, priority_fee };
            let _ = (first(fees, cap), bump(Offer { max, tip }, fees, cap));
        }
    }

    #[test]
    fn a_first_offer_is_twice_the_base_fee_or_the_cap() {
        let fees = Fees { base_fee: 100, priority_fee: 10 };
        assert_eq!(first(fees, 1000), Ok(Offer { max: 210, tip: 10 }));
        assert_eq!(first(fees, 150), Ok(Offer { max: 150, tip: 10 }));
        assert_eq!(first(fees, 109), Err(110));
        assert_eq!(bump(Offer { max: 800, tip: 8 }, fees, 1000), Ok(Offer { max: 900, tip: 10 }));
        assert_eq!(
            bump(Offer { max: 100, tip: 8 }, Fees { base_fee: 400, ..fees }, 1000),
            Ok(Offer { max: 810, tip: 10 })
        );
        assert_eq!(bump(Offer { max: 900, tip: 8 }, fees, 1000), Err(1013));
    }
}
