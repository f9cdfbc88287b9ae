// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Attestation, AttestationVerifier} from "./AttestationVerifier.sol";
import {IOutputReceiver, OutputRef} from "./IOutputReceiver.sol";
import {SubnetRegistry} from "./SubnetRegistry.sol";

/// Hands outputs that a subnet attested for this chain and this contract to their receivers, each exactly once.
///
/// Anybody may call `execute`: what may happen is decided by the attestation, not by the sender. So a member whose turn it
/// is can be replaced by any other, and the second of two gets `AlreadyExecuted`.
///
/// A receiver that reverts reverts the call, and the output stays open. The alternative, to mark it as done and failed,
/// would let anybody destroy an output: the proof and the gas are chosen by the sender, so one call with a false proof or
/// with too little gas would be enough.
///
/// Nothing here has an owner, holds money, or can be changed.
contract Executor {
    /// The output's leaf. The chain and this contract's address are not in it: they are filled in here, so a leaf for
    /// another chain or another Executor cannot be brought.
    struct Leaf {
        /// Place in the block's list of outputs.
        uint64 index;
        /// Must be `SETTLEMENT`.
        uint16 kind;
        /// The receiver.
        address target;
        /// What the receiver gets.
        bytes data;
    }

    error NotASettlement(uint16 kind);
    error AlreadyExecuted(bytes32 output);
    /// There is no contract at the receiver's address.
    error NoReceiver(address target);
    /// The receiver reverted with `reason` (at most 4 KiB of it). Its own error, wrapped: so it cannot be taken for one of
    /// this contract.
    error ReceiverReverted(address target, bytes reason);
    /// The receiver did not answer with the selector of `onOutput`.
    error ReceiverRefused(address target);
    error ZeroAddress();

    /// An output was executed. Emitted before the receiver's own events.
    /// @param output `outputId` of the output
    /// @param leaf RFC 6962 hash of its leaf, so that a proof of this event's receipt also proves what was executed
    event Settled(
        bytes32 indexed subnet,
        address indexed target,
        bytes32 indexed output,
        uint64 epoch,
        uint64 height,
        uint64 index,
        bytes32 leaf
    );

    /// `OutputKind::Settlement` of crates/types.
    uint16 public constant SETTLEMENT = 6;
    uint256 private constant MOST_REASON = 4096;

    /// Who the members of subnets are.
    SubnetRegistry public immutable registry;
    /// Whether the output with this id was executed.
    mapping(bytes32 output => bool) public executed;

    constructor(SubnetRegistry registry_) {
        if (address(registry_) == address(0)) revert ZeroAddress();
        registry = registry_;
    }

    /// The id of an output: the replay key.
    function outputId(bytes32 subnet, uint64 epoch, uint64 height, uint64 index) public pure returns (bytes32) {
        return keccak256(abi.encode(subnet, epoch, height, index));
    }

    /// Executes one output.
    /// @param attestation of the block that has the output
    /// @param signatures see `SubnetRegistry.requireAttested`
    /// @param leafCount number of outputs of the block
    /// @param path RFC 6962 audit path, from the leaf up
    /// @param proof for the receiver; not looked at here
    function execute(
        Attestation calldata attestation,
        bytes[] calldata signatures,
        Leaf calldata leaf,
        uint64 leafCount,
        bytes32[] calldata path,
        bytes calldata proof
    ) external {
        if (leaf.kind != SETTLEMENT) revert NotASettlement(leaf.kind);
        bytes32 output = outputId(attestation.subnet, attestation.epoch, attestation.height, leaf.index);
        if (executed[output]) revert AlreadyExecuted(output);
        registry.requireAttested(attestation, signatures);
        bytes32 hash = leafHash(leaf);
        AttestationVerifier.requireIncluded(hash, leaf.index, leafCount, path, attestation.outputsRoot);
        if (leaf.target.code.length == 0) revert NoReceiver(leaf.target);

        // Before the call: a receiver that calls back finds the output executed. It may execute others.
        executed[output] = true;
        emit Settled(
            attestation.subnet, leaf.target, output, attestation.epoch, attestation.height, leaf.index, hash
        );
        _deliver(
            leaf.target,
            OutputRef(attestation.subnet, attestation.epoch, attestation.height, leaf.index),
            leaf.data,
            proof
        );
    }

    /// The hash that a leaf has in the outputs' tree if it is meant for this chain and this contract.
    function leafHash(Leaf calldata leaf) public view returns (bytes32) {
        // abi.encode(uint64 index, uint16 kind, uint64 chainId, bytes target, bytes data) of crates/types/src/output.rs. A
        // chain id of more than 64 bits is not cut off: no leaf has such a word.
        bytes memory target = abi.encodePacked(address(this), leaf.target);
        return AttestationVerifier.leafHash(abi.encode(leaf.index, leaf.kind, block.chainid, target, leaf.data));
    }

    function _deliver(address target, OutputRef memory ref, bytes calldata data, bytes calldata proof) private {
        bytes memory message = abi.encodeCall(IOutputReceiver.onOutput, (ref, data, proof));
        bool ok;
        bytes32 answer;
        uint256 size;
        bytes memory reason;
        uint256 most = MOST_REASON;
        // By hand, because try/catch copies whatever the receiver returns, and reverts on its own where the answer cannot be
        // decoded.
        assembly ("memory-safe") {
            ok := call(gas(), target, 0, add(message, 32), mload(message), 0, 32)
            size := returndatasize()
            answer := mload(0)
            if iszero(ok) {
                let length := size
                if gt(length, most) { length := most }
                reason := mload(0x40)
                mstore(0x40, add(reason, and(add(length, 63), not(31))))
                mstore(reason, length)
                returndatacopy(add(reason, 32), 0, length)
            }
        }
        if (!ok) revert ReceiverReverted(target, reason);
        if (size != 32 || answer != bytes32(IOutputReceiver.onOutput.selector)) revert ReceiverRefused(target);
    }
}
