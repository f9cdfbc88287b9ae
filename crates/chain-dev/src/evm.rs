//! One transaction or call on revm.

use std::convert::Infallible;

use revm::context::result::{EVMError, ExecutionResult, InvalidTransaction, Output};
use revm::context::{BlockEnv, Context, TxEnv};
use revm::primitives::hardfork::SpecId;
use revm::primitives::{Address, B256, Bytes, StorageKey, StorageValue, TxKind, U256, eip7825};
use revm::state::{AccountInfo, Bytecode, EvmState};
use revm::{Database, ExecuteEvm as _, MainBuilder as _, MainContext as _};
use w3bstream_chain::{Call, Error, ErrorKind, Hash, Transaction};

use crate::world::World;

/// The most gas of one transaction (EIP-7825).
pub(crate) const MAX_GAS: u64 = eip7825::TX_GAS_LIMIT_CAP;

/// The block in which something is executed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Env {
    pub(crate) chain_id: u64,
    pub(crate) number: u64,
    pub(crate) time: u64,
    pub(crate) base_fee: u64,
    pub(crate) gas_limit: u64,
    pub(crate) random: [u8; 32],
}

/// The state after a block, and the hashes of the blocks up to it.
pub(crate) struct View<'w> {
    pub(crate) world: &'w World,
    pub(crate) height: u64,
    pub(crate) hash: &'w dyn Fn(u64) -> Option<Hash>,
}

impl Database for View<'_> {
    type Error = Infallible;

    fn basic(&mut self, address: Address) -> Result<Option<AccountInfo>, Infallible> {
        Ok(self.world.account(&address, self.height).map(|a| AccountInfo {
            balance: a.balance,
            nonce: a.nonce,
            code_hash: a.code_hash,
            code: self.world.code(&a.code_hash).cloned(),
            ..AccountInfo::default()
        }))
    }

    fn code_by_hash(&mut self, hash: B256) -> Result<Bytecode, Infallible> {
        Ok(self.world.code(&hash).cloned().unwrap_or_default())
    }

    fn storage(&mut self, address: Address, slot: StorageKey) -> Result<StorageValue, Infallible> {
        Ok(self.world.slot(&address, slot, self.height))
    }

    fn block_hash(&mut self, number: u64) -> Result<B256, Infallible> {
        Ok((self.hash)(number).map_or(B256::ZERO, |h| B256::new(*h.as_bytes())))
    }
}

/// What came out.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) success: bool,
    pub(crate) gas_used: u64,
    /// Gas that was used before some was given back.
    pub(crate) gas_spent: u64,
    /// What was returned, or the data of a revert.
    pub(crate) output: Vec<u8>,
    pub(crate) logs: Vec<revm::primitives::Log>,
    pub(crate) created: Option<Address>,
    /// What it changes.
    pub(crate) state: EvmState,
}

/// Executes a transaction as its sender signed it. Nothing is written.
pub(crate) fn transact(view: View<'_>, env: &Env, sender: Address, t: &Transaction) -> Result<Ran, Error> {
    let tx = TxEnv {
        tx_type: 2,
        caller: sender,
        gas_limit: t.gas_limit,
        gas_price: t.max_fee,
        gas_priority_fee: Some(t.priority_fee),
        kind: kind(t.to.as_ref()),
        value: U256::from(t.value),
        data: Bytes::copy_from_slice(&t.data),
        nonce: t.nonce,
        chain_id: Some(t.chain_id),
        ..plain()
    };
    run(view, env, tx, false)
}

/// Executes a call that pays nothing. Nothing is written.
pub(crate) fn call(view: View<'_>, env: &Env, call: &Call, gas_limit: u64) -> Result<Ran, Error> {
    // The price of gas is zero, and so is the base fee for those who ask, as with other nodes.
    let env = Env { base_fee: 0, ..*env };
    let tx = TxEnv {
        caller: call.from.as_ref().map_or(Address::ZERO, to_evm),
        gas_limit,
        kind: kind(call.to.as_ref()),
        value: U256::from(call.value),
        data: Bytes::copy_from_slice(&call.data),
        chain_id: None,
        ..plain()
    };
    run(view, &env, tx, true)
}

