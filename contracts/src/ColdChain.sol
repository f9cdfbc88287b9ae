// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IGroth16Verifier} from "./Groth16Verifier.sol";
import {IOutputReceiver, OutputRef} from "./IOutputReceiver.sol";

/// A cold chain's days: for each device and day the lowest, highest and average temperature, attested by the project's
/// subnet and proved in zero knowledge to follow from committed readings that nobody gets to see.
///
/// The proof is checked against the statement that the subnet attested: every public input is made from that statement
/// here, and none comes from the caller.
///
/// If a project makes a second statement about a device's day (readings that came late, a correction), the later one by
/// (epoch, height, index) is the one that stands, whatever the order in which they are settled: so what this contract says
/// follows from what the subnet attested, not from who paid for which transaction first. Refusing the second would leave an
/// attested output that can never be settled, and a race in its place. Every statement is an event, and `statements` counts
/// them. A contract that pays for a day keeps its own note that it has paid.
contract ColdChain is IOutputReceiver {
    /// A day of a device. Temperatures are in thousandths of a degree Celsius.
    struct Day {
        /// Number of readings, 1 to 24; zero if there is no statement.
        uint8 n;
        int32 lo;
        int32 hi;
        /// floor(sum / n), also for negative sums.
        int32 average;
        /// sum - average * n, so that the exact sum is known: 0 <= remainder < n.
        uint8 remainder;
        /// How many statements about this day were settled.
        uint32 statements;
        /// Which output says so.
        uint64 epoch;
        uint64 height;
        uint64 index;
        /// Poseidon commitment to the readings.
        uint256 commitment;
    }

    /// What the subnet's applet encodes, word by word.
    struct Statement {
        bytes32 project;
        bytes32 device;
        uint32 day;
        uint8 n;
        int32 lo;
        int32 hi;
        int32 a;
        uint8 r;
        uint256 commitment;
    }

    error OnlyExecutor(address caller);
    error OtherSubnet(bytes32 subnet);
    error OtherProject(bytes32 project);
    error StatementLength(uint256 length);
    error ProofFalse();
    error ZeroAddress();

    /// A statement was settled.
    /// @param day days since 1970-01-01 UTC
    /// @param current whether it is now the one that stands; false if a later one was settled before it
    event DaySettled(
        bytes32 indexed device,
        uint32 indexed day,
        uint8 n,
        int32 lo,
        int32 hi,
        int32 average,
        uint8 remainder,
        uint256 commitment,
        uint64 epoch,
        uint64 height,
        uint64 index,
        bool current
    );

    /// Order of BN254's groups; a negative number x is the field element ORDER - |x|.
    uint256 private constant ORDER = 21888242871839275222246405745257275088548364400416034343698204186575808495617;
    uint256 private constant STATEMENT_BYTES = 9 * 32;

    address public immutable executor;
    IGroth16Verifier public immutable verifier;
    /// The project, which is also the subnet's id.
    bytes32 public immutable project;

    mapping(bytes32 device => mapping(uint32 day => Day)) private _days;

    /// @param verifier_ for the circuit circuits/cold-chain-day
    constructor(address executor_, IGroth16Verifier verifier_, bytes32 project_) {
        if (executor_ == address(0) || address(verifier_) == address(0)) revert ZeroAddress();
        executor = executor_;
        verifier = verifier_;
        project = project_;
    }

    /// What stands about a device's day; all zero if nothing does.
    /// @param device SHA-256 of the device's DID
    /// @param day days since 1970-01-01 UTC
    function dayOf(bytes32 device, uint32 day) external view returns (Day memory) {
        return _days[device][day];
    }

    /// @inheritdoc IOutputReceiver
    function onOutput(OutputRef calldata ref, bytes calldata data, bytes calldata proof) external returns (bytes4) {
        if (msg.sender != executor) revert OnlyExecutor(msg.sender);
        if (ref.subnet != project) revert OtherSubnet(ref.subnet);
        if (data.length != STATEMENT_BYTES) revert StatementLength(data.length);
        // Reverts where a word is out of its type's range.
        Statement memory s = abi.decode(data, (Statement));
        if (s.project != project) revert OtherProject(s.project);
        if (!verifier.verify(proof, publicInputs(s))) revert ProofFalse();
        _settle(ref, s);
        return IOutputReceiver.onOutput.selector;
    }

    /// The circuit's public signals for a statement, in the circuit's order.
    function publicInputs(Statement memory s) public pure returns (uint256[] memory inputs) {
        inputs = new uint256[](11);
        inputs[0] = uint256(s.project) >> 128;
        inputs[1] = uint128(uint256(s.project));
        inputs[2] = uint256(s.device) >> 128;
        inputs[3] = uint128(uint256(s.device));
        inputs[4] = s.day;
        inputs[5] = s.n;
        inputs[6] = _field(s.lo);
        inputs[7] = _field(s.hi);
        inputs[8] = _field(s.a);
        inputs[9] = s.r;
        inputs[10] = s.commitment;
    }

    function _settle(OutputRef calldata ref, Statement memory s) private {
        Day storage entry = _days[s.device][s.day];
        uint32 statements = entry.statements + 1;
        bool current = statements == 1 || _isLater(ref, entry);
        if (current) {
            _days[s.device][s.day] = Day({
                n: s.n,
                lo: s.lo,
                hi: s.hi,
                average: s.a,
                remainder: s.r,
                statements: statements,
                epoch: ref.epoch,
                height: ref.height,
                index: ref.index,
                commitment: s.commitment
            });
        } else {
            entry.statements = statements;
        }
        emit DaySettled(
            s.device, s.day, s.n, s.lo, s.hi, s.a, s.r, s.commitment, ref.epoch, ref.height, ref.index, current
        );
    }

    function _isLater(OutputRef calldata ref, Day storage entry) private view returns (bool) {
        if (ref.epoch != entry.epoch) return ref.epoch > entry.epoch;
        if (ref.height != entry.height) return ref.height > entry.height;
        return ref.index > entry.index;
    }

    function _field(int256 x) private pure returns (uint256) {
        return x < 0 ? ORDER - uint256(-x) : uint256(x);
    }
}
