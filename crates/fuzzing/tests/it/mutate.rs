//! Mutations that are the same in every run.

/// Numbers that are no surprise (Marsaglia's xorshift).
pub(crate) struct Numbers(u64);

impl Numbers {
    pub(crate) fn of(name: &str) -> Self {
        let seed = name
            .bytes()
            .fold(0xcbf2_9ce4_8422_2325, |n: u64, b| (n ^ u64::from(b)).wrapping_mul(0x100_0000_01b3));
        Self(seed | 1)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    pub(crate) fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() >> 11).unwrap_or(0) % end.max(1)
    }
}

const BYTES: [u8; 12] = [0, 1, 0x7f, 0x80, 0xff, b'0', b'"', b'{', b'/', b'.', b'\n', b'-'];
const NUMBERS: [u64; 8] =
    [0, 1, 0x7fff_ffff, 0x8000_0000, u32::MAX as u64, i64::MAX as u64, 1 << 63, u64::MAX];

/// A change or a few of `seed`, perhaps with a part of `other`.
pub(crate) fn mutate(seed: &[u8], other: &[u8], numbers: &mut Numbers) -> Vec<u8> {
    let mut bytes = seed.to_vec();
    for _ in 0..=numbers.below(4) {
        change(&mut bytes, other, numbers);
    }
    bytes
}

fn change(bytes: &mut Vec<u8>, other: &[u8], numbers: &mut Numbers) {
    let at = numbers.below(bytes.len());
    let until = (at + 1 + numbers.below(16)).min(bytes.len());
    match numbers.below(9) {
        0 => flip(bytes, at, numbers.below(8)),
        1 => set(bytes, at, BYTES[numbers.below(BYTES.len())]),
        2 => bytes.insert(at, BYTES[numbers.below(BYTES.len())]),
        3 => drop(bytes.drain(at.min(until)..until)),
        4 => bytes.truncate(at),
        5 => {
            let part = bytes[at.min(until)..until].to_vec();
            bytes.splice(at..at, part);
        }
        6 => {
            let from = numbers.below(other.len());
            bytes.truncate(at);
            bytes.extend_from_slice(&other[from..]);
        }
        7 => {
            let number = NUMBERS[numbers.below(NUMBERS.len())];
            let (be, le) = (number.to_be_bytes(), number.to_le_bytes());
            let width = 1 << numbers.below(4);
            let raw = if numbers.below(2) == 0 { &be[8 - width..] } else { &le[..width] };
            raw.iter().enumerate().for_each(|(n, b)| set(bytes, at + n, *b));
        }
        _ => bytes.extend(std::iter::repeat_n(BYTES[numbers.below(BYTES.len())], numbers.below(40))),
    }
}

fn flip(bytes: &mut [u8], at: usize, bit: usize) {
    if let Some(byte) = bytes.get_mut(at) {
        *byte ^= 1 << bit;
    }
}

fn set(bytes: &mut [u8], at: usize, value: u8) {
    if let Some(byte) = bytes.get_mut(at) {
        *byte = value;
    }
}

#[test]
fn mutations_are_the_same_each_time_and_differ_from_each_other() {
    let many = |name: &str| -> Vec<Vec<u8>> {
        let mut numbers = Numbers::of(name);
        (0..500).map(|_| mutate(b"a seed of some length", b"another", &mut numbers)).collect()
    };
    assert_eq!(many("x"), many("x"));
    assert_ne!(many("x"), many("y"));
    let distinct: std::collections::BTreeSet<_> = many("x").into_iter().collect();
    assert!(distinct.len() > 400, "{}", distinct.len());
    mutate(b"", b"", &mut Numbers::of("nothing is changed without a panic"));
}
