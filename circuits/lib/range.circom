// Ranges. A number of the field is "of k bits" if it is one of 0 .. 2^k - 1; so a negative number, which the field
// holds as p - |x|, is of no k bits that this project uses.
pragma circom 2.1.6;

// x is of k bits. 2^k must be below the field's modulus, or some numbers would have two forms: k <= 253.
template OfBits(k) {
    assert(k <= 253);
    signal input x;
    signal bit[k];
    var sum = 0;
    for (var i = 0; i < k; i++) {
        bit[i] <-- (x >> i) & 1;
        bit[i] * (bit[i] - 1) === 0;
        sum += bit[i] * (1 << i);
    }
    sum === x;
}
