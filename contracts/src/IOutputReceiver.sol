// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// The name of one output of one subnet. No two outputs have the same.
struct OutputRef {
    /// The subnet: its project's id.
    bytes32 subnet;
    uint64 epoch;
    uint64 height;
    /// Place in the block's list of outputs.
    uint64 index;
}

/// What a contract implements to receive a project's settlements.
interface IOutputReceiver {
    /// Called by an Executor, once for each output that is settled.
    ///
    /// An implementation must check `msg.sender`, or anybody can call it, and `ref.subnet`, or any subnet of the registry
    /// can. `data` is what a quorum of that subnet attested, byte for byte. `proof` is whatever the caller of the Executor
    /// brought along: nothing may be believed from it that it does not prove about `data`.
    ///
    /// Outputs arrive in any order and at any time after they were attested: whoever pays the gas chooses. An
    /// implementation that must not depend on that compares (epoch, height, index).
    ///
    /// If this reverts, so does the whole settlement: the output stays open and can be tried again.
    /// @return `IOutputReceiver.onOutput.selector`, as a sign that the output was understood
    function onOutput(OutputRef calldata ref, bytes calldata data, bytes calldata proof) external returns (bytes4);
}