fn plain() -> TxEnv {
    TxEnv {
        tx_type: 0,
        caller: Address::ZERO,
        gas_limit: 0,
        gas_price: 0,
        kind: TxKind::Create,
        value: U256::ZERO,
        data: Bytes::new(),
        nonce: 0,
        chain_id: None,
        access_list: Default::default(),
        gas_priority_fee: None,
        blob_hashes: Vec::new(),
        max_fee_per_blob_gas: 0,
        authorization_list: Vec::new(),
    }
}

fn kind(to: Option<&w3bstream_types::Address>) -> TxKind {
    to.map_or(TxKind::Create, |to| TxKind::Call(to_evm(to)))
}

pub(crate) fn to_evm(address: &w3bstream_types::Address) -> Address {
    Address::new(*address.as_bytes())
}

pub(crate) fn from_evm(address: &Address) -> w3bstream_types::Address {
    w3bstream_types::Address::from_bytes(address.into_array())
}

fn run(view: View<'_>, env: &Env, tx: TxEnv, free: bool) -> Result<Ran, Error> {
    let block = BlockEnv {
        number: U256::from(env.number),
        timestamp: U256::from(env.time),
        gas_limit: env.gas_limit,
        basefee: env.base_fee,
        prevrandao: Some(B256::new(env.random)),
        ..BlockEnv::default()
    };
    let context = Context::mainnet().with_db(view).with_block(block).modify_cfg_chained(|cfg| {
        cfg.set_spec_and_mainnet_gas_params(SpecId::OSAKA);
        cfg.chain_id = env.chain_id;
        cfg.disable_nonce_check = free;
        cfg.disable_eip3607 = free;
        // A call may use more than a transaction, so that large answers can be asked for.
        cfg.tx_gas_limit_cap = free.then_some(u64::MAX);
    });
    let done = context.build_mainnet().transact(tx).map_err(invalid)?;
    let gas = *done.result.gas();
    let (success, output, logs, created) = match done.result {
        ExecutionResult::Success { logs, output, .. } => match output {
            Output::Call(data) => (true, data, logs, None),
            Output::Create(data, created) => (true, data, logs, created),
        },
        ExecutionResult::Revert { output, .. } => (false, output, Vec::new(), None),
        ExecutionResult::Halt { .. } => (false, Bytes::new(), Vec::new(), None),
    };
    Ok(Ran {
        success,
        gas_used: gas.tx_gas_used(),
        gas_spent: gas.total_gas_spent().max(gas.floor_gas()),
        output: output.to_vec(),
        logs,
        created,
        state: done.state,
    })
}

/// A transaction that no block can have.
fn invalid(e: EVMError<Infallible>) -> Error {
    let kind = match &e {
        EVMError::Transaction(why) => match why {
            InvalidTransaction::GasPriceLessThanBasefee => ErrorKind::FeeTooLow,
            InvalidTransaction::LackOfFundForMaxFee { .. } => ErrorKind::InsufficientFunds,
            InvalidTransaction::NonceTooHigh { .. } => ErrorKind::NonceTooHigh,
            InvalidTransaction::NonceTooLow { .. } => ErrorKind::NonceTooLow,
            _ => ErrorKind::Rejected,
        },
        EVMError::Database(never) => match *never {},
        EVMError::Header(_) | EVMError::Custom(_) | EVMError::CustomAny(_) => ErrorKind::Rejected,
    };
    Error::new(kind, format!("transaction: {e}"))
}

/// The least gas limit that a transaction can have: its intrinsic cost (Yellow Paper §6.2, EIP-2028, EIP-3860) or the floor
/// of its data (EIP-7623).
pub(crate) fn least_gas(data: &[u8], creates: bool) -> u64 {
    let zeros = data.iter().filter(|b| **b == 0).count() as u64;
    let others = data.len() as u64 - zeros;
    let creation = if creates { 32_000 + 2 * (data.len() as u64).div_ceil(32) } else { 0 };
    let intrinsic = 21_000 + 4 * zeros + 16 * others + creation;
    let floor = 21_000 + 10 * zeros + 40 * others;
    intrinsic.max(floor)
}

/// The most that init code can have (EIP-3860).
pub(crate) const MAX_INIT_CODE: usize = 49_152;
