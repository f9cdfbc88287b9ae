// What a device measured on one day: its lowest, highest and mean temperature, without the readings.
// The statement, its encoding and the commitment are described in circuits/README.md.
pragma circom 2.1.6;

include "../lib/poseidon.circom";
include "../lib/range.circom";

// The integer whose big-endian bytes are the text "w3b/cold-chain/day/1".
function domain() { return 680515792862626637923346080122853710270257770289; }

// Temperatures in thousandths of a degree Celsius: from absolute zero to 1,000 degrees, which spans 21 bits.
function coldest() { return -273150; }
function hottest() { return 1000000; }

// One reading. `used` is 1 for a reading of the day and 0 for padding, which must be 0.
template Reading() {
    signal input used;
    signal input value;
    signal input lo;
    signal input hi;
    // 0 if, and only if, this is a reading of the day and equal to lo (to hi).
    signal output above;
    signal output below;

    (1 - used) * value === 0;
    signal over <== used * (value - lo);
    signal under <== used * (hi - value);
    OfBits(21)(over);
    OfBits(21)(under);
    above <== over + 1 - used;
    below <== under + 1 - used;
}

// The readings open the commitment.
template Commitment(MAX, PACKED) {
    signal input salt;
    signal input project[2];
    signal input device[2];
    signal input day;
    signal input n;
    signal input readings[MAX];
    signal output hash;

    var words = (MAX + PACKED - 1) \ PACKED;
    component chain[6 + words];
    var items[6 + words];
    items[0] = salt;
    items[1] = project[0];
    items[2] = project[1];
    items[3] = device[0];
    items[4] = device[1];
    items[5] = day * 256 + n;
    for (var word = 0; word < words; word++) {
        items[6 + word] = 0;
        for (var i = 0; i < PACKED && word * PACKED + i < MAX; i++) {
            items[6 + word] += (readings[word * PACKED + i] - coldest()) * (1 << (21 * i));
        }
    }
    var hashed = domain();
    for (var i = 0; i < 6 + words; i++) {
        chain[i] = Hash2();
        chain[i].left <== hashed;
        chain[i].right <== items[i];
        hashed = chain[i].hash;
    }
    hash <== hashed;
}

// Public: everything but salt and readings. MAX readings at most, MAX below 32.
template Day(MAX) {
    signal input project[2];
    signal input device[2];
    signal input day;
    signal input n;
    signal input lo;
    signal input hi;
    signal input a;
    signal input r;
    signal input commitment;
    signal input salt;
    signal input readings[MAX];

    // The first n are used: a row of ones and then zeros with the sum n, the first of them one. So 1 <= n <= MAX.
    signal used[MAX];
    var count = 0;
    for (var i = 0; i < MAX; i++) {
        used[i] <-- i < n ? 1 : 0;
        used[i] * (used[i] - 1) === 0;
        if (i == 0) {
            used[i] === 1;
        } else {
            used[i] * (1 - used[i - 1]) === 0;
        }
        count += used[i];
    }
    count === n;

    // Every reading is in lo ..= hi; with the bounds of lo and hi, that also bounds each reading.
    OfBits(21)(lo - coldest());
    OfBits(21)(hottest() - hi);
    component reading[MAX];
    var sum = 0;
    for (var i = 0; i < MAX; i++) {
        reading[i] = Reading();
        reading[i].used <== used[i];
        reading[i].value <== readings[i];
        reading[i].lo <== lo;
        reading[i].hi <== hi;
        sum += readings[i];
    }

    // lo and hi were measured: one of the factors is 0.
    signal lowest[MAX];
    signal highest[MAX];
    lowest[0] <== reading[0].above;
    highest[0] <== reading[0].below;
    for (var i = 1; i < MAX; i++) {
        lowest[i] <== lowest[i - 1] * reading[i].above;
        highest[i] <== highest[i - 1] * reading[i].below;
    }
    lowest[MAX - 1] === 0;
    highest[MAX - 1] === 0;

    // sum = a * n + r with 0 <= r < n. A mean is between lo and hi, so nothing here comes near the modulus.
    OfBits(21)(a - lo);
    OfBits(21)(hi - a);
    OfBits(5)(r);
    OfBits(5)(n - 1 - r);
    sum === a * n + r;

    OfBits(32)(day);
    component opened = Commitment(MAX, 12);
    opened.salt <== salt;
    opened.project <== project;
    opened.device <== device;
    opened.day <== day;
    opened.n <== n;
    opened.readings <== readings;
    opened.hash === commitment;
}

component main {public [project, device, day, n, lo, hi, a, r, commitment]} = Day(24);
