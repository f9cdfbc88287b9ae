// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {AttestationVerifier} from "../src/AttestationVerifier.sol";
import {IGroth16Verifier} from "../src/Groth16Verifier.sol";
import {IOutputReceiver, OutputRef} from "../src/IOutputReceiver.sol";

/// Opens the library's walk up a tree to tests.
contract InclusionHarness {
    function requireIncluded(bytes32 leaf, uint64 index, uint64 leafCount, bytes32[] calldata path, bytes32 root)
        external
        pure
    {
        AttestationVerifier.requireIncluded(leaf, index, leafCount, path, root);
    }
}

/// Behaves badly in the way that it is told.
contract BadReceiver is IOutputReceiver {
    error NotToday(uint256 why);

    enum Mode {
        Accept,
        Revert,
        Panic,
        WrongAnswer,
        LongAnswer,
        LongReason,
        BurnGas
    }

    Mode public mode;
    uint256 public received;

    function set(Mode mode_) external {
        mode = mode_;
    }

    function onOutput(OutputRef calldata, bytes calldata, bytes calldata) external returns (bytes4) {
        received += 1;
        if (mode == Mode.Revert) revert NotToday(42);
        if (mode == Mode.Panic) assert(false);
        if (mode == Mode.WrongAnswer) return bytes4(0xdeadbeef);
        if (mode == Mode.LongAnswer) {
            bytes32 answer = IOutputReceiver.onOutput.selector;
            assembly ("memory-safe") {
                mstore(0, answer)
                mstore(32, 0)
                return(0, 64)
            }
        }
        if (mode == Mode.LongReason) {
            assembly ("memory-safe") {
                revert(0, 100000)
            }
        }
        if (mode == Mode.BurnGas) {
            assembly ("memory-safe") {
                invalid()
            }
        }
        return IOutputReceiver.onOutput.selector;
    }
}

/// Calls the Executor again while it is called, with calls that it was given before.
contract ReentrantReceiver is IOutputReceiver {
    address public immutable executor;
    bytes[] private _calls;
    /// How often it was called, and how deep it was at most.
    uint256 public received;
    uint256 public deepest;
    uint256 private _depth;
    /// What the calls answered.
    bool[] public succeeded;
    bytes[] public answers;

    constructor(address executor_) {
        executor = executor_;
    }

    function prepare(bytes calldata call) external {
        _calls.push(call);
    }

    function attempts() external view returns (uint256) {
        return succeeded.length;
    }

    function onOutput(OutputRef calldata, bytes calldata, bytes calldata) external returns (bytes4) {
        received += 1;
        _depth += 1;
        if (_depth > deepest) deepest = _depth;
        if (_depth == 1) {
            for (uint256 i = 0; i < _calls.length; i++) {
                (bool ok, bytes memory answer) = executor.call(_calls[i]);
                succeeded.push(ok);
                answers.push(answer);
            }
        }
        _depth -= 1;
        return IOutputReceiver.onOutput.selector;
    }
}

/// A contract that takes every call and answers nothing, as a wallet with a fallback does.
contract Swallower {
    fallback() external payable {}
}

/// Takes every proof of 256 bytes, so that what follows a proof can be tested without one.
contract CredulousVerifier is IGroth16Verifier {
    bytes32 public constant keyHash = bytes32(0);

    function verify(bytes calldata proof, uint256[] calldata) external pure returns (bool) {
        return proof.length == 256;
    }
}
