// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Attestation, AttestationVerifier} from "./AttestationVerifier.sol";

/// Who the members of a subnet are, epoch by epoch: what every check of an attestation rests on.
///
/// Trust: the registry's `owner` says which account owns a subnet, once, when it registers the subnet's first epoch. From
/// then on epochs follow by `advance`, which a quorum of the epoch's own members signs. The subnet's owner has one power
/// left: where the quorum is lost it may replace the members after `recoveryDelay` seconds, in public, and a quorum that is
/// not lost stops that with an `advance`. With a `recoveryDelay` of zero it has not even this.
///
/// A project's id is no proof of who may speak for it, so registration is not open to everybody: whoever came first with
/// the id of another's project would settle whatever he liked.
contract SubnetRegistry {
    /// One epoch of a subnet.
    struct Epoch {
        /// Digest of the genesis; zero where there is no such epoch.
        bytes32 genesis;
        /// How many members must sign.
        uint32 quorum;
        uint32 members;
        /// The last height that members of this epoch attest. All while it is the current one.
        uint64 lastHeight;
    }

    /// A subnet.
    struct Subnet {
        /// May replace a lost quorum. Zero if there is no such subnet.
        address owner;
        uint64 currentEpoch;
        /// From when on the replacement may be made; zero if none is announced.
        uint64 recoverableAt;
        /// What was announced: hash of its genesis, members and last height.
        bytes32 recovery;
    }

    /// The end of an epoch and the start of the next.
    struct Handover {
        bytes32 subnet;
        /// Genesis and number of the epoch that ends.
        bytes32 genesis;
        uint64 epoch;
        /// The last height that its members attest.
        uint64 lastHeight;
        /// Genesis of the epoch that follows, with the number `epoch + 1`.
        bytes32 nextGenesis;
        /// Its members' attestation addresses, in strictly ascending order.
        address[] nextMembers;
    }

    error NotOwner(address caller);
    error ZeroAddress();
    error SubnetKnown(bytes32 subnet);
    error SubnetUnknown(bytes32 subnet);
    error GenesisIsZero();
    error NoMembers();
    error TooManyMembers(uint256 count);
    /// Members must be in strictly ascending order, without the address zero.
    error MembersNotAscending(uint256 position);
    error EpochUnknown(bytes32 subnet, uint64 epoch);
    error EpochNotCurrent(uint64 given, uint64 current);
    error GenesisMismatch(bytes32 given, bytes32 registered);
    /// The epoch ended before this height.
    error EpochClosed(uint64 height, uint64 lastHeight);
    error QuorumMissing(uint256 have, uint256 need);
    /// Signatures must be in strictly ascending order of their signers' addresses: so each signer counts once.
    error SignersNotAscending(uint256 position);
    error NotMember(uint256 position, address signer);
    error RecoveryDisabled();
    error RecoveryNotAnnounced();
    error RecoveryTooEarly(uint64 from);

    event OwnershipOffered(address indexed candidate);
    event OwnershipTaken(address indexed owner);
    event SubnetRegistered(bytes32 indexed subnet, address indexed subnetOwner);
    event SubnetOwnerChanged(bytes32 indexed subnet, address indexed subnetOwner);
    event EpochStarted(bytes32 indexed subnet, uint64 indexed epoch, bytes32 genesis, address[] members);
    event EpochEnded(bytes32 indexed subnet, uint64 indexed epoch, uint64 lastHeight, bool byQuorum);
    event RecoveryAnnounced(
        bytes32 indexed subnet, bytes32 genesis, address[] members, uint64 lastHeight, uint64 recoverableAt
    );
    event RecoveryWithdrawn(bytes32 indexed subnet);

    /// As crates/types has it.
    uint256 public constant MAX_MEMBERS = 1024;
    bytes32 public constant HANDOVER_TYPEHASH = keccak256(
        "Handover(bytes32 subnet,bytes32 genesis,uint64 epoch,uint64 lastHeight,bytes32 nextGenesis,address[] nextMembers)"
    );

    /// Seconds between the announcement of a replacement and the replacement; zero: there is none.
    uint64 public immutable recoveryDelay;
    /// Registers subnets.
    address public owner;
    address public ownerCandidate;

    mapping(bytes32 subnet => Subnet) public subnets;
    mapping(bytes32 subnet => mapping(uint64 epoch => Epoch)) public epochs;
    mapping(bytes32 subnet => mapping(uint64 epoch => mapping(address => bool))) public isMember;

    constructor(address owner_, uint64 recoveryDelay_) {
        if (owner_ == address(0)) revert ZeroAddress();
        owner = owner_;
        recoveryDelay = recoveryDelay_;
        emit OwnershipTaken(owner_);
    }

    modifier onlyOwner() {
        if (msg.sender != owner) revert NotOwner(msg.sender);
        _;
    }

    modifier onlySubnetOwner(bytes32 subnet) {
        address subnetOwner = subnets[subnet].owner;
        if (subnetOwner == address(0)) revert SubnetUnknown(subnet);
        if (msg.sender != subnetOwner) revert NotOwner(msg.sender);
        _;
    }

    /// Offers the registry to another owner, who takes it with `takeOwnership`: a mistyped address takes nothing.
    function offerOwnership(address candidate) external onlyOwner {
        ownerCandidate = candidate;
        emit OwnershipOffered(candidate);
    }

    function takeOwnership() external {
        if (msg.sender != ownerCandidate) revert NotOwner(msg.sender);
        owner = msg.sender;
        ownerCandidate = address(0);
        emit OwnershipTaken(msg.sender);
    }

    /// Registers a subnet with the epoch that it is in. Once for each subnet.
    /// @param members attestation addresses in strictly ascending order. The contract cannot see whether they are those of
    /// the genesis; anybody can, off the chain
    function register(bytes32 subnet, address subnetOwner, bytes32 genesis, uint64 epoch, address[] calldata members)
        external
        onlyOwner
    {
        if (subnetOwner == address(0)) revert ZeroAddress();
        if (subnets[subnet].owner != address(0)) revert SubnetKnown(subnet);
        subnets[subnet] = Subnet({owner: subnetOwner, currentEpoch: epoch, recoverableAt: 0, recovery: bytes32(0)});
        emit SubnetRegistered(subnet, subnetOwner);
        _start(subnet, epoch, genesis, members);
    }

    /// Ends the current epoch and starts the next, as a quorum of the current one has signed. Anybody may bring it: one
    /// handover serves the registries of all chains. It also stops a replacement that was announced.
    function advance(Handover calldata handover, bytes[] calldata signatures) external {
        bytes32 subnet = handover.subnet;
        Subnet storage entry = subnets[subnet];
        if (entry.owner == address(0)) revert SubnetUnknown(subnet);
        if (handover.epoch != entry.currentEpoch) revert EpochNotCurrent(handover.epoch, entry.currentEpoch);
        Epoch storage current = epochs[subnet][handover.epoch];
        if (handover.genesis != current.genesis) revert GenesisMismatch(handover.genesis, current.genesis);
        _requireQuorum(subnet, handover.epoch, current.quorum, handoverDigest(handover), signatures);
        _dropRecovery(subnet);
        _end(subnet, handover.lastHeight, true);
        _start(subnet, entry.currentEpoch, handover.nextGenesis, handover.nextMembers);
    }

    /// Announces that the members are to be replaced because their quorum is lost. A new announcement replaces the old one
    /// and starts the delay again.
    function announceRecovery(bytes32 subnet, bytes32 genesis, address[] calldata members, uint64 lastHeight)
        external
        onlySubnetOwner(subnet)
    {
        if (recoveryDelay == 0) revert RecoveryDisabled();
        uint64 from = uint64(block.timestamp) + recoveryDelay;
        subnets[subnet].recovery = keccak256(abi.encode(genesis, members, lastHeight));
        subnets[subnet].recoverableAt = from;
        emit RecoveryAnnounced(subnet, genesis, members, lastHeight, from);
    }

    function withdrawRecovery(bytes32 subnet) external onlySubnetOwner(subnet) {
        _dropRecovery(subnet);
    }

    /// Makes the replacement that was announced.
    function recover(bytes32 subnet, bytes32 genesis, address[] calldata members, uint64 lastHeight)
        external
        onlySubnetOwner(subnet)
    {
        Subnet storage entry = subnets[subnet];
        uint64 from = entry.recoverableAt;
        if (from == 0 || entry.recovery != keccak256(abi.encode(genesis, members, lastHeight))) {
            revert RecoveryNotAnnounced();
        }
        if (block.timestamp < from) revert RecoveryTooEarly(from);
        entry.recovery = bytes32(0);
        entry.recoverableAt = 0;
        _end(subnet, lastHeight, false);
        _start(subnet, entry.currentEpoch, genesis, members);
    }

    /// Gives the subnet to another owner; to the address zero is not possible, since that names a subnet that is not there.
    function changeSubnetOwner(bytes32 subnet, address subnetOwner) external onlySubnetOwner(subnet) {
        if (subnetOwner == address(0)) revert ZeroAddress();
        subnets[subnet].owner = subnetOwner;
        emit SubnetOwnerChanged(subnet, subnetOwner);
    }

    /// Reverts unless a quorum of the members of the attestation's epoch signed it. Attestations of ended epochs hold up to
    /// their last height, so that what was executed before a handover can be settled after it.
    /// @param signatures 65 bytes each (r, s, v of 27 or 28, low s), in strictly ascending order of signers' addresses
    function requireAttested(Attestation calldata attestation, bytes[] calldata signatures) external view {
        (bytes32 subnet, uint64 epoch) = (attestation.subnet, attestation.epoch);
        Epoch memory entry = epochs[subnet][epoch];
        if (entry.genesis == bytes32(0)) revert EpochUnknown(subnet, epoch);
        if (attestation.genesis != entry.genesis) revert GenesisMismatch(attestation.genesis, entry.genesis);
        if (attestation.height > entry.lastHeight) revert EpochClosed(attestation.height, entry.lastHeight);
        _requireQuorum(subnet, epoch, entry.quorum, AttestationVerifier.digest(attestation), signatures);
    }

    /// The 32 bytes that a member signs to attest: EIP-712 in the domain of the epoch's genesis.
    function attestationDigest(Attestation calldata attestation) external pure returns (bytes32) {
        return AttestationVerifier.digest(attestation);
    }

    /// The 32 bytes that a member signs to end its epoch: EIP-712 in the domain of the ending epoch's genesis.
    function handoverDigest(Handover calldata handover) public pure returns (bytes32) {
        bytes32 structHash = keccak256(
            abi.encode(
                HANDOVER_TYPEHASH,
                handover.subnet,
                handover.genesis,
                handover.epoch,
                handover.lastHeight,
                handover.nextGenesis,
                // EIP-712: an array is hashed as its members' words, one after the other, which is its packed encoding.
                keccak256(abi.encodePacked(handover.nextMembers))
            )
        );
        return AttestationVerifier.typedDataHash(handover.genesis, structHash);
    }

    /// How many of `n` members must agree: ceil((n + f + 1) / 2) with f = floor((n - 1) / 3), as crates/types has it.
    function quorumOf(uint256 n) public pure returns (uint256) {
        return n == 0 ? 1 : (n + (n - 1) / 3 + 2) / 2;
    }

    function _requireQuorum(
        bytes32 subnet,
        uint64 epoch,
        uint256 quorum,
        bytes32 hash,
        bytes[] calldata signatures
    ) private view {
        if (signatures.length < quorum) revert QuorumMissing(signatures.length, quorum);
        mapping(address => bool) storage members = isMember[subnet][epoch];
        address last = address(0);
        for (uint256 i = 0; i < signatures.length; i++) {
            address signer = AttestationVerifier.recover(hash, signatures[i], i);
            if (signer <= last) revert SignersNotAscending(i);
            if (!members[signer]) revert NotMember(i, signer);
            last = signer;
        }
    }

    function _end(bytes32 subnet, uint64 lastHeight, bool byQuorum) private {
        uint64 ended = subnets[subnet].currentEpoch;
        epochs[subnet][ended].lastHeight = lastHeight;
        // Checked: reverts at the last number, where nothing can follow.
        subnets[subnet].currentEpoch = ended + 1;
        emit EpochEnded(subnet, ended, lastHeight, byQuorum);
    }

    function _start(bytes32 subnet, uint64 epoch, bytes32 genesis, address[] calldata members) private {
        if (genesis == bytes32(0)) revert GenesisIsZero();
        uint256 count = members.length;
        if (count == 0) revert NoMembers();
        if (count > MAX_MEMBERS) revert TooManyMembers(count);
        mapping(address => bool) storage entries = isMember[subnet][epoch];
        address last = address(0);
        for (uint256 i = 0; i < count; i++) {
            address member = members[i];
            if (member <= last) revert MembersNotAscending(i);
            entries[member] = true;
            last = member;
        }
        epochs[subnet][epoch] = Epoch({
            genesis: genesis,
            // At most MAX_MEMBERS, which fits.
            quorum: uint32(quorumOf(count)),
            members: uint32(count),
            lastHeight: type(uint64).max
        });
        emit EpochStarted(subnet, epoch, genesis, members);
    }

    function _dropRecovery(bytes32 subnet) private {
        if (subnets[subnet].recoverableAt == 0) return;
        subnets[subnet].recovery = bytes32(0);
        subnets[subnet].recoverableAt = 0;
        emit RecoveryWithdrawn(subnet);
    }
}
