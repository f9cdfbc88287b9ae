//! Accounts and storage at every height.
//!
//! A value is kept with the height from which on it holds, so a call in the state of any block is a search, a reorganisation
//! cuts off what came later, and a chain costs as much memory as was written on it.

use std::collections::{BTreeMap, HashMap};

use revm::primitives::{Address, B256, KECCAK_EMPTY, U256};
use revm::state::{Bytecode, EvmState};

/// An account as it is between transactions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Account {
    pub(crate) balance: U256,
    pub(crate) nonce: u64,
    pub(crate) code_hash: B256,
}

impl Default for Account {
    fn default() -> Self {
        Self { balance: U256::ZERO, nonce: 0, code_hash: KECCAK_EMPTY }
    }
}

/// Values with the heights from which on they hold, ascending.
#[derive(Clone, Debug)]
struct Versions<T>(Vec<(u64, T)>);

impl<T> Default for Versions<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T: Copy> Versions<T> {
    fn at(&self, height: u64) -> Option<T> {
        let after = self.0.partition_point(|(from, _)| *from <= height);
        self.0.get(after.checked_sub(1)?).map(|(_, value)| *value)
    }

    fn set(&mut self, height: u64, value: T) {
        match self.0.last_mut() {
            Some((from, last)) if *from == height => *last = value,
            _ => self.0.push((height, value)),
        }
    }

    fn cut(&mut self, height: u64) {
        self.0.truncate(self.0.partition_point(|(from, _)| *from <= height));
    }
}

/// What was written at a height.
#[derive(Clone, Copy, Debug)]
enum Written {
    Account(Address),
    Slot(Address, U256),
}

/// The state of the chain at every height.
#[derive(Debug, Default)]
pub(crate) struct World {
    accounts: HashMap<Address, Versions<Account>>,
    slots: HashMap<(Address, U256), Versions<U256>>,
    codes: HashMap<B256, Bytecode>,
    written: BTreeMap<u64, Vec<Written>>,
}

impl World {
    pub(crate) fn account(&self, address: &Address, height: u64) -> Option<Account> {
        self.accounts.get(address)?.at(height)
    }

    pub(crate) fn slot(&self, address: &Address, slot: U256, height: u64) -> U256 {
        self.slots.get(&(*address, slot)).and_then(|v| v.at(height)).unwrap_or_default()
    }

    pub(crate) fn code(&self, hash: &B256) -> Option<&Bytecode> {
        self.codes.get(hash)
    }

    /// Gives an account wei at every height, as if it had had them from the first block on.
    pub(crate) fn fund(&mut self, address: Address, wei: U256) {
        let versions = self.accounts.entry(address).or_default();
        if versions.0.first().is_none_or(|(from, _)| *from > 0) {
            versions.0.insert(0, (0, Account::default()));
        }
        for (_, account) in &mut versions.0 {
            account.balance = account.balance.saturating_add(wei);
        }
    }

    /// Writes what a transaction has changed, into the block at this height.
    pub(crate) fn commit(&mut self, height: u64, state: EvmState) {
        let written = self.written.entry(height).or_default();
        for (address, account) in state {
            if !account.is_touched() {
                continue;
            }
            // Since Cancun (EIP-6780) an account only ends in the transaction that made it, so it has no storage from before.
            let gone = account.is_selfdestructed() || account.is_empty();
            let info = if gone {
                Account::default()
            } else {
                if let Some(code) = account.info.code.filter(|c| !c.is_empty()) {
                    self.codes.insert(account.info.code_hash, code);
                }
                Account {
                    balance: account.info.balance,
                    nonce: account.info.nonce,
                    code_hash: account.info.code_hash,
                }
            };
            self.accounts.entry(address).or_default().set(height, info);
            written.push(Written::Account(address));
            for (slot, value) in account.storage.into_iter().filter(|(_, v)| v.is_changed() && !gone) {
                self.slots.entry((address, slot)).or_default().set(height, value.present_value());
                written.push(Written::Slot(address, slot));
            }
        }
    }

    /// Forgets everything that was written above a height.
    pub(crate) fn cut(&mut self, height: u64) {
        for what in self.written.split_off(&height.saturating_add(1)).into_values().flatten() {
            match what {
                Written::Account(address) => {
                    if let Some(versions) = self.accounts.get_mut(&address) {
                        versions.cut(height);
                    }
                }
                Written::Slot(address, slot) => {
                    if let Some(versions) = self.slots.get_mut(&(address, slot)) {
                        versions.cut(height);
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_holds_from_its_height_on() {
        let mut versions = Versions::default();
        for (height, value) in [(3, 'a'), (3, 'b'), (7, 'c'), (9, 'd')] {
            versions.set(height, value);
        }
        let at = |v: &Versions<char>| [2, 3, 6, 7, 8, 9, 100].map(|h| v.at(h));
        assert_eq!(at(&versions), [None, Some('b'), Some('b'), Some('c'), Some('c'), Some('d'), Some('d')]);
        versions.cut(8);
        assert_eq!(at(&versions)[4..], [Some('c'); 3]);
        versions.cut(2);
        assert_eq!(at(&versions), [None; 7]);
    }

    #[test]
    fn money_is_there_at_every_height() {
        let mut world = World::default();
        let address = Address::repeat_byte(1);
        world.fund(address, U256::from(5));
        world.fund(address, U256::from(6));
        world.cut(0);
        assert_eq!(world.account(&address, 0).unwrap().balance, U256::from(11));
        assert_eq!(world.account(&Address::repeat_byte(2), 9), None);
    }
}
