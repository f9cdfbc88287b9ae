// Poseidon over the scalar field of BN254 (https://eprint.iacr.org/2019/458), width 3: x^5, 8 full and 57 partial rounds.
// The same function as `Poseidon(2)` of circomlib, which scripts/test-circuits compares it with.
pragma circom 2.1.6;

include "poseidon_constants.circom";

// y = x^5.
template Power5() {
    signal input x;
    signal output y;
    signal x2 <== x * x;
    signal x4 <== x2 * x2;
    y <== x4 * x;
}

// The hash of two numbers: the first number of the permuted (0, left, right).
template Hash2() {
    signal input left;
    signal input right;
    signal output hash;

    var constants[195] = poseidon3_rounds();
    var matrix[9] = poseidon3_matrix();
    component full[8][3];
    component partial[57];

    // Sums of signals, so that additions and the matrix cost no constraint of their own.
    var state[3] = [0, left, right];
    var next[3];
    var fulls = 0;
    for (var round = 0; round < 65; round++) {
        for (var i = 0; i < 3; i++) {
            state[i] += constants[3 * round + i];
        }
        if (round < 4 || round >= 61) {
            for (var i = 0; i < 3; i++) {
                full[fulls][i] = Power5();
                full[fulls][i].x <== state[i];
                state[i] = full[fulls][i].y;
            }
            fulls++;
        } else {
            partial[round - 4] = Power5();
            partial[round - 4].x <== state[0];
            state[0] = partial[round - 4].y;
        }
        for (var i = 0; i < 3; i++) {
            next[i] = 0;
            for (var j = 0; j < 3; j++) {
                next[i] += matrix[3 * i + j] * state[j];
            }
        }
        state = next;
    }
    hash <== state[0];
}
