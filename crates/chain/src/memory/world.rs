//! Accounts and contracts, and what a transaction does to them.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use w3bstream_types::Address;

use super::encode;
use crate::{Call, Hash, Revert};

/// A contract's storage.
pub type Storage = BTreeMap<[u8; 32], [u8; 32]>;

/// A call as a contract in memory sees it.
#[derive(Debug)]
pub struct Env<'e> {
    /// Who calls.
    pub caller: Address,
    /// The contract itself.
    pub contract: Address,
    /// Wei that came along.
    pub value: u128,
    /// Call data.
    pub data: &'e [u8],
}

/// What a call of a contract in memory gave.
#[derive(Clone, Debug, Default)]
pub struct Effect {
    /// What it returns.
    pub output: Vec<u8>,
    /// Events: topics and data.
    pub logs: Vec<(Vec<Hash>, Vec<u8>)>,
}

/// A contract as a function in Rust.
pub trait Native: Send + Sync {
    /// Does one call. What it did to the storage is undone if it fails.
    ///
    /// # Errors
    /// [`Revert`] with what the caller is told.
    fn call(&self, env: &Env<'_>, storage: &mut Storage) -> Result<Effect, Revert>;
}

impl<F: Fn(&Env<'_>, &mut Storage) -> Result<Effect, Revert> + Send + Sync> Native for F {
    fn call(&self, env: &Env<'_>, storage: &mut Storage) -> Result<Effect, Revert> {
        self(env, storage)
    }
}

/// A contract: its code and storage.
#[derive(Clone)]
pub(super) struct Contract {
    pub(super) native: Arc<dyn Native>,
    pub(super) storage: Storage,
}

impl fmt::Debug for Contract {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Contract").field("storage", &self.storage).finish_non_exhaustive()
    }
}

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Account {
    pub(super) nonce: u64,
    pub(super) balance: u128,
}

/// What is known after a block.
#[derive(Clone, Debug, Default)]
pub(super) struct World {
    pub(super) accounts: BTreeMap<Address, Account>,
    pub(super) contracts: BTreeMap<Address, Contract>,
}

/// What running a transaction gave.
pub(super) struct Ran {
    pub(super) gas: u64,
    pub(super) result: Result<Effect, Revert>,
    pub(super) created: Option<Address>,
    /// The contract that was called, for its logs.
    pub(super) contract: Address,
}

/// Gas before anything runs: 21,000 and 16 per byte, creation 32,000 more.
pub(super) fn intrinsic_gas(data: &[u8], creates: bool) -> u64 {
    21_000 + 16 * data.len() as u64 + if creates { 32_000 } else { 0 }
}

/// What each call of a contract costs here, whatever it does.
const CONTRACT_GAS: u64 = 50_000;

impl World {
    pub(super) fn account(&self, address: &Address) -> Account {
        self.accounts.get(address).copied().unwrap_or_default()
    }

    pub(super) fn account_mut(&mut self, address: Address) -> &mut Account {
        self.accounts.entry(address).or_default()
    }

    /// Runs a call as a transaction does, without fees. `nonce` is the sender's, for the address of a new contract.
    pub(super) fn run(&mut self, call: &Call, nonce: u64, codes: &Codes) -> Ran {
        let from = call.from.unwrap_or(Address::from_bytes([0; 20]));
        let created = call.to.is_none().then(|| encode::created(from, nonce));
        let contract = call.to.or(created).unwrap_or(from);
        let code = call.to.is_none() || self.contracts.contains_key(&contract);
        let gas = intrinsic_gas(&call.data, call.to.is_none()) + if code { CONTRACT_GAS } else { 0 };
        let mut ran = Ran { gas, result: Ok(Effect::default()), created, contract };
        if call.gas_limit.is_some_and(|limit| gas > limit) {
            // Out of gas: all of it is used up.
            ran.gas = call.gas_limit.unwrap_or(gas);
            ran.result = Err(Revert::default());
        } else if call.to.is_none() {
            match codes.get(&call.data) {
                None => ran.result = Err(Revert::default()),
                Some(native) => {
                    let new = Contract { native: Arc::clone(native), storage: Storage::new() };
                    self.contracts.insert(contract, new);
                }
            }
        } else if let Some(at) = self.contracts.get_mut(&contract) {
            let env = Env { caller: from, contract, value: call.value, data: &call.data };
            let mut storage = at.storage.clone();
            ran.result = at.native.call(&env, &mut storage);
            if ran.result.is_ok() {
                at.storage = storage;
            }
        }
        if ran.result.is_ok() {
            let sender = self.account_mut(from);
            sender.balance = sender.balance.saturating_sub(call.value);
            let to = self.account_mut(contract);
            to.balance = to.balance.saturating_add(call.value);
        } else {
            ran.created = None;
        }
        ran
    }
}

/// Contracts that can be created, by their init code.
pub(super) type Codes = BTreeMap<Vec<u8>, Arc<dyn Native>>;
