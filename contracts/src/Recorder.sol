// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IOutputReceiver, OutputRef} from "./IOutputReceiver.sol";

/// The smallest receiver: writes down what a subnet attested, without a proof. What it records holds as far as the subnet's
/// quorum is believed.
contract Recorder is IOutputReceiver {
    error OnlyExecutor(address caller);
    error OtherSubnet(bytes32 subnet);
    error ZeroAddress();

    event Recorded(uint64 indexed epoch, uint64 indexed height, uint64 indexed index, bytes data);

    address public immutable executor;
    /// The subnet whose outputs are recorded.
    bytes32 public immutable subnet;
    /// How many outputs were recorded.
    uint256 public count;
    /// keccak256 of the data of the output at (epoch, height, index); zero if there is none.
    mapping(uint64 epoch => mapping(uint64 height => mapping(uint64 index => bytes32))) public recorded;

    constructor(address executor_, bytes32 subnet_) {
        if (executor_ == address(0)) revert ZeroAddress();
        executor = executor_;
        subnet = subnet_;
    }

    /// @inheritdoc IOutputReceiver
    function onOutput(OutputRef calldata ref, bytes calldata data, bytes calldata) external returns (bytes4) {
        if (msg.sender != executor) revert OnlyExecutor(msg.sender);
        if (ref.subnet != subnet) revert OtherSubnet(ref.subnet);
        recorded[ref.epoch][ref.height][ref.index] = keccak256(data);
        count += 1;
        emit Recorded(ref.epoch, ref.height, ref.index, data);
        return IOutputReceiver.onOutput.selector;
    }
}
