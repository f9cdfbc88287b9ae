// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// Checks a Groth16 proof over BN254.
interface IGroth16Verifier {
    /// Whether `proof` proves the statement with these public inputs.
    /// @param proof abi.encode(uint256[2] a, uint256[2][2] b, uint256[2] c), imaginary parts of b first (EIP-197): 256 bytes
    function verify(bytes calldata proof, uint256[] calldata inputs) external view returns (bool);

    /// Hash of the verification key: what names the circuit. keccak256 of the constructor's argument.
    function keyHash() external view returns (bytes32);
}

/// Groth16 over BN254 (Groth 2016, §3.2) for one verification key, with the precompiles of EIP-196 and EIP-197.
///
/// The key comes with the deployment and stands in the code of a contract of its own, from where reading it is cheap: so
/// every circuit is verified by the same program, and no Solidity is generated.
contract Groth16Verifier is IGroth16Verifier {
    /// The key is not 14 + 2 (n + 1) words for some n.
    error KeyLength(uint256 length);
    /// The key has a point that is not on its curve (or not in its group). The number counts alpha, beta, gamma, delta, IC.
    error KeyPoint(uint256 number);
    error ProofLength(uint256 length);
    error InputCount(uint256 given, uint256 expected);
    /// Public inputs must be below the group's order: one statement has one form.
    error InputTooLarge(uint256 position);

    /// Order of BN254's groups: what public inputs count in.
    uint256 public constant ORDER = 21888242871839275222246405745257275088548364400416034343698204186575808495617;
    /// The prime of BN254's coordinates.
    uint256 public constant PRIME = 21888242871839275222246405745257275088696311157297823662689037894645226208583;
    /// Words of alpha, beta, gamma and delta.
    uint256 private constant FIXED_WORDS = 14;

    /// @inheritdoc IGroth16Verifier
    bytes32 public immutable keyHash;
    /// Number of public inputs.
    uint256 public immutable inputCount;
    address private immutable _key;

    /// @param key alpha (G1), beta, gamma, delta (G2), IC[0..n] (G1), one 32-byte word for each coordinate, imaginary parts
    /// first: the order in which the precompiles take them
    constructor(bytes memory key) {
        if (key.length < 32 * (FIXED_WORDS + 2) || key.length % 64 != 0) revert KeyLength(key.length);
        inputCount = key.length / 64 - FIXED_WORDS / 2 - 1;
        keyHash = keccak256(key);
        _checkKey(key);
        _key = address(new Code(key));
    }

    /// @inheritdoc IGroth16Verifier
    /// @dev False for every proof that is none, including coordinates that are not below the prime and points that are not
    /// on their curve. For the latter the precompile takes all gas that it was given: simulate before sending.
    function verify(bytes calldata proof, uint256[] calldata inputs) external view returns (bool) {
        if (proof.length != 256) revert ProofLength(proof.length);
        if (inputs.length != inputCount) revert InputCount(inputs.length, inputCount);
        uint256[8] memory p = abi.decode(proof, (uint256[8]));
        for (uint256 i = 0; i < 8; i++) {
            if (p[i] >= PRIME) return false;
        }
        bytes memory key = _load();
        (bool ok, uint256 x, uint256 y) = _combine(key, inputs);
        return ok && _pair(key, p, x, y);
    }

    /// IC[0] + inputs[0] IC[1] + …
    function _combine(bytes memory key, uint256[] calldata inputs) private view returns (bool ok, uint256 x, uint256 y) {
        (x, y) = _point(key, FIXED_WORDS);
        uint256[4] memory words;
        for (uint256 i = 0; i < inputs.length; i++) {
            if (inputs[i] >= ORDER) revert InputTooLarge(i);
            (words[0], words[1]) = _point(key, FIXED_WORDS + 2 * (i + 1));
            words[2] = inputs[i];
            ok = _precompile(7, words, 96);
            (words[2], words[3]) = (x, y);
            ok = ok && _precompile(6, words, 128);
            if (!ok) return (false, 0, 0);
            (x, y) = (words[0], words[1]);
        }
        ok = true;
    }

    /// e(-A, B) e(alpha, beta) e(IC, gamma) e(C, delta) = 1
    function _pair(bytes memory key, uint256[8] memory p, uint256 x, uint256 y) private view returns (bool) {
        uint256[24] memory words;
        (words[0], words[1]) = (p[0], p[1] == 0 ? 0 : PRIME - p[1]);
        (words[2], words[3], words[4], words[5]) = (p[2], p[3], p[4], p[5]);
        _copy(words, 6, key, 0, 6); // alpha, beta
        _copy(words, 14, key, 6, 4); // gamma
        _copy(words, 20, key, 10, 4); // delta
        (words[12], words[13]) = (x, y);
        (words[18], words[19]) = (p[6], p[7]);
        bool ok;
        assembly ("memory-safe") {
            ok := staticcall(gas(), 8, words, 768, words, 32)
            // A failed precompile writes nothing.
            ok := and(ok, eq(returndatasize(), 32))
        }
        return ok && words[0] == 1;
    }

    function _copy(uint256[24] memory words, uint256 to, bytes memory key, uint256 from, uint256 count) private pure {
        for (uint256 i = 0; i < count; i += 2) {
            (words[to + i], words[to + i + 1]) = _point(key, from + i);
        }
    }

    function _point(bytes memory key, uint256 word) private pure returns (uint256 x, uint256 y) {
        assembly ("memory-safe") {
            let start := add(add(key, 32), mul(word, 32))
            x := mload(start)
            y := mload(add(start, 32))
        }
    }

    /// Calls the precompile of EIP-196 with this number; the sum or product replaces the first two words.
    function _precompile(uint256 precompile, uint256[4] memory words, uint256 size) private view returns (bool ok) {
        assembly ("memory-safe") {
            ok := staticcall(gas(), precompile, words, size, words, 64)
            ok := and(ok, eq(returndatasize(), 64))
        }
    }

    function _load() private view returns (bytes memory key) {
        address from = _key;
        uint256 size = 32 * (FIXED_WORDS + 2 * (inputCount + 1));
        key = new bytes(size);
        assembly ("memory-safe") {
            // Byte 0 is the STOP that keeps the key from being run.
            extcodecopy(from, add(key, 32), 1, size)
        }
    }

    /// A point outside its group would make every proof false, or worse: so a key with one is not deployed.
    function _checkKey(bytes memory key) private view {
        uint256[4] memory words;
        uint256 points = inputCount + 2;
        for (uint256 i = 0; i < points; i++) {
            (words[0], words[1]) = _point(key, i == 0 ? 0 : FIXED_WORDS + 2 * (i - 1));
            (words[2], words[3]) = (0, 0);
            // Adding the point at infinity checks the point.
            if (!_precompile(6, words, 128)) revert KeyPoint(i == 0 ? 0 : i + 3);
        }
        for (uint256 i = 0; i < 3; i++) {
            uint256[6] memory pair;
            (pair[2], pair[3]) = _point(key, 2 + 4 * i);
            (pair[4], pair[5]) = _point(key, 4 + 4 * i);
            bool ok;
            // Pairing it with the point at infinity checks the point and its group.
            assembly ("memory-safe") {
                ok := staticcall(gas(), 8, pair, 192, pair, 32)
                ok := and(ok, eq(returndatasize(), 32))
            }
            if (!ok) revert KeyPoint(1 + i);
        }
    }
}

/// A contract whose code is data.
contract Code {
    constructor(bytes memory data) {
        bytes memory code = abi.encodePacked(hex"00", data);
        assembly ("memory-safe") {
            return(add(code, 32), mload(code))
        }
    }
}
