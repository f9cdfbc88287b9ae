// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// What a member of a subnet attests after it has applied a block: `Statement` of crates/types/src/attestation.rs,
/// with the fields in the order of its EIP-712 type.
struct Attestation {
    /// The subnet: its project's id.
    bytes32 subnet;
    /// Digest of the epoch's genesis.
    bytes32 genesis;
    uint64 epoch;
    uint64 height;
    /// The block's name.
    bytes32 blockName;
    /// Digest of the manifest in force after the block.
    bytes32 manifest;
    bytes32 stateRoot;
    /// RFC 6962 root over the block's outputs.
    bytes32 outputsRoot;
}

/// Pure checks of attestations and of outputs under their root. No state, no trust: who may sign is for the caller
/// to say.
library AttestationVerifier {
    /// A signature is 65 bytes: r, s, v.
    error SignatureLength(uint256 position, uint256 length);
    /// v must be 27 or 28, s in the lower half of the order, and the signature must recover to a key.
    error SignatureInvalid(uint256 position);
    /// The leaf is not number `index` of `leafCount` under the root.
    error LeafNotUnderRoot(uint64 index, uint64 leafCount);

    /// Without chainId and verifyingContract: one attestation serves contracts on every chain, and what is meant for one
    /// chain and one contract says so in its leaf. The salt is the genesis.
    bytes32 internal constant DOMAIN_TYPEHASH =
        keccak256("EIP712Domain(string name,string version,bytes32 salt)");
    bytes32 internal constant NAME_HASH = keccak256("W3bstream");
    bytes32 internal constant VERSION_HASH = keccak256("1");
    bytes32 internal constant ATTESTATION_TYPEHASH = keccak256(
        "Attestation(bytes32 subnet,bytes32 genesis,uint64 epoch,uint64 height,bytes32 block,bytes32 manifest,bytes32 stateRoot,bytes32 outputsRoot)"
    );
    /// Half the order of secp256k1, rounded down: a larger s is the same signature in another form (EIP-2).
    uint256 internal constant HALF_ORDER = 0x7fffffffffffffffffffffffffffffff5d576e7357a4501ddfe92f46681b20a0;

    /// The EIP-712 digest of a struct hash in the domain of a genesis.
    function typedDataHash(bytes32 genesis, bytes32 structHash) internal pure returns (bytes32) {
        bytes32 domain = keccak256(abi.encode(DOMAIN_TYPEHASH, NAME_HASH, VERSION_HASH, genesis));
        return keccak256(abi.encodePacked(hex"1901", domain, structHash));
    }

    /// The 32 bytes that a member signs.
    function digest(Attestation memory a) internal pure returns (bytes32) {
        return typedDataHash(a.genesis, keccak256(abi.encode(ATTESTATION_TYPEHASH, a)));
    }

    /// Who signed `hash`. One signer has one signature in this form for each nonce: a high s, a v of 0 or 1 and the
    /// compact form of EIP-2098 are refused, as crates/types does.
    /// @param position only for the errors: which of several signatures this is
    function recover(bytes32 hash, bytes calldata signature, uint256 position) internal pure returns (address signer) {
        if (signature.length != 65) revert SignatureLength(position, signature.length);
        bytes32 r = bytes32(signature[0:32]);
        bytes32 s = bytes32(signature[32:64]);
        uint8 v = uint8(signature[64]);
        if (uint256(s) > HALF_ORDER || (v != 27 && v != 28)) revert SignatureInvalid(position);
        signer = ecrecover(hash, v, r, s);
        // ecrecover answers zero for what is no signature; nobody owns the address zero.
        if (signer == address(0)) revert SignatureInvalid(position);
    }

    /// RFC 6962 §2.1: the hash of a leaf with this data.
    function leafHash(bytes memory data) internal pure returns (bytes32) {
        return sha256(abi.encodePacked(bytes1(0x00), data));
    }

    /// Reverts unless `leaf` is number `index` of the `leafCount` leaves under `root` (RFC 9162 §2.1.3.2).
    ///
    /// No signature covers `leafCount`, and a wrong one can pass: leaf 0 of 3 and leaf 0 of 4 have paths of one form. It
    /// only steers the walk, and nothing may be concluded from it. The leaf's own data holds its index, which the root
    /// covers.
    function requireIncluded(bytes32 leaf, uint64 index, uint64 leafCount, bytes32[] calldata path, bytes32 root)
        internal
        pure
    {
        bool ok = index < leafCount;
        if (ok) {
            uint256 place = index;
            uint256 last = uint256(leafCount) - 1;
            bytes32 hash = leaf;
            for (uint256 i = 0; i < path.length; i++) {
                // The path is longer than the tree is high.
                if (last == 0) {
                    ok = false;
                    break;
                }
                if (place & 1 == 1 || place == last) {
                    hash = _node(path[i], hash);
                    while (place & 1 == 0 && place != 0) {
                        place >>= 1;
                        last >>= 1;
                    }
                } else {
                    hash = _node(hash, path[i]);
                }
                place >>= 1;
                last >>= 1;
            }
            ok = ok && last == 0 && hash == root;
        }
        if (!ok) revert LeafNotUnderRoot(index, leafCount);
    }

    function _node(bytes32 left, bytes32 right) private pure returns (bytes32) {
        return sha256(abi.encodePacked(bytes1(0x01), left, right));
    }
}
